package stale

import (
	"cmp"
	"slices"
)

// accuse makes the story of an entry and the write to blame: of those that touched a row that was read, else of all, the
// first whose columns were read. nil where nothing can be held against any.
func (d *Detector) accuse(k *key, old *entry) *story {
	ws := d.accused[:0]
	d.excused = 0
	excuse := func(x suspect) bool {
		if x.lapse == lapseWrite {
			d.excused = max(d.excused, x.n)
		}
		return true
	}
	for _, x := range old.susp.ws {
		if x.lapse == lapseInside && x.txn.state == txnCommitted || x.w.gone {
			continue
		}
		ws = append(ws, x)
	}
	d.accused = ws
	if slices.ContainsFunc(ws, func(x suspect) bool { return x.lapse == lapseWrite }) {
		ws = slices.DeleteFunc(ws, func(x suspect) bool { return x.lapse == lapseOld })
	}
	if len(ws) == 0 {
		return nil
	}
	slices.SortStableFunc(ws, func(a, b suspect) int {
		return cmp.Or(cmp.Compare(a.w.end, b.w.end), cmp.Compare(a.w.seq, b.w.seq))
	})
	all := slices.Clone(ws)
	if slices.ContainsFunc(ws, func(x suspect) bool { return x.level == levelRow }) {
		ws = slices.DeleteFunc(ws, func(x suspect) bool { return x.level != levelRow && excuse(x) })
	} else {
		// Whoever wrote and dropped this very key knew that it depends on what was written, even if it was gone by then.
		dels := k.droppedSince(old)
		belongs := func(s suspect) bool {
			return s.w.tr.traced() && slices.ContainsFunc(dels, func(x *del) bool { return x.tr.startedBy(s.w.tr) })
		}
		if slices.ContainsFunc(ws, belongs) {
			ws = slices.DeleteFunc(ws, func(s suspect) bool { return !belongs(s) && excuse(s) })
		} else if slices.ContainsFunc(dels, old.known) {
			// What explains that the next fill differs was dropped for, and is among the writes that were not noted.
			ws = slices.DeleteFunc(ws, func(s suspect) bool { return s.lapse != lapseInside && excuse(s) })
			if len(ws) == 0 {
				return nil
			}
		}
	}
	// A write that surely came after the reads leaves those open that may have come before them only if these exist.
	i := slices.IndexFunc(ws, func(x suspect) bool { return x.cols == colsYes })
	blame := i
	if i < 0 {
		blame = 0
	}
	if ws[blame].lapse == lapseOld && old.susp.full {
		return nil // later writes that may explain the refill had no place
	}
	if ws[blame].lapse == lapseWrite && d.lagged(k, old, ws[blame].w) {
		return nil
	}
	about := uint8(aboutWrite)
	switch ws[blame].lapse {
	case lapseOld:
		about = aboutOld
	case lapseInside:
		about = aboutInside
	}
	s := d.tell(k, old, about)
	s.hit, s.crowded = ws[blame], old.susp.full
	s.sure = s.hit.n
	for _, x := range all {
		if x.lapse != lapseWrite {
			s.crowded = s.crowded || x.lapse == lapseInside && s.about == aboutWrite // the value may never have been true
			continue
		}
		if s.sure = min(s.sure, x.n); !x.w.like(s.hit.w) && !slices.ContainsFunc(s.also, func(o suspect) bool { return o.w.like(x.w) }) {
			s.also = append(s.also, x)
		}
	}
	for j := range ws {
		if j != blame && (i < 0 || j < i) {
			s.others = append(s.others, ws[j])
		}
	}
	if len(s.others) > 0 && s.hit.n == 0 {
		for _, o := range s.others {
			if o.n > 0 {
				s.hit.n, s.hit.first, s.hit.last = o.n, o.first, o.last
				break
			}
		}
	}
	return s
}

// droppedSince are the deletes that ended an entry, and those that named its key after it was stored.
func (k *key) droppedSince(old *entry) []*del {
	m := k.more
	if m == nil {
		return nil
	}
	var out []*del
	for _, x := range m.dels {
		if !x.failed && x.at >= old.end {
			out = append(out, x)
		}
	}
	if old.how == byDelete && m.endDel != nil && !slices.Contains(out, m.endDel) {
		out = append(out, m.endDel)
	}
	return out
}

// lagged says whether an entry was dropped soon enough after a write, by who wrote.
func (d *Detector) lagged(k *key, e *entry, w *write) bool {
	if e.how == byDelete && k.more != nil && k.more.endDel != nil {
		x := k.more.endDel
		return x.tr.startedBy(w.tr) && w.tr.traced() && x.at >= w.at && x.end-w.end <= int64(d.opt.Grace)
	}
	return false
}

// known says whether the delete that ended an entry was made by somebody who had written what the entry may have read, be
// it after more writes than are noted against an entry.
func (e *entry) known(by *del) bool {
	if e.reads == nil {
		return false
	}
	for i := range e.reads.deps {
		log := e.reads.deps[i].use.table.log
		for j := len(log) - 1; j >= 0 && log[j].end > e.at; j-- {
			w := log[j]
			if !w.tr.traced() || !by.tr.startedBy(w.tr) {
				continue
			}
			if level, cols, _ := e.reads.relevance(w); level != levelNone && cols != colsNo {
				return true
			}
		}
	}
	return false
}

// elsewhere says whether the next fill of an entry's key asked for other rows, though nothing that it had read before is
// among what was written: its value may differ for that alone.
func (e *entry) elsewhere(n *entry) bool {
	at := firstOther(e.reads, n.reads)
	if at < 0 || e.inherit || n.inherit {
		return false
	}
	deps := e.reads.deps
	for i := range deps[:at] {
		if deps[i].ownAt < deps[at].ownAt && slices.ContainsFunc(e.susp.ws, func(x suspect) bool { return deps[i].touchedBy(x.w) }) {
			return false
		}
	}
	return true
}

// severalWriters says whether writes that may be to blame have different writers.
func (s *story) severalWriters() bool {
	return s.crowded || slices.ContainsFunc(s.also, func(x suspect) bool {
		return x.w.code != s.hit.w.code || x.w.external != s.hit.w.external || routeOf(x.w) != routeOf(s.hit.w)
	})
}

func routeOf(w *write) uint32 {
	if w.external || w.tr == nil {
		return 0
	}
	return w.tr.who.route
}
