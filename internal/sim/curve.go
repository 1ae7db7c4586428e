package sim

import "math/bits"

// Curve counts the misses of LRU at every size in one pass.
//
// A request hits in exactly those LRU caches that hold at least as many objects as there were distinct keys since the last
// request of its key, itself included: its stack distance (Mattson and others, 1970). Each key has a mark at the place of its
// last request; the distance is the number of marks from there on. Marks are bits, counted by a tree: five levels whose nodes
// have four children each and hold, in one word, how many marks lie before each child, and above them a binary tree whose
// nodes hold how many lie in their left half. A place that is not yet used counts as marked: what is behind it is never
// asked for before it is used. So setting a mark changes no count, and to find a distance and to take the mark away is one walk
// upwards, through the same nodes, without a branch that depends on the trace. When the places run out, the marks are moved together.
//
// Memory: at most 16 bytes a key, whatever the number of requests.
type Curve struct {
	last     []uint32 // by key: place of its mark plus one, 0 for none
	marks    []uint64
	counts   []uint64          // the lower levels, one after the other
	levels   [lowLevels]uint32 // where each begins in counts
	left     []uint32          // the upper levels: node 1 is the root, 2n and 2n+1 are the children of n
	at       uint32            // next place
	live     uint32            // marks set: distinct keys so far
	hist     []uint32          // by stack distance: requests
	requests int64
	warm     uint64 // no meaning, see leaf
}

const (
	lowLevels   = 5
	firstPlaces = 64 << (2 * lowLevels) // that the lower levels can count in 16 bits
	leafPlaces  = 256                   // of a node of the lowest level

	// A count for each child of a node, in 16 bits: one for all behind the first. Shifted by 16 for each child before one: all behind that.
	behind = 0x0001_0001_0001_0000
)

// NewCurve returns an empty curve.
func NewCurve() *Curve {
	c := &Curve{}
	c.room(firstPlaces)
	return c
}

// room makes a tree for a power of two of places, none of them used.
func (c *Curve) room(places int) {
	c.marks = make([]uint64, places/64)
	nodes := 0
	for l := range c.levels {
		c.levels[l] = uint32(nodes)
		nodes += places / (leafPlaces << (2 * l))
	}
	c.counts = make([]uint64, nodes)
	c.left = make([]uint32, places/firstPlaces)
	c.at = 0
}

// Add counts the requests of a block.
func (c *Curve) Add(b Block) {
	c.last = grow(c.last, b.Known)
	c.hist = grow(c.hist, b.Known+1)
	c.requests += int64(len(b.Keys))
	for keys := b.Keys; len(keys) > 0; {
		if int(c.at) == len(c.marks)*64 {
			c.compact()
		}
		if c.at%leafPlaces == 0 {
			c.open(c.at)
		}
		n := min(len(keys), leafPlaces-int(c.at%leafPlaces))
		c.leaf(keys[:n])
		keys = keys[n:]
	}
}

// open counts all places of a leaf as marked, before the first of them is used.
func (c *Curve) open(at uint32) {
	i := at / 64
	c.counts[i/4] = 0x00c0_0080_0040_0000 // 64, 128, 192
	i /= 4
	for l := 1; l < lowLevels; l++ {
		child := i % 4 * 16
		i /= 4
		c.counts[c.levels[l]+i] += leafPlaces * behind << child
	}
	for node := i + uint32(len(c.left)); node > 1; node /= 2 {
		if node%2 == 0 {
			c.left[node/2] += leafPlaces
		}
	}
}

// leaf counts requests whose marks all come into the leaf that was opened last.
func (c *Curve) leaf(keys []uint32) {
	last, marks, counts, left := c.last, c.marks, c.counts, c.left
	at, live, levels := c.at, c.live, c.levels
	// Places, marks and the histogram come from far in memory. Loops of their own fetch them side by side; in the one between
	// each would wait for the one before.
	warm, mask := uint64(0), uint32(len(marks)-1)
	for _, key := range keys {
		warm |= marks[(last[key]-1)/64&mask]
	}
	c.warm = warm
	var distances [leafPlaces]uint32
	n := 0
	for _, key := range keys {
		mark := last[key]
		last[key] = at + 1
		if mark == 0 {
			live++
		} else {
			p := mark - 1
			i := p / 64
			word := marks[i]
			before := uint32(bits.OnesCount64(word & (1<<(p%64) - 1)))
			marks[i] = word &^ (1 << (p % 64))
			for _, level := range levels {
				child := i % 4 * 16
				i /= 4
				count := &counts[level+i]
				before += uint32(*count >> child & 0xffff)
				*count -= behind << child
			}
			for node := i + uint32(len(left)); node > 1; {
				right := node % 2
				node /= 2
				count := &left[node]
				before += *count & -right
				*count -= 1 - right
			}
			distances[n&(leafPlaces-1)] = live - before
			n++
		}
		marks[at/64] |= 1 << (at % 64)
		at++
	}
	for _, d := range distances[:n] {
		c.hist[d]++
	}
	c.at, c.live = at, live
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
			c.last[key] = ranks[p/64] + uint32(bits.OnesCount64(c.marks[p/64]&(1<<(p%64)-1))) + 1
		}
	}
	places := len(c.marks) * 64
	for places < 4*int(n) && places < 1<<31 {
		places *= 2
	}
	c.room(places)
	for i := range n / 64 {
		c.marks[i] = ^uint64(0)
	}
	if n%64 != 0 {
		c.marks[n/64] = 1<<(n%64) - 1
	}
	c.at = n
	for leaf := uint32(0); leaf < n; leaf += leafPlaces {
		c.open(leaf)
	}
}

// Bytes is the memory that the curve takes.
func (c *Curve) Bytes() int64 {
	return int64(cap(c.last)+cap(c.hist)+cap(c.left))*4 + int64(cap(c.marks)+cap(c.counts))*8
}

// Requests is how many requests were counted.
func (c *Curve) Requests() int64 { return c.requests }

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
