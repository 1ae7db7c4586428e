package stale

import "slices"

// Bounds of what is noted of an entry that may be stale.
const (
	maxSuspects   = 12 // writes that it may be stale by
	maxOld        = 4  // of these, places for writes that its reads followed and do not show
	maxSure       = 4  // of these, places for writes that surely touched what was read
	maxPrincipals = 64 // identities told apart, for each write
	maxRoutes     = 8  // routes of readers told apart
	maxSamples    = 16 // hits whose times are kept, to estimate the median staleness
)

// suspicion holds the writes that may have made an entry stale, and what was read after each. It takes about 200 bytes
// and as much again for each write.
type suspicion struct {
	ws   []suspect
	full bool // there were more writes that may be meant than could be noted
}

// suspect is one write, and the reads after it.
type suspect struct {
	w     *write
	level int
	cols  int
	stood int
	// lapse says what the suspicion is: a write after the reads, a write before them that they do not show, or the
	// transaction in which the value was set.
	lapse   uint8
	txn     *txn
	n       int64
	first   int64
	last    int64
	knows   bool // who wrote dropped the key
	guessed bool // that it was set inside
	foreign bool // a reader on another host
	ids     []uint64
	routes  []routeCount
	times   []int64
	stride  int64
}

const (
	lapseWrite  = iota // the entry is older than the write
	lapseOld           // it is younger and holds the value from before
	lapseInside        // it was set in a transaction that had not ended
)

// reuseSuspicion takes back what nobody points to but an entry that is being replaced: no hit came after any of its writes.
func (d *Detector) reuseSuspicion(s *suspicion) {
	clear(s.ws)
	s.ws, s.full = s.ws[:0], false
	d.spare = s
}

type routeCount struct {
	route uint32
	n     int64
}

// start is when reads become stale by a suspect, without the family's budget.
func (s *suspect) start(e *entry) int64 {
	switch s.lapse {
	case lapseOld:
		return e.end
	case lapseInside:
		if s.txn.state == txnRolledBack {
			return s.txn.end1
		}
		return e.end
	}
	return s.w.end
}

// hit counts a hit for each write that it came late enough after; the result says for which.
func (s *suspicion) hit(d *Detector, k *key, r *rec) (mask uint16) {
	budget := k.fam.find().budget
	for i := range s.ws {
		x := &s.ws[i]
		if x.lapse == lapseInside && x.txn.state == txnCommitted {
			continue
		}
		from := x.start(&k.e)
		base := from
		if x.lapse == lapseOld {
			base = x.w.end
		}
		if r.at < from || r.at-base < budget || budget > 0 && r.at-base == budget || r.at < d.opt.Since {
			continue
		}
		x.n += r.n
		if x.first == 0 {
			x.first = r.at
		}
		x.last = max(x.last, r.at)
		x.foreign = x.foreign || otherHost(r.src, x.w)
		x.sample(r.at)
		mask |= 1 << i
	}
	return mask
}

// otherHost says whether an event and a write are known to come from different hosts.
func otherHost(s *source, w *write) bool {
	if w == nil || s == nil || w.src == nil || w.external {
		return false
	}
	a, b := s.proc.host, w.src.proc.host
	return a != b && a != "" && b != ""
}

// sample keeps the time of every stride-th hit, which is doubled whenever there are too many.
func (x *suspect) sample(at int64) {
	if x.stride == 0 {
		x.stride = 1
	}
	if (x.n-1)%x.stride != 0 {
		return
	}
	if len(x.times) >= maxSamples {
		for i := range maxSamples / 2 {
			x.times[i] = x.times[2*i]
		}
		x.times = x.times[:maxSamples/2]
		x.stride *= 2
		if (x.n-1)%x.stride != 0 {
			return
		}
	}
	x.times = append(x.times, at)
}

func (s *suspicion) reader(mask uint16, w *caller, n int64) {
	for i := range s.ws {
		if mask&(1<<i) != 0 {
			s.ws[i].by(w, n)
		}
	}
}

func (x *suspect) by(w *caller, n int64) {
	if w.principal != 0 && len(x.ids) < maxPrincipals && !slices.Contains(x.ids, w.principal) {
		x.ids = append(x.ids, w.principal)
	}
	if w.route == 0 {
		return
	}
	for i := range x.routes {
		if x.routes[i].route == w.route {
			x.routes[i].n += n
			return
		}
	}
	if len(x.routes) < maxRoutes {
		x.routes = append(x.routes, routeCount{w.route, n})
	}
}

// compare looks for writes since the entry was last compared that may have made it stale.
func (d *Detector) compare(k *key) {
	e := &k.e
	since := e.checked
	e.checked = d.writeSeq
	if e.reads == nil {
		return
	}
	for i := range e.reads.deps {
		x := &e.reads.deps[i]
		t := x.use.table
		if t.last <= since {
			continue
		}
		if by := x.index(since); by != nil {
			for _, v := range by.vals {
				for _, r := range by.col.of(v) {
					if r == nil || len(r.ws) == 0 || r.ws[len(r.ws)-1].seq <= since {
						continue
					}
					for _, w := range r.ws {
						if w.seq > since {
							d.suspect(k, w)
						}
					}
				}
			}
			continue
		}
		if t.lost > since {
			d.cov.Overflow++
		}
		for j := len(t.log) - 1; j >= 0 && t.log[j].seq > since; j-- {
			d.suspect(k, t.log[j])
		}
	}
}

// index is a column by whose values all writes after number since that may have touched what was read can be found; nil
// where there is none and the table's log must be looked through.
func (x *dep) index(since uint64) *boundTo {
	for i := range x.bound {
		b := &x.bound[i]
		if b.col.loose > since {
			continue
		}
		whole := true
		for _, v := range b.vals {
			for _, r := range b.col.of(v) {
				whole = whole && (r == nil || r.lost <= since)
			}
		}
		if whole {
			return b
		}
	}
	return nil
}

// knowing notes the writes of whoever dropped a key, for which there must be a place: they explain the next fill.
func (d *Detector) knowing(k *key, x *del) {
	for t, n := x.tr, 0; t != nil && n < 16; t, n = t.parent, n+1 {
		if !t.traced() {
			continue
		}
		for _, w := range t.writes {
			if level, cols, _ := k.e.reads.relevance(w); level != levelNone && cols != colsNo && w.at >= k.e.end {
				d.note(k, suspect{w: w, level: level, cols: cols, stood: readBefore, knows: true})
			}
		}
	}
}

// suspect notes a write against an entry, if it may have made it stale.
func (d *Detector) suspect(k *key, w *write) {
	e := &k.e
	level, cols, by := e.reads.relevance(w)
	if level == levelNone || cols == colsNo {
		return
	}
	var in *txn
	same, differs := false, false
	if m := k.more; m != nil {
		in = m.txn
		switch {
		case m.prev == 0 || m.prevAt > w.at:
		case m.prev == e.val && m.ownedBy(w):
			differs = true // what the writer had stored was the new value
		default:
			same, differs = m.prev == e.val, m.prev != e.val
		}
	}
	st := e.stood(by, w, in, same, differs)
	if st != readBefore && st != readUnknown {
		return
	}
	d.note(k, suspect{w: w, level: level, cols: cols, stood: st})
}

func (d *Detector) note(k *key, s suspect) {
	if k.e.inherit {
		s.level = levelTable
	}
	if k.e.susp == nil {
		if k.e.susp, d.spare = d.spare, nil; k.e.susp == nil {
			k.e.susp = &suspicion{}
		}
		d.suspects[k] = true
	}
	ws := k.e.susp.ws
	for i := range ws {
		if ws[i].w == s.w && ws[i].lapse == s.lapse {
			ws[i].level = max(ws[i].level, s.level) // it came from the entry before, of which less was known
			return
		}
	}
	// Bits of masks given out refer to places: nothing is moved, and the order of commits is found when it is needed. Some
	// places are kept for writes that surely touched what was read.
	limit := maxSuspects
	if (s.level != levelRow || s.cols != colsYes) && !s.knows {
		limit -= maxSure
	}
	if s.lapse == lapseOld {
		limit = maxOld
	}
	if len(ws) >= limit {
		if slices.ContainsFunc(ws, func(x suspect) bool { return x.lapse == s.lapse && x.level >= s.level && x.w.like(s.w) }) {
			return // one more of its kind, which came later
		}
		k.e.susp.full = true
		d.cov.Overflow++
		return
	}
	k.e.susp.ws = append(ws, s)
}

// atSet looks for writes that an entry just stored may be stale by from the beginning: those committed after its reads
// began, and those that they should show and do not. in is the transaction of its reads; nil where they
// were in none.
func (d *Detector) atSet(k *key, r *rec, in *txn) {
	e := &k.e
	e.checked = d.writeSeq
	m := k.more
	if m != nil && m.txn != nil {
		d.insideOpen(k, r, m.txn, false)
	} else if in != nil {
		d.insideOpen(k, r, in, true)
	}
	if e.reads == nil {
		return
	}
	same := m != nil && m.prev != 0 && m.prev == e.val
	var seen [8]*table
	tables := seen[:0]
	for i := range e.reads.deps {
		t := e.reads.deps[i].use.table
		if slices.Contains(tables, t) {
			continue
		}
		tables = append(tables, t)
		n := 0
		for j := len(t.log) - 1; j >= 0 && n < 64; j-- {
			w := t.log[j]
			after := e.pos != 0 && w.end <= e.pos
			if after && (!same || w.end <= m.prevAt) {
				break
			}
			if e.pos == 0 && m != nil && m.prev != 0 && w.end <= m.prevAt {
				break
			}
			n++
			if !after {
				d.suspect(k, w)
				if e.pos == 0 && n >= 4 {
					break
				}
				continue
			}
			// It read after the write, and stored the value from before it.
			if level, cols, by := e.reads.relevance(w); level != levelNone && cols != colsNo && m.prevTo <= w.at && !m.ownedBy(w) &&
				e.stood(by, w, m.txn, true, false) == readAfter && (!w.tr.traced() || w.tr.who != e.who) {
				d.note(k, suspect{w: w, level: level, cols: cols, stood: readAfter, lapse: lapseOld})
			}
		}
	}
}

// ownedBy says whether the entry before was stored by who made a write, before it was committed: the value was the new one.
func (m *keyMore) ownedBy(w *write) bool {
	return m.prevBy != nil && w.tr.traced() && m.prevBy == w.tr.who
}

// insideOpen notes a set inside a transaction that has written before: until it commits nobody else should see it.
// Where only the reads behind it are known to have been inside, guessed is set.
func (d *Detector) insideOpen(k *key, r *rec, t *txn, guessed bool) {
	if t.state != txnOpen && (!guessed || t.state != txnRolledBack) {
		return
	}
	var w *write
	level := levelTable
	for _, x := range t.writes {
		if x.stmtEnd > r.at {
			continue
		}
		if k.e.reads != nil {
			l, c, _ := k.e.reads.relevance(x)
			if l == levelNone || c == colsNo {
				continue
			}
			if l == levelRow {
				level = l
			}
		}
		w = x
	}
	if w == nil {
		return
	}
	d.note(k, suspect{w: w, level: level, cols: colsYes, stood: readAfter, lapse: lapseInside, txn: t, guessed: guessed})
	if len(t.sets) < maxWritten {
		t.sets = append(t.sets, setIn{k, k.e.serial, r.at})
	}
}

// settled takes the end of a transaction in which an entry was set.
func (d *Detector) settled(s setIn, t *txn) {
	if s.k.dead || s.k.e.serial != s.serial || s.k.e.susp == nil {
		return
	}
	ws := s.k.e.susp.ws
	for i := range ws {
		if ws[i].lapse == lapseInside && ws[i].txn == t {
			// What was read before the end is no stale read; and after a commit nothing is.
			ws[i].n, ws[i].first, ws[i].last, ws[i].ids, ws[i].routes, ws[i].times, ws[i].stride = 0, 0, 0, nil, nil, nil, 0
		}
	}
}
