package forecast

import (
	"math"
	"slices"
)

// run replays the loaded key through all lifetimes with one way to invalidate. ready prepares for its drops, nil for none.
func (w *lane) run(g *Grid, v Invalidation, ready func()) {
	w.prepare(ready)
	w.fence = v.fenced()
	for i := range g.TTLs {
		at := int(v)*len(g.TTLs) + i
		w.point(&g.Points[at], &w.deltas[at])
	}
}

// same takes over what the loaded key gave under another way to invalidate that cannot differ for it. Where there are
// stale hits, whose ages are not kept, it is replayed again.
func (w *lane) same(g *Grid, v, as Invalidation, ready func()) {
	prepared := false
	for i := range g.TTLs {
		to, from := int(v)*len(g.TTLs)+i, int(as)*len(g.TTLs)+i
		if d := &w.deltas[from]; d.stale == 0 {
			w.deltas[to] = *d
			g.Points[to].add(d)
			continue
		}
		if !prepared {
			w.prepare(ready)
			w.fence, prepared = v.fenced(), true
		}
		w.point(&g.Points[to], &w.deltas[to])
	}
}

func (w *lane) point(p *Point, d *delta) {
	w.ages = &p.ages
	w.one(p.TTL, d)
	p.add(d)
}

// delta is what one key adds to a point.
type delta struct {
	hits, stale, overlapping, unjudged, concurrent, savedNs, savedQueries, maxStale int64
}

// lane replays keys one after the other. Its slices are as long as the longest key.
type lane struct {
	reqs    []Request
	lastEnd int64
	// For each request: the sums before it, the end of its run of equal hashes, the first drop that would end an entry
	// it stores, and whether a fence keeps it from storing.
	saved   []int64
	queries []int64
	runEnd  []int32
	dropAt  []int64
	killed  []bool
	overlap bool // some request is killed
	fence   bool
	own     [][]int64 // of one request; reused

	pending []int32 // fills under way, by end; equal ends by request
	deltas  []delta // of the last key, as Grid.Points
	ages    **ages  // of the point; made when there is one
	live    func(from, until int64, bytes int32)
}

func (w *lane) load(reqs []Request) {
	n := len(reqs)
	w.reqs = reqs
	w.saved = slices.Grow(w.saved[:0], n+1)[:n+1]
	w.queries = slices.Grow(w.queries[:0], n+1)[:n+1]
	w.runEnd = slices.Grow(w.runEnd[:0], n)[:n]
	w.dropAt = slices.Grow(w.dropAt[:0], n)[:n]
	w.killed = slices.Grow(w.killed[:0], n)[:n]
	w.lastEnd = math.MinInt64
	w.saved[0], w.queries[0] = 0, 0
	for i := range reqs {
		r := &reqs[i]
		w.saved[i+1], w.queries[i+1] = w.saved[i], w.queries[i]
		if !r.Answered {
			w.saved[i+1] += r.End - r.At
			w.queries[i+1] += int64(r.Queries)
		}
		w.lastEnd = max(w.lastEnd, r.End)
	}
	end := int32(n)
	for i := n - 1; i >= 0; i-- {
		if i+1 < n && (reqs[i+1].Hash != reqs[i].Hash || reqs[i+1].Untold != reqs[i].Untold) {
			end = int32(i + 1)
		}
		w.runEnd[i] = end
	}
}

func (w *lane) prepare(ready func()) {
	if ready == nil {
		w.clear()
	} else {
		ready()
	}
}

// clear prepares for no drops.
func (w *lane) clear() {
	w.overlap = false
	for i := range w.reqs {
		w.killed[i], w.dropAt[i] = false, math.MaxInt64
	}
}

// dropsBy prepares for the drops of the loaded key in one way to invalidate.
func (w *lane) dropsBy(k *Key, v Invalidation) {
	switch v {
	case Row, RowFenced:
		if k.Own != nil {
			w.ownDrops(k)
			return
		}
		w.drops(k.Row)
	case Table, TableFenced:
		w.drops(k.Table)
	default:
		w.clear()
	}
}

// ownDrops prepares for drops by the rows that each request rests on itself.
func (w *lane) ownDrops(k *Key) {
	w.clear()
	for i := range w.reqs {
		r := &w.reqs[i]
		lists := k.Row
		if r.Rests >= 0 {
			w.own = k.Own(r.Rests, w.own[:0])
			lists = w.own
		}
		for _, times := range lists {
			rest := times[after(times, r.At):]
			if len(rest) == 0 {
				continue
			}
			if rest[0] <= r.End {
				w.killed[i], w.overlap = true, true
			}
			if r.End > r.At {
				if rest = rest[after(rest, r.End-1):]; len(rest) == 0 {
					continue
				}
			}
			w.dropAt[i] = min(w.dropAt[i], rest[0])
		}
	}
}

// drops prepares for the given drops, the same for all requests.
func (w *lane) drops(drops [][]int64) {
	w.clear()
	for _, times := range drops {
		at := 0 // first drop after the request's start
		for i := range w.reqs {
			r := &w.reqs[i]
			at += after(times[at:], r.At)
			rest := times[at:]
			if len(rest) == 0 {
				break
			}
			if rest[0] <= r.End {
				w.killed[i], w.overlap = true, true
			}
			if r.End > r.At {
				if rest = rest[after(rest, r.End-1):]; len(rest) == 0 {
					continue
				}
			}
			w.dropAt[i] = min(w.dropAt[i], rest[0])
		}
	}
}

func (p *Point) add(d *delta) {
	p.Hits += d.hits
	p.Stale += d.stale
	p.Unjudged += d.unjudged
	p.Overlapping += d.overlapping
	p.Concurrent += d.concurrent
	p.SavedNs += d.savedNs
	p.SavedQueries += d.savedQueries
	p.MaxStaleNs = max(p.MaxStaleNs, d.maxStale)
}

// one replays the loaded key through one lifetime.
func (w *lane) one(ttl int64, d *delta) {
	*d = delta{}
	reqs := w.reqs
	var entry struct {
		limit    int64 // lives until then, excluded
		hash     uint64
		lastTrue int64
		from     int64
		bytes    int32
	}
	entry.limit = math.MinInt64
	busy := int64(math.MinInt64) // greatest end of a miss so far
	pending := w.pending[:0]
	store := func() {
		j := pending[0]
		pending = pending[:copy(pending, pending[1:])]
		r := &reqs[j]
		limit := min(r.End+ttl, w.dropAt[j])
		if w.live != nil {
			if until := min(entry.limit, r.End); until > entry.from && entry.limit != math.MinInt64 {
				w.live(entry.from, until, entry.bytes)
			}
		}
		entry.limit, entry.hash, entry.lastTrue, entry.from, entry.bytes = limit, r.Hash, r.At, r.End, r.Bytes
	}
	for i := 0; i < len(reqs); {
		r := &reqs[i]
		for len(pending) > 0 && reqs[pending[0]].End <= r.At {
			store()
		}
		if r.At >= entry.limit {
			if r.At < busy {
				d.concurrent++
			}
			busy = max(busy, r.End)
			if !r.NoStore && (!w.fence || !w.killed[i]) {
				at := len(pending)
				for at > 0 && reqs[pending[at-1]].End > r.End {
					at--
				}
				pending = append(pending, int32(i))
				if at < len(pending)-1 {
					copy(pending[at+1:], pending[at:])
					pending[at] = int32(i)
				}
			}
			i++
			continue
		}
		until := entry.limit
		if len(pending) > 0 {
			until = min(until, reqs[pending[0]].End)
		}
		next := i + before(reqs[i:], until)
		d.hits += int64(next - i)
		d.savedNs += w.saved[next] - w.saved[i]
		d.savedQueries += w.queries[next] - w.queries[i]
		for k := i; k < next; {
			end := min(int(w.runEnd[k]), next)
			switch h := reqs[k].Hash; {
			case h == 0 || entry.hash == 0 || reqs[k].Untold:
				d.unjudged += int64(end - k)
			case h == entry.hash:
				entry.lastTrue = reqs[end-1].At
			default:
				d.stale += int64(end - k)
				d.maxStale = max(d.maxStale, reqs[end-1].At-entry.lastTrue)
				if w.ages == nil { // only what lives is asked for
					break
				}
				if *w.ages == nil {
					*w.ages = new(ages)
				}
				for ; k < end; k++ {
					(*w.ages).add(reqs[k].At - entry.lastTrue)
					if reqs[k].Races {
						d.overlapping++
					}
				}
			}
			k = end
		}
		i = next
	}
	if w.live != nil {
		for len(pending) > 0 {
			store()
		}
		if entry.limit > entry.from && entry.limit != math.MinInt64 {
			w.live(entry.from, entry.limit, entry.bytes)
		}
	}
	w.pending = pending[:0]
}

// within returns of each list the times from first to last, both included; lists without any are left out.
func within(lists [][]int64, first, last int64) [][]int64 {
	var some [][]int64
	for _, times := range lists {
		i, _ := slices.BinarySearch(times, first)
		j, _ := slices.BinarySearch(times[i:], last+1)
		if j > 0 {
			some = append(some, times[i:i+j])
		}
	}
	return some
}

// after returns how many of the ascending times are not after t.
func after(times []int64, t int64) int {
	if len(times) == 0 || times[0] > t {
		return 0
	}
	lo, hi := 0, 1 // times[lo] <= t
	for hi < len(times) && times[hi] <= t {
		lo, hi = hi, 2*hi
	}
	hi = min(hi, len(times))
	for lo+1 < hi {
		if mid := (lo + hi) / 2; times[mid] <= t {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// before returns how many of the requests start before t; the first one does.
func before(reqs []Request, t int64) int {
	lo, hi := 0, 1
	for hi < len(reqs) && reqs[hi].At < t {
		lo, hi = hi, 2*hi
	}
	hi = min(hi, len(reqs))
	for lo+1 < hi {
		if mid := (lo + hi) / 2; reqs[mid].At < t {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
