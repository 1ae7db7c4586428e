package forecast

import "math/bits"

// ages counts times in buckets of at most 1/16 of their value: 16 to each power of two. Memory: 8 kB.
type ages struct{ n [61 * 16]int64 }

func bucket(v int64) int {
	v = max(v, 0)
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(uint64(v)) - 5
	return (shift+1)*16 + int(v>>shift)&15
}

// floor is the smallest value in a bucket.
func floor(b int) int64 {
	if b < 16 {
		return int64(b)
	}
	return int64(16+b&15) << (b/16 - 1)
}

func (a *ages) add(v int64) { a.n[bucket(v)]++ }

func (a *ages) merge(o *ages) {
	for i, n := range o.n {
		a.n[i] += n
	}
}

// median returns the value of rank (total+1)/2, rounded down to its bucket.
func (a *ages) median(total int64) int64 {
	rank := (total + 1) / 2
	for b, n := range a.n {
		if rank -= n; rank <= 0 && n > 0 {
			return floor(b)
		}
	}
	return 0
}
