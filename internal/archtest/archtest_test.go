package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTree holds the checkout to the rules.
func TestTree(t *testing.T) {
	files, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range Check(files, Rules()) {
		t.Error(violation)
	}
}

// TestTreeIsThere guards against rules that hold only because the packages they speak of were moved or not read.
func TestTreeIsThere(t *testing.T) {
	files, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cmd/demarc", "event", "internal/baseline", "internal/capture", "internal/cli", "internal/otlp", "internal/sqlread",
	}
	for _, name := range want {
		if !slices.ContainsFunc(files, func(f File) bool { return f.Package == name && !f.Test }) {
			t.Errorf("no source file found in %s, which rules speak of", name)
		}
	}
	if !slices.ContainsFunc(files, func(f File) bool { return f.Path == "cmd/demarc/main.go" }) {
		t.Error("cmd/demarc/main.go was not found, which a rule speaks of")
	}
}

// broken holds, for each rule, sources that must break it and sources close by that must not.
var broken = map[string]struct{ bad, good fstest.MapFS }{
	"event-standard-library": {
		bad: fstest.MapFS{
			"event/a.go": source(`import "github.com/spf13/cobra"`),
			"event/b.go": source(`import "github.com/demarc-dev/demarc/internal/capture"`),
		},
		good: fstest.MapFS{"event/a.go": source(`import "encoding/json"`), "internal/cli/a.go": source(`import "github.com/spf13/cobra"`)},
	},
	"event-no-world": {
		bad:  fstest.MapFS{"event/a.go": source(`import "os"`), "event/b.go": source(`import "net/http"`)},
		good: fstest.MapFS{"event/a_test.go": source(`import "os"`), "event/b.go": source(`import "io"`)},
	},
	"event-no-clock": {
		bad: fstest.MapFS{
			"event/a.go": source(`import "time"`, `var a = time.Now()`),
			"event/b.go": source(`import t "time"`, `var b = t.Since(t.Time{})`),
			"event/c.go": source(`import . "time"`, `var c = Now()`),
			"event/d.go": source(`import "time"`, `var now = time.Now`),
		},
		good: fstest.MapFS{
			"event/a.go":    source(`import "time"`, `var a = time.Unix(0, 0).Add(time.Second)`),
			"eventual/a.go": source(`import "time"`, `var a = time.Now()`),
		},
	},
	"pure-no-world": {
		bad: fstest.MapFS{
			"internal/sqlread/a.go":        source(`import "os"`),
			"internal/baseline/a.go":       source(`import "net/http"`),
			"internal/forecast/a.go":       source(`import "database/sql"`),
			"internal/sim/policies/a.go":   source(`import "os/exec"`),
			"internal/stale/a.go":          source(`import "net"`),
			"internal/compare/a_darwin.go": source(`import "syscall"`),
		},
		good: fstest.MapFS{
			"internal/sqlread/a_test.go": source(`import "os"`),
			"internal/capture/a.go":      source(`import "os"`),
			"internal/simple/a.go":       source(`import "os"`),
			"internal/sim/a.go":          source(`import "math"`),
		},
	},
	"pure-no-clock": {
		bad:  fstest.MapFS{"internal/stale/a.go": source(`import "time"`, `func a() { time.Sleep(1) }`)},
		good: fstest.MapFS{"internal/stale/a.go": source(`import "time"`, `const a = time.Second`)},
	},
	"pure-no-goroutine": {
		bad:  fstest.MapFS{"internal/baseline/a.go": source(`func a() { go a() }`)},
		good: fstest.MapFS{"internal/engine/a.go": source(`func a() { go a() }`), "internal/baseline/a.go": source(`func a() { defer a() }`)},
	},
	"pure-depends-on-pure": {
		bad: fstest.MapFS{
			"internal/baseline/a.go": source(`import "github.com/demarc-dev/demarc/internal/capture"`),
			"internal/stale/a.go":    source(`import _ "github.com/demarc-dev/demarc/internal/report"`),
		},
		good: fstest.MapFS{
			"internal/baseline/a.go": source(`import "github.com/demarc-dev/demarc/internal/sqlread"`),
			"internal/stale/a.go":    source(`import "github.com/demarc-dev/demarc/event"`),
			"internal/report/a.go":   source(`import "github.com/demarc-dev/demarc/internal/baseline"`),
			"internal/compare/a.go":  source(`import "golang.org/x/perf/benchmath"`),
		},
	},
	"opentelemetry-only-in-otlp": {
		bad: fstest.MapFS{
			"internal/cli/a.go":      source(`import "go.opentelemetry.io/collector/pdata/ptrace"`),
			"internal/cli/a_test.go": source(`import "go.opentelemetry.io/otel"`),
		},
		good: fstest.MapFS{"internal/otlp/a.go": source(`import "go.opentelemetry.io/collector/pdata/ptrace"`)},
	},
	"parquet-only-in-capture": {
		bad:  fstest.MapFS{"internal/report/a.go": source(`import "github.com/parquet-go/parquet-go"`)},
		good: fstest.MapFS{"internal/capture/a.go": source(`import "github.com/parquet-go/parquet-go"`)},
	},
	"lexer-only-in-sqlread": {
		bad:  fstest.MapFS{"internal/baseline/a.go": source(`import "github.com/DataDog/go-sqllexer"`)},
		good: fstest.MapFS{"internal/sqlread/a.go": source(`import "github.com/DataDog/go-sqllexer"`)},
	},
	"oracle-only-in-tests": {
		bad:  fstest.MapFS{"internal/sqlread/a.go": source(`import "github.com/wasilibs/go-pgquery"`)},
		good: fstest.MapFS{"internal/sqlread/a_test.go": source(`import "github.com/pganalyze/pg_query_go/v6"`)},
	},
	"commands-in-one-place": {
		bad: fstest.MapFS{"internal/check/a.go": source(`import "os/exec"`), "internal/cli/a.go": source(`import "os/exec"`)},
		good: fstest.MapFS{
			"internal/cli/a_test.go": source(`import "os/exec"`), "internal/command/a.go": source(`import "os/exec"`),
			"internal/check/a.go": source(`import "os"`),
		},
	},
	"notes-below-changes": {
		bad: fstest.MapFS{
			"internal/note/a.go":      source(`import "github.com/demarc-dev/demarc/internal/change"`),
			"internal/noteindex/a.go": source(`import "os/exec"`),
			"internal/notesite/a.go":  source(`import "github.com/demarc-dev/demarc/internal/command"`),
		},
		good: fstest.MapFS{
			"internal/change/a.go":   source(`import "github.com/demarc-dev/demarc/internal/note"`),
			"internal/notesite/a.go": source(`import "github.com/demarc-dev/demarc/internal/note"`),
		},
	},
	"web-without-cli": {
		bad:  fstest.MapFS{"internal/web/a.go": source(`import "github.com/demarc-dev/demarc/internal/cli"`)},
		good: fstest.MapFS{"internal/web/a.go": source(`import "github.com/demarc-dev/demarc/internal/report"`)},
	},
	"cli-without-web": {
		bad:  fstest.MapFS{"internal/cli/a.go": source(`import "github.com/demarc-dev/demarc/internal/web"`)},
		good: fstest.MapFS{"cmd/demarc/main.go": source(`import "github.com/demarc-dev/demarc/internal/web"`)},
	},
	"main-wires": {
		bad: fstest.MapFS{"cmd/demarc/main.go": source(strings.Repeat("\n", maxMainLines))},
		good: fstest.MapFS{
			"cmd/demarc/main.go": source(strings.Repeat("\n", maxMainLines/2)),
			"cmd/other/main.go":  source(strings.Repeat("\n", maxMainLines)),
		},
	},
	"no-cgo": {
		bad:  fstest.MapFS{"internal/capture/a_linux.go": source(`import "C"`)},
		good: fstest.MapFS{"internal/capture/a.go": source(`import "unsafe"`)},
	},
}

// TestEveryRuleCanFail shows that each rule finds every file that breaks it, gives its reason, and leaves others be.
func TestEveryRuleCanFail(t *testing.T) {
	rules := Rules()
	for name := range broken {
		if !slices.ContainsFunc(rules, func(rule Rule) bool { return rule.Name == name }) {
			t.Errorf("sources for a rule %s that does not exist", name)
		}
	}
	for _, rule := range rules {
		t.Run(rule.Name, func(t *testing.T) {
			sources, ok := broken[rule.Name]
			if !ok {
				t.Fatal("no sources that break this rule")
			}
			found := checkAlone(t, sources.bad, rule)
			for name := range sources.bad {
				if !slices.ContainsFunc(found, func(v Violation) bool { return v.Path == name }) {
					t.Errorf("%s breaks the rule, but was not found", name)
				}
			}
			for _, violation := range found {
				if !strings.Contains(violation.String(), rule.Reason) {
					t.Errorf("the text of a violation lacks the reason: %s", violation)
				}
			}
			for _, violation := range checkAlone(t, sources.good, rule) {
				t.Errorf("wrongly found: %s", violation)
			}
		})
	}
}

func checkAlone(t *testing.T, tree fstest.MapFS, rule Rule) []Violation {
	t.Helper()
	files, err := Load(tree)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(tree) {
		t.Fatalf("%d files read of %d", len(files), len(tree))
	}
	return Check(files, []Rule{rule})
}

func TestLoadLeavesOut(t *testing.T) {
	files, err := Load(fstest.MapFS{
		"event/a.go":              source(),
		"event/notes.md":          {Data: []byte("no Go")},
		"event/testdata/b.go":     {Data: []byte("not even Go")},
		".cache/go/c.go":          source(),
		"_old/d.go":               source(),
		"web/node_modules/x/e.go": source(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Path != "event/a.go" || files[0].Package != "event" {
		t.Errorf("read %v, want event/a.go only", files)
	}
}

func TestLoadReportsWhatDoesNotParse(t *testing.T) {
	_, err := Load(fstest.MapFS{"event/a.go": {Data: []byte("package event\nfunc {")}})
	if err == nil || !strings.Contains(err.Error(), "event/a.go:2") {
		t.Errorf("error is %v, want one that names event/a.go:2", err)
	}
}

func source(lines ...string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("package p\n" + strings.Join(lines, "\n") + "\n")}
}
