package sim_test

import (
	"math/rand/v2"
	"testing"

	"github.com/demarc-dev/demarc/internal/sim"
)

// zipfTrace has a million requests for up to half a million keys.
func zipfTrace() []uint64 {
	random := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(random, 1.01, 1, 500_000)
	keys := make([]uint64, 1_000_000)
	for i := range keys {
		keys[i] = zipf.Uint64() * 0x9e3779b97f4a7c15
	}
	return keys
}

// perRequest reports the time of one of n requests a round.
func perRequest(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/request")
}

func BenchmarkInterner(b *testing.B) {
	keys := zipfTrace()
	out := make([]uint32, len(keys))
	b.ReportAllocs()
	for b.Loop() {
		sim.NewInterner(1).Add(keys, out)
	}
	perRequest(b, len(keys))
}

func BenchmarkCurve(b *testing.B) {
	keys := zipfTrace()
	b.ReportAllocs()
	for b.Loop() {
		sim.NewCurve(sim.NewInterner(1)).Add(keys, nil)
	}
	perRequest(b, len(keys))
}

func BenchmarkPolicies(b *testing.B) {
	tr := sim.NewTrace(true)
	block := zipfBlock()
	block.At = make([]int64, len(block.Keys))
	tr.Add(block)
	for _, def := range sim.Policies() {
		b.Run(def.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := def.New(10_000, sim.Options{TTL: 1})
				for part := range tr.Blocks() {
					p.Add(part)
				}
			}
			perRequest(b, tr.Requests())
		})
	}
}

func zipfBlock() sim.Block {
	keys := zipfTrace()
	numbers := make([]uint32, len(keys))
	ids := sim.NewInterner(1)
	ids.Add(keys, numbers)
	return sim.Block{Keys: numbers, Known: ids.Keys()}
}
