package stale

// deeds are what a trace did beside one hit. Most requests hit and do nothing else: they have none of their own and point to one
// that is always empty and must not be changed; whoever adds to a trace's asks for its own first (does).
type deeds struct {
	touch  []touch // all hits, where there is more than one
	reads  []read
	asked  []asked
	writes []*write
	dels   []*del
	tasks  []*job
	inner  []innerHit // on keys of other shards, and on dropped entries
	filled lastFill
	parent *trace // that enqueued the job
	used   int32  // places in reads that were used
}

// maxFreeDeeds is how many are kept for the traces to come.
const maxFreeDeeds = 4096

// does returns what a trace did, to be added to.
func (d *Detector) does(t *trace) *deeds {
	if t.deeds == &d.idle {
		if n := len(d.freeDeeds); n > 0 {
			t.deeds = d.freeDeeds[n-1]
			d.freeDeeds = d.freeDeeds[:n-1]
		} else {
			t.deeds = &deeds{}
		}
	}
	return t.deeds
}

// undo takes back what a trace did, of which nothing is needed any more, for the next one. Each field is set by itself: to overwrite all
// of it costs much while garbage is collected.
func (d *Detector) undo(t *trace) {
	w := t.deeds
	if w == &d.idle {
		return
	}
	t.deeds, w.filled = &d.idle, lastFill{}
	if len(d.freeDeeds) >= maxFreeDeeds || w.parent != nil || len(w.writes)+len(w.dels)+len(w.tasks) > 0 {
		return
	}
	clear(w.touch)
	clear(w.asked)
	clear(w.inner)
	if cap(w.reads) > 16 {
		w.reads = nil
	}
	used := w.reads[:min(int(w.used), cap(w.reads))]
	for i := range used {
		if q := &used[i]; cap(q.params) > 16 || cap(q.pks) > 16 || cap(q.names) > 16 {
			*q = read{}
		} else {
			q.stmt, q.txn = nil, nil
		}
	}
	w.touch, w.reads, w.asked, w.inner, w.used = w.touch[:0], w.reads[:0], w.asked[:0], w.inner[:0], 0
	d.freeDeeds = append(d.freeDeeds, w)
}

// touches are the hits of a trace, until its request ends.
func (t *trace) touches() []touch {
	if t.hit {
		return t.one[:]
	}
	return t.touch
}

// touch notes a hit.
func (d *Detector) touch(t *trace, x touch) {
	if !t.hit && len(t.touch) == 0 {
		t.one[0], t.hit = x, true
		return
	}
	w := d.does(t)
	if t.hit {
		t.hit = false
		w.touch = append(w.touch, t.one[0])
	}
	w.touch = append(w.touch, x)
}
