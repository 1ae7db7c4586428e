// Package compare says what changed between two sets of requests, and what cannot be said. Response times are compared by
// Mann-Whitney's test (the median) and by exact tests of the share beyond a quantile (p95, p99), shares by Fisher's exact
// test, rare counts by the conditional Poisson test; each must also hold between blocks of time, because requests of
// one process are not independent; intervals come from a bootstrap of these blocks or, for shares, from score limits. All
// p-values of a report are corrected together (Holm), so that the probability that it names any difference where there is
// none is at most 1 - confidence.
//
// The package is pure: no clock, no I/O, no goroutine, a fixed seed; the same events give the same result, also where the
// routes are compared at the same time (Options.Parallel).
package compare

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
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
	// Parallel calls work for 0 to n-1, in any order, perhaps several at the same time, and returns when all are done; nil
	// is one after the other.
	Parallel func(n int, work func(i int))
}

func (o Options) withDefaults() Options {
	if !(o.Confidence > 0 && o.Confidence < 1) {
		o.Confidence = 0.95
	}
	if o.MinEffect == 0 {
		o.MinEffect = 0.01
	}
	o.MinEffect = max(o.MinEffect, 0)
	if o.Parallel == nil {
		o.Parallel = func(n int, work func(int)) {
			for i := range n {
				work(i)
			}
		}
	}
	return o
}

// beyondQuantile is how many requests must lie beyond a quantile for it to say something: n(1-q).
const beyondQuantile = 5

// leastRequests is how many requests (lookups, for the hit ratio) a mean or share needs on either side.
const leastRequests = 10

// Compare compares two sides. It closes what still waits to be joined on them, so nothing is to be added afterwards.
//
// Memory beside the samples: about 30 bytes a kept request of both sides for the totals, and as much again for the routes
// that Options.Parallel works on at the same time.
func Compare(before, after *Samples, opt Options) *Result {
	opt = opt.withDefaults()
	c := &comparer{
		opt: opt, sides: [2]*Samples{before, after},
		out: &Result{
			Schema: Schema, Confidence: opt.Confidence, MinEffect: opt.MinEffect, Correction: "holm",
			Totals: []Row{}, Routes: []Row{}, New: []Only{}, Gone: []Only{}, Warnings: []Doubt{}, Unasked: []string{},
		},
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
	opt   Options
	sides [2]*Samples
	out   *Result
	// incomparable counts say that one recorder left out what the other kept, with the code of the warning.
	incomparable map[string]string

	mu    sync.Mutex
	spare []*scratch
}

// scratch is what comparing one route needs at hand; it is used again for others.
type scratch struct {
	draws   draws
	buffers [2][]float64
}

// part is a route's part of the result, or that of the totals. Parts are made at the same time.
type part struct {
	*comparer
	*scratch
	rows   []Row
	doubts []Doubt
}

// make works on a part.
func (c *comparer) make(p *part, work func(*part)) {
	c.mu.Lock()
	if n := len(c.spare); n > 0 {
		p.scratch = c.spare[n-1]
		c.spare = c.spare[:n-1]
	}
	c.mu.Unlock()
	if p.scratch == nil {
		p.scratch = &scratch{
			draws:   draws{seed: c.opt.Seed, byN: map[drawKey][]float64{}},
			buffers: [2][]float64{make([]float64, resamples), make([]float64, resamples)},
		}
	}
	p.comparer = c
	work(p)
	c.mu.Lock()
	c.spare = append(c.spare, p.scratch)
	c.mu.Unlock()
	p.scratch = nil
}

func (p *part) doubt(code, route, format string, args ...any) {
	p.doubts = append(p.doubts, Doubt{code, route, fmt.Sprintf(format, args...)})
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
		if !p.key.job {
			http = append(http, p)
		}
	}
	parts := make([]part, len(pairs)+1) // the totals first, which take longest
	c.opt.Parallel(len(parts), func(i int) {
		c.make(&parts[i], func(x *part) {
			switch {
			case i > 0:
				x.route(pairs[i-1])
			case len(http) > 1:
				x.totals(http)
			}
		})
	})
	for _, x := range append(parts[1:], parts[0]) {
		c.out.Warnings = append(c.out.Warnings, x.doubts...)
	}
	for _, x := range parts[1:] {
		c.out.Routes = append(c.out.Routes, x.rows...)
	}
	c.out.Totals = append(c.out.Totals, parts[0].rows...)
	if len(http) == 1 { // its route's figures, which are not tested again
		for _, r := range c.out.Routes {
			if !r.Job {
				r.Route, r.counted = TotalRoute, false
				c.out.Totals = append(c.out.Totals, r)
			}
		}
	}
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
	if s := &x.sides[0]; s.timed > 0 {
		v := s.quantile(0.5) / 1e6
		out.P50Ms = &v
	}
	return out
}

// route adds the rows of one route.
func (c *part) route(p pair) {
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
	c.addRows(name, x, notes, c.oldReads(name), [2]int64{p.routes[0].seen, p.routes[1].seen})
	for i := range c.rows {
		c.rows[i].Job = p.key.job
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
func (c *part) totals(pairs []pair) {
	var notes []string
	var groups [2][]*routeSamples
	strata := make([]stratum, len(pairs))
	var old oldReads
	var seen [2]int64
	for k, p := range pairs {
		strata[k].key = uint32(k)
		for i, r := range p.routes {
			groups[i] = append(groups[i], r)
			strata[k].n[i] = float64(r.seen)
			seen[i] += r.seen
		}
		old.add(c.oldReads(p.key.String()))
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
	c.addRows(TotalRoute, x, notes, old, seen)
}

func percent(v float64) string { return fmt.Sprintf("%.3g%%", 100*v) }
