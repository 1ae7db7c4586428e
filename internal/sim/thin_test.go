package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/demarc-dev/demarc/internal/sim"
)

// A sample that was made smaller again and again is the one that the last rate would have made at once.
func TestThin(t *testing.T) {
	random := rand.New(rand.NewPCG(51, 53))
	keys, at := make([]uint64, 300_000), make([]int64, 300_000)
	for i := range keys {
		keys[i], at[i] = random.Uint64N(1+uint64(i)/2)*random.Uint64N(2), int64(i)
	}
	fill := func(rate float64, ids *sim.Interner, tr *sim.Trace, from, to int) {
		some, times := sim.Sampled(append([]uint64{}, keys[from:to]...), append([]int64{}, at[from:to]...), rate)
		numbers := make([]uint32, len(some))
		ids.Add(some, numbers)
		tr.Add(sim.Block{Keys: numbers, At: times, Known: ids.Keys()})
	}
	all := func(tr *sim.Trace) string {
		var keys, next []uint32
		var at []int64
		for b := range tr.Blocks() {
			keys, at, next = append(keys, b.Keys...), append(at, b.At...), append(next, b.Next...)
		}
		return fmt.Sprint(keys, at, next)
	}
	ids, tr := sim.NewInterner(1), sim.NewTrace(true)
	for i, rate := range []float64{1, 0.5, 0.125, 0.0625} {
		if i > 0 {
			ids, tr = sim.Thin(ids, tr, rate)
		}
		fill(rate, ids, tr, i*75_000, (i+1)*75_000)
		wantIDs, want := sim.NewInterner(2), sim.NewTrace(true)
		fill(rate, wantIDs, want, 0, (i+1)*75_000)
		if ids.Keys() != wantIDs.Keys() || tr.Requests() != want.Requests() || all(tr) != all(want) {
			t.Errorf("rate %g: %d keys, %d requests; at once %d, %d", rate, ids.Keys(), tr.Requests(), wantIDs.Keys(), want.Requests())
		}
	}
	if ids.Keys() < 1000 {
		t.Errorf("only %d keys were left to compare", ids.Keys())
	}
}
