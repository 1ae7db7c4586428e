package baseline

import (
	"cmp"
	"maps"
	"slices"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/join"
)

// translation maps another fold's numbers to this one's.
type translation struct{ fingerprints, codes, stores, routes, processes []uint32 }

func translate(to, from *table) []uint32 {
	ids := make([]uint32, len(from.list))
	for i, s := range from.list[1:] {
		ids[i+1] = to.id(s)
	}
	return ids
}

// Merge adds what another fold has gathered. The other fold stays as it is and shares nothing with this one. Traces of
// which both hold a part are joined.
func (f *Fold) Merge(o *Fold) {
	names := &translation{
		fingerprints: translate(&f.names.fingerprints, &o.names.fingerprints),
		codes:        translate(&f.names.codes, &o.names.codes),
		stores:       translate(&f.names.stores, &o.names.stores),
	}
	for i, n := range o.counts {
		f.counts[i] += n
	}
	f.total += o.total
	f.skipped += o.skipped
	if o.first != 0 && (f.first == 0 || o.first < f.first) {
		f.first = o.first
	}
	f.last = max(f.last, o.last)
	for _, r := range o.routes {
		id := f.routeID(r.key)
		names.routes = append(names.routes, id)
		f.routes[id].merge(r, f.opt.MaxErrors, &f.room, names)
	}
	for _, p := range o.processes {
		src := p.Source
		id := f.process(&src)
		names.processes = append(names.processes, id)
		f.processes[id].merge(p)
	}
	for _, m := range o.marks {
		f.addMark(m)
	}
	f.queries += o.queries
	f.queryErrors += o.queryErrors
	f.cacheEvents += o.cacheEvents
	f.joinedQueries += o.joinedQueries
	f.joinedCache += o.joinedCache
	f.noTrace += o.noTrace
	f.cut += o.cut
	f.evicted += o.evicted
	for id, c := range o.stores {
		to := names.stores[id]
		if f.stores[to] == nil {
			f.stores[to] = &cacheSum{}
		}
		f.stores[to].merge(c)
	}
	// Keys dropped by the other fold must be dropped here too, or some keys would be kept with half of their fills.
	if o.fills.shift > f.fills.shift {
		f.fills.shift = o.fills.shift
		f.fills.list = slices.DeleteFunc(f.fills.list, func(x fill) bool { return !f.fills.keeps(x.key) })
	}
	for _, x := range o.fills.list {
		x.route = names.routes[x.route]
		f.fills.add(x)
	}
	for t := range o.live.All() {
		f.mergeTrace(t, names)
	}
	f.live.Advance(o.live.Clock)
	f.expire()
}

func (f *Fold) mergeTrace(t *trace, names *translation) {
	to := f.live.Trace(t.ID)
	for _, it := range t.Items {
		switch it.kind {
		case itemQuery:
			it.name, it.code = names.fingerprints[it.name], names.codes[it.code]
		case itemTxn, itemSpan:
		default:
			it.name = names.stores[it.name]
		}
		it.src = names.processes[it.src]
		f.live.Add(to, it)
	}
	for _, r := range t.Requests {
		r.route, r.src = names.routes[r.route], names.processes[r.src]
		if len(to.Requests) < join.MaxRequests {
			to.Requests = append(to.Requests, r)
		}
	}
	f.live.Touch(to, max(to.Seen, t.Seen))
}

// settled returns a copy of the fold's sums in which every live trace has been applied, so that a report can be had
// while events still come. It shares the names with f and must only be read.
func (f *Fold) settled() *Fold {
	v := &Fold{}
	*v = *f
	v.live = liveTraces{}
	v.touched, v.params, v.epoch = nil, nil, 0
	v.fills.list = slices.Clone(f.fills.list)
	same := &translation{
		fingerprints: identity(len(f.names.fingerprints.list)), codes: identity(len(f.names.codes.list)),
		stores: identity(len(f.names.stores.list)),
	}
	v.room = room{f.opt.MaxStatements, f.opt.MaxStatementsTotal}
	v.routes = make([]*route, len(f.routes))
	for i, r := range f.routes {
		v.routes[i] = newRoute(r.key)
		v.routes[i].merge(r, f.opt.MaxErrors, &v.room, same)
	}
	for t := range f.live.All() {
		v.apply(&trace{ID: t.ID, Items: slices.Clone(t.Items), Requests: slices.Clone(t.Requests)})
	}
	return v
}

func identity(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(i)
	}
	return ids
}

// process is what is known of one process of the service.
type process struct {
	event.Source
	runtime string
	events  int64
	firstAt int64 // of the first of them

	lastAt                         int64 // of the newest recorder event
	seen                           bool
	dropped, sampled, costNs       int64 // cumulative
	baseAt                         int64 // the newest recorder event before Since
	baseDropped, baseSampled, base int64
	rate                           event.Opt[float64]
	minRate                        event.Opt[float64]
	recording                      event.Opt[bool]
	hooks                          map[string]string
	failures                       map[string]int64
}

// A recorder has some thirty hooks; more names than this are not kept.
const maxHooks = 128

func (f *Fold) process(s *event.Source) uint32 {
	if s != nil && s == f.lastSrc {
		return f.lastID
	}
	var src event.Source
	if s != nil {
		src = *s
	}
	id, ok := f.procIDs[src]
	if !ok {
		if len(f.processes) >= f.opt.MaxProcesses {
			src = event.Source{Service: "(other processes)"}
			if id, ok = f.procIDs[src]; ok {
				return id
			}
		}
		id = uint32(len(f.processes))
		f.processes = append(f.processes, &process{Source: src})
		f.procIDs[src] = id
	}
	f.lastSrc, f.lastID = s, id
	return id
}

// recorder takes a recorder's own figures. They count from the start of its process, so the newest ones hold.
func (p *process) recorder(e *event.Event) {
	r := e.Recorder
	if r.Rate.Known && (!p.minRate.Known || r.Rate.V < p.minRate.V) {
		p.minRate = r.Rate
	}
	if p.seen && e.At < p.lastAt {
		return
	}
	p.seen, p.lastAt = true, e.At
	p.dropped, p.sampled, p.costNs = r.Dropped.Or(p.dropped), r.Sampled.Or(p.sampled), r.CostNs.Or(p.costNs)
	if r.Rate.Known {
		p.rate = r.Rate
	}
	if r.Recording.Known {
		p.recording = r.Recording
	}
	if len(r.Hooks) > 0 {
		p.hooks = make(map[string]string, len(r.Hooks))
		for _, h := range r.Hooks[:min(len(r.Hooks), maxHooks)] {
			p.hooks[h.Name] = h.Value
		}
	}
	if len(r.Failures) > 0 {
		p.failures = make(map[string]int64, len(r.Failures))
		for _, c := range r.Failures[:min(len(r.Failures), maxHooks)] {
			p.failures[c.Name] = c.N
		}
	}
}

func (p *process) before(e *event.Event) {
	if e.At >= p.baseAt {
		r := e.Recorder
		p.baseAt, p.baseDropped, p.baseSampled, p.base = e.At, r.Dropped.Or(0), r.Sampled.Or(0), r.CostNs.Or(0)
	}
}

func (p *process) merge(o *process) {
	p.events += o.events
	if p.firstAt == 0 || o.firstAt != 0 && o.firstAt < p.firstAt {
		p.firstAt = o.firstAt
	}
	p.runtime = cmp.Or(p.runtime, o.runtime)
	if o.minRate.Known && (!p.minRate.Known || o.minRate.V < p.minRate.V) {
		p.minRate = o.minRate
	}
	if o.baseAt > p.baseAt {
		p.baseAt, p.baseDropped, p.baseSampled, p.base = o.baseAt, o.baseDropped, o.baseSampled, o.base
	}
	if !o.seen || p.seen && o.lastAt < p.lastAt {
		return
	}
	p.seen, p.lastAt, p.dropped, p.sampled, p.costNs = true, o.lastAt, o.dropped, o.sampled, o.costNs
	p.rate, p.recording = o.rate, o.recording
	p.hooks, p.failures = maps.Clone(o.hooks), maps.Clone(o.failures)
}
