package stale

import (
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// Bounds of one trace, transaction or process.
const (
	maxReads   = 512     // statements remembered of a trace until they are tied to a set
	maxOfTrace = 256     // writes, deletes, tasks, touches
	maxWritten = 1024    // statements of one transaction
	maxInputs  = 12      // inputs of a request that are compared
	maxInherit = 1 << 16 // entries that a forked process inherits
	maxSilent  = 20      // processes listed as silent
)

// caller is what is kept of a request as long as an entry that it filled is kept.
type caller struct {
	principal uint64   // 0: not known
	at        int64    // when the request began
	target    uint64   // what was asked for, 0: not known
	inputs    *[]input // shared with all requests with the same
	route     uint32
	done      bool // the request was seen
	isJob     bool
	n         uint8
	short     [17]byte // its id, where it is short
	long      *string
}

func (w *caller) name(id string) {
	w.n = 0
	if w.long != nil {
		w.long = nil
	}
	if len(id) <= len(w.short) {
		w.n = uint8(copy(w.short[:], id))
	} else {
		long := strings.Clone(cut(id, event.MaxID))
		w.long = &long
	}
}

// id is the trace's; "" where there was none.
func (w *caller) id() string {
	if w.long != nil {
		return *w.long
	}
	return string(w.short[:w.n])
}

// input is an input of a request: 16 bits of name, 48 of its value's hash.
type input uint64

func newInput(name uint32, value uint64) input {
	return input(uint64(name)<<48 | value>>16)
}

func (i input) name() uint32 { return uint32(i >> 48) }

// trace is a request or a job, or what stands for it: 192 bytes, so that each begins where a line of the processor's caches does, and
// what every step looks at is the first of three.
type trace struct {
	h    uint64
	who  *caller
	prev *trace
	next *trace
	*deeds
	last   int64 // when it was last used, in the time of what is judged
	pins   int32
	gen    uint32
	alone  bool     // it stands for what a process did in no trace
	over   bool     // its request has ended, and it is among those that are forgotten first
	kept   bool     // something else may point to it
	filled bool     // an entry may point to who
	hit    bool     // it did, once, as one says
	own    caller   // who, until an entry may point to it
	one    [1]touch // the place of the only touch
	_      [12]byte
}

// read is a statement that a trace sent, until a set shows what it was for.
type read struct {
	at, end int64
	stmt    *stmt
	params  []event.Hash
	names   []string
	pks     []event.Hash
	txn     *txn
	result  event.Hash
	rows    int64
	role    uint8
	hasPKs  bool
}

// endedTrace is a trace whose request has ended; its statements are kept a little longer, for a layer above may store the
// answer when it has it.
type endedTrace struct {
	t   *trace
	gen uint32
	at  int64
}

const keepReads = 2e9

func (d *Detector) dropReads() {
	for d.ended.n() > 0 && (d.ended.first().at < d.now-keepReads || d.ended.n() > d.opt.MaxTraces) {
		if e := d.ended.pop(); e.t.gen == e.gen && len(e.t.reads) > 0 {
			if did := e.t.deeds; e.t.kept {
				did.reads = nil
			} else {
				did.reads = did.reads[:0]
				d.over(e.t)
			}
		}
	}
}

// touch is a read of an entry, whose reader is known when its request ends.
type touch struct {
	k      *key
	s      *suspicion
	story  *story
	at     int64
	serial uint32
	n      int32
	took   uint32 // ns, at most maxTook
	mask   uint16
	src    uint16 // its number
}

const maxTook = 1<<32 - 1

// trace returns the trace with that id, which becomes the last one used.
func (d *Detector) trace(id string) *trace {
	h := hashText(4, id)
	if t := d.lastTrace; t != nil && t.h == h {
		return t
	}
	t := d.traces.get(h)
	if t == nil {
		if n := len(d.freeTraces); n > 0 {
			t = d.freeTraces[n-1]
			d.freeTraces = d.freeTraces[:n-1]
			t.h = h
		} else {
			t = &trace{h: h, deeds: &d.idle}
			t.who = &t.own
		}
		t.who.name(id)
		d.traces.put(h, t)
		d.oldest.push(t)
		t.pins++ // it may not be the one to go
		for d.traces.n > d.opt.MaxTraces && d.forgetTrace(&d.oldest) {
		}
		if old := d.oldest.head.next; old.last < d.now-idle && old.who.done {
			d.forgetTrace(&d.oldest)
		}
		t.pins--
	} else if !t.over && d.oldest.head.prev != t {
		d.oldest.remove(t)
		d.oldest.push(t)
	}
	t.last = d.now
	d.lastTrace = t
	return t
}

// The numbers of traces that are kept although their requests have ended, of those that did nothing but hit, and of those
// that filled. A later event of theirs would belong to a request of which nothing is known.
const (
	maxHitters = 256
	maxFillers = 8192
)

// idle is for how long, in nanoseconds, a request that has ended and wrote is kept without a further event of it. What
// points to it, such as its writes and the jobs that it enqueued, goes on to do so.
const idle = 60e9

// traceList is a list of traces in the order in which they came to it.
type traceList struct {
	head trace // its prev is the last one
	n    int
}

func (l *traceList) init() { l.head.next, l.head.prev = &l.head, &l.head }

func (l *traceList) push(t *trace) {
	last := l.head.prev
	last.next, t.prev = t, last
	t.next, l.head.prev = &l.head, t
	l.n++
}

func (l *traceList) remove(t *trace) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
	l.n--
}

// forgetTrace drops the first trace of a list that no waiting event belongs to.
func (d *Detector) forgetTrace(list *traceList) bool {
	end := &list.head
	old := end.next
	for n := 0; old != end && old.pins > 0 && n < 64; n++ {
		old = old.next
	}
	if old == end || old.pins > 0 {
		return false
	}
	list.remove(old)
	d.traces.delete(old.h)
	if d.lastTrace == old {
		d.lastTrace = nil
	}
	d.reuse(old)
	return true
}

// over moves a trace whose request has ended to those that are forgotten first.
func (d *Detector) over(t *trace) {
	if t.kept || t.over || t.prev == nil || t.parent != nil || len(t.reads) > 0 {
		return
	}
	d.oldest.remove(t)
	d.undo(t)
	t.over = true
	list, most := &d.hitters, maxHitters
	if t.filled {
		list, most = &d.fillers, maxFillers
	}
	list.push(t)
	if list.n > most {
		d.forgetTrace(list)
	}
}

// reuse keeps a trace for the next one, where nothing else can point to it. It may still point to the last key that it
// read.
func (d *Detector) reuse(t *trace) {
	if t.kept || t.parent != nil || len(d.freeTraces) >= 4096 {
		return
	}
	d.undo(t)
	t.gen++
	t.last, t.over, t.filled, t.hit = 0, false, false, false
	if t.who != &t.own {
		t.who = &t.own
	}
	w := &t.own
	w.principal, w.at, w.target, w.route, w.done, w.isJob = 0, 0, 0, 0, false, false
	if w.inputs != nil {
		w.inputs = nil
	}
	d.freeTraces = append(d.freeTraces, t)
}

// fills notes that an entry will point to who asked.
func (t *trace) fills() {
	if !t.filled && t.who == &t.own {
		kept := t.own
		t.who = &kept
	}
	t.filled = true
}

// context is the trace of a record, or what stands for it: all that its process did outside of traces.
func (d *Detector) context(r *rec) *trace {
	if r.tr != nil {
		return r.tr
	}
	p := r.src.proc
	if p.alone == nil {
		p.alone = &trace{h: mix(p.id, 5), deeds: &d.idle, alone: true, kept: true}
		p.alone.who = &p.alone.own
	}
	return p.alone
}

// startedBy says whether a trace is the other, or a job that the other enqueued, at whatever remove.
func (t *trace) startedBy(o *trace) bool {
	for n := 0; t != nil && n < 16; n++ {
		if t == o {
			return true
		}
		t = t.parent
	}
	return false
}

func (t *trace) traced() bool { return t != nil && t.h != 0 && !t.alone }

// job is a background job from its enqueuing on.
type job struct {
	name          string
	from          *trace
	enqAt         int64
	tr            *trace // that ran it
	ended, failed bool
	errored       bool // could not be enqueued
	src           *source
	began         bool
}

func (d *Detector) job(id string) *job {
	h := hashText(7, id)
	if j := d.jobs[h]; j != nil {
		return j
	}
	j := &job{}
	d.jobs[h] = j
	if d.jobRing.push(h); d.jobRing.n() > d.opt.MaxTraces {
		delete(d.jobs, d.jobRing.pop())
	}
	return j
}

// task takes a step of a job.
func (d *Detector) task(r *rec) {
	j := r.x.job
	if r.x.name != "" {
		j.name = r.x.name
	}
	switch r.x.op {
	case "enqueue":
		j.enqAt, j.from, j.src, j.errored = r.at, r.tr, r.src, r.x.errored
		if r.tr != nil && len(r.tr.tasks) < maxOfTrace {
			w := d.does(r.tr)
			w.tasks = append(w.tasks, j)
		}
	case "start":
		j.began, j.tr = true, r.tr
	case "end":
		j.ended, j.began = true, true
		return
	case "fail":
		j.failed, j.began = true, true
		return
	}
	if j.began && j.from != nil && r.tr != nil && r.tr != j.from && !j.from.startedBy(r.tr) {
		d.does(r.tr).parent = j.from
	}
}

// jobOf is the name of the job that a trace runs, for families to remember who drops them.
func (d *Detector) jobOf(t *trace) string {
	if t == nil || t.parent == nil {
		return ""
	}
	for _, j := range t.parent.tasks {
		if j.tr == t && j.name != "" {
			return j.name
		}
	}
	return ""
}

// request tells a trace whose request has ended who it was for.
func (d *Detector) request(r *rec) {
	w := r.tr.who
	if w.done { // a trace through several requests keeps the outermost, which ends last
		if r.at > w.at {
			return
		}
	} else {
		for _, wr := range r.tr.writes {
			d.joined(wr)
		}
	}
	w.done, w.at, w.route, w.isJob = true, r.at, r.code, r.by == byJob
	if r.ttl != 0 {
		w.principal = uint64(r.ttl)
	}
	w.target = uint64(r.fill)
	if r.x != nil {
		w.inputs = r.x.in
	}
	if r.tr.filled {
		r.tr.own = *w // a story may point to it
	}
	d.question(r.tr)
	if len(r.tr.reads) > 0 {
		d.ended.push(endedTrace{r.tr, r.tr.gen, r.end})
	}
	hits := r.tr.touches()
	for i := range hits {
		d.touched(&hits[i], w)
	}
	r.tr.hit = false
	if did := r.tr.deeds; did != &d.idle {
		if r.tr.kept {
			did.touch, did.asked, did.inner = nil, nil, nil
		} else {
			clear(did.touch)
			clear(did.inner)
			did.touch, did.inner = did.touch[:0], did.inner[:0]
		}
	}
	if len(d.waiting) > 0 {
		d.fickleTurn(r.tr.who)
	}
	d.over(r.tr)
}

// shared returns inputs that are kept once for all requests that have the same.
func (d *Detector) shared(in []input) *[]input {
	if len(in) == 0 {
		return nil
	}
	h := uint64(14)
	for _, v := range in {
		h = mix(h, uint64(v))
	}
	if last := d.lastInputs; last != nil && last.h == h && slices.Equal(last.in, in) {
		return &last.in
	}
	have := d.inputs.get(h)
	if have == nil || !slices.Equal(have.in, in) {
		if have != nil {
			d.inputs.delete(h)
		}
		if d.inputs.n >= maxNames {
			d.inputs = index[sharedInputs]{}
		}
		have = &sharedInputs{h, slices.Clone(in)}
		d.inputs.put(h, have)
	}
	d.lastInputs = have
	return &have.in
}

// sharedInputs are inputs with their hash.
type sharedInputs struct {
	h  uint64
	in []input
}

// others are the inputs of a request beside the target and the identity.
func (w *caller) others() []input {
	if w.inputs == nil {
		return nil
	}
	return *w.inputs
}

func (d *Detector) joined(w *write) {
	if !w.joined {
		w.joined = true
		d.writesJoined++
	}
}
