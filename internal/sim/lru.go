package sim

// lru evicts what was used least recently.
//
// Nothing is moved when a key is used again: requests stand in a queue in their order, and one that is not the last of its key is passed over when
// it comes to the front. What is in the cache is what was asked for after the last request of the key evicted last.
type lru struct {
	last       []uint32  // by key: number of its last request, counted from 1; 0 for none
	queue      []request // from front on
	front      int
	gone       uint32 // number of the last request of the key evicted last
	now        uint32
	size, held int
	misses     int64
	warm       uint32 // no meaning, see Add
}

// request is one of a key, with its number.
type request struct{ key, number uint32 }

// lruSlack is how long the queue may be at least.
const lruSlack = 4096

func newLRU(size int) *lru { return &lru{size: size} }

func (p *lru) Misses() int64 { return p.misses }

func (p *lru) Add(b Block) {
	p.last = grow(p.last, b.Known)
	for keys := range stretches(b.Keys) {
		if len(p.queue)+len(keys) > cap(p.queue) {
			p.compact(len(keys))
		}
		// What is needed next comes from far in memory: these loops fetch it side by side.
		warm, last := uint32(0), p.last
		for _, key := range keys {
			warm |= last[key]
		}
		for _, r := range p.queue[p.front:min(p.front+len(keys), len(p.queue))] {
			warm |= last[r.key]
		}
		p.warm = warm
		for _, key := range keys {
			last := p.last[key]
			p.now++
			p.last[key] = p.now
			p.queue = append(p.queue, request{key, p.now})
			if last > p.gone {
				continue
			}
			p.misses++
			if p.held == p.size {
				p.evict()
			} else {
				p.held++
			}
		}
	}
}

func (p *lru) evict() {
	for {
		r := p.queue[p.front]
		p.front++
		if p.last[r.key] == r.number {
			p.gone = r.number
			return
		}
	}
}

// compact takes those requests out of the queue that are not the last of their keys, and makes room for n more.
func (p *lru) compact(n int) {
	old := p.queue[p.front:]
	to := p.queue[:cap(p.queue)]
	if need := 3*p.held + lruSlack + n; need > len(to) {
		to = make([]request, need+need/4)
	}
	kept := 0
	for _, r := range old {
		to[kept] = r
		if p.last[r.key] == r.number {
			kept++
		}
	}
	p.queue, p.front = to[:kept], 0
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
