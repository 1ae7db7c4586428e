package stale

import (
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// Bounds of writes.
const (
	maxRows    = 256     // rows of one transaction's changes kept apart
	maxIndexed = 1 << 16 // values of one column whose last write is remembered
	maxAheads  = 4096    // commits that changes may fall into
)

// table is a table of the service's database, by its name without schema.
type table struct {
	name string
	cols map[string]*column
	pk   *column // the primary key, where it is one column and known
	// sure says that pk was learned from the log and not guessed from its name.
	sure   bool
	log    []*write
	last   uint64 // number of the last write
	lost   uint64 // number of the last write that is not in the log any more
	writes int64
	taint  int64 // the last time at which something happened to it that was not seen
}

// column remembers which of its values were written when, so that a hit need not look through the log.
type column struct {
	name  string
	loose uint64 // number of the last write that does not say which values it touched
	rows  map[event.Hash]*rowLog
}

// rowLog holds the last writes that touched rows with one value of a column.
type rowLog struct {
	lost uint64 // number of the last one that is not held any more
	ws   []*write
}

const maxRowLog = 8

func (r *rowLog) last() uint64 {
	if r == nil || len(r.ws) == 0 {
		return 0
	}
	return r.ws[len(r.ws)-1].seq
}

func (c *column) note(v event.Hash, w *write) {
	r := c.rows[v]
	if r == nil {
		if c.rows == nil {
			c.rows = map[event.Hash]*rowLog{}
		}
		r = &rowLog{}
		c.rows[v] = r
	}
	if len(r.ws) > 0 && r.ws[len(r.ws)-1] == w {
		return
	}
	if len(r.ws) >= maxRowLog {
		r.lost = r.ws[0].seq
	}
	r.ws = lastOf(r.ws, w, maxRowLog)
}

func (t *table) column(name string) *column {
	c := t.cols[name]
	if c == nil {
		c = &column{name: name, loose: t.last}
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

// write is a committed change of one table.
type write struct {
	seq      uint64
	at, end  int64 // of the commit
	open     int64 // when its transaction, or the statement, began
	stmtAt   int64
	stmtEnd  int64
	tr       *trace
	src      *source
	txn      *txn
	table    *table
	stmt     *stmt
	use      *use
	op       uint8
	cols     []string
	all      bool // all columns, or whole rows
	unknown  bool // columns are not known
	bound    []boundTo
	sets     []boundTo
	pks      []event.Hash // of its rows, from the log
	pkLen    int          // columns of one primary key
	rowsSeen bool         // pks are all rows
	oneRow   bool
	trigger  bool // no statement of the transaction named the table
	external bool
	gone     bool // it turned out to be another one's
	xid      uint64
	logged   bool // seen in the database's log
	loggedAt int64
	joined   bool // to a request
	code     uint32
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
	b := bind(r.stmt, r.x.params, r.x.names, r.x.many)
	var out []*write
	for _, u := range r.stmt.changes {
		w := &write{
			at: r.at, end: r.end, open: r.at, stmtAt: r.at, stmtEnd: r.end, tr: d.context(r), src: r.src, txn: r.txn, table: u.table,
			stmt: r.stmt, use: u, op: u.op, cols: u.cols, all: u.all || u.op != opUpdate, code: r.code,
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
		if !ok || len(c.rows)+len(vs) > maxIndexed {
			c.loose = w.seq
			clear(c.rows)
			continue
		}
		for _, v := range vs {
			c.note(v, w)
		}
		for i := range w.sets { // rows that come under this value are found by it too
			if w.sets[i].col == c {
				for _, v := range w.sets[i].vals {
					c.note(v, w)
				}
			}
		}
		if w.op == opUpdate && slices.Contains(w.cols, c.name) && !slices.ContainsFunc(w.sets, func(s boundTo) bool { return s.col == c }) {
			c.loose = w.seq
		}
	}
	if len(t.log) >= d.opt.MaxWrites {
		n := len(t.log) / 4
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
		if len(w.tr.writes) < maxOfTrace {
			w.tr.writes = append(w.tr.writes, w)
		}
		for _, x := range w.tr.dels {
			d.pairUp(w, x)
		}
	}
}

// statementEnd takes a statement that changes something, or the state of its transaction.
func (d *Detector) statementEnd(r *rec) {
	t := r.txn
	if t != nil && t.first == 0 && r.kind != kRead {
		t.first, t.firstEnd = r.at, r.end
	}
	if t == nil {
		if r.kind == kWrite {
			ws := d.written(r)
			if r.x.ahead != nil {
				ws = d.withRows(ws, r.x.ahead.rows, r, nil)
			}
			for _, w := range ws {
				d.commit(w, r.at, r.end)
			}
		}
		return
	}
	switch r.stmt.control {
	case toSave:
		t.saves = append(t.saves, savepoint{r.stmt.save, len(t.writes), r.at})
		return
	case toRelease, toRollback:
		for i := len(t.saves) - 1; i >= 0; i-- {
			if t.saves[i].name == r.stmt.save {
				if r.stmt.control == toRollback && !r.failed {
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
	t := r.txn
	if r.x.xid != 0 {
		t.xid = r.x.xid
	}
	switch r.kind {
	case kBegin:
		if t.state != txnOpen { // its number was given again
			*t = txn{id: t.id, xid: r.x.xid}
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
			d.xidRing = append(d.xidRing, t.xid)
			if len(d.xidRing) > maxAheads {
				delete(d.xids, d.xidRing[0])
				d.xidRing = d.xidRing[1:]
			}
		}
		for _, s := range t.sets {
			d.settled(s, t)
		}
		t.sets, t.rows, t.saves = nil, nil, nil
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

// rowChange is a row from the database's log.
type rowChange struct {
	at      int64
	table   *table
	op      uint8
	pks     []event.Hash
	cols    []string
	unknown bool
}

// withRows gives the rows that the log has of a transaction to its writes, and makes writes of the rows that no
// statement named.
func (d *Detector) withRows(ws []*write, rows []*rowChange, r *rec, t *txn) []*write {
	for _, c := range rows {
		if to := writeOf(ws, c); to != nil {
			to.row(c)
			continue
		}
		w := &write{open: r.at, stmtAt: r.at, stmtEnd: r.end, tr: d.context(r), src: r.src, txn: t, table: c.table, op: c.op,
			trigger: true, code: r.code}
		if len(ws) > 0 {
			w.stmt, w.code, w.tr, w.src = ws[0].stmt, ws[0].code, ws[0].tr, ws[0].src
		}
		w.cols, w.unknown, w.all = c.cols, c.unknown, c.op != opUpdate
		w.row(c)
		ws = append(ws, w)
	}
	return ws
}

// row notes a row of a write.
func (w *write) row(c *rowChange) {
	if !w.logged {
		w.logged, w.rowsSeen, w.loggedAt = true, true, c.at
		w.learn(c)
	}
	if len(c.pks) == 0 || w.pkLen != 0 && w.pkLen != len(c.pks) || len(w.pks) >= maxRows {
		w.rowsSeen = false
		return
	}
	w.pkLen = len(c.pks)
	w.pks = append(w.pks, c.pks...)
}

// learn finds out which column is the primary key: the one that a statement pins to the key in the log.
func (w *write) learn(c *rowChange) {
	if len(c.pks) != 1 || w.table.sure || w.trigger || w.external {
		return
	}
	for i := range w.bound {
		if len(w.bound[i].vals) == 1 && w.bound[i].vals[0] == c.pks[0] {
			w.table.pk, w.table.sure = w.bound[i].col, true
			return
		}
	}
}

// writeOf is the write that a row of the log belongs to: one that names the row, else one that does not say.
func writeOf(ws []*write, c *rowChange) *write {
	var any *write
	for _, w := range ws {
		if w.table != c.table || w.external {
			continue
		}
		if w.trigger {
			if any == nil {
				any = w
			}
			continue
		}
		if len(c.pks) == 1 {
			for i := range w.bound {
				if slices.Contains(w.bound[i].vals, c.pks[0]) {
					return w
				}
			}
		}
		if any == nil || any.trigger {
			any = w
		}
	}
	return any
}

// ahead is a commit, or a write outside a transaction, that changes of the log may belong to.
type ahead struct {
	at, end int64
	txn     *txn
	stmt    *stmt
	writes  []*write // of a statement outside a transaction
	rows    []*rowChange
}

// ahead puts the start of a commit on the wheel: the log's time of the commit lies between its start and its end.
func (d *Detector) ahead(r *rec) {
	a := &ahead{at: r.at, end: r.end, txn: r.txn, stmt: r.stmt}
	r.x.ahead = a
	early := rec{at: r.at, end: r.at, src: r.src, kind: kAhead, n: -1, hit: -1, x: d.aside()}
	early.x.ahead = a
	if r.txn == nil {
		a.writes = d.written(r)
	} else if r.x.xid != 0 {
		r.txn.xid = r.x.xid
	}
	if d.wheel.late(r.at) {
		d.enter(a)
		d.release(early.x)
		return
	}
	d.wheel.put(&early)
}

func (d *Detector) enter(a *ahead) {
	for len(d.aheads) > 0 && (d.aheads[0].end < d.now || len(d.aheads) > maxAheads) {
		d.aheads = d.aheads[1:]
	}
	d.aheads = append(d.aheads, a)
	if a.txn != nil {
		a.txn.open = a
	}
}

// change takes a row from the database's log: it belongs to the transaction with its number, else to the only one that
// wrote such a row and whose commit was under way; else its writer is outside.
func (d *Detector) change(r *rec) {
	d.cov.ChangeLog = true
	c := &rowChange{at: r.at, table: d.table(r.x.table), op: opOf(r.x.op), pks: slices.Clone(r.x.pks), cols: slices.Clone(r.x.texts),
		unknown: !r.x.colsKnown}
	xid := r.x.xid
	if xid != 0 {
		if t := d.xids[xid]; t != nil { // the log came after the answer to the commit
			d.addRow(t.writes, c, t)
			return
		}
	}
	var only *ahead
	n := 0
	for _, a := range d.aheads {
		if xid != 0 && a.txn != nil && a.txn.xid == xid {
			a.txn.rows = append(a.txn.rows, c)
			return
		}
		if r.at < a.at || r.at > a.end || a.txn != nil && a.txn.xid != 0 && xid != 0 {
			continue
		}
		ws := a.writes
		if a.txn != nil {
			ws = a.txn.writes
		}
		if w := writeOf(ws, c); w != nil && w.couldBe(c) {
			only = a
			n++
		}
	}
	if xid != 0 {
		if t := d.openByXid(xid); t != nil {
			t.rows = append(t.rows, c)
			return
		}
	}
	if n == 1 {
		if only.txn != nil {
			only.txn.rows = append(only.txn.rows, c)
		} else {
			only.rows = append(only.rows, c)
		}
		return
	}
	w := &write{open: r.at, stmtAt: r.at, stmtEnd: r.at, src: r.src, table: c.table, op: c.op, external: true, cols: c.cols,
		unknown: c.unknown, all: c.op != opUpdate, xid: xid}
	if n > 1 { // one of ours, but which is not known
		return
	}
	w.row(c)
	d.commit(w, r.at, r.at)
}

// adopt takes rows that were thought to be written outside, because the run was cut between them and their commit.
func (d *Detector) adopt(ws []*write, t *txn, r *rec) {
	for _, w := range ws {
		log := w.table.log
		for i := len(log) - 1; i >= 0 && log[i].end >= r.at; i-- {
			x := log[i]
			if !x.external || x.gone || x.at > r.end || x.xid != 0 && t.xid != 0 && x.xid != t.xid {
				continue
			}
			c := &rowChange{at: x.at, table: x.table, op: x.op, pks: x.pks, cols: x.cols, unknown: x.unknown}
			if x.xid != 0 && x.xid == t.xid || w.couldBe(c) {
				x.gone = true
				t.rows = append(t.rows, c)
				w.table.log = slices.Delete(log, i, i+1)
				log = w.table.log
				w.table.writes--
				d.cov.Writes--
			}
		}
	}
}

// couldBe says whether a row of the log may be one that a write touched.
func (w *write) couldBe(c *rowChange) bool {
	if w.op != c.op && !(w.op == opInsert && c.op == opUpdate) && !(w.op == opUpdate && c.op == opInsert) {
		return false
	}
	if len(c.pks) == 1 && w.table.pk != nil {
		if vs, ok := w.values(w.table.pk); ok {
			return slices.Contains(vs, c.pks[0])
		}
	}
	return true
}

func (d *Detector) openByXid(xid uint64) *txn {
	for _, a := range d.aheads {
		if a.txn != nil && a.txn.xid == xid {
			return a.txn
		}
	}
	return nil
}

// addRow gives a row to a write that was committed before the log told of it.
func (d *Detector) addRow(ws []*write, c *rowChange, t *txn) {
	if w := writeOf(ws, c); w != nil {
		w.row(c)
		return
	}
	if len(ws) == 0 {
		return
	}
	w := &write{open: t.at, stmtAt: t.end0, stmtEnd: t.end1, tr: ws[0].tr, src: ws[0].src, txn: t, table: c.table, op: c.op, trigger: true,
		stmt: ws[0].stmt, code: ws[0].code, cols: c.cols, unknown: c.unknown, all: c.op != opUpdate}
	w.row(c)
	t.writes = append(t.writes, w)
	d.commit(w, t.end0, t.end1)
}
