package compare

import (
	"math"
	"slices"
)

// addRows adds the rows of one set, those without any evidence left out.
func (c *part) addRows(route string, x *set, notes []string, old oldReads, seen [2]int64) {
	b, a := &x.sides[0], &x.sides[1]
	n := [2]int64{int64(b.n), int64(a.n)}
	timed := [2]int64{int64(b.timed), int64(a.timed)}
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
		c.rows = append(c.rows, r)
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
	add(StaleReads, Difference, seen, func(r *Row) { c.stale(r, x, old) })
	add(LeakedReads, Difference, seen, func(r *Row) { c.leaks(r, x, old) })
	add(Bytes, Relative, n, func(r *Row) {
		_, nb := b.bytes.total()
		_, na := a.bytes.total()
		c.mean(r, b.bytes, a.bytes, nb > 0, na > 0, false, x)
	})
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
func (c *part) time(r *Row, x *set, q float64) {
	if r.N == [2]int64{} {
		r.nothing = true
		return
	}
	var at [2]float64
	for i := range at {
		if x.sides[i].timed == 0 {
			continue
		}
		at[i] = x.sides[i].quantile(q) / 1e6
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
		if n := x.sides[i].bootstrapQuantile(&c.draws, i, q, c.buffers[i]); blocks == 0 || n < blocks {
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
func (c *part) relative(blocks int) (lo, hi float64, ok bool) {
	out := c.buffers[1]
	for i, v := range c.buffers[0] {
		if out[i] /= v; math.IsNaN(out[i]) { // nothing of nothing
			out[i] = 1
		}
		out[i]--
	}
	return percentileLimits(out, c.opt.Confidence, blocks)
}

func (c *part) difference(blocks int) (lo, hi float64, ok bool) {
	out := c.buffers[1]
	for i, v := range c.buffers[0] {
		out[i] -= v
	}
	return percentileLimits(out, c.opt.Confidence, blocks)
}

// mean fills a row with a mean by request. zeroOne says that no request counts more than one, so that it is a share too.
func (c *part) mean(r *Row, before, after sums, knownBefore, knownAfter, zeroOne bool, x *set) {
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
func (c *part) share(r *Row, before, after sums, n0, n1 float64) {
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
