package sim

// Curve counts the misses of LRU at every size in one pass, and gives the keys their numbers meanwhile.
//
// A request hits in exactly those LRU caches that hold at least as many objects as there were distinct keys since the last
// request of its key, itself included: its stack distance (Mattson and others, 1970). Each key has a mark at the place of its
// last request; the distance is the number of marks from there on, which a tree counts (see marks).
//
// Memory: 8 bytes a key at most beside the Interner's, whatever the number of requests; CurvePerKey in all, while it grows.
type Curve struct {
	*Interner
	marks    marks
	hist     []uint32 // by stack distance: requests
	requests int64
}

// CurvePerKey is what a curve takes for each key at most, while a part of it grows: bytes.
const CurvePerKey = 72

// NewCurve returns an empty curve over an empty table of keys, which belongs to it from now on.
func NewCurve(ids *Interner) *Curve {
	c := &Curve{Interner: ids}
	c.marks.room(firstPlaces)
	return c
}

// Add counts requests, and writes the numbers of their keys into ids, which has room for as many or is nil.
func (c *Curve) Add(keys []uint64, ids []uint32) {
	c.requests += int64(len(keys))
	var at [internerBlock]uint32
	for len(keys) > 0 {
		c.open()
		n := min(len(keys), internerBlock, c.marks.free())
		c.find(keys[:n], &at)
		if ids != nil {
			for k, place := range at[:n] {
				ids[k] = c.table[place].number - 1
			}
			ids = ids[n:]
		}
		c.hist = grow(c.hist, c.keys+1)
		c.count(at[:n])
		keys = keys[n:]
	}
}

// AddBlock counts the requests of a block, whose numbers are taken for keys.
func (c *Curve) AddBlock(b Block) {
	var keys [internerBlock]uint64
	for part := range stretches(b.Keys) {
		for k, number := range part {
			keys[k] = uint64(number)
		}
		c.Add(keys[:len(part)], nil)
	}
}

// count counts requests of entries whose marks all come into the leaf that was opened last.
//
// What is done for each request is cut into loops of their own, each of which does one thing for all: so that the processor has several accesses to
// far memory under way, where it would wait for one after the other.
func (c *Curve) count(entries []uint32) {
	var places, distances [internerBlock]uint32
	table, m := c.table, &c.marks
	// A distance is what is counted behind the last place less the places that are not used, which count as marked.
	n, at := 0, m.at
	for _, i := range entries {
		e := &table[i]
		mark := e.mark
		at++
		e.mark = at
		places[n&(internerBlock-1)] = mark - 1
		distances[n&(internerBlock-1)] = at - m.opened
		if mark != 0 {
			n++
		}
	}
	m.at = at
	m.take(places[:n], distances[:n])
	for _, d := range distances[:n] {
		c.hist[d]++
	}
}

// open makes sure that the next place is in a leaf that is open, and moves the marks together when there are no more leaves.
func (c *Curve) open() {
	m := &c.marks
	if m.free() > 0 {
		return
	}
	if m.full() {
		ranks := m.ranks()
		for i := range c.table {
			if e := &c.table[i]; e.mark != 0 {
				e.mark = ranks.of(e.mark-1, m.words) + 1
			}
		}
		m.compact(c.keys)
	}
	if m.free() == 0 {
		m.open()
	}
}

// Bytes is the memory that the curve takes, with the table of the keys.
func (c *Curve) Bytes() int64 {
	return c.Interner.Bytes() + int64(cap(c.hist))*4 + c.marks.bytes()
}

// Growing is the memory that it takes beside Bytes, at most, while one of its parts grows the next time.
func (c *Curve) Growing() int64 {
	return max(c.Interner.Growing(), int64(cap(c.hist))*6, 5*c.marks.bytes())
}

// Requests is how many requests were counted.
func (c *Curve) Requests() int64 { return c.requests }

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
