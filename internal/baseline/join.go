package baseline

import (
	"cmp"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/join"
)

// Kinds of items.
const (
	itemQuery = iota
	itemTxn
	itemHit
	itemMiss
	itemUnknown // a get whose outcome is not known
	itemSet
	itemDelete
	itemCacheOther
	itemSpan // only a link between a span and its parent
)

// item is what a request's figures need of one event of its trace.
type item struct {
	at, end      int64
	start        int64 // fill_start of a set
	span, parent uint64
	aux          uint64 // a query's parameters, a cache event's key
	n            int64  // cache: how many operations
	name, code   uint32 // fingerprint or store; code line
	src          uint32
	kind         uint8
	timed        bool
	failed       bool
}

// reqRef is a request of a trace.
type reqRef struct {
	at, end int64
	span    uint64
	route   uint32
	src     uint32
	timed   bool
}

func (r *reqRef) place() join.Place {
	return join.Place{At: r.at, End: r.end, Span: r.span, Source: r.src}
}

type (
	trace      = join.Trace[item, reqRef, struct{}]
	liveTraces = join.Live[item, reqRef, struct{}]
)

// apply adds a trace's items to the routes of its requests. Items of a trace without a request stay uncounted there.
func (f *Fold) apply(t *trace) {
	if len(t.Requests) == 0 {
		return
	}
	for i := 1; i < len(t.Items); i++ { // mostly in order: the items are large to pass around
		if a, b := &t.Items[i-1], &t.Items[i]; a.at > b.at || a.at == b.at && byStart(*a, *b) > 0 {
			slices.SortFunc(t.Items, byStart)
			break
		}
	}
	if len(t.Requests) == 1 {
		f.applyTo(t.ID, &t.Requests[0], t.Items)
		return
	}
	slices.SortFunc(t.Requests, func(a, b reqRef) int { return a.place().Compare(b.place()) })
	places := make([]join.Place, len(t.Requests))
	for i := range places {
		places[i] = t.Requests[i].place()
	}
	parts := make([][]item, len(t.Requests))
	owners := join.Owners(places, len(t.Items), func(i int) join.Link {
		it := &t.Items[i]
		return join.Link{At: it.at, Span: it.span, Parent: it.parent, Source: it.src}
	})
	for i, owner := range owners {
		parts[owner] = append(parts[owner], t.Items[i])
	}
	for i := range t.Requests {
		f.applyTo(t.ID, &t.Requests[i], parts[i])
	}
}

func byStart(a, b item) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.end, b.end), cmp.Compare(a.span, b.span), cmp.Compare(a.aux, b.aux))
}

// applyTo adds one request's items, sorted by start, to its route.
func (f *Fold) applyTo(trace uint64, req *reqRef, items []item) {
	r := f.routes[req.route]
	f.epoch++
	f.touched = f.touched[:0]
	busyUntil := req.at
	for i := range items {
		it := &items[i]
		switch it.kind {
		case itemSpan:
			continue
		case itemQuery:
			f.joinedQueries++
			r.queries++
			s := r.statement(it.name, &f.room)
			if s.epoch != f.epoch {
				s.epoch, s.inRequest = f.epoch, 0
				s.nested = savepoint(f.names.fingerprints.list[it.name])
				f.touched = append(f.touched, s)
			} else if it.name != 0 && !s.other {
				r.duplicates++
			}
			s.inRequest++
			s.add(it)
		case itemTxn:
		default:
			f.joinedCache++
			r.store(it.name).add(it)
			if it.kind == itemSet && it.aux != 0 {
				if start := fillStart(items[:i], it); start != 0 {
					f.fills.add(fill{key: it.aux, start: start, end: it.end, trace: trace, route: req.route})
				}
			}
			continue
		}
		if it.timed && req.timed { // time in which at least one statement was waited for, inside the request
			from, to := max(it.at, busyUntil), min(it.end, req.end)
			if to > from {
				r.dbBusy += to - from
				busyUntil = to
			}
		}
	}
	for _, s := range f.touched {
		if s.other || s.inRequest < int64(f.opt.NPlusOne) || s.nested {
			continue
		}
		f.params = f.params[:0]
		for i := range items {
			if items[i].kind == itemQuery && r.statement(items[i].name, &f.room) == s {
				f.params = append(f.params, items[i].aux)
			}
		}
		slices.Sort(f.params)
		f.params = slices.Compact(f.params)
		// Without parameters the statement may have had literals, so it is not known whether the repeats were equal.
		s.repeated(s.inRequest, int64(len(f.params)), f.params[0] != 0 || len(f.params) > 1)
	}
}

// savepoint tells whether a fingerprint is one of a nested transaction. ORMs send them in pairs around each write: they
// count as statements, but no query that runs again and again is behind them.
func savepoint(fingerprint string) bool {
	return strings.HasPrefix(fingerprint, "SAVEPOINT") || strings.HasPrefix(fingerprint, "RELEASE ") ||
		strings.HasPrefix(fingerprint, "ROLLBACK TO")
}

// fillStart is when the read behind a set began: what the event says, else the last miss of the key in the trace
// before it; 0 where there is neither, since then the set is no fill.
func fillStart(before []item, set *item) int64 {
	if set.start != 0 {
		return set.start
	}
	for i := len(before) - 1; i >= 0; i-- {
		if before[i].kind == itemMiss && before[i].aux == set.aux {
			return before[i].at
		}
	}
	return 0
}

// fill is one computation of a cache entry.
type fill struct {
	key, trace uint64
	start, end int64
	route      uint32
}

// fillSet keeps the fills of as many keys as fit: those whose hash is below a threshold that is halved whenever there
// are too many. So a kept key is kept with all its fills, and what is kept depends on the fills alone, not on their order.
type fillSet struct {
	max   int
	shift uint
	list  []fill
}

func (s *fillSet) add(x fill) {
	if !s.keeps(x.key) {
		return
	}
	s.list = append(s.list, x)
	for len(s.list) > s.max && s.shift < 63 {
		s.shift++
		s.list = slices.DeleteFunc(s.list, func(x fill) bool { return !s.keeps(x.key) })
	}
}

func (s *fillSet) keeps(key uint64) bool { return key>>(64-s.shift) == 0 }

// stampedes are the counts of one route.
type stampedes struct{ count, wasted, worst int64 }

// stampedes finds groups of fills of one key, by different traces, that overlap in time. The group counts for the route
// of its first fill, each further fill for its own route as wasted.
func (s *fillSet) stampedes() map[uint32]*stampedes {
	list := slices.Clone(s.list)
	slices.SortFunc(list, func(a, b fill) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end),
			cmp.Compare(a.trace, b.trace), cmp.Compare(a.route, b.route))
	})
	out := map[uint32]*stampedes{}
	at := func(route uint32) *stampedes {
		if out[route] == nil {
			out[route] = &stampedes{}
		}
		return out[route]
	}
	traces := map[uint64]bool{}
	for i := 0; i < len(list); {
		first, end := list[i], list[i].end
		clear(traces)
		traces[first.trace] = true
		j := i + 1
		for ; j < len(list) && list[j].key == first.key && list[j].start < end; j++ {
			end = max(end, list[j].end)
			if !traces[list[j].trace] {
				traces[list[j].trace] = true
				at(list[j].route).wasted++
			}
		}
		if n := int64(len(traces)); n > 1 {
			g := at(first.route)
			g.count++
			g.worst = max(g.worst, n)
		}
		i = j
	}
	return out
}
