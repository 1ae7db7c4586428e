package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/audit"
	"github.com/demarc-dev/demarc/internal/capture"
)

// docs/audit.md describes every item with its severity, and every flag.
func TestAuditPage(t *testing.T) {
	data, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	items := map[string]audit.Severity{}
	for _, x := range audit.Judge(&audit.Evidence{}).Items {
		items[x.ID] = x.Severity
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (\\w+) \\|").FindAllStringSubmatch(page, -1) {
		if string(items[m[1]]) != m[2] {
			t.Errorf("%s has the severity %q, the page says %s", m[1], items[m[1]], m[2])
		}
		delete(items, m[1])
	}
	for id := range items {
		t.Errorf("the page does not describe %s", id)
	}
	known := map[string]bool{}
	newAuditCommand().Flags().VisitAll(func(f *pflag.Flag) {
		known[f.Name] = true
		if !strings.Contains(page, "--"+f.Name) {
			t.Errorf("--%s is not described", f.Name)
		}
	})
	for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(page, -1) {
		if !known[m[1]] {
			t.Errorf("the page names --%s, which is no flag", m[1])
		}
	}
}

// put writes files below the current folder.
func put(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAuditWithoutACapture(t *testing.T) {
	t.Chdir(t.TempDir())
	put(t, map[string]string{"shop/settings.py": "DEBUG = False\nCACHE_TTL = 60\n", "demarc.yaml": "security: {files: [shop/settings.py]}\n"})
	out := mustSay(t, "audit", "--fail-on", "low")
	for _, want := range []string{"none failed", "not seen     captures can be read", "missing a capture: demarc run", "cache     shop/settings.py:2  CACHE_TTL = 60", "pass         debugging is off"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	put(t, map[string]string{"shop/views.py": "DEBUG = True\nCACHE_TTL = 5\n# \x1b[31m\n"})
	out, talk, code := says(t, "audit", "--json", "--fail-on", "high")
	var rep audit.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil || code != 10 || rep.Schema != audit.Schema || rep.Counts.High != 1 || rep.Counts.Low != 1 {
		t.Errorf("%v, exit code %d, %+v", err, code, rep.Counts)
	}
	if !strings.Contains(talk, "1 items failed: debug") {
		t.Errorf("said: %s", talk)
	}
	if x := rep.Item("hidden-settings"); len(x.Places) != 2 || x.Places[0].Where != "shop/views.py:1" {
		t.Errorf("%+v", x.Places)
	}
	if _, _, code := says(t, "audit", "--project", "shop", "--fail-on", "high"); code != 10 {
		t.Errorf("--project: exit code %d", code)
	}
}

func TestAuditRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tc := range []struct {
		args string
		says string
	}{
		{"--fail-on worst", "high, medium or low"}, {"--redis redis://:swordfish@127.0.0.1", "env:NAME"}, {"--redis env:NOT_SET_AT_ALL", "not set"},
		{"--probe-remote", "belongs to --probe"}, {"--probe 127.0.0.1:80", "http://127.0.0.1:8000"}, {"--probe http://127.0.0.1:1", "there is no capture"},
		{"--project gone", "cannot read the folder gone"}, {"--log gone.log", "cannot read the log gone.log"}, {"--config gone.yaml", "gone.yaml"},
	} {
		_, talk, code := says(t, append([]string{"audit"}, strings.Fields(tc.args)...)...)
		if code != 2 || !strings.Contains(talk, tc.says) || strings.Contains(talk, "swordfish") {
			t.Errorf("%s: exit code %d\n%s", tc.args, code, talk)
		}
	}
	if _, _, code := says(t, "audit", "gone"); code == 0 {
		t.Error("a capture that is not there was audited")
	}
	auditable(t)
	if _, talk, code := says(t, "audit", "--probe", "http://192.0.2.1"); code != 2 || !strings.Contains(talk, "--probe-remote, if its owner agrees") {
		t.Errorf("exit code %d\n%s", code, talk)
	}
}

// auditable writes a capture with one flaw.
func auditable(t *testing.T) {
	t.Helper()
	w, err := capture.Create(filepath.Join(capture.Root, "one"), capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Append([]event.Event{{Type: event.TypeRequest, At: 1, Request: &event.Request{Kind: "http", Method: "GET", Route: "/me", Target: "/me", Status: 200,
		Headers: []event.Pair{{Name: "cache-control", Value: "public, max-age=60"}, {Name: "set-cookie", Value: "true"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// The outcome of an audit joins the checklist of a record, whose text stays as people wrote it.
func TestAuditJoinsARecord(t *testing.T) {
	for name, record := range map[string]string{
		"items":   "version: 1\ntopic: Tags\n\n# mine\nchecklist:\n  - id: lint\n    item: lint # with ruff\n    run: ruff check .\n# the end\n",
		"flush":   "version: 1\ntopic: Tags\nchecklist:\n- {id: lint, item: lint, run: ruff check .}\n",
		"flow":    "version: 1\ntopic: Tags\nchecklist: [{id: lint, item: lint, run: ruff check .}]\n",
		"without": "version: 1\ntopic: Tags\n",
	} {
		t.Run(name, func(t *testing.T) {
			inRepository(t)
			path := filepath.Join("changes", "2026-11-22-tags.yaml")
			put(t, map[string]string{path: record})
			auditable(t)
			_, talk, code := says(t, "audit", "--record", "tags", "--fail-on", "high")
			if code != 10 || !strings.Contains(talk, "demarc: kept as ") {
				t.Fatalf("exit code %d\n%s", code, talk)
			}
			if name == "items" {
				text, err := os.ReadFile(path)
				before, after, _ := strings.Cut(record, "# the end")
				if err != nil || !strings.HasPrefix(string(text), before) || !strings.HasSuffix(string(text), "# the end"+after) {
					t.Errorf("the record became\n%s", text)
				}
			}
			var shown struct {
				Status struct {
					Checklist []struct {
						ID, State, Command, Output string
						ExitCode                   *int `json:"exit_code"`
					}
				}
			}
			item := func() (state, command, output string) {
				t.Helper()
				if err := json.Unmarshal([]byte(mustSay(t, "change", "show", "tags", "--json")), &shown); err != nil {
					t.Fatal(err)
				}
				last := shown.Status.Checklist[len(shown.Status.Checklist)-1]
				if last.ID != "audit" || last.ExitCode == nil {
					t.Fatalf("checklist: %+v", shown.Status.Checklist)
				}
				return last.State, last.Command, last.Output
			}
			state, command, output := item()
			if state != "failed" || command != "demarc audit --fail-on high" || !strings.Contains(output, "FAIL high set-cookie-stored") || !strings.Contains(output, "GET /me") {
				t.Errorf("%s, %s\n%s", state, command, output)
			}
			if err := os.RemoveAll(filepath.Join(capture.Root, "one")); err != nil {
				t.Fatal(err)
			}
			mustSay(t, "audit", "--record", "tags", "--fail-on", "high")
			if state, _, _ := item(); state != "done" {
				t.Errorf("after the flaw is gone: %s", state)
			}
		})
	}
}
