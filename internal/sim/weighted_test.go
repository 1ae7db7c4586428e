package sim

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// plainWeighted is the same cache, written down as it is defined: a list, the newest first.
type plainWeighted struct {
	policy   string
	capacity int64
	ttl      int64
	list     []plainEntry
	hand     int // key the hand of SIEVE points at, -1 for none
	misses   int64
}

type plainEntry struct {
	key     int
	size    int64
	expires int64
	marked  bool
}

func (p *plainWeighted) at(key int) int {
	return slices.IndexFunc(p.list, func(e plainEntry) bool { return e.key == key })
}

func (p *plainWeighted) remove(i int) {
	if p.list[i].key == p.hand {
		p.hand = -1
		if i > 0 {
			p.hand = p.list[i-1].key
		}
	}
	p.list = slices.Delete(p.list, i, i+1)
}

func (p *plainWeighted) request(key int, now, size, ttl int64) bool {
	if i := p.at(key); i >= 0 {
		if e := p.list[i]; e.expires == 0 || now < e.expires {
			if p.policy == "lru" {
				p.list = slices.Insert(slices.Delete(p.list, i, i+1), 0, e)
			} else {
				p.list[i].marked = true
			}
			return true
		}
		p.remove(i)
	}
	p.misses++
	if size > p.capacity {
		return false
	}
	sum := func() (n int64) {
		for _, e := range p.list {
			n += e.size
		}
		return n
	}
	for sum()+size > p.capacity {
		i := len(p.list) - 1
		switch p.policy {
		case "clock":
			for p.list[i].marked {
				e := p.list[i]
				e.marked = false
				p.list = slices.Insert(p.list[:i], 0, e)
			}
		case "sieve":
			if p.hand >= 0 {
				i = p.at(p.hand)
			}
			for p.list[i].marked {
				p.list[i].marked = false
				if i--; i < 0 {
					i = len(p.list) - 1
				}
			}
			p.hand = p.list[i].key
		}
		p.remove(i)
	}
	e := plainEntry{key: key, size: size}
	if ttl == 0 {
		ttl = p.ttl
	}
	if ttl > 0 {
		e.expires = now + ttl
	}
	p.list = slices.Insert(p.list, 0, e)
	return false
}

func TestWeightedAgainstPlain(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		var b Block
		now := int64(0)
		b.Known = 1 + random.IntN(30)
		for range 400 {
			now += random.Int64N(5)
			b.Keys = append(b.Keys, uint32(min(random.IntN(b.Known), random.IntN(b.Known))))
			b.At = append(b.At, now)
			b.Sizes = append(b.Sizes, uint32(random.IntN(20)))
			b.TTL = append(b.TTL, random.Int64N(3)*random.Int64N(60))
			b.Cost = append(b.Cost, float32(random.IntN(9)))
		}
		capacity, ttl := 1+random.Int64N(150), random.Int64N(2)*40
		for _, name := range []string{"lru", "fifo", "clock", "sieve"} {
			def, err := Find(name)
			if err != nil || !def.Weighted() {
				t.Fatal(name, err)
			}
			plain := plainWeighted{policy: name, capacity: capacity, ttl: ttl, hand: -1}
			var want Loss
			for i, key := range b.Keys {
				if !plain.request(int(key), b.At[i], int64(b.Sizes[i]), b.TTL[i]) {
					want.Cost += float64(b.Cost[i])
					want.Bytes += int64(b.Sizes[i])
				}
			}
			whole, single := def.NewWeighted(capacity, Options{TTL: ttl}), def.NewWeighted(capacity, Options{TTL: ttl})
			whole.Add(b)
			var loss Loss
			AddWith(single, b, b.Sizes, &loss)
			if whole.Misses() != plain.misses || single.Misses() != plain.misses || loss != want {
				t.Fatalf("round %d, %s of %d: %d and %d misses, %+v; plainly %d, %+v", round, name, capacity, whole.Misses(), single.Misses(), loss, plain.misses, want)
			}
		}
	}
}

// Without sizes and lifetimes a weighted cache is the plain one; and one request at a time counts the same for every policy.
func TestWeightedIsPlain(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	tr := NewTrace(true)
	var b Block
	b.Known = 300
	for i := range 20_000 {
		b.Keys = append(b.Keys, uint32(min(random.IntN(300), random.IntN(300), random.IntN(300))))
		b.At = append(b.At, int64(i)*1e8)
	}
	tr.Add(b)
	for _, def := range Policies() {
		for _, size := range []int{1, 7, 40, 300} {
			opt := Options{}
			if def.Times {
				opt.TTL = 60e9
			}
			plain, single := def.New(size, opt), def.New(size, opt)
			policies := []Policy{single}
			if def.Weighted() {
				policies = append(policies, def.NewWeighted(int64(size), opt))
			}
			for b := range tr.Blocks() {
				plain.Add(b)
				AddWith(single, b, nil, &Loss{})
				if def.Weighted() {
					policies[1].Add(b)
				}
			}
			for i, p := range policies {
				if p.Misses() != plain.Misses() {
					t.Errorf("%s of %d: %d misses, form %d has %d", def.Name, size, plain.Misses(), i, p.Misses())
				}
			}
		}
	}
}
