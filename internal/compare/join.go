package compare

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/demarc-dev/demarc/event"
)

// What a request's figures need of one event of its trace.
type item struct {
	at           int64
	end          int64
	span, parent uint64
	src          uint32
	n            uint32
	kind         uint8
}

const (
	itemSpan  uint8 = iota // only a link between a span and its parent, or an operation that is not counted
	itemQuery              // a statement
	itemHit                // n lookups that hit
	itemMiss               // n lookups that missed
)

// How long, in event time, a trace is kept after its last event: once its request has been seen, and before. The
// baseline's bounds, so that both count the same.
const (
	joinAge = int64(15e9)
	openAge = int64(300e9)
)

// A trace holds one request, except where a caller's trace goes through several services or calls one several times.
const maxRequestsPerTrace = 256

type request struct {
	sample
	key  routeKey
	end  int64
	span uint64
	src  uint32
}

type trace struct {
	id         uint64
	seen       int64
	items      []item
	reqs       []request
	prev, next *trace
	in         *traceList
}

type traceList struct{ front, back *trace }

// joiner puts queries and cache lookups to the request they belong to, by trace, as the baseline does: a test holds the
// two against each other.
type joiner struct {
	s       *Samples
	byID    map[uint64]*trace
	open    traceList // no request seen yet
	done    traceList
	clock   int64 // greatest end of an event
	items   int
	free    []*trace
	evicted int64 // traces closed early for want of room
	cut     int64 // events left out of one over-long trace

	lastID uint64 // the trace of the event before
	last   *trace
}

func (j *joiner) init(s *Samples) { j.s, j.byID = s, map[uint64]*trace{} }

func (j *joiner) request(e *event.Event) {
	q := e.Request
	x := request{key: keyOf(q), end: e.End(), span: hash(e.Span), src: source(e.Source)}
	x.at, x.dur, x.bytes = e.At, -1, noBytes
	if e.Dur.Known && e.Dur.V >= 0 && e.At+e.Dur.V >= e.At {
		x.dur = e.Dur.V
	}
	if q.BodyBytes.Known && q.BodyBytes.V >= 0 {
		x.bytes = uint32(min(q.BodyBytes.V, math.MaxUint32-1))
	}
	x.failed = q.Error != "" || q.Status >= 500
	x.sample.key = uint32(hash(q.Target))
	if j.s.inside(e.At) {
		j.s.service(e.Source)
		if j.s.first == 0 || e.At < j.s.first {
			j.s.first = e.At
		}
		j.s.end = max(j.s.end, e.End())
	}
	if e.Trace == "" {
		x.id = uint32(mix(uint64(e.At), e.Seq^uint64(x.src)<<32) >> 32)
		j.emit(&x)
		return
	}
	t := j.trace(hash(e.Trace))
	x.id = uint32(mix(t.id, 0x9e3779b97f4a7c15) >> 32)
	if len(t.reqs) < maxRequestsPerTrace {
		// The names belong to the capture's dictionaries, which live no longer than a segment's reading.
		x.key = j.s.route(x.key).key
		t.reqs = append(t.reqs, x)
	} else {
		j.emit(&x)
	}
	j.touch(t, e.End())
}

func (j *joiner) item(e *event.Event, kind uint8, n int64) {
	if e.Trace == "" {
		return
	}
	t := j.trace(hash(e.Trace))
	if len(t.items) >= j.s.opt.MaxItems/4 {
		j.cut++
		return
	}
	end := e.At
	if e.Dur.Known && e.Dur.V >= 0 && e.At+e.Dur.V >= e.At {
		end += e.Dur.V
	}
	t.items = append(t.items, item{at: e.At, end: end, span: hash(e.Span), parent: hash(e.Parent), src: source(e.Source),
		n: uint32(min(n, math.MaxUint32)), kind: kind})
	j.items++
	j.touch(t, end)
}

func (j *joiner) trace(id uint64) *trace {
	if id == j.lastID && j.last != nil {
		return j.last
	}
	t := j.byID[id]
	if t == nil {
		if n := len(j.free); n > 0 {
			t = j.free[n-1]
			j.free = j.free[:n-1]
		} else {
			t = &trace{}
		}
		t.id = id
		j.byID[id] = t
	}
	j.lastID, j.last = id, t
	return t
}

// touch moves a trace to the end of the list it belongs to and closes those that are too old or too many.
func (j *joiner) touch(t *trace, end int64) {
	j.clock = max(j.clock, end)
	t.seen = j.clock
	to := &j.open
	if len(t.reqs) > 0 {
		to = &j.done
	}
	if t.in != to || to.back != t {
		t.unlink()
		t.in, t.prev = to, to.back
		if to.back != nil {
			to.back.next = t
		} else {
			to.front = t
		}
		to.back = t
	}
	for t := j.done.front; t != nil && t.seen < j.clock-joinAge; t = j.done.front {
		j.close(t)
	}
	for t := j.open.front; t != nil && t.seen < j.clock-openAge; t = j.open.front {
		j.close(t)
	}
	for j.items > j.s.opt.MaxItems || len(j.byID) > j.s.opt.MaxTraces {
		t := cmp.Or(j.done.front, j.open.front)
		j.evicted++
		j.close(t)
	}
}

func (t *trace) unlink() {
	if t.in == nil {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		t.in.front = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		t.in.back = t.prev
	}
	t.prev, t.next, t.in = nil, nil, nil
}

// closeAll closes every trace: nothing more comes.
func (j *joiner) closeAll() {
	for _, list := range []*traceList{&j.done, &j.open} {
		for list.front != nil {
			j.close(list.front)
		}
	}
}

func (j *joiner) close(t *trace) {
	switch len(t.reqs) {
	case 0: // what belongs to no request that was seen stays uncounted
	case 1:
		for i := range t.items {
			t.reqs[0].count(&t.items[i])
		}
		j.emit(&t.reqs[0])
	default:
		slices.SortFunc(t.reqs, func(a, b request) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.end, b.end), cmp.Compare(a.span, b.span))
		})
		own := ownership(t)
		for i := range t.items {
			t.reqs[own(&t.items[i])].count(&t.items[i])
		}
		for i := range t.reqs {
			t.reqs[i].id = uint32(mix(t.id, uint64(i)+0x9e3779b97f4a7c15) >> 32)
			j.emit(&t.reqs[i])
		}
	}
	t.unlink()
	delete(j.byID, t.id)
	j.items -= len(t.items)
	if j.last == t {
		j.last = nil
	}
	if cap(t.items) <= 64 && len(j.free) < 1024 {
		clear(t.reqs)
		t.items, t.reqs = t.items[:0], t.reqs[:0]
		j.free = append(j.free, t)
	}
}

func (x *request) count(it *item) {
	switch it.kind {
	case itemQuery:
		x.queries++
	case itemHit:
		x.hits = uint16(min(uint64(x.hits)+uint64(it.n), math.MaxUint16))
	case itemMiss:
		x.misses = uint16(min(uint64(x.misses)+uint64(it.n), math.MaxUint16))
	}
}

func (j *joiner) emit(x *request) {
	if j.s.inside(x.at) {
		j.s.take(x.key, x.sample)
	}
}

// ownership says which of a trace's several requests an item belongs to: the nearest one among its parents; where that
// chain is broken, the last one that began before it in the same process; else the last one that began before it.
func ownership(t *trace) func(*item) int {
	bySpan, parent := map[uint64]int{}, map[uint64]uint64{}
	for i := range t.reqs {
		if t.reqs[i].span != 0 {
			bySpan[t.reqs[i].span] = i
		}
	}
	for i := range t.items {
		if t.items[i].span != 0 {
			parent[t.items[i].span] = t.items[i].parent
		}
	}
	return func(it *item) int {
		at := it.parent
		for range 64 { // a chain may be a circle in hostile input
			if at == 0 {
				break
			}
			if i, ok := bySpan[at]; ok {
				return i
			}
			at = parent[at]
		}
		best, same := 0, -1
		for i := range t.reqs {
			r := &t.reqs[i]
			if r.at > it.at {
				break
			}
			best = i
			if r.src == it.src && (same < 0 || r.end >= it.at || t.reqs[same].end < it.at) {
				same = i
			}
		}
		if same >= 0 {
			return same
		}
		return best
	}
}

// source tells processes apart.
func source(s *event.Source) uint32 {
	if s == nil {
		return 0
	}
	return uint32(mix(hash(s.Host), uint64(s.Pid)))
}

// hash is a 64-bit hash of an identifier, the same in every process, 0 for "".
func hash(s string) uint64 {
	if s == "" {
		return 0
	}
	h := uint64(len(s)) * 0x9e3779b97f4a7c15
	for len(s) >= 8 {
		h = mix(h^(uint64(s[0])|uint64(s[1])<<8|uint64(s[2])<<16|uint64(s[3])<<24|
			uint64(s[4])<<32|uint64(s[5])<<40|uint64(s[6])<<48|uint64(s[7])<<56), 0xa0761d6478bd642f)
		s = s[8:]
	}
	var tail uint64
	for i := range len(s) {
		tail = tail<<8 | uint64(s[i])
	}
	return max(mix(h^tail, 0xe7037ed1a0b428db), 1)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x8ebc6af09c88c6e3, b^0x589965cc75374cc3)
	return hi ^ lo
}
