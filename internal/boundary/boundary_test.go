package boundary

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

const whole = `version: 1
boundaries:
  - name: GET /articles/{slug}
    level: response            # response | function | query
    key: [path.slug, query.page, principal]
    ttl: 60s
    invalidation: row-fenced
    invalidate_on: [{table: articles, by: row}]
    family: "article:{}"
    expected: {hit_ratio: 0.91, saved_ms: 1234, saved_queries: 456, stale_serves: 0, requests: 1000}
    command: demarc choose .demarc/captures/x
  - {name: "SELECT 1", level: query, key: [], ttl: none, invalidation: table, invalidate_on: [{table: t, by: table}]}
`

func TestParseAndWriteAgain(t *testing.T) {
	f, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	b := f.Boundaries[0]
	if len(f.Boundaries) != 2 || time.Duration(b.TTL) != time.Minute || b.Key[2] != "principal" || fmt.Sprint(b.InvalidateOn[0]) != "{articles row []}" ||
		b.Family != "article:{}" || b.Expected.SavedQueries != 456 || f.Boundaries[1].TTL != 0 {
		t.Fatalf("%+v", f)
	}
	f.Boundaries[0].Comment = "saves 34 % of the time:\n  # hostile\nversion: 2"
	f.Boundaries[1].Name = "SELECT a, 'b'  # \"c\"\nFROM d: {e}"
	f.Boundaries[0].InvalidateOn[0].Columns = []string{"slug", "a,b"}
	path := filepath.Join(t.TempDir(), Name)
	if err := f.Write(path, "What caches there are."); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(path)
	if !strings.HasPrefix(string(data), "# What caches there are.\nversion: 1\n") || !strings.Contains(string(data), "\n  # saves 34 %") ||
		!strings.Contains(string(data), "\n    ttl: 1m\n") && !strings.Contains(string(data), "\n    ttl: 60s\n") {
		t.Errorf("written:\n%s", data)
	}
	again, err := Load("demarc check", path)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	f.Boundaries[0].Comment = ""
	if !reflect.DeepEqual(f, again) {
		t.Errorf("read %+v, written %+v\n%s", again, f, data)
	}
	empty := File{Version: 1}
	text, err := empty.Marshal("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text); err != nil {
		t.Errorf("%v in %q", err, text)
	}
}

// Every error shows the line.
func TestErrorsShowTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, line, why string }{
		"newer":              {"version: 1", "version: 2\ncolour: red", ">  1 | version: 2", "reads up to 1"},
		"unknown field":      {"ttl: 60s", "tll: 60s", "tll: 60s", "unknown field"},
		"alias":              {"[{table: articles, by: row}]", "&d [{table: articles, by: row}]", ">  8 |", "anchors"},
		"nesting":            {"[path.slug, query.page, principal]", strings.Repeat("[", 21), ">  5 |", "at most 20 levels"},
		"level":              {"level: response ", "level: page ", ">  4 |", "response, function or query"},
		"key part":           {"query.page", "page", ">  5 |", `not "page"`},
		"key twice":          {"query.page", "path.slug", ">  5 |", "twice"},
		"lifetime":           {"ttl: 60s", "ttl: soon", ">  6 |", "lifetime such as 60s"},
		"no lifetime":        {"ttl: 60s", "ttl: 0s", ">  6 |", "or none"},
		"invalidation":       {"row-fenced", "rows", ">  7 |", `not "rows"`},
		"table missing":      {"{table: articles, by: row}", "", ">  7 |", "names no table"},
		"by":                 {"by: row", "by: column", ">  8 |", `not "column"`},
		"row under table":    {"row-fenced", "table", ">  8 |", "by: table was expected"},
		"none with table":    {"row-fenced", "none", ">  8 |", "no write drops"},
		"for ever":           {"ttl: none, invalidation: table, invalidate_on: [{table: t, by: table}]", "ttl: none, invalidation: none", "> 12 |", "for ever"},
		"twice":              {`name: "SELECT 1", level: query`, `name: "GET /articles/{slug}", level: response`, "> 12 |", "twice"},
		"no name":            {"name: GET /articles/{slug}", "name:", ">  ", "a route, a function"},
		"hit ratio":          {"0.91", "91", "> 10 |", "from 0 to 1"},
		"expected no number": {"0.91", "much", "> 10 |", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(strings.Replace(whole, tc.old, tc.new, 1)))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.line) || !strings.Contains(err.Error(), tc.why) {
				t.Errorf("%q and %q are missing in:\n%v", tc.line, tc.why, err)
			}
		})
	}
}

func TestLoadThatCannot(t *testing.T) {
	_, err := Load("demarc check", filepath.Join(t.TempDir(), "none.yaml"))
	if err == nil || fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(fault.Text(err), "no such file") {
		t.Errorf("%v", err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, []byte(strings.Repeat("#", MaxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("demarc check", big); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

func TestTTLString(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "none", time.Second: "1s", 90 * time.Second: "90s", time.Minute: "60s", 5 * time.Minute: "5m", 48 * time.Hour: "2d",
		100 * time.Millisecond: "100ms", 1500 * time.Microsecond: "1.5ms",
	} {
		if got := TTL(d).String(); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("version: 1\nboundaries: []\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		text, err := file.Marshal("")
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if len(again.Boundaries) != len(file.Boundaries) {
			t.Fatalf("%d boundaries of %d\n%s", len(again.Boundaries), len(file.Boundaries), text)
		}
		for i, b := range file.Boundaries {
			if c := again.Boundaries[i]; c.Name != b.Name || c.TTL != b.TTL || c.Family != b.Family || c.Command != b.Command {
				t.Fatalf("%+v became %+v\n%s", b, c, text)
			}
		}
	})
}
