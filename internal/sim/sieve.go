package sim

// sieve is SIEVE (Zhang and others, NSDI'24): a queue that never moves what is in it. A hand goes from the oldest to the newest
// and round again; it spares what was asked for since it last came by, and evicts the first that was not.
type sieve struct {
	chains
	seen       []byte // by node
	hand       uint32 // where to look next; 1, the list itself, for the oldest
	size, held int
	misses     int64
}

func newSieve(size int) *sieve { return &sieve{chains: newChains(1), hand: 1, size: size} }

func (p *sieve) Misses() int64 { return p.misses }

func (p *sieve) Add(b Block) {
	p.grow(b.Known)
	p.seen = grow(p.seen, b.Known+int(p.first))
	for _, key := range b.Keys {
		node := key + p.first
		if p.in(node) {
			p.seen[node] = 1
			continue
		}
		p.misses++
		if p.held == p.size {
			p.evict()
		} else {
			p.held++
		}
		p.push(1, node)
	}
}

func (p *sieve) evict() {
	node := p.hand
	for node == 1 || p.seen[node] != 0 {
		p.seen[node] = 0
		node = p.links[node].prev
	}
	p.hand = p.links[node].prev
	p.remove(node)
}
