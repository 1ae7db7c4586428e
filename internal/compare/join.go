package compare

import (
	"math"
	"slices"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/join"
)

// item is what a request's figures need of one event of its trace.
type item struct {
	at           int64
	span, parent uint64
	src          uint32
	n            uint16
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

type request struct {
	sample
	route *routeSamples
	end   int64
	span  uint64
	src   uint32
}

// tally are what the items of a trace, or of one request, come to.
type tally struct {
	queries      uint32
	hits, misses uint16
}

type trace = join.Trace[item, request, tally]

// joiner puts queries and cache lookups to the request they belong to, by trace, as the baseline does: a test holds the
// two against each other.
type joiner struct {
	s       *Samples
	live    join.Live[item, request, tally]
	evicted int64 // traces closed early for want of room
	cut     int64 // events left out of one over-long trace

	// What was found last: events that follow each other mostly are of one trace and process. The texts belong to whoever
	// called Add, and are forgotten when it returns.
	traceText, parentText string
	last                  *trace
	parent                uint64
	sources               [16]knownSource // by process id
}

// knownSource is the number that tells a process apart.
type knownSource struct {
	source *event.Source
	id     uint32
	noted  bool // as one that answered
}

func (j *joiner) init(s *Samples) {
	j.s = s
	j.live.Limits = join.Limits{JoinAge: joinAge, OpenAge: openAge, MaxItems: s.opt.MaxItems, MaxTraces: s.opt.MaxTraces}
}

// forget lets go of what belongs to the caller of Add.
func (j *joiner) forget() {
	j.traceText, j.last, j.parentText, j.parent = "", nil, "", 0
	clear(j.sources[:])
}

func (j *joiner) request(e *event.Event) {
	q := e.Request
	source := j.sourceOf(e.Source)
	x := request{end: e.End(), span: join.ID(e.Span), src: source.id}
	x.at, x.dur, x.bytes = e.At, -1, noBytes
	if e.Dur.Known && e.Dur.V >= 0 && e.At+e.Dur.V >= e.At {
		x.dur = e.Dur.V
	}
	if q.BodyBytes.Known && q.BodyBytes.V >= 0 {
		x.bytes = uint32(min(q.BodyBytes.V, math.MaxUint32-1))
	}
	x.failed = q.Error != "" || q.Status >= 500
	x.key = uint32(join.ID(q.Target))
	if j.s.inside(e.At) {
		if !source.noted {
			source.noted = true
			j.s.service(e.Source)
		}
		if j.s.first == 0 || e.At < j.s.first {
			j.s.first = e.At
		}
		j.s.end = max(j.s.end, e.End())
	}
	if e.Trace == "" {
		x.id = uint32(join.Mix(uint64(e.At), e.Seq^uint64(x.src)<<32) >> 32)
		j.alone(q, &x)
		return
	}
	t := j.trace(e.Trace)
	x.id = uint32(join.Mix(t.ID, 0x9e3779b97f4a7c15) >> 32)
	if len(t.Requests) < join.MaxRequests {
		x.route = j.s.route(keyOf(q))
		t.Requests = append(t.Requests, x)
	} else {
		j.alone(q, &x)
	}
	j.touch(t, e.End())
}

// alone takes a request to which nothing can belong.
func (j *joiner) alone(q *event.Request, x *request) {
	if j.s.inside(x.at) {
		j.s.take(j.s.route(keyOf(q)), &x.sample)
	}
}

func (j *joiner) item(e *event.Event, kind uint8, n int64) {
	if e.Trace == "" {
		return
	}
	t := j.trace(e.Trace)
	if len(t.Items) >= j.s.opt.MaxItems/4 {
		j.cut++
		return
	}
	end := e.At
	if e.Dur.Known && e.Dur.V >= 0 && e.At+e.Dur.V >= e.At {
		end += e.Dur.V
	}
	if e.Parent != j.parentText {
		j.parentText, j.parent = e.Parent, join.ID(e.Parent)
	}
	x := item{at: e.At, span: join.ID(e.Span), parent: j.parent, src: j.sourceOf(e.Source).id, n: uint16(min(n, math.MaxUint16)), kind: kind}
	t.Sum.add(&x)
	j.live.Add(t, x)
	j.touch(t, end)
}

func (j *joiner) trace(text string) *trace {
	if j.last == nil || text != j.traceText {
		j.last, j.traceText = j.live.Trace(join.ID(text)), text
	}
	return j.last
}

// touch notes an event of a trace and closes those that are too old or too many.
func (j *joiner) touch(t *trace, end int64) {
	j.live.Touch(t, j.live.Advance(end))
	for t, early := j.live.Due(); t != nil; t, early = j.live.Due() {
		if early {
			j.evicted++
		}
		j.close(t)
	}
}

// closeAll closes every trace: nothing more comes.
func (j *joiner) closeAll() {
	for t := range j.live.All() {
		j.close(t)
	}
}

func (j *joiner) close(t *trace) {
	switch len(t.Requests) {
	case 0: // what belongs to no request that was seen stays uncounted
	case 1:
		j.emit(&t.Requests[0], t.Sum)
	default:
		j.divide(t)
	}
	if j.last == t {
		j.last = nil
	}
	j.live.Remove(t)
}

// divide gives each of several requests of one trace what belongs to it.
func (j *joiner) divide(t *trace) {
	slices.SortFunc(t.Requests, func(a, b request) int { return a.place().Compare(b.place()) })
	places := make([]join.Place, len(t.Requests))
	for i := range places {
		places[i] = t.Requests[i].place()
	}
	owners := join.Owners(places, len(t.Items), func(i int) join.Link {
		it := &t.Items[i]
		return join.Link{At: it.at, Span: it.span, Parent: it.parent, Source: it.src}
	})
	sums := make([]tally, len(t.Requests))
	for i, owner := range owners {
		sums[owner].add(&t.Items[i])
	}
	for i := range t.Requests {
		t.Requests[i].id = uint32(join.Mix(t.ID, uint64(i)+0x9e3779b97f4a7c15) >> 32)
		j.emit(&t.Requests[i], sums[i])
	}
}

func (x *request) place() join.Place {
	return join.Place{At: x.at, End: x.end, Span: x.span, Source: x.src}
}

func (c *tally) add(it *item) {
	switch it.kind {
	case itemQuery:
		c.queries++
	case itemHit:
		c.hits = uint16(min(uint32(c.hits)+uint32(it.n), math.MaxUint16))
	case itemMiss:
		c.misses = uint16(min(uint32(c.misses)+uint32(it.n), math.MaxUint16))
	}
}

func (j *joiner) emit(x *request, c tally) {
	if j.s.inside(x.at) {
		x.queries, x.hits, x.misses = c.queries, c.hits, c.misses
		j.s.take(x.route, &x.sample)
	}
}

func (j *joiner) sourceOf(s *event.Source) *knownSource {
	var pid int64
	if s != nil {
		pid = s.Pid
	}
	known := &j.sources[uint64(pid)%uint64(len(j.sources))]
	if known.source != s {
		*known = knownSource{source: s}
		if s != nil {
			known.id = uint32(join.Mix(join.ID(s.Host), uint64(s.Pid)))
		}
	}
	return known
}
