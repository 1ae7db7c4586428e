package sim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/demarc-dev/demarc/internal/sim"
)

// The plain caches below say again, as literally as they can and however slowly, what each policy is. They share no code with
// the package.

type plainCache interface {
	// get says whether the key is there, and puts it there if not. now is the request's number, at its time.
	get(key uint32, now int, at int64) bool
}

// entry is a key in a queue, the oldest first.
type entry struct {
	key  uint32
	uses int
	at   int64
}

func find(queue []entry, key uint32) int {
	return slices.IndexFunc(queue, func(e entry) bool { return e.key == key })
}

func without(queue []entry, i int) []entry { return slices.Delete(queue, i, i+1) }

type plainLRU struct {
	size  int
	queue []entry
}

func (c *plainLRU) get(key uint32, _ int, _ int64) bool {
	i := find(c.queue, key)
	if i >= 0 {
		c.queue = without(c.queue, i)
	} else if len(c.queue) == c.size {
		c.queue = c.queue[1:]
	}
	c.queue = append(c.queue, entry{key: key})
	return i >= 0
}

type plainFIFO struct {
	size  int
	bit   bool // CLOCK
	queue []entry
}

func (c *plainFIFO) get(key uint32, _ int, _ int64) bool {
	if i := find(c.queue, key); i >= 0 {
		if c.bit {
			c.queue[i].uses = 1
		}
		return true
	}
	if len(c.queue) == c.size {
		for c.queue[0].uses > 0 {
			c.queue = append(c.queue[1:], entry{key: c.queue[0].key})
		}
		c.queue = c.queue[1:]
	}
	c.queue = append(c.queue, entry{key: key})
	return false
}

type plainLFU struct {
	size  int
	queue []entry // in the order of the last requests
}

func (c *plainLFU) get(key uint32, _ int, _ int64) bool {
	if i := find(c.queue, key); i >= 0 {
		e := c.queue[i]
		e.uses++
		c.queue = append(without(c.queue, i), e)
		return true
	}
	if len(c.queue) == c.size {
		least := 0
		for i, e := range c.queue {
			if e.uses < c.queue[least].uses {
				least = i
			}
		}
		c.queue = without(c.queue, least)
	}
	c.queue = append(c.queue, entry{key: key})
	return false
}

type plainSieve struct {
	size  int
	queue []entry
	hand  int
}

func (c *plainSieve) get(key uint32, _ int, _ int64) bool {
	if i := find(c.queue, key); i >= 0 {
		c.queue[i].uses = 1
		return true
	}
	if len(c.queue) == c.size {
		for ; c.queue[c.hand%c.size].uses > 0; c.hand++ {
			c.queue[c.hand%c.size].uses = 0
		}
		c.hand %= c.size
		c.queue = without(c.queue, c.hand)
		if c.hand == len(c.queue) {
			c.hand = 0 // beyond the newest: round again, before the new one is there
			c.queue = append(c.queue, entry{key: key})
			return false
		}
	}
	c.queue = append(c.queue, entry{key: key})
	return false
}

type plainS3FIFO struct {
	size               int
	small, main, ghost []entry
}

func (c *plainS3FIFO) get(key uint32, _ int, _ int64) bool {
	for _, queue := range [][]entry{c.small, c.main} {
		if i := find(queue, key); i >= 0 {
			queue[i].uses++
			return true
		}
	}
	known := find(c.ghost, key)
	if known >= 0 {
		c.ghost = without(c.ghost, known)
	}
	smallSize := max(c.size/10, 1)
	for len(c.small)+len(c.main) >= c.size {
		if len(c.main) > c.size-smallSize || len(c.small) == 0 {
			e := c.main[0]
			c.main = c.main[1:]
			if e.uses > 0 {
				c.main = append(c.main, entry{key: e.key, uses: min(e.uses, 3) - 1})
			}
			continue
		}
		e := c.small[0]
		c.small = c.small[1:]
		if e.uses >= 2 {
			c.main = append(c.main, entry{key: e.key})
			// The small queue is gone through until something leaves it for good.
			for len(c.small) > 0 && c.small[0].uses >= 2 {
				c.main = append(c.main, entry{key: c.small[0].key})
				c.small = c.small[1:]
			}
			if len(c.small) == 0 {
				continue
			}
			e = c.small[0]
			c.small = c.small[1:]
		}
		c.ghost = append(c.ghost, entry{key: e.key})
		if len(c.ghost) > c.size*9/10 {
			c.ghost = c.ghost[1:]
		}
	}
	if known >= 0 {
		c.main = append(c.main, entry{key: key})
	} else {
		c.small = append(c.small, entry{key: key})
	}
	return false
}

type plainARC struct {
	size           int
	target         float64
	t1, t2, b1, b2 []entry
}

func (c *plainARC) replace(inB2 bool) {
	if len(c.t1)+len(c.t2) < c.size {
		return
	}
	n := float64(len(c.t1))
	if len(c.t2) == 0 || n >= 1 && (inB2 && n == c.target || n > c.target) {
		c.b1 = append(c.b1, c.t1[0])
		c.t1 = c.t1[1:]
		return
	}
	c.b2 = append(c.b2, c.t2[0])
	c.t2 = c.t2[1:]
}

func (c *plainARC) get(key uint32, _ int, _ int64) bool {
	e := entry{key: key}
	for _, list := range []*[]entry{&c.t1, &c.t2} {
		if i := find(*list, key); i >= 0 {
			*list = without(*list, i)
			c.t2 = append(c.t2, e)
			return true
		}
	}
	if i := find(c.b1, key); i >= 0 {
		c.target = min(float64(c.size), c.target+max(1, float64(len(c.b2))/float64(len(c.b1))))
		c.replace(false)
		c.b1 = without(c.b1, find(c.b1, key))
		c.t2 = append(c.t2, e)
		return false
	}
	if i := find(c.b2, key); i >= 0 {
		c.target = max(0, c.target-max(1, float64(len(c.b1))/float64(len(c.b2))))
		c.replace(true)
		c.b2 = without(c.b2, find(c.b2, key))
		c.t2 = append(c.t2, e)
		return false
	}
	if len(c.t1)+len(c.b1) == c.size {
		if len(c.t1) < c.size {
			c.b1 = c.b1[1:]
			c.replace(false)
		} else {
			c.t1 = c.t1[1:]
		}
	} else if total := len(c.t1) + len(c.t2) + len(c.b1) + len(c.b2); total >= c.size {
		if total == 2*c.size {
			c.b2 = c.b2[1:]
		}
		c.replace(false)
	}
	c.t1 = append(c.t1, e)
	return false
}

// plainOpt looks through the whole rest of the trace for every entry.
type plainOpt struct {
	size  int
	keys  []uint32
	queue []entry
}

func (c *plainOpt) get(key uint32, now int, _ int64) bool {
	if find(c.queue, key) >= 0 {
		return true
	}
	if len(c.queue) == c.size {
		farthest, at := 0, -1
		for i, e := range c.queue {
			next := slices.Index(c.keys[now:], e.key)
			if next < 0 {
				next = len(c.keys)
			}
			if next > at {
				farthest, at = i, next
			}
		}
		c.queue = without(c.queue, farthest)
	}
	c.queue = append(c.queue, entry{key: key})
	return false
}

// plainTinyLFU counts requests exactly, where the policy has a sketch. The two agree as long as no two keys share all their
// counters, which in a sketch for thousands of objects few of a hundred keys do.
type plainTinyLFU struct {
	size                         int
	window, probation, protected []entry // the least recently used first
	uses                         map[uint32]int
	requests                     int
}

func (c *plainTinyLFU) get(key uint32, _ int, _ int64) bool {
	c.uses[key] = min(c.uses[key]+1, 15)
	if c.requests++; c.requests >= 10*c.size {
		c.requests /= 2
		for k := range c.uses {
			c.uses[k] /= 2
		}
	}
	e := entry{key: key}
	if i := find(c.window, key); i >= 0 {
		c.window = append(without(c.window, i), e)
		return true
	}
	if i := find(c.protected, key); i >= 0 {
		c.protected = append(without(c.protected, i), e)
		return true
	}
	windowSize := max(c.size/100, 1)
	mainSize := c.size - windowSize
	if i := find(c.probation, key); i >= 0 {
		c.probation = without(c.probation, i)
		c.protected = append(c.protected, e)
		if len(c.protected) > mainSize*8/10 {
			c.probation = append(c.probation, c.protected[0])
			c.protected = c.protected[1:]
		}
		return true
	}
	c.window = append(c.window, e)
	if len(c.window) <= windowSize {
		return false
	}
	candidate := c.window[0]
	c.window = c.window[1:]
	if len(c.probation)+len(c.protected) < mainSize {
		c.probation = append(c.probation, candidate)
		return false
	}
	from := &c.probation
	if len(*from) == 0 {
		from = &c.protected
	}
	if len(*from) > 0 && c.uses[candidate.key] > c.uses[(*from)[0].key] {
		*from = (*from)[1:]
		c.probation = append(c.probation, candidate)
	}
	return false
}

// TestTinyLFU compares W-TinyLFU with a plain one that counts exactly: its misses are the same but for what collisions
// in the sketch do.
func TestTinyLFU(t *testing.T) {
	random := rand.New(rand.NewPCG(43, 47))
	def, err := sim.Find("w-tinylfu")
	if err != nil {
		t.Fatal(err)
	}
	for kind, keys := range plainTraces(6000, random) {
		keys, known := dense(keys)
		for _, size := range []int{1, 2, 10, 40, 130, 250, 7000} {
			plain, want := &plainTinyLFU{size: size, uses: map[uint32]int{}}, 0
			for now, key := range keys {
				if !plain.get(key, now, 0) {
					want++
				}
			}
			p := def.New(size, sim.Options{})
			p.Add(sim.Block{Keys: keys, Known: known})
			allowed := 0.01
			if size < 40 { // a hundred keys and more in 64 counters a row
				allowed = 0.05
			}
			if math.Abs(float64(p.Misses())-float64(want)) > allowed*float64(len(keys)) {
				t.Errorf("%s at %d: %d misses, %d with exact counts", kind, size, p.Misses(), want)
			}
		}
	}
}

type plainTTL struct {
	size  int
	ttl   int64
	queue []entry // by last use
}

func (c *plainTTL) get(key uint32, _ int, at int64) bool {
	c.queue = slices.DeleteFunc(c.queue, func(e entry) bool { return at >= e.at+c.ttl })
	if i := find(c.queue, key); i >= 0 {
		e := c.queue[i]
		c.queue = append(without(c.queue, i), e)
		return true
	}
	if len(c.queue) == c.size {
		c.queue = c.queue[1:]
	}
	c.queue = append(c.queue, entry{key: key, at: at})
	return false
}

// plainTraces are small traces of several kinds: even, skewed, scans, loops, a working set that moves, one key.
func plainTraces(n int, random *rand.Rand) map[string][]uint32 {
	traces := map[string][]uint32{}
	zipf := rand.NewZipf(random, 1.1, 1, 199)
	for i := range n {
		add := func(name string, key int) { traces[name] = append(traces[name], uint32(key)) }
		add("even", random.IntN(60))
		add("zipf", int(zipf.Uint64()))
		add("loop", i%37)
		add("one", 7)
		add("moving", i/50+random.IntN(30))
		if i/100%2 == 0 {
			add("scans", int(zipf.Uint64())%40)
		} else {
			add("scans", 200+i)
		}
	}
	return traces
}

// dense numbers keys in the order of their first appearance.
func dense(keys []uint32) ([]uint32, int) {
	ids := sim.NewInterner(99)
	out := make([]uint32, len(keys))
	ids.Add(wide(keys), out)
	return out, ids.Keys()
}

func wide(keys []uint32) []uint64 {
	out := make([]uint64, len(keys))
	for i, key := range keys {
		out[i] = uint64(key) << 40
	}
	return out
}

func TestAgainstPlainCaches(t *testing.T) {
	const ttl = 500
	random := rand.New(rand.NewPCG(3, 5))
	for round := range 6 {
		n := []int{1, 2, 50, 700, 1500, 3000}[round]
		for kind, keys := range plainTraces(n, random) {
			keys, known := dense(keys)
			at := make([]int64, n)
			for i := range at {
				at[i] = int64(i*10 + random.IntN(10))
			}
			for _, size := range []int{1, 2, 3, 9, 10, 11, 25, 64, 200, 5000} {
				caches := map[string]plainCache{
					"lru": &plainLRU{size: size}, "fifo": &plainFIFO{size: size}, "clock": &plainFIFO{size: size, bit: true},
					"lfu": &plainLFU{size: size}, "sieve": &plainSieve{size: size}, "s3fifo": &plainS3FIFO{size: size},
					"arc": &plainARC{size: size}, "opt": &plainOpt{size: size, keys: keys}, "ttlcache": &plainTTL{size: size, ttl: ttl},
				}
				for name, cache := range caches {
					want := int64(0)
					for i, key := range keys {
						if !cache.get(key, i, at[i]) {
							want++
						}
					}
					def, err := sim.Find(name)
					if err != nil {
						t.Fatal(err)
					}
					p := def.New(size, sim.Options{TTL: ttl})
					for b := range cut(keys, at, known, random).Blocks() {
						for _, part := range parts(b, random) {
							p.Add(part)
						}
					}
					if p.Misses() != want {
						t.Errorf("%s at %d on %d requests of %q: %d misses, a plain cache has %d", name, size, n, kind, p.Misses(), want)
					}
				}
			}
		}
	}
}

// cut puts requests into a trace, in blocks of random length.
func cut(keys []uint32, at []int64, known int, random *rand.Rand) *sim.Trace {
	tr := sim.NewTrace(true)
	for len(keys) > 0 {
		n := 1 + random.IntN(len(keys))
		tr.Add(sim.Block{Keys: keys[:n], At: at[:n], Known: known})
		keys, at = keys[n:], at[n:]
	}
	return tr
}

func parts(b sim.Block, random *rand.Rand) []sim.Block {
	n := random.IntN(len(b.Keys) + 1)
	return []sim.Block{
		{Keys: b.Keys[:n], At: b.At[:n], Next: b.Next[:n], Known: b.Known},
		{Keys: b.Keys[n:], At: b.At[n:], Next: b.Next[n:], Known: b.Known},
	}
}

func TestCurveAgainstPlainLRU(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	for kind, keys := range plainTraces(4000, random) {
		keys, known := dense(keys)
		curve := sim.NewCurve(sim.NewInterner(5))
		for rest := keys; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 900))
			numbers := make([]uint32, n)
			curve.Add(wide(rest[:n]), numbers)
			if !slices.Equal(numbers, rest[:n]) {
				t.Fatalf("%q: keys numbered in the order of their appearance have numbers %v, want %v", kind, numbers, rest[:n])
			}
			rest = rest[n:]
		}
		sizes := []int{1, 2, 3, 10, 36, 37, 38, 59, 60, 200, known, known + 1, 10 * known}
		slices.Sort(sizes)
		for i, misses := range curve.Misses(sizes) {
			plain, want := &plainLRU{size: sizes[i]}, int64(0)
			for now, key := range keys {
				if !plain.get(key, now, 0) {
					want++
				}
			}
			if misses != want {
				t.Errorf("%q at %d: %d misses, a plain cache has %d", kind, sizes[i], misses, want)
			}
		}
		if curve.Keys() != known || curve.Requests() != int64(len(keys)) {
			t.Errorf("%q: %d keys, %d requests", kind, curve.Keys(), curve.Requests())
		}
	}
}

// TestCurveWhenPlacesRunOut compares the curve with the policy on traces so long that the marks are moved together
// several times, while there are more and more keys; the second has enough of them for each kind of level that the tree has.
func TestCurveWhenPlacesRunOut(t *testing.T) {
	for _, test := range []struct {
		requests, growth int
		sizes            []int
	}{{600_000, 8, []int{1, 10, 100, 1000, 10_000, 30_000, 75_000}}, {5_000_000, 1, []int{1000, 300_000, 1_000_000}}} {
		random := rand.New(rand.NewPCG(13, 17))
		keys := make([]uint32, test.requests)
		for i := range keys {
			keys[i] = uint32(random.IntN(1 + i/test.growth))
			if random.IntN(3) > 0 {
				keys[i] /= 100
			}
		}
		curve := sim.NewCurve(sim.NewInterner(5))
		numbers := make([]uint32, len(keys))
		curve.Add(wide(keys), numbers)
		lru, err := sim.Find("lru")
		if err != nil {
			t.Fatal(err)
		}
		for i, misses := range curve.Misses(test.sizes) {
			p := lru.New(test.sizes[i], sim.Options{})
			p.Add(sim.Block{Keys: numbers, Known: curve.Keys()})
			if p.Misses() != misses {
				t.Errorf("%d requests at %d: %d misses, the policy has %d", test.requests, test.sizes[i], misses, p.Misses())
			}
		}
	}
}

func TestInterner(t *testing.T) {
	random := rand.New(rand.NewPCG(19, 23))
	ids, want := sim.NewInterner(random.Uint64()), map[uint64]uint32{}
	for range 200 {
		keys := make([]uint64, random.IntN(1000))
		for i := range keys {
			keys[i] = random.Uint64N(40_000) * random.Uint64N(3)
		}
		out := make([]uint32, len(keys))
		ids.Add(keys, out)
		for i, key := range keys {
			if _, ok := want[key]; !ok {
				want[key] = uint32(len(want))
			}
			if out[i] != want[key] {
				t.Fatalf("key %d has number %d, want %d", key, out[i], want[key])
			}
		}
	}
	if ids.Keys() != len(want) {
		t.Errorf("%d keys, want %d", ids.Keys(), len(want))
	}
}

// TestLaws holds all policies to what is true of every cache: a first request misses; with room for all keys nothing else does;
// and none misses less than opt.
func TestLaws(t *testing.T) {
	random := rand.New(rand.NewPCG(29, 31))
	for kind, keys := range plainTraces(3000, random) {
		keys, known := dense(keys)
		tr := cut(keys, make([]int64, len(keys)), known, random)
		best, err := sim.Find("opt")
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 7, 40, 4000} {
			least := replay(best, size, tr)
			for _, def := range sim.Policies() {
				name := fmt.Sprintf("%s at %d on %q", def.Name, size, kind)
				got := replay(def, size, tr)
				if got < least || got < int64(known) || got > int64(len(keys)) {
					t.Errorf("%s: %d misses; opt has %d, there are %d keys", name, got, least, known)
				}
				if size > len(keys) && got != int64(known) {
					t.Errorf("%s: %d misses with room for all %d keys", name, got, known)
				}
			}
		}
	}
}

func replay(def sim.Definition, size int, tr *sim.Trace) int64 {
	p := def.New(size, sim.Options{TTL: 1})
	for b := range tr.Blocks() {
		p.Add(b)
	}
	return p.Misses()
}
