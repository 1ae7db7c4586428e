package cli

import (
	"runtime/debug"
	"testing"
)

// The heap grows fivefold while little is alive, and no more than by default where much is.
func TestGarbageIsBounded(t *testing.T) {
	for alive, want := range map[uint64]int{0: mostPercent, 1 << 20: mostPercent, spareGarbage / 4: mostPercent, spareGarbage / 2: 200, spareGarbage: 100, 4 << 30: 100} {
		if got := percentFor(alive); got != want {
			t.Errorf("%d bytes alive: %d %%, not %d", alive, got, want)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(123))
	g := letGarbageLie()
	for range 2 * batchesBetween {
		g.batch()
	}
	g.end()
	if got := debug.SetGCPercent(100); got != 123 {
		t.Errorf("the setting before is not put back, but %d %%", got)
	}
}
