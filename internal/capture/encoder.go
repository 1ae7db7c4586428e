package capture

import (
	"math"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

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
