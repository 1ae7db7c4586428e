// Package compare says what changed between two sets of requests, and what cannot be said. Response times are compared by
// Mann-Whitney's test (the median) and by exact tests of the share beyond a quantile (p95, p99), shares by Fisher's exact
// test, rare counts by the conditional Poisson test; each must also hold between blocks of time, because requests of
// one process are not independent; intervals come from a bootstrap of these blocks or, for shares, from score limits. All
// p-values of a report are corrected together (Holm), so that the probability that it names any difference where there is
// none is at most 1 - confidence.
//
// The package is pure: no clock, no I/O, no goroutine, a fixed seed; the same events give the same result.
package compare

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Options of a comparison; a zero field takes the default in its comment.
type Options struct {
	Confidence float64 // of the intervals, and of the whole report: 0.95
	// MinEffect is the least relative change that is called better or worse: 0.01. Negative: none.
	MinEffect float64
	Seed      uint64 // of the bootstrap
	// Routes are the only ones to compare, by name ("GET /articles/{slug}", or the template alone for all its methods); the
	// fewer there are, the less the p-values are corrected. Empty: all.
	Routes []string
	// BeforeName and AfterName say what the sides are.
	BeforeName, AfterName string
}

func (o Options) withDefaults() Options {
	if !(o.Confidence > 0 && o.Confidence < 1) {
		o.Confidence = 0.95
	}
	if o.MinEffect == 0 {
		o.MinEffect = 0.01
	}
	o.MinEffect = max(o.MinEffect, 0)
	return o
}

// beyondQuantile is how many requests must lie beyond a quantile for it to say something: n(1-q).
const beyondQuantile = 5

// leastRequests is how many requests (lookups, for the hit ratio) a mean or share needs on either side.
const leastRequests = 10

// Compare compares two sides. It closes what still waits to be joined on them, so nothing is to be added afterwards.
//
// Memory beside the samples: about 70 bytes a kept request of both sides while the totals are made.
func Compare(before, after *Samples, opt Options) *Result {
	opt = opt.withDefaults()
	c := &comparer{
		opt: opt, sides: [2]*Samples{before, after}, draws: draws{seed: opt.Seed, byN: map[drawKey][]float64{}},
		out: &Result{
			Schema: Schema, Confidence: opt.Confidence, MinEffect: opt.MinEffect, Correction: "holm",
			Totals: []Row{}, Routes: []Row{}, New: []Only{}, Gone: []Only{}, Warnings: []Doubt{}, Unasked: []string{},
		},
	}
	for i := range c.buffers {
		c.buffers[i] = make([]float64, resamples)
	}
	before.join.closeAll()
	after.join.closeAll()
	c.out.Before, c.out.After = before.side(opt.BeforeName), after.side(opt.AfterName)
	c.doubtSides()
	c.routes()
	c.correct()
	return c.out
}

type comparer struct {
	opt     Options
	sides   [2]*Samples
	out     *Result
	draws   draws
	buffers [2][]float64
	// incomparable counts say that one recorder left out what the other kept, with the code of the warning.
	incomparable map[string]string
}

func (s *Samples) side(name string) Side {
	out := Side{Name: name, Requests: s.requests, Kept: s.kept, Services: slices.Sorted(maps.Keys(s.services))}
	if out.Services == nil {
		out.Services = []string{}
	}
	out.Dropped, out.Sampled, out.SampleRate, _ = s.recorders()
	if s.first != 0 {
		out.From, out.To = stamp(s.first), stamp(s.end)
		out.Seconds = float64(s.end-s.first) / 1e9
	}
	return out
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }

func (c *comparer) doubt(code, route, format string, args ...any) {
	c.out.Warnings = append(c.out.Warnings, Doubt{code, route, fmt.Sprintf(format, args...)})
}

// pair is a route that both sides have.
type pair struct {
	key    routeKey
	routes [2]*routeSamples
	cost   float64
}

func (c *comparer) routes() {
	var pairs []pair
	byKey := map[routeKey]*routeSamples{}
	for _, r := range c.sides[1].sorted() {
		if r.seen > 0 && c.asked(r.key) {
			byKey[r.key] = r
		}
	}
	for _, r := range c.sides[0].sorted() {
		other := byKey[r.key]
		switch {
		case r.seen == 0 || !c.asked(r.key):
		case other == nil:
			c.out.Gone = append(c.out.Gone, only(r))
		default:
			p := pair{key: r.key, routes: [2]*routeSamples{r, other}}
			for _, side := range p.routes {
				side.each(func(s *sample) { p.cost += float64(max(s.dur, 0)) * float64(uint64(1)<<side.shift) })
			}
			pairs = append(pairs, p)
			delete(byKey, r.key)
		}
	}
	for _, r := range c.sides[1].sorted() {
		if byKey[r.key] != nil {
			c.out.New = append(c.out.New, only(r))
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		if a.key.job != b.key.job {
			if a.key.job {
				return 1
			}
			return -1
		}
		return cmp.Compare(b.cost, a.cost)
	})
	var http []pair
	for _, p := range pairs {
		c.route(p)
		if !p.key.job {
			http = append(http, p)
		}
	}
	c.totals(http)
	c.leftOut()
}

// asked tells whether a route is one of Options.Routes.
func (c *comparer) asked(k routeKey) bool {
	return len(c.opt.Routes) == 0 || slices.Contains(c.opt.Routes, k.String()) || slices.Contains(c.opt.Routes, k.route)
}

// RouteNames are the names of the routes and jobs with requests, in the order of the alphabet, jobs last.
func (s *Samples) RouteNames() []string {
	s.join.closeAll()
	names := []string{}
	for _, r := range s.sorted() {
		if r.seen > 0 {
			names = append(names, r.key.String())
		}
	}
	return names
}

// Requests is how many requests there are so far.
func (s *Samples) Requests() int64 { return s.requests }

func only(r *routeSamples) Only {
	out := Only{Route: r.key.String(), Requests: r.seen}
	x := newSet([2][]*routeSamples{{r}, nil}, unweighed)
	if x.sides[0].timed > 0 {
		v := x.quantile(0, 0.5) / 1e6
		out.P50Ms = &v
	}
	return out
}

// route adds the rows of one route.
func (c *comparer) route(p pair) {
	name := p.key.String()
	var notes []string
	for i, r := range p.routes {
		if r.shift > 0 {
			c.doubt("subset", name, "%s: one in %d of its requests was compared, chosen by the hash of their trace; the intervals are as wide as that makes them",
				[]string{"before", "after"}[i], 1<<r.shift)
			notes = append(notes, "subset")
		}
	}
	w := unweighed
	m := compareMix(targets(p.routes))
	switch {
	case m.changed && m.comparable:
		w = weighing{of: func(_ int, s *sample) int { return m.at(s.key) }, weights: [2][]float64{ones(len(m.after)), m.after}}
		c.doubt("mix", name, "other targets were asked for: %s of the requests would have to be for others. The figures are for the targets that both sides have (%s of the requests before, %s after), weighed as before",
			percent(m.moved), percent(m.common[0]), percent(m.common[1]))
		notes = append(notes, "mix")
	case m.changed:
		c.doubt("mix-differs", name, "mostly other targets were asked for (%s of the requests), so the difference may be theirs", percent(m.moved))
		notes = append(notes, "mix-differs")
	}
	x := newSet([2][]*routeSamples{{p.routes[0]}, {p.routes[1]}}, w)
	stale := [2]int64{}
	for i, s := range c.sides {
		stale[i] = s.stale[name]
	}
	for _, r := range c.rows(name, x, notes, stale, [2]int64{p.routes[0].seen, p.routes[1].seen}) {
		r.Job = p.key.job
		c.out.Routes = append(c.out.Routes, r)
	}
}

func ones(n int) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = 1
	}
	return list
}

// totals adds the rows over all HTTP routes that both sides have.
func (c *comparer) totals(pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	if len(pairs) == 1 {
		for _, r := range c.out.Routes {
			if !r.Job {
				r.Route, r.counted = TotalRoute, false
				c.out.Totals = append(c.out.Totals, r)
			}
		}
		return
	}
	var notes []string
	var groups [2][]*routeSamples
	strata := make([]stratum, len(pairs))
	var stale, seen [2]int64
	for k, p := range pairs {
		strata[k].key = uint32(k)
		for i, r := range p.routes {
			groups[i] = append(groups[i], r)
			strata[k].n[i] = float64(r.seen)
			seen[i] += r.seen
			stale[i] += c.sides[i].stale[p.key.String()]
		}
	}
	if n := len(c.out.New) + len(c.out.Gone); n > 0 {
		c.doubt("routes", TotalRoute, "the totals are over the %d routes that both sides have; %d others are new or gone", len(pairs), n)
		notes = append(notes, "routes")
	}
	m := compareMix(strata)
	mixed := m.changed && m.comparable
	if mixed {
		c.doubt("mix", TotalRoute, "the mix of routes changed: %s of the requests would have to go to other routes. The totals after are weighed to the mix before",
			percent(m.moved))
		notes = append(notes, "mix")
	} else if m.changed {
		c.doubt("mix-differs", TotalRoute, "mostly other routes were asked for (%s of the requests), so the difference may be theirs", percent(m.moved))
		notes = append(notes, "mix-differs")
	}
	// A request of a route of which a part is kept stands for as many as are not.
	var w weighing
	plain := true
	for i := range w.weights {
		w.weights[i] = ones(len(pairs))
		for k := range pairs {
			v := float64(uint64(1) << groups[i][k].shift)
			if mixed && i == 1 {
				if at := m.at(uint32(k)); at >= 0 {
					v *= m.after[at]
				} else {
					v = 0
				}
			}
			if mixed && i == 0 && m.at(uint32(k)) < 0 {
				v = 0
			}
			w.weights[i][k] = v
			plain = plain && v == 1
		}
	}
	w.of = func(group int, _ *sample) int {
		if w.weights[0][group] == 0 {
			return -1
		}
		return group
	}
	if plain {
		w = unweighed
	}
	x := newSet(groups, w)
	c.out.Totals = c.rows(TotalRoute, x, notes, stale, seen)
}

// rows are the rows of one set, those without any evidence left out.
func (c *comparer) rows(route string, x *set, notes []string, stale, seen [2]int64) []Row {
	b, a := &x.sides[0], &x.sides[1]
	n := [2]int64{int64(b.n), int64(a.n)}
	timed := [2]int64{int64(b.timed), int64(a.timed)}
	var rows []Row
	add := func(metric, changeIs string, n [2]int64, fill func(*Row)) {
		r := Row{Route: route, Metric: metric, N: n, Verdict: Nothing, ChangeIs: changeIs, Notes: slices.Clone(notes)}
		fill(&r)
		if r.nothing {
			return
		}
		if r.Notes == nil {
			r.Notes = []string{}
		}
		if code := c.incomparable[metric]; code != "" {
			r.Notes = append(r.Notes, code)
			r.P, r.CI, r.counted = nil, nil, false
			if r.Verdict != TooFew {
				r.Verdict = Nothing
			}
		}
		rows = append(rows, r)
	}
	for _, m := range []struct {
		name string
		q    float64
	}{{P50, 0.5}, {P95, 0.95}, {P99, 0.99}} {
		add(m.name, Relative, timed, func(r *Row) { c.time(r, x, m.q) })
	}
	add(ErrorRate, Difference, n, func(r *Row) { c.share(r, b.failed, a.failed, b.effective, a.effective) })
	has := func(i int) bool { return c.sides[i].seen.queries && x.sides[i].n > 0 }
	add(QueriesPerRequest, Relative, n, func(r *Row) {
		c.mean(r, b.queries, a.queries, has(0), has(1), max(b.mostQueries, a.mostQueries) <= 1, x)
	})
	add(MissesPerRequest, Relative, n, func(r *Row) {
		c.mean(r, b.misses, a.misses, b.lookups > 0, a.lookups > 0, max(b.mostMisses, a.mostMisses) <= 1, x)
	})
	lookups := [2]int64{int64(b.lookups), int64(a.lookups)}
	add(HitRatio, Difference, lookups, func(r *Row) {
		c.share(r, b.hits, a.hits, b.lookups*b.share(), a.lookups*a.share())
	})
	add(StaleReads, Difference, seen, func(r *Row) { c.stale(r, stale) })
	add(Bytes, Relative, n, func(r *Row) {
		_, nb := b.bytes.total()
		_, na := a.bytes.total()
		c.mean(r, b.bytes, a.bytes, nb > 0, na > 0, false, x)
	})
	return rows
}

// needs says that a row has too few requests unless both sides have that many.
func (r *Row) needs(n int64) bool {
	if min(r.N[0], r.N[1]) >= n {
		return false
	}
	r.Verdict, r.Needs = TooFew, n
	return true
}

// time fills a row with a quantile of the durations.
func (c *comparer) time(r *Row, x *set, q float64) {
	if r.N == [2]int64{} {
		r.nothing = true
		return
	}
	var at [2]float64
	for i := range at {
		if x.sides[i].timed == 0 {
			continue
		}
		at[i] = x.quantile(i, q) / 1e6
		set := &r.Before
		if i == 1 {
			set = &r.After
		}
		*set = &at[i]
	}
	if r.Before == nil || r.After == nil || r.needs(int64(math.Ceil(beyondQuantile/(1-q)-1e-9))) {
		return
	}
	r.change()
	var independent, between float64
	if q == 0.5 {
		var drift bool
		independent, between, drift = x.mannWhitney()
		if drift {
			c.doubt("drift", r.Route, "response times drift while they are recorded, even between the longest blocks of time; a difference may be that drift")
			r.Notes = append(r.Notes, "drift")
		}
	} else {
		independent, between = x.quantileTest(q)
	}
	r.test(independent, between)
	blocks := 0
	for i := range c.buffers {
		if n := x.bootstrapQuantile(&c.draws, i, q, c.buffers[i]); blocks == 0 || n < blocks {
			blocks = n
		}
	}
	if r.ChangeIs == Relative {
		r.limits(c.relative(blocks))
		return
	}
	for i := range c.buffers {
		for k := range c.buffers[i] {
			c.buffers[i][k] /= 1e6
		}
	}
	r.limits(c.difference(blocks))
}

// change sets the change from the figures; a relative one from nothing becomes a difference.
func (r *Row) change() {
	v := *r.After - *r.Before
	if r.ChangeIs == Relative {
		if *r.Before > 0 {
			v /= *r.Before
		} else {
			r.ChangeIs = Difference
		}
	}
	r.Change = &v
}

// test sets the p-value: both ways of testing must reject.
func (r *Row) test(independent, between float64) {
	p := max(independent, between)
	single := p
	r.P, r.PSingle, r.counted = &p, &single, true
}

func (r *Row) limits(lo, hi float64, ok bool) {
	if !ok {
		return
	}
	r.CI = &[2]*float64{}
	for i, v := range []float64{lo, hi} {
		if !math.IsInf(v, 0) && !math.IsNaN(v) {
			r.CI[i] = &v
		}
	}
}

// relative are the limits of after/before-1 over the resamples in the buffers.
func (c *comparer) relative(blocks int) (lo, hi float64, ok bool) {
	out := c.buffers[1]
	for i, v := range c.buffers[0] {
		if out[i] /= v; math.IsNaN(out[i]) { // nothing of nothing
			out[i] = 1
		}
		out[i]--
	}
	return percentileLimits(out, c.opt.Confidence, blocks)
}

func (c *comparer) difference(blocks int) (lo, hi float64, ok bool) {
	out := c.buffers[1]
	for i, v := range c.buffers[0] {
		out[i] -= v
	}
	return percentileLimits(out, c.opt.Confidence, blocks)
}

// mean fills a row with a mean by request. zeroOne says that no request counts more than one, so that it is a share too.
func (c *comparer) mean(r *Row, before, after sums, knownBefore, knownAfter, zeroOne bool, x *set) {
	if !knownBefore && !knownAfter {
		r.nothing = true
		return
	}
	if knownBefore {
		v := before.mean()
		r.Before = &v
	}
	if knownAfter {
		v := after.mean()
		r.After = &v
	}
	if !knownBefore || !knownAfter || r.needs(leastRequests) {
		return
	}
	r.change()
	b, _ := before.merged()
	a, _ := after.merged()
	vb, _ := b.variance()
	va, _ := a.variance()
	if *r.Before == *r.After && vb+va == 0 {
		return // one and the same figure throughout: there is nothing to test
	}
	independent, between := 0.0, blockTest(b, a)
	if zeroOne {
		independent, _ = proportionTest(before, after, x.sides[0].effective, x.sides[1].effective)
	}
	r.test(independent, between)
	c.draws.means(0, b, c.buffers[0])
	c.draws.means(1, a, c.buffers[1])
	blocks := min(len(a.s), len(b.s))
	if r.ChangeIs == Relative {
		r.limits(c.relative(blocks))
	} else {
		r.limits(c.difference(blocks))
	}
}

// share fills a row with a share, such as of requests that failed, counted on n0 and n1 trials.
func (c *comparer) share(r *Row, before, after sums, n0, n1 float64) {
	if n0 == 0 && n1 == 0 {
		r.nothing = true
		return
	}
	var at [2]interval
	for i, x := range []sums{before, after} {
		n := []float64{n0, n1}[i]
		if n == 0 {
			continue
		}
		p := min(max(x.mean(), 0), 1)
		// Trials that come in bursts tell less: as many fewer as the variance between blocks is greater.
		merged, _ := x.merged()
		if alone := p * (1 - p) / n; alone > 0 && len(merged.s) > 1 {
			v, _ := merged.variance()
			n /= max(1, v/alone)
		}
		lo, hi := wilson(p, n, c.opt.Confidence)
		at[i] = interval{p, lo, hi}
		v := p
		if i == 0 {
			r.Before = &v
		} else {
			r.After = &v
		}
	}
	if r.Before == nil || r.After == nil || r.needs(leastRequests) {
		return
	}
	r.change()
	lo, hi := differenceLimits(at[0], at[1])
	r.limits(lo, hi, true)
	if at[0].at == at[1].at && (at[0].at == 0 || at[0].at == 1) {
		return
	}
	independent, between := proportionTest(before, after, n0, n1)
	r.test(independent, between)
	if alpha := 1 - c.opt.Confidence; r.Metric == ErrorRate && independent < alpha/10 && between > alpha {
		c.doubt("bursts", r.Route, "errors came in bursts: they are not independent, and the bursts are too few to claim a difference")
		r.Notes = append(r.Notes, "bursts")
	}
}

// stale fills a row with stale reads by request.
func (c *comparer) stale(r *Row, k [2]int64) {
	if !c.sides[0].staleKnown || !c.sides[1].staleKnown {
		r.nothing = true
		return
	}
	var at [2]interval
	for i := range at {
		n := float64(r.N[i])
		if n == 0 {
			return
		}
		lo, hi := poissonLimits(k[i], c.opt.Confidence)
		at[i] = interval{float64(k[i]) / n, lo / n, hi / n}
	}
	r.Before, r.After = &at[0].at, &at[1].at
	if r.needs(leastRequests) {
		return
	}
	r.change()
	lo, hi := differenceLimits(at[0], at[1])
	r.limits(lo, hi, true)
	if k[0]+k[1] > 0 {
		r.test(poisson(k[0], float64(r.N[0]), k[1], float64(r.N[1])), 0)
	}
}

// correct corrects the p-values for their number and gives the verdicts.
func (c *comparer) correct() {
	var p []*float64
	lists := [][]Row{c.out.Routes, c.out.Totals}
	for _, list := range lists {
		for i := range list {
			if list[i].counted {
				p = append(p, list[i].P)
			}
		}
	}
	c.out.Tests = len(p)
	holm(p)
	for _, list := range lists {
		for i := range list {
			c.judge(&list[i])
		}
	}
	for _, r := range c.out.Routes {
		switch r.Verdict {
		case Better:
			c.out.Counts.Better++
		case Worse:
			c.out.Counts.Worse++
		case TooFew:
			c.out.Counts.TooFew++
		default:
			c.out.Counts.Nothing++
		}
	}
	better, worse, few, all := 0, 0, 0, 0
	for _, list := range lists {
		for _, r := range list {
			all++
			switch r.Verdict {
			case Better:
				better++
			case Worse:
				worse++
			case TooFew:
				few++
			}
		}
	}
	switch {
	case better > 0 && worse > 0:
		c.out.Verdict = Mixed
	case better > 0:
		c.out.Verdict = Better
	case worse > 0:
		c.out.Verdict = Worse
	case few == all:
		c.out.Verdict = TooFew
	default:
		c.out.Verdict = Nothing
	}
}

// judge claims a difference where the corrected p-value, the interval and the size of the change all say so.
func (c *comparer) judge(r *Row) {
	if r.P == nil || r.Change == nil || *r.P > 1-c.opt.Confidence || *r.Change == 0 {
		return
	}
	change := *r.Change
	if r.CI != nil {
		if lo, hi := r.CI[0], r.CI[1]; change > 0 && lo != nil && *lo <= 0 || change < 0 && hi != nil && *hi >= 0 {
			return
		}
	}
	if *r.Before > 0 && math.Abs(*r.After-*r.Before) < c.opt.MinEffect**r.Before {
		return
	}
	if (change > 0) == (r.Metric == HitRatio) {
		r.Verdict = Better
	} else {
		r.Verdict = Worse
	}
}

func percent(v float64) string { return fmt.Sprintf("%.3g%%", 100*v) }
