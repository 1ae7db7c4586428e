package stale

import (
	"math/rand/v2"
	"testing"
)

// TestIndex compares the table with a map through many random steps.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var x index[int]
	truth := map[uint64]*int{}
	keys := make([]uint64, 500)
	for i := range keys {
		keys[i] = r.Uint64() >> (i % 3 * 4) // many near each other at the low end
	}
	for step := range 200_000 {
		h := keys[r.IntN(len(keys))]
		switch {
		case step%3 == 0:
			x.delete(h)
			delete(truth, h)
		case truth[h] == nil && (step/20_000)%2 == 0 || r.IntN(3) == 0 && truth[h] == nil:
			v := new(int)
			x.put(h, v)
			truth[h] = v
		}
		if probe := keys[r.IntN(len(keys))]; x.get(probe) != truth[probe] || x.n != len(truth) {
			t.Fatalf("step %d: the table has %v for %x and %d in all, expected %v and %d", step, x.get(probe), probe, x.n, truth[probe], len(truth))
		}
	}
	seen := 0
	for range x.all {
		seen++
	}
	if seen != len(truth) {
		t.Errorf("%d things were ranged over, there are %d", seen, len(truth))
	}
}
