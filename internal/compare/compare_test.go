package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
)

// traffic makes requests with their queries and lookups: background work after the response, traces of several requests,
// of which some name their parents and some do not, requests without a trace, two processes.
func traffic(seed uint64, n int) []event.Event {
	r := rand.New(rand.NewPCG(seed, 1))
	sources := []*event.Source{{Service: "shop", Version: "1", Host: "a", Pid: 1}, {Service: "shop", Version: "1", Host: "b", Pid: 2}}
	at := int64(1_790_000_000_000_000_000)
	var out []event.Event
	for i := range n {
		at += int64(r.ExpFloat64() * 1e7)
		trace := fmt.Sprint("t", i)
		inner := 1
		if r.IntN(5) == 0 {
			inner = 2 + r.IntN(3)
		}
		if r.IntN(20) == 0 {
			trace = ""
		}
		linked := r.IntN(2) == 0
		for k := range inner {
			src := sources[r.IntN(2)]
			span := fmt.Sprint(trace, ".", k)
			begin := at + int64(k)*2e6
			dur := int64(1e6 * math.Exp(r.NormFloat64()))
			child := func(e event.Event, offset int64) {
				e.Trace, e.Source, e.At, e.Dur = trace, src, begin+offset, event.Some(int64(1000))
				if linked {
					e.Parent = span
				}
				out = append(out, e)
			}
			for range r.IntN(4) {
				child(event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "sqlite", Text: "SELECT 1"}}, r.Int64N(dur))
			}
			if r.IntN(2) == 0 {
				child(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "get", Layer: "local", Store: "s", Key: "k",
					Hit: event.Some(r.IntN(2) == 0), Count: event.Opt[int64]{V: int64(1 + r.IntN(3)), Known: r.IntN(4) == 0}}}, 0)
				child(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "set", Layer: "local", Store: "s", Key: "k"}}, 5)
			}
			req := &event.Request{Kind: "http", Method: "GET", Route: fmt.Sprint("/r", r.IntN(4)), Status: 200,
				Target: fmt.Sprint("/r?x=", r.IntN(9)), BodyBytes: event.Opt[int64]{V: int64(r.IntN(900)), Known: r.IntN(9) > 0}}
			if r.IntN(10) == 0 {
				req.Status = 503
			}
			if r.IntN(9) == 0 {
				req.Kind, req.Method, req.Route = "job", "", "mail"
			}
			e := event.Event{Type: event.TypeRequest, At: begin, Dur: event.Opt[int64]{V: dur, Known: r.IntN(50) > 0}, Trace: trace,
				Span: span, Source: src, Request: req}
			if k > 0 && linked {
				e.Parent = fmt.Sprint(trace, ".", k-1)
			}
			out = append(out, e)
			if r.IntN(6) == 0 { // background work
				child(event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "sqlite", Text: "UPDATE x"}}, dur+1e6)
			}
		}
	}
	return out
}

func samplesOf(t testing.TB, opt SampleOptions, events []event.Event) *Samples {
	t.Helper()
	s := New(opt)
	for part := range slices.Chunk(events, 100) {
		if err := s.Add(part); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func row(t testing.TB, rows []Row, route, metric string) Row {
	t.Helper()
	for _, r := range rows {
		if r.Route == route && r.Metric == metric {
			return r
		}
	}
	t.Fatalf("no row %s of %s in %+v", metric, route, rows)
	return Row{}
}

// The figures before are those of the baseline: the same requests with the same queries and lookups.
func TestFiguresOfTheBaseline(t *testing.T) {
	events := traffic(1, 3000)
	fold := baseline.New(baseline.Options{})
	for i := range events {
		fold.Add(&events[i])
	}
	rep := fold.Report()
	res := Compare(samplesOf(t, SampleOptions{}, events), samplesOf(t, SampleOptions{}, events), Options{})
	list := slices.Concat(rep.Routes, rep.Jobs)
	if len(list) != 5 {
		t.Fatalf("%d routes", len(list))
	}
	same := func(what string, got *float64, want, tolerance float64) {
		t.Helper()
		if got == nil {
			t.Fatalf("%s: not known", what)
		}
		if math.Abs(*got-want) > tolerance*want+1e-12 {
			t.Errorf("%s: %v, the baseline has %g", what, *got, want)
		}
	}
	for _, b := range list {
		if n := row(t, res.Routes, b.Route, ErrorRate).N[0]; n != b.Requests {
			t.Errorf("%s: %d requests, the baseline has %d", b.Route, n, b.Requests)
		}
		same(b.Route+" error rate", row(t, res.Routes, b.Route, ErrorRate).Before, b.ErrorRate, 1e-5)
		same(b.Route+" queries", row(t, res.Routes, b.Route, QueriesPerRequest).Before, b.QueriesPerRequest, 1e-5)
		same(b.Route+" misses", row(t, res.Routes, b.Route, MissesPerRequest).Before, b.Cache.MissesPerRequest, 1e-5)
		same(b.Route+" hit ratio", row(t, res.Routes, b.Route, HitRatio).Before, *b.Cache.HitRatio, 1e-5)
		same(b.Route+" p50", row(t, res.Routes, b.Route, P50).Before, *b.P50Ms, 2*baseline.RelativeError)
		same(b.Route+" p95", row(t, res.Routes, b.Route, P95).Before, *b.P95Ms, 2*baseline.RelativeError)
	}
	if list := claims(res); len(list) > 0 || res.Verdict != Nothing {
		t.Errorf("a side compared with itself: %v, %+v", res.Verdict, list)
	}
	for _, r := range slices.Concat(res.Routes, res.Totals) {
		if r.Change != nil && *r.Change != 0 {
			t.Errorf("%s of %s changed by %g between equal sides", r.Metric, r.Route, *r.Change)
		}
	}
}

// Only the fields that Needs names are looked at.
func TestNeeds(t *testing.T) {
	events := traffic(2, 500)
	var less []event.Event
	for _, e := range events {
		switch {
		case e.Request != nil:
			q := e.Request
			e.Request = &event.Request{Kind: q.Kind, Method: q.Method, Route: q.Route, Target: q.Target, Status: q.Status, Error: q.Error, BodyBytes: q.BodyBytes}
		case e.Cache != nil:
			e.Cache = &event.Cache{Op: e.Cache.Op, Hit: e.Cache.Hit, Count: e.Cache.Count}
		case e.Query != nil:
			e.Query = &event.Query{}
		}
		less = append(less, e)
	}
	other := samplesOf(t, SampleOptions{}, traffic(3, 500))
	whole := Compare(samplesOf(t, SampleOptions{}, events), other, Options{})
	part := Compare(samplesOf(t, SampleOptions{}, less), other, Options{})
	if !reflect.DeepEqual(whole, part) {
		t.Error("fields beyond Needs change the result")
	}
	for typ, names := range Needs() {
		for _, n := range names {
			if !slices.Contains(event.FieldNames(typ), n) && !slices.Contains(event.FieldNames(event.Other), n) && n != "source" {
				t.Errorf("no field %q of %q", n, typ)
			}
		}
	}
}

// requests makes n requests of one route, a hundred a second.
func requests(from int64, n int, each func(i int) (route, target string, ms float64, status int64)) []event.Event {
	var out []event.Event
	for i := range n {
		route, target, ms, status := each(i)
		out = append(out, event.Event{Type: event.TypeRequest, At: from + int64(i)*1e7, Dur: event.Some(int64(ms * 1e6)),
			Trace: fmt.Sprint("t", from, i), Source: &event.Source{Service: "shop", Version: "1"},
			Request: &event.Request{Kind: "http", Method: "GET", Route: route, Target: target, Status: status}})
	}
	return out
}

const start = int64(1_790_000_000_000_000_000)

// Other targets are asked for after, slower ones; each of them answers as it did. That is no difference, and it is said.
func TestMixOfTargets(t *testing.T) {
	side := func(seed uint64, slow int) *Samples {
		r := rand.New(rand.NewPCG(seed, 0))
		return samplesOf(t, SampleOptions{}, requests(start, 4000, func(i int) (string, string, float64, int64) {
			if r.IntN(10) < slow {
				return "/a", "/a?page=9", 50 * math.Exp(0.3*r.NormFloat64()), 200
			}
			return "/a", "/a?page=1", 5 * math.Exp(0.3*r.NormFloat64()), 200
		}))
	}
	res := Compare(side(1, 3), side(2, 7), Options{})
	if list := claims(res); len(list) > 0 {
		t.Errorf("the mix was taken for a difference: %+v", list)
	}
	p50 := row(t, res.Routes, "GET /a", P50)
	if !slices.Contains(p50.Notes, "mix") || math.Abs(*p50.Change) > 0.1 {
		t.Errorf("%+v", p50)
	}
	if len(res.Warnings) == 0 || res.Warnings[0].Code != "mix" {
		t.Errorf("warnings %+v", res.Warnings)
	}
	// The same again with a real difference in both.
	slower := func(seed uint64, slow int) *Samples {
		r := rand.New(rand.NewPCG(seed, 0))
		return samplesOf(t, SampleOptions{}, requests(start, 4000, func(i int) (string, string, float64, int64) {
			if r.IntN(10) < slow {
				return "/a", "/a?page=9", 60 * math.Exp(0.3*r.NormFloat64()), 200
			}
			return "/a", "/a?page=1", 6 * math.Exp(0.3*r.NormFloat64()), 200
		}))
	}
	p50 = row(t, Compare(side(1, 3), slower(2, 7), Options{}).Routes, "GET /a", P50)
	if p50.Verdict != Worse || *p50.Change < 0.1 || *p50.Change > 0.35 {
		t.Errorf("20%% slower under another mix: %+v", p50)
	}
}

// Nothing is common to both sides: they are compared as they are, and that is said.
func TestMixWithoutCommonTargets(t *testing.T) {
	side := func(page string, ms float64) *Samples {
		r := rand.New(rand.NewPCG(uint64(ms), 0))
		return samplesOf(t, SampleOptions{}, requests(start, 400, func(int) (string, string, float64, int64) {
			return "/a", "/a?page=" + page, ms * math.Exp(0.3*r.NormFloat64()), 200
		}))
	}
	res := Compare(side("1", 5), side("2", 50), Options{})
	p50 := row(t, res.Routes, "GET /a", P50)
	if !slices.Contains(p50.Notes, "mix-differs") || p50.Verdict != Worse {
		t.Errorf("%+v, warnings %+v", p50, res.Warnings)
	}
}

// Fewer requests go to the fast route; the totals are weighed to the mix before.
func TestMixOfRoutes(t *testing.T) {
	side := func(seed uint64, slow int) *Samples {
		r := rand.New(rand.NewPCG(seed, 0))
		return samplesOf(t, SampleOptions{}, requests(start, 4000, func(i int) (string, string, float64, int64) {
			if r.IntN(10) < slow {
				return "/slow", "/slow", 50 * math.Exp(0.3*r.NormFloat64()), 200
			}
			return "/fast", "/fast", 5 * math.Exp(0.3*r.NormFloat64()), 200
		}))
	}
	res := Compare(side(3, 3), side(4, 6), Options{})
	if list := claims(res); len(list) > 0 {
		t.Errorf("the mix was taken for a difference: %+v", list)
	}
	if r := row(t, res.Totals, TotalRoute, P50); !slices.Contains(r.Notes, "mix") || math.Abs(*r.Change) > 0.1 {
		t.Errorf("%+v", r)
	}
}

func TestTooFew(t *testing.T) {
	side := func(n int) *Samples {
		return samplesOf(t, SampleOptions{}, requests(start, n, func(i int) (string, string, float64, int64) { return "/a", "/a", float64(1 + i%7), 200 }))
	}
	for _, c := range []struct {
		n, other int
		few      map[string]int64
	}{
		{9, 1000, map[string]int64{P50: 10, P95: 100, P99: 500, ErrorRate: 10}},
		{10, 1000, map[string]int64{P95: 100, P99: 500}},
		{99, 99, map[string]int64{P95: 100, P99: 500}},
		{100, 499, map[string]int64{P99: 500}},
		{500, 500, map[string]int64{}},
	} {
		res := Compare(side(c.n), side(c.other), Options{})
		got := map[string]int64{}
		for _, r := range res.Routes {
			if r.Verdict == TooFew {
				got[r.Metric] = r.Needs
				if r.P != nil || r.CI != nil || r.Before == nil {
					t.Errorf("%+v", r)
				}
			}
		}
		if !reflect.DeepEqual(got, c.few) {
			t.Errorf("%d and %d requests: too few for %v, want %v", c.n, c.other, got, c.few)
		}
	}
	if res := Compare(side(3), side(3), Options{}); res.Verdict != TooFew {
		t.Errorf("verdict %s", res.Verdict)
	}
}

func TestNewGoneAndEmpty(t *testing.T) {
	side := func(route string) *Samples {
		return samplesOf(t, SampleOptions{}, requests(start, 200, func(i int) (string, string, float64, int64) {
			return []string{"/a", route}[i%2], "/", float64(1 + i%5), 200
		}))
	}
	res := Compare(side("/old"), side("/new"), Options{})
	if len(res.New) != 1 || res.New[0].Route != "GET /new" || res.New[0].Requests != 100 || *res.New[0].P50Ms != 3 ||
		len(res.Gone) != 1 || res.Gone[0].Route != "GET /old" {
		t.Errorf("new %+v, gone %+v", res.New, res.Gone)
	}
	empty := Compare(New(SampleOptions{}), side("/old"), Options{})
	if empty.Verdict != TooFew || len(empty.New) != 2 || len(empty.Routes) != 0 || empty.Warnings[0].Code != "empty" {
		t.Errorf("%+v", empty)
	}
	asJSON(t, empty)
	asJSON(t, Compare(New(SampleOptions{}), New(SampleOptions{}), Options{}))
}

func asJSON(t testing.TB, r *Result) string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{`"routes":null`, `"totals":null`, `"notes":null`, `"warnings":null`, `"services":null`} {
		if bytes.Contains(b, []byte(bad)) {
			t.Errorf("%s in %s", bad, b)
		}
	}
	return string(b)
}

// Errors that are many but all of one minute are one incident.
func TestBursts(t *testing.T) {
	side := func(from, to int) *Samples {
		return samplesOf(t, SampleOptions{}, requests(start, 3200, func(i int) (string, string, float64, int64) {
			status := int64(200)
			if i >= from && i < to {
				status = 500
			}
			return "/a", "/a", float64(5 + i%3), status
		}))
	}
	r := row(t, Compare(side(0, 0), side(500, 560), Options{}).Routes, "GET /a", ErrorRate)
	if r.Verdict != Nothing || !slices.Contains(r.Notes, "bursts") {
		t.Errorf("60 errors in a row: %+v", r)
	}
	spread := samplesOf(t, SampleOptions{}, requests(start, 3200, func(i int) (string, string, float64, int64) {
		return "/a", "/a", float64(5 + i%3), map[bool]int64{true: 500, false: 200}[i%53 == 0]
	}))
	if r := row(t, Compare(side(0, 0), spread, Options{}).Routes, "GET /a", ErrorRate); r.Verdict != Worse || *r.CI[0] <= 0 {
		t.Errorf("60 errors all over the time: %+v", r)
	}
}

// recorded says what a recorder said.
func recorded(at int64, rate float64, dropped int64, hook string) event.Event {
	return event.Event{Type: event.TypeRecorder, At: at, Source: &event.Source{Pid: 7}, Recorder: &event.Recorder{
		Rate: event.Some(rate), Dropped: event.Some(dropped), Hooks: []event.Pair{{Name: "redis", Value: hook}}}}
}

func TestRecordersThatSawDifferentThings(t *testing.T) {
	side := func(rate float64, dropped int64, hook string) *Samples {
		events := traffic(5, 800)
		events = append(events, recorded(events[0].At+1e6, rate, dropped, hook))
		return samplesOf(t, SampleOptions{}, events)
	}
	res := Compare(side(1, 0, "on"), side(0.1, 500, "failed"), Options{})
	var codes []string
	for _, w := range res.Warnings {
		codes = append(codes, w.Code)
	}
	for _, want := range []string{"dropped", "sample-rate", "hooks"} {
		if !slices.Contains(codes, want) {
			t.Errorf("no warning %s in %v", want, codes)
		}
	}
	if r := row(t, res.Routes, "GET /r1", QueriesPerRequest); r.P != nil || r.Verdict != Nothing || !slices.Contains(r.Notes, "sample-rate") {
		t.Errorf("%+v", r)
	}
	if r := row(t, res.Routes, "GET /r1", P50); r.P == nil {
		t.Errorf("times do not depend on the keys' rate: %+v", r)
	}
}

func TestStaleReads(t *testing.T) {
	side := func(n int64) *Samples {
		s := samplesOf(t, SampleOptions{}, requests(start, 2000, func(i int) (string, string, float64, int64) { return "/a", "/a", float64(1 + i%7), 200 }))
		s.AddStale(map[string]int64{"GET /a": n})
		return s
	}
	if r := row(t, Compare(side(40), side(0), Options{}).Routes, "GET /a", StaleReads); r.Verdict != Better || *r.Before != 0.02 || *r.After != 0 {
		t.Errorf("%+v", r)
	}
	if r := row(t, Compare(side(2), side(0), Options{}).Routes, "GET /a", StaleReads); r.Verdict != Nothing || *r.CI[0] >= 0 || *r.CI[1] <= 0 {
		t.Errorf("%+v", r)
	}
	one := side(3)
	two := samplesOf(t, SampleOptions{}, requests(start, 2000, func(i int) (string, string, float64, int64) { return "/a", "/a", 1, 200 }))
	if res := Compare(one, two, Options{}); !slices.Contains(res.Unasked, StaleReads) {
		t.Errorf("left out: %v", res.Unasked)
	}
}

// One query less in every request is a difference although nothing varies; 10 requests are enough.
func TestConstantCounts(t *testing.T) {
	side := func(queries, n int) *Samples {
		s := New(SampleOptions{})
		s.seen.queries = true
		for i := range n {
			s.take(s.route(routeKey{method: "GET", route: "/a"}), &sample{at: start + int64(i)*1e7, dur: int64(1e6 + i%9*1e5), queries: uint32(queries), bytes: noBytes})
		}
		return s
	}
	r := row(t, Compare(side(24, 40), side(4, 40), Options{}).Routes, "GET /a", QueriesPerRequest)
	if r.Verdict != Better || math.Abs(*r.Change+20.0/24) > 1e-12 {
		t.Errorf("%+v", r)
	}
	if r := row(t, Compare(side(4, 40), side(4, 40), Options{}).Routes, "GET /a", QueriesPerRequest); r.Verdict != Nothing || r.P != nil {
		t.Errorf("%+v", r)
	}
	if r := row(t, Compare(side(0, 40), side(3, 40), Options{}).Routes, "GET /a", QueriesPerRequest); r.Verdict != Worse || r.ChangeIs != Difference || *r.Change != 3 {
		t.Errorf("from nothing: %+v", r)
	}
}

// What is more than the limit is halved, evenly; small routes stay whole, and the figures stay close.
func TestSubset(t *testing.T) {
	side := func(seed uint64, limit int) *Samples {
		r := rand.New(rand.NewPCG(seed, 0))
		return samplesOf(t, SampleOptions{MaxRequests: limit}, requests(start+int64(seed), 20000, func(i int) (string, string, float64, int64) {
			if i%100 == 0 {
				return "/rare", "/rare", 5 * math.Exp(0.3*r.NormFloat64()), 200
			}
			return "/busy", "/busy", 5 * math.Exp(0.3*r.NormFloat64()), 200
		}))
	}
	whole, part := side(1, 0), side(1, 5000)
	res := Compare(whole, part, Options{})
	if part.kept > 5000 || res.After.Kept > 5000 || res.After.Requests != 20000 {
		t.Errorf("%d kept of %d", res.After.Kept, res.After.Requests)
	}
	busy, rare := row(t, res.Routes, "GET /busy", P50), row(t, res.Routes, "GET /rare", P50)
	if rare.N != [2]int64{200, 200} || busy.N[1] < 2000 || busy.N[1] > 5000 || !slices.Contains(busy.Notes, "subset") {
		t.Errorf("busy %+v, rare %+v", busy.N, rare.N)
	}
	if len(claims(res)) > 0 || math.Abs(*busy.Change) > 0.05 {
		t.Errorf("%+v", claims(res))
	}
	// A kept request of the busy route stands for several in the totals.
	if r := row(t, res.Totals, TotalRoute, P99); math.Abs(*r.Change) > 0.1 {
		t.Errorf("%+v", r)
	}
}

func TestWindow(t *testing.T) {
	events := requests(start, 100, func(i int) (string, string, float64, int64) { return "/a", "/a", float64(1 + i), 200 })
	cut := start + 50*1e7
	before, after := samplesOf(t, SampleOptions{To: cut}, events), samplesOf(t, SampleOptions{From: cut}, events)
	res := Compare(before, after, Options{})
	if res.Before.Requests != 50 || res.After.Requests != 50 || row(t, res.Routes, "GET /a", P50).Verdict != Worse {
		t.Errorf("%+v %+v", res.Before, res.After)
	}
}

func TestMinEffect(t *testing.T) {
	side := func(factor float64) *Samples {
		r := rand.New(rand.NewPCG(uint64(factor*100), 0))
		return samplesOf(t, SampleOptions{}, requests(start, 3000, func(i int) (string, string, float64, int64) {
			return "/a", "/a", factor * 5 * math.Exp(0.05*r.NormFloat64()), 200
		}))
	}
	for effect, want := range map[float64]Verdict{-1: Worse, 0.01: Worse, 0.2: Nothing} {
		if r := row(t, Compare(side(1), side(1.1), Options{MinEffect: effect}).Routes, "GET /a", P50); r.Verdict != want {
			t.Errorf("least effect %g: %s, want %s", effect, r.Verdict, want)
		}
	}
}

func TestRoutesAsked(t *testing.T) {
	a, b := traffic(8, 600), traffic(9, 600)
	all := Compare(samplesOf(t, SampleOptions{}, a), samplesOf(t, SampleOptions{}, b), Options{})
	one := Compare(samplesOf(t, SampleOptions{}, a), samplesOf(t, SampleOptions{}, b), Options{Routes: []string{"/r2"}})
	if one.Tests >= all.Tests || len(one.New)+len(one.Gone) > 0 {
		t.Errorf("%d tests of one route, %d of all", one.Tests, all.Tests)
	}
	for _, r := range one.Routes {
		if r.Route != "GET /r2" {
			t.Errorf("route %s", r.Route)
		}
	}
}

// Requests that took no measurable time, all of one trace, more of them than are joined: none is lost.
func TestManyInOneTrace(t *testing.T) {
	events := requests(start, 600, func(int) (string, string, float64, int64) { return "/a", "/a", 0, 200 })
	for i := range events {
		events[i].Trace = "one"
	}
	res := Compare(samplesOf(t, SampleOptions{}, events), samplesOf(t, SampleOptions{},
		requests(start, 600, func(i int) (string, string, float64, int64) { return "/a", "/a", float64(i % 3), 200 })), Options{})
	r := row(t, res.Routes, "GET /a", P95)
	if r.N != [2]int64{600, 600} || r.ChangeIs != Difference || *r.Change != 2 || *r.CI[0] != 2 || r.Verdict != Worse {
		t.Errorf("%+v", r)
	}
}

// The same events give the same result, byte by byte, whatever is worked on at the same time.
func TestSameEventsSameResult(t *testing.T) {
	run := func(parallel func(int, func(int))) string {
		return asJSON(t, Compare(samplesOf(t, SampleOptions{}, traffic(1, 700)), samplesOf(t, SampleOptions{}, traffic(2, 700)),
			Options{Parallel: parallel}))
	}
	first := run(nil)
	for range 3 {
		got := run(func(n int, work func(int)) {
			var wait sync.WaitGroup
			for i := range n {
				wait.Go(func() { work(n - 1 - i) })
			}
			wait.Wait()
		})
		if got != first {
			t.Fatal("another result for the same events")
		}
	}
}

// Whatever is read as events can be compared; what is written is JSON, and limits hold.
func FuzzCompare(f *testing.F) {
	line := func(events []event.Event) []byte {
		var b []byte
		for i := range events {
			b = append(event.AppendJSON(b, &events[i]), '\n')
		}
		return b
	}
	f.Add(line(traffic(1, 12)), line(traffic(2, 12)))
	f.Add([]byte(`{"type":"request","at":9223372036854775807,"dur":9223372036854775807,"route":"/x","trace":"t"}
{"type":"request","at":1,"dur":0,"route":"/x","body_bytes":9223372036854775807}
{"type":"cache","at":1,"trace":"t","op":"get","hit":true,"count":9223372036854775807}`),
		[]byte(strings.Repeat(`{"type":"request","at":5,"dur":3,"route":"/x","status":500}`+"\n", 12)))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		var sides [2]*Samples
		for i, data := range [][]byte{before, after} {
			sides[i] = New(SampleOptions{MaxRequests: 64, MaxRoutes: 3, MaxTraces: 8, MaxItems: 40})
			for line := range bytes.Lines(data) {
				e, err := event.ParseJSON(line)
				if err != nil {
					continue
				}
				if err := sides[i].Add([]event.Event{e}); err != nil {
					t.Fatal(err)
				}
				if s := sides[i]; s.kept > 64 || s.join.live.Len() > 8 || s.join.live.Items() > 40 || len(s.routes) > 5 {
					t.Fatalf("limits passed: %d requests, %d traces, %d items, %d routes", s.kept, s.join.live.Len(), s.join.live.Items(), len(s.routes))
				}
			}
		}
		asJSON(t, Compare(sides[0], sides[1], Options{}))
	})
}

func BenchmarkAdd(b *testing.B) {
	events := traffic(1, 20000)
	s := New(SampleOptions{})
	shift := events[len(events)-1].At - events[0].At + 60e9
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := s.Add(events[n : n+1]); err != nil {
			b.Fatal(err)
		}
		if n++; n == len(events) {
			n = 0
			for k := range events {
				events[k].At += shift
			}
		}
	}
}

func BenchmarkCompare(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x, y := drawn(1, shapes()[0], 5, n/5, 1), drawn(2, shapes()[0], 5, n/5, 1)
			b.ReportAllocs()
			for b.Loop() {
				Compare(x, y, Options{})
			}
		})
	}
}
