package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder"
	"github.com/demarc-dev/demarc/internal/stale"
)

// told builds the events of a small shop: what a recorder in one process sends.
type told struct {
	list []event.Event
	hash func(string) event.Hash
	src  *event.Source
}

const shopStart = int64(1_790_000_000_000_000_000)

func (s *told) add(seconds float64, millis int64, trace string, e event.Event) {
	e.At, e.Dur, e.Trace, e.Source = shopStart+int64(seconds*1e9), event.Some(millis*1e6), trace, s.src
	e.Seq = uint64(len(s.list) + 1)
	s.list = append(s.list, e)
}

func (s *told) cache(seconds float64, trace string, c event.Cache) {
	c.Layer, c.Store = "shared", "redis:6379/0"
	s.add(seconds, 1, trace, event.Event{Type: event.TypeCache, Cache: &c})
}

func (s *told) query(seconds float64, trace, text, code string, params ...string) {
	q := &event.Query{DB: "postgresql", Text: text, Rows: event.Some[int64](1), Code: code}
	for _, p := range params {
		q.Params = append(q.Params, s.hash(p))
	}
	s.add(seconds, 1, trace, event.Event{Type: event.TypeQuery, Query: q})
}

func (s *told) request(seconds float64, millis int64, trace, method, route, principal string) {
	s.add(seconds, millis, trace, event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "http", Method: method, Route: route, Target: route,
		Status: 200, Principal: principal}})
}

// fill is a miss, the read behind it and the set.
func (s *told) fill(seconds float64, trace, key, value, id string) {
	s.cache(seconds, trace, event.Cache{Op: "get", Key: key, Hit: event.Some(false)})
	s.query(seconds+0.002, trace, "SELECT id, title FROM articles WHERE id = $1", "shop.views:show:12", id)
	s.cache(seconds+0.004, trace, event.Cache{Op: "set", Key: key, ValueHash: s.hash(value), ValueForm: "canonical", ValueKind: "value",
		FillStart: shopStart + int64(seconds*1e9) + 1e6, TTLMs: event.Some[int64](60_000)})
	s.request(seconds-0.001, 7, trace, "GET", "/articles/{id}", "ann")
}

func (s *told) hit(seconds float64, trace, key, value string) {
	s.cache(seconds, trace, event.Cache{Op: "get", Key: key, Hit: event.Some(true), ValueHash: s.hash(value), ValueForm: "canonical", ValueKind: "value"})
	s.request(seconds-0.001, 3, trace, "GET", "/articles/{id}", "bob")
}

func (s *told) write(seconds float64, trace, method, id string) {
	s.query(seconds, trace, "UPDATE articles SET title = $1 WHERE id = $2", "shop.views:write:44", "x", id)
	if method == "PUT" {
		s.cache(seconds+0.003, trace, event.Cache{Op: "delete", Key: "article:" + id, Removed: event.Some[int64](1), Code: "shop.cache:drop:8"})
	}
	s.request(seconds-0.001, 6, trace, method, "/articles/{id}", "ann")
}

// shop is a capture in which PUT drops the key and PATCH forgets it; after the mark another article is patched.
func shop(t *testing.T) (dir string, s *told) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.MkdirAll(capture.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := recorder.KeyFile("demarc test", filepath.Join(capture.Root, "key")); err != nil {
		t.Fatal(err)
	}
	hash, err := recorder.Hasher(filepath.Join(capture.Root, "key"))
	if err != nil {
		t.Fatal(err)
	}
	s = &told{hash: hash, src: &event.Source{Service: "shop", Host: "h", Pid: 7}}
	s.fill(1, "r1", "article:8", "E", "8")
	s.write(2, "w1", "PUT", "8")
	s.fill(3, "r2", "article:7", "A", "7")
	s.write(5, "w2", "PATCH", "7")
	s.hit(6, "r3", "article:7", "A")
	s.hit(7, "r4", "article:7", "A")
	s.fill(64, "r5", "article:7", "B", "7")
	s.add(100, 0, "", event.Event{Type: event.TypeMark, Mark: &event.Mark{Name: "deploy"}})
	s.fill(101, "r6", "article:9", "G", "9")
	s.write(102, "w3", "PATCH", "9")
	s.hit(103, "r7", "article:9", "G")
	s.fill(170, "r8", "article:9", "H", "9")
	return filepath.Join(capture.Root, "one"), s
}

// keep writes events as the capture dir.
func keep(t *testing.T, dir string, events []event.Event) {
	t.Helper()
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(events); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func mainOf(args ...string) (code int, stdout, stderr string) {
	var out, talk bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &talk)
	return code, out.String(), talk.String()
}

func TestStale(t *testing.T) {
	dir, s := shop(t)
	keep(t, dir, s.list)
	code, out, talk := mainOf("stale")
	for _, want := range []string{"1 finding", "3 stale reads of 3 hits", "forgot", "article:{}", "PATCH /articles/{id}", "COVERAGE", "demarc explain "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != 0 || !strings.Contains(talk, dir) {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	if code, _, talk := mainOf("stale", "--fail-on-findings"); code != fault.ExitFindings || !strings.Contains(talk, "3 stale reads") {
		t.Errorf("--fail-on-findings: exit code %d: %s", code, talk)
	}
}

func staleOf(t *testing.T, args ...string) *stale.Report {
	t.Helper()
	code, out, talk := mainOf(append([]string{"stale", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, talk)
	}
	var rep stale.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil || rep.Schema != stale.Schema {
		t.Fatalf("%v: %s", err, out)
	}
	return &rep
}

func TestStaleSinceAndBudgets(t *testing.T) {
	dir, s := shop(t)
	keep(t, dir, s.list)
	if rep := staleOf(t); rep.StaleReads != 3 || len(rep.Findings) != 1 {
		t.Errorf("%d stale reads in %d findings", rep.StaleReads, len(rep.Findings))
	}
	if rep := staleOf(t, "--since", "deploy"); rep.StaleReads != 1 {
		t.Errorf("%d stale reads since the mark", rep.StaleReads)
	}
	if code, _, talk := mainOf("stale", "--since", "release"); code != fault.ExitUsage || !strings.Contains(talk, "one of its marks: deploy") {
		t.Errorf("exit code %d: %s", code, talk)
	}
	// The family may be a second and a half old: only the read two seconds after the write is too old.
	if err := os.WriteFile("demarc.yaml", []byte("staleness: {default: 0s, \"article:{}\": 1500ms}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if rep := staleOf(t); rep.StaleReads != 1 {
		t.Errorf("%d stale reads beyond the budget", rep.StaleReads)
	}
	if err := os.WriteFile("other.yaml", []byte("staleness: {default: 1h}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if rep := staleOf(t, "--config", "other.yaml"); rep.StaleReads != 0 || len(rep.Findings) != 0 {
		t.Errorf("%d stale reads within an hour", rep.StaleReads)
	}
}

// Nothing found is not called clean where little was seen, and --fail-on-findings does not pass on nothing at all.
func TestStaleWithoutEvidence(t *testing.T) {
	dir, s := shop(t)
	var hits []event.Event
	for _, e := range s.list {
		if e.Cache != nil && e.Cache.Op == "get" && e.Cache.Hit.V {
			hits = append(hits, e)
		}
	}
	keep(t, dir, hits)
	code, out, talk := mainOf("stale", "--fail-on-findings")
	if code != fault.ExitTooFew || !strings.Contains(talk, "nothing can be decided") {
		t.Errorf("exit code %d: %s", code, talk)
	}
	if !strings.Contains(out, "not to say that there was none") || !strings.Contains(out, "0% of 3 hits could be judged") {
		t.Errorf("reads as clean:\n%s", out)
	}
}

func TestStaleOfAnEmptyCapture(t *testing.T) {
	dir := recorded(t)
	code, out, _ := mainOf("stale", dir)
	if code != 0 || !strings.Contains(out, "No cache hit was seen: there was nothing to judge") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, _, talk := mainOf("stale", "nowhere"); code == 0 || !strings.Contains(talk, "nowhere") {
		t.Errorf("exit code %d: %s", code, talk)
	}
}

func TestExplain(t *testing.T) {
	dir, s := shop(t)
	keep(t, dir, s.list)
	id := staleOf(t).Findings[0].ID
	code, out, talk := mainOf("explain", id[:6])
	for _, want := range []string{"forgot · proven · article:{}", "article:7", "/articles/{id} at shop.views:write:44", "fill", "refill", "advice"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d: %s", code, talk)
	}
	code, out, _ = mainOf("explain", id, dir, "--json")
	var f struct {
		Schema, ID string
		Witness    []stale.Step
	}
	if err := json.Unmarshal([]byte(out), &f); err != nil || code != 0 || f.ID != id || f.Schema != "demarc.explain/1" || len(f.Witness) < 3 {
		t.Errorf("%v, exit code %d: %s", err, code, out)
	}
	if code, _, talk := mainOf("explain", "zz"); code != fault.ExitUsage || !strings.Contains(talk, id) {
		t.Errorf("an unknown id: exit code %d: %s", code, talk)
	}
	if code, _, _ := mainOf("explain"); code != fault.ExitUsage {
		t.Errorf("without an id: exit code %d", code)
	}
	if ids := findingIDs(t.Context()); len(ids) != 1 || !strings.HasPrefix(ids[0], id) {
		t.Errorf("completes to %q", ids)
	}
}

func TestReportHTMLHasStaleReads(t *testing.T) {
	dir, s := shop(t)
	keep(t, dir, s.list)
	code, out, talk := mainOf("report", "--html", dir)
	if code != 0 || !strings.Contains(out, `<section id="stale">`) || !strings.Contains(out, "3 stale reads") {
		t.Errorf("exit code %d: %s\n%.300s", code, talk, out)
	}
}

func dependents(t *testing.T, args ...string) *stale.DryRun {
	t.Helper()
	code, out, talk := mainOf(append([]string{"stale", "--json", "--would-delete"}, args...)...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, talk)
	}
	var d stale.DryRun
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.Schema != stale.DependentsSchema {
		t.Fatalf("%v: %s", err, out)
	}
	return &d
}

// A dry run names the keys that a statement or a route would make old, the very row by the project's hashing key.
func TestWouldDelete(t *testing.T) {
	dir, s := shop(t)
	s.fill(171, "r9", "article:7", "B", "7") // its lifetime had ended
	keep(t, dir, s.list)
	keys := func(d *stale.DryRun) string {
		var out []string
		for _, x := range d.List {
			out = append(out, x.Key)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ what, want string }{
		{"UPDATE articles SET title = 'secret' WHERE id = 7", "article:7"},
		{"update articles set title = 'secret'", "article:7 article:9"},
		{"UPDATE articles SET views = 3 WHERE id = 7", ""},
		{"DELETE FROM articles WHERE id = 9", "article:9"},
		{"DELETE FROM orders", ""},
		{"PATCH /articles/{id}", "article:7 article:9"},
		{"/articles/{id}", "article:7 article:9"},
	} {
		d := dependents(t, c.what)
		if keys(d) != c.want || d.Keys != int64(len(d.List)) {
			t.Errorf("%s: %q of %d, expected %q", c.what, keys(d), d.Keys, c.want)
		}
		if strings.Contains(d.SQL, "secret") {
			t.Errorf("%s: the answer holds a value: %s", c.what, d.SQL)
		}
	}
	if d := dependents(t, "PATCH /articles/{id}"); d.Route == "" || d.List[0].Dropped != "key" || d.List[0].By == "" {
		t.Errorf("%+v", d)
	}
	code, out, _ := mainOf("stale", "--would-delete", "DELETE FROM articles WHERE id = 7", dir)
	if code != 0 || !strings.Contains(out, "1 live key depends on it") || !strings.Contains(out, "by key, ") {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"SELECT 1"}, fault.ExitUsage, "writes no table"},
		{[]string{"POST /nothing"}, fault.ExitUsage, "PATCH /articles/{id}"},
		{[]string{"DELETE FROM articles WHERE id = 7", "--key", "nowhere"}, fault.ExitFailed, "cannot read the hashing key nowhere"},
		{[]string{"DELETE FROM articles", "--since", "deploy"}, fault.ExitUsage, "since"},
	} {
		if code, _, talk := mainOf(append([]string{"stale", "--would-delete"}, c.args...)...); code != c.code || !strings.Contains(talk, c.say) {
			t.Errorf("%q: exit code %d, no %q in\n%s", c.args, code, c.say, talk)
		}
	}
}
