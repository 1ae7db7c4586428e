package stale

import "github.com/demarc-dev/demarc/event"

// ghost is the value that a key had before, in a local store whose processes cannot be told apart.
type ghost struct {
	val   event.Hash
	form  uint8
	story *story
	kept  bool
}

// haunt remembers a value that was dropped, together with the write that made it old.
func (d *Detector) haunt(k *key, old, n *entry) {
	if old.susp == nil && old.reads != nil {
		d.compareAll(k, old)
	}
	var s *story
	if old.susp != nil {
		s = d.accuse(k, &entry{state: old.state, kind: old.kind, form: old.form, serial: old.serial, code: old.code, at: old.at, end: old.end,
			pos: old.pos, ttl: old.ttl, val: old.val, src: old.src, who: old.who, reads: old.reads, susp: old.susp})
	}
	if s == nil || s.about != aboutWrite {
		return
	}
	s.about = aboutGhost
	s.hit.n, s.hit.ids, s.hit.routes, s.hit.times, s.hit.stride, s.hit.first, s.hit.last = 0, nil, nil, nil, 0, 0, 0
	s.confirm(n)
	d.extra(k).ghost = &ghost{val: old.val, form: old.form, story: s}
}

// compareAll looks for all writes since an entry's reads.
func (d *Detector) compareAll(k *key, old *entry) {
	for i := range old.reads.deps {
		t := old.reads.deps[i].use.table
		for j := len(t.log) - 1; j >= 0 && t.log[j].end > old.pos; j-- {
			d.suspect(k, t.log[j])
		}
	}
	old.susp = k.e.susp
}

// ghostHit counts a hit on a value that was dropped before, in another process or in vain.
func (d *Detector) ghostHit(k *key, r *rec) bool {
	if k.more == nil || k.more.ghost == nil || r.val == 0 {
		return false
	}
	g := k.more.ghost
	if r.val != g.val || r.form != g.form || r.val == k.e.val {
		return false
	}
	s := &suspicion{ws: []suspect{g.story.hit}}
	if s.hit(d, k, r) != 0 {
		g.story.hit = s.ws[0]
		if !g.kept {
			g.kept = true
			d.keep(g.story)
		}
	}
	return true
}
