package synth

import "github.com/demarc-dev/demarc/event"

// Invalidations are the ways to drop an entry that the truth tells of, in the order of its points: by nothing, by writes to
// the row, by writes to the table, and the latter two with a fence, which keeps what was read before a write from being
// stored after it.
var Invalidations = []string{"none", "row", "table", "row-fenced", "table-fenced"}

const (
	ways = 5
	// maxPoints bounds lifetimes times ways, which are bits of a mask.
	maxPoints = maxLifetimes * ways
)

// watch replays a route through caches that are not there, while its requests are made: the truth of what such caches would
// have done. It follows the rules of docs/choose.md, and shares no code with the forecast that is held against it: time goes
// forward once, a request meets what ended before it, and of drops only the last matters. For an entry that was read from
// at to end is alive at T by none if T is before end plus its lifetime; with drops also if the last one up to T came before
// end; fenced, if none came after at.
type watch struct {
	ttls   []int64 // ns
	keys   []*watched
	hits   [maxPoints]int64
	stale  [maxPoints]int64
	asked  int64
	reused int64 // keys asked for
}

// watched is one key: an entry for each point, and the fills under way.
type watched struct {
	entries []answer
	fills   []fill
}

type answer struct {
	at, end int64 // of the request that was answered so; 0: no entry
	hash    event.Hash
}

// fill is a request under way that was a miss for some points.
type fill struct {
	answer
	missed uint64 // bit by point
}

func newWatch(keys int, lifetimesMs []int64) *watch {
	w := &watch{keys: make([]*watched, keys)}
	for _, ms := range lifetimesMs {
		w.ttls = append(w.ttls, ms*1_000_000)
	}
	return w
}

// alive says whether an entry stored in one way is still there. Drops are up to now.
func (a *answer) alive(way int, now, ttl, row, table int64) bool {
	if a.end == 0 || now >= a.end+ttl {
		return false
	}
	switch way {
	case 1:
		return row < a.end
	case 2:
		return table < a.end
	case 3:
		return row <= a.at
	case 4:
		return table <= a.at
	}
	return true
}

// ask takes a request from at to end. Requests come in the order of their starts; row and table are the last drops up to at.
func (w *watch) ask(key, at, end int64, hash event.Hash, row, table int64) {
	w.asked++
	k := w.keys[key]
	if k == nil {
		k = &watched{entries: make([]answer, ways*len(w.ttls))}
		w.keys[key] = k
		w.reused++
	}
	n := 0
	for n < len(k.fills) && k.fills[n].end <= at {
		f := &k.fills[n]
		for i := range k.entries {
			way := i % ways
			fenced := way == 3 && row > f.at || way == 4 && table > f.at
			if f.missed>>i&1 == 1 && !fenced {
				k.entries[i] = f.answer
			}
		}
		n++
	}
	if n > 0 {
		k.fills = k.fills[:copy(k.fills, k.fills[n:])]
	}
	var missed uint64
	for i := range k.entries {
		e := &k.entries[i]
		if !e.alive(i%ways, at, w.ttls[i/ways], row, table) {
			missed |= 1 << i
			continue
		}
		w.hits[i]++
		if e.hash != hash {
			w.stale[i]++
		}
	}
	if missed == 0 {
		return
	}
	k.fills = append(k.fills, fill{})
	i := len(k.fills) - 1
	for i > 0 && k.fills[i-1].end > end {
		k.fills[i] = k.fills[i-1]
		i--
	}
	k.fills[i] = fill{answer{at, end, hash}, missed}
}

// points are the counts, by lifetime and way.
func (w *watch) points() []Point {
	var list []Point
	for i := range ways * len(w.ttls) {
		list = append(list, Point{TTLMs: w.ttls[i/ways] / 1_000_000, Invalidation: Invalidations[i%ways], Hits: w.hits[i], StaleServes: w.stale[i]})
	}
	return list
}
