// Command replay measures demarc's replay of requests through the whole grid of lifetimes and ways to invalidate.
//
//	go run ./bench/replay                    10 million requests, 1 million keys drawn by Zipf, two processors
//	go run ./bench/replay -n 1000000 -p 1
//
// Requests come over one hour, take 1 to 40 ms, and their answers change with a write to the key's row; each key's
// table is written a hundred thousand times in all. Making the requests is not part of the time.
package main

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/internal/forecast"
)

const hour = int64(time.Hour)

func main() {
	n := flag.Int("n", 10_000_000, "requests")
	processors := flag.Int("p", 2, "processors")
	flag.Parse()
	runtime.GOMAXPROCS(*processors)
	keys := makeKeys(*n)
	var ttls []int64
	for _, ttl := range forecast.Lifetimes() {
		ttls = append(ttls, int64(ttl))
	}
	before := cpu()
	start := time.Now()
	whole := run(keys, ttls, *processors)
	clock, used := time.Since(start), cpu()-before
	var hits, stale int64
	for _, p := range whole.Points {
		hits += p.Hits
		stale += p.Stale
	}
	fmt.Printf("%d requests, %d keys, %d lifetimes, 5 ways to invalidate, %d processors: %.2f s by the clock, %.2f s of processor time, "+
		"%.0f M requests replayed a second (%.0f %% hits, %.1f %% of them stale)\n", *n, len(keys), len(ttls), *processors,
		clock.Seconds(), used.Seconds(), float64(*n)*float64(len(whole.Points))/clock.Seconds()/1e6,
		100*float64(hits)/float64(len(whole.Points))/float64(*n), 100*float64(stale)/float64(hits))
}

// run gives every processor parts of the keys, and adds up what they found.
func run(keys []forecast.Key, ttls []int64, processors int) *forecast.Grid {
	const part = 256
	var next atomic.Int64
	var wait sync.WaitGroup
	grids := make([]*forecast.Grid, processors)
	for i := range grids {
		grids[i] = forecast.NewGrid(ttls)
		wait.Go(func() {
			for {
				from := int(next.Add(part)) - part
				if from >= len(keys) {
					return
				}
				for k := from; k < min(from+part, len(keys)); k++ {
					grids[i].Add(&keys[k])
				}
			}
		})
	}
	wait.Wait()
	for _, g := range grids[1:] {
		grids[0].Merge(g)
	}
	return grids[0]
}

func makeKeys(n int) []forecast.Key {
	rng := rand.New(rand.NewPCG(42, 42))
	const ranks = 1_000_000
	sums := make([]float64, ranks)
	sum := 0.0
	for r := range sums {
		sum += 1 / float64(r+1)
		sums[r] = sum
	}
	counts := make([]int, ranks)
	for range n {
		counts[sort.SearchFloat64s(sums, rng.Float64()*sum)]++
	}
	tables := make([][]int64, 20)
	for i := range tables {
		tables[i] = times(rng, 5_000)
	}
	var keys []forecast.Key
	for rank, count := range counts {
		if count == 0 {
			continue
		}
		k := forecast.Key{Table: [][]int64{tables[rank%len(tables)]}, Row: [][]int64{times(rng, min(1+count/50, 1000))}}
		k.Requests = make([]forecast.Request, 0, count)
		for _, at := range times(rng, count) {
			dur := int64(math.Exp(rng.Float64()*math.Log(40))) * int64(time.Millisecond)
			version, _ := slices.BinarySearch(k.Row[0], at)
			k.Requests = append(k.Requests, forecast.Request{At: at, End: at + dur, Hash: uint64(version + 1), Queries: 3, Bytes: 2000})
		}
		keys = append(keys, k)
	}
	return keys
}

func times(rng *rand.Rand, n int) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = rng.Int64N(hour)
	}
	slices.Sort(list)
	return list
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
