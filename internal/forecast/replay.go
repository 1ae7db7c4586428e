package forecast

import (
	"slices"
)

// Invalidation says which observed writes drop an entry of a replayed cache, and whether a fill that overlaps such a
// write may still store what it read before it.
type Invalidation uint8

// The ways to invalidate. Row drops a key at writes to the rows behind it (and to the whole table where rows are not
// known), Table at every write to its tables. The plain ones act at the commit, so that a fill which began before it
// and ends after it stores the old answer; the fenced ones do not let such a fill store.
const (
	None Invalidation = iota
	Row
	Table
	RowFenced
	TableFenced
	numInvalidations
)

var invalidationNames = [numInvalidations]string{"none", "row", "table", "row-fenced", "table-fenced"}

// String returns the name as it stands in JSON and boundaries.yaml.
func (v Invalidation) String() string { return invalidationNames[v] }

// fenced says whether a fill that overlaps a drop is kept from storing.
func (v Invalidation) fenced() bool { return v >= RowFenced }

// Request is one observed request to a boundary: a response, a call, or a query.
type Request struct {
	At, End int64 // Unix nanoseconds; End is not before At
	// Hash is of the answer, 0 where that is not known: it failed, or was not hashed.
	Hash    uint64
	Queries int32 // statements that the database ran for it
	Bytes   int32 // of its answer
	NoStore bool  // a miss that would not be stored: an error, an answer that says no-store
	Races   bool  // a write to what it rests on was committed while it was under way
	// Untold says that the answer rests on a hit in a standing cache: it would be stored, but what the origin would have
	// said is not known.
	Untold bool
	// Answered says that a standing cache answered it, so that a hit spares nothing more.
	Answered bool
	Rests    int32 // for Key.Own: which rows its answer rests on; negative where that is not known
}

// Key is everything that was observed of one key.
type Key struct {
	Requests []Request // by At; equal ones in a fixed order
	// Row holds the commit times (Unix nanoseconds) of the writes that drop it by row, Table of those that drop it by
	// table: lists, each ascending, which may be shared between keys.
	Row, Table [][]int64
	// Own, where it is not nil, appends the commit times of the writes that drop by row what one request stores (by its
	// Rests), where those differ between the requests of the key; then Row holds those of all of them.
	Own func(rests int32, to [][]int64) [][]int64
}

// Point is what a cache with one lifetime and one way to invalidate would have done.
type Point struct {
	TTL          int64 // nanoseconds
	Invalidation Invalidation
	Requests     int64
	Hits         int64
	// Stale counts the hits whose stored hash differs from the one observed then, Unjudged the hits of which one of the
	// two is not known.
	Stale, Unjudged int64
	// Overlapping counts the stale hits whose observed request overlapped a write to what it rests on: it began before
	// the commit, so that the old answer was still the right one.
	Overlapping int64
	// Concurrent counts the misses that began while another miss of the same key was under way.
	Concurrent   int64
	SavedNs      int64 // sum of the observed durations of the hits
	SavedQueries int64 // sum of the statements behind the hits
	MaxStaleNs   int64 // see MedianStaleNs
	ages         *ages
}

// MedianStaleNs is the median age of a stale serve: the time since the stored answer was last known to be true, which
// is when its fill began, or the last hit on it that was not stale. So it is an upper bound of how long it had been
// wrong, unless a standing cache gave the stored answer. Exact to 1/16; the greatest one (MaxStaleNs) is exact.
func (p *Point) MedianStaleNs() int64 {
	if p.ages == nil {
		return 0
	}
	return p.ages.median(p.Stale)
}

// Grid holds the points of one boundary: for each way to invalidate, all lifetimes.
type Grid struct {
	TTLs   []int64 // ascending, nanoseconds
	Points []Point // TTLs of None, then of Row, and so on in the order of the constants
	lane   lane
}

// NewGrid makes an empty grid over lifetimes, which are sorted and made unique. Lifetimes are positive.
func NewGrid(ttls []int64) *Grid {
	g := &Grid{TTLs: slices.Clone(ttls)}
	slices.Sort(g.TTLs)
	g.TTLs = slices.Compact(g.TTLs)
	for v := None; v < numInvalidations; v++ {
		for _, ttl := range g.TTLs {
			g.Points = append(g.Points, Point{TTL: ttl, Invalidation: v})
		}
	}
	return g
}

// At returns the points of one way to invalidate, by lifetime.
func (g *Grid) At(v Invalidation) []Point {
	n := len(g.TTLs)
	return g.Points[int(v)*n : (int(v)+1)*n]
}

// find returns the point of one way to invalidate and one lifetime, which the grid has.
func (g *Grid) find(v Invalidation, ttl int64) *Point {
	i, _ := slices.BinarySearch(g.TTLs, ttl)
	return &g.At(v)[i]
}

// Merge adds the counts of another grid over the same lifetimes: of other keys of the same boundary.
func (g *Grid) Merge(o *Grid) {
	for i := range g.Points {
		p, q := &g.Points[i], &o.Points[i]
		p.Requests += q.Requests
		p.Hits += q.Hits
		p.Stale += q.Stale
		p.Unjudged += q.Unjudged
		p.Overlapping += q.Overlapping
		p.Concurrent += q.Concurrent
		p.SavedNs += q.SavedNs
		p.SavedQueries += q.SavedQueries
		p.MaxStaleNs = max(p.MaxStaleNs, q.MaxStaleNs)
		if q.ages != nil {
			if p.ages == nil {
				p.ages = new(ages)
			}
			p.ages.merge(q.ages)
		}
	}
}

// Add replays one key through every lifetime and every way to invalidate.
//
// The rules: a request is a hit if a live entry exists when it starts; otherwise it is a miss and stores its answer
// when it ends; what ends later overwrites, at one end the later request. An entry lives from then until stored +
// lifetime (excluded). At one instant fills that began earlier store first, then drops act, then requests start in
// their order.
//
// Time is linear in the requests plus, for each lifetime, in its misses and stale hits: runs of fresh hits are jumped
// over. Memory is that of the longest key, reused.
func (g *Grid) Add(k *Key) {
	for i := range g.Points {
		g.Points[i].Requests += int64(len(k.Requests))
	}
	if len(k.Requests) < 2 { // nothing to hit
		return
	}
	w := &g.lane
	w.load(k.Requests)
	first, last := k.Requests[0].At, w.lastEnd
	if len(w.deltas) != len(g.Points) {
		w.deltas = make([]delta, len(g.Points))
	}
	w.run(g, None, nil)
	for _, drop := range []struct {
		plain, fenced Invalidation
		times         [][]int64
	}{{Row, RowFenced, k.Row}, {Table, TableFenced, k.Table}} {
		times := within(drop.times, first, last)
		if len(times) == 0 {
			w.same(g, drop.plain, None, nil)
			w.same(g, drop.fenced, None, nil)
			continue
		}
		ready := func() { w.drops(times) }
		if drop.plain == Row && k.Own != nil {
			ready = func() { w.ownDrops(k) }
		}
		w.run(g, drop.plain, ready)
		if w.overlap {
			w.run(g, drop.fenced, ready)
		} else {
			w.same(g, drop.fenced, drop.plain, ready)
		}
	}
}
