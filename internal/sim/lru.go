package sim

// lru evicts what was used least recently.
type lru struct {
	chains
	size, held int
	misses     int64
}

func newLRU(size int) *lru { return &lru{chains: newChains(1), size: size} }

func (p *lru) Misses() int64 { return p.misses }

func (p *lru) Add(b Block) {
	p.grow(b.Known)
	for _, key := range b.Keys {
		node := key + p.first
		if p.in(node) {
			p.toFront(1, node)
			continue
		}
		p.misses++
		if p.held == p.size {
			p.remove(p.back(1))
		} else {
			p.held++
		}
		p.push(1, node)
	}
}

// clock is a queue in a ring. What is asked for again while it waits is put behind once more if second is set, which
// makes it CLOCK with one reference bit, and plain FIFO if not.
type clock struct {
	state  []byte   // by key
	ring   []uint32 // keys; grows up to size
	hand   int      // the oldest, once the ring is full
	size   int
	second bool
	misses int64
}

// States of a key.
const (
	absent = iota
	present
	referenced
)

func newClock(size int, second bool) *clock { return &clock{size: size, second: second} }

func (p *clock) Misses() int64 { return p.misses }

func (p *clock) Add(b Block) {
	p.state = grow(p.state, b.Known)
	again := byte(present)
	if p.second {
		again = referenced
	}
	for _, key := range b.Keys {
		if p.state[key] != absent {
			p.state[key] = again
			continue
		}
		p.misses++
		p.state[key] = present
		if len(p.ring) < p.size {
			p.ring = append(p.ring, key)
			continue
		}
		// The place of the evicted one is the end of the queue as well.
		for p.state[p.ring[p.hand]] == referenced {
			p.state[p.ring[p.hand]] = present
			p.step()
		}
		p.state[p.ring[p.hand]] = absent
		p.ring[p.hand] = key
		p.step()
	}
}

func (p *clock) step() {
	if p.hand++; p.hand == len(p.ring) {
		p.hand = 0
	}
}
