package stale

import (
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// Bounds of writes.
const (
	maxRows    = 256     // rows of one transaction's changes kept apart
	maxIndexed = 1 << 16 // writes remembered by the values of one column, but for those of one statement
	maxAheads  = 4096    // commits that changes may fall into
)

// table is a table of the service's database, by its name without schema.
type table struct {
	name string
	cols map[string]*column
	pk   *column // the primary key, where it is one column and known
	// sure says that pk was learned from the log and not guessed from its name.
	sure    bool
	log     []*write
	last    uint64 // number of the last write
	lost    uint64 // number of the last write that is not in the log any more
	writes  int64
	columns uint64
	taint   int64 // the last time at which something happened to it that was not seen
}

// column remembers which of its values were written when, so that a hit need not look through the log.
type column struct {
	name  string
	n     uint64 // number, from 1
	watch bool   // entries have slots for its values
	loose uint64 // number of the last write that does not say which values it touched, or is not held any more
	rows  map[event.Hash]*rowLog
	old   map[event.Hash]*rowLog // of the generation before
	first uint64                 // number of the first write in rows
	held  int                    // writes in rows
}

// forget lets go of all writes, or of those of the older generation.
func (c *column) forget(w *write, all bool) {
	if all {
		c.loose, c.held = w.seq, 0
		clear(c.rows)
		c.old, c.first = nil, w.seq+1
		return
	}
	c.loose = max(c.loose, c.first-1)
	c.old, c.rows, c.held = c.rows, nil, 0
}

// of returns what is known of the writes of rows with a value, older ones first.
func (c *column) of(v event.Hash) [2]*rowLog { return [2]*rowLog{c.old[v], c.rows[v]} }

// rowLog holds the last writes that touched rows with one value of a column.
type rowLog struct {
	lost uint64 // number of the last one that is not held any more
	ws   []*write
}

const maxRowLog = 8

// slotOf is the place of a value in Detector.slots, which says by one look whether a row may have been written.
func slotOf(c *column, v event.Hash) uint16 { return uint16(mix(c.n, uint64(v))%65535) + 1 }

// slotFor is the slot of an entry that was read from one row of one table; 0 for any other.
func (d *Detector) slotFor(rd *reads) uint16 {
	if rd == nil || len(rd.deps) != 1 || len(rd.deps[0].bound) == 0 || len(rd.deps[0].bound[0].vals) != 1 {
		return 0
	}
	b := &rd.deps[0].bound[0]
	if d.slots == nil {
		d.slots = make([]uint64, 1<<16)
	}
	b.col.watch = true
	return slotOf(b.col, b.vals[0])
}

func (c *column) note(v event.Hash, w *write) {
	r := c.rows[v]
	if r == nil {
		if c.rows == nil {
			c.rows, c.first = map[event.Hash]*rowLog{}, w.seq
		}
		r = &rowLog{}
		c.rows[v] = r
	}
	if len(r.ws) > 0 && r.ws[len(r.ws)-1] == w {
		return
	}
	if len(r.ws) >= maxRowLog {
		r.lost = r.ws[0].seq
	} else {
		c.held++
	}
	r.ws = lastOf(r.ws, w, maxRowLog)
}

func (t *table) column(name string) *column {
	c := t.cols[name]
	if c == nil {
		t.columns++
		c = &column{name: name, n: hashText(t.columns, t.name), loose: t.last}
		if len(t.cols) < 1024 {
			t.cols[name] = c
		}
		if t.pk == nil && (name == "id" || name == "pk") {
			t.pk = c
		}
	}
	return c
}

func (d *Detector) table(name string) *table {
	name = name[strings.LastIndexByte(name, '.')+1:]
	t := d.tables[name]
	if t == nil {
		if len(d.tables) >= d.opt.MaxTables {
			d.reach("tables")
			name = "(other tables)"
			if t = d.tables[name]; t != nil {
				return t
			}
		}
		t = &table{name: strings.Clone(cut(name, maxText)), cols: map[string]*column{}}
		d.tables[t.name] = t
	}
	return t
}

// write is a committed change of one table: 240 bytes.
type write struct {
	seq      uint64
	at, end  int64 // of the commit
	open     int64 // when its transaction, or the statement, began
	stmtAt   int64
	stmtEnd  int64
	tr       *trace
	src      *source
	txn      *txn
	in       uint64 // its serial
	table    *table
	stmt     *stmt
	use      *use
	cols     []string
	bound    []boundTo
	sets     []boundTo
	pks      []event.Hash // of its rows, from the log
	xid      uint64
	loggedAt int64
	pkLen    int32 // columns of one primary key
	code     uint32
	op       uint8
	all      bool // all columns, or whole rows
	unknown  bool // columns are not known
	rowsSeen bool // pks are all rows
	oneRow   bool
	trigger  bool // no statement of the transaction named the table
	external bool
	gone     bool // it turned out to be another one's
	logged   bool // seen in the database's log
	joined   bool // to a request
}

// like says whether two writes change the same: whichever of them comes first, what it means for an entry is the same.
func (w *write) like(o *write) bool {
	return w.table == o.table && w.op == o.op && (w.op != opUpdate || (w.all || w.unknown) == (o.all || o.unknown) && slices.Equal(w.cols, o.cols))
}

// kind is a number that writes have in common that are like each other.
func (w *write) kind() uint64 {
	h := mix(hashText(17, w.table.name), uint64(w.op))
	if w.op == opUpdate {
		if w.all || w.unknown {
			h++
		}
		for _, c := range w.cols {
			h = hashText(h, c)
		}
	}
	return h
}

// boundTo is a column with the values it had in the rows touched, or that it was set to.
type boundTo struct {
	col  *column
	vals []event.Hash
}

// written makes pending writes of a statement.
func (d *Detector) written(r *rec) []*write {
	if r.failed || r.n == 0 {
		return nil
	}
	b := bind(r.x.stmt, r.x.params, r.x.names, r.x.many)
	var out []*write
	for _, u := range r.x.stmt.changes {
		w := &write{
			at: r.at, end: r.end, open: r.at, stmtAt: r.at, stmtEnd: r.end, tr: d.context(r), src: r.src, txn: r.x.txn, table: u.table,
			in: r.x.txn.number(), stmt: r.x.stmt, use: u, op: u.op, cols: u.cols, all: u.all || u.op != opUpdate, code: r.code,
		}
		for i := range u.bound {
			if vs, ok := b.values(&u.bound[i], nil); ok {
				w.bound = append(w.bound, boundTo{u.bound[i].col, vs})
			}
		}
		for i := range u.sets {
			if vs, ok := b.values(&u.sets[i], nil); ok {
				w.sets = append(w.sets, boundTo{u.sets[i].col, vs})
			}
		}
		w.oneRow = r.n <= 1 && r.x.many <= 1 && (u.op == opInsert && u.single || u.op != opInsert && w.pinsOne(r.n == 1))
		out = append(out, w)
	}
	return out
}

// pinsOne says whether the text pins one row: by a key, or by anything where the count says that it was one.
func (w *write) pinsOne(counted bool) bool {
	for i := range w.use.bound {
		p := &w.use.bound[i]
		if len(p.values) == 1 && !p.values[0].List && (counted || p.col == w.table.pk || strings.HasSuffix(p.col.name, "id")) {
			return true
		}
	}
	return false
}

// values are those that a column had in all rows that a write touched.
func (w *write) values(c *column) ([]event.Hash, bool) {
	if c == w.table.pk && w.rowsSeen && w.pkLen == 1 {
		return w.pks, true
	}
	for i := range w.bound {
		if w.bound[i].col == c {
			return w.bound[i].vals, true
		}
	}
	return nil, false
}

// early is when the deletes of a write's trace can have been meant for it before it began: a transaction often begins with
// the first statement that writes, and without one there is only the statement. What the trace had written before that
// takes the deletes that came after it; but a trace that goes from row to row drops each before it writes it.
func (w *write) early() (from, to int64) {
	to = w.open
	if !w.tr.traced() || len(w.tr.writes) >= maxOfTrace {
		return 0, 0
	}
	for _, v := range w.tr.writes {
		switch {
		case v.seq >= w.seq || v.in != 0 && v.in == w.in || v.stmtAt == w.stmtAt:
		case v.otherRow(w):
			from = max(from, v.end)
		default:
			to = min(to, v.open)
		}
	}
	return from, to
}

// otherRow says whether two writes surely touched different rows of one table.
func (w *write) otherRow(v *write) bool {
	if w.table != v.table {
		return false
	}
	for i := range w.bound {
		vals, ok := v.values(w.bound[i].col)
		if ok && !slices.ContainsFunc(vals, func(h event.Hash) bool { return slices.Contains(w.bound[i].vals, h) }) {
			return true
		}
	}
	return false
}

// commit enters a write into the log of its table.
func (d *Detector) commit(w *write, at, end int64) {
	w.at, w.end = at, end
	d.writeSeq++
	w.seq = d.writeSeq
	t := w.table
	t.last = w.seq
	t.writes++
	for _, c := range t.cols {
		vs, ok := w.values(c)
		if c.held > maxIndexed/2 {
			c.forget(w, false)
		}
		if !ok {
			c.forget(w, true)
			if c.watch {
				d.looseSeq = w.seq
			}
			continue
		}
		for _, v := range vs {
			c.note(v, w)
			if c.watch {
				d.slots[slotOf(c, v)] = w.seq
			}
		}
		for i := range w.sets { // rows that come under this value are found by it too
			if w.sets[i].col == c {
				for _, v := range w.sets[i].vals {
					c.note(v, w)
					if c.watch {
						d.slots[slotOf(c, v)] = w.seq
					}
				}
			}
		}
		if w.op == opUpdate && slices.Contains(w.cols, c.name) && !slices.ContainsFunc(w.sets, func(s boundTo) bool { return s.col == c }) {
			c.loose = w.seq
			if c.watch {
				d.looseSeq = w.seq
			}
		}
	}
	if len(t.log) >= d.opt.MaxWrites {
		n := max(len(t.log)/4, 1)
		t.lost = t.log[n-1].seq
		t.log = append(t.log[:0], t.log[n:]...)
		d.reach("writes")
	}
	t.log = append(t.log, w)
	d.cov.Writes++
	if w.tr != nil {
		if w.tr.who.done {
			d.joined(w)
		}
		if did := d.does(w.tr); len(did.writes) < maxOfTrace {
			did.writes = append(did.writes, w)
		}
		for _, x := range w.tr.dels {
			d.pairUp(w, x)
		}
	}
}

// statementEnd takes a statement that changes something, or the state of its transaction.
func (d *Detector) statementEnd(r *rec) {
	t := r.x.txn
	if t != nil && t.first == 0 && r.kind != kRead {
		t.first, t.firstEnd = r.at, r.end
	}
	if t == nil {
		if r.kind == kWrite {
			ws := d.written(r)
			if r.x.ahead != nil {
				r.x.ahead.writes, r.x.ahead.by = ws, nil
				ws = d.withRows(ws, r.x.ahead.rows, r, nil)
			}
			for _, w := range ws {
				d.commit(w, r.at, r.end)
			}
		}
		return
	}
	switch r.x.stmt.control {
	case toSave:
		t.saves = append(t.saves, savepoint{r.x.stmt.save, len(t.writes), r.at})
		return
	case toRelease, toRollback:
		for i := len(t.saves) - 1; i >= 0; i-- {
			if t.saves[i].name == r.x.stmt.save {
				if r.x.stmt.control == toRollback && !r.failed {
					t.writes = t.writes[:min(t.saves[i].n, len(t.writes))]
					t.saves = t.saves[:i+1]
				} else {
					t.saves = t.saves[:i]
				}
				break
			}
		}
		return
	}
	if r.kind == kWrite && len(t.writes) < maxWritten {
		t.writes = append(t.writes, d.written(r)...)
	}
}

// transaction takes begin, commit and rollback.
func (d *Detector) transaction(r *rec) {
	t := r.x.txn
	if r.x.xid != 0 {
		t.xid = r.x.xid
	}
	switch r.kind {
	case kBegin:
		if t.state != txnOpen { // its number was given again
			d.txnSerial++
			*t = txn{serial: d.txnSerial, xid: r.x.xid}
		}
		t.at, t.iso = r.at, r.x.iso
	case kCommit:
		if t.state != txnOpen {
			return
		}
		if r.failed {
			d.rolledBack(t, r)
			return
		}
		t.state, t.end0, t.end1 = txnCommitted, r.at, r.end
		d.adopt(t.writes, t, r)
		for _, w := range d.withRows(t.writes, t.rows, r, t) {
			if t.at != 0 {
				w.open = t.at
			}
			d.commit(w, r.at, r.end)
		}
		if t.xid != 0 {
			d.xids[t.xid] = t
			if d.xidRing.push(t.xid); d.xidRing.n() > maxAheads {
				delete(d.xids, d.xidRing.pop())
			}
		}
		for _, s := range t.sets {
			d.settled(s, t)
		}
		t.sets, t.rows, t.saves = nil, nil, nil
		if t.xid == 0 { // no row of the log will ask for them
			t.writes = nil
		}
	case kRollback:
		if t.state == txnOpen {
			d.rolledBack(t, r)
		}
	}
}

func (d *Detector) rolledBack(t *txn, r *rec) {
	t.state, t.end0, t.end1 = txnRolledBack, r.at, r.end
	for _, s := range t.sets {
		d.settled(s, t)
	}
	t.sets, t.rows, t.saves = nil, nil, nil
}
