package sim

// redisLRU is the approximation of LRU that Redis 7 evicts by under allkeys-lru with five samples: before each eviction
// five random keys are looked at, and those idle for longest wait in a pool of sixteen, across evictions. An
// entry of the pool keeps the idle time it came with, even if its key is used or set anew meanwhile. Idle times are in
// whole seconds where the trace has times, as they are in Redis; where it has none, every request is a second of its own.
type redisLRU struct {
	place  []uint32 // by key: in held, plus one
	used   []uint32 // by key: second of the last request
	held   []uint32 // keys
	pool   [redisPool]redisCandidate
	pooled int // entries of pool, from the left, by idle time ascending
	now    uint32
	size   int
	random uint64
	misses int64
}

type redisCandidate struct{ key, idle uint32 }

const (
	redisPool    = 16
	redisSamples = 5
)

func newRedisLRU(size int) *redisLRU { return &redisLRU{size: size} }

func (p *redisLRU) Misses() int64 { return p.misses }

func (p *redisLRU) Add(b Block) {
	p.place = grow(p.place, b.Known)
	p.used = grow(p.used, b.Known)
	for i, key := range b.Keys {
		if b.At != nil {
			p.now = uint32(b.At[i] / 1e9)
		} else {
			p.now++
		}
		p.used[key] = p.now
		if p.place[key] != 0 {
			continue
		}
		p.misses++
		if len(p.held) == p.size {
			p.evict()
		}
		p.held = append(p.held, key)
		p.place[key] = uint32(len(p.held))
	}
}

func (p *redisLRU) evict() {
	for {
		p.sample()
		for p.pooled > 0 {
			p.pooled--
			if key := p.pool[p.pooled].key; p.place[key] != 0 {
				p.drop(key)
				return
			}
		}
	}
}

// drop fills the key's place with the last one: places mean nothing, they are only drawn from.
func (p *redisLRU) drop(key uint32) {
	at, last := p.place[key]-1, p.held[len(p.held)-1]
	p.held[at] = last
	p.place[last] = at + 1
	p.held = p.held[:len(p.held)-1]
	p.place[key] = 0
}

// sample puts random keys into the pool, where they are idle for longer than what is in it, or there is room.
func (p *redisLRU) sample() {
	for range min(redisSamples, len(p.held)) {
		p.random += 0x9e3779b97f4a7c15
		key := p.held[mix(p.random)%uint64(len(p.held))]
		idle := p.now - p.used[key]
		at := 0
		for at < p.pooled && p.pool[at].idle < idle {
			at++
		}
		switch {
		case p.pooled < redisPool:
			copy(p.pool[at+1:p.pooled+1], p.pool[at:p.pooled])
			p.pooled++
		case at == 0:
			continue
		default: // the one idle for the shortest time leaves
			at--
			copy(p.pool[:at], p.pool[1:at+1])
		}
		p.pool[at] = redisCandidate{key, idle}
	}
}
