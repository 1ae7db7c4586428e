package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/compare"
	"github.com/demarc-dev/demarc/internal/fault"
)

// kept writes events as a capture in the working directory.
func kept(t *testing.T, dir string, events []event.Event) string {
	t.Helper()
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(events) > 0 {
		if err := w.Append(events); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// answered are n requests of two routes with their queries; those of /articles take factor times as long.
func answered(seed uint64, from int64, n int, factor float64, queries int) []event.Event {
	r := rand.New(rand.NewPCG(seed, 0))
	src := &event.Source{Service: "shop", Version: fmt.Sprint("1.", seed), Pid: 4, Host: "a"}
	var out []event.Event
	for i := range n {
		at := from + int64(i)*5e6
		trace := fmt.Sprintf("t%d.%d", seed, i)
		route, ms := "/articles", 20*factor
		if i%3 == 0 {
			route, ms = "/tags", 4
		} else {
			for k := range queries {
				out = append(out, event.Event{Type: event.TypeQuery, At: at + int64(k), Dur: event.Some(int64(1e5)), Trace: trace, Source: src,
					Query: &event.Query{DB: "sqlite", Text: "SELECT 1"}})
			}
		}
		out = append(out, event.Event{Type: event.TypeRequest, At: at, Dur: event.Some(int64(1e6 * ms * math.Exp(0.3*r.NormFloat64()))),
			Trace: trace, Source: src, Request: &event.Request{Kind: "http", Method: "GET", Route: route, Target: route, Status: 200, BodyBytes: event.Some(int64(900))}})
	}
	return out
}

const compareStart = int64(1_790_000_000_000_000_000)

func deployed(at int64) event.Event {
	return event.Event{Type: event.TypeMark, At: at, Mark: &event.Mark{Name: "deploy"}}
}

func demarcSays(args ...string) (stdout, stderr string, code int) {
	var out, talk bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &talk)
	return out.String(), talk.String(), code
}

func comparisonOf(t *testing.T, args ...string) compare.Result {
	t.Helper()
	out, talk, code := demarcSays(append([]string{"compare", "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, talk)
	}
	var res compare.Result
	if err := json.Unmarshal([]byte(out), &res); err != nil || res.Schema != compare.Schema {
		t.Fatalf("%v: %s", err, out)
	}
	return res
}

func rowOf(t *testing.T, res compare.Result, route, metric string) compare.Row {
	t.Helper()
	for _, r := range res.Routes {
		if r.Route == route && r.Metric == metric {
			return r
		}
	}
	t.Fatalf("no row %s of %s", metric, route)
	return compare.Row{}
}

func TestCompareCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	before, after := kept(t, "before", answered(1, compareStart, 3000, 1, 8)), kept(t, "after", answered(2, compareStart+3600e9, 3000, 0.7, 2))

	res := comparisonOf(t, before, after)
	if r := rowOf(t, res, "GET /articles", compare.P50); r.Verdict != compare.Better || r.N != [2]int64{2000, 2000} || *r.Change > -0.2 || *r.CI[1] >= 0 {
		t.Errorf("%+v", r)
	}
	if r := rowOf(t, res, "GET /articles", compare.QueriesPerRequest); r.Verdict != compare.Better || *r.Before != 8 || *r.After != 2 {
		t.Errorf("%+v", r)
	}
	if r := rowOf(t, res, "GET /tags", compare.P50); r.Verdict != compare.Nothing {
		t.Errorf("%+v", r)
	}
	if res.Verdict != compare.Better || res.Before.Name != "before" || res.After.Services[0] != "shop 1.2" {
		t.Errorf("%+v", res)
	}

	// Names and forms that other programs rely on.
	out, _, _ := demarcSays("compare", before, after, "--json")
	var raw struct{ Routes []map[string]any }
	if err := json.Unmarshal([]byte(out), &raw); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("route metric before after change ci p n verdict") {
		if _, ok := raw.Routes[0][name]; !ok {
			t.Errorf("no %q in a row", name)
		}
	}

	text, talk, code := demarcSays("compare", before, after)
	if code != 0 || talk != "" || strings.Contains(text, "\x1b") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	for _, want := range []string{"GET /articles", "better", "queries/request", "8.00", "2.00", "−75%", "~ no difference can be claimed"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	page, _, _ := demarcSays("compare", before, after, "--markdown")
	if !strings.HasPrefix(page, "## Better than before\n") || !strings.Contains(page, "| GET /articles | p50 |") || !strings.Contains(page, "<details>") {
		t.Error(page)
	}
	if _, talk, code := demarcSays("compare", before, after, "--html", "-o", "c.html"); code != 0 || !strings.Contains(talk, "wrote c.html") {
		t.Errorf("%d %s", code, talk)
	}
	if html, err := os.ReadFile("c.html"); err != nil || !bytes.Contains(html, []byte("GET /articles")) || bytes.Contains(html, []byte("http://")) {
		t.Errorf("%v %.300s", err, html)
	}
	if one := comparisonOf(t, before, after, "--route", "/tags"); len(one.New)+len(one.Gone) > 0 || one.Tests >= res.Tests {
		t.Errorf("%+v", one)
	}
}

// Before and after a mark within one capture; with two marks of the name the last one counts, and the first bounds the side before.
func TestCompareAtAMark(t *testing.T) {
	t.Chdir(t.TempDir())
	at := compareStart
	events := answered(1, at, 900, 5, 2)
	events = append(events, deployed(at+5e9))
	events = append(events, answered(2, at+6e9, 900, 1, 2)...)
	events = append(events, deployed(at+11e9))
	events = append(events, answered(3, at+12e9, 900, 2, 2)...)
	kept(t, filepath.Join(capture.Root, "one"), events)
	res := comparisonOf(t, "--mark", "deploy")
	if r := rowOf(t, res, "GET /articles", compare.P50); r.Verdict != compare.Worse || math.Abs(*r.Change-1) > 0.2 || r.N != [2]int64{600, 600} {
		t.Errorf("%+v", r)
	}
	if res.Before.Window != "between the last two marks deploy" || res.After.Window != "since deploy" {
		t.Errorf("%q, %q", res.Before.Window, res.After.Window)
	}
	// The same within two captures, of which only one has the mark.
	other := kept(t, "other", answered(4, at, 900, 2, 2))
	res = comparisonOf(t, filepath.Join(capture.Root, "one"), other, "--since", "deploy")
	if r := rowOf(t, res, "GET /articles", compare.P50); r.Verdict != compare.Nothing || r.N[0] != 600 {
		t.Errorf("%+v", r)
	}
	whole := compare.Doubt{Code: "no-mark", Text: "after: the capture has no mark deploy, so it was taken whole"}
	if !slices.Contains(res.Warnings, whole) {
		t.Errorf("that the second capture was taken whole is not said: %+v", res.Warnings)
	}
	if r := rowOf(t, comparisonOf(t, filepath.Join(capture.Root, "one"), other, "--until", "deploy"), "GET /articles", compare.P50); r.N[0] != 1200 {
		t.Errorf("%+v", r)
	}
}

func TestCompareExitCodes(t *testing.T) {
	t.Chdir(t.TempDir())
	kept(t, "many", answered(1, compareStart, 2000, 1, 1))
	kept(t, "slow", answered(2, compareStart, 2000, 2, 1))
	kept(t, "few", answered(3, compareStart, 6, 1, 1))
	kept(t, "empty", nil)
	if err := os.MkdirAll("broken", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("broken/manifest.json", []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		out  bool
		say  []string
	}{
		{"many slow", 0, true, nil},
		{"many slow --fail-on-worse", fault.ExitCheck, true, []string{"worse than before", "p50_ms of GET /articles", "→"}},
		{"slow many --fail-on-worse", 0, true, nil},
		{"many few", fault.ExitTooFew, true, []string{"nothing can be decided", "10 requests of a route"}},
		{"many empty", fault.ExitTooFew, true, []string{"nothing can be decided"}},
		{"many many", 0, true, nil},
		{"many", fault.ExitUsage, false, []string{"two captures are compared, 1 named", "--mark NAME"}},
		{"many slow third", fault.ExitUsage, false, nil},
		{"many slow --mark deploy", fault.ExitUsage, false, []string{"within one capture"}},
		{"many --mark deploy", fault.ExitUsage, false, []string{`at the mark "deploy"`, "has no mark of that name"}},
		{"many slow --since deploy", fault.ExitUsage, false, []string{"has no mark of that name"}},
		{"many slow --route /none", fault.ExitUsage, false, []string{`no requests of the route "/none"`, "GET /articles, GET /tags"}},
		{"many slow --confidence 95", fault.ExitUsage, false, []string{"--confidence 95", "below 1"}},
		{"many slow --min-effect -1", fault.ExitUsage, false, []string{"--min-effect -1"}},
		{"many slow --json --html", fault.ExitUsage, false, nil},
		{"many nowhere", 0, false, []string{"nowhere"}},
		{"many broken", fault.ExitCapture, false, []string{"broken"}},
		{"many slow -o no/such/file", fault.ExitFailed, false, []string{"cannot write no/such/file"}},
	} {
		out, talk, code := demarcSays(append([]string{"compare"}, strings.Fields(c.args)...)...)
		if c.code == 0 && c.say != nil {
			if code == 0 {
				t.Errorf("%s: exit code 0", c.args)
			}
		} else if code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s", c.args, code, c.code, talk)
		}
		if (out != "") != c.out {
			t.Errorf("%s: printed %q", c.args, out)
		}
		for _, want := range c.say {
			if !strings.Contains(talk, want) {
				t.Errorf("%s: no %q in\n%s", c.args, want, talk)
			}
		}
	}
}

func TestCompareCompletesCaptures(t *testing.T) {
	t.Chdir(t.TempDir())
	one := kept(t, filepath.Join(capture.Root, "20260101-a"), nil)
	two := kept(t, filepath.Join(capture.Root, "20260102-b"), nil)
	if err := os.MkdirAll(filepath.Join(capture.Root, "no-capture"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, _, _ := demarcSays("__complete", "compare", "")
	if !strings.HasPrefix(out, two+"\n"+one+"\n") || strings.Contains(out, "no-capture") {
		t.Errorf("%s", out)
	}
	if out, _, _ := demarcSays("__complete", "compare", two, ""); strings.Contains(out, two) || !strings.Contains(out, one) {
		t.Errorf("%s", out)
	}
}

// cached are requests of GET /article that read a cache; every so often POST /article changes the row and, where it forgets
// to drop the key, the hits until the entry's refill are stale.
func cached(from int64, n int, forgets bool) []event.Event {
	src := &event.Source{Service: "shop", Version: "1", Pid: 4, Host: "a"}
	row := event.Hash(7)
	var out []event.Event
	at := from
	version, held := event.Hash(100), event.Hash(0)
	add := func(trace string, e event.Event) {
		at += 1e6
		e.At, e.Dur, e.Trace, e.Source, e.Seq = at, event.Some(int64(1e5)), trace, src, uint64(len(out)+1)
		out = append(out, e)
	}
	request := func(trace, method, route string, begin int64) {
		add(trace, event.Event{Type: event.TypeRequest, Span: trace + "r", Request: &event.Request{Kind: "http", Method: method, Route: route, Target: route, Status: 200}})
		e := &out[len(out)-1]
		e.At, e.Dur = begin, event.Some(at-begin)
	}
	cache := func(c event.Cache) event.Event {
		c.Layer, c.Store, c.Key = "shared", "redis:6379/0", "article:1"
		return event.Event{Type: event.TypeCache, Cache: &c}
	}
	for i := range n {
		at += 20e6
		begin, trace := at, fmt.Sprint("t", from, ".", i)
		if i%20 == 10 {
			add(trace, event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "begin", DB: "postgresql", Txn: trace}})
			add(trace, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "UPDATE articles SET title = $1 WHERE id = $2",
				Params: []event.Hash{version + 1, row}, Rows: event.Some(int64(1)), Txn: trace, Code: "shop:edit:9"}})
			add(trace, event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "commit", DB: "postgresql", Txn: trace}})
			version++
			if !forgets {
				add(trace, cache(event.Cache{Op: "delete", Removed: event.Some(int64(1))}))
				held = 0
			}
			request(trace, "POST", "/article", begin)
			continue
		}
		if i%20 == 0 { // dropped by hand
			add(trace, cache(event.Cache{Op: "delete", Removed: event.Some(int64(1))}))
			held = 0
		}
		if held == 0 {
			add(trace, cache(event.Cache{Op: "get", Hit: event.Some(false)}))
			fill := at
			add(trace, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "SELECT id, title FROM articles WHERE id = $1",
				Params: []event.Hash{row}, PKs: []event.Hash{row}, Rows: event.Some(int64(1)), Code: "shop:read:3"}})
			held = version
			add(trace, cache(event.Cache{Op: "set", ValueHash: held, ValueForm: "canonical", ValueKind: "value", FillStart: fill, Code: "shop:read:4"}))
		} else {
			add(trace, cache(event.Cache{Op: "get", Hit: event.Some(true), ValueHash: held, ValueForm: "canonical", ValueKind: "value"}))
		}
		request(trace, "GET", "/article", begin)
	}
	return out
}

func TestCompareStaleReads(t *testing.T) {
	t.Chdir(t.TempDir())
	events := cached(compareStart, 600, true)
	mark := events[len(events)-1].At + 1e9
	events = append(append(events, deployed(mark)), cached(mark+60e9, 600, false)...)
	kept(t, "one", events)
	res := comparisonOf(t, "one", "--mark", "deploy")
	r := rowOf(t, res, "GET /article", compare.StaleReads)
	if r.Verdict != compare.Better || *r.Before < 0.2 || *r.After != 0 {
		t.Errorf("%+v, warnings %+v", r, res.Warnings)
	}
	without := comparisonOf(t, "one", "--mark", "deploy", "--stale", "never")
	for _, r := range without.Routes {
		if r.Metric == compare.StaleReads {
			t.Errorf("%+v", r)
		}
	}
	if _, talk, code := demarcSays("compare", "one", "one", "--stale", "maybe"); code != fault.ExitUsage || !strings.Contains(talk, "--stale maybe") {
		t.Errorf("%d %s", code, talk)
	}
}
