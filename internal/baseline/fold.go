// Package baseline folds events into the first answer that demarc gives: what each route does now. Response time, error
// rate, database calls, cache status, and how much of the traffic that answer rests on.
//
// The fold is pure: no clock, no I/O, no goroutine. Time is what the events say. The same events give the same report
// whatever their order inside the join bounds (Options.JoinAge, Options.OpenAge) and however they are split by trace into
// folds that are merged, as long as none of the limits on distinct names is reached; a report says which were.
//
// Memory is bounded by Options: with the defaults and every limit reached at once a fold holds about 60 MB, and a report
// takes as much again while it is made; a service with fifty routes needs a few MB.
package baseline

import (
	"strings"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/join"
)

// Options are the limits and thresholds of a fold; a zero field takes the default in its comment. Folds that are merged
// must have equal options.
type Options struct {
	// Fingerprint returns the normalised form of an SQL text of a database (event.Query.DB). It must be pure; the fold
	// remembers its answers for MaxTexts texts. Where it is nil, texts that differ only in white space are one.
	Fingerprint func(db, text string) string

	// Since leaves out events that began earlier (Unix nanoseconds); zero keeps all. SinceName is the mark it came from.
	Since     int64
	SinceName string

	MaxRoutes          int // routes and jobs kept apart, the rest is "(other routes)": 500
	MaxStatements      int // statements kept apart in one route, the rest is "(other statements)": 64
	MaxStatementsTotal int // statements kept apart in all routes together: 8,192
	MaxErrors          int // error types kept apart in one route: 32
	MaxNames           int // distinct fingerprints, code lines, stores (each): 8,192
	MaxTexts           int // SQL texts whose fingerprint is remembered: 8,192
	MaxProcesses       int // processes kept apart: 1,024
	MaxMarks           int // marks listed, the last ones: 200
	MaxTraces          int // traces waiting to be joined: 32,768
	MaxItems           int // queries and cache events waiting in them: 262,144
	MaxFills           int // cache fills kept to find stampedes, by sampled key: 32,768

	// JoinAge is how long, in event time, a trace is kept after its last event once its request has been seen: 15 s.
	// OpenAge is the same for a trace whose request has not been seen yet, a slow request's queries: 5 min.
	JoinAge int64
	OpenAge int64

	// NPlusOne is how often one statement must run in a request, and NPlusOneShare in what share of the route's
	// requests, to be pointed out: 5 times in 5 %.
	NPlusOne      int
	NPlusOneShare float64

	SlowQueries int // statements listed for a route: 5
}

func (o Options) withDefaults() Options {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&o.MaxRoutes, 500)
	def(&o.MaxStatements, 64)
	def(&o.MaxStatementsTotal, 8192)
	def(&o.MaxErrors, 32)
	def(&o.MaxNames, 8192)
	def(&o.MaxTexts, 8192)
	def(&o.MaxProcesses, 1024)
	def(&o.MaxMarks, 200)
	def(&o.MaxTraces, 32768)
	def(&o.MaxItems, 262144)
	def(&o.MaxFills, 32768)
	def(&o.NPlusOne, 5)
	def(&o.SlowQueries, 5)
	if o.JoinAge <= 0 {
		o.JoinAge = 15e9
	}
	if o.OpenAge <= 0 {
		o.OpenAge = 300e9
	}
	if o.NPlusOneShare <= 0 {
		o.NPlusOneShare = 0.05
	}
	if o.Fingerprint == nil {
		o.Fingerprint = func(_, text string) string { return strings.Join(strings.Fields(text), " ") }
	}
	return o
}

// Names for what a limit put together.
const (
	OtherRoutes     = "(other routes)"
	OtherStatements = "(other statements)"
	OtherErrors     = "(other errors)"
	NoRoute         = "(no route)"
)

// Fold gathers events. It is not safe for concurrent use. The zero Fold is not usable, see New.
type Fold struct {
	opt Options

	counts  [16]int64 // events by type, Other at 0
	total   int64
	skipped int64 // before Since
	first   int64 // start of the first request, end of the last
	last    int64

	names *tables
	texts map[sqlText]recentText // with the fingerprint's id, emptied when full

	recentTexts, recentCodes recent

	routeIDs map[routeKey]uint32
	routes   []*route
	room     room // for statements

	processes []*process
	procIDs   map[event.Source]uint32
	lastSrc   *event.Source
	lastID    uint32

	marks []Mark

	queries, queryErrors int64
	cacheEvents          int64
	joinedQueries        int64
	joinedCache          int64
	noTrace              int64 // queries without a trace
	cut                  int64 // joinable events not kept because one trace held MaxItems of them
	evicted              int64 // traces closed early because of MaxTraces or MaxItems
	stores               map[uint32]*cacheSum

	fills fillSet
	live  liveTraces

	touched []*statement // scratch of apply
	params  []uint64
	epoch   uint64
}

type sqlText struct{ db, text string }

// tables are the interned names that items and aggregates refer to by number.
type tables struct {
	fingerprints, codes, stores table
}

// New returns an empty fold.
func New(opt Options) *Fold {
	opt = opt.withDefaults()
	f := &Fold{
		opt: opt,
		names: &tables{
			fingerprints: newTable(opt.MaxNames, OtherStatements),
			codes:        newTable(opt.MaxNames, ""),
			stores:       newTable(opt.MaxNames, "\x00(other stores)"),
		},
		texts:    map[sqlText]recentText{},
		routeIDs: map[routeKey]uint32{},
		procIDs:  map[event.Source]uint32{},
		stores:   map[uint32]*cacheSum{},
	}
	f.fills.max = opt.MaxFills
	f.room = room{opt.MaxStatements, opt.MaxStatementsTotal}
	f.live.Limits = join.Limits{JoinAge: opt.JoinAge, OpenAge: opt.OpenAge, MaxItems: opt.MaxItems, MaxTraces: opt.MaxTraces}
	return f
}

// Add takes one event. It keeps neither the event nor any slice of it.
func (f *Fold) Add(e *event.Event) {
	if e.Type == event.TypeMark && e.Mark != nil {
		f.addMark(Mark{Name: strings.Clone(e.Mark.Name), At: stamp(e.At), Text: strings.Clone(e.Mark.Text), ns: e.At})
	}
	if e.At < f.opt.Since {
		f.skipped++
		if e.Type == event.TypeRecorder && e.Recorder != nil {
			f.processes[f.process(e.Source)].before(e)
		}
		return
	}
	if int(e.Type) < len(f.counts) {
		f.counts[e.Type]++
	}
	f.total++
	src := f.process(e.Source)
	p := f.processes[src]
	p.events++
	if p.firstAt == 0 || e.At < p.firstAt {
		p.firstAt = e.At
	}

	switch e.Type {
	case event.TypeRequest:
		if e.Request != nil {
			f.request(e, src)
		}
	case event.TypeQuery:
		if e.Query != nil {
			f.query(e, src)
		}
	case event.TypeTxn:
		if e.Txn != nil && e.Trace != "" {
			f.keep(e, src, item{kind: itemTxn})
		}
	case event.TypeCache:
		if e.Cache != nil {
			f.cache(e, src)
		}
	case event.TypeCall:
		// A call counts nothing here, but it may stand between a query and its request in a trace of several requests.
		if e.Trace != "" && e.Span != "" {
			f.keep(e, src, item{kind: itemSpan})
		}
	case event.TypeProcess:
		if e.Process != nil && e.Process.Runtime != "" && p.runtime == "" {
			p.runtime = strings.Clone(e.Process.Runtime)
		}
	case event.TypeRecorder:
		if e.Recorder != nil {
			p.recorder(e)
		}
	}
}

func (f *Fold) request(e *event.Event, src uint32) {
	r := e.Request
	if f.first == 0 || e.At < f.first {
		f.first = e.At
	}
	f.last = max(f.last, e.End())
	id := f.route(r)
	f.routes[id].add(e, f.opt.MaxErrors)
	if e.Trace == "" {
		return
	}
	t := f.live.Trace(join.ID(e.Trace))
	if len(t.Requests) < join.MaxRequests {
		_, timed := duration(e)
		t.Requests = append(t.Requests, reqRef{route: id, src: src, span: join.ID(e.Span), at: e.At, end: e.End(), timed: timed})
	}
	f.live.Touch(t, f.live.Advance(e.End()))
	f.expire()
}

func (f *Fold) query(e *event.Event, src uint32) {
	q := e.Query
	f.queries++
	if q.Error != "" {
		f.queryErrors++
	}
	if e.Trace == "" {
		f.noTrace++
		return
	}
	fp := f.fingerprint(q)
	var params uint64
	for _, p := range q.Params {
		params = join.Mix(params^uint64(p), 0x9e3779b97f4a7c15)
	}
	f.keep(e, src, item{kind: itemQuery, name: fp, code: f.code(q.Code), aux: params, failed: q.Error != ""})
}

// fingerprint returns the number of a statement's fingerprint.
func (f *Fold) fingerprint(q *event.Query) uint32 {
	r := f.recentTexts.slot(q.Text)
	if r.text == q.Text && r.db == q.DB && q.Text != "" {
		return r.id
	}
	known, ok := f.texts[sqlText{q.DB, q.Text}]
	if !ok {
		known = recentText{strings.Clone(q.DB), strings.Clone(q.Text), f.names.fingerprints.id(f.opt.Fingerprint(q.DB, q.Text))}
		if len(f.texts) >= f.opt.MaxTexts {
			clear(f.texts)
			clear(f.recentTexts[:])
		}
		f.texts[sqlText{known.db, known.text}] = known
	}
	*r = known
	return known.id
}

// code returns the number of a code line, 0 for one too many.
func (f *Fold) code(line string) uint32 {
	r := f.recentCodes.slot(line)
	if r.text == line && line != "" {
		return r.id
	}
	id := f.names.codes.id(line)
	if id != 0 {
		*r = recentText{text: f.names.codes.list[id], id: id}
	}
	return id
}

func (f *Fold) cache(e *event.Event, src uint32) {
	c := e.Cache
	f.cacheEvents++
	n := max(c.Count.Or(1), 1)
	it := item{name: f.names.store(c.Layer, c.Store), n: n, failed: c.Error != ""}
	switch c.Op {
	case "get":
		switch {
		case !c.Hit.Known:
			it.kind = itemUnknown
		case c.Hit.V:
			it.kind = itemHit
		default:
			it.kind = itemMiss
		}
	case "set":
		it.kind = itemSet
	case "delete", "clear", "delete-tag":
		it.kind = itemDelete
	default:
		it.kind = itemCacheOther
	}
	sum := f.stores[it.name]
	if sum == nil {
		sum = &cacheSum{}
		f.stores[it.name] = sum
	}
	sum.add(&it)
	if e.Trace == "" {
		return
	}
	if c.Key != "" && (it.kind == itemMiss || it.kind == itemSet) {
		it.aux = join.Mix(join.ID(c.Key), uint64(it.name)+1)
		if c.Layer == "local" { // each process fills its own
			it.aux = join.Mix(it.aux, join.ID(f.processes[src].Host)^uint64(f.processes[src].Pid))
		}
		it.start = c.FillStart
	}
	f.keep(e, src, it)
}

// keep holds what a request's figures need until the trace is closed.
func (f *Fold) keep(e *event.Event, src uint32, it item) {
	t := f.live.Trace(join.ID(e.Trace))
	if len(t.Items) >= f.opt.MaxItems/4 {
		f.cut++
		return
	}
	it.at, it.src = e.At, src
	it.end = it.at
	if d, ok := duration(e); ok {
		it.end += d
		it.timed = true
	}
	it.span, it.parent = join.ID(e.Span), join.ID(e.Parent)
	f.live.Add(t, it)
	f.live.Touch(t, f.live.Advance(e.End()))
	f.expire()
}

// expire closes the traces that are too old or too many.
func (f *Fold) expire() {
	for t, early := f.live.Due(); t != nil; t, early = f.live.Due() {
		if early {
			f.evicted++
		}
		f.close(t)
	}
}

func (f *Fold) close(t *trace) {
	f.apply(t)
	f.live.Remove(t)
}

func (f *Fold) addMark(m Mark) {
	i := len(f.marks)
	for i > 0 && (f.marks[i-1].ns > m.ns || f.marks[i-1].ns == m.ns && f.marks[i-1].Name > m.Name) {
		i--
	}
	f.marks = append(f.marks, Mark{})
	copy(f.marks[i+1:], f.marks[i:])
	f.marks[i] = m
	if len(f.marks) > f.opt.MaxMarks {
		f.marks = append(f.marks[:0], f.marks[1:]...)
	}
}

// duration returns an event's duration where it is known and possible.
func duration(e *event.Event) (int64, bool) {
	if !e.Dur.Known || e.Dur.V < 0 || e.At+e.Dur.V < e.At {
		return 0, false
	}
	return e.Dur.V, true
}
