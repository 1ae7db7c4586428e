package stale

import (
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// Versions says which keys are made of the value of another key: "articles:v12:page:3" of "ver:articles", which writers count
// up so that nobody asks for the old ones any more. A key is such a one where requests that had looked at the other key
// asked for it, and the keyed hash of a part of its name is that of the value that they had seen: for all keys of its form,
// and for two values at least. Nothing is known without the project's hashing key.
//
// It goes beside a Detector, which knows which keys are stamps. It is for dry runs: it hashes the names of all keys.
type Versions struct {
	hash   func(string) event.Hash
	traces map[string]*versionTrace
	made   map[uint64][]madeOf // a key's name may hold a version and another number that is equal to it
	forms  map[madeBy]*versionForm
	bumps  map[uint64]map[string]string // stamp, table: who writes the table and counts the stamp up
	writes map[string][]string          // tables that a statement writes
	parts  map[string][]namePart
	reader *Detector // for reading statements only
}

// Bounds of Versions. Beyond them keys are not told to be made of another.
const (
	maxVersionTraces = 1 << 16
	maxVersionLooks  = 32 // of one trace
	maxVersionKeys   = 1 << 20
	maxVersionForms  = 1 << 16
	maxVersionParts  = 16 // of one name
)

// madeBy is a form of keys that may be made of a stamp.
type madeBy struct {
	stamp uint64
	form  string
}

// madeOf is what a key seems to be made of; value is 0 where the stamp was not there.
type madeOf struct {
	stamp uint64
	form  string
	value event.Hash
}

// versionForm is what was seen of the keys of one form.
type versionForm struct {
	value   event.Hash
	several bool // more values than one
	wrong   bool // a key of the form was not made of the value that was seen
}

// namePart is a part of a key's name that may be a version.
type namePart struct {
	hash event.Hash
	form string // the name without it
}

type versionTrace struct {
	looks  []look
	tables []string
	sets   []setStamp
}

type look struct {
	key   uint64
	value event.Hash
}

type setStamp struct {
	key  uint64
	code string
}

// NewVersions returns Versions that hash as the recorder did.
func NewVersions(hash func(string) event.Hash) *Versions {
	return &Versions{
		hash: hash, traces: map[string]*versionTrace{}, made: map[uint64][]madeOf{}, forms: map[madeBy]*versionForm{},
		bumps: map[uint64]map[string]string{}, writes: map[string][]string{}, parts: map[string][]namePart{}, reader: New(Options{}),
	}
}

// Add takes events in the order of the capture. It keeps nothing of the batch.
func (v *Versions) Add(batch []event.Event) {
	for i := range batch {
		e := &batch[i]
		switch {
		case e.Trace == "":
		case e.Cache != nil && e.Cache.Key != "" && e.Cache.Error == "":
			v.cache(v.trace(e.Trace), e.Cache)
		case e.Query != nil && e.Query.Error == "":
			if tables := v.tables(e.Query); len(tables) > 0 {
				t := v.trace(e.Trace)
				t.tables = append(t.tables, tables[:min(len(tables), maxVersionLooks-min(len(t.tables), maxVersionLooks))]...)
			}
		case e.Request != nil:
			if t := v.traces[e.Trace]; t != nil {
				v.done(t, strings.TrimSpace(e.Request.Method+" "+e.Request.Route))
				delete(v.traces, e.Trace)
			}
		}
	}
}

func (v *Versions) trace(id string) *versionTrace {
	t := v.traces[id]
	if t == nil {
		if len(v.traces) >= maxVersionTraces { // of requests whose end was not seen
			for _, t := range v.traces {
				v.done(t, "")
			}
			clear(v.traces)
		}
		t = &versionTrace{}
		v.traces[strings.Clone(id)] = t
	}
	return t
}

// done notes who counts a stamp up.
func (v *Versions) done(t *versionTrace, route string) {
	for _, s := range t.sets {
		for _, table := range t.tables {
			if v.bumps[s.key] == nil {
				if len(v.bumps) >= maxVersionKeys {
					return
				}
				v.bumps[s.key] = map[string]string{}
			}
			by := route
			if by == "" {
				by = s.code
			}
			if have := v.bumps[s.key][table]; have == "" || by < have {
				v.bumps[s.key][table] = by
			}
		}
	}
}

func (v *Versions) tables(q *event.Query) []string {
	if tables, ok := v.writes[q.Text]; ok {
		return tables
	}
	var tables []string
	for _, u := range v.reader.statement(q.DB, q.Text).changes {
		tables = append(tables, u.table.name)
	}
	if len(v.writes) < maxVersionForms {
		v.writes[strings.Clone(q.Text)] = tables
	}
	return tables
}

// idOf is the number of a key of a store that processes share.
func idOf(layer, store, key string) uint64 {
	return hashText(hashText(hashText(8, layer), cut(store, maxText)), key)
}

func (v *Versions) cache(t *versionTrace, c *event.Cache) {
	id := idOf(c.Layer, c.Store, c.Key)
	switch c.Op {
	case "set":
		if c.FillStart == 0 && len(t.sets) < maxVersionLooks {
			t.sets = append(t.sets, setStamp{id, strings.Clone(c.Code)})
		}
	case "get":
		if !c.Hit.Known {
			return
		}
	default:
		return
	}
	for _, l := range t.looks {
		if l.key != id {
			v.compare(t, l, id, c.Key)
		}
	}
	if c.Op == "get" && (!c.Hit.V || c.ValueHash != 0) && len(t.looks) < maxVersionLooks {
		l := look{key: id}
		if c.Hit.V {
			l.value = c.ValueHash
		}
		t.looks = append(t.looks, l)
	}
}

// compare holds a key's name against what was seen of another key before it was asked for.
func (v *Versions) compare(t *versionTrace, l look, id uint64, name string) {
	for _, p := range v.partsOf(name) {
		if l.value == 0 {
			v.note(id, madeOf{l.key, p.form, 0}) // whoever finds no version takes one of his own; other keys show where it stands
			continue
		}
		by := madeBy{l.key, p.form}
		f := v.forms[by]
		if f == nil {
			if len(v.forms) >= maxVersionForms {
				continue
			}
			f = &versionForm{}
			v.forms[by] = f
		}
		if p.hash != l.value {
			// It may be made of another look of the request at the same key.
			f.wrong = f.wrong || !t.saw(l.key, p.hash)
			continue
		}
		f.several = f.several || f.value != 0 && f.value != l.value
		f.value = l.value
		v.note(id, madeOf{l.key, p.form, l.value})
	}
}

func (v *Versions) note(id uint64, m madeOf) {
	list := v.made[id]
	for i := range list {
		if list[i].stamp == m.stamp && list[i].form == m.form {
			list[i].value = m.value
			return
		}
	}
	if len(list) < 2*maxVersionParts && (list != nil || len(v.made) < maxVersionKeys) {
		v.made[id] = append(list, m)
	}
}

func (t *versionTrace) saw(key uint64, value event.Hash) bool {
	for _, l := range t.looks {
		if l.key == key && l.value == value {
			return true
		}
	}
	return false
}

func (v *Versions) sure(m madeOf) bool {
	f := v.forms[madeBy{m.stamp, m.form}]
	return f != nil && f.several && !f.wrong
}

// partsOf are the parts of a name that may be a version: what stands between separators, also without a v before it, with all
// other digits left out of the form, so that pages of one version have one form.
func (v *Versions) partsOf(name string) []namePart {
	if list, ok := v.parts[name]; ok {
		return list
	}
	var list []namePart
	for from := 0; from < len(name) && len(list) < maxVersionParts; {
		to := from
		for to < len(name) && !strings.ContainsRune(":/|.,;=&?#@ ", rune(name[to])) {
			to++
		}
		part := name[from:to]
		for i, text := range []string{part, strings.TrimLeft(part, "vV")} {
			if text != "" && (i == 0 || text != part) {
				list = append(list, namePart{v.hash(text), withoutDigits(name[:to-len(text)]) + "{version}" + withoutDigits(name[to:])})
			}
		}
		from = to + 1
	}
	if len(v.parts) >= maxVersionForms {
		clear(v.parts)
	}
	v.parts[strings.Clone(name)] = list
	return list
}

func withoutDigits(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch digit := s[i] >= '0' && s[i] <= '9'; {
		case !digit:
			b.WriteByte(s[i])
		case i == 0 || s[i-1] < '0' || s[i-1] > '9':
			b.WriteString("{}")
		}
	}
	return b.String()
}

// of says which stamp a key of a detector is made of, and of which of its values; 0 for none.
func (v *Versions) of(k *key) (stamp uint64, value event.Hash) {
	if v == nil {
		return 0, 0
	}
	for _, m := range v.made[idOf(k.st.layer, k.st.name, k.name)] {
		if v.sure(m) {
			return m.stamp, m.value
		}
	}
	return 0, 0
}
