package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
)

// says runs one command line and returns what it printed and its exit code.
func says(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &talk)
	return out.String(), talk.String(), code
}

// mustSay is says for a command that must succeed.
func mustSay(t *testing.T, args ...string) string {
	t.Helper()
	out, talk, code := says(t, args...)
	if code != 0 {
		t.Fatalf("demarc %s: exit %d\n%s%s", strings.Join(args, " "), code, out, talk)
	}
	return out
}

// traffic writes n requests of a route that took about ms milliseconds each, one a second, as a capture.
func traffic(t *testing.T, dir string, start int64, n, ms int, marks ...event.Event) {
	t.Helper()
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	events := marks
	for i := range n {
		at := start + int64(i)*1e9
		events = append(events, event.Event{Type: event.TypeRequest, At: at, Dur: event.Some(int64(ms)*1e6 + int64(i%17)*1e5), Trace: fmt.Sprintf("%d.%d", start, i),
			Request: &event.Request{Kind: "http", Method: "GET", Route: "/articles", Target: "/articles?limit=20", Status: 200}})
	}
	if err := w.Append(events); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// inRepository makes a new folder with a git repository of one commit the current one.
func inRepository(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	if err := os.WriteFile("shop.py", []byte("print()\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"config", "user.name", "Ada"}, {"config", "user.email", "ada@example.org"}, {"add", "."}, {"commit", "-q", "-m", "x"}} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// One change without demarc over production: begun from what a capture says, its checklist done, its note written.
func TestChangeFromCaptureToNote(t *testing.T) {
	inRepository(t)
	before := filepath.Join(capture.Root, "20261122T100000Z-shop")
	traffic(t, before, 1_790_000_000e9, 300, 50)
	out, talk, code := says(t, "change", "new", "--from", "GET /articles", "--checklist", "invalidation", "--yes", "--noticed", "the start page",
		"--change", "read less", "--cause", "too much is read", "--deploy", "true", "--health", "http://127.0.0.1:8000/health", "--rollback", "true")
	if code != 0 {
		t.Fatal(talk)
	}
	path := strings.TrimSpace(out)
	record, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"topic: GET /articles", "owner: Ada <ada@example.org>", "input: /articles?limit=20", "capture: " + before, "metric: p95_ms", "samples: 300",
		"command: demarc report --json " + before, `p95_ms of "GET /articles" < 46`, "health: curl -fsS -o /dev/null http://127.0.0.1:8000/health", "id: tag",
	} {
		if !strings.Contains(string(record), want) {
			t.Errorf("%q is missing in\n%s", want, record)
		}
	}
	if !strings.Contains(talk, "still open: reason, rollback") {
		t.Errorf("what is open is not said:\n%s", talk)
	}
	again := strings.TrimSpace(mustSay(t, "change", "new", "GET /articles", "--yes"))
	if again == path {
		t.Fatal("a record was overwritten")
	}
	if err := os.Remove(again); err != nil {
		t.Fatal(err)
	}

	if out, talk, code := says(t, "change", "do", "tag"); code != 0 || !strings.Contains(out, "passed  tag") {
		t.Fatalf("exit %d\n%s%s", code, out, talk)
	}
	if tag, err := exec.Command("git", "cat-file", "-t", strings.TrimSuffix(filepath.Base(path), ".yaml")).CombinedOutput(); err != nil || string(tag) != "tag\n" {
		t.Errorf("the release has no annotated tag: %s", tag)
	}
	if _, talk, code := says(t, "change", "do", "tag"); code != fault.ExitFailed || !strings.Contains(talk, "already exists") {
		t.Errorf("the same tag again: exit %d\n%s", code, talk)
	}
	if _, talk, code := says(t, "change", "do", "lint"); code != fault.ExitUsage || !strings.Contains(talk, "has no command") {
		t.Errorf("an item without a command: exit %d\n%s", code, talk)
	}

	after := filepath.Join(capture.Root, "20261122T110000Z-shop")
	traffic(t, after, 1_790_003_600e9, 300, 20)
	note := strings.TrimSpace(mustSay(t, "change", "note", "--after", after))
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"the start page", "| p50_ms | 50.8", "| better |", "`demarc compare " + before + " " + after + " --route 'GET /articles'`", "![GET /articles before",
		"anything about production: the change was not shipped", "**It has never been rehearsed.**",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in the note\n%s", want, text)
		}
	}
	if _, err := os.Stat(strings.TrimSuffix(note, ".md") + ".svg"); err != nil {
		t.Error(err)
	}

	var list changeList
	if err := json.Unmarshal([]byte(mustSay(t, "change", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Changes) != 1 || list.Changes[0].State != "draft" || list.Changes[0].Items != 5 || list.Changes[0].Note != note || list.Schema != "demarc.changes/1" {
		t.Errorf("%+v", list)
	}
	var view struct {
		Schema string
		Record map[string]any
		Status struct {
			Checklist []struct{ ID, State, Command, Output string }
		}
		Runs []struct{ Kind string }
	}
	if err := json.Unmarshal([]byte(mustSay(t, "change", "show", "--json")), &view); err != nil {
		t.Fatal(err)
	}
	if view.Schema != "demarc.change/1" || view.Record["topic"] != "GET /articles" || len(view.Status.Checklist) != 5 || len(view.Runs) != 2 {
		t.Errorf("%+v", view)
	}
	if tag := view.Status.Checklist[4]; tag.State != "failed" || !strings.Contains(tag.Output, "already exists") || !strings.HasPrefix(tag.Command, "git tag -a ") {
		t.Errorf("%+v", tag)
	}
}

// The figures of a note are those before and after the ship's mark where one capture holds both.
func TestChangeNoteAtTheMark(t *testing.T) {
	inRepository(t)
	dir := filepath.Join(capture.Root, "one")
	start := int64(1_790_000_000e9)
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var events []event.Event
	for i := range 600 {
		ms := 50
		if i >= 300 {
			ms = 20
		}
		if i == 300 {
			events = append(events, event.Event{Type: event.TypeMark, At: start + 300e9 - 1, Mark: &event.Mark{Name: "ship", Text: "x"}})
		}
		events = append(events, event.Event{Type: event.TypeRequest, At: start + int64(i)*1e9, Dur: event.Some(int64(ms)*1e6 + int64(i%17)*1e5), Trace: fmt.Sprint("t", i),
			Request: &event.Request{Kind: "http", Method: "GET", Route: "/articles", Target: "/articles", Status: 200}})
	}
	if err := w.Append(events); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSpace(mustSay(t, "change", "new", "--from", "GET /articles", "--yes"))
	folder := strings.TrimSuffix(path, ".yaml")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	run := "version: 1\nid: 20260921T142100Z-ship-0001\nkind: ship\nenvironment: production\nat: 2026-09-21T14:15:00Z\nstate: passed\nsteps:\n" +
		"  - {name: deploy, state: passed, at: 2026-09-21T14:15:00Z}\n" +
		"  - {name: mark, state: passed, at: 2026-09-21T14:15:01Z, capture: " + dir + "}\n"
	if err := os.WriteFile(filepath.Join(folder, "20260921T142100Z-ship-0001.yaml"), []byte(run), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := mustSay(t, "change", "list", "--unfinished"); !strings.Contains(out, "shipped, unfinished") {
		t.Errorf("a change that was shipped without a note is unfinished:\n%s", out)
	}
	text, err := os.ReadFile(strings.TrimSpace(mustSay(t, "change", "note")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"`demarc compare " + dir + " --mark ship --route 'GET /articles'`", "300, 300", "before ship", "since ship"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in the note\n%s", want, text)
		}
	}
	if out := mustSay(t, "change", "list", "--unfinished"); out != "" {
		t.Errorf("it has a note now:\n%s", out)
	}
}

// A team begins without a recorder, a capture or even git.
func TestChangeWithoutAnything(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(mustGetwd(t)))
	_, talk, code := says(t, "change", "new", "Faster list", "--expect", "run: true", "--expect", "health: http://127.0.0.1:8000/health", "--failing", "false", "--checklist", "boundary")
	if code != 0 || !strings.Contains(talk, "no capture") || !strings.Contains(talk, "owner, base and files are left open") {
		t.Fatalf("exit %d\n%s", code, talk)
	}
	if _, talk, code := says(t, "change", "do", "capture"); code != 0 {
		t.Errorf("the command fails, which is the current behaviour: exit %d\n%s", code, talk)
	}
	if _, talk, code := says(t, "change", "files"); code != fault.ExitFailed || !strings.Contains(talk, "git init") {
		t.Errorf("files without git: exit %d\n%s", code, talk)
	}
	_, talk, code = says(t, "change", "note", "--draft")
	if code != 0 || !strings.Contains(talk, "no figures") || !strings.Contains(talk, "baseline.noticed") {
		t.Errorf("a note without figures: exit %d\n%s", code, talk)
	}
	for _, args := range [][]string{{"show"}, {"show", "--runbook"}, {"show", "--make"}, {"list"}} {
		if out := mustSay(t, append([]string{"change"}, args...)...); !strings.Contains(out, "Faster list") {
			t.Errorf("change %v:\n%s", args, out)
		}
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestChangeFromBoundary(t *testing.T) {
	inRepository(t)
	traffic(t, filepath.Join(capture.Root, "one"), 1_790_000_000e9, 100, 50)
	file := `version: 1
boundaries:
  - name: GET /articles
    level: response
    key: [query.limit, principal]
    ttl: 60s
    invalidation: row-fenced
    invalidate_on: [{table: articles, by: row}]
    family: "article:{}"
    expected: {hit_ratio: 0.9, saved_ms: 1234, saved_queries: 456, stale_serves: 0, requests: 1000}
    command: demarc choose .demarc/one
`
	if err := os.WriteFile("boundaries.yaml", []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(strings.TrimSpace(mustSay(t, "change", "new", "--from", "GET /articles", "--checklist", "boundary", "-y")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"boundary: GET /articles", "topic: Cache GET /articles", "keyed by query.limit, principal, for 60s", "articles (by row)", "stale_reads == 0",
		"leaks == 0", `hit_ratio of family "article:{}" >= 81%`, "metric: p50_ms", "demarc choose .demarc/one", "id: backup"} {
		if !strings.Contains(string(record), want) {
			t.Errorf("%q is missing in\n%s", want, record)
		}
	}
}

func TestChangeFromFinding(t *testing.T) {
	dir, told := shop(t)
	keep(t, dir, told.list)
	id := staleOf(t).Findings[0].ID
	record, err := os.ReadFile(strings.TrimSpace(mustSay(t, "change", "new", "--from", id[:8], "--checklist", "invalidation", "-y")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"finding: " + id, "topic: Stale reads of article:{}", "forgot", "PATCH /articles/{id}", "metric: stale_reads", "value: 3", "command: demarc explain " + id + " " + dir,
		`stale_reads of family "article:{}" == 0`, `leaks of family "article:{}" == 0`, "id: lint"} {
		if !strings.Contains(string(record), want) {
			t.Errorf("%q is missing in\n%s", want, record)
		}
	}
	if _, talk, code := says(t, "change", "new", "--from", "0000000000000000", "-y"); code != fault.ExitUsage || !strings.Contains(talk, "demarc stale") {
		t.Errorf("no such finding: exit %d\n%s", code, talk)
	}
}

func TestChangeRefuses(t *testing.T) {
	inRepository(t)
	traffic(t, filepath.Join(capture.Root, "one"), 1_790_000_000e9, 30, 50)
	mustSay(t, "change", "new", "one", "-y")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"change new --yes", 2, "the topic is missing"},
		{"change new x --expect speed", 2, "speed"},
		{"change new x --checklist other", 2, "boundary or invalidation"},
		{"change new --yes --from 'GET /article'", 2, "GET /articles"},
		{"change new x --capture nowhere", 1, "nowhere"},
		{"change new x --owner \x1b[31m", 1, "control characters"},
		{"change new x --deploy postgres://u:hunter2@h", 1, "without a password"},
		{"change new x --base --upload-pack=x", 1, "is no revision"},
		{"change show other", 2, "no change record"},
		{"change show --json --make", 2, "none of the others can be"},
		{"change do", 2, "item is missing"},
		{"change do other", 2, "has no checklist"},
		{"change note --after nowhere", 1, "nowhere"},
		{"change nonsense", 2, "nonsense"},
	} {
		args := []string{}
		for i, part := range strings.Split(c.args, "'") {
			if i%2 == 1 {
				args = append(args, part)
			} else {
				args = append(args, strings.Fields(part)...)
			}
		}
		_, talk, code := says(t, args...)
		if code != c.code || !strings.Contains(talk, c.want) {
			t.Errorf("demarc %s: exit %d, %q was expected with %d\n%s", c.args, code, c.want, c.code, talk)
		}
	}
	if entries, err := os.ReadDir("changes"); err != nil || len(entries) != 1 {
		t.Errorf("%d files under changes, %v", len(entries), err)
	}
}
