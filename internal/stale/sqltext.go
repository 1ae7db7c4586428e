package stale

import (
	"regexp"
	"strings"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/sqlread"
)

// Bounds of statements.
const (
	maxStatements = 1 << 13 // texts whose reading is remembered, in each of two generations
	maxUses       = 64      // uses of tables in one statement
	maxBound      = 8       // columns of one use that are pinned to values
	maxAlternates = 64      // values of one of them
)

// stmt is what one SQL text says.
type stmt struct {
	shown    string // fingerprint
	sig      uint64 // hash of it
	writes   bool
	control  uint8 // savepoint, release or rollback to
	save     string
	named    bool
	names    []string
	params   int
	reads    []*use
	changes  []*use
	alt      *stmt // the same with the numbers of LIMIT and OFFSET taken for literals
	volatile bool  // its result is another one each time
}

const (
	toSave = iota + 1
	toRelease
	toRollback
)

// use is what a statement does with one table.
type use struct {
	table   *table
	op      uint8
	cols    []string // read, or written where the use writes; nil with all
	all     bool
	filters []string // read: those by which rows are chosen or ordered, "*" for any
	partial bool
	single  bool // an insert of one row of values
	bound   []pinned
	sets    []pinned // what an update sets columns to
}

// pinned is a column that must have one of the values.
type pinned struct {
	col    *column
	values []sqlread.Value
}

const (
	opRead = iota
	opInsert
	opUpdate
	opDelete
	opTruncate
)

var opNames = [...]string{"read", "insert", "update", "delete", "truncate"}

func opOf(name string) uint8 {
	for i, n := range opNames {
		if n == name {
			return uint8(i)
		}
	}
	return opUpdate
}

type textKey struct{ db, text string }

// statement reads a text, or remembers what it read.
func (d *Detector) statement(db, text string) *stmt {
	k := textKey{db, text}
	if d.lastStmt != nil && d.lastText == k {
		return d.lastStmt
	}
	s := d.texts[k]
	if s == nil {
		if s = d.oldTexts[k]; s == nil {
			s = d.readText(db, text)
		}
		k = textKey{strings.Clone(db), strings.Clone(text)}
		if len(d.texts) >= maxStatements || d.textBytes+len(text) > maxStatements*1024 {
			d.oldTexts, d.texts, d.textBytes = d.texts, map[textKey]*stmt{}, 0
		}
		d.texts[k] = s
		d.textBytes += len(text)
		d.lastText, d.lastStmt = k, s
	}
	return s
}

// Recorders write a literal as ?, which in a text with parameters of another style is no parameter.
var (
	otherStyle = regexp.MustCompile(`\$\d|%s|%\(|[^:]:[A-Za-z_]`)
	limits     = regexp.MustCompile(`(?i)\b(limit|offset)\s+\?`)
)

// schemas are statements that choose the schema in which names are looked up from then on.
var schemas = regexp.MustCompile(`(?i)^\s*(?:set\s+(?:session\s+|local\s+)?search_path\b|use\s+\S+\s*;?\s*$|select\s+(?:pg_catalog\.)?set_config\s*\(\s*'(?:\?|search_path)')`)

// volatile are functions that give another result each time, whatever lies in the tables.
var volatile = regexp.MustCompile(`(?i)\b(?:(?:now|random|rand|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|gen_random_uuid|uuid_generate_v4|newid|nextval|getdate|sysdate)\s*\(` +
	`|(?:current_timestamp|current_time|current_date|localtimestamp|localtime)\b)`)

func (d *Detector) readText(db, text string) *stmt {
	d.cov.Schemas = d.cov.Schemas || schemas.MatchString(text)
	if len(text) <= sqlread.MaxText && strings.Contains(text, "?") && otherStyle.MatchString(text) {
		text = strings.ReplaceAll(text, "?", "'?'")
	}
	alt := limits.ReplaceAllString(text, "$1 '?'")
	if alt == text {
		alt = ""
	}
	st := sqlread.Read(sqlread.DialectOf(db), text)
	s := &stmt{shown: strings.Clone(cut(st.Fingerprint, maxText)), named: st.Names != nil, params: st.Params}
	for _, n := range st.Names {
		s.names = append(s.names, strings.Clone(n))
	}
	s.sig = hashText(9, s.shown)
	s.volatile = volatile.MatchString(s.shown)
	switch st.Kind {
	case sqlread.Savepoint:
		s.control, s.save = toSave, strings.Clone(st.Savepoint)
	case sqlread.Release:
		s.control, s.save = toRelease, strings.Clone(st.Savepoint)
	case sqlread.RollbackTo:
		s.control, s.save = toRollback, strings.Clone(st.Savepoint)
	}
	for i := range st.Tables[:min(len(st.Tables), maxUses)] {
		t := &st.Tables[i]
		u := d.useOf(t)
		if u == nil {
			continue
		}
		if u.op == opRead {
			s.reads = append(s.reads, u)
		} else {
			s.writes = true
			s.changes = append(s.changes, u)
		}
	}
	if alt != "" && s.params > 0 {
		s.alt = d.readText(db, alt)
	}
	return s
}

func (d *Detector) useOf(t *sqlread.Table) *use {
	u := &use{partial: t.Partial}
	switch t.Role {
	case sqlread.RoleRead, sqlread.RoleLock:
		u.op = opRead
	case sqlread.RoleInsert:
		u.op = opInsert
	case sqlread.RoleUpdate:
		u.op = opUpdate
	case sqlread.RoleDelete:
		u.op = opDelete
	case sqlread.RoleTruncate:
		u.op = opTruncate
	default: // DDL makes no value stale by itself
		return nil
	}
	u.table = d.table(t.Name)
	cols := t.Columns
	if u.op != opRead {
		cols = t.Written
	}
	for _, c := range cols {
		if c == "*" {
			u.all = true
		}
		u.cols = append(u.cols, d.names.text(c))
	}
	if u.op == opRead {
		for _, c := range t.Filters {
			u.filters = append(u.filters, d.names.text(c))
		}
	}
	if u.op == opInsert && len(cols) == 0 {
		u.all = true
	}
	pin := func(col string, values []sqlread.Value) pinned {
		p := pinned{col: u.table.column(d.names.text(col))}
		for _, v := range values {
			v.Text = ""
			p.values = append(p.values, v)
		}
		return p
	}
	if u.op == opInsert {
		u.single = len(t.Written) > 0 && len(t.Values) == len(t.Written)
		for _, c := range t.Written[:min(len(t.Written), 4*maxBound)] {
			if v, ok := t.Bound(c); ok && len(v) <= maxAlternates {
				u.bound = append(u.bound, pin(c, v))
			}
		}
		return u
	}
	for i := range t.Where {
		p := &t.Where[i]
		if p.All && !p.More && len(p.Values) <= maxAlternates && len(u.bound) < maxBound {
			u.bound = append(u.bound, pin(p.Column, p.Values))
		}
	}
	if u.op == opUpdate {
		for i, c := range t.Written {
			if i < len(t.Values) && len(u.sets) < 4*maxBound {
				u.sets = append(u.sets, pin(c, t.Values[i:i+1]))
			}
		}
	}
	return u
}

// binding turns parameters of one statement into hashes by position.
type binding struct {
	s      *stmt
	params []event.Hash
	names  []string
	sets   int  // parameter sets of an executemany that are known
	whole  bool // all of them are
}

func bind(s *stmt, params []event.Hash, names []string, many int64) binding {
	b := binding{s: s, params: params, names: names, sets: 1, whole: true}
	n := s.params
	if s.named {
		n = len(names)
	}
	switch {
	case len(params) == 0 || n == 0:
		b.sets = 0
	case many > 1 && len(params)%n == 0:
		b.sets = len(params) / n
		b.whole = int64(b.sets) >= many
	case len(params) != n:
		b.sets = 0
	}
	return b
}

// values returns the hashes that a pinned column must have; ok is false where one of them is not known.
func (b *binding) values(p *pinned, into []event.Hash) (vs []event.Hash, ok bool) {
	if b.sets == 0 || !b.whole {
		return into, false
	}
	n := len(b.params) / b.sets
	for set := range b.sets {
		for _, v := range p.values {
			if v.Kind != sqlread.Param || v.List {
				return into, false
			}
			i := v.Index
			if b.s.named {
				i = -1
				if v.Index < len(b.s.names) {
					for j, name := range b.names {
						if name == b.s.names[v.Index] {
							i = j
						}
					}
				}
			}
			if i < 0 || i >= n || b.params[set*n+i] == 0 || len(into) >= maxAlternates {
				return into, false
			}
			into = append(into, b.params[set*n+i])
		}
	}
	return into, len(into) > 0
}
