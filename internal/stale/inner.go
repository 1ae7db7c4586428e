package stale

import (
	"cmp"
	"slices"
)

// An entry may be filled from what another cache holds: a page over a query cache, a process's own cache over a shared one.
// What its request hit between the miss and the set is behind it as a statement would be, with the statements behind
// that. Only writes after the hit are held against it: what was wrong in the inner entry by then is told of that one.

// innerHit is a hit of a trace on an entry whose reads are known.
type innerHit struct {
	id      uint64 // of the key
	reads   *reads
	at, end int64
}

// made is what is known of the last set of a key that another shard judges.
type made struct {
	val   innerValue
	end   int64
	reads *reads
}

type innerValue struct {
	hash uint64
	form uint8
}

// other says whether two values are known to differ.
func (v innerValue) other(o innerValue) bool {
	return v.hash != 0 && o.hash != 0 && v.hash != o.hash && v.form == o.form
}

// maxInner is the number of hits of one trace that are kept, on keys of other shards and on entries that were dropped meanwhile.
const maxInner = maxOfTrace

// innerHits are the hits of a trace behind a set of the key with that id, one for each key, in their order.
func (d *Detector) innerHits(tr *trace, r *rec, id uint64) []innerHit {
	list := d.inner[:0]
	add := func(h innerHit) {
		if h.at < r.fill || h.end > r.at || h.id == id {
			return
		}
		for i := range list {
			if list[i].id == h.id {
				list[i].end = max(list[i].end, h.end)
				return
			}
		}
		list = append(list, h)
	}
	hits := tr.touches()
	for i := range hits {
		t := &hits[i]
		if t.k.dead || t.k.e.serial != t.serial || t.story != nil {
			continue
		}
		if d.stands(t.k) {
			add(innerHit{t.k.id, t.k.e.reads, t.at, t.at + int64(t.took)})
		}
	}
	for _, h := range tr.inner {
		k := d.keys.get(h.id)
		if m, ok := d.made[h.id]; ok && m.reads == h.reads || k != nil && k.e.reads == h.reads && d.stands(k) {
			add(h)
		}
	}
	slices.SortFunc(list, func(a, b innerHit) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.id, b.id)) })
	d.inner = list
	return list
}

// from puts the reads behind an inner entry among those of another.
func (s *readScratch) from(h *innerHit, most int) bool {
	for i := range h.reads.deps {
		if len(s.deps) >= most {
			return false
		}
		x := h.reads.deps[i]
		x.end, x.carried = h.end, true
		from := len(s.bound)
		for j := range x.bound {
			n := len(s.vals)
			s.vals = append(s.vals, x.bound[j].vals...)
			s.bound = append(s.bound, boundTo{x.bound[j].col, s.vals[n:]})
		}
		x.bound = s.bound[from:]
		s.deps = append(s.deps, x)
	}
	return true
}

// carried says whether some of the reads are those behind another entry.
func (rd *reads) carried() bool {
	return slices.ContainsFunc(rd.deps, func(x dep) bool { return x.carried })
}

// stands says whether the reads behind a key's entry are known well enough to stand behind another one. What a forked process has
// from its parent does not: a shard that does not judge the parent's key has not seen it made, and would judge otherwise.
func (d *Detector) stands(k *key) bool {
	e := &k.e
	if e.reads == nil || e.inherit || e.pos == 0 {
		return false
	}
	src := d.sourceOf(e.src)
	return !k.st.local || src == nil || src.proc == k.proc
}

// hitClosed notes a hit on an entry that was dropped while it was read.
func (d *Detector) hitClosed(k *key, r *rec) {
	e := &k.e
	if r.tr == nil || r.tr.who.done || !d.stands(k) || r.at < e.end || len(r.tr.inner) >= maxInner ||
		(innerValue{uint64(e.val), e.form}).other(innerValue{uint64(r.val), r.form}) {
		return
	}
	did := d.does(r.tr)
	did.inner = append(did.inner, innerHit{k.id, e.reads, r.at, r.end})
}

// setElsewhere remembers the reads behind an entry that another shard judges.
func (d *Detector) setElsewhere(r *rec) {
	id := r.x.keyID
	if old, ok := d.made[id]; ok && r.end < old.end {
		return
	}
	delete(d.made, id)
	if r.fill == 0 || r.fill > r.end || r.vkind == valueCounter {
		return
	}
	rd, _, _ := d.readsBehind(d.context(r), r)
	if rd == nil {
		return
	}
	if len(d.made) >= d.opt.MaxKeys {
		d.reach("keys of other shards")
		return
	}
	d.made[id] = made{innerValue{uint64(r.val), r.form}, r.end, rd}
}

// hitElsewhere notes a hit on such an entry.
func (d *Detector) hitElsewhere(r *rec) {
	m, ok := d.made[r.x.keyID]
	if !ok || r.tr.who.done || r.at < m.end || len(r.tr.inner) >= maxInner {
		return
	}
	if m.val.other(innerValue{uint64(r.val), r.form}) {
		delete(d.made, r.x.keyID)
		return
	}
	did := d.does(r.tr)
	did.inner = append(did.inner, innerHit{r.x.keyID, m.reads, r.at, r.end})
}
