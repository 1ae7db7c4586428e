package synth

import (
	"slices"
	"strconv"

	"github.com/demarc-dev/demarc/event"
)

// BatchSize is the greatest number of events that Next returns.
const BatchSize = 512

// Traffic is the traffic of a service, event by event in the order in which they ended, and its truth. It is not safe for
// concurrent use. Memory: some 24 bytes for each row and user of each route, 0.5 kB for each key of a route that is worth caching
// and was asked for, and 1.2 kB for each event in flight.
type Traffic struct {
	opt   TrafficOptions
	rng   rng
	queue queue
	batch []event.Event
	given []*slot

	processes []*process
	canary    *process // runs the next version
	who       []string // principal of each user; "-" for user 0
	agents    []event.Hash
	routes    []*route
	readers   []*route // drawn evenly
	pickKey   *zipf
	pickPage  *zipf

	next      int64  // number of the next ordinary request
	nextAt    int64  // when it starts
	ordinary  int64  // how many there are
	step      int64  // ns between them
	session   int64  // ns that a session lasts
	plots     []plot // planted stories by start
	told      int
	traces    uint64
	truth     Truth
	telling   map[tellKey]*Finding
	tellOrder []tellKey
	looks     []Looks
	harmless  []Harmless
	summary   summary
	traceHead []byte
}

// process is one process of the service.
type process struct {
	src event.Source
	seq uint64
}

// summary counts what was handed out.
type summary struct{ events, requests, writes, queries, cache, to int64 }

// NewTraffic prepares traffic. Its error is an *OptionError.
func NewTraffic(opt TrafficOptions) (*Traffic, error) {
	opt.Plant = slices.DeleteFunc(slices.Clone(opt.Plant), func(p Plant) bool { return p.N == 0 })
	opt.Lifetimes = slices.Clone(opt.Lifetimes)
	slices.Sort(opt.Lifetimes)
	opt.Lifetimes = slices.Compact(opt.Lifetimes)
	if err := opt.check(); err != nil {
		return nil, err
	}
	t := &Traffic{opt: opt, rng: newRNG(opt.Seed, 1), telling: map[tellKey]*Finding{}}
	for i := range opt.Processes {
		t.processes = append(t.processes, &process{src: t.source(4200+int64(i), "v1")})
	}
	t.canary = &process{src: t.source(4200+int64(opt.Processes), "v2")}
	for i := range opt.Users {
		name := "-"
		if i > 0 {
			name = hashOf(opt.Seed, 2, uint64(i)).String()
		}
		t.who = append(t.who, name)
	}
	for i := range 5 {
		t.agents = append(t.agents, hashOf(opt.Seed, 3, uint64(i)))
	}
	t.traceHead = []byte(hashOf(opt.Seed, 4).String()[:8] + ".")
	t.pickKey = newZipf(opt.Keys, opt.Skew)
	t.pickPage = newZipf(pages, opt.Skew)
	nouns := t.nouns()
	t.makeRoutes(nouns[:nounsOfRoutes])
	if err := t.plan(nouns[nounsOfRoutes:]); err != nil {
		return nil, err
	}
	t.nextAt = t.startOf(0)
	t.session = max(min(sessionNs, opt.span()/10), 1)
	t.begin()
	return t, nil
}

func (t *Traffic) source(pid int64, version string) event.Source {
	return event.Source{Service: t.opt.Service, Version: version, VersionFrom: "env", Host: "web-1", Pid: pid}
}

// begin tells that the processes have started, and which code they run.
func (t *Traffic) begin() {
	list := t.processes
	if slices.ContainsFunc(t.plots, func(p plot) bool { return p.tale.canary }) {
		list = append(slices.Clone(list), t.canary)
	}
	for _, p := range list {
		s := t.queue.take()
		s.e = event.Event{Type: event.TypeProcess, At: t.opt.Start, Dur: event.Some(int64(0)),
			Process: &event.Process{Op: "start", Ppid: 1, Runtime: "CPython 3.12.4", Program: "uvicorn"}}
		s.proc = p
		t.queue.put(s)
	}
}

// Next returns the next events, none at the end. They are valid until the next call.
func (t *Traffic) Next() []event.Event {
	t.queue.free = append(t.queue.free, t.given...)
	t.given, t.batch = t.given[:0], t.batch[:0]
	for len(t.batch) < BatchSize {
		start, more := t.nextStart()
		if h := t.queue.heap; len(h) > 0 && (!more || h[0].end <= start) {
			s := t.queue.pop()
			if s.proc != nil {
				s.proc.seq++
				s.e.Seq, s.e.Source = s.proc.seq, &s.proc.src
			}
			t.summary.count(&s.e)
			t.batch = append(t.batch, s.e)
			t.given = append(t.given, s)
			continue
		}
		if !more {
			break
		}
		t.generate(start)
	}
	return t.batch
}

func (s *summary) count(e *event.Event) {
	s.events++
	s.to = max(s.to, e.End())
	switch e.Type {
	case event.TypeRequest:
		s.requests++
	case event.TypeQuery:
		s.queries++
	case event.TypeCache:
		s.cache++
	}
}

// nextStart is when the next thing starts: a planted story, or an ordinary request. Of two at one time the story is first.
func (t *Traffic) nextStart() (at int64, more bool) {
	at, more = t.nextAt, t.next < t.ordinary
	if t.told < len(t.plots) && (!more || t.plots[t.told].at <= at) {
		return t.plots[t.told].at, true
	}
	return at, more
}

// startOf is when an ordinary request starts: anywhere in its own part of the time, so that starts ascend.
func (t *Traffic) startOf(n int64) int64 {
	return t.opt.Start + n*t.step + int64(scramble(t.opt.Seed^uint64(n)*0x9e3779b97f4a7c15)>>33)%t.step
}

func (t *Traffic) generate(at int64) {
	if t.told < len(t.plots) && t.plots[t.told].at <= at {
		p := &t.plots[t.told]
		t.told++
		t.tell(p)
		return
	}
	t.next++
	t.nextAt = t.startOf(t.next)
	t.ordinaryRequest(at)
}

// trace is the id of the next request.
func (t *Traffic) trace() string {
	t.traces++
	var b [40]byte
	return string(strconv.AppendUint(append(b[:0], t.traceHead...), t.traces, 36))
}

// Progress says how many of how many requests have begun.
func (t *Traffic) Progress() (done, of int64) { return t.next, t.ordinary }
