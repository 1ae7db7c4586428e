package forecast

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// bruteResult is what the plain cache below says.
type bruteResult struct {
	hits, stale, overlapping, unjudged, concurrent, savedNs, savedQueries int64
	ages                                                                  []int64
	spans                                                                 [][3]int64 // from, until, bytes of each entry
}

// brute is one cache with one key, moved instant by instant: at each, fills that began earlier end, drops act, and
// requests start. It shares nothing with the replay. drops are those of what a request stores.
func brute(reqs []Request, drops func(r Request) []int64, ttl int64, fenced bool) bruteResult {
	var res bruteResult
	first, last := reqs[0].At, int64(0)
	for _, r := range reqs {
		last = max(last, r.End)
	}
	type entry struct {
		stored, lastTrue int64
		request          Request
	}
	var live *entry
	type fill struct {
		index  int
		fenced bool
	}
	var fills []fill
	end := func(now int64) {
		if live != nil {
			if now > live.stored {
				res.spans = append(res.spans, [3]int64{live.stored, now, int64(live.request.Bytes)})
			}
			live = nil
		}
	}
	var missEnds []int64
	for now := first; now <= last+ttl+1; now++ {
		if live != nil && now >= live.stored+ttl {
			end(now)
		}
		for i := 0; i < len(fills); { // in the order of the requests
			f := fills[i]
			if reqs[f.index].End != now || reqs[f.index].At == now {
				i++
				continue
			}
			fills = slices.Delete(fills, i, i+1)
			if f.fenced || fenced && slices.Contains(drops(reqs[f.index]), now) {
				continue
			}
			end(now)
			live = &entry{now, reqs[f.index].At, reqs[f.index]}
		}
		if live != nil && slices.Contains(drops(live.request), now) {
			end(now)
		}
		for i := range fills {
			if slices.Contains(drops(reqs[fills[i].index]), now) {
				fills[i].fenced = fills[i].fenced || fenced
			}
		}
		for i, r := range reqs {
			if r.At != now {
				continue
			}
			if live != nil {
				res.hits++
				if !r.Answered {
					res.savedNs += r.End - r.At
					res.savedQueries += int64(r.Queries)
				}
				switch {
				case r.Untold || r.Hash == 0 || live.request.Hash == 0:
					res.unjudged++
				case r.Hash == live.request.Hash:
					live.lastTrue = now
				default:
					res.stale++
					if r.Races {
						res.overlapping++
					}
					res.ages = append(res.ages, now-live.lastTrue)
				}
				continue
			}
			if slices.ContainsFunc(missEnds, func(e int64) bool { return e > now }) {
				res.concurrent++
			}
			missEnds = append(missEnds, r.End)
			if r.NoStore {
				continue
			}
			if r.End == now {
				live = &entry{now, now, r}
				continue
			}
			fills = append(fills, fill{index: i})
		}
	}
	end(last + ttl + 1)
	return res
}

// dropsOf says which drops act on what a request of the key stores.
func dropsOf(k *Key, v Invalidation) func(r Request) []int64 {
	return func(r Request) []int64 {
		switch {
		case v == None:
			return nil
		case v == Table || v == TableFenced:
			return slices.Concat(k.Table...)
		case k.Own != nil && r.Rests >= 0:
			return slices.Concat(k.Own(r.Rests, nil)...)
		}
		return slices.Concat(k.Row...)
	}
}

func randomKey(rng *rand.Rand) Key {
	var k Key
	n := 1 + rng.IntN(30)
	span := int64(1 + rng.IntN(120))
	longest := 1 + rng.IntN(15)
	values := 1 + rng.IntN(4)
	for range n {
		at := rng.Int64N(span)
		r := Request{
			At: at, End: at + rng.Int64N(int64(longest)), Hash: uint64(rng.IntN(values) + 1),
			Queries: int32(rng.IntN(5)), Bytes: int32(rng.IntN(100)), NoStore: rng.IntN(10) == 0, Races: rng.IntN(3) == 0,
			Untold: rng.IntN(8) == 0, Answered: rng.IntN(8) == 0,
		}
		if rng.IntN(12) == 0 {
			r.Hash = 0
		}
		k.Requests = append(k.Requests, r)
	}
	slices.SortStableFunc(k.Requests, func(a, b Request) int { return int(a.At - b.At) })
	times := func(n int) []int64 {
		var list []int64
		for range n {
			list = append(list, rng.Int64N(span+20)-5)
		}
		slices.Sort(list)
		return list
	}
	for range rng.IntN(4) {
		list := times(rng.IntN(5))
		k.Table = append(k.Table, list)
		if rng.IntN(2) == 0 {
			k.Row = append(k.Row, list)
		}
	}
	if rng.IntN(2) == 0 { // requests that rest on some of the rows; a few of which it is not known
		for i := range k.Requests {
			k.Requests[i].Rests = int32(rng.IntN(9)) - 1
		}
		k.Own = func(rests int32, to [][]int64) [][]int64 {
			for i, list := range k.Row {
				if rests>>i&1 == 1 {
					to = append(to, list)
				}
			}
			return to
		}
	}
	return k
}

func TestGridEqualsPlainCache(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ttls := []int64{1, 2, 3, 5, 8, 13, 30, 200}
	for round := range 1000 {
		keys := make([]Key, 1+rng.IntN(3))
		g := NewGrid(ttls)
		for i := range keys {
			keys[i] = randomKey(rng)
			g.Add(&keys[i])
		}
		for v := None; v < numInvalidations; v++ {
			for _, p := range g.At(v) {
				var want bruteResult
				for i := range keys {
					one := brute(keys[i].Requests, dropsOf(&keys[i], v), p.TTL, v.fenced())
					want.hits += one.hits
					want.stale += one.stale
					want.overlapping += one.overlapping
					want.unjudged += one.unjudged
					want.concurrent += one.concurrent
					want.savedNs += one.savedNs
					want.savedQueries += one.savedQueries
					want.ages = append(want.ages, one.ages...)
					want.spans = append(want.spans, one.spans...)
				}
				what := fmt.Sprintf("round %d, %v, lifetime %d", round, v, p.TTL)
				got := [...]int64{p.Hits, p.Stale, p.Overlapping, p.Unjudged, p.Concurrent, p.SavedNs, p.SavedQueries}
				if w := [...]int64{want.hits, want.stale, want.overlapping, want.unjudged, want.concurrent, want.savedNs, want.savedQueries}; got != w {
					t.Fatalf("%s: hits, stale, overlapping, unjudged, concurrent, saved time and queries %v, the plain cache has %v\n%+v", what, got, w, keys)
				}
				slices.Sort(want.ages)
				if n := len(want.ages); n > 0 {
					if p.MaxStaleNs != want.ages[n-1] {
						t.Fatalf("%s: greatest age %d, the plain cache has %d\n%+v", what, p.MaxStaleNs, want.ages[n-1], keys)
					}
					if median := want.ages[(n+1)/2-1]; p.MedianStaleNs() != floor(bucket(median)) {
						t.Fatalf("%s: median age %d, the plain cache has %d", what, p.MedianStaleNs(), median)
					}
				}
				if round%10 == 0 {
					if got, want := Peak(keys, p.TTL, v), brutePeak(want.spans); got != want {
						t.Fatalf("%s: peaks %v, the plain cache has %v\n%+v", what, got, want, keys)
					}
				}
			}
		}
	}
}

func brutePeak(spans [][3]int64) Peaks {
	var p Peaks
	for _, s := range spans { // the number alive can only be greatest where one begins
		var now Peaks
		for _, o := range spans {
			if o[0] <= s[0] && s[0] < o[1] {
				now.Keys++
				now.Bytes += o[2]
			}
		}
		p.Keys, p.Bytes = max(p.Keys, now.Keys), max(p.Bytes, now.Bytes)
	}
	return p
}

func TestMergedGridsAreOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	whole, left, right := NewGrid([]int64{4, 20}), NewGrid([]int64{4, 20}), NewGrid([]int64{4, 20})
	for i := range 200 {
		k := randomKey(rng)
		whole.Add(&k)
		[]*Grid{left, right}[i%2].Add(&k)
	}
	left.Merge(right)
	for i := range whole.Points {
		a, b := whole.Points[i], left.Points[i]
		if a.MedianStaleNs() != b.MedianStaleNs() {
			t.Errorf("median %d in one, %d merged", a.MedianStaleNs(), b.MedianStaleNs())
		}
		a.ages, b.ages = nil, nil
		if a != b {
			t.Errorf("in one %+v, merged %+v", a, b)
		}
	}
}
