package check

import (
	"encoding/json"
	"encoding/xml"
	"math"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/fault"
)

// traffic folds n requests of each route: their duration grows evenly from 1 to n ms, every k-th fails, each asks two queries
// and looks up one key, of which one in ten is missed.
func traffic(n, k int, routes ...string) *baseline.Report {
	fold := baseline.New(baseline.Options{})
	at, seq := int64(1_790_000_000_000_000_000), uint64(0)
	source := &event.Source{Service: "shop", Pid: 1}
	for _, route := range routes {
		for i := 1; i <= n; i++ {
			at += 1e7
			trace := route + string(rune('a'+i%26)) + strings.Repeat("x", i/26%8) + string(rune('a'+i/208))
			add := func(e event.Event) {
				seq++
				e.At, e.Trace, e.Source, e.Seq = at, trace, source, seq
				fold.Add(&e)
			}
			for range 2 {
				add(event.Event{Type: event.TypeQuery, Dur: event.Some(int64(1e5)), Query: &event.Query{DB: "sqlite", Text: "SELECT 1"}})
			}
			add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "get", Layer: "local", Store: "s", Key: "k", Hit: event.Some(i%10 != 0)}})
			status := int64(200)
			if k > 0 && i%k == 0 {
				status = 500
			}
			add(event.Event{Type: event.TypeRequest, Dur: event.Some(int64(i) * 1e6), Request: &event.Request{
				Kind: "http", Method: "GET", Route: route, Target: route, Status: status, BodyBytes: event.Some(int64(100))}})
		}
	}
	rep := fold.Report()
	return &rep
}

func evaluate(t *testing.T, f Figures, line string) []Result {
	t.Helper()
	c, err := Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Evaluate(c)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEvaluate(t *testing.T) {
	f := Figures{
		Report: traffic(1000, 100, "/a"), Baseline: traffic(1000, 0, "/a"),
		Stale: &Stale{Judged: 900, Total: StaleCount{3, 1}, Routes: map[string]StaleCount{"GET /a": {StaleReads: 3}},
			Families: map[string]FamilyCount{"a:{}": {StaleCount{3, 1}, 900, 100}, "b:{}": {StaleCount{}, 5, 5}}},
	}
	for line, want := range map[string]Verdict{
		`p50_ms < 502`:                                   Pass,
		`p50_ms of "GET /a" < 490`:                       Fail,
		`p95_ms of "GET /a" <= 960`:                      Pass,
		`p99_ms > 2s`:                                    Fail,
		`p95_ms <= 1.01 * baseline`:                      Pass,
		`p95_ms < 0.9 * baseline`:                        Fail,
		`p95_ms < 0.9*baseline + 200 ms`:                 Pass,
		`error_rate < 5%`:                                Pass, // 10 of 1000: 0.48 % to 1.83 %
		`error_rate < 0.1%`:                              Fail,
		`error_rate < 1.5%`:                              Undecided,
		`error_rate < 0.9%`:                              Undecided,
		`error_rate == 0`:                                Fail,
		`error_rate <= 0`:                                Fail,
		`error_rate <= baseline`:                         Fail, // 0 of 1000: at most 0.37 %
		`error_rate <= baseline + 1%`:                    Pass,
		`error_rate <= baseline + 0.5%`:                  Undecided,
		`requests == 1000`:                               Pass,
		`rate > 90/s`:                                    Pass,
		`queries_per_request == 2`:                       Pass,
		`queries_per_request of * < 2`:                   Fail,
		`duplicate_queries_per_request <= 1`:             Pass,
		`duplicate_queries_per_request of "GET /a" != 1`: Fail,
		`db_time_share < 1%`:                             Pass,
		`bytes_p50 of * <= 101 B`:                        Pass,
		`misses_per_request <= 0.1`:                      Pass,
		`hit_ratio >= 80%`:                               Pass,
		`hit_ratio > 95%`:                                Fail,
		`hit_ratio of "GET /a" >= 89%`:                   Undecided,
		`hit_ratio of family "a:{}" >= 80%`:              Pass,
		`hit_ratio of family "b:{}" >= 80%`:              Undecided,
		`stale_reads == 0`:                               Fail,
		`stale_reads <= 3`:                               Pass,
		`stale_reads of "GET /a" < 3`:                    Fail,
		`stale_reads of family "b:{}" == 0`:              Pass,
		`leaks == 0`:                                     Fail,
	} {
		for _, r := range evaluate(t, f, line) {
			if r.Verdict != want {
				t.Errorf("%s: %s (%s), want %s", line, r.Verdict, r.Says(), want)
			}
			if r.Value == nil || r.Bound == nil {
				t.Errorf("%s: value and bound are not side by side: %s", line, r.Says())
			}
		}
	}
}

// A percentile beyond a relative bound fails only if chance does not give as much.
func TestChangeByChance(t *testing.T) {
	f := Figures{Report: traffic(1000, 0, "/a"), Baseline: traffic(1000, 0, "/a")}
	for _, tc := range []struct {
		line   string
		lo, hi float64
		ok     bool
		want   Verdict
	}{
		{`p95_ms <= 0.9 * baseline`, -0.05, 0.05, true, Fail},
		{`p95_ms <= 0.9 * baseline`, -0.15, 0.15, true, Undecided},
		{`p95_ms <= 0.9 * baseline`, -0.15, 0.15, false, Fail},
		{`p95_ms <= 1.1 * baseline`, -0.15, 0.15, true, Pass},
		{`p95_ms > 1.1 * baseline`, -0.15, 0.15, true, Undecided},
		{`p95_ms of * < baseline - 50 ms`, -0.15, 0.15, true, Undecided},
		{`p95_ms < 900`, -0.15, 0.15, true, Fail},
	} {
		f.Change = func(route, metric string) (float64, float64, bool) {
			if want := map[bool]string{true: "GET /a", false: ""}[strings.Contains(tc.line, "of *")]; route != want || metric != "p95_ms" {
				t.Errorf("asked for %s of %q", metric, route)
			}
			return tc.lo, tc.hi, tc.ok
		}
		if r := evaluate(t, f, tc.line)[0]; r.Verdict != tc.want {
			t.Errorf("%+v: %s (%s)", tc, r.Verdict, r.Says())
		}
	}
}

// What cannot be decided says why, and how many samples it would take.
func TestUndecided(t *testing.T) {
	few := Figures{Report: traffic(99, 0, "/a"), Stale: &Stale{Why: "no hit could be judged at all"}}
	blind := Figures{Report: func() *baseline.Report { r := baseline.New(baseline.Options{}).Report(); return &r }()}
	for _, tc := range []struct {
		f      Figures
		line   string
		needed int64
		why    string
	}{
		{few, `p95_ms of "GET /a" < 1000`, 100, "too few samples: 99, 100 are needed"},
		{few, `p99_ms < 1000`, 500, "500 are needed"},
		{few, `error_rate < 0.1%`, 3688, "0 of 99, so it is between 0% and 3.66%; about 3,68"},
		{few, `p50_ms < 2 * baseline`, 0, "no baseline"},
		{few, `stale_reads == 0`, 0, "no hit could be judged at all"},
		{blind, `p95_ms of * < 3`, 0, "no request was seen"},
		{blind, `error_rate < 3%`, 0, "no request was seen"},
		{blind, `queries_per_request < 3`, 0, "no query was seen"},
		{blind, `hit_ratio > 3%`, 0, "no cache operation"},
		{blind, `stale_reads == 0`, 0, "not looked for"},
	} {
		for _, r := range evaluate(t, tc.f, tc.line) {
			if r.Verdict != Undecided || !strings.Contains(r.Says(), tc.why) {
				t.Errorf("%s: %s (%s), want %q", tc.line, r.Verdict, r.Says(), tc.why)
			}
			if tc.needed > 0 && (r.Needed == nil || math.Abs(float64(*r.Needed-tc.needed)) > float64(tc.needed)/500) {
				t.Errorf("%s: needs %v, want %d", tc.line, r.Needed, tc.needed)
			}
		}
	}
}

// The number that is said to be needed tells indeed, and not much less does.
func TestNeededTells(t *testing.T) {
	for _, tc := range []struct {
		k, n  int64
		bound float64
	}{{0, 10, 0.001}, {1, 50, 0.05}, {90, 100, 0.85}, {3, 1000, 0.002}} {
		need := needed(tc.k, tc.n, tc.bound)
		p := float64(tc.k) / float64(tc.n)
		tells := func(n float64) bool {
			lo, hi := interval(math.Round(p*n), n)
			return lo > tc.bound || hi < tc.bound
		}
		if need <= tc.n || !tells(float64(need)) || tells(math.Floor(float64(need)*0.8)) {
			t.Errorf("%+v: %d", tc, need)
		}
	}
	if needed(5, 100, 0.05) != 0 {
		t.Error("a share that is the bound itself can be told from it")
	}
}

// The interval is that of the field's tables.
func TestInterval(t *testing.T) {
	for _, tc := range []struct{ k, n, lo, hi float64 }{
		{0, 10, 0, 0.3085}, {1, 10, 0.0025, 0.4450}, {5, 10, 0.1871, 0.8129}, {10, 10, 0.6915, 1}, {3, 1000, 0.000619, 0.008742},
	} {
		lo, hi := interval(tc.k, tc.n)
		if math.Abs(lo-tc.lo) > 1e-4 || math.Abs(hi-tc.hi) > 1e-4 {
			t.Errorf("%v of %v: %.5f to %.5f, want %.5f to %.5f", tc.k, tc.n, lo, hi, tc.lo, tc.hi)
		}
	}
}

func TestUnknownRoute(t *testing.T) {
	f := Figures{Report: traffic(10, 0, "/articles", "/feed"), Baseline: traffic(10, 0, "/old"), Stale: &Stale{Families: map[string]FamilyCount{"a:{}": {}}}}
	for line, want := range map[string]string{
		`p95_ms of "GET /article" < 3`:    `did you mean "GET /articles"?`,
		`p95_ms of "PATCH /xyzzy" < 3`:    `one of "GET /articles", "GET /feed", "GET /old"`,
		`hit_ratio of family "b:{}" > 3%`: `did you mean "a:{}"?`,
	} {
		c, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		c.Line = 7
		err = f.Validate("demarc check", []Check{c})
		if err == nil || fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(fault.Text(err), want) || !strings.Contains(err.Error(), "in line 7: ") {
			t.Errorf("%s: %v", line, fault.Text(err))
		}
	}
	c, _ := Parse(`p95_ms of "GET /old" < 3`) // known from the baseline, not asked in the capture
	if err := f.Validate("demarc check", []Check{c}); err != nil {
		t.Error(err)
	}
	if r := evaluate(t, f, `p95_ms of "GET /old" < 3`); r[0].Verdict != Undecided || r[0].Reason != noRequest {
		t.Errorf("%+v", r)
	}
}

func TestReport(t *testing.T) {
	f := Figures{Report: traffic(1000, 100, "/a", "/b")}
	rep := &Report{Start: "2026-01-01T00:00:00.000Z"}
	for _, line := range []string{`p95_ms of * < 100`, `p50_ms < 1s`, `p99_ms of "GET /a" < 990`, `error_rate < 1.5%`} {
		rep.Checks = append(rep.Checks, evaluate(t, f, line)...)
	}
	rep.Checks = append(rep.Checks, Result{Check: "run: x\x1b[2J", Kind: Command, Verdict: Fail, Reason: "exit 3", Tail: "a\x00b<&>\n\x1b[31mc"})
	rep.Finish()
	if rep.Verdict != Fail || rep.ExitCode() != fault.ExitCheck || rep.Counts.Fail < 3 {
		t.Errorf("%+v", rep.Counts)
	}
	var text, junit, js strings.Builder
	if err := rep.Table(&text, Text{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsRune(text.String(), 0x1b) || !strings.Contains(text.String(), "950 ms, bound < 100 ms") {
		t.Errorf("%s", text.String())
	}
	if err := rep.JUnit(&junit); err != nil {
		t.Fatal(err)
	}
	var suite junitSuite
	if err := xml.Unmarshal([]byte(junit.String()), &suite); err != nil {
		t.Fatalf("%v\n%s", err, junit.String())
	}
	if suite.Failures != rep.Counts.Fail || suite.Errors != rep.Counts.Undecided || suite.Tests != len(suite.Cases) || suite.Cases[0].Failure.Message == "" {
		t.Errorf("%+v", suite)
	}
	if err := rep.JSON(&js); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal([]byte(js.String()), &back); err != nil || back.Schema != Schema || len(back.Checks) != len(rep.Checks) {
		t.Errorf("%v %+v", err, back)
	}
	if lines := rep.Failures(); len(lines) != rep.Counts.Fail || !strings.HasPrefix(lines[0], "failed: p95_ms of * < 100 (GET /a): 950") {
		t.Errorf("%q", lines)
	}
	undecided := &Report{Checks: []Result{{Verdict: Undecided}, {Verdict: Pass}}}
	if undecided.Finish(); undecided.ExitCode() != fault.ExitTooFew {
		t.Errorf("%+v", undecided)
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0 ms", 0.0123: "0.0123 ms", 1: "1 ms", 99.96: "100 ms", 299.7: "300 ms", 1234.5: "1,234 ms", 12345678: "12,345,678 ms"} {
		if got := millis.show(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	if a, b := millis.shown(299.98, 300); a == b {
		t.Errorf("%s and %s look the same", a, b)
	}
	if a, _ := share.shown(0.00123, 0.001); a != "0.123%" {
		t.Error(a)
	}
}
