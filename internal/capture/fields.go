package capture

import (
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// field is one field of T: how it goes into its column and comes out again, and into an exported table.
type field[T any] struct {
	name  string
	at    uintptr // where the field lies in T, bytes
	put   func(e *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int)
	get   func(d *decoder, c *columnReader, to cells)
	table tableColumn[T]
}

// newField ties a field of T to the way in which its type is stored. at says where the field lies.
func newField[T, V any](name string, c codec[V], at func(*T) *V) field[T] {
	var t T
	return field[T]{
		name:  name,
		at:    uintptr(unsafe.Pointer(at(&t))) - uintptr(unsafe.Pointer(&t)),
		put:   c.put,
		get:   c.get,
		table: newTableColumn(at),
	}
}

// The fields of every type in the order in which a record holds them. The order is part of the format: a field may
// only be added at the end of its list. A test compares the names with the vocabulary's.
var (
	requestFields = []field[event.Request]{
		newField("kind", textCodec, func(r *event.Request) *string { return &r.Kind }),
		newField("method", textCodec, func(r *event.Request) *string { return &r.Method }),
		newField("route", textCodec, func(r *event.Request) *string { return &r.Route }),
		newField("target", textCodec, func(r *event.Request) *string { return &r.Target }),
		newField("status", intCodec, func(r *event.Request) *int64 { return &r.Status }),
		newField("error", textCodec, func(r *event.Request) *string { return &r.Error }),
		newField("principal", textCodec, func(r *event.Request) *string { return &r.Principal }),
		newField("vary", namedCodec, func(r *event.Request) *[]event.NamedHash { return &r.Vary }),
		newField("body_hash", hashCodec, func(r *event.Request) *event.Hash { return &r.BodyHash }),
		newField("body_hash_none", textCodec, func(r *event.Request) *string { return &r.BodyHashNone }),
		newField("body_bytes", optIntCodec, func(r *event.Request) *event.Opt[int64] { return &r.BodyBytes }),
		newField("request_bytes", optIntCodec, func(r *event.Request) *event.Opt[int64] { return &r.RequestBytes }),
		newField("headers", pairsCodec, func(r *event.Request) *[]event.Pair { return &r.Headers }),
		newField("test", textCodec, func(r *event.Request) *string { return &r.Test }),
		newField("first_byte_dur", optIntCodec, func(r *event.Request) *event.Opt[int64] { return &r.FirstByteDur }),
		newField("disconnected", optBoolCodec, func(r *event.Request) *event.Opt[bool] { return &r.Disconnected }),
		newField("request_cookie", optBoolCodec, func(r *event.Request) *event.Opt[bool] { return &r.RequestCookie }),
	}
	queryFields = []field[event.Query]{
		newField("db", textCodec, func(q *event.Query) *string { return &q.DB }),
		newField("text", textCodec, func(q *event.Query) *string { return &q.Text }),
		newField("params", hashesCodec, func(q *event.Query) *[]event.Hash { return &q.Params }),
		newField("param_names", textsCodec, func(q *event.Query) *[]string { return &q.ParamNames }),
		newField("rows", optIntCodec, func(q *event.Query) *event.Opt[int64] { return &q.Rows }),
		newField("pks", hashesCodec, func(q *event.Query) *[]event.Hash { return &q.PKs }),
		newField("result_hash", hashCodec, func(q *event.Query) *event.Hash { return &q.ResultHash }),
		newField("txn", idCodec, func(q *event.Query) *string { return &q.Txn }),
		newField("role", textCodec, func(q *event.Query) *string { return &q.Role }),
		newField("many", optIntCodec, func(q *event.Query) *event.Opt[int64] { return &q.Many }),
		newField("error", textCodec, func(q *event.Query) *string { return &q.Error }),
		newField("code", textCodec, func(q *event.Query) *string { return &q.Code }),
	}
	txnFields = []field[event.Txn]{
		newField("op", textCodec, func(t *event.Txn) *string { return &t.Op }),
		newField("db", textCodec, func(t *event.Txn) *string { return &t.DB }),
		newField("txn", idCodec, func(t *event.Txn) *string { return &t.Txn }),
		newField("xid", uintCodec, func(t *event.Txn) *uint64 { return &t.Xid }),
		newField("lsn", uintCodec, func(t *event.Txn) *uint64 { return &t.Lsn }),
		newField("isolation", textCodec, func(t *event.Txn) *string { return &t.Isolation }),
		newField("error", textCodec, func(t *event.Txn) *string { return &t.Error }),
	}
	cacheFields = []field[event.Cache]{
		newField("op", textCodec, func(c *event.Cache) *string { return &c.Op }),
		newField("layer", textCodec, func(c *event.Cache) *string { return &c.Layer }),
		newField("store", textCodec, func(c *event.Cache) *string { return &c.Store }),
		newField("key", textCodec, func(c *event.Cache) *string { return &c.Key }),
		newField("key_parts", pairsCodec, func(c *event.Cache) *[]event.Pair { return &c.KeyParts }),
		newField("hit", optBoolCodec, func(c *event.Cache) *event.Opt[bool] { return &c.Hit }),
		newField("value_hash", hashCodec, func(c *event.Cache) *event.Hash { return &c.ValueHash }),
		newField("value_form", textCodec, func(c *event.Cache) *string { return &c.ValueForm }),
		newField("value_kind", textCodec, func(c *event.Cache) *string { return &c.ValueKind }),
		newField("bytes", optIntCodec, func(c *event.Cache) *event.Opt[int64] { return &c.Bytes }),
		newField("ttl_ms", optIntCodec, func(c *event.Cache) *event.Opt[int64] { return &c.TTLMs }),
		newField("ttl_effective_ms", optIntCodec, func(c *event.Cache) *event.Opt[int64] { return &c.TTLEffectiveMs }),
		newField("tags", textsCodec, func(c *event.Cache) *[]string { return &c.Tags }),
		newField("tag", textCodec, func(c *event.Cache) *string { return &c.Tag }),
		newField("pattern", textCodec, func(c *event.Cache) *string { return &c.Pattern }),
		newField("removed", optIntCodec, func(c *event.Cache) *event.Opt[int64] { return &c.Removed }),
		newField("count", optIntCodec, func(c *event.Cache) *event.Opt[int64] { return &c.Count }),
		newField("error", textCodec, func(c *event.Cache) *string { return &c.Error }),
		newField("txn", idCodec, func(c *event.Cache) *string { return &c.Txn }),
		newField("fill_start", timeCodec, func(c *event.Cache) *int64 { return &c.FillStart }),
		newField("code", textCodec, func(c *event.Cache) *string { return &c.Code }),
	}
	callFields = []field[event.Call]{
		newField("code", textCodec, func(c *event.Call) *string { return &c.Code }),
		newField("args_hash", hashCodec, func(c *event.Call) *event.Hash { return &c.ArgsHash }),
		newField("args", namedCodec, func(c *event.Call) *[]event.NamedHash { return &c.Args }),
		newField("principal", textCodec, func(c *event.Call) *string { return &c.Principal }),
		newField("result_hash", hashCodec, func(c *event.Call) *event.Hash { return &c.ResultHash }),
		newField("bytes", optIntCodec, func(c *event.Call) *event.Opt[int64] { return &c.Bytes }),
		newField("error", textCodec, func(c *event.Call) *string { return &c.Error }),
	}
	taskFields = []field[event.Task]{
		newField("op", textCodec, func(t *event.Task) *string { return &t.Op }),
		newField("id", idCodec, func(t *event.Task) *string { return &t.ID }),
		newField("name", textCodec, func(t *event.Task) *string { return &t.Name }),
		newField("queue", textCodec, func(t *event.Task) *string { return &t.Queue }),
		newField("error", textCodec, func(t *event.Task) *string { return &t.Error }),
	}
	processFields = []field[event.Process]{
		newField("op", textCodec, func(p *event.Process) *string { return &p.Op }),
		newField("ppid", intCodec, func(p *event.Process) *int64 { return &p.Ppid }),
		newField("runtime", textCodec, func(p *event.Process) *string { return &p.Runtime }),
		newField("program", textCodec, func(p *event.Process) *string { return &p.Program }),
	}
	changeFields = []field[event.Change]{
		newField("db", textCodec, func(c *event.Change) *string { return &c.DB }),
		newField("lsn", uintCodec, func(c *event.Change) *uint64 { return &c.Lsn }),
		newField("xid", uintCodec, func(c *event.Change) *uint64 { return &c.Xid }),
		newField("table", textCodec, func(c *event.Change) *string { return &c.Table }),
		newField("op", textCodec, func(c *event.Change) *string { return &c.Op }),
		newField("pk", hashesCodec, func(c *event.Change) *[]event.Hash { return &c.PK }),
		newField("columns", textsCodec, func(c *event.Change) *[]string { return &c.Columns }),
		newField("origin", textCodec, func(c *event.Change) *string { return &c.Origin }),
	}
	markFields = []field[event.Mark]{
		newField("name", textCodec, func(m *event.Mark) *string { return &m.Name }),
		newField("text", textCodec, func(m *event.Mark) *string { return &m.Text }),
	}
	recorderFields = []field[event.Recorder]{
		newField("recording", optBoolCodec, func(r *event.Recorder) *event.Opt[bool] { return &r.Recording }),
		newField("dropped", optIntCodec, func(r *event.Recorder) *event.Opt[int64] { return &r.Dropped }),
		newField("sampled", optIntCodec, func(r *event.Recorder) *event.Opt[int64] { return &r.Sampled }),
		newField("rate", optFloatCodec, func(r *event.Recorder) *event.Opt[float64] { return &r.Rate }),
		newField("hooks", pairsCodec, func(r *event.Recorder) *[]event.Pair { return &r.Hooks }),
		newField("failures", countsCodec, func(r *event.Recorder) *[]event.Count { return &r.Failures }),
		newField("cost_ns", optIntCodec, func(r *event.Recorder) *event.Opt[int64] { return &r.CostNs }),
	}
)

// The fields that every event has. dur stands before end, from which the start is found, and source before seq.
var commonFields = []field[event.Event]{
	newField("dur", optIntCodec, func(e *event.Event) *event.Opt[int64] { return &e.Dur }),
	newField("at", endCodec, func(e *event.Event) *event.Event { return e }),
	newField("trace", idCodec, func(e *event.Event) *string { return &e.Trace }),
	newField("span", idCodec, func(e *event.Event) *string { return &e.Span }),
	newField("parent", idCodec, func(e *event.Event) *string { return &e.Parent }),
	newField("source", sourceCodec, func(e *event.Event) **event.Source { return &e.Source }),
	newField("seq", seqCodec, func(e *event.Event) *event.Event { return e }),
	newField("type", textCodec, func(e *event.Event) *string { return &e.TypeName }),
	newField("extra", textCodec, func(e *event.Event) *string { return &e.Extra }),
}

// endCodec stores when an event ended: events come in the order of their ends, so that the distances are short.
var endCodec = codec[event.Event]{
	put: func(_ *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int) {
		for i, r := range rows {
			c.set(first + i)
			c.appendDelta(uint64((*event.Event)(unsafe.Add(r, at)).End()))
		}
	},
	get: func(_ *decoder, c *columnReader, to cells) {
		b, last := c.b, c.last
		for row := to.from; row < to.to; row++ {
			if !c.has(row) {
				continue
			}
			v, n := uvarint(b)
			if n <= 0 {
				c.fail()
				return
			}
			b, last = b[n:], last+uint64(unzigzag(v))
			e := (*event.Event)(to.at(row))
			e.At = int64(last) - e.Dur.Or(0)
		}
		c.b, c.last = b, last
	},
}

var sourceCodec = codec[*event.Source]{
	put: func(e *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int) {
		for i, r := range rows {
			if n := e.source(*(**event.Source)(unsafe.Add(r, at))); n != 0 {
				c.set(first + i)
				c.data = appendUvarint(c.data, uint64(n))
			}
		}
	},
	get: func(d *decoder, c *columnReader, to cells) {
		b := c.b
		for row := to.from; row < to.to; row++ {
			if !c.has(row) {
				continue
			}
			i, n := uvarint(b)
			if n <= 0 || i >= uint64(len(d.sources)) {
				c.fail()
				return
			}
			b = b[n:]
			*(**event.Source)(to.at(row)) = d.sources[i]
		}
		c.b = b
	},
}

// seqCodec stores how far the number is from the last one of the same process.
var seqCodec = codec[event.Event]{
	put: func(enc *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int) {
		for i, r := range rows {
			e := (*event.Event)(unsafe.Add(r, at))
			if e.Seq == 0 {
				continue
			}
			c.set(first + i)
			last := &enc.seqs[enc.source(e.Source)]
			c.data = appendUvarint(c.data, zigzag(int64(e.Seq-*last)))
			*last = e.Seq
		}
	},
	get: func(d *decoder, c *columnReader, to cells) {
		b := c.b
		for row := to.from; row < to.to; row++ {
			if !c.has(row) {
				continue
			}
			v, n := uvarint(b)
			if n <= 0 {
				c.fail()
				return
			}
			b = b[n:]
			e := (*event.Event)(to.at(row))
			last := &d.seqs[d.sourceIndex(e.Source)]
			*last += uint64(unzigzag(v))
			e.Seq = *last
		}
		c.b = b
	},
}

// newTables returns an empty table for each type, in the order of the types.
func newTables() []table {
	return []table{
		event.TypeRequest:  &tableOf[event.Request]{fields: requestFields, of: func(e *event.Event) **event.Request { return &e.Request }},
		event.TypeQuery:    &tableOf[event.Query]{fields: queryFields, of: func(e *event.Event) **event.Query { return &e.Query }},
		event.TypeTxn:      &tableOf[event.Txn]{fields: txnFields, of: func(e *event.Event) **event.Txn { return &e.Txn }},
		event.TypeCache:    &tableOf[event.Cache]{fields: cacheFields, of: func(e *event.Event) **event.Cache { return &e.Cache }},
		event.TypeCall:     &tableOf[event.Call]{fields: callFields, of: func(e *event.Event) **event.Call { return &e.Call }},
		event.TypeTask:     &tableOf[event.Task]{fields: taskFields, of: func(e *event.Event) **event.Task { return &e.Task }},
		event.TypeProcess:  &tableOf[event.Process]{fields: processFields, of: func(e *event.Event) **event.Process { return &e.Process }},
		event.TypeChange:   &tableOf[event.Change]{fields: changeFields, of: func(e *event.Event) **event.Change { return &e.Change }},
		event.TypeMark:     &tableOf[event.Mark]{fields: markFields, of: func(e *event.Event) **event.Mark { return &e.Mark }},
		event.TypeRecorder: &tableOf[event.Recorder]{fields: recorderFields, of: func(e *event.Event) **event.Recorder { return &e.Recorder }},
	}
}
