package stale

import (
	"slices"

	"github.com/demarc-dev/demarc/event"
)

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
		w := &write{open: r.at, stmtAt: r.at, stmtEnd: r.end, tr: d.context(r), src: r.src, txn: t, in: t.number(), table: c.table, op: c.op,
			trigger: true, code: r.code}
		w.tr.kept = true
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
	if len(c.pks) == 0 || w.pkLen != 0 && int(w.pkLen) != len(c.pks) || len(w.pks) >= maxRows {
		w.rowsSeen = false
		return
	}
	w.pkLen = int32(len(c.pks))
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
	by      *rec     // that statement, until it is judged
	rows    []*rowChange
}

// ahead puts the start of a commit on the wheel: the log's time of the commit lies between its start and its end.
func (d *Detector) ahead(r *rec) {
	a := &ahead{at: r.at, end: r.end, txn: r.x.txn, stmt: r.x.stmt}
	r.x.ahead = a
	early := rec{at: r.at, end: r.at, src: r.src, kind: kAhead, n: -1, hit: -1, x: d.aside()}
	early.x.ahead = a
	if r.x.txn == nil {
		by := *r
		a.by = &by
	} else if r.x.xid != 0 {
		r.x.txn.xid = r.x.xid
	}
	slot := d.wheel.slotOf(r.at)
	if d.wheel.late(slot) {
		d.enter(a)
		d.release(early.x, early.kind)
		return
	}
	d.wheel.put(&early, slot)
}

func (d *Detector) enter(a *ahead) {
	for d.aheads.n() > 0 && ((*d.aheads.first()).end < d.now || d.aheads.n() > maxAheads) {
		d.aheads.pop()
	}
	d.aheads.push(a)
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
	for _, a := range d.aheads.all() {
		if xid != 0 && a.txn != nil && a.txn.xid == xid {
			a.txn.rows = append(a.txn.rows, c)
			return
		}
		if r.at < a.at || r.at > a.end || a.txn != nil && a.txn.xid != 0 && xid != 0 {
			continue
		}
		if a.writes == nil && a.by != nil {
			a.writes = d.written(a.by)
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
	upsert := w.op == opInsert && c.op == opUpdate || w.op == opUpdate && c.op == opInsert
	if w.op != c.op && !upsert {
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
	for _, a := range d.aheads.all() {
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
	w := &write{open: t.at, stmtAt: t.end0, stmtEnd: t.end1, tr: ws[0].tr, src: ws[0].src, txn: t, in: t.number(), table: c.table, op: c.op, trigger: true,
		stmt: ws[0].stmt, code: ws[0].code, cols: c.cols, unknown: c.unknown, all: c.op != opUpdate}
	w.row(c)
	t.writes = append(t.writes, w)
	d.commit(w, t.end0, t.end1)
}
