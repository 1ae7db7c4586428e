package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// Limits of one record. The writer stays far below them but for single huge events; the reader allocates nothing
// beyond them, whatever a record says.
const (
	batchEvents = 4096     // a record is closed at this many events …
	batchWeight = 2 << 20  // … or at about this many bytes, each text counted in full
	maxEvents   = 1 << 14  // that a reader accepts in one record
	maxRaw      = 40 << 20 // bytes of one record before compression
	maxElements = 6 << 20  // of all lists of one record
	maxWeight   = 16 << 20 // of one event
)

func appendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// table is all events of one type within one record.
type table interface {
	// Writing: gather notes an event, absorb encodes those noted, append writes and empties the table.
	gather(*event.Event)
	absorb(*encoder)
	append([]byte) []byte
	// Reading: read takes n rows from the cursor, attach hands the next one to an event.
	read(*decoder, *cursor, int)
	attach(*event.Event)
	len() int
	// only leaves fields out of reading, but for those named.
	only(names []string)
}

type tableOf[T any] struct {
	fields []field[T]
	of     func(*event.Event) **T

	// Writing.
	cols []column
	rows []unsafe.Pointer // to T; noted, not yet encoded
	n    int              // encoded
	none T

	// Reading.
	slab []T
	next int
	skip []bool // fields that nobody asked for; nil: none
}

func (t *tableOf[T]) gather(e *event.Event) {
	if p := *t.of(e); p != nil {
		t.rows = append(t.rows, unsafe.Pointer(p))
	} else {
		t.rows = append(t.rows, unsafe.Pointer(&t.none))
	}
}

func (t *tableOf[T]) absorb(e *encoder) {
	if len(t.rows) == 0 {
		return
	}
	if t.cols == nil {
		t.cols = make([]column, len(t.fields))
	}
	for i := range t.fields {
		t.fields[i].put(e, &t.cols[i], t.rows, t.fields[i].at, t.n)
	}
	t.n += len(t.rows)
	clear(t.rows)
	t.rows = t.rows[:0]
}

func (t *tableOf[T]) len() int { return t.n }

func (t *tableOf[T]) append(dst []byte) []byte {
	dst = appendUvarint(dst, uint64(len(t.fields)))
	for i := range t.cols {
		dst = t.cols[i].append(dst, t.n)
		t.cols[i].reset()
	}
	t.n = 0
	return dst
}

func (t *tableOf[T]) read(d *decoder, from *cursor, n int) {
	if cap(t.slab) < n {
		t.slab = make([]T, n)
	}
	t.slab = t.slab[:n]
	if t.skip == nil || slices.Contains(t.skip, false) { // else nothing was ever put there
		clear(t.slab)
	}
	t.next = 0
	d.columns(from, n, len(t.fields), func(i int, c *columnReader) {
		if t.skip != nil && t.skip[i] {
			c.b = nil
			return
		}
		t.fields[i].get(d, c, t.slab)
	})
}

func (t *tableOf[T]) only(names []string) {
	t.skip = skipped(t.fields, names)
}

// skipped says which fields are not among the names.
func skipped[T any](fields []field[T], names []string) []bool {
	skip := make([]bool, len(fields))
	for i := range fields {
		skip[i] = !slices.Contains(names, fields[i].name)
	}
	return skip
}

func (t *tableOf[T]) attach(e *event.Event) {
	*t.of(e) = &t.slab[t.next]
	t.next++
}

// encoder builds the records of a segment. Not safe for concurrent use.
type encoder struct {
	texts  *texts
	hashes *hashes

	types  []byte
	common tableOf[event.Event]
	tables []table
	min    int64
	max    int64
	weight int
	// oversized says that add stopped before an event that is too large to be kept.
	oversized bool

	sources    []event.Source // of this record
	sourceNum  map[event.Source]int
	lastSource *event.Source
	lastNum    int
	seqs       []uint64 // last number by source, 0 for events without one
}

func newEncoder() *encoder {
	e := &encoder{
		texts: newTexts(), hashes: newHashes(), tables: newTables(), sourceNum: map[event.Source]int{},
		common: tableOf[event.Event]{fields: commonFields},
	}
	e.begin()
	return e
}

// begin empties what belongs to one record.
func (e *encoder) begin() {
	e.types, e.weight = e.types[:0], 0
	e.min, e.max = math.MaxInt64, math.MinInt64
	e.sources, e.lastSource, e.lastNum = e.sources[:0], nil, 0
	e.seqs = append(e.seqs[:0], 0)
	clear(e.sourceNum)
}

func (e *encoder) len() int { return len(e.types) }

// add encodes events until the record is full and returns how many it took.
func (e *encoder) add(events []event.Event) int {
	e.texts.call++
	n := 0
	for ; n < len(events) && len(e.types) < batchEvents && e.weight < batchWeight; n++ {
		ev := &events[n]
		t := ev.Type
		if int(t) >= len(e.tables) {
			t = event.Other
		}
		w := weight(ev)
		if w > maxWeight {
			e.oversized = true
			break
		}
		e.types = append(e.types, byte(t))
		e.weight += w
		e.min, e.max = min(e.min, ev.At), max(e.max, ev.At)
		e.common.rows = append(e.common.rows, unsafe.Pointer(ev))
		if t != event.Other {
			e.tables[t].gather(ev)
		}
	}
	e.common.absorb(e)
	for _, t := range e.tables[1:] {
		t.absorb(e)
	}
	return n
}

func (e *encoder) full() bool { return len(e.types) >= batchEvents || e.weight >= batchWeight }

// source returns the number of a source within the record, 0 for none.
func (e *encoder) source(s *event.Source) int {
	if s == nil {
		return 0
	}
	if s == e.lastSource {
		return e.lastNum
	}
	num := 0
	if *s != (event.Source{}) {
		var ok bool
		if num, ok = e.sourceNum[*s]; !ok {
			e.sources = append(e.sources, *s)
			e.seqs = append(e.seqs, 0)
			num = len(e.sources)
			e.sourceNum[*s] = num
		}
	}
	e.lastSource, e.lastNum = s, num
	return num
}

// finish appends the record's bytes, not yet compressed, to dst and begins the next record.
func (e *encoder) finish(dst []byte) []byte {
	dst = e.texts.define(dst)
	dst = e.hashes.define(dst)
	dst = appendUvarint(dst, uint64(len(e.sources)))
	for i := range e.sources {
		s := &e.sources[i]
		for _, v := range []string{s.Service, s.Version, s.VersionFrom, s.Host} {
			dst = appendUvarint(dst, uint64(len(v)))
			dst = append(dst, v...)
		}
		dst = appendUvarint(dst, zigzag(s.Pid))
	}
	dst = append(dst, e.types...)
	dst = e.common.append(dst)
	for _, t := range e.tables[1:] {
		if t.len() > 0 {
			dst = t.append(dst)
		}
	}
	clear(e.sources)
	e.begin()
	return dst
}

// weight is about how many bytes an event takes before compression, at most twice too little.
func weight(e *event.Event) int {
	const base = 64
	w := base + len(e.Extra) + len(e.TypeName) + len(e.Trace) + len(e.Span) + len(e.Parent)
	if s := e.Source; s != nil && len(s.Service)+len(s.Version)+len(s.VersionFrom)+len(s.Host) > base {
		w += len(s.Service) + len(s.Version) + len(s.VersionFrom) + len(s.Host)
	}
	switch {
	case e.Query != nil:
		q := e.Query
		w += len(q.DB) + len(q.Text) + 9*len(q.Params) + textsWeight(q.ParamNames) + 9*len(q.PKs) + len(q.Txn) +
			len(q.Role) + len(q.Error) + len(q.Code)
	case e.Request != nil:
		r := e.Request
		w += len(r.Kind) + len(r.Method) + len(r.Route) + len(r.Target) + len(r.Error) + len(r.Principal) +
			namedWeight(r.Vary) + len(r.BodyHashNone) + pairsWeight(r.Headers) + len(r.Test)
	case e.Cache != nil:
		c := e.Cache
		w += len(c.Op) + len(c.Layer) + len(c.Store) + len(c.Key) + pairsWeight(c.KeyParts) + len(c.ValueForm) +
			len(c.ValueKind) + textsWeight(c.Tags) + len(c.Tag) + len(c.Pattern) + len(c.Error) + len(c.Txn) + len(c.Code)
	case e.Txn != nil:
		w += len(e.Txn.Op) + len(e.Txn.DB) + len(e.Txn.Txn) + len(e.Txn.Isolation) + len(e.Txn.Error)
	case e.Call != nil:
		w += len(e.Call.Code) + namedWeight(e.Call.Args) + len(e.Call.Principal) + len(e.Call.Error)
	case e.Task != nil:
		w += len(e.Task.Op) + len(e.Task.ID) + len(e.Task.Name) + len(e.Task.Queue) + len(e.Task.Error)
	case e.Process != nil:
		w += len(e.Process.Op) + len(e.Process.Runtime) + len(e.Process.Program)
	case e.Change != nil:
		c := e.Change
		w += len(c.DB) + len(c.Table) + len(c.Op) + 9*len(c.PK) + textsWeight(c.Columns) + len(c.Origin)
	case e.Mark != nil:
		w += len(e.Mark.Name) + len(e.Mark.Text)
	case e.Recorder != nil:
		w += pairsWeight(e.Recorder.Hooks)
		for i := range e.Recorder.Failures {
			w += 12 + len(e.Recorder.Failures[i].Name)
		}
	}
	return w
}

func textsWeight(list []string) int {
	w := 3 * len(list)
	for _, s := range list {
		w += len(s)
	}
	return w
}

func pairsWeight(list []event.Pair) int {
	w := 6 * len(list)
	for i := range list {
		w += len(list[i].Name) + len(list[i].Value)
	}
	return w
}

func namedWeight(list []event.NamedHash) int {
	w := 12 * len(list)
	for i := range list {
		w += len(list[i].Name)
	}
	return w
}

// decoder reads the records of a segment in order. Its memory: the dictionaries (at most twice the writer's), and the
// events of one record.
type decoder struct {
	texts     entries[string]
	textBytes int
	hashes    entries[event.Hash]
	lost      bool // a reference to an entry whose definition was damaged

	events  []event.Event
	tables  []table
	skip    []bool // common fields that nobody asked for; nil: none
	sources []*event.Source
	nums    map[*event.Source]int
	seqs    []uint64
	known   map[event.Source]*event.Source // one pointer for equal sources, across records
	last    *event.Source
	lastNum int

	ids        idTexts
	elements   int
	hashLists  arena[event.Hash]
	textLists  arena[string]
	namedLists arena[event.NamedHash]
	pairLists  arena[event.Pair]
	countLists arena[event.Count]
}

func newDecoder() *decoder {
	d := &decoder{tables: newTables(), nums: map[*event.Source]int{}, known: map[event.Source]*event.Source{}}
	d.segment()
	return d
}

// only leaves all fields out but those named, by type; event.Other stands for the common ones. Those that others are
// decoded from (dur, at and source) are always there.
func (d *decoder) only(want Fields) {
	d.skip = skipped(commonFields, append([]string{"dur", "at", "source"}, want[event.Other]...))
	for t, table := range d.tables {
		if t != int(event.Other) {
			table.only(want[event.Type(t)])
		}
	}
}

// segment forgets the dictionaries: a new segment begins.
func (d *decoder) segment() {
	d.texts = entries[string]{limit: 2 * maxTexts, all: d.texts.all[:0]}
	d.hashes = entries[event.Hash]{limit: 2 * maxHashes, all: d.hashes.all[:0]}
	d.textBytes = 0
}

var errRecord = errors.New("its contents do not fit together")

// errLost means that a record is whole but leans on damaged ones before it.
var errLost = errors.New("it refers to definitions of a damaged record before it")

// record decodes one record of n events, already decompressed. The events, and the lists they point to, are used
// again by the next call; texts and sources stay valid. The dictionaries hold what the record defined even if it
// failed later.
func (d *decoder) record(raw []byte, n int) ([]event.Event, error) {
	if n < 1 || n > maxEvents {
		return nil, fmt.Errorf("%d events in one record, 1 to %d are possible", n, maxEvents)
	}
	c := &cursor{b: raw}
	d.lost, d.elements = false, 0
	d.hashLists.reset()
	d.textLists.reset()
	d.namedLists.reset()
	d.pairLists.reset()
	d.countLists.reset()
	d.defineTexts(c)
	d.defineHashes(c)
	d.readSources(c, n)
	types := c.bytes(uint64(n))
	if types == nil || c.bad {
		return nil, errRecord
	}
	var counts [256]int
	for _, t := range types {
		counts[t]++
		if int(t) >= len(d.tables) {
			return nil, errRecord
		}
	}
	if cap(d.events) < n {
		d.events = make([]event.Event, n)
	}
	d.events = d.events[:n]
	clear(d.events)
	d.columns(c, n, len(commonFields), func(i int, col *columnReader) {
		if d.skip != nil && d.skip[i] {
			col.b = nil
			return
		}
		commonFields[i].get(d, col, d.events)
	})
	for t, table := range d.tables {
		if t != int(event.Other) && counts[t] > 0 {
			table.read(d, c, counts[t])
		}
	}
	switch {
	case c.bad || len(c.b) != 0:
		return nil, errRecord
	case d.lost:
		return nil, errLost
	}
	for i, t := range types {
		e := &d.events[i]
		e.Type = event.Type(t)
		if e.Type != event.Other {
			d.tables[t].attach(e)
		}
	}
	return d.events, nil
}

// columns reads the columns of one table. A column whose bytes are not all used is not what was written.
func (d *decoder) columns(from *cursor, rows, fields int, read func(int, *columnReader)) {
	stored := int(min(from.uvarint(), math.MaxInt32))
	if stored > fields {
		from.fail()
		return
	}
	for i := range stored {
		col := readColumn(from, rows)
		if from.bad {
			return
		}
		read(i, &col)
		if col.bad || len(col.b) != 0 {
			from.fail()
			return
		}
	}
}

func (d *decoder) defineTexts(c *cursor) {
	first, n := c.uvarint(), c.count()
	lengths := make([]int, 0, min(n, maxTexts))
	for range n {
		lengths = append(lengths, int(min(c.uvarint(), maxRaw)))
	}
	if c.bad {
		return
	}
	list, ok := d.texts.place(first, uint64(n))
	if !ok {
		c.fail()
		return
	}
	for i := range list {
		b := c.bytes(uint64(lengths[i]))
		if c.bad {
			return
		}
		if !list[i].known {
			if d.textBytes += len(b); d.textBytes > 2*maxTextBytes {
				c.fail()
				return
			}
			list[i] = entry[string]{string(b), true}
		}
	}
}

func (d *decoder) defineHashes(c *cursor) {
	first, n := c.uvarint(), c.uvarint()
	if n > uint64(len(c.b))/8 {
		c.fail()
	}
	if c.bad {
		return
	}
	list, ok := d.hashes.place(first, n)
	if !ok {
		c.fail()
		return
	}
	for i := range list {
		list[i] = entry[event.Hash]{event.Hash(c.uint64()), true}
	}
}

// maxKnownSources bounds the sources that are shared between records.
const maxKnownSources = 4096

func (d *decoder) readSources(c *cursor, events int) {
	d.sources = append(d.sources[:0], nil)
	d.seqs = append(d.seqs[:0], 0)
	d.last, d.lastNum = nil, 0
	clear(d.nums)
	if len(d.known) > maxKnownSources {
		clear(d.known)
	}
	n := c.count()
	if n > events {
		c.fail()
		return
	}
	for i := range n {
		var s event.Source
		for _, p := range []*string{&s.Service, &s.Version, &s.VersionFrom, &s.Host} {
			*p = string(c.bytes(c.uvarint()))
		}
		s.Pid = unzigzag(c.uvarint())
		p := d.known[s]
		if p == nil {
			p = &s
			d.known[s] = p
		}
		d.sources = append(d.sources, p)
		d.seqs = append(d.seqs, 0)
		d.nums[p] = i + 1
	}
}

func (d *decoder) source(c *cursor) *event.Source {
	i := c.uvarint()
	if i >= uint64(len(d.sources)) {
		c.fail()
		return nil
	}
	return d.sources[i]
}

func (d *decoder) sourceIndex(s *event.Source) int {
	if s != d.last {
		d.last, d.lastNum = s, d.nums[s]
	}
	return d.lastNum
}

func (d *decoder) text(c *cursor) string {
	switch ref := c.uvarint(); ref {
	case refLiteral:
		return string(c.bytes(c.uvarint()))
	case refZero:
		return ""
	default:
		s, ok := d.texts.get(ref)
		d.lost = d.lost || !ok
		return s
	}
}

func (d *decoder) hash(c *cursor) event.Hash {
	switch ref := c.uvarint(); ref {
	case refLiteral:
		return event.Hash(c.uint64())
	case refZero:
		return 0
	default:
		h, ok := d.hashes.get(ref)
		d.lost = d.lost || !ok
		return h
	}
}
