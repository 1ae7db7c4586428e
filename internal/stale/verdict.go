package stale

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// sum is one finding in the making: stories of one cause, writer and family.
type sum struct {
	f         Finding
	first     *told
	a         answer
	ids       map[uint64]bool
	routes    map[string]int64
	times     []weighted
	at        int64
	duplicate bool
}

type weighted struct {
	staleness int64
	n         int64
}

const maxIDs = 4096

// verdict says how sure a cause is.
func (s *story) verdict(d *Detector, a answer) string {
	switch {
	case a.open():
		return CannotTell
	case !s.confirmed || a.inferred || s.noisy:
		return Likely
	case s.about == aboutVary || s.about == aboutAlias || s.about == aboutVersion || s.about == aboutError:
		return Proven
	case d.cov.Schemas && s.about != aboutInside:
		return Likely // it may be another schema's table
	case s.about == aboutWrite && (len(s.also) > 0 || s.crowded):
		return Likely // which of the writes changed what was read is not known
	case s.about != aboutInside && s.hit.level != levelRow || s.e.inherit && s.about != aboutInside:
		return Likely
	case s.acrossHosts(d, a):
		return Likely
	}
	return Proven
}

// acrossHosts says whether the order of a story rests on the clocks of several hosts.
func (s *story) acrossHosts(d *Detector, a answer) bool {
	w := s.hit.w
	if w == nil || w.external || w.logged {
		return false
	}
	return s.hit.foreign || otherHost(d.sourceOf(s.e.src), w) || a.del != nil && otherHost(a.del.src, w)
}

// answers decides all stories and adds them up.
func (p *partial) answers() (findings []*sum, looks []*lookalike) {
	ask := func(f *family) *family {
		if g := p.fams[f.find().name]; g != nil {
			return g
		}
		return f.find()
	}
	sums := map[string]*sum{}
	for _, s := range p.sums {
		s.mergeInto(sums)
	}
	// A leak goes before all else that is said of a key.
	leaks := map[uint64]bool{}
	for _, t := range p.verdicts {
		if t.s.about == aboutVary {
			leaks[t.s.k.id] = true
		}
	}
	looks = slices.Clone(p.looks)
	for _, t := range p.verdicts {
		s := t.s
		if s.about != aboutVary && leaks[s.k.id] {
			continue
		}
		if s = s.without(ask(s.fam)); s == nil {
			continue
		}
		if ask(s.fam).noise > 0 && (s.about == aboutWrite || s.about == aboutOld) {
			c := *s
			c.noisy, s = true, &c
		}
		t = &told{s, t.d}
		a := t.d.decide(s, ask)
		if a.cause == NotACache {
			looks = append(looks, &lookalike{cause: NotACache, fam: s.fam, key: s.key, at: s.e.end, count: s.hit.n})
			continue
		}
		if a.cause == "" && !a.open() {
			continue
		}
		p.sum(t, a, ask).mergeInto(sums)
		if f := ask(s.fam); s.about == aboutWrite && a.cause != TTL && !a.open() && f.factor.off() {
			extra := p.sum(t, answer{cause: TTL, inferred: f.factor.n == 0}, ask)
			extra.duplicate = true
			extra.mergeInto(sums)
		}
	}
	for _, s := range sums {
		findings = append(findings, s)
	}
	return findings, looks
}

// sum makes a finding of one story.
func (p *partial) sum(t *told, a answer, ask func(*family) *family) *sum {
	s, d := t.s, t.d
	x := &sum{first: t, a: a, at: s.hit.first, ids: map[uint64]bool{}, routes: map[string]int64{}}
	if x.at == 0 {
		x.at = s.e.end
	}
	f := &x.f
	f.Input = s.inputName
	f.Cause, f.MissingField, f.Candidates = a.cause, a.missing, a.candidates
	f.Verdict = s.verdict(d, a)
	f.Confirmed = s.confirmed && !s.noisy
	f.Family, f.Key, f.Store, f.Layer = ask(s.fam).name, s.key, s.st.name, s.st.layer
	f.Entries = 1
	f.StaleReads = s.hit.n
	switch s.about {
	case aboutUnseen:
		f.StaleReads, f.UnconfirmedReads = 0, s.hit.n
	default:
		if !f.Confirmed {
			f.StaleReads, f.UnconfirmedReads = 0, s.hit.n
		}
	}
	if a.missing == missingRows && f.Confirmed {
		f.StaleReads, f.UnconfirmedReads = s.sure, s.hit.n-s.sure
	}
	f.FirstAt, f.LastAt = s.hit.first, s.hit.last
	if base := s.base(); base != 0 {
		f.MaxStalenessMs = max(ms(s.hit.last-base), 0)
		for _, at := range s.hit.times {
			x.times = append(x.times, weighted{at - base, s.hit.stride})
		}
	}
	if w := s.hit.w; w != nil && a.missing == missingRows {
		f.Writer.Table = w.table.name // which of its writers is what is not known
	} else if w != nil {
		f.Writer.Table = w.table.name
		if w.stmt != nil {
			f.Writer.SQL = w.stmt.shown
		}
		f.Writer.Code = d.names.of(w.code)
		if !w.external && w.tr != nil {
			f.Writer.Route = d.routes.shown(w.tr.who.route)
			f.Writer.Trace = w.tr.who.id()
		}
		if w.external {
			f.Uninstrumented = true
		}
	}
	if a.del != nil {
		f.Deleter = d.names.of(a.del.code)
	}
	for _, id := range s.hit.ids {
		x.ids[id] = true
	}
	for _, r := range s.hit.routes {
		x.routes[d.routes.shown(r.route)] += r.n
	}
	f.Story = s.id
	f.ID = fmt.Sprintf("%016x", hashText(13, x.like()))
	return x
}

// without leaves out of a story the writes that were seen to leave values of the family as they are, where others may be
// to blame; nil where nothing is left to tell.
func (s *story) without(fam *family) *story {
	if s.about != aboutWrite || len(s.also) == 0 || s.hit.level != levelRow || !fam.harmless(s.hit.w) {
		return s
	}
	left := slices.DeleteFunc(slices.Clone(s.also), func(x suspect) bool { return x.level == levelRow && fam.harmless(x.w) })
	i := max(slices.IndexFunc(left, func(x suspect) bool { return x.level == levelRow }), 0)
	if len(left) == 0 || left[i].n == 0 {
		return nil
	}
	c := *s
	c.hit = left[i]
	c.also = slices.Delete(left, i, i+1)
	c.crowded = true // it was inferred
	return &c
}

// base is the time from which a story's reads were stale; 0 where that is not known.
func (s *story) base() int64 {
	switch s.about {
	case aboutWrite, aboutOld, aboutGhost:
		return s.hit.w.end
	case aboutInside:
		if s.hit.txn.state == txnRolledBack {
			return s.hit.txn.end1
		}
	}
	return 0
}

// like is what findings have in common that are one.
func (x *sum) like() string {
	f := &x.f
	candidates := strings.Join(f.Candidates, ",")
	if f.MissingField == missingRows {
		candidates = "" // they are put together
	}
	return strings.Join([]string{f.Cause, f.MissingField, candidates, f.Family, f.Store, f.Layer, f.Writer.Route,
		f.Writer.Code, f.Writer.Table}, "\x00")
}

func rankOf(verdict string) int {
	switch verdict {
	case Proven:
		return 0
	case Likely:
		return 1
	}
	return 2
}

// mergeInto adds a finding to another of its kind. The story told is the earliest of the surest.
func (x *sum) mergeInto(sums map[string]*sum) {
	k := x.like()
	o := sums[k]
	if o == nil {
		c := *x
		c.ids, c.routes = map[uint64]bool{}, map[string]int64{}
		for id := range x.ids {
			c.ids[id] = true
		}
		for r, n := range x.routes {
			c.routes[r] = n
		}
		c.times = slices.Clone(x.times)
		sums[k] = &c
		return
	}
	a, b := &o.f, &x.f
	n := Finding{StaleReads: a.StaleReads + b.StaleReads, UnconfirmedReads: a.UnconfirmedReads + b.UnconfirmedReads, Entries: a.Entries + b.Entries}
	maxMs := max(a.MaxStalenessMs, b.MaxStalenessMs)
	first, last := a.FirstAt, max(a.LastAt, b.LastAt)
	if first == 0 || b.FirstAt != 0 && b.FirstAt < first {
		first = b.FirstAt
	}
	confirmed := a.Confirmed || b.Confirmed
	candidates := slices.Clone(a.Candidates)
	for _, c := range b.Candidates {
		if !slices.Contains(candidates, c) {
			candidates = append(candidates, c)
		}
	}
	slices.SortFunc(candidates, func(a, b string) int { return cmp.Compare(slices.Index(causes, a), slices.Index(causes, b)) })
	before := cmp.Or(cmp.Compare(rankOf(b.Verdict), rankOf(a.Verdict)), cmp.Compare(x.at, o.at), cmp.Compare(b.Key, a.Key), cmp.Compare(b.Story, a.Story)) < 0
	if before {
		o.f, o.first, o.a, o.at, o.duplicate = x.f, x.first, x.a, x.at, x.duplicate
	}
	f := &o.f
	f.StaleReads, f.UnconfirmedReads, f.Entries = n.StaleReads, n.UnconfirmedReads, n.Entries
	if f.MissingField == missingRows {
		f.Candidates = candidates
	}
	f.MaxStalenessMs, f.FirstAt, f.LastAt, f.Confirmed = maxMs, first, last, confirmed
	for id := range x.ids {
		if len(o.ids) < maxIDs {
			o.ids[id] = true
		}
	}
	for r, n := range x.routes {
		if len(o.routes) < maxIDs {
			o.routes[r] += n
		}
	}
	if len(o.times) < 64*maxIDs {
		o.times = append(o.times, x.times...)
	}
}

// settle adds stories up for good, with what is known now.
func (d *Detector) settle(list []*story) {
	p := &partial{d: d, fams: map[string]*family{}}
	for _, s := range list {
		p.verdicts = append(p.verdicts, &told{s, d})
	}
	found, looks := p.answers()
	for _, s := range found {
		s.f.Witness = witness(s.first.s, s.a, d)
		s.mergeInto(d.sums)
	}
	for _, l := range looks {
		d.look(l.cause, l.fam, l.key, l.at, l.count)
	}
}
