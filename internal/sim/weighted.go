package sim

// weighted is a cache whose entries have sizes and lifetimes: LRU, FIFO, CLOCK or SIEVE. It evicts until what comes in has room; what is
// larger than the whole cache is never stored. An entry lives from the miss that stored it until its lifetime is over (excluded), however
// often it is used; one that has expired is a miss when it is asked for, and takes room until then or until it is evicted. An entry
// keeps the size and the lifetime that it was stored with.
type weighted struct {
	chains
	kind     byte
	sizes    []uint32 // by node
	expires  []int64  // by node; nil until a lifetime was seen
	marked   []bool   // by node: used since it came in, or since the hand passed
	hand     uint32   // SIEVE: the node looked at next, 1 for the oldest
	ttl      int64    // of all entries whose request has none; 0: for ever
	capacity int64
	used     int64
	misses   int64
}

// Kinds of weighted caches.
const (
	weighedLRU byte = iota + 1
	weighedFIFO
	weighedClock
	weighedSieve
)

// weightedPerKey is the memory that a weighted cache takes for each distinct key of the trace, in bytes.
const weightedPerKey = 21

// Weighted says whether the policy is also there for entries with sizes and lifetimes.
func (d Definition) Weighted() bool { return d.kind != 0 }

// WeightedPerKey is Definition.PerKey of such a cache.
func (d Definition) WeightedPerKey() int { return weightedPerKey }

// NewWeighted returns an empty cache for entries with sizes and lifetimes. The capacity is in the unit of Block.Sizes, in objects where
// the blocks have none. Block.TTL counts where it is above zero, else Options.TTL; both need Block.At.
func (d Definition) NewWeighted(capacity int64, opt Options) Policy {
	return &weighted{chains: newChains(1), kind: d.kind, hand: 1, ttl: opt.TTL, capacity: max(capacity, 1)}
}

func (p *weighted) Misses() int64 { return p.misses }

func (p *weighted) Add(b Block) {
	p.grow(b.Known)
	n := len(p.links)
	p.sizes = grow(p.sizes, n)
	p.marked = grow(p.marked, n)
	lifetimes := b.At != nil && (p.ttl > 0 || b.TTL != nil)
	if lifetimes {
		p.expires = grow(p.expires, n)
	}
	for i, key := range b.Keys {
		node := key + p.first
		if p.in(node) {
			if !lifetimes || p.expires[node] == 0 || b.At[i] < p.expires[node] {
				p.use(node)
				continue
			}
			p.drop(node)
		}
		p.misses++
		size := uint32(1)
		if b.Sizes != nil {
			size = b.Sizes[i]
		}
		if int64(size) > p.capacity {
			continue
		}
		for p.used+int64(size) > p.capacity {
			p.drop(p.victim())
		}
		p.used += int64(size)
		p.sizes[node], p.marked[node] = size, false
		if lifetimes {
			ttl := p.ttl
			if b.TTL != nil && b.TTL[i] > 0 {
				ttl = b.TTL[i]
			}
			p.expires[node] = 0
			if ttl > 0 {
				p.expires[node] = b.At[i] + ttl
			}
		}
		p.push(1, node)
	}
}

func (p *weighted) use(node uint32) {
	switch p.kind {
	case weighedLRU:
		p.toFront(1, node)
	case weighedClock, weighedSieve:
		p.marked[node] = true
	}
}

// victim is the node to be evicted; something is held.
func (p *weighted) victim() uint32 {
	switch p.kind {
	case weighedClock:
		for p.marked[p.back(1)] {
			node := p.back(1)
			p.marked[node] = false
			p.toFront(1, node)
		}
	case weighedSieve:
		for {
			if p.hand == 1 {
				p.hand = p.back(1)
			}
			if !p.marked[p.hand] {
				return p.hand
			}
			p.marked[p.hand] = false
			p.hand = p.links[p.hand].prev
		}
	}
	return p.back(1)
}

func (p *weighted) drop(node uint32) {
	if node == p.hand {
		p.hand = p.links[node].prev
	}
	p.used -= int64(p.sizes[node])
	p.remove(node)
}

// Loss sums up what the misses of a policy cost.
type Loss struct {
	Cost  float64 // of Block.Cost
	Bytes int64
}

// AddWith replays the requests of a block one by one and adds to the loss what each miss costs, by Block.Cost and these bytes of each
// request (nil: not known). It takes several times as long as
// Policy.Add and counts the same misses.
func AddWith(p Policy, b Block, bytes []uint32, loss *Loss) {
	before := p.Misses()
	for i := range b.Keys {
		one := Block{Keys: b.Keys[i : i+1], Known: b.Known}
		if b.At != nil {
			one.At = b.At[i : i+1]
		}
		if b.Next != nil {
			one.Next = b.Next[i : i+1]
		}
		if b.Sizes != nil {
			one.Sizes = b.Sizes[i : i+1]
		}
		if b.TTL != nil {
			one.TTL = b.TTL[i : i+1]
		}
		p.Add(one)
		if after := p.Misses(); after != before {
			before = after
			if b.Cost != nil {
				loss.Cost += float64(b.Cost[i])
			}
			if bytes != nil {
				loss.Bytes += int64(bytes[i])
			}
		}
	}
}
