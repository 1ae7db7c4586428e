package forecast

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/sqlread"
)

// tag is what an answer rests on: the rows of a table whose columns have a value, or, with no columns, all of the table.
type tag struct {
	table uint32 // name
	cols  uint32 // set of columns
	value uint64
}

type tagSet struct {
	ids  map[tag]uint32
	list []tag
}

func (t *tagSet) id(g tag) uint32 {
	n, ok := t.ids[g]
	if !ok {
		n = uint32(len(t.list))
		t.list = append(t.list, g)
		t.ids[g] = n
	}
	return n
}

// write is a change of rows of one table.
type write struct {
	at    int64 // of the commit, where txn is 0
	txn   uint64
	seq   uint64
	table uint32
	pins  span // the values that its rows have or had
	log   bool // from the database's log
}

// pin is one value of one column; with fully known columns all values of the write are listed.
type pin struct {
	col   uint32 // name
	value uint64
}

// rolledBack stands for the commit time of a transaction that was taken back.
const rolledBack = math.MinInt64

// maxValues is how many values one statement may tie rows to before it counts for the whole table.
const maxValues = 64

// statement is what is kept of one SQL text.
type statement struct {
	st     *sqlread.Statement
	name   string // fingerprint, shortened
	tables []uint32
	reads  bool // and does nothing else
	writes bool
}

// maxTexts is how many different statements are remembered; those beyond it are read again each time.
const maxTexts = 20_000

func (f *Forecast) statement(db, text string) *statement {
	k := db + "\x00" + text
	if s := f.texts[k]; s != nil {
		return s
	}
	st := f.sql.Read(sqlread.DialectOf(db), text)
	s := &statement{st: st, name: shorten(st.Fingerprint), writes: st.Writes(), reads: st.Kind == sqlread.Select && !st.Writes()}
	for i := range st.Tables {
		s.tables = append(s.tables, f.names.id(tableName(st.Tables[i].Schema, st.Tables[i].Name)))
	}
	if len(f.texts) < maxTexts {
		f.texts[k] = s
		f.names.bytes += int64(len(k)) + 1000
	}
	return s
}

func tableName(schema, name string) string {
	if schema == "" || schema == "public" || schema == "main" {
		return name
	}
	return schema + "." + name
}

// shorten keeps a statement's name readable and unique.
func shorten(s string) string {
	const keep = 160
	if len(s) <= keep {
		return s
	}
	h := fnv(s)
	hex := "0123456789abcdef"
	b := []byte(strings.ToValidUTF8(s[:keep], "") + " … #")
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hex[h>>shift&15])
	}
	return string(b)
}

func (f *Forecast) query(e *event.Event) {
	q := e.Query
	s := f.statement(q.DB, q.Text)
	if q.Error != "" {
		return
	}
	if s.writes && wrote(q) {
		f.writesOf(e, s)
	}
	if s.st.Kind >= sqlread.Begin {
		return
	}
	r := read{
		at: e.At, end: max(e.End(), e.At), trace: id(e.Trace), parent: id(e.Parent), seq: identity(e), writes: s.writes,
	}
	from := len(f.refs)
	for i := range s.st.Tables {
		if t := &s.st.Tables[i]; !t.Role.Writes() {
			f.readTags(t, s.tables[i], q, s)
		}
	}
	r.tags = f.unique(from)
	r.result = uint64(q.ResultHash)
	if r.params = f.params(q); r.params.to > r.params.from {
		r.text = f.names.id(s.name)
	}
	f.reads = append(f.reads, r)
	if s.reads && (q.ResultHash != 0 || len(f.opt.Levels) > 0 && slices.Contains(f.opt.Levels, LevelQuery)) {
		f.queryUnit(e, s, &r)
	} else if s.reads {
		f.seen.unhashedQueries++
	}
}

// wrote says whether a writing statement changed anything, as far as is known.
func wrote(q *event.Query) bool { return !q.Rows.Known || q.Rows.V != 0 }

// onlyWrites takes of a statement outside the sample what it changes.
func (f *Forecast) onlyWrites(e *event.Event) {
	q := e.Query
	if s := f.statement(q.DB, q.Text); s.writes && q.Error == "" && wrote(q) {
		f.writesOf(e, s)
	}
}

// queryUnit makes a candidate of a statement whose result is known.
func (f *Forecast) queryUnit(e *event.Event, s *statement, r *read) {
	q := e.Query
	u := f.unit(e, query, s.name)
	u.hash = uint64(q.ResultHash)
	if u.hash == 0 {
		u.flags |= noHash
	}
	u.tags, u.own, u.queries, u.code = r.tags, r.params, 1, f.names.id(q.Code)
	f.units = append(f.units, u)
}

// params keeps what a statement is asked with, once for all that are asked with the same.
func (f *Forecast) params(q *event.Query) span {
	from := len(f.inputs)
	for i, p := range q.Params {
		name := "arg." + itoa(i+1)
		if i < len(q.ParamNames) && q.ParamNames[i] != "" {
			name = "arg." + q.ParamNames[i]
		}
		if i >= maxInputs {
			name = "arg.*"
		}
		if n := f.names.id(name); i > maxInputs {
			last := &f.inputs[len(f.inputs)-1]
			last.hash = mix(last.hash, uint64(p))
		} else {
			f.inputs = append(f.inputs, input{n, uint64(p)})
		}
	}
	return f.shared(from)
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// unique sorts the refs from from on, and leaves each once.
func (f *Forecast) unique(from int) span {
	part := f.refs[from:]
	slices.Sort(part)
	f.refs = f.refs[:from+len(slices.Compact(part))]
	return span{uint32(from), uint32(len(f.refs))}
}

// param returns the hash of a parameter that a value stands for; 0 where it is none or not known.
func param(v sqlread.Value, q *event.Query, st *sqlread.Statement) uint64 {
	if v.Kind != sqlread.Param || v.List || q.Many.Known {
		return 0
	}
	i := v.Index
	if v.Index < len(st.Names) && len(q.ParamNames) > 0 {
		i = slices.Index(q.ParamNames, st.Names[v.Index])
	}
	if i < 0 || i >= len(q.Params) {
		return 0
	}
	return uint64(q.Params[i])
}

// values returns the hashes of values, if all are known.
func values(list []sqlread.Value, q *event.Query, st *sqlread.Statement) []uint64 {
	if len(list) == 0 || len(list) > maxValues {
		return nil
	}
	out := make([]uint64, 0, len(list))
	for _, v := range list {
		h := param(v, q, st)
		if h == 0 {
			return nil
		}
		out = append(out, h)
	}
	return out
}

// bound is a column whose values are known.
type bound struct {
	col    string
	values []uint64
}

// readTags adds what one use of a table reads: rows with the values that the predicates name, where those hold for every
// row of it and are known; else the table. Returned keys that were seen name rows of a table that stands alone, where the
// database's log tells which rows change: who drops at the statement cannot know which entries showed them.
func (f *Forecast) readTags(t *sqlread.Table, table uint32, q *event.Query, s *statement) {
	var list []bound
	for i := range t.Where {
		p := &t.Where[i]
		if !p.All || p.More || slices.ContainsFunc(list, func(b bound) bool { return b.col == p.Column }) {
			continue
		}
		if v := values(p.Values, q, s.st); v != nil {
			list = append(list, bound{p.Column, v})
		}
	}
	if len(list) == 0 && f.seen.changed[table] && len(s.tables) == 1 && len(q.PKs) > 0 && len(q.PKs) <= maxValues && !slices.Contains(q.PKs, 0) {
		for _, pk := range q.PKs {
			f.refs = append(f.refs, f.tags.id(tag{table, f.names.id(logKey), uint64(pk)}))
		}
		return
	}
	if len(list) == 0 {
		f.refs = append(f.refs, f.tags.id(tag{table: table}))
		return
	}
	slices.SortFunc(list, func(a, b bound) int { return cmp.Compare(a.col, b.col) })
	for len(list) > 1 && product(list) > maxValues {
		list = list[:len(list)-1]
	}
	cols := f.columns(list)
	each(list, func(value uint64) { f.refs = append(f.refs, f.tags.id(tag{table, cols, value})) })
}

func product(list []bound) int {
	n := 1
	for _, b := range list {
		n *= len(b.values)
	}
	return n
}

// each calls do with the value of each combination.
func each(list []bound, do func(value uint64)) {
	if len(list) == 1 {
		for _, v := range list[0].values {
			do(v)
		}
		return
	}
	var walk func(i int, h uint64)
	walk = func(i int, h uint64) {
		if i == len(list) {
			do(h)
			return
		}
		for _, v := range list[i].values {
			walk(i+1, mix(h, v))
		}
	}
	walk(0, 1)
}

// columns numbers a set of columns.
func (f *Forecast) columns(list []bound) uint32 {
	key := list[0].col
	for _, b := range list[1:] {
		key += "," + b.col
	}
	return f.names.id(key)
}

func (f *Forecast) writesOf(e *event.Event, s *statement) {
	q := e.Query
	for i := range s.st.Tables {
		t := &s.st.Tables[i]
		if !t.Role.Writes() {
			continue
		}
		if t.Role != sqlread.RoleDDL { // a table that is made or altered is no row that is written
			f.heard.wrote(e, s.tables[i])
		}
		from := len(f.pins)
		if !q.Many.Known && s.st.Count <= 1 {
			for _, b := range rowsWritten(t, q, s.st) {
				col := f.names.id(b.col)
				for _, v := range b.values {
					f.pins = append(f.pins, pin{col, v})
				}
			}
		}
		f.writes = append(f.writes, write{
			at: max(e.End(), e.At), txn: id(q.Txn), seq: identity(e), table: s.tables[i],
			pins: span{uint32(from), uint32(len(f.pins))},
		})
	}
}

// rowsWritten returns the columns for which it is known what values the written rows have, and had.
func rowsWritten(t *sqlread.Table, q *event.Query, st *sqlread.Statement) []bound {
	var list []bound
	take := func(col string, from []sqlread.Value) {
		if v := values(from, q, st); v != nil {
			list = append(list, bound{col, v})
		}
	}
	switch t.Role {
	case sqlread.RoleInsert:
		for _, col := range t.Written {
			if v, ok := t.Bound(col); ok {
				take(col, v)
			}
		}
	case sqlread.RoleUpdate, sqlread.RoleDelete:
		for i := range t.Where {
			p := &t.Where[i]
			if !p.All || p.More || slices.ContainsFunc(list, func(b bound) bool { return b.col == p.Column }) {
				continue
			}
			v := p.Values
			if at := slices.Index(t.Written, p.Column); at >= 0 {
				if at >= len(t.Values) || len(t.Values) != len(t.Written) {
					continue
				}
				v = append(slices.Clone(v), t.Values[at])
			}
			take(p.Column, v)
		}
	}
	return list
}

func (f *Forecast) txn(e *event.Event) {
	t := e.Txn
	if t.Txn == "" {
		return
	}
	switch {
	case t.Op == "commit" && t.Error == "":
		f.txns[id(t.Txn)] = max(e.End(), e.At)
	case t.Op == "rollback":
		f.txns[id(t.Txn)] = rolledBack
	}
}

// logKey is the column that the primary keys in the database's log belong to, until it is known which one it is.
const logKey = "\x00key"

func (f *Forecast) change(e *event.Event) {
	c := e.Change
	schema, name, ok := strings.Cut(c.Table, ".")
	if !ok {
		schema, name = "", c.Table
	}
	table := f.names.id(tableName(schema, name))
	f.seen.changed[table] = true
	from := len(f.pins)
	if len(c.PK) == 1 && c.PK[0] != 0 {
		f.pins = append(f.pins, pin{f.names.id(logKey), uint64(c.PK[0])})
	}
	f.writes = append(f.writes, write{
		at: e.At, table: table, pins: span{uint32(from), uint32(len(f.pins))}, log: true,
		seq: mix(mix(fnv(c.Table, c.Op), c.Lsn), mix(c.Xid, hashes(c.PK))),
	})
}

func hashes(list []event.Hash) uint64 {
	h := uint64(len(list))
	for _, v := range list {
		h = mix(h, uint64(v))
	}
	return h
}
