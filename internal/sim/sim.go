// Package sim replays a sequence of keys through caches that are not there and counts what they would miss.
//
// Keys are dense numbers, given out by an Interner in the order of first appearance, so that the state of a policy lies
// in flat arrays whose front, the keys seen early and often, stays in the processor's cache. A Curve computes the misses of LRU
// at every size in one pass; a Policy those of one policy at one size. Capacity counts objects, whatever their size.
// The same requests always give the same counts: what is random in a policy comes from a generator with a fixed seed.
//
// Limits: 2^32-2 requests, 2^31 keys (the caller sees to it with Interner.Full and Trace.Full).
package sim

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Block is a run of requests, in their order.
type Block struct {
	Keys  []uint32
	At    []int64   // time of each, nanoseconds, never decreasing; nil where the trace has none
	Next  []uint32  // number (from 0, over the whole trace) of the next request of the same key, or Never; for opt only
	Sizes []uint32  // of each object; nil where objects are counted; for weighted policies only
	TTL   []int64   // lifetime if the request stores something, nanoseconds, 0 for none of its own; nil where the trace has none; likewise
	Cost  []float32 // of a miss; nil where the trace has none; for AddWith
	Known int       // every key so far, those of this block included, is below it
}

// Never is the Next of a request whose key is not asked for again.
const Never = ^uint32(0)

// Policy is one cache of one size. Blocks are to be added in their order.
type Policy interface {
	// Add replays the requests of a block.
	Add(Block)
	// Misses is how many of the requests so far were misses; the first of each key is one.
	Misses() int64
}

// Options are what some policies need beyond their size.
type Options struct {
	TTL int64 // lifetime, nanoseconds: ttlcache and weighted caches
}

// Definition says what a policy is and what it needs.
type Definition struct {
	Name     string
	About    string
	Times    bool // needs Block.At and Options.TTL
	Next     bool // needs Block.Next
	PerKey   int  // bytes of memory for each distinct key of the trace, at most
	PerEntry int  // bytes for each entry that it holds, at most, while what it has of them grows; the capacity may be twice the entries
	kind     byte // of its weighted form; 0: it has none
	make     func(size int, opt Options) Policy
}

// Policies lists every policy in the order in which reports show them.
func Policies() []Definition {
	return []Definition{
		{Name: "lru", About: "least recently used", PerKey: 4, PerEntry: 56, kind: weighedLRU, make: func(n int, _ Options) Policy { return newLRU(n) }},
		{Name: "fifo", About: "first in, first out", PerKey: 1, PerEntry: 16, kind: weighedFIFO, make: func(n int, _ Options) Policy { return newClock(n, false) }},
		{Name: "clock", About: "FIFO with one reference bit", PerKey: 1, PerEntry: 16, kind: weighedClock, make: func(n int, _ Options) Policy { return newClock(n, true) }},
		{Name: "lfu", About: "least frequently used while in the cache", PerKey: 12, PerEntry: 80, make: func(n int, _ Options) Policy { return newLFU(n) }},
		{Name: "sieve", About: "SIEVE (NSDI'24)", PerKey: 1, PerEntry: 20, kind: weighedSieve, make: func(n int, _ Options) Policy { return newSieve(n) }},
		{Name: "s3fifo", About: "S3-FIFO (SOSP'23)", PerKey: 9, make: func(n int, _ Options) Policy { return newS3FIFO(n) }},
		{Name: "arc", About: "ARC (FAST'03)", PerKey: 9, make: func(n int, _ Options) Policy { return newARC(n) }},
		{Name: "w-tinylfu", About: "W-TinyLFU with a window of 1 %", PerKey: 9, PerEntry: 32, make: func(n int, _ Options) Policy { return newTinyLFU(n) }},
		{Name: "redis-lru", About: "Redis 7, allkeys-lru with 5 samples", PerKey: 12, PerEntry: 16, make: func(n int, _ Options) Policy { return newRedisLRU(n) }},
		{Name: "ttlcache", About: "cachetools.TTLCache: LRU with one lifetime", Times: true, PerKey: 24, make: func(n int, o Options) Policy { return newTTLCache(n, o.TTL) }},
		{Name: "opt", About: "Belady: the best that is possible", Next: true, make: func(n int, _ Options) Policy { return newOpt(n) }},
	}
}

// Find returns the definition of a policy. The error lists those that there are.
func Find(name string) (Definition, error) {
	var names []string
	for _, d := range Policies() {
		if d.Name == name {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return Definition{}, fmt.Errorf("there is no policy %q, only %s", name, strings.Join(names, ", "))
}

// New returns an empty cache for size objects, at least 1.
func (d Definition) New(size int, opt Options) Policy { return d.make(max(size, 1), opt) }

// stretches cuts keys into parts that are short enough for what belongs to them to stay near the processor.
func stretches(keys []uint32) iter.Seq[[]uint32] { return slices.Chunk(keys, internerBlock) }

// grow returns s with at least n elements, new ones zero.
func grow[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	if n <= cap(s) {
		return s[:n]
	}
	// Half as much again, not double: on long traces this is the greater part of the memory.
	bigger := make([]T, n, n+n/2)
	copy(bigger, s)
	return bigger
}
