package boundary

import (
	"cmp"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/sqlread"
)

func tableOf(name string) string {
	name = strings.ToLower(name)
	for _, schema := range []string{"public.", "main."} {
		name = strings.TrimPrefix(name, schema)
	}
	return name
}

// query notes writes to declared tables.
func (v *Verifier) query(e *event.Event) {
	q := e.Query
	if q.Error != "" || q.Rows.Known && q.Rows.V == 0 {
		return
	}
	st := v.sql.Read(sqlread.DialectOf(q.DB), q.Text)
	if !st.Writes() {
		return
	}
	for _, t := range st.Tables {
		if !t.Role.Writes() {
			continue
		}
		name := tableOf(t.Name)
		if t.Schema != "" {
			name = tableOf(t.Schema + "." + t.Name)
		}
		for i, x := range v.list {
			// Before the first set there is nothing to drop.
			if x.drops[name] == nil || x.sets == 0 || e.At < x.firstSet {
				continue
			}
			// Nor has a row that is new an entry that rests on it.
			if x.drops[name].byRow && t.Role == sqlread.RoleInsert {
				continue
			}
			w := write{boundary: i, table: name, began: e.At, commit: e.End(), trace: e.Trace}
			tr := v.trace(e.Trace)
			if tr != nil {
				if tr.wrote == nil {
					tr.wrote = map[int]bool{}
				}
				tr.wrote[i] = true
			}
			if q.Txn == "" || tr == nil {
				v.committed(w)
				continue
			}
			if tr.txns == nil {
				tr.txns = map[string][]int{}
			}
			if len(tr.open) < maxOps {
				tr.txns[q.Txn] = append(tr.txns[q.Txn], len(tr.open))
				tr.open = append(tr.open, w)
			}
		}
	}
}

func (v *Verifier) txn(e *event.Event) {
	tr := v.traces[e.Trace]
	if tr == nil || e.Txn.Op == "begin" {
		return
	}
	for _, i := range tr.txns[e.Txn.Txn] {
		if e.Txn.Op == "commit" && e.Txn.Error == "" {
			w := tr.open[i]
			w.commit = e.End()
			v.committed(w)
		}
	}
	delete(tr.txns, e.Txn.Txn)
	if len(tr.txns) == 0 {
		tr.open = nil
	}
}

// committed waits for the drop of a write, unless it came already: between the statement and its commit.
func (v *Verifier) committed(w write) {
	if len(v.writes) >= maxWrites {
		v.settle(true)
	}
	v.writes = append(v.writes, w)
}

// Written stands in keys before the name of a table, PREFIX:written:TABLE: printed code stores there which write to the table was
// the last, and an entry is none any more after a write that it does not know.
const Written = "written"

// written returns the table, in lower case, that an operation marks as written for the entries of a boundary: a new value under
// PREFIX:written:TABLE, where PREFIX is what stands before the boundary's word. A value that fills a miss is no mark.
func (x *verified) written(c *event.Cache) string {
	n := len(x.pattern) - 2
	if n < 0 || c.Op != "set" || c.Key == "" || c.Error != "" || c.FillStart != 0 {
		return ""
	}
	parts := segments(c.Key)
	if len(parts) != n+2 || strings.TrimLeft(parts[n], ":/|") != Written || !slices.Equal(parts[:n], x.pattern[:n]) {
		return ""
	}
	return strings.ToLower(parts[n+1][1:])
}

// drop is an operation that drops or renews entries of a boundary: all that rest on one table, or, with "", whatever they rest on.
// It answers the writes of its own request. One that drops, in a request without such a write (a worker's, or outside of
// any), also answers those that were committed shortly before; one of a request that wrote is about its own write, and a
// new set elsewhere is a fill like any other.
func (v *Verifier) drop(boundary int, e *event.Event, table string) {
	tr := v.traces[e.Trace]
	own := e.Cache.Op == "set" && table == "" || tr != nil && tr.wrote[boundary]
	other := func(w *write) bool {
		return w.boundary != boundary || w.done || table != "" && w.table[strings.LastIndexByte(w.table, '.')+1:] != table
	}
	for i := range v.writes {
		w := &v.writes[i]
		if other(w) {
			continue
		}
		w.done = e.Trace != "" && e.Trace == w.trace && e.End() >= w.began || !own && e.At >= w.began && e.At <= w.commit+int64(dropTime)
	}
	if tr != nil {
		for i := range tr.open {
			if !other(&tr.open[i]) {
				tr.open[i].done = true
			}
		}
	}
}

// settle counts writes whose time for a drop is over; all of them at the end.
func (v *Verifier) settle(all bool) {
	kept := v.writes[:0]
	for _, w := range v.writes {
		if w.route == "" {
			if t := v.traces[w.trace]; t != nil {
				w.route = t.route
			}
		}
		if !w.done && !all && v.now <= w.commit+int64(dropTime) {
			kept = append(kept, w)
			continue
		}
		d := v.list[w.boundary].drops[w.table]
		d.n++
		if !w.done {
			d.missed++
			d.example = cmp.Or(d.example, w.route)
		}
	}
	v.writes = kept
}
