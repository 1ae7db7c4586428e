package stale

import (
	"cmp"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// DependentsSchema names the JSON form of Dependents.
const DependentsSchema = "demarc.would-delete/1"

// WouldDelete answers what writes would make stale: which of the keys that are live after the events so far depend on
// them, and whether their family is dropped today by a writer of that table. It changes nothing. Where a read does not
// name its rows, every row of its table is taken for one of them, as it is for findings; so an answer may name too
// many keys, and never too few of those whose reads are known. It takes time in proportion to the keys and the writes.
func (d *Detector) WouldDelete(writes []Write) *Dependents {
	out := &Dependents{Schema: DependentsSchema, Tables: []string{}, List: []Dependent{}}
	var asked []*write
	for _, w := range writes {
		name := w.Table[strings.LastIndexByte(w.Table, '.')+1:]
		if !slices.Contains(out.Tables, name) {
			out.Tables = append(out.Tables, name)
		}
		if t := d.tables[name]; t != nil {
			asked = append(asked, w.against(t))
		}
	}
	for k := range d.keys.all {
		if k.e.state != live || k.e.reads == nil {
			continue
		}
		var found Dependent
		for _, w := range asked {
			level, cols, _ := k.e.reads.relevance(w)
			if level == levelNone || cols == colsNo || found.Table != "" && (found.Row || level != levelRow) {
				continue
			}
			found = d.dependent(k, w.table.name, level == levelRow)
		}
		if found.Table == "" {
			continue
		}
		out.Keys++
		if found.Dropped != "" {
			out.Dropped++
		} else {
			out.Nobody++
		}
		out.keep(found)
	}
	slices.SortFunc(out.List, Dependent.compare)
	out.List = out.List[:min(len(out.List), MaxDependents)]
	return out
}

// keep adds a dependent to the list, of which only the first MaxDependents in its order will be shown.
func (out *Dependents) keep(x Dependent) {
	out.List = append(out.List, x)
	if len(out.List) >= 2*MaxDependents {
		slices.SortFunc(out.List, Dependent.compare)
		out.List = out.List[:MaxDependents]
	}
}

// compare orders those that nothing drops first, then by key.
func (x Dependent) compare(y Dependent) int {
	rank := func(d Dependent) int {
		if d.Dropped == "" {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x.Key, y.Key), cmp.Compare(x.Store, y.Store), cmp.Compare(x.Table, y.Table))
}

func (d *Detector) dependent(k *key, table string, row bool) Dependent {
	fam := k.fam.find()
	x := Dependent{Key: k.name, Family: fam.name, Store: k.st.name, Layer: k.st.layer, Table: table, Row: row}
	if how := fam.drops[table]; how != nil && (how.oneRow || how.many) {
		x.Dropped, x.By = cmp.Or(how.how, "key"), how.by
		if x.Dropped == "tag" && k.more != nil && len(k.more.tags) > 0 {
			x.Tag = k.more.tags[0]
		}
	}
	return x
}

// against makes the question a write of a table, in the form that entries are compared with.
func (w *Write) against(t *table) *write {
	out := &write{table: t, cols: w.Columns, all: len(w.Columns) == 0}
	switch w.Op {
	case "insert":
		out.op, out.all = opInsert, true
	case "delete":
		out.op, out.all = opDelete, true
	default:
		out.op = opUpdate
	}
	for _, b := range w.Where {
		if c := t.cols[b.Column]; c != nil {
			out.bound = append(out.bound, boundTo{c, []event.Hash{b.Value}})
		}
	}
	return out
}
