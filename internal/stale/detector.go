// Package stale finds reads of caches that were stale, and says why: one cause, the events that prove it in order, or
// "cannot tell" with the field that is missing.
//
// It is a state machine an entry and one pass over events in time order. The pass is pure: no clock, no I/O, no
// goroutine. Live, offline, stopped and resumed, one shard or many end with the same findings, as long as no event comes
// later than Options.Late and no bound of Options is reached; Coverage says which were.
//
// Memory: a live key takes at most 300 bytes, with its share of the tables and what is kept of the request that filled it,
// beside a name longer than 16 bytes, and what the reads behind it need: 192 bytes for one statement that pins one column to one
// value (see reads). What explains how a key came to its value goes half a minute later, unless the key has tags or is
// suspected. All else is bounded by Options, however many keys there are.
package stale

import (
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// Options are the budgets and limits of a Detector; a zero field takes the default in its comment. Detectors that are
// merged must have equal options but for Shard.
type Options struct {
	// Budgets say for how long a family of keys may be stale: family to duration, and "default" (0) for all others.
	Budgets map[string]time.Duration
	// Grace is how long after a commit a delete may come before its delay is a finding: 1 s.
	Grace time.Duration
	// Late is how much later than its successors an event may come: 1 s. Findings appear this much later.
	Late time.Duration
	// Since leaves out stale reads that began earlier (Unix nanoseconds); the state is built from all events.
	Since int64

	// Shard, of Shards, is the share of keys that this Detector judges: all where Shards is below 2. Each shard must be
	// given every event.
	Shard, Shards int

	MaxKeys     int // keys kept: 1,000,000
	MaxFamilies int // families kept apart, the rest is "(other families)": 10,000
	MaxBuffered int // events waiting for late ones: 262,144
	MaxTraces   int // traces, transactions, jobs and processes kept apart, each: 65,536
	MaxTables   int // tables kept apart: 4,096
	MaxWrites   int // committed writes kept for comparison in one table: 4,096
	MaxDeletes  int // deletes kept for comparison with one key 8, one tag 16, one store without key: 256
	MaxCases    int // stories kept apart, older ones are added up: 16,384
	MaxReads    int // reads kept behind one entry: 64
}

func (o Options) withDefaults() Options {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&o.MaxKeys, 1_000_000)
	def(&o.MaxFamilies, 10_000)
	def(&o.MaxBuffered, 1<<18)
	def(&o.MaxTraces, 1<<16)
	def(&o.MaxTables, 4096)
	def(&o.MaxWrites, 4096)
	def(&o.MaxDeletes, 256)
	def(&o.MaxCases, 1<<14)
	def(&o.MaxReads, 64)
	if o.Grace <= 0 {
		o.Grace = time.Second
	}
	if o.Late <= 0 {
		o.Late = time.Second
	}
	return o
}

// Detector finds stale reads. It is not safe for concurrent use.
type Detector struct {
	opt     Options
	sharded bool
	wheel   wheel
	now     int64 // end of the event that is being judged
	from    int64 // of the first event and the last that were given
	to      int64
	free    []*aside

	young, old map[uint64]bool // events without seq

	names  names
	routes routes
	fams   families

	sources    map[event.Source]*source
	lastSrc    *source
	lastOf     *event.Source // where lastSrc was found; what is there may change between two batches
	sourceList []*source
	procs      map[string]*proc
	hosts      map[string]int // how often each was ahead of all others
	onTrial    bool           // one of them is

	inputs     index[sharedInputs]
	lastInputs *sharedInputs
	inputsOf   []input // of the request being taken
	traces     index[trace]
	oldest     traceList // the last used at its end
	hitters    traceList // of those whose requests have ended and that did nothing but hit, forgotten first
	fillers    traceList // the same, that filled as well
	lastTrace  *trace
	freeTraces []*trace
	idle       deeds // of all that did nothing but hit once
	freeDeeds  []*deeds
	ended      queue[endedTrace]
	txns       index[txn]
	txnRing    queue[uint64]
	lastTxn    *txn
	lastTxnOf  uint64 // hash of its name
	txnSerial  uint64
	jobs       map[uint64]*job
	jobRing    queue[uint64]

	texts, oldTexts map[textKey]*stmt
	textBytes       int
	lastText        textKey
	lastStmt        *stmt
	tables          map[string]*table
	writeSeq        uint64
	looseSeq        uint64   // number of the last write that may concern any slot
	slots           []uint64 // number of the last write, by slotOf
	aheads          queue[*ahead]
	xids            map[uint64]*txn
	xidRing         queue[uint64]

	stores    map[[2]string]*store
	lastStore *store
	tagCount  int
	keys      index[key]
	places    map[place]*place
	scratch   readScratch
	accused   []suspect // see accuse
	spare     *suspicion
	inner     []innerHit
	made      map[uint64]made // keys of other shards
	everSet   map[uint64]bool
	fields    map[uint64][]*key // of hashes, by the key of the whole; at most twice as many as there are keys
	missed    wholeFill
	clock     []*key
	untidy    queue[untidy]
	hand      int
	suspects  map[*key]bool
	waiting   map[*caller][]*key

	looks   map[lookKey]*lookalike
	groups  index[group]
	groupOf map[uint64][]*group

	stories []*story
	fresh   []*story
	sums    map[string]*sum

	marks          []Mark
	cov            Coverage
	reached        map[string]bool
	judged         int64
	seen           uint64 // see warm
	near           []*key
	fillsWithReads int64
	writesJoined   int64
	unsure         int64
	opened         int64 // of these, those after which the next value was not known
	excused        int64 // hits after writes that accuse held nothing against, for another may explain the refill
}

// New returns a Detector that has seen nothing.
func New(opt Options) *Detector {
	opt = opt.withDefaults()
	d := &Detector{
		opt: opt, sharded: opt.Shards > 1,
		sources: map[event.Source]*source{}, procs: map[string]*proc{},
		jobs: map[uint64]*job{}, texts: map[textKey]*stmt{}, tables: map[string]*table{}, xids: map[uint64]*txn{},
		stores: map[[2]string]*store{}, places: map[place]*place{}, everSet: map[uint64]bool{}, fields: map[uint64][]*key{}, suspects: map[*key]bool{},
		waiting: map[*caller][]*key{}, looks: map[lookKey]*lookalike{}, groupOf: map[uint64][]*group{},
		young: map[uint64]bool{}, sums: map[string]*sum{}, reached: map[string]bool{}, hosts: map[string]int{},
		made: map[uint64]made{},
	}
	d.fams.max, d.fams.opt = opt.MaxFamilies, &d.opt
	d.oldest.init()
	d.hitters.init()
	d.fillers.init()
	d.wheel.init(int64(opt.Late), d.warm)
	return d
}

// Add takes a batch of events in the order in which they arrived. The batch, and what it points to, is only read, and
// only during the call. The error is nil: no event is refused, what cannot be used is counted in Coverage.
func (d *Detector) Add(batch []event.Event) error {
	d.lastOf = nil
	for i := range batch {
		if i%warmEvents == 0 {
			d.warmBatch(batch[i:min(i+warmEvents, len(batch))])
		}
		d.take(&batch[i])
	}
	return nil
}

// Advance says that the clock of whoever feeds the Detector shows now (Unix nanoseconds), and that no event from before
// now-Options.Late is still to come. A live run calls it about once a second, so that the last events are judged too
// while nothing happens.
func (d *Detector) Advance(now int64) {
	if d.wheel.begun {
		d.wheel.takeBelow(min(d.wheel.slotOf(now)-wheelSlots, d.wheel.slotOf(d.wheel.high)+1), d.step)
	}
}

// Finish says that no more events come: those still held back for late ones are judged. More may follow all the same.
func (d *Detector) Finish() { d.wheel.flush(d.step) }

// step judges one event; all that ended before it were judged.
func (d *Detector) step(r *rec) {
	d.now = max(d.now, r.end)
	switch r.kind {
	case kGet:
		d.read(r)
	case kSet:
		d.stored(r)
	case kElsewhere:
		if r.hit == 1 {
			d.hitElsewhere(r)
			break
		}
		d.noteSet(r.x.delID)
		d.register(r.x.st, r.x.delFam, r.x.texts)
		d.setElsewhere(r)
	case kDelete:
		d.deleted(r)
	case kEvict, kExpire:
		d.expired(r)
	case kRead:
		d.asked(r)
	case kWrite, kOther:
		d.statementEnd(r)
	case kBegin, kCommit, kRollback:
		d.transaction(r)
	case kAhead:
		d.enter(r.x.ahead)
	case kRequest:
		d.request(r)
		d.dropReads()
	case kTask:
		d.task(r)
	case kStart, kFork, kExit:
		d.lifeCycle(r)
	case kChange:
		d.change(r)
	case kGap:
		d.gap(r)
	}
	d.unpin(r)
}

// asked remembers a statement that only reads: the next set of its trace may rest on it.
func (d *Detector) asked(r *rec) {
	t := d.context(r)
	if t := r.x.txn; t != nil && t.first == 0 {
		t.first, t.firstEnd = r.at, r.end
	}
	if r.failed {
		return
	}
	did := d.does(t)
	var again read // lists of a statement before it
	if n := len(did.reads); n < cap(did.reads) && n < maxReads {
		again = did.reads[:n+1][n]
	}
	q := read{at: r.at, end: r.end, stmt: r.x.stmt, txn: r.x.txn, result: r.x.result, role: r.x.role, rows: r.n, hasPKs: len(r.x.pks) > 0 && int64(len(r.x.pks)) >= r.n}
	q.params, q.names = append(again.params[:0], r.x.params...), append(again.names[:0], r.x.names...)
	q.pks = append(again.pks[:0], r.x.pks...)
	if len(did.reads) >= maxReads {
		did.reads = lastOf(did.reads, q, maxReads)
		if t.traced() {
			d.reach("statements of a trace")
		}
		return
	}
	did.reads = append(did.reads, q)
	did.used = max(did.used, int32(len(did.reads)))
}

// blame notes which writes a delete belongs to: for the lag of its families, and for who drops what.
func (d *Detector) blame(x *del) {
	if !x.tr.traced() {
		return
	}
	job := d.jobOf(x.tr)
	if job != "" && !x.failed {
		for _, f := range x.fams {
			f.find().job(job)
		}
	}
	for t, n := x.tr, 0; t != nil && n < 16; t, n = t.parent, n+1 {
		var last *write
		for _, w := range t.writes {
			d.pairUp(w, x)
			if w.end <= x.at && (last == nil || w.end > last.end) {
				last = w
			}
		}
		if last != nil && !x.failed {
			for _, f := range x.fams {
				if f := f.find(); f.tables[last.table.name] {
					f.lag.note(x.end-last.end, 1)
				}
			}
		}
	}
}

// pairUp notes that a delete belongs to a write.
func (d *Detector) pairUp(w *write, x *del) {
	if x.by == byTag && len(x.fams) == 0 && len(x.st.blind) < maxPerFamily {
		if x.st.blind == nil {
			x.st.blind = map[string]*drops{}
		}
		p := x.st.blind[w.table.name]
		if p == nil {
			p = &drops{}
			x.st.blind[w.table.name] = p
		}
		p.oneRow, p.many = p.oneRow || w.oneRow, p.many || !w.oneRow
	}
	for _, f := range x.fams {
		p := f.find().drop(w.table.name)
		if p == nil {
			continue
		}
		if w.oneRow {
			p.oneRow = true
		} else {
			p.many = true
		}
		by := d.routes.shown(x.tr.who.route)
		if by == "" {
			by = d.names.of(x.code)
		}
		if by != "" && (p.by == "" || by < p.by) {
			p.by, p.how = by, [...]string{"key", "tag", "pattern", "clear"}[x.by]
		}
	}
}

func (d *Detector) mark(e *event.Event) {
	if e.Mark == nil {
		return
	}
	m := Mark{Name: strings.Clone(cut(e.Mark.Name, maxText)), At: e.At, Text: strings.Clone(cut(e.Mark.Text, maxText))}
	if slices.Contains(d.marks, m) {
		return
	}
	i := len(d.marks)
	for i > 0 && d.marks[i-1].At > m.At {
		i--
	}
	d.marks = slices.Insert(d.marks, i, m)
	if len(d.marks) > maxMarks {
		d.marks = d.marks[1:]
	}
}

const maxMarks = 200

func (d *Detector) reach(bound string) { d.reached[bound] = true }
