package forecast

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// spread is between what the counts of a point lie when requests come a little earlier or later.
type spread struct {
	hitsLow, hitsHigh, staleLow, staleHigh int64
	// broke says that a round did not keep the budget; the counts are then of the rounds up to it.
	broke bool
}

const (
	jitterNs = 50_000_000
	// jitterRounds is how often a point is replayed with jitter; fewer times where that were more than jitterRequests.
	jitterRounds   = 20
	jitterRequests = 20_000_000
)

// jittered replays a point again with each request shifted by up to 50 ms, its length and its answer kept. The shifts come
// from a fixed seed, so that the same traffic gives the same answer. It ends at the first round of which keeps says no; nil for
// none.
func jittered(keys []Key, p *Point, keeps func(*Point) bool) spread {
	s := spread{hitsLow: p.Hits, hitsHigh: p.Hits, staleLow: p.Stale, staleHigh: p.Stale}
	w := &lane{fence: p.Invalidation.fenced()}
	var unused *ages
	w.ages = &unused
	var moved []Request
	for round := range max(1, min(jitterRounds, jitterRequests/max(p.Requests, 1))) {
		rng := rand.New(rand.NewPCG(uint64(round), 0))
		var sum Point
		for i := range keys {
			k := &keys[i]
			moved = append(moved[:0], k.Requests...)
			for n := range moved {
				by := rng.Int64N(2*jitterNs+1) - jitterNs
				moved[n].At += by
				moved[n].End += by
			}
			slices.SortStableFunc(moved, func(a, b Request) int { return cmp.Compare(a.At, b.At) })
			w.load(moved)
			w.dropsBy(k, p.Invalidation)
			var d delta
			w.one(p.TTL, &d)
			sum.add(&d)
		}
		s.hitsLow, s.hitsHigh = min(s.hitsLow, sum.Hits), max(s.hitsHigh, sum.Hits)
		s.staleLow, s.staleHigh = min(s.staleLow, sum.Stale), max(s.staleHigh, sum.Stale)
		if keeps != nil && !keeps(&sum) {
			s.broke = true
			return s
		}
	}
	return s
}
