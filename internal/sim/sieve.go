package sim

// sieve is SIEVE (Zhang and others, NSDI'24): a queue that never moves what is in it. A hand goes from the oldest to the newest
// and round again; it spares what was asked for since it last came by, and evicts the first that was not.
//
// The queue is an array; what was evicted leaves a gap, until they are closed together.
type sieve struct {
	state      []byte   // by key: absent, present, or referenced since the hand came by
	queue      []uint32 // keys, the oldest first, and gaps
	hand       int      // where to look next
	size, held int
	misses     int64
	warm       byte // no meaning, see Add
}

// gap is the bit of a place in the queue whose key was evicted.
const gap = 1 << 31

// sieveSlack is how many gaps a queue may have at least.
const sieveSlack = 4096

func newSieve(size int) *sieve { return &sieve{size: size} }

func (p *sieve) Misses() int64 { return p.misses }

func (p *sieve) Add(b Block) {
	p.state = grow(p.state, b.Known)
	state := p.state
	for keys := range stretches(b.Keys) {
		// What is needed next comes from far in memory: these loops fetch it side by side.
		warm := byte(0)
		for _, key := range keys {
			warm |= state[key]
		}
		for _, key := range p.queue[p.hand:min(p.hand+len(keys), len(p.queue))] {
			warm |= state[key&^gap]
		}
		p.warm = warm
		for _, key := range keys {
			if state[key] != absent {
				state[key] = referenced
				continue
			}
			p.misses++
			if p.held == p.size {
				p.evict()
			} else {
				p.held++
			}
			if len(p.queue) == cap(p.queue) {
				p.close()
			}
			state[key] = present
			p.queue = append(p.queue, key)
		}
	}
}

func (p *sieve) evict() {
	for {
		key := p.queue[p.hand]
		at := p.hand
		if p.hand++; p.hand == len(p.queue) {
			p.hand = 0
		}
		switch {
		case key&gap != 0:
		case p.state[key] == referenced:
			p.state[key] = present
		default:
			p.state[key] = absent
			p.queue[at] |= gap
			return
		}
	}
}

// close closes the gaps and makes room for as many more keys.
func (p *sieve) close() {
	old, to := p.queue, p.queue[:cap(p.queue)]
	if need := 2*p.held + sieveSlack; need > len(to) {
		to = make([]uint32, need+need/4)
	}
	kept, hand := 0, 0
	for i, key := range old {
		if i == p.hand {
			hand = kept
		}
		to[kept] = key
		if key&gap == 0 {
			kept++
		}
	}
	p.queue, p.hand = to[:kept], hand
}
