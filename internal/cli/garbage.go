package cli

import (
	"runtime/debug"
	"runtime/metrics"
)

// An analysis of a capture keeps what it learns and makes little garbage, so that Go's collector, which comes back each time the heap has
// doubled, looks through all of it to find next to nothing: a third of the time of a staleness run over 100,000 keys. The heap may
// therefore grow to five times what is alive, by at most spareGarbage: small runs take that much more memory, and large
// ones no more than by default.
const (
	spareGarbage   = 384 << 20 // bytes
	mostPercent    = 400       // of what is alive
	batchesBetween = 32        // looks at how much is alive
)

// garbage sets the pace of the collector while an analysis runs. Not safe for concurrent use, nor for two at a time.
type garbage struct {
	before  int // the setting that end puts back
	batches int
	alive   [1]metrics.Sample
}

func letGarbageLie() *garbage {
	g := &garbage{before: debug.SetGCPercent(mostPercent)}
	g.alive[0].Name = "/gc/heap/live:bytes"
	return g
}

// batch is called with each batch of events.
func (g *garbage) batch() {
	if g.batches++; g.batches%batchesBetween == 0 {
		metrics.Read(g.alive[:])
		debug.SetGCPercent(percentFor(g.alive[0].Value.Uint64()))
	}
}

func (g *garbage) end() { debug.SetGCPercent(g.before) }

// percentFor is how much the heap may grow before it is collected, in percent of the bytes alive.
func percentFor(alive uint64) int {
	return int(min(max(spareGarbage*100/max(alive, 1), 100), mostPercent))
}
