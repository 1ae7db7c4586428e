package sim

import "math/bits"

// opt is Belady's: it evicts the key that is asked for farthest in the future, and always admits.
//
// The cache is the set of the numbers of the requests that its keys will next be asked by. So a request is a hit if its own number
// is in the set, and the greatest number is the one to evict: no key needs a place anywhere. The set is a bitmap with a
// bitmap of its words that are not empty above it, and so on. Memory: one bit a request, and a sixty-third of that.
type opt struct {
	levels     [6][]uint64
	now        uint32
	size, held int
	never      int // of held: keys that are not asked for again
	misses     int64
}

func newOpt(size int) *opt { return &opt{size: size} }

func (p *opt) Misses() int64 { return p.misses }

func (p *opt) Add(b Block) {
	for _, next := range b.Next {
		if p.has(p.now) {
			p.clear(p.now)
		} else {
			p.misses++
			switch {
			case p.held < p.size:
				p.held++
			case p.never > 0:
				p.never--
			default:
				p.clear(p.greatest())
			}
		}
		if next == Never {
			p.never++
		} else {
			p.set(next)
		}
		p.now++
	}
}

func (p *opt) has(n uint32) bool {
	word := int(n >> 6)
	return word < len(p.levels[0]) && p.levels[0][word]>>(n&63)&1 != 0
}

func (p *opt) set(n uint32) {
	for l := range p.levels {
		word := int(n >> 6)
		p.levels[l] = grow(p.levels[l], word+1)
		was := p.levels[l][word]
		p.levels[l][word] = was | 1<<(n&63)
		if was != 0 {
			return
		}
		n >>= 6
	}
}

func (p *opt) clear(n uint32) {
	for l := range p.levels {
		word := n >> 6
		p.levels[l][word] &^= 1 << (n & 63)
		if p.levels[l][word] != 0 {
			return
		}
		n = word
	}
}

// greatest returns the greatest member of a set that is not empty.
func (p *opt) greatest() uint32 {
	n := uint32(0)
	for l := len(p.levels) - 1; l >= 0; l-- {
		n = n<<6 + uint32(bits.Len64(p.levels[l][n])) - 1
	}
	return n
}
