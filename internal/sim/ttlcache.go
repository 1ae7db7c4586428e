package sim

// ttlCache is cachetools.TTLCache: an entry lives from the miss that stored it for the lifetime (excluded), however often it is
// used. A miss first drops what has expired, then the least recently used entry if there is still no room.
type ttlCache struct {
	used    chains // by last use
	stored  chains // by age
	expires []int64
	ttl     int64
	size    int
	held    int
	misses  int64
}

func newTTLCache(size int, ttl int64) *ttlCache {
	return &ttlCache{used: newChains(1), stored: newChains(1), size: size, ttl: ttl}
}

func (p *ttlCache) Misses() int64 { return p.misses }

func (p *ttlCache) Add(b Block) {
	p.used.grow(b.Known)
	p.stored.grow(b.Known)
	p.expires = grow(p.expires, b.Known+int(p.used.first))
	for i, key := range b.Keys {
		node, now := key+p.used.first, b.At[i]
		if p.used.in(node) && now < p.expires[node] {
			p.used.toFront(1, node)
			continue
		}
		p.misses++
		for oldest := p.stored.back(1); oldest != 1 && p.expires[oldest] <= now; oldest = p.stored.back(1) {
			p.drop(oldest)
		}
		if p.held == p.size {
			p.drop(p.used.back(1))
		}
		p.held++
		p.expires[node] = now + p.ttl
		p.used.push(1, node)
		p.stored.push(1, node)
	}
}

func (p *ttlCache) drop(node uint32) {
	p.held--
	p.used.remove(node)
	p.stored.remove(node)
}
