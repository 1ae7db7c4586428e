package compare

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/join"
)

// SampleOptions say which requests are taken, and the limits; a zero field takes the default in its comment.
type SampleOptions struct {
	// From and To bound the start of a request, Unix nanoseconds: From is included, To is not; zero is no bound.
	From, To int64

	MaxRequests int // requests kept, of all routes together: 1,048,576, and no more
	MaxRoutes   int // routes and jobs kept apart, the rest is "(other routes)": 500
	MaxTraces   int // traces waiting to be joined: 32,768
	MaxItems    int // queries and cache events waiting in them: 262,144
}

// maxRequests is the greatest SampleOptions.MaxRequests.
const maxRequests = 1 << 20

func (o SampleOptions) withDefaults() SampleOptions {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&o.MaxRequests, maxRequests)
	o.MaxRequests = min(o.MaxRequests, maxRequests)
	def(&o.MaxRoutes, 500)
	def(&o.MaxTraces, 32768)
	def(&o.MaxItems, 262144)
	return o
}

// OtherRoutes and NoRoute are the names that the baseline uses too.
const (
	OtherRoutes = "(other routes)"
	NoRoute     = "(no route)"
)

// Samples holds one side of a comparison: what each request took, by route. It is not safe for concurrent use.
//
// Memory: 40 bytes a kept request and what waits to be joined, with the default limits at most 42 MB and 25 MB. Where there
// are more requests than MaxRequests, the route with most of them keeps half of its requests, chosen by the hash of their
// trace, as often as it takes: small routes stay whole, and what is kept is an even sample over time.
type Samples struct {
	opt    SampleOptions
	join   joiner
	routes map[routeKey]*routeSamples
	recent [64]*routeSamples // by the hash of their template
	kept   int

	first, end int64 // of the requests: start of the first, end of the last
	requests   int64
	events     int64
	services   map[string]bool // "name version"
	processes  map[event.Source]*recorderState
	stale      map[string]int64
	staleKnown bool
	leaks      map[string]map[string]int64
	seen       struct{ queries, cache bool }
}

// Names and processes that are told apart; more would not be read.
const (
	maxServices  = 20
	maxProcesses = 1024
	maxHooks     = 128
)

type routeKey struct {
	job           bool
	method, route string
}

func (k routeKey) String() string {
	if k.job {
		return k.route
	}
	return k.method + " " + k.route
}

// routeSamples are the kept requests of one route, in chunks so that they never move.
type routeSamples struct {
	key    routeKey
	seen   int64 // requests, kept or not
	shift  uint  // one in 2^shift is kept
	n      int
	chunks [][]sample
}

const chunkSize = 1024

// sample is one request.
type sample struct {
	at, dur int64  // ns; dur is -1 where it is not known
	id      uint32 // decides whether it is kept
	key     uint32 // hash of its target
	queries uint32
	hits    uint16
	misses  uint16
	bytes   uint32 // noBytes where they are not known
	failed  bool
}

const noBytes = ^uint32(0)

func (r *routeSamples) keeps(s *sample) bool { return s.id>>(32-r.shift) == 0 }

func (r *routeSamples) add(s *sample) bool {
	r.seen++
	if !r.keeps(s) {
		return false
	}
	last := len(r.chunks) - 1
	if last < 0 || len(r.chunks[last]) == cap(r.chunks[last]) {
		size := chunkSize
		if last < 0 {
			size = 64
		}
		r.chunks = append(r.chunks, make([]sample, 0, size))
		last++
	}
	r.chunks[last] = append(r.chunks[last], *s)
	r.n++
	return true
}

// halve keeps every second request.
func (r *routeSamples) halve() {
	r.shift++
	old := r.chunks
	r.chunks, r.n = nil, 0
	seen := r.seen
	for i, chunk := range old {
		for j := range chunk {
			r.add(&chunk[j])
		}
		old[i] = nil
	}
	r.seen = seen
}

func (r *routeSamples) each(f func(*sample)) {
	for _, chunk := range r.chunks {
		for i := range chunk {
			f(&chunk[i])
		}
	}
}

// recorderState is what a recorder said of itself, newest first; before is the same ahead of From.
type recorderState struct {
	at, beforeAt           int64
	dropped, beforeDropped int64
	sampled, beforeSampled int64
	rate                   event.Opt[float64]
	hooks                  map[string]string
}

// Needs are the fields of events that Add looks at, by type; event.Other stands for those that every event has. A reader may
// leave out all others.
func Needs() map[event.Type][]string {
	return map[event.Type][]string{
		event.Other:        {"at", "dur", "trace", "span", "parent", "source", "seq"},
		event.TypeRequest:  {"kind", "method", "route", "target", "status", "error", "body_bytes"},
		event.TypeCache:    {"op", "hit", "count"},
		event.TypeRecorder: {"dropped", "sampled", "rate", "hooks"},
	}
}

// New returns an empty side.
func New(opt SampleOptions) *Samples {
	s := &Samples{
		opt: opt.withDefaults(), routes: map[routeKey]*routeSamples{}, services: map[string]bool{},
		processes: map[event.Source]*recorderState{},
	}
	s.join.init(s)
	return s
}

// Add takes events in the order of the capture. It keeps neither the batch nor what its events point to. The error is
// always nil; it is there so that Add fits where events are handed out.
func (s *Samples) Add(batch []event.Event) error {
	for i := range batch {
		s.add(&batch[i])
	}
	s.join.forget()
	return nil
}

// AddStale sets the number of stale reads by route ("GET /articles/{slug}") that the staleness analysis of the same events
// found; a route that is not named had none.
func (s *Samples) AddStale(byRoute map[string]int64) {
	s.stale, s.staleKnown = maps.Clone(byRoute), true
}

// AddLeaks sets the number of leaked reads, which are none of the stale ones, by route and key family.
func (s *Samples) AddLeaks(byRoute map[string]map[string]int64) { s.leaks = maps.Clone(byRoute) }

func (s *Samples) add(e *event.Event) {
	s.events++
	switch e.Type {
	case event.TypeRequest:
		if e.Request != nil {
			s.join.request(e)
		}
	case event.TypeQuery:
		if e.Query != nil {
			s.seen.queries = true
			s.join.item(e, itemQuery, 1)
		}
	case event.TypeCache:
		if c := e.Cache; c != nil {
			s.seen.cache = true
			kind := itemSpan
			if c.Op == "get" && c.Hit.Known {
				kind = itemMiss
				if c.Hit.V {
					kind = itemHit
				}
			}
			if kind != itemSpan || e.Span != "" {
				s.join.item(e, kind, max(c.Count.Or(1), 1))
			}
		}
	case event.TypeTxn, event.TypeCall:
		if e.Span != "" {
			s.join.item(e, itemSpan, 0)
		}
	case event.TypeRecorder:
		if e.Recorder != nil {
			s.recorder(e)
		}
	}
}

// inside tells whether a request that began then belongs to this side.
func (s *Samples) inside(at int64) bool {
	return at >= s.opt.From && (s.opt.To == 0 || at < s.opt.To)
}

// take keeps one request with what was joined to it.
func (s *Samples) take(r *routeSamples, x *sample) {
	s.requests++
	if r.add(x) {
		s.kept++
	}
	for s.kept > s.opt.MaxRequests {
		most := r
		for _, o := range s.routes { // of equals, the first by name: the order of a map must not show
			if o.n > most.n || o.n == most.n && o.key.String() < most.key.String() {
				most = o
			}
		}
		if most.shift == 32 {
			break
		}
		s.kept -= most.n
		most.halve()
		s.kept += most.n
	}
}

func (s *Samples) route(key routeKey) *routeSamples {
	recent := &s.recent[join.ID(key.route)%uint64(len(s.recent))]
	if r := *recent; r != nil && r.key == key {
		return r
	}
	if r := s.routes[key]; r != nil {
		*recent = r
		return r
	}
	if len(s.routes) >= s.opt.MaxRoutes {
		key = routeKey{job: key.job, method: "*", route: OtherRoutes}
		if key.job {
			key.method = ""
		}
		if r := s.routes[key]; r != nil {
			return r
		}
	}
	key.method, key.route = strings.Clone(key.method), strings.Clone(key.route)
	r := &routeSamples{key: key}
	s.routes[key] = r
	return r
}

func keyOf(r *event.Request) routeKey {
	k := routeKey{job: r.Kind == "job", method: r.Method, route: r.Route}
	if k.job {
		k.method = ""
	} else if k.method == "" {
		k.method = "?"
	}
	if k.route == "" {
		k.route = NoRoute
	}
	return k
}

func (s *Samples) recorder(e *event.Event) {
	var src event.Source
	if e.Source != nil {
		src = *e.Source
	}
	p := s.processes[src]
	if p == nil {
		if len(s.processes) >= maxProcesses {
			return
		}
		p = &recorderState{}
		s.processes[src] = p
	}
	r := e.Recorder
	switch {
	case s.opt.To != 0 && e.At >= s.opt.To:
	case e.At < s.opt.From:
		if e.At >= p.beforeAt {
			p.beforeAt, p.beforeDropped, p.beforeSampled = e.At, r.Dropped.Or(0), r.Sampled.Or(0)
		}
	case e.At >= p.at:
		p.at, p.dropped, p.sampled = e.At, r.Dropped.Or(p.dropped), r.Sampled.Or(p.sampled)
		if len(r.Hooks) > 0 {
			p.hooks = make(map[string]string, len(r.Hooks))
			for _, h := range r.Hooks[:min(len(r.Hooks), maxHooks)] {
				p.hooks[h.Name] = h.Value
			}
		}
	}
	if r.Rate.Known && s.inside(e.At) && (!p.rate.Known || r.Rate.V < p.rate.V) {
		p.rate = r.Rate
	}
}

// service notes who answered.
func (s *Samples) service(src *event.Source) {
	if src == nil || src.Service == "" && src.Version == "" {
		return
	}
	name := strings.TrimSpace(src.Service + " " + src.Version)
	if !s.services[name] && len(s.services) < maxServices {
		s.services[strings.Clone(name)] = true
	}
}

// dropped and sampled are how many events the recorders dropped or left out; rate is the least share of keys they kept.
func (s *Samples) recorders() (dropped, sampled int64, rate float64, hooks map[string]string) {
	rate, hooks = 1, map[string]string{}
	for _, p := range s.processes {
		if p.at != 0 {
			dropped += max(p.dropped-p.beforeDropped, 0)
			sampled += max(p.sampled-p.beforeSampled, 0)
		}
		if p.rate.Known {
			rate = min(rate, p.rate.V)
		}
		for name, state := range p.hooks { // on in one process is on; failed in one counts against it
			if state == "failed" || state == "on" && hooks[name] != "failed" {
				hooks[name] = state
			}
		}
	}
	return dropped, sampled, rate, hooks
}

// sorted are the routes with requests, by name, jobs last.
func (s *Samples) sorted() []*routeSamples {
	return slices.SortedFunc(maps.Values(s.routes), func(a, b *routeSamples) int {
		if a.key.job != b.key.job {
			if a.key.job {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.key.String(), b.key.String())
	})
}
