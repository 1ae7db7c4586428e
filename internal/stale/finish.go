package stale

import (
	"cmp"
	"maps"
	"slices"
)

// silence is how long a process may say nothing, while others do, before it is listed as silent.
const silence = 60 * int64(1e9)

// Report returns what the events so far said. It may be called at any time.
func (d *Detector) Report() *Report {
	p := d.partial()
	return p.report()
}

func (d *Detector) partial() *partial {
	p := &partial{d: d, fams: d.fams.all(), groups: d.groups, cov: d.cov, reached: d.reached, marks: d.marks, from: d.from, to: d.to,
		procs: map[string]int64{}}
	p.counts = counts{judged: d.judged, fillsWithReads: d.fillsWithReads, writesJoined: d.writesJoined, unsure: d.unsure, opened: d.opened}
	for _, s := range d.stories {
		p.verdicts = append(p.verdicts, &told{s, d})
	}
	for _, s := range d.sums {
		p.sums = append(p.sums, s)
	}
	for k := range d.suspects {
		if s := d.unconfirmed(k, true); s != nil {
			if s.about == 255 {
				p.counts.unsure += s.hit.n
			} else {
				p.verdicts = append(p.verdicts, &told{s, d})
			}
		}
	}
	if d.fams.other != nil {
		p.reached["families"] = true
	}
	for _, l := range d.looks {
		p.looks = append(p.looks, l)
	}
	for name, pr := range d.procs {
		if pr.pid == 0 { // whatever does not say which process it comes from
			continue
		}
		p.procs[name] = pr.dropped
		if pr.offAt != 0 {
			p.cov.OffMs += ms(max(d.to-pr.offAt, 0))
		}
		if !pr.exited && pr.last < d.to-silence {
			p.silent = append(p.silent, name)
		}
	}
	for _, f := range p.fams {
		p.counts.live += f.live
	}
	return p
}

// report decides and writes down.
func (p *partial) report() *Report {
	r := &Report{Schema: Schema, From: p.from, To: p.to, Findings: []Finding{}, Lookalikes: []Lookalike{}, Families: []Family{},
		Routes: []Route{}, Marks: append([]Mark{}, p.marks...), raw: p}
	for g := range p.groups.all {
		if g.keys >= unstableFills && g.hits == 0 {
			p.looks = append(p.looks, &lookalike{cause: UnstableKey, fam: g.fam, key: g.key, at: 1, count: g.fills})
		}
	}
	found, looks := p.answers()
	type stat struct {
		stale, leaks int64
		times        []weighted
		max          float64
	}
	stats := map[string]*stat{}
	routes := map[string]int64{}
	ask := func(f *family) *family {
		if g := p.fams[f.find().name]; g != nil {
			return g
		}
		return f.find()
	}
	for _, s := range found {
		f := s.f
		f.Principals = len(s.ids)
		if f.Witness == nil {
			f.Witness = witness(s.first.s, s.a, s.first.d)
		}
		fam := ask(s.first.s.fam)
		f.Misses = fam.live
		f.Mark = markBefore(p.marks, f.FirstAt)
		f.Advice = advice(s, fam)
		r.Findings = append(r.Findings, f)
		st := stats[f.Family]
		if st == nil {
			st = &stat{}
			stats[f.Family] = st
		}
		if f.Cause == Vary && f.Verdict != CannotTell {
			r.Leaks++
			st.leaks++
			continue
		}
		if s.duplicate {
			continue
		}
		r.Unjudged += f.UnconfirmedReads
		if f.Verdict == CannotTell && s.first.s.about == aboutVary {
			continue
		}
		r.StaleReads += f.StaleReads
		st.stale += f.StaleReads
		st.times = append(st.times, s.times...)
		st.max = max(st.max, f.MaxStalenessMs)
		if f.StaleReads > 0 {
			for name, n := range s.routes {
				routes[name] += n
			}
		}
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		leak := func(f *Finding) int {
			if f.Cause == Vary {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(leak(&a), leak(&b)), cmp.Compare(rankOf(a.Verdict), rankOf(b.Verdict)),
			cmp.Compare(b.StaleReads+b.UnconfirmedReads, a.StaleReads+a.UnconfirmedReads), cmp.Compare(a.Family, b.Family), cmp.Compare(a.ID, b.ID))
	})
	r.Lookalikes = lookalikes(looks, ask)
	for _, name := range slices.Sorted(maps.Keys(p.fams)) {
		f := p.fams[name]
		out := Family{Family: name, Hits: f.hits, Misses: f.misses, Deletes: f.deletes, DeletesRemoved: f.removed0, Fills: f.fills, Keys: f.live,
			BudgetMs: ms(f.budget)}
		if f.hits+f.misses > 0 {
			out.HitRatio = share(f.hits, f.hits+f.misses)
		}
		for t := range f.tables {
			if tab := p.d.tables[t]; tab != nil {
				out.Writes += tab.writes
			}
		}
		if st := stats[name]; st != nil {
			out.StaleReads, out.Leaks = st.stale, st.leaks
			if st.stale > 0 {
				m := st.max
				out.MaxStalenessMs = &m
				out.P50StalenessMs = median(st.times)
			}
		}
		if f.hits > 0 {
			out.StaleRatio = share(out.StaleReads, f.hits)
		}
		if f.lag.n > 0 {
			v := f.lag.quantile(0.99) / 1e6
			out.LagP99Ms = &v
		}
		if out.Hits+out.Misses+out.Fills+out.Deletes+f.sets > 0 {
			r.Families = append(r.Families, out)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		r.Routes = append(r.Routes, Route{Route: name, StaleReads: routes[name]})
	}
	c := &r.Coverage
	*c = p.cov
	if c.Fills > 0 {
		c.FillsWithReads = share(p.counts.fillsWithReads, c.Fills)
	}
	if c.Writes > 0 {
		c.WritesWithRequest = share(p.counts.writesJoined, c.Writes)
	}
	if c.Hits > 0 {
		c.HitsJudged = share(p.counts.judged, c.Hits)
	}
	for _, n := range p.procs {
		c.Processes++
		c.Dropped += n
	}
	c.LiveKeys, c.Unconfirmed, c.LeftOpen = p.counts.live, p.counts.unsure, p.counts.opened
	slices.Sort(p.silent)
	c.Silent = p.silent[:min(len(p.silent), maxSilent)]
	c.Reached = slices.Sorted(maps.Keys(p.reached))
	return r
}

func share(n, of int64) *float64 {
	v := float64(n) / float64(of)
	return &v
}

func markBefore(marks []Mark, at int64) string {
	name := ""
	for _, m := range marks {
		if m.At <= at {
			name = m.Name
		}
	}
	return name
}

func median(times []weighted) *float64 {
	if len(times) == 0 {
		return nil
	}
	slices.SortFunc(times, func(a, b weighted) int { return cmp.Compare(a.staleness, b.staleness) })
	all := int64(0)
	for _, t := range times {
		all += t.n
	}
	left := (all + 1) / 2
	for _, t := range times {
		if left -= t.n; left <= 0 {
			v := ms(t.staleness)
			return &v
		}
	}
	return nil
}

// Drain returns the findings that were confirmed since the last call, each as it stands now; for lines while the service
// runs. Their causes may be revised by later events.
func (d *Detector) Drain() []Finding {
	if len(d.fresh) == 0 {
		return nil
	}
	p := &partial{d: d, fams: map[string]*family{}}
	for _, s := range d.fresh {
		p.verdicts = append(p.verdicts, &told{s, d})
	}
	d.fresh = d.fresh[:0]
	found, _ := p.answers()
	var out []Finding
	for _, s := range found {
		f := s.f
		f.Principals = len(s.ids)
		f.Witness = witness(s.first.s, s.a, d)
		fam := s.first.s.fam.find()
		f.Misses = fam.live
		f.Mark = markBefore(d.marks, f.FirstAt)
		f.Advice = advice(s, fam)
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.FirstAt, b.FirstAt), cmp.Compare(a.ID, b.ID)) })
	return out
}
