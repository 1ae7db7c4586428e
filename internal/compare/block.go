package compare

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Requests of one process are not independent: a slow minute makes many of them slow at once. So the variance of every
// figure is not taken between requests, but between blocks of requests that follow each other in time (batch means; for
// Mann-Whitney's statistic DeLong 1988 with Obuchowski's clusters 1997). Where even neighbouring blocks resemble each other
// they are merged.
const (
	// fewBlocks is the number of requests up to which each one is its own block: blocks would be too few to tell anything.
	fewBlocks = 64
	// manyBlocks is the number of blocks beyond that.
	manyBlocks = 32
	// leastBlocks is where merging ends.
	leastBlocks = 8
)

// blocksFor is the number of blocks of n requests.
func blocksFor(n int) int {
	if n < fewBlocks {
		return n
	}
	return manyBlocks
}

// sums are, by block in the order of time, sums of a score and of what it is counted on.
type sums struct{ s, n []float64 }

func newSums(blocks int) sums { return sums{make([]float64, blocks), make([]float64, blocks)} }

func (x sums) add(block int, score, count float64) {
	x.s[block] += score
	x.n[block] += count
}

func (x sums) total() (s, n float64) {
	for i := range x.s {
		s += x.s[i]
		n += x.n[i]
	}
	return s, n
}

// mean is the sum of the scores by the sum of the counts.
func (x sums) mean() float64 {
	s, n := x.total()
	return s / n
}

// merged puts neighbours together while their deviations from the mean are correlated beyond chance (one-sided, 5 %). It
// tells whether the last step still was.
func (x sums) merged() (sums, bool) {
	for {
		mean := x.mean()
		var product, square, before float64
		for i := range x.s {
			e := x.s[i] - mean*x.n[i]
			square += e * e
			product += e * before
			before = e
		}
		blocks := len(x.s)
		correlated := square > 0 && product/square*math.Sqrt(float64(blocks)) > 1.645
		if !correlated || blocks < 2*leastBlocks {
			return x, correlated
		}
		half := newSums((blocks + 1) / 2)
		for i := range x.s {
			half.add(i/2, x.s[i], x.n[i])
		}
		x = half
	}
}

// variance is that of the mean, between blocks, with its degrees of freedom. What is left of the resemblance of neighbours
// counts as that of an autoregressive series: it makes the variance (1+r)/(1-r) times as great, and the blocks as many
// times fewer.
func (x sums) variance() (v, df float64) {
	mean := x.mean()
	_, n := x.total()
	blocks := float64(len(x.s))
	if blocks < 2 || n == 0 {
		return math.Inf(1), 0
	}
	var square, product, before float64
	for i := range x.s {
		e := x.s[i] - mean*x.n[i]
		square += e * e
		product += e * before
		before = e
	}
	v, df = square/(n*n)*blocks/(blocks-1), blocks-1
	if square > 0 {
		r := product / square
		if blocks > 8 { // a series' own mean makes its correlation seem smaller (Kendall 1954)
			r = (blocks*r + 1) / (blocks - 4)
		}
		r = min(max(r, 0), 0.9)
		longer := (1 + r) / (1 - r)
		v, df = v*longer, max(blocks/longer-1, 1)
	}
	return v, df
}

// blockTest is the p-value for equal means of two sides: Welch's t between blocks. It is never smaller than what a test
// that exchanges whole blocks could give.
func blockTest(a, b sums) float64 {
	return blockTestOf(b.mean()-a.mean(), a, b)
}

// blockTestOf is the same for a difference whose variance is the sum of those of a's and b's means.
func blockTestOf(difference float64, a, b sums) float64 {
	va, fa := a.variance()
	vb, fb := b.variance()
	na, nb := float64(len(a.s)), float64(len(b.s))
	if difference == 0 || math.IsNaN(difference) || na < 2 || nb < 2 {
		return 1
	}
	floor := min(1, 2*math.Exp(-logChoose(na+nb, na)))
	if va+vb == 0 {
		return floor
	}
	df := (va + vb) * (va + vb) / (va*va/fa + vb*vb/fb)
	return max(floor, studentP(difference/math.Sqrt(va+vb), df))
}

// resamples is how often the bootstrap draws.
const resamples = 1000

// draws are how often each of a number of blocks is drawn, for each resample. The same seed gives the same draws, and the
// routes of a report share them: each interval holds by itself.
type draws struct {
	seed uint64
	byN  map[drawKey][]float64
}

// maxDraws bounds how many tables of draws are kept, each of at most half a MB.
const maxDraws = 16

type drawKey struct{ side, blocks int }

func (d *draws) of(side, blocks int) []float64 {
	key := drawKey{side, blocks}
	if x := d.byN[key]; x != nil {
		return x
	}
	rng := rand.New(rand.NewPCG(d.seed, uint64(side)<<32|uint64(blocks)))
	x := make([]float64, resamples*blocks)
	for r := range resamples {
		row := x[r*blocks:][:blocks]
		for range blocks {
			row[rng.IntN(blocks)]++
		}
	}
	if len(d.byN) >= maxDraws {
		clear(d.byN)
	}
	d.byN[key] = x
	return x
}

// dotProduct is the sum of the products, in a fixed order.
func dotProduct(a, b []float64) float64 {
	b = b[:len(a)]
	var x, y, z, w float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		x += a[i] * b[i]
		y += a[i+1] * b[i+1]
		z += a[i+2] * b[i+2]
		w += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		x += a[i] * b[i]
	}
	return (x + y) + (z + w)
}

// means fills out with the mean of each resample of the blocks.
func (d *draws) means(side int, x sums, out []float64) {
	blocks := len(x.s)
	times := d.of(side, blocks)
	for r := range out {
		drawn := times[r*blocks:][:blocks]
		out[r] = dotProduct(drawn, x.s) / dotProduct(drawn, x.n)
	}
}

// percentileLimits are the limits between which the middle of the resampled values lies. A bootstrap of few blocks is too
// narrow: the percentiles are those that Student's t asks for (Hesterberg 2015, "expanded percentile"). It orders values.
func percentileLimits(values []float64, confidence float64, blocks int) (lo, hi float64, ok bool) {
	if blocks < 2 {
		return 0, 0, false
	}
	if slices.ContainsFunc(values, math.IsNaN) { // a resample without anything to divide by
		return 0, 0, false
	}
	n := float64(blocks)
	z := math.Sqrt(n/(n-1)) * studentQuantile(1-confidence, n-1)
	tail := normalP(z) / 2
	slices.Sort(values)
	k := int(tail * float64(len(values)))
	return values[k], values[len(values)-1-k], true
}
