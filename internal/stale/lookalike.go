package stale

import (
	"cmp"
	"slices"
)

// Thresholds of look-alikes.
const (
	stampedeFills = 3  // fills of one key that overlap
	unstableFills = 20 // fills of different keys for the same question, and no hit
	maxGroups     = 1 << 16
)

// lookalike counts one look-alike of one family.
type lookalike struct {
	cause string
	fam   *family
	key   string
	at    int64
	count int64
}

type lookKey struct {
	cause string
	fam   *family
}

func (d *Detector) look(cause string, fam *family, key string, at, n int64) {
	fam = fam.find()
	l := d.looks[lookKey{cause, fam}]
	if l == nil {
		if len(d.looks) >= 4*d.opt.MaxFamilies {
			d.reach("look-alikes")
			return
		}
		l = &lookalike{cause: cause, fam: fam, key: key, at: at}
		d.looks[lookKey{cause, fam}] = l
	}
	l.count += n
	if at < l.at || at == l.at && key < l.key {
		l.at, l.key = at, key
	}
}

// stampede notes a fill that overlaps the one before it, and whether it overlaps two.
func (d *Detector) stampede(k *key, old *entry, r *rec) {
	if r.fill == 0 || r.fill > r.end {
		return
	}
	if old.state == none || r.fill >= old.end || old.pos == 0 {
		if k.more != nil {
			k.more.fills = nil
		}
		return
	}
	m := d.extra(k)
	if len(m.fills) == 0 {
		m.fills = append(m.fills, span{old.pos, old.end})
	}
	m.fills = lastOf(m.fills, span{r.fill, r.end}, 2*stampedeFills)
	n := int64(0)
	for _, f := range m.fills {
		if f.to > r.fill && f.from < r.end {
			n++
		}
	}
	switch {
	case n == stampedeFills:
		d.look(Stampede, k.fam, k.name, r.end, n)
	case n > stampedeFills:
		d.look(Stampede, k.fam, k.name, r.end, 1)
	}
}

// group is all that was filled in one store for one question: a route and its parameters, at one line.
type group struct {
	id    uint64 // hash of all that
	fam   *family
	key   string
	keys  int64 // first fills
	fills int64
	hits  int64
}

// asked is a fill or a hit of a trace, told apart by question when its request ends.
type asked struct {
	k     *key
	first bool
	code  uint32
}

// unstable remembers a fill until it is known what was asked.
func (d *Detector) unstable(k *key, r *rec, fill, first bool) {
	if !fill || r.tr == nil || len(r.tr.asked) >= maxOfTrace {
		return
	}
	did := d.does(r.tr)
	did.asked = append(did.asked, asked{k: k, first: first, code: r.code})
}

// question adds up what a request filled for the first time and hit. Hits are counted from the second key on that one
// question filled: where keys are stable there is none.
func (d *Detector) question(t *trace) {
	w := t.who
	if len(t.asked) == 0 && len(d.groupOf) == 0 || w.isJob || w.route == 0 {
		return
	}
	if method, _ := d.routes.of(w.route); method != "GET" && method != "HEAD" && method != "" {
		return // its target is not all that it asks
	}
	id := mix(mix(uint64(w.route), 12), w.target)
	for _, a := range t.asked {
		g := mix(mix(id, a.k.st.id), uint64(a.code))
		x := d.groups.get(g)
		if x == nil {
			if !a.first {
				continue
			}
			if d.groups.n >= maxGroups {
				d.groups = index[group]{}
				clear(d.groupOf)
				d.reach("questions")
			}
			x = &group{id: g, fam: a.k.fam, key: a.k.name}
			d.groups.put(g, x)
		}
		x.fills++
		if a.first {
			if x.keys++; x.keys == 2 {
				q := mix(id, a.k.st.id)
				d.groupOf[q] = append(d.groupOf[q], x)
			}
		}
	}
	hits := t.touches()
	for i := range hits {
		if len(d.groupOf) == 0 {
			break
		}
		for _, x := range d.groupOf[mix(id, hits[i].k.st.id)] {
			x.hits++
		}
	}
	if did := t.deeds; len(did.asked) > 0 {
		clear(did.asked)
		did.asked = did.asked[:0]
	}
}

// lookalikes lists what was counted, and the stories that turned out to be one.
func lookalikes(list []*lookalike, ask func(*family) *family) []Lookalike {
	type sum struct {
		Lookalike
		at int64
	}
	sums := map[[2]string]*sum{}
	for _, l := range list {
		name := ask(l.fam).name
		s := sums[[2]string{l.cause, name}]
		if s == nil {
			s = &sum{Lookalike: Lookalike{Cause: l.cause, Family: name, Key: l.key}, at: l.at}
			sums[[2]string{l.cause, name}] = s
		}
		s.Count += l.count
		if l.at < s.at || l.at == s.at && l.key < s.Key {
			s.at, s.Key = l.at, l.key
		}
	}
	out := []Lookalike{}
	for _, s := range sums {
		out = append(out, s.Lookalike)
	}
	slices.SortFunc(out, func(a, b Lookalike) int {
		return cmp.Or(cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Family, b.Family))
	})
	return out
}
