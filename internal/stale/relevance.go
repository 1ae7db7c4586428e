package stale

import (
	"slices"

	"github.com/demarc-dev/demarc/event"
)

// reads are the statements behind an entry: 64 bytes, 88 for each use of a table, 32 for each of its columns that is pinned
// to values, 8 for each value and each key of a row returned. Of one use with one value they take 192 together; otherwise
// each of these lists is rounded up by the allocator, by an eighth at most. There are MaxReads uses at most.
type reads struct {
	deps   []dep
	from   int64      // where the reads stood, if that is before the miss: the first statement of their transaction
	sig    uint64     // statements and parameters
	result event.Hash // of all results, 0 where one is not known
	txn    uint64     // serial of the transaction, or of the last one; 0: none
	loose  bool       // some result is another one each time
}

// oneRead is the commonest case in one piece.
type oneRead struct {
	reads
	dep   [1]dep
	bound [1]boundTo
	val   [1]event.Hash
}

// readScratch is where reads are put together.
type readScratch struct {
	deps  []dep
	bound []boundTo
	vals  []event.Hash
}

// keep copies what was put together into as little as it takes.
func (s *readScratch) keep(head reads) *reads {
	var out *reads
	var deps []dep
	var bound []boundTo
	var vals []event.Hash
	if len(s.deps) == 1 && len(s.bound) == 1 && len(s.vals) == 1 {
		o := &oneRead{}
		out, deps, bound, vals = &o.reads, o.dep[:], o.bound[:], o.val[:]
	} else {
		out, deps = &reads{}, make([]dep, len(s.deps))
		if len(s.bound) > 0 {
			bound, vals = make([]boundTo, len(s.bound)), make([]event.Hash, len(s.vals))
		}
	}
	*out = head
	out.deps = deps
	copy(deps, s.deps)
	copy(bound, s.bound)
	copy(vals, s.vals)
	for i := range deps { // the lists lie one behind the other
		n := len(deps[i].bound)
		deps[i].bound, bound = bound[:n:n], bound[n:]
		for j := range deps[i].bound {
			b := &deps[i].bound[j]
			n := len(b.vals)
			b.vals, vals = vals[:n:n], vals[n:]
		}
	}
	clear(s.deps)
	return out
}

// dep is one use of a table behind an entry.
type dep struct {
	use     *use
	at, end int64 // when the database read, at the earliest and the latest
	ownAt   int64 // start of the statement
	bound   []boundTo
	pks     []event.Hash // of the rows returned, where they were seen
	hasPKs  bool
	carried bool // it is behind an entry that this one was filled from: end is that of the hit there
	batch   bool // several keys of one family were filled from its rows: which row is whose is not known
	found   bool // it returned rows
	empty   bool // it returned none
}

// How sure it is that a write touched what an entry read.
const (
	levelNone  = iota
	levelTable // some row of the table
	levelRow   // a row that was read, or one that comes under the read's predicate
)

const (
	colsNo = iota
	colsUnknown
	colsYes
)

// readsBehind builds the reads of an entry from what its trace asked between the miss and the set, the database or other
// caches; nil for none. t is the transaction of the last statement.
func (d *Detector) readsBehind(tr *trace, r *rec) (out *reads, role uint8, t *txn) {
	var head reads
	s := &d.scratch
	s.deps, s.bound, s.vals = s.deps[:0], s.bound[:0], s.vals[:0]
	roles, any := 0, false
	for i := range tr.reads {
		q := &tr.reads[i]
		if q.end > r.at || r.fill != 0 && q.at < r.fill {
			continue
		}
		any = true
		head.sig = mix(head.sig, q.stmt.sig)
		for _, p := range q.params {
			head.sig = mix(head.sig, uint64(p))
		}
		head.loose = head.loose || q.stmt.volatile
		if q.result == 0 || q.stmt.volatile {
			head.result = 0
			roles |= 1 << 7
		} else if roles&(1<<7) == 0 {
			head.result = event.Hash(mix(uint64(head.result), uint64(q.result)) | 1)
		}
		roles |= 1 << q.role
		role = q.role
		at, end := q.at, q.end
		if q.txn != nil {
			t = q.txn
			if t.first != 0 && t.first < q.at && t.iso != isoCommitted {
				if head.from == 0 || t.first < head.from {
					head.from = t.first
				}
				at = t.first
				if t.iso == isoSnapshot {
					end = t.firstEnd
				}
			}
		}
		b := bind(q.stmt, q.params, q.names, 0)
		for _, u := range q.stmt.reads {
			if len(s.deps) >= d.opt.MaxReads {
				d.reach("reads")
				break
			}
			x := dep{use: u, at: at, end: end, ownAt: q.at, found: q.rows > 0, empty: q.rows == 0}
			from := len(s.bound)
			for j := range u.bound {
				n := len(s.vals)
				vs, ok := b.values(&u.bound[j], s.vals[n:n])
				if !ok {
					continue
				}
				s.vals = append(s.vals[:n], vs...)
				s.bound = append(s.bound, boundTo{u.bound[j].col, s.vals[n:]})
			}
			x.bound = s.bound[from:]
			if q.hasPKs && u == q.stmt.reads[0] {
				x.pks, x.hasPKs = slices.Clone(q.pks), true
			}
			s.deps = append(s.deps, x)
		}
	}
	if r.fill != 0 && (len(tr.touches()) > 0 || len(tr.inner) > 0) {
		id := uint64(0)
		if r.key != nil {
			id = r.key.id
		} else if r.x != nil {
			id = r.x.keyID
		}
		hits := d.innerHits(tr, r, id)
		for i := range hits {
			any = true
			head.sig = mix(head.sig, hits[i].reads.sig^1)
			if !s.from(&hits[i], d.opt.MaxReads) {
				d.reach("reads")
			}
		}
		clear(hits)
	}
	if roles&^(1<<7) != 1<<role {
		role = roleUnknown // several
		if roles&(1<<roleReplica) != 0 && roles&(1<<roleUnknown) == 0 {
			role = roleReplica
		}
	}
	if !any {
		return nil, role, t
	}
	if t != nil {
		head.txn = t.serial
	}
	return s.keep(head), role, t
}

// several says whether reads are known to have found more than one row.
func (rd *reads) several() bool {
	return slices.ContainsFunc(rd.deps, func(x dep) bool { return x.several() })
}

func (x *dep) several() bool {
	return len(x.pks) > 1 || slices.ContainsFunc(x.bound, func(b boundTo) bool { return len(b.vals) > 1 })
}

// lastFill is the last key that a trace filled from several rows.
type lastFill struct {
	k  *key
	rd *reads
}

// batched notes a fill from several rows. Where the same trace fills another key of the family from the same statements, each of
// the rows may be another key's.
func (d *Detector) batched(tr *trace, k *key, rd *reads) {
	if rd == nil || !tr.traced() || !rd.several() {
		return
	}
	w := d.does(tr)
	if last := w.filled; last.k != nil && last.k != k && last.rd.sig == rd.sig && last.k.fam.find() == k.fam.find() {
		for _, one := range [...]*reads{last.rd, rd} {
			for i := range one.deps {
				one.deps[i].batch = one.deps[i].several()
			}
		}
	}
	w.filled = lastFill{k, rd}
}

// touches says how surely a write touched what a use of a table read.
func (x *dep) touches(w *write) int {
	if w.op == opTruncate {
		return levelRow
	}
	if x.batch {
		return min(x.touched(w), levelTable)
	}
	return x.touched(w)
}

func (x *dep) touched(w *write) int {
	matched := false
	for i := range x.bound {
		b := &x.bound[i]
		vs, ok := w.values(b.col)
		if ok {
			if meet(vs, b.vals) {
				matched = true
				continue
			}
			if w.op != opUpdate || !w.movesTo(b) {
				return levelNone
			}
			matched = matched || w.setsTo(b)
			continue
		}
		if w.rowsSeen && w.pkLen == 1 && !w.table.sure && w.table.pk == nil && meet(w.pks, b.vals) {
			matched = true
			continue
		}
		if w.op == opInsert && x.found && (b.col == w.table.pk) {
			return levelNone // that row was there before
		}
	}
	if x.hasPKs && w.rowKeys() != nil {
		switch {
		case meet(w.rowKeys(), x.pks):
			return levelRow
		case w.op == opDelete && !matched:
			return levelNone
		case w.op == opUpdate && w.chooses(x.use):
			return levelTable // it may bring other rows in
		case w.op == opUpdate:
			return levelNone
		}
	}
	if matched {
		return levelRow
	}
	return levelTable
}

// rowKeys are the keys of all rows that a write touched; nil where they are not known.
func (w *write) rowKeys() []event.Hash {
	if w.rowsSeen && w.pkLen == 1 {
		return w.pks
	}
	if w.table.pk != nil {
		if vs, ok := w.values(w.table.pk); ok {
			return vs
		}
	}
	return nil
}

// chooses says whether an update may change which rows a statement returns, or their order.
func (w *write) chooses(u *use) bool {
	return w.unknown || w.all || u.partial || slices.ContainsFunc(u.filters, func(c string) bool { return c == "*" || slices.Contains(w.cols, c) })
}

// movesTo says whether an update may bring rows under a predicate by setting its column.
func (w *write) movesTo(b *boundTo) bool {
	if !slices.Contains(w.cols, b.col.name) {
		return false
	}
	for i := range w.sets {
		if w.sets[i].col == b.col {
			return meet(w.sets[i].vals, b.vals)
		}
	}
	return true
}

func (w *write) setsTo(b *boundTo) bool {
	for i := range w.sets {
		if w.sets[i].col == b.col && meet(w.sets[i].vals, b.vals) {
			return true
		}
	}
	return false
}

func meet(a, b []event.Hash) bool {
	for _, v := range a {
		if v != 0 && slices.Contains(b, v) {
			return true
		}
	}
	return false
}

// meets says whether the columns written are among those read.
func (x *dep) meets(w *write) int {
	if w.op != opUpdate || w.all && !w.unknown {
		return colsYes
	}
	if w.unknown {
		return colsUnknown
	}
	if x.use.all {
		return colsYes
	}
	for _, c := range w.cols {
		if slices.Contains(x.use.cols, c) {
			return colsYes
		}
	}
	if x.use.partial {
		return colsUnknown
	}
	return colsNo
}

// touchedBy says whether a write may have changed what a use of a table read.
func (x *dep) touchedBy(w *write) bool {
	return x.use.table == w.table && x.touches(w) != levelNone && x.meets(w) != colsNo
}

// relevance says how surely a write touched what an entry read, and by what columns.
func (rd *reads) relevance(w *write) (level, cols int, by *dep) {
	for i := range rd.deps {
		x := &rd.deps[i]
		if x.use.table != w.table {
			continue
		}
		l := x.touches(w)
		if l == levelNone {
			continue
		}
		c := x.meets(w)
		if by == nil || c > cols || c == cols && l > level {
			level, cols, by = l, c, x
		}
	}
	return level, cols, by
}

// Where the reads behind an entry stood, seen from a write.
const (
	readBefore  = iota // they saw the state before it
	readAfter          // they saw it
	readOverlap        // they overlap
	readUnknown        // fill_start is not known
)

// stood says where a read behind an entry stood, seen from a write. prevSame says that the value stored is the one from
// before the write, prevDiffers that it is another one.
func (e *entry) stood(x *dep, w *write, setTxn *txn, prevSame, prevDiffers bool) int {
	if x != nil && x.carried && !e.inherit {
		if e.at <= w.at || x.end <= w.at {
			return readBefore
		}
		return readOverlap // or it was so in the inner entry
	}
	// What the same transaction, or the same request, wrote before it read is no news to it.
	// A writer that stores what nobody had missed stores what it wrote.
	ownAt := e.at
	if x != nil && !e.inherit && !e.through {
		ownAt = x.ownAt
	}
	if w.stmtEnd <= ownAt {
		if w.txn != nil && (w.txn == setTxn || !e.inherit && e.reads != nil && e.reads.txn == w.in) {
			return readAfter
		}
		if w.tr.traced() && e.who == w.tr.who {
			return readAfter
		}
	}
	if e.end <= w.at || e.at <= w.at { // reads come before their set
		return readBefore
	}
	if e.pos == 0 {
		switch {
		case e.who != nil && e.who.done && e.who.at >= w.end:
			return readAfter
		case prevDiffers:
			return readAfter
		}
		return readUnknown
	}
	switch {
	case w.end <= e.pos:
		return readAfter
	case w.at < e.pos:
		return readOverlap
	case x == nil || e.inherit:
		return readUnknown
	case x.end <= w.at:
		return readBefore
	case prevDiffers:
		return readAfter
	case x.at < w.at && x.at < x.ownAt: // a snapshot may be that old, and is taken to be
		return readBefore
	case x.ownAt >= w.end && !prevSame:
		return readAfter
	case prevSame:
		return readBefore
	}
	return readOverlap
}
