package sim

import "math/bits"

// Curve counts the misses of LRU at every size in one pass.
//
// A request hits in exactly those LRU caches that hold at least as many objects as there were distinct keys since the last
// request of its key, itself included: its stack distance (Mattson and others, 1970). Each key has a mark at the place of its
// last request; the distance is the number of marks from there on. Marks are bits; a Fenwick tree counts them by stretches of
// 512, one line of the processor's cache. The stretch that is being filled is not in the tree until it is full, so that setting a
// mark costs nothing but the bit. When the places run out, the marks are moved together.
//
// Memory: at most 24 bytes a key, whatever the number of requests.
type Curve struct {
	last     []uint32 // by key: place of its mark plus one, 0 for none
	marks    []uint64
	tree     []uint32 // Fenwick, from 1: marks by stretch
	at       uint32   // next place
	live     uint32   // marks set: distinct keys so far
	hist     []uint32 // by stack distance: requests
	requests int64
}

const (
	stretchBits  = 9
	stretchWords = 1 << stretchBits / 64
	firstPlaces  = 1 << 16
)

// NewCurve returns an empty curve.
func NewCurve() *Curve {
	c := &Curve{}
	c.room(firstPlaces)
	return c
}

func (c *Curve) room(places int) {
	c.marks = make([]uint64, places/64)
	c.tree = make([]uint32, places>>stretchBits+1)
	c.at = 0
}

// Add counts the requests of a block.
func (c *Curve) Add(b Block) {
	c.last = grow(c.last, b.Known)
	c.hist = grow(c.hist, b.Known+1)
	c.requests += int64(len(b.Keys))
	for keys := b.Keys; len(keys) > 0; {
		free := len(c.marks)*64 - int(c.at)
		if free == 0 {
			c.compact()
			continue
		}
		// Up to the end of the stretch there is nothing to fold.
		n := min(len(keys), 1<<stretchBits-int(c.at)&(1<<stretchBits-1))
		c.stretch(keys[:n])
		keys = keys[n:]
		if c.at&(1<<stretchBits-1) == 0 {
			c.fold(c.at>>stretchBits - 1)
		}
	}
}

// stretch counts requests whose marks all come into the stretch that is being filled.
func (c *Curve) stretch(keys []uint32) {
	last, marks, tree, hist := c.last, c.marks, c.tree, c.hist
	at, live := c.at, c.live
	now := at >> stretchBits
	for _, key := range keys {
		mark := last[key]
		last[key] = at + 1
		if mark == 0 {
			live++
		} else {
			p := mark - 1
			word := p >> 6
			from := p >> stretchBits
			first := from * stretchWords
			before := uint32(bits.OnesCount64(marks[word] & (1<<(p&63) - 1)))
			for _, w := range marks[first:word] {
				before += uint32(bits.OnesCount64(w))
			}
			for i := from; i > 0; i &= i - 1 {
				before += tree[i]
			}
			hist[live-before]++
			marks[word] &^= 1 << (p & 63)
			if from != now {
				for i := from + 1; i < uint32(len(tree)); i += i & -i {
					tree[i]--
				}
			}
		}
		marks[at>>6] |= 1 << (at & 63)
		at++
	}
	c.at, c.live = at, live
}

// fold puts the marks of a full stretch into the tree.
func (c *Curve) fold(stretch uint32) {
	n := c.count(stretch)
	for i := stretch + 1; i < uint32(len(c.tree)); i += i & -i {
		c.tree[i] += n
	}
}

func (c *Curve) count(stretch uint32) uint32 {
	n := 0
	for _, w := range c.marks[stretch*stretchWords : (stretch+1)*stretchWords] {
		n += bits.OnesCount64(w)
	}
	return uint32(n)
}

// compact moves the marks together, in their order, and leaves at least three times as many places as there are marks.
func (c *Curve) compact() {
	ranks := make([]uint32, len(c.marks)) // marks before each word
	n := uint32(0)
	for i, w := range c.marks {
		ranks[i] = n
		n += uint32(bits.OnesCount64(w))
	}
	for key, mark := range c.last {
		if mark != 0 {
			p := mark - 1
			c.last[key] = ranks[p>>6] + uint32(bits.OnesCount64(c.marks[p>>6]&(1<<(p&63)-1))) + 1
		}
	}
	places := len(c.marks) * 64
	for places < 4*int(n) && places < 1<<31 {
		places *= 2
	}
	c.room(places)
	for i := uint32(0); i < n/64; i++ {
		c.marks[i] = ^uint64(0)
	}
	if n%64 != 0 {
		c.marks[n/64] = 1<<(n%64) - 1
	}
	c.at = n
	for s := uint32(0); s < n>>stretchBits; s++ {
		c.fold(s)
	}
}

// Requests is how many requests were counted.
func (c *Curve) Requests() int64 { return c.requests }

// Bytes is the memory that the curve takes.
func (c *Curve) Bytes() int64 {
	return int64(cap(c.last)+cap(c.hist)+cap(c.tree))*4 + int64(cap(c.marks))*8
}

// Keys is how many of them were distinct.
func (c *Curve) Keys() int { return int(c.live) }

// Misses returns the misses of LRU caches of these sizes, which are in ascending order.
func (c *Curve) Misses(sizes []int) []int64 {
	out := make([]int64, len(sizes))
	hits, d := int64(0), 1
	for i, size := range sizes {
		for ; d <= size && d < len(c.hist); d++ {
			hits += int64(c.hist[d])
		}
		out[i] = c.requests - hits
	}
	return out
}
