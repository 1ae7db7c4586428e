package recorder

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// Limits of the wire format, as docs/wire.md states them.
const (
	WireVersion    = 1
	MaxFrame       = 4 << 20  // payload of a frame, bytes
	MaxHello       = 64 << 10 // payload of the first frame, bytes
	MaxBatchEvents = 16384    // events in one batch
	MaxTableTexts  = 65536    // texts in a connection's table
	MaxTableBytes  = 32 << 20 // bytes of the texts in a connection's table
	maxDepth       = 8        // nesting inside a batch
)

// Kinds of frames.
const (
	kindHello  = 'H'
	kindBatch  = 'B'
	kindStats  = 'S'
	kindExit   = 'X'
	kindAnswer = 'A'
	kindOrder  = 'O'
)

// batch holds the events of one frame. They and all that they point to live in slabs that are used again, so nothing of
// them may be kept but texts, which are immutable; a text may be a part of its frame (at most 4 MiB), so what is kept
// for long is cloned.
//
// A batch takes at most 16,384 × 0.6 kB for its events and about four times its frame for what they point to: 26 MB
// for the largest frame, some 300 kB for the 500 events of a usual one.
type batch struct {
	Events []event.Event

	requests []event.Request
	queries  []event.Query
	txns     []event.Txn
	caches   []event.Cache
	calls    []event.Call
	tasks    []event.Task
	hashes   []event.Hash
	named    []event.NamedHash
	pairs    []event.Pair
	texts    []string
}

func (b *batch) reset() {
	b.Events, b.requests, b.queries, b.txns = b.Events[:0], b.requests[:0], b.queries[:0], b.txns[:0]
	b.caches, b.calls, b.tasks = b.caches[:0], b.calls[:0], b.tasks[:0]
	b.hashes, b.named, b.pairs, b.texts = b.hashes[:0], b.named[:0], b.pairs[:0], b.texts[:0]
}

// usual says whether the slabs are of a size that is worth keeping for the next batch.
func (b *batch) usual() bool {
	return cap(b.Events) <= 4096 && cap(b.hashes) <= 1<<15 && cap(b.pairs)+cap(b.named) <= 1<<15 && cap(b.texts) <= 1<<14
}

// decoder turns the batches of one connection into events. It is not safe for concurrent use.
type decoder struct {
	proc   string
	source *event.Source
	// reserve asks for room for n more bytes of texts among all connections; nil: there always is. A negative n gives back.
	reserve func(n int) bool

	epoch     int64
	texts     []string
	textBytes int
	// broken is set when the definitions of a batch could not be read: the numbers of this epoch then mean nothing.
	broken bool

	ids [1024]struct { // recently built ids, by number
		n int64
		s string
	}
	arena strings.Builder // where new ids are written
	r     reader
	// unknown counts the events of types that this version does not know.
	unknown int64
}

// errBad is what every defect of a batch wraps.
var errBad = errors.New("bad batch")

// close gives the table's room back.
func (d *decoder) close() { d.emptyTable() }

func (d *decoder) emptyTable() {
	if d.reserve != nil && d.textBytes > 0 {
		d.reserve(-d.textBytes)
	}
	clear(d.texts)
	d.texts, d.textBytes = d.texts[:0], 0
}

// decode reads the payload of a batch frame into b, which is emptied first. After an error b holds nothing; texts that
// the frame defined stay defined, so that the frames after it are still understood.
func (d *decoder) decode(payload []byte, b *batch) error {
	b.reset()
	d.r = reader{d: d, s: string(payload)}
	r := &d.r
	if err := d.header(); err != nil {
		return err
	}
	n := r.open('[')
	if n > MaxBatchEvents {
		r.fail("more than 16,384 events")
	}
	b.Events = slices.Grow(b.Events, min(n, MaxBatchEvents))
	for i := 0; i < n && r.err == nil; i++ {
		d.event(b)
	}
	if r.err == nil && r.pos != len(r.s) {
		r.fail("bytes after the end")
	}
	if r.err != nil {
		b.reset()
		return r.err
	}
	return nil
}

// header reads epoch and definitions.
func (d *decoder) header() error {
	r := &d.r
	if n := r.open('('); r.err == nil && n != 3 {
		r.fail("not a tuple of three")
	}
	r.left = 1
	epoch, ok := r.num()
	if r.err == nil && !ok {
		r.fail("no epoch")
	}
	if r.err != nil {
		d.broken = true
		return r.err
	}
	if epoch != d.epoch {
		d.epoch, d.broken = epoch, false
		d.emptyTable()
	}
	if d.broken {
		r.fail("its epoch has definitions that could not be read")
		return r.err
	}
	n := r.open('[')
	if r.err == nil && n > MaxTableTexts-len(d.texts) {
		r.fail("more than 65,536 texts in the table")
	}
	for i := 0; i < n && r.err == nil; i++ {
		if r.tag() != 'u' {
			r.fail("a definition that is not a text")
			break
		}
		t := r.utf8()
		if d.textBytes+len(t) > MaxTableBytes || d.reserve != nil && !d.reserve(len(t)) {
			r.fail("no room for the texts of the table")
			break
		}
		d.textBytes += len(t)
		d.texts = append(d.texts, strings.Clone(t))
	}
	d.broken = r.err != nil
	return r.err
}

// wireTypes are the types of events by their number in a batch.
var wireTypes = [...]event.Type{
	0, event.TypeRequest, event.TypeQuery, event.TypeTxn, event.TypeCache, event.TypeCall, event.TypeTask,
}

func (d *decoder) event(b *batch) {
	r := &d.r
	r.left = r.open('(')
	t, ok := r.num()
	if !ok {
		r.fail("an event without a type")
		return
	}
	if t < 1 || t >= int64(len(wireTypes)) {
		d.unknown++
		r.rest()
		return
	}
	b.Events = append(b.Events, event.Event{Type: wireTypes[t], Source: d.source})
	e := &b.Events[len(b.Events)-1]
	if e.At = r.time(); e.At <= 0 {
		r.fail("an event without a time")
		return
	}
	e.Dur = r.optInt()
	e.Seq = r.unsigned()
	e.Trace, e.Span, e.Parent = r.id(), r.id(), r.id()
	switch e.Type {
	case event.TypeRequest:
		d.request(e, b)
	case event.TypeQuery:
		d.query(e, b)
	case event.TypeTxn:
		b.txns = append(b.txns, event.Txn{})
		x := &b.txns[len(b.txns)-1]
		e.Txn = x
		x.Op, x.DB, x.Txn = r.text(), r.text(), r.id()
		x.Xid, x.Lsn = r.unsigned(), r.unsigned()
		x.Isolation, x.Error = r.text(), r.text()
	case event.TypeCache:
		d.cache(e, b)
	case event.TypeCall:
		b.calls = append(b.calls, event.Call{})
		x := &b.calls[len(b.calls)-1]
		e.Call = x
		x.Code, x.ArgsHash, x.Args = r.text(), r.hash(), r.namedHashes(b)
		x.Principal, x.ResultHash, x.Bytes, x.Error = r.principal(), r.hash(), r.optInt(), r.text()
	case event.TypeTask:
		b.tasks = append(b.tasks, event.Task{})
		x := &b.tasks[len(b.tasks)-1]
		e.Task = x
		x.Op, x.ID, x.Name, x.Queue, x.Error = r.text(), r.text(), r.text(), r.text(), r.text()
	}
	r.rest()
}

func (d *decoder) request(e *event.Event, b *batch) {
	r := &d.r
	b.requests = append(b.requests, event.Request{})
	x := &b.requests[len(b.requests)-1]
	e.Request = x
	x.Kind, x.Method, x.Route, x.Target = r.text(), r.text(), r.text(), r.text()
	x.Status, _ = r.num()
	x.Error, x.Principal, x.Vary = r.text(), r.principal(), r.namedHashes(b)
	x.BodyHash, x.BodyHashNone = r.hash(), r.text()
	x.BodyBytes, x.RequestBytes = r.optInt(), r.optInt()
	x.Headers, x.Test = r.pairs(b), r.text()
	x.FirstByteDur, x.Disconnected, x.RequestCookie = r.optInt(), r.optBool(), r.optBool()
}

func (d *decoder) query(e *event.Event, b *batch) {
	r := &d.r
	b.queries = append(b.queries, event.Query{})
	x := &b.queries[len(b.queries)-1]
	e.Query = x
	x.DB, x.Text, x.Params, x.ParamNames = r.text(), r.text(), r.hashes(b), r.list(b)
	x.Rows, x.PKs, x.ResultHash, x.Txn = r.optInt(), r.hashes(b), r.hash(), r.id()
	x.Role, x.Many, x.Error, x.Code = r.text(), r.optInt(), r.text(), r.text()
}

func (d *decoder) cache(e *event.Event, b *batch) {
	r := &d.r
	b.caches = append(b.caches, event.Cache{})
	x := &b.caches[len(b.caches)-1]
	e.Cache = x
	x.Op, x.Layer, x.Store, x.Key = r.text(), r.text(), r.text(), r.text()
	x.KeyParts, x.Hit, x.ValueHash = r.pairs(b), r.optBool(), r.hash()
	x.ValueForm, x.ValueKind = r.text(), r.text()
	x.Bytes, x.TTLMs, x.TTLEffectiveMs = r.optInt(), r.optInt(), r.optInt()
	x.Tags, x.Tag, x.Pattern = r.list(b), r.text(), r.text()
	x.Removed, x.Count, x.Error, x.Txn = r.optInt(), r.optInt(), r.text(), r.id()
	x.FillStart = r.time()
	x.Code = r.text()
}

// id makes the text of a numbered id. The last ones are remembered: a request's id comes with each event inside it.
func (d *decoder) id(n int64) string {
	slot := &d.ids[uint64(n)%uint64(len(d.ids))]
	if slot.n == n && slot.s != "" {
		return slot.s
	}
	// A builder never changes bytes that it has given out, so its texts stay valid as it grows; it is replaced rather
	// than grown.
	const most = 16 + 1 + 20
	if d.arena.Cap()-d.arena.Len() < most {
		d.arena.Reset()
		d.arena.Grow(4096)
	}
	start := d.arena.Len()
	d.arena.WriteString(d.proc)
	d.arena.WriteByte('.')
	var digits [20]byte
	d.arena.Write(strconv.AppendInt(digits[:0], n, 10))
	slot.n, slot.s = n, d.arena.String()[start:]
	return slot.s
}
