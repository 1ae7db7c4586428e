package synth

import (
	"math/bits"

	"github.com/demarc-dev/demarc/event"
)

// rng is the splitmix64 generator: a few integer operations, so that a seed gives the same numbers on every machine. The
// standard library's sources are not used, since what their methods draw may change with a version of Go.
type rng struct{ state uint64 }

func newRNG(parts ...uint64) rng {
	h := uint64(0x5851f42d4c957f2d)
	for _, p := range parts {
		h = mix(h, p)
	}
	return rng{h}
}

func (r *rng) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	return scramble(r.state)
}

// below returns a number from 0 to n-1; n is positive.
func (r *rng) below(n int64) int64 {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int64(hi)
}

// between returns a number from lo to hi, both included.
func (r *rng) between(lo, hi int64) int64 { return lo + r.below(hi-lo+1) }

// one says yes once in n times on average.
func (r *rng) one(n int64) bool { return r.below(n) == 0 }

func scramble(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

func mix(h, v uint64) uint64 { return scramble(h ^ v*0x9e3779b97f4a7c15 + 0x632be59bd9b4e019) }

// hashOf is a hash of a few numbers, never 0, which would mean "not known".
func hashOf(parts ...uint64) event.Hash {
	h := uint64(len(parts))
	for _, p := range parts {
		h = mix(h, p)
	}
	return event.Hash(max(h, 1))
}

// zipf draws from 0 to n-1, the k-th in proportion to 1/(k+1)^s, by Walker's alias method: one table of n rows, one draw in
// constant time. All of it is integer arithmetic: floating-point powers differ between machines in the last bit.
type zipf struct {
	keep  []uint64 // of total, with what chance a row stands for itself
	other []uint32
	total uint64
}

// newZipf makes a table for n numbers and the exponent thousandths/1000. Memory: 12 bytes a number.
func newZipf(n int, thousandths int64) *zipf {
	z := &zipf{keep: make([]uint64, n), other: make([]uint32, n)}
	for k := range z.keep {
		w := weight(uint64(k+1), uint64(thousandths))
		z.keep[k] = w
		z.total += w
	}
	// A row holds total; each number brings its weight times n.
	var small, large []uint32
	for k := range z.keep {
		z.keep[k] *= uint64(n)
		z.other[k] = uint32(k)
		if z.keep[k] < z.total {
			small = append(small, uint32(k))
		} else {
			large = append(large, uint32(k))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		z.other[s] = l
		z.keep[l] -= z.total - z.keep[s]
		if z.keep[l] < z.total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return z
}

func (z *zipf) draw(r *rng) int64 {
	k := r.below(int64(len(z.keep)))
	if uint64(r.below(int64(z.total))) < z.keep[k] {
		return k
	}
	return int64(z.other[k])
}

// weight is 2^32 / k^(s/1000), at least 1. With up to 2^20 numbers the sum times n stays below 2^63.
func weight(k, s uint64) uint64 {
	// log2 of k times s/1000 has 32 bits behind the point.
	e := log2(k) * s / 1000
	whole, part := e>>32, e&(1<<32-1)
	if whole >= 32 {
		return 1
	}
	return max(exp2neg(part)>>whole, 1)
}

// log2 of k with 32 bits behind the point, by squaring what is left 32 times.
func log2(k uint64) uint64 {
	n := uint64(bits.Len64(k) - 1)
	x := k << (63 - n) // 1.63 fixed point, from 1 to 2
	out := n << 32
	for bit := uint64(1) << 31; bit > 0; bit >>= 1 {
		hi, lo := bits.Mul64(x, x) // 2.126
		if hi>>63 == 1 {
			out |= bit
			x = hi
		} else {
			x = hi<<1 | lo>>63
		}
	}
	return out
}

// halves[i] is 2^(-2^-(i+1)) with 32 bits behind the point: each the square root of the one before.
var halves = func() (list [32]uint64) {
	x := uint64(1) << 31 // a half, whose roots follow
	for i := range list {
		x = squareRoot(x << 32)
		list[i] = x
	}
	return list
}()

// exp2neg is 2^32 / 2^(part/2^32).
func exp2neg(part uint64) uint64 {
	out := uint64(1) << 32
	for i := range halves {
		if part>>(31-i)&1 == 1 {
			out = out * halves[i] >> 32
		}
	}
	return out
}

// squareRoot is the integer square root, rounded down.
func squareRoot(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	x := uint64(1) << ((bits.Len64(n) + 1) / 2)
	for {
		y := (x + n/x) / 2
		if y >= x {
			return x
		}
		x = y
	}
}
