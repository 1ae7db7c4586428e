package otlp

import (
	"math"
	"math/rand/v2"
	"strings"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// batch is one message on its way to becoming events. Everything in it is used again for the next message, so it holds
// at most what the largest message needed (MaxSpans nodes, MaxEvents events), and is thrown away after one that needed
// more than modestEvents or modestBytes.
type batch struct {
	opts    *Options
	sources *sources
	seen    *texts
	hashes  map[string]event.Hash // of texts that come again and again; at most maxTexts, of at most maxHashed bytes
	counts  Counts

	span  span // the one being read
	exc   attrs
	res   attrs
	count int // spans met in the message, taken or not
	over  bool

	events   []event.Event
	requests slab[event.Request]
	queries  slab[event.Query]
	txns     slab[event.Txn]
	caches   slab[event.Cache]
	tasks    slab[event.Task]
	inputs   []event.NamedHash // of all requests, side by side
	bytes    []byte
	nodes    []node
	table    table
}

const (
	modestEvents = 16_384
	modestBytes  = 4 << 20
)

func newBatch(opts *Options, shared *sources) *batch {
	return &batch{opts: opts, sources: shared, seen: newTexts(), hashes: make(map[string]event.Hash)}
}

func (b *batch) reset() {
	b.counts, b.count, b.over = Counts{}, 0, false
	b.events, b.nodes, b.inputs, b.bytes = b.events[:0], b.nodes[:0], b.inputs[:0], b.bytes[:0]
	b.requests.used, b.queries.used, b.txns.used, b.caches.used, b.tasks.used = 0, 0, 0, 0, 0
	b.table.clear()
}

func (b *batch) modest() bool {
	return cap(b.events) <= modestEvents && cap(b.nodes) <= modestEvents && cap(b.bytes) <= modestBytes
}

// slab hands out zeroed values that lie side by side. When it grows, those handed out before stay where they are.
type slab[T any] struct {
	all  []T
	used int
}

func (s *slab[T]) next() *T {
	if s.used == len(s.all) {
		s.all, s.used = make([]T, max(64, 2*len(s.all))), 0
	}
	p := &s.all[s.used]
	s.used++
	var zero T
	*p = zero
	return p
}

// node is one span's place in its trace.
type node struct {
	id, parent   uint64
	trace        uint64
	source       *event.Source
	name         string // the id, as text
	up           string // the parent's id, as text
	root         bool   // a request or job begins here, or the parent is in another process
	state        uint8
	first, after int32  // its events
	top          string // what its trace is called, once resolved
}

const (
	unresolved = iota
	walking
	resolved
)

var hexPairs = func() (pairs [256][2]byte) {
	const digits = "0123456789abcdef"
	for i := range pairs {
		pairs[i] = [2]byte{digits[i>>4], digits[i&15]}
	}
	return pairs
}()

// hexID writes a span's id as text into memory of the batch.
func (b *batch) hexID(id uint64) string {
	out := b.room(16)
	_ = out[15]
	for i := 14; i >= 0; i -= 2 {
		two := &hexPairs[id&0xff]
		out[i], out[i+1] = two[0], two[1]
		id >>= 8
	}
	return unsafe.String(&out[0], 16)
}

// join returns the texts one after the other, in memory of the batch.
func (b *batch) join(texts ...string) string {
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	if n == 0 {
		return ""
	}
	out := b.room(n)
	at := 0
	for _, t := range texts {
		at += copy(out[at:], t)
	}
	return unsafe.String(&out[0], n)
}

// room returns n bytes of the batch's memory.
func (b *batch) room(n int) []byte {
	if cap(b.bytes)-len(b.bytes) < n {
		b.bytes = make([]byte, 0, max(64<<10, 2*cap(b.bytes), n))
	}
	at := len(b.bytes)
	b.bytes = b.bytes[:at+n]
	return b.bytes[at:]
}

// add takes the span that was read, from a process that may not be known.
func (b *batch) add(source *event.Source) {
	s := &b.span
	b.counts.Spans++
	if s.id == 0 || !s.hasTrace || s.start == 0 || s.start > math.MaxInt64 {
		b.counts.Refused++
		return
	}
	n := node{id: s.id, parent: s.parent, trace: s.trace, source: source, first: int32(len(b.events))}
	n.name = b.hexID(s.id)
	if s.parent != 0 {
		n.up = b.hexID(s.parent)
	}
	n.root = s.kind == kindServer || s.flags&(flagHasRemote|flagRemote) == flagHasRemote|flagRemote
	if b.translate(&n) {
		n.root = true
	}
	n.after = int32(len(b.events))
	if n.first == n.after {
		b.counts.Unmapped++
	}
	b.nodes = append(b.nodes, n)
}

// event appends an event of the span that was read.
func (b *batch) event(n *node, t event.Type) *event.Event {
	if len(b.events) >= MaxEvents {
		b.over = true
		return &event.Event{}
	}
	if len(b.events) == cap(b.events) {
		grown := make([]event.Event, len(b.events), max(256, 2*cap(b.events)))
		copy(grown, b.events)
		b.events = grown
	}
	b.events = b.events[:len(b.events)+1]
	e := &b.events[len(b.events)-1]
	*e = event.Event{}
	e.Type = t
	e.At = int64(b.span.start)
	if b.span.end >= b.span.start && b.span.end <= math.MaxInt64 {
		e.Dur = event.Some(int64(b.span.end - b.span.start))
	}
	e.Span, e.Parent, e.Source = n.name, n.up, n.source
	return e
}

// resolve names the trace of every event: the id of the nearest span upwards, within the message and the process, at
// which a request or job begins; where the way up leaves the message, the id of the parent that was not in it, which is
// the request's own where a span lies directly below its request. A span without a parent that begins neither belongs to
// none, and what lies below it to it.
func (b *batch) resolve() {
	b.table.fill(b.nodes)
	for i := range b.nodes {
		n := &b.nodes[i]
		if n.state != resolved {
			b.climb(int32(i))
		}
		trace := n.top
		if n.parent == 0 && !n.root {
			trace = ""
		}
		for e := n.first; e < n.after; e++ {
			b.events[e].Trace = trace
		}
	}
}

// climb resolves one node and all on its way up. Each node is walked once.
func (b *batch) climb(start int32) {
	top, at := "", start
	for {
		n := &b.nodes[at]
		if n.state == resolved {
			top = n.top
			break
		}
		if n.state == walking { // its own ancestor: a broken sender
			break
		}
		n.state = walking
		if n.root || n.parent == 0 {
			top = n.name
			break
		}
		up := b.table.find(b.nodes, n.parent, n.trace)
		if up < 0 {
			top = n.up
			b.counts.Detached++
			break
		}
		if b.nodes[up].source != n.source {
			top = n.name
			break
		}
		at = up
	}
	for at = start; ; {
		n := &b.nodes[at]
		if n.state == resolved {
			return
		}
		n.state, n.top = resolved, top
		if n.root || n.parent == 0 {
			return
		}
		up := b.table.find(b.nodes, n.parent, n.trace)
		if up < 0 || b.nodes[up].source != n.source {
			return
		}
		at = up
	}
}

// table finds nodes by span and trace id: open addressing, at most half full, so it holds at most 4*MaxSpans slots of
// four bytes. The place of an id depends on a number drawn by this process, so that a sender cannot choose ids that collide.
type table struct {
	slots []int32 // index of a node plus one
	shift uint
}

var tableSeed = rand.Uint64() | 1

func place(id, trace uint64) uint64 {
	h := (id ^ trace*0x9E3779B97F4A7C15) * tableSeed
	return (h ^ h>>32) * tableSeed
}

func (t *table) clear() { clear(t.slots) }

func (t *table) fill(nodes []node) {
	bits := uint(4)
	for 1<<bits < 2*len(nodes) {
		bits++
	}
	if len(t.slots) != 1<<bits {
		t.slots, t.shift = make([]int32, 1<<bits), 64-bits
	}
	mask := uint64(len(t.slots) - 1)
	for i := range nodes {
		n := &nodes[i]
		for at := place(n.id, n.trace) >> t.shift; ; at = (at + 1) & mask {
			if j := t.slots[at]; j == 0 {
				t.slots[at] = int32(i) + 1
				break
			} else if nodes[j-1].id == n.id && nodes[j-1].trace == n.trace {
				break // sent twice: the first stands
			}
		}
	}
}

func (t *table) find(nodes []node, id, trace uint64) int32 {
	mask := uint64(len(t.slots) - 1)
	for at := place(id, trace) >> t.shift; ; at = (at + 1) & mask {
		j := t.slots[at]
		if j == 0 {
			return -1
		}
		if n := &nodes[j-1]; n.id == id && n.trace == trace {
			return j - 1
		}
	}
}

// texts remembers what a costly function made of a text, such as a statement without its literals: services send few
// distinct ones. It holds at most maxTexts entries of at most maxTextLen bytes each (8 MiB in all, in the worst case) and
// starts anew when it is full.
type texts struct {
	of    map[string]map[string]string // by kind, such as the name of a database
	count int
}

const (
	maxTexts   = 2048
	maxTextLen = 2048
)

func newTexts() *texts { return &texts{of: make(map[string]map[string]string)} }

func (t *texts) get(kind, s string, change func(kind, s string) string) string {
	if len(s) > maxTextLen || len(kind) > maxTextLen {
		return change(kind, s)
	}
	all := t.of[kind]
	if out, ok := all[s]; ok {
		return out
	}
	out := change(kind, s)
	if len(out) > maxTextLen {
		return out
	}
	if t.count >= maxTexts {
		clear(t.of)
		t.count, all = 0, nil
	}
	if all == nil {
		all = make(map[string]string)
		t.of[strings.Clone(kind)] = all
	}
	all[strings.Clone(s)] = strings.Clone(out) // what came out may be s itself
	t.count++
	return out
}

const maxHashed = 256

// hash is the keyed hash of a text.
func (b *batch) hash(s string) event.Hash {
	if h, ok := b.hashes[s]; ok {
		return h
	}
	h := b.opts.Hash(s)
	if len(s) <= maxHashed {
		if len(b.hashes) >= maxTexts {
			clear(b.hashes)
		}
		b.hashes[strings.Clone(s)] = h
	}
	return h
}
