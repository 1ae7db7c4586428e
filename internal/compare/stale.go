package compare

// oldReads are the reads on both sides that should have been answered otherwise.
type oldReads struct {
	stale, leaked [2]int64
	// moved says that a key family leaked on one side only. A key that leaks is not judged for its age, so that its stale reads
	// show only once the leak is gone.
	moved bool
}

func (c *comparer) oldReads(route string) oldReads {
	var x oldReads
	for i, s := range c.sides {
		x.stale[i] = s.stale[route]
		for family, n := range s.leaks[route] {
			x.leaked[i] += n
			x.moved = x.moved || n > 0 && c.sides[1-i].leaks[route][family] == 0
		}
	}
	return x
}

func (x *oldReads) add(o oldReads) {
	for i := range x.stale {
		x.stale[i] += o.stale[i]
		x.leaked[i] += o.leaked[i]
	}
	x.moved = x.moved || o.moved
}

// stale fills a row with stale reads by request.
func (c *part) stale(r *Row, x *set, old oldReads) {
	c.reads(r, x, old.stale)
	if !old.moved || r.nothing {
		return
	}
	c.doubt("leaks", r.Route, "keys leaked on one side only (leaked reads: %d before, %d after); a key that leaks is not judged for its age, so its stale reads show on the other side alone, and nothing is claimed of them",
		old.leaked[0], old.leaked[1])
	r.Notes = append(r.Notes, "leaks")
	r.P, r.PSingle, r.CI, r.counted = nil, nil, nil, false
}

// leaks fills a row with leaked reads by request, where there are any.
func (c *part) leaks(r *Row, x *set, old oldReads) {
	if old.leaked == [2]int64{} {
		r.nothing = true
		return
	}
	c.reads(r, x, old.leaked)
}

// reads fills a row with a number of reads by request. There cannot be more of them than hits, which bounds the intervals.
func (c *part) reads(r *Row, x *set, k [2]int64) {
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
		hits, _ := x.sides[i].hits.total()
		_, requests := x.sides[i].failed.total()
		if hits > 0 {
			at[i].hi = min(at[i].hi, max(hits/requests, at[i].at))
		}
	}
	r.Before, r.After = &at[0].at, &at[1].at
	if r.needs(leastRequests) {
		return
	}
	r.change()
	lo, hi := differenceLimits(at[0], at[1])
	r.limits(max(lo, -at[0].hi), min(hi, at[1].hi), true)
	if k[0]+k[1] > 0 {
		r.test(poisson(k[0], float64(r.N[0]), k[1], float64(r.N[1])), 0)
	}
}
