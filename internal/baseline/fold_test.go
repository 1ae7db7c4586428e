package baseline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/join"
)

func fold(opt Options, events []event.Event) *Fold {
	f := New(opt)
	for i := range events {
		f.Add(&events[i])
	}
	return f
}

func asJSON(t testing.TB, r Report) string {
	t.Helper()
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func same(t *testing.T, what string, want, got Report) {
	t.Helper()
	w, g := strings.Split(asJSON(t, want), "\n"), strings.Split(asJSON(t, got), "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			t.Fatalf("%s: line %d of the report differs\nwant %s\ngot  %s", what, i, w[i], g[min(i, len(g)-1)])
		}
	}
}

// The same history, however it is cut into folds, in whatever order inside the join bound, and with reports taken on
// the way, gives the same report.
func TestSameHistorySameReport(t *testing.T) {
	for seed := range uint64(8) {
		events := traffic(seed, 600)
		want := fold(Options{}, events).Report()
		if want.Totals.Requests < 400 || len(want.Routes) != 3 || len(want.Jobs) != 1 {
			t.Fatalf("the traffic is not what the test means: %d requests, %d routes", want.Totals.Requests, len(want.Routes))
		}
		r := rand.New(rand.NewPCG(seed, 2))

		for _, n := range []int{2, 3, 7} {
			shards := make([]*Fold, n)
			for i := range shards {
				shards[i] = New(Options{})
			}
			for i := range events {
				h := fnv.New32()
				h.Write([]byte(events[i].Trace))
				shards[int(h.Sum32())%n].Add(&events[i])
			}
			r.Shuffle(n, func(i, j int) { shards[i], shards[j] = shards[j], shards[i] })
			all := New(Options{})
			for _, s := range shards {
				all.Merge(s)
			}
			same(t, fmt.Sprintf("seed %d, %d shards by trace", seed, n), want, all.Report())
		}

		// Cut in time: traces straddle the cut and are joined by Merge.
		cut := r.IntN(len(events))
		a, b := fold(Options{}, events[:cut]), fold(Options{}, events[cut:])
		b.Merge(a)
		same(t, fmt.Sprintf("seed %d, cut at %d", seed, cut), want, b.Report())

		shuffled := slices.Clone(events)
		for i := range shuffled { // each event moves by at most 40 places, far less than JoinAge
			j := min(i+r.IntN(40), len(shuffled)-1)
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		}
		f := New(Options{})
		for i := range shuffled {
			f.Add(&shuffled[i])
			if i%97 == 0 {
				f.Report()
			}
		}
		same(t, fmt.Sprintf("seed %d, out of order, with reports on the way", seed), want, f.Report())
		same(t, "a second report", want, f.Report())

		// Traces closed as soon as possible: JoinAge is the least that this order needs.
		early := fold(Options{JoinAge: 60e6, OpenAge: 60e6}, events)
		early.live.Clock += 1e12
		early.expire()
		if early.live.Len() != 0 || early.live.Items() != 0 {
			t.Fatalf("%d traces with %d items left after everything was closed", early.live.Len(), early.live.Items())
		}
		got := early.Report()
		got.Coverage.OpenTraces = want.Coverage.OpenTraces
		same(t, fmt.Sprintf("seed %d, closed early", seed), want, got)
	}
}

// Percentiles keep the promised distance to the exact value at their rank.
func TestPercentileError(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{1, 2, 10, 999, 20000} {
		f := New(Options{})
		var exact []int64
		for range n {
			d := int64(math.Exp(r.NormFloat64()*2+15)) + 1
			exact = append(exact, d)
			f.Add(&event.Event{Type: event.TypeRequest, At: 1e18, Dur: event.Some(d),
				Request: &event.Request{Kind: "http", Method: "GET", Route: "/", Status: 200}})
		}
		slices.Sort(exact)
		got := f.Report().Routes[0]
		for _, q := range []struct {
			q float64
			v *float64
		}{{0.5, got.P50Ms}, {0.95, got.P95Ms}, {0.99, got.P99Ms}} {
			want := float64(exact[int(q.q*float64(n-1))]) / 1e6
			if math.Abs(*q.v-want) > want*(RelativeError+1e-5) {
				t.Errorf("n=%d q=%g: got %g, exact %g", n, q.q, *q.v, want)
			}
		}
		var inBuckets int64
		for _, b := range got.Latency {
			inBuckets += b.Count
		}
		if inBuckets != int64(n) {
			t.Errorf("n=%d: buckets hold %d", n, inBuckets)
		}
	}
}

const at = int64(1_700_000_000_000_000_000)

// script reads events from lines of JSON in which "at" counts in milliseconds from a fixed time, as do "dur" and
// "fill_start".
func script(t testing.TB, lines string) []event.Event {
	t.Helper()
	var out []event.Event
	for l := range strings.Lines(lines) {
		if l = strings.TrimSpace(l); l == "" || strings.HasPrefix(l, "//") {
			continue
		}
		e, err := event.ParseJSON([]byte(l))
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		e.At = at + e.At*1e6
		e.Dur.V *= 1e6
		if e.Cache != nil && e.Cache.FillStart != 0 {
			e.Cache.FillStart = at + e.Cache.FillStart*1e6
		}
		out = append(out, e)
	}
	return out
}

func TestRouteFigures(t *testing.T) {
	// One request with six queries: five of one fingerprint, two of them with equal parameters; two overlap in time and
	// one goes on in the background after the response. A second one fails, a third has no route.
	r := fold(Options{}, script(t, `
{"type":"query","at":1010,"dur":10,"trace":"t1","db":"sqlite","text":"SELECT a","code":"m:f:1"}
{"type":"query","at":1020,"dur":10,"trace":"t1","db":"sqlite","text":"SELECT b","params":["0000000000000001"],"code":"m:g:2"}
{"type":"query","at":1025,"dur":10,"trace":"t1","db":"sqlite","text":"SELECT  b","params":["0000000000000002"],"code":"m:g:2"}
{"type":"query","at":1040,"dur":10,"trace":"t1","db":"sqlite","text":"SELECT b","params":["0000000000000002"],"code":"m:g:2"}
{"type":"query","at":1050,"dur":10,"trace":"t1","db":"sqlite","text":"SELECT b","params":["0000000000000003"],"code":"m:h:3"}
{"type":"cache","at":1060,"dur":1,"trace":"t1","op":"get","layer":"shared","store":"redis","key":"k","hit":false}
{"type":"cache","at":1061,"dur":1,"trace":"t1","op":"get","layer":"local","store":"lru","key":"k","hit":true,"count":3}
{"type":"request","at":1000,"dur":100,"trace":"t1","span":"s1","kind":"http","method":"GET","route":"/a/{id}","target":"/a/7","status":200,"body_bytes":1000,"headers":{"x-cache":"MISS, HIT","age":"12"}}
{"type":"query","at":1090,"dur":30,"trace":"t1","db":"sqlite","text":"SELECT b","params":["0000000000000004"],"code":"m:g:2"}
{"type":"request","at":2000,"dur":200,"trace":"t2","kind":"http","method":"GET","route":"/a/{id}","target":"/a/8","status":500,"error":"ValueError at m:f:9"}
{"type":"request","at":2999,"dur":1,"trace":"t3","kind":"http","method":"GET","target":"/nothing","status":404}
`)).Report()
	if len(r.Routes) != 2 || r.Routes[0].Route != "GET /a/{id}" || r.Routes[1].Route != "GET (no route)" {
		t.Fatalf("routes: %s", asJSON(t, r))
	}
	a := r.Routes[0]
	check := func(what string, got, want any) {
		t.Helper()
		if p, ok := got.(*float64); ok && p != nil {
			got = *p
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	check("requests", a.Requests, int64(2))
	check("rate", a.Rate, 1.0)
	check("errors", a.Errors, int64(1))
	check("error_rate", a.ErrorRate, 0.5)
	check("queries_per_request", a.QueriesPerRequest, 3.0)
	check("duplicates", a.DuplicateQueriesPerRequest, 2.0)
	check("db time: 10 + 15 + 10 + 10 + 10 of 300", a.DBTimeShare, 0.183333)
	check("total_ms", a.TotalMs, 300.0)
	check("example", a.ExampleTarget, "/a/7")
	check("error example", a.ExampleErrorTarget, "/a/8")
	check("errors by type", a.ErrorTypes, []ErrorType{{"ValueError", "m:f:9", 1}})
	check("status", a.Status, StatusCount{C2xx: 1, C5xx: 1})
	check("hits", a.Cache.Hits, int64(3))
	check("misses per request", a.Cache.MissesPerRequest, 0.5)
	check("stores", len(a.Cache.ByStore), 2)
	check("http", a.Cache.HTTP, HTTPCache{Hits: 1, MaxAgeS: 12})
	check("slow: b first", a.SlowQueries[0].Fingerprint, "SELECT b")
	check("slow count", a.SlowQueries[0].Count, int64(5))
	check("slow total", a.SlowQueries[0].TotalMs, 70.0)
	check("slow code", a.SlowQueries[0].Code, "m:g:2")
	if len(a.NPlusOne) != 1 {
		t.Fatalf("n_plus_one: %v", a.NPlusOne)
	}
	n := a.NPlusOne[0]
	check("n+1 share", n.Share, 0.5)
	check("n+1 median", n.MedianCount, 5.0)
	check("n+1 same parameters: 1 of 4 repeats", n.SameParameters, 0.25)
	check("window", r.Window.Seconds, 2.0)
	check("joined", r.Coverage.QueriesJoined, 1.0)
}

// Savepoints come in numbers and count as statements, but are no N+1.
func TestSavepointsAreNoNPlusOne(t *testing.T) {
	var lines strings.Builder
	for i := range 12 {
		for j, text := range []string{"SAVEPOINT ?", "INSERT INTO a VALUES (?)", "RELEASE SAVEPOINT ?"} {
			fmt.Fprintf(&lines, `{"type":"query","at":%d,"dur":1,"trace":"t1","db":"sqlite","text":%q}`+"\n", 1001+3*i+j, text)
		}
	}
	lines.WriteString(`{"type":"request","at":1000,"dur":100,"trace":"t1","kind":"http","method":"POST","route":"/a","status":200}`)
	r := fold(Options{}, script(t, lines.String())).Report().Routes[0]
	if len(r.NPlusOne) != 1 || !strings.HasPrefix(r.NPlusOne[0].Fingerprint, "INSERT") || r.DuplicateQueriesPerRequest != 33 {
		t.Errorf("n_plus_one %+v, duplicates %v", r.NPlusOne, r.DuplicateQueriesPerRequest)
	}
}

// A trace that goes through several requests: each query belongs to the nearest request above it.
func TestTraceOfSeveralRequests(t *testing.T) {
	events := script(t, `
{"type":"query","at":12,"dur":1,"trace":"t","span":"q1","parent":"c1","host":"b","pid":2,"text":"SELECT inner"}
{"type":"call","at":11,"dur":5,"trace":"t","span":"c1","parent":"s1","host":"b","pid":2,"code":"m:f:1"}
{"type":"request","at":10,"dur":10,"trace":"t","span":"s1","parent":"s0","host":"b","pid":2,"kind":"http","method":"GET","route":"/inner","status":200}
{"type":"query","at":32,"dur":1,"trace":"t","parent":"s2","host":"b","pid":2,"text":"SELECT inner"}
{"type":"query","at":33,"dur":1,"trace":"t","parent":"lost","host":"b","pid":2,"text":"SELECT inner"}
{"type":"request","at":30,"dur":10,"trace":"t","span":"s2","parent":"s0","host":"b","pid":2,"kind":"http","method":"GET","route":"/inner","status":200}
{"type":"query","at":45,"dur":1,"trace":"t","parent":"lost","host":"a","pid":1,"text":"SELECT outer"}
{"type":"request","at":1,"dur":50,"trace":"t","span":"s0","host":"a","pid":1,"kind":"http","method":"GET","route":"/outer","status":200}
`)
	for range 2 {
		r := fold(Options{}, events).Report()
		got := map[string]float64{}
		for _, x := range r.Routes {
			got[x.Route] = x.QueriesPerRequest
		}
		if want := (map[string]float64{"GET /inner": 1.5, "GET /outer": 1}); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		slices.Reverse(events)
	}
}

func TestStampede(t *testing.T) {
	fills := func(n int, keys int) []event.Event {
		var b strings.Builder
		for i := range n {
			// Every request misses its key, computes for 50 ms and sets it; they begin 10 ms apart.
			fmt.Fprintf(&b, `{"type":"cache","at":%d,"dur":1,"trace":"t%d","op":"get","layer":"shared","store":"r","key":"k%d","hit":false}`+"\n", i*10, i, i%keys)
			fmt.Fprintf(&b, `{"type":"cache","at":%d,"dur":1,"trace":"t%d","op":"set","layer":"shared","store":"r","key":"k%d"}`+"\n", i*10+50, i, i%keys)
			fmt.Fprintf(&b, `{"type":"request","at":%d,"dur":60,"trace":"t%d","kind":"http","method":"GET","route":"/","status":200}`+"\n", i*10, i)
		}
		return script(t, strings.ReplaceAll(b.String(), `"at":0,`, `"at":1,`))
	}
	got := fold(Options{}, fills(4, 1)).Report().Routes[0].Cache.Stampedes
	if want := (Stampedes{Count: 1, Wasted: 3, Worst: 4}); got != want {
		t.Errorf("one key: got %+v, want %+v", got, want)
	}
	if got := fold(Options{}, fills(4, 4)).Report().Routes[0].Cache.Stampedes; got != (Stampedes{}) {
		t.Errorf("four keys: got %+v", got)
	}
	// Beyond the room, a sample of the keys stands for all: 1,000 keys, filled twice in a row, 100 kept or fewer.
	events := fills(2000, 1000)
	for i := range events { // both fills of a key at once
		k := int64(i/3) % 1000
		base := at + k*1e9
		switch events[i].Type {
		case event.TypeCache:
			events[i].At = base + int64(i%3)*20e6 + int64(i/3/1000)*1e6
		default:
			events[i].At = base
		}
	}
	r := fold(Options{MaxFills: 200}, events).Report()
	got = r.Routes[0].Cache.Stampedes
	if r.Coverage.StampedeKeyShare >= 1 || got.Count < 700 || got.Count > 1400 {
		t.Errorf("sampled: %+v at a share of %g, about 1000 were expected", got, r.Coverage.StampedeKeyShare)
	}
}

func TestLimits(t *testing.T) {
	f := New(Options{MaxRoutes: 10, MaxStatements: 3, MaxStatementsTotal: 12, MaxErrors: 2, MaxNames: 20, MaxTexts: 5, MaxProcesses: 4, MaxTraces: 50, MaxItems: 100})
	const n = 2000
	for i := range n {
		src := &event.Source{Host: "h", Pid: int64(i % 100)}
		trace := fmt.Sprint("t", i)
		for k := range 4 {
			f.Add(&event.Event{Type: event.TypeQuery, At: at + int64(i), Trace: trace, Source: src,
				Query: &event.Query{Text: fmt.Sprintf("SELECT %d", i*4+k), Code: fmt.Sprint("c", i)}})
		}
		f.Add(&event.Event{Type: event.TypeCache, At: at + int64(i), Trace: trace, Source: src,
			Cache: &event.Cache{Op: "get", Store: fmt.Sprint("s", i), Hit: event.Some(true)}})
		f.Add(&event.Event{Type: event.TypeRequest, At: at + int64(i), Trace: trace, Source: src,
			Request: &event.Request{Kind: "http", Method: "GET", Route: fmt.Sprint("/", i), Error: fmt.Sprint("E", i)}})
		f.Add(&event.Event{Type: event.TypeMark, At: at + int64(i), Mark: &event.Mark{Name: fmt.Sprint("m", i)}})
		if f.live.Items() > 100 || f.live.Len() > 50 || len(f.texts) > 5 || len(f.routes) > 11 || len(f.processes) > 5 {
			t.Fatalf("bounds passed: %d items, %d traces, %d texts, %d routes", f.live.Items(), f.live.Len(), len(f.texts), len(f.routes))
		}
	}
	r := f.Report()
	var requests, slow int64
	for _, x := range r.Routes {
		requests += x.Requests
		slow = max(slow, int64(len(x.SlowQueries)))
	}
	apart := 0
	for _, x := range f.routes {
		for _, s := range x.statements {
			if !s.other {
				apart++
			}
		}
	}
	if apart > 12 {
		t.Errorf("%d statements kept apart", apart)
	}
	if requests != n || r.Totals.Queries != 4*n || *r.Coverage.QueriesJoined != 1 || len(r.Routes) != 11 || slow > 4 {
		t.Errorf("got %d requests, %d queries, %d routes, %d statements", requests, r.Totals.Queries, len(r.Routes), slow)
	}
	if want := []string{"routes", "statements", "names", "processes"}; !slices.Equal(r.Coverage.Limits, want) {
		t.Errorf("limits reached: %v, want %v", r.Coverage.Limits, want)
	}
	if r.Coverage.EarlyJoins == 0 || len(r.Marks) != 200 {
		t.Errorf("early joins %d, marks %d", r.Coverage.EarlyJoins, len(r.Marks))
	}
}

func TestSinceAndRecorder(t *testing.T) {
	lines := `
{"type":"recorder","at":100,"pid":1,"dropped":10,"sampled":0,"cost_ns":1000,"rate":1}
{"type":"request","at":200,"dur":1,"kind":"http","method":"GET","route":"/old","status":200,"pid":1}
{"type":"mark","at":300,"name":"deploy"}
{"type":"request","at":400,"dur":1,"kind":"http","method":"GET","route":"/new","status":200,"pid":1}
{"type":"recorder","at":600,"pid":1,"dropped":14,"sampled":5,"cost_ns":7000,"rate":0.5,"hooks":{"asgi":"on","diskcache":"unobserved","lru":"unobserved","redis":"failed"},"failures":{"redis":3}}
{"type":"recorder","at":500,"pid":1,"dropped":12,"sampled":0,"cost_ns":4000,"rate":1}
`
	r := fold(Options{}, script(t, lines)).Report()
	if r.Coverage.Dropped != 14 || len(r.Routes) != 2 || *r.Coverage.SampleRate != 0.5 {
		t.Errorf("whole: dropped %d, %d routes", r.Coverage.Dropped, len(r.Routes))
	}
	r = fold(Options{Since: at + 300e6, SinceName: "deploy"}, script(t, lines)).Report()
	if r.Coverage.Dropped != 4 || len(r.Routes) != 1 || r.Routes[0].Route != "GET /new" || r.Coverage.EventsBefore != 2 {
		t.Errorf("since: dropped %d, routes %v, before %d", r.Coverage.Dropped, r.Routes, r.Coverage.EventsBefore)
	}
	if got := *r.Coverage.CostNsPerEvent; got != 2000 {
		t.Errorf("cost per event %g, want 6000 ns over 3 events", got)
	}
	var codes []string
	for _, w := range r.Warnings {
		codes = append(codes, w.Code)
	}
	if want := []string{"few-requests", "no-queries", "dropped", "sampled", "hook-failed", "unobserved"}; !slices.Equal(codes, want) {
		t.Errorf("warnings %v, want %v", codes, want)
	}
	if last := r.Warnings[len(r.Warnings)-1].Text; !strings.HasPrefix(last, "imported, not observed: diskcache, lru: ") {
		t.Error(last)
	}
}

func TestEmpty(t *testing.T) {
	r := New(Options{}).Report()
	if len(r.Warnings) != 1 || r.Warnings[0].Code != "no-events" {
		t.Errorf("warnings %v", r.Warnings)
	}
	if s := asJSON(t, r); strings.Contains(s, `"routes": null`) || strings.Contains(s, "NaN") {
		t.Error(s)
	}
}

// Whatever lines are read as events, a report can be made, and it does not depend on a split by trace.
func FuzzFold(f *testing.F) {
	for seed := range uint64(3) {
		var b []byte
		for _, e := range traffic(seed, 4) {
			b = append(event.AppendJSON(b, &e), '\n')
		}
		f.Add(b)
	}
	f.Add([]byte(`{"type":"request","at":9223372036854775807,"dur":9223372036854775807,"trace":"x","status":-5}
{"type":"query","at":1,"dur":-9,"trace":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		one, a, b := New(Options{}), New(Options{}), New(Options{})
		for line := range bytes.Lines(data) {
			e, err := event.ParseJSON(line)
			if err != nil {
				continue
			}
			one.Add(&e)
			if join.ID(e.Trace)%2 == 0 {
				a.Add(&e)
			} else {
				b.Add(&e)
			}
		}
		asJSON(t, one.Report())
		a.Merge(b)
		asJSON(t, a.Report())
	})
}

// processorTime is what the process has used, in seconds: unlike elapsed time it holds on a busy machine too.
func processorTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func BenchmarkAdd(b *testing.B) {
	events := traffic(1, 20000)
	f := New(Options{})
	shift := int64(0)
	span := events[len(events)-10].At - events[0].At + 1e9
	b.ReportAllocs()
	before := processorTime(b)
	i := 0
	for b.Loop() {
		f.Add(&events[i])
		if i++; i == len(events) { // the same traffic again, later
			i = 0
			shift += span
			for k := range events {
				events[k].At += span
			}
		}
	}
	b.ReportMetric(float64(b.N)/(processorTime(b)-before), "events/core-s")
}

func BenchmarkReport(b *testing.B) {
	f := fold(Options{}, traffic(1, 20000))
	b.ReportAllocs()
	for b.Loop() {
		f.Report()
	}
}
