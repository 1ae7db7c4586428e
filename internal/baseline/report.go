package baseline

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// A percentile is only as good as the number of requests beyond it: below these, Route.TooFewFor names it.
const (
	FewForP95 = 20
	FewForP99 = 100
)

// bounds of the latency buckets, in ns: 1, 1.5, 2, 3, 5, 7 a power of ten from 10 µs to 100 s.
var latencyBounds = func() []float64 {
	var b []float64
	for p := 1e4; p < 1e11; p *= 10 {
		b = append(b, p, p*3/2, 2*p, 3*p, 5*p, 7*p)
	}
	return append(b, 1e11)
}()

// stamp writes a time of the events; RFC 3339 with milliseconds, UTC.
func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }

// Report returns what the events so far say. The fold is not changed: more events may follow.
func (f *Fold) Report() Report {
	v := f.settled()
	rep := Report{
		Schema: Schema, Window: Window{Since: f.opt.SinceName},
		Routes: []Route{}, Jobs: []Route{}, Stores: []Store{}, Warnings: []Warning{},
		Marks: append([]Mark{}, f.marks...),
	}
	if f.first != 0 {
		rep.Window.From, rep.Window.To = stamp(f.first), stamp(f.last)
		rep.Window.Seconds = float64(f.last-f.first) / 1e9
	}
	stampedes := v.fills.stampedes()
	var all [2]struct {
		route
		misses int64
	}
	for _, r := range v.routes {
		sum := &all[kindOf(r)]
		sum.totalNs += r.totalNs
		sum.requests += r.requests
		sum.timed += r.timed
		sum.errors += r.errors
		sum.dbBusy += r.dbBusy
		sum.queries += r.queries
		sum.dur.merge(&r.dur)
		for _, c := range r.stores {
			sum.misses += c.misses
		}
	}
	for id, r := range v.routes {
		out := v.routeReport(r, stampedes[uint32(id)], rep.Window.Seconds, all[kindOf(r)].totalNs)
		if r.key.job {
			rep.Jobs = append(rep.Jobs, out)
		} else {
			rep.Routes = append(rep.Routes, out)
		}
	}
	for _, list := range [][]Route{rep.Routes, rep.Jobs} {
		slices.SortFunc(list, func(a, b Route) int {
			return cmp.Or(cmp.Compare(b.TotalMs, a.TotalMs), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Route, b.Route))
		})
	}
	rep.Stores = v.storeList(v.stores, nil)

	web := &all[0]
	t := &rep.Totals
	t.Requests, t.Errors, t.TotalMs = web.requests, web.errors, ms(web.totalNs)
	t.Rate = rate(web.requests, rep.Window.Seconds)
	t.ErrorRate = share(web.errors, web.requests)
	t.P50Ms, t.P95Ms, t.P99Ms = quantileMs(&web.dur, 0.5), quantileMs(&web.dur, 0.95), quantileMs(&web.dur, 0.99)
	t.Jobs = all[1].requests
	t.Queries, t.QueryErrors = v.queries, v.queryErrors
	t.QueriesPerRequest = share(web.queries, web.requests)
	t.DBTimeShare = share(web.dbBusy, web.totalNs)
	for _, c := range v.stores {
		t.CacheHits += c.hits
		t.CacheMisses += c.misses
	}
	t.HitRatio = share(t.CacheHits, t.CacheHits+t.CacheMisses)
	t.MissesPerRequest = share(web.misses, web.requests)

	rep.Coverage = v.coverage()
	rep.Coverage.OpenTraces = f.openTraces()
	rep.warn()
	return rep
}

func kindOf(r *route) int {
	if r.key.job {
		return 1
	}
	return 0
}

func (f *Fold) openTraces() int {
	n := 0
	for t := range f.live.All() {
		if len(t.Requests) > 0 { // those come last
			break
		}
		n++
	}
	return n
}

func (f *Fold) routeReport(r *route, st *stampedes, seconds float64, allNs int64) Route {
	out := Route{
		Route: r.key.String(), Requests: r.requests, Rate: rate(r.requests, seconds),
		Errors: r.errors, ErrorRate: *share(r.errors, r.requests),
		P50Ms: quantileMs(&r.dur, 0.5), P95Ms: quantileMs(&r.dur, 0.95), P99Ms: quantileMs(&r.dur, 0.99),
		TotalMs: ms(r.totalNs), TimeShare: share(r.totalNs, allNs),
		FirstByteP50Ms: quantileMs(&r.firstByte, 0.5), FirstByteP95Ms: quantileMs(&r.firstByte, 0.95),
		TooFewFor:                  []string{},
		QueriesPerRequest:          *share(r.queries, r.requests),
		DuplicateQueriesPerRequest: *share(r.duplicates, r.requests),
		DBTimeShare:                share(r.dbBusy, r.totalNs),
		ExampleTarget:              r.example.target, ExampleErrorTarget: r.exampleError.target,
		Status: StatusCount{
			Unknown: r.classes[0], C1xx: r.classes[1], C2xx: r.classes[2], C3xx: r.classes[3], C4xx: r.classes[4],
			C5xx: r.classes[5],
		},
		Disconnected: r.disconnected,
		Latency:      buckets(&r.dur),
		NPlusOne:     []NPlusOne{}, SlowQueries: []SlowQuery{}, ErrorTypes: []ErrorType{},
	}
	if r.timed > 0 {
		out.MaxMs = ptr(ms(r.maxNs))
		out.MeanMs = ptr(round(float64(r.totalNs) / float64(r.timed) / 1e6))
	}
	if r.timed < FewForP95 {
		out.TooFewFor = append(out.TooFewFor, "p95_ms")
	}
	if r.timed < FewForP99 {
		out.TooFewFor = append(out.TooFewFor, "p99_ms")
	}
	if b, ok := r.bytes.quantile(0.5); ok {
		out.BytesP50 = ptr(math.Round(b))
	}
	for id, s := range r.statements {
		text, code := f.names.fingerprints.list[id], s.code(&f.names.codes)
		out.SlowQueries = append(out.SlowQueries, SlowQuery{
			Fingerprint: text, Count: s.count, P50Ms: quantileMs(&s.dur, 0.5), P95Ms: quantileMs(&s.dur, 0.95),
			TotalMs: ms(s.totalNs), Errors: s.errors, Code: code,
		})
		if s.many > 0 && float64(s.many) >= f.opt.NPlusOneShare*float64(r.requests) {
			median, _ := s.perMany.quantile(0.5)
			out.NPlusOne = append(out.NPlusOne, NPlusOne{
				Fingerprint: text, Code: code, Requests: s.many, Share: *share(s.many, r.requests),
				MedianCount: math.Round(median), MaxCount: s.most,
				SameParameters: share(s.same, s.repeats), TotalMs: ms(s.totalNs),
			})
		}
	}
	slices.SortFunc(out.SlowQueries, func(a, b SlowQuery) int {
		return cmp.Or(cmp.Compare(b.TotalMs, a.TotalMs), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	out.SlowQueries = out.SlowQueries[:min(len(out.SlowQueries), f.opt.SlowQueries)]
	slices.SortFunc(out.NPlusOne, func(a, b NPlusOne) int {
		return cmp.Or(cmp.Compare(b.TotalMs, a.TotalMs), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	for t, n := range r.errorTypes {
		out.ErrorTypes = append(out.ErrorTypes, ErrorType{t.name, t.code, n})
	}
	slices.SortFunc(out.ErrorTypes, func(a, b ErrorType) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Code, b.Code))
	})

	c := &out.Cache
	c.ByStore = f.storeList(r.stores, &r.requests)
	for _, s := range r.stores {
		c.Hits += s.hits
		c.Misses += s.misses
	}
	c.HitRatio = share(c.Hits, c.Hits+c.Misses)
	c.MissesPerRequest = *share(c.Misses, r.requests)
	if st != nil {
		scale := int64(1) << f.fills.shift
		c.Stampedes = Stampedes{Count: st.count * scale, Wasted: st.wasted * scale, Worst: st.worst}
	}
	c.HTTP = HTTPCache{r.http.hits, r.http.misses, r.http.notModified, r.http.maxAge}
	return out
}

func (f *Fold) storeList(stores map[uint32]*cacheSum, requests *int64) []Store {
	list := []Store{}
	for id, s := range stores {
		layer, name := f.names.storeName(id)
		out := Store{
			Layer: layer, Store: name, Hits: s.hits, Misses: s.misses, Unknown: s.unknown,
			HitRatio: share(s.hits, s.hits+s.misses), Sets: s.sets, Deletes: s.deletes, Errors: s.errors,
		}
		if requests != nil {
			out.MissesPerRequest = share(s.misses, *requests)
		}
		list = append(list, out)
	}
	slices.SortFunc(list, func(a, b Store) int {
		return cmp.Or(cmp.Compare(b.Hits+b.Misses, a.Hits+a.Misses), cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Store, b.Store))
	})
	return list
}

// buckets drops the empty ones at both ends.
func buckets(s *sketch) []Bucket {
	out := []Bucket{}
	for i, n := range s.histogram(latencyBounds) {
		b := Bucket{Count: n}
		if i < len(latencyBounds) {
			b.LeMs = ptr(latencyBounds[i] / 1e6)
		}
		if n > 0 || len(out) > 0 {
			out = append(out, b)
		}
	}
	for len(out) > 0 && out[len(out)-1].Count == 0 {
		out = out[:len(out)-1]
	}
	return out
}

func (f *Fold) coverage() Coverage {
	c := Coverage{
		Events: f.total, EventsByType: map[string]int64{}, EventsBefore: f.skipped,
		QueriesJoined: share(f.joinedQueries, f.queries), QueriesUnjoined: f.queries - f.joinedQueries,
		CacheJoined: share(f.joinedCache, f.cacheEvents),
		CutItems:    f.cut, EarlyJoins: f.evicted, RelativeError: RelativeError,
		StampedeKeyShare: math.Ldexp(1, -int(f.fills.shift)),
		Limits:           []string{}, MissingEvidence: []Gap{}, Hooks: []Hook{}, Processes: []Process{},
	}
	for t, n := range f.counts {
		if n > 0 {
			c.EventsByType[cmp.Or(event.Type(t).String(), "other")] = n
		}
	}
	if len(f.routes) >= f.opt.MaxRoutes {
		c.Limits = append(c.Limits, "routes")
	}
	if f.room.left <= 0 {
		c.Limits = append(c.Limits, "statements")
	}
	if f.names.fingerprints.full() || f.names.codes.full() || f.names.stores.full() {
		c.Limits = append(c.Limits, "names")
	}
	if len(f.processes) >= f.opt.MaxProcesses {
		c.Limits = append(c.Limits, "processes")
	}
	hooks := map[string]*Hook{}
	hook := func(name string) *Hook {
		if hooks[name] == nil {
			hooks[name] = &Hook{Name: name, States: map[string]int64{}}
		}
		return hooks[name]
	}
	var cost, costEvents int64
	for _, p := range f.processes {
		if p.events == 0 || p.Source == (event.Source{}) {
			continue // nothing in this window, or marks and the like that come from no process of the service
		}
		c.ProcessCount++
		dropped, sampled, own := sinceBase(p.dropped, p.baseDropped), sinceBase(p.sampled, p.baseSampled), sinceBase(p.costNs, p.base)
		c.Dropped += dropped
		c.Sampled += sampled
		if own > 0 {
			cost += own
			costEvents += p.events
			c.CostSeconds += float64(max(p.lastAt-max(p.firstAt, p.baseAt), 0)) / 1e9
		}
		if p.minRate.Known && (c.SampleRate == nil || p.minRate.V < *c.SampleRate) {
			c.SampleRate = ptr(p.minRate.V)
		}
		for name, state := range p.hooks {
			hook(name).States[state]++
		}
		for name, n := range p.failures {
			hook(name).Failures += n
		}
		c.Processes = append(c.Processes, Process{
			Service: p.Service, Version: p.Version, VersionFrom: p.VersionFrom, Host: p.Host, Pid: p.Pid,
			Runtime: p.runtime, Events: p.events, Dropped: dropped,
		})
	}
	c.CostNsPerEvent = share(cost, costEvents)
	if costEvents > 0 {
		c.CostNs, c.costEvents = &cost, costEvents
	}
	for _, name := range slices.Sorted(maps.Keys(hooks)) {
		c.Hooks = append(c.Hooks, *hooks[name])
	}
	slices.SortFunc(c.Processes, func(a, b Process) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Host, b.Host),
			cmp.Compare(a.Pid, b.Pid), cmp.Compare(a.Version, b.Version), cmp.Compare(a.VersionFrom, b.VersionFrom))
	})
	c.Processes = c.Processes[:min(len(c.Processes), 50)]
	return c
}

// sinceBase is a cumulative count less what it was before; a count that fell began anew.
func sinceBase(now, before int64) int64 {
	if now < before {
		return now
	}
	return now - before
}

func (r *Report) warn() {
	c, t := &r.Coverage, &r.Totals
	add := func(code, format string, args ...any) {
		r.Warnings = append(r.Warnings, Warning{code, fmt.Sprintf(format, args...)})
	}
	requests := t.Requests + t.Jobs
	switch {
	case c.Events == 0:
		add("no-events", "no event was recorded")
	case requests == 0:
		add("no-requests", "%d %s, but no request among them: was the service asked anything while it was observed?",
			c.Events, plural(c.Events, "event", "events"))
	case requests < FewForP99:
		add("few-requests", "only %d %s seen: percentiles rest on single requests", requests,
			plural(requests, "request was", "requests were"))
	}
	if requests > 0 && t.Queries == 0 {
		add("no-queries", "no query was seen: the service asks no database, or through a driver that is not hooked")
	}
	if c.Dropped > 0 {
		add("dropped", "%d %s dropped by the recorder: counts are too low, ratios may be off", c.Dropped,
			plural(c.Dropped, "event was", "events were"))
	}
	if c.SampleRate != nil && *c.SampleRate < 1 {
		add("sampled", "the recorder sampled: at least %.3g%% of the keys were kept at every time (%d events left out)",
			*c.SampleRate*100, c.Sampled)
	}
	if c.QueriesJoined != nil && *c.QueriesJoined < 0.95 && requests > 0 {
		add("unjoined", "%d of %d queries belong to no request seen (start-up, own threads, or a lost trace)",
			c.QueriesUnjoined, t.Queries)
	}
	if c.EarlyJoins > 0 {
		add("early-joins", "%d traces were closed early for want of room: late background work is not counted", c.EarlyJoins)
	}
	if c.CutItems > 0 {
		add("cut-items", "%d events beyond the room for one trace are not counted in its request", c.CutItems)
	}
	for _, l := range c.Limits {
		add("limit-"+l, "more %s than are kept apart: the rest stands together under \"(other …)\"", l)
	}
	var unobserved []string
	for _, h := range c.Hooks {
		if h.States["unobserved"] > 0 {
			unobserved = append(unobserved, h.Name)
		}
		if h.Failures > 0 || h.States["failed"] > 0 {
			add("hook-failed", "hook %s failed %d %s and stepped aside: what it sees may be missing", h.Name,
				max(h.Failures, 1), plural(max(h.Failures, 1), "time", "times"))
		}
	}
	if len(unobserved) > 0 {
		add("unobserved", "imported, not observed: %s: what is cached there is seen only where it goes through something that is",
			strings.Join(unobserved, ", "))
	}
	if c.StampedeKeyShare < 1 {
		add("stampede-sample", "stampedes are estimated from %.3g%% of the keys", c.StampedeKeyShare*100)
	}
	for _, x := range r.Routes {
		if x.FirstByteP95Ms != nil && x.P95Ms != nil && *x.P95Ms > 100 && *x.FirstByteP95Ms*2 < *x.P95Ms {
			add("streams", "%s streams: its times are to the last byte; the first byte came after %.3g ms (p95)", x.Route,
				*x.FirstByteP95Ms)
		}
	}
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func ptr(v float64) *float64 { return &v }

// round keeps six significant digits: more than any figure here has.
func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	p := math.Pow(10, 5-math.Floor(math.Log10(math.Abs(v))))
	if math.IsInf(p, 0) {
		return v
	}
	return math.Round(v*p) / p
}

// ms is a sum of nanoseconds in milliseconds, to the microsecond.
func ms(ns int64) float64 { return math.Round(float64(ns)/1e3) / 1e3 }

func quantileMs(s *sketch, q float64) *float64 {
	v, ok := s.quantile(q)
	if !ok {
		return nil
	}
	return ptr(round(v / 1e6))
}

func share(part, whole int64) *float64 {
	if whole <= 0 {
		return nil
	}
	return ptr(round(float64(part) / float64(whole)))
}

// rate is per second; nil for a single request and where the window has no length.
func rate(n int64, seconds float64) *float64 {
	if seconds <= 0 || n < 2 {
		return nil
	}
	return ptr(round(float64(n) / seconds))
}
