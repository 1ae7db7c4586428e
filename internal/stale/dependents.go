package stale

import (
	"cmp"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// DependentsSchema names the JSON form of Dependents.
const DependentsSchema = "demarc.would-delete/1"

// DryRun is the answer to WouldDelete: the keys, and what a reader may miss among them.
type DryRun struct {
	Dependents
	// Retired are keys of old versions, made of a stamp that has another value now: nobody asks for them any more, and they
	// are not among Keys. One of the present version has "version" in Dropped and the stamp in Tag, where a writer of
	// the table counts the stamp up.
	Retired int64    `json:"retired"`
	Unread  []string `json:"unread"` // tables of which no cached read was seen
	Unseen  []string `json:"unseen"` // of these, the ones that no statement named
}

// WouldDelete answers what writes would make stale: which of the keys that are live after the events so far depend on
// them, and whether their family is dropped today by a writer of that table. It changes nothing. Where a read does not
// name its rows, every row of its table is taken for one of them, as it is for findings; so an answer may name too
// many keys, and never too few of those whose reads are known. It takes time in proportion to the keys and the writes.
// With versions, which may be nil, it knows keys that are made of a stamp.
func (d *Detector) WouldDelete(writes []Write, versions *Versions) *DryRun {
	out := &DryRun{Dependents: Dependents{Schema: DependentsSchema, Tables: []string{}, List: []Dependent{}}, Unread: []string{}, Unseen: []string{}}
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
	d.unread(out)
	stamps := d.stamps(versions)
	for k := range d.keys.all {
		if k.e.state != live || k.e.reads == nil || d.expiredBy(k, d.to) {
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
		if id, value := versions.of(k); stamps[id] != nil {
			stamp := stamps[id]
			if stamp.e.state == live && stamp.e.val != 0 && stamp.e.val != value {
				out.Retired++
				continue
			}
			if by := versions.bumps[id][found.Table]; by != "" && found.Dropped == "" {
				found.Dropped, found.By, found.Tag = "version", by, stamp.name
			}
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

// stamps are the keys that are stamps, of stores that processes share, by their numbers in versions.
func (d *Detector) stamps(versions *Versions) map[uint64]*key {
	out := map[uint64]*key{}
	if versions == nil {
		return out
	}
	for k := range d.keys.all {
		if k.stamp == stampSure && k.proc == nil {
			out[idOf(k.st.layer, k.st.name, k.name)] = k
		}
	}
	return out
}

// expiredBy says that a key's lifetime had ended by then: nobody need have asked for it since. A lifetime that the store is known
// to change is taken as changed, and one that hits outlived is not believed.
func (d *Detector) expiredBy(k *key, at int64) bool {
	f := &k.fam.find().factor
	if k.e.ttl == 0 || k.e.ttl >= maxTTL || f.mixed || f.over > 0 {
		return false
	}
	life := float64(k.e.ttl) * 1e6
	if f.n > 0 {
		life *= f.ratio
	}
	return float64(at-k.e.end) >= life
}

// unread fills in which of the tables no family reads, and which were never seen at all.
func (d *Detector) unread(out *DryRun) {
	families := d.fams.all()
	for _, name := range out.Tables {
		read := false
		for _, f := range families {
			read = read || f.tables[name] || len(f.tables) >= maxPerFamily
		}
		if read {
			continue
		}
		out.Unread = append(out.Unread, name)
		if d.tables[name] == nil {
			out.Unseen = append(out.Unseen, name)
		}
	}
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
