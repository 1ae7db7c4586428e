package compare

import (
	"math"
	"slices"
)

// set is the requests of both sides that one route's rows (or the totals) are made of.
type set struct {
	sides [2]side
	// packed are the durations of both sides in increasing order: nanoseconds from bit 17 on (up to 39 hours), then one
	// bit for the side, six for the block and ten for the weight. One sort serves every test and interval.
	packed []uint64
}

const (
	sideBit    = 1 << 16
	blockShift = 10
	weightMask = 1<<blockShift - 1
	blockMask  = 1<<(16-blockShift) - 1
	durShift   = 17
	maxDur     = 1<<47 - 1
	maxWeights = 1 << blockShift
)

// side is one side's sums by block.
type side struct {
	blocks  int
	n       int     // requests
	timed   int     // of these with a duration
	weighed float64 // sum of their weights
	weights []float64
	// effective is how many requests of equal weight would tell as much as these (Kish).
	effective float64

	failed, queries, misses, hits, bytes sums
	mostQueries, mostMisses              uint32
	lookups                              float64
}

// weighing says what a request of a group counts: an index into weights, -1 for one that is left out.
type weighing struct {
	of      func(group int, s *sample) int
	weights [2][]float64
}

// unweighed takes all requests alike.
var unweighed = weighing{
	of: func(int, *sample) int { return 0 }, weights: [2][]float64{{1}, {1}},
}

// newSet gathers the requests of groups (routes) of both sides.
func newSet(groups [2][]*routeSamples, w weighing) *set {
	x := &set{}
	for i := range x.sides {
		x.gather(i, groups[i], w)
	}
	sortKeys(x.packed)
	return x
}

func (x *set) gather(i int, groups []*routeSamples, w weighing) {
	d := &x.sides[i]
	d.weights = w.weights[i]
	blockOf := timeBlocks(groups, w.of)
	d.n, d.blocks = len(blockOf), blocksFor(len(blockOf))
	d.failed, d.queries, d.misses = newSums(d.blocks), newSums(d.blocks), newSums(d.blocks)
	d.hits, d.bytes = newSums(d.blocks), newSums(d.blocks)
	var sum, squares float64
	at := 0
	x.packed = slices.Grow(x.packed, d.n)
	for g, r := range groups {
		r.each(func(s *sample) {
			index := w.of(g, s)
			if index < 0 {
				return
			}
			v, block := d.weights[index], int(blockOf[at])
			at++
			sum += v
			squares += v * v
			failed := 0.0
			if s.failed {
				failed = v
			}
			d.failed.add(block, failed, v)
			d.queries.add(block, v*float64(s.queries), v)
			d.misses.add(block, v*float64(s.misses), v)
			lookups := float64(s.hits) + float64(s.misses)
			d.hits.add(block, v*float64(s.hits), v*lookups)
			d.lookups += lookups
			if s.bytes != noBytes {
				d.bytes.add(block, v*float64(s.bytes), v)
			}
			d.mostQueries, d.mostMisses = max(d.mostQueries, s.queries), max(d.mostMisses, uint32(s.misses))
			if s.dur >= 0 {
				d.timed++
				d.weighed += v
				x.packed = append(x.packed, uint64(min(s.dur, maxDur))<<durShift|uint64(i)*sideBit|
					uint64(block)<<blockShift|uint64(index))
			}
		})
	}
	if squares > 0 {
		d.effective = sum * sum / squares
	}
}

// timeBlocks says for each request that is not left out, in the order of the groups, which block of time it belongs to.
func timeBlocks(groups []*routeSamples, of func(int, *sample) int) []uint8 {
	first, last, n := int64(math.MaxInt64), int64(math.MinInt64), 0
	for g, r := range groups {
		r.each(func(s *sample) {
			if of(g, s) >= 0 {
				first, last, n = min(first, s.at), max(last, s.at), n+1
			}
		})
	}
	const orderBits = 21 // twice SampleOptions.MaxRequests
	shift := 10
	for n > 0 && uint64(last-first)>>shift >= 1<<(64-orderBits) {
		shift++
	}
	order := make([]uint64, 0, n)
	for g, r := range groups {
		r.each(func(s *sample) {
			if of(g, s) >= 0 {
				order = append(order, uint64(s.at-first)>>shift<<orderBits|uint64(len(order)))
			}
		})
	}
	sortKeys(order)
	blocks := make([]uint8, n)
	b := blocksFor(n)
	for i, v := range order {
		blocks[v&(1<<orderBits-1)] = uint8(i * b / n)
	}
	return blocks
}

func (d *side) weightOf(v uint64) float64 { return d.weights[v&weightMask] }
func blockOf(v uint64) int                { return int(v >> blockShift & blockMask) }
func sideOf(v uint64) int                 { return int(v >> 16 & 1) }

// quantile is the value at rank floor(q*(n-1)) of a side's sorted durations, ns: the baseline's definition, for weights
// other than one the smallest value with more than that much weight up to it.
func (x *set) quantile(i int, q float64) float64 {
	d := &x.sides[i]
	target, sum := d.rank(q, d.weighed), 0.0
	for _, v := range x.packed {
		if sideOf(v) == i {
			if sum += d.weightOf(v); sum > target {
				return float64(v >> durShift)
			}
		}
	}
	for k := len(x.packed) - 1; k >= 0; k-- { // rounding
		if sideOf(x.packed[k]) == i {
			return float64(x.packed[k] >> durShift)
		}
	}
	return math.NaN()
}

func (d *side) rank(q, weight float64) float64 { return q * (weight - d.weighed/float64(d.timed)) }

// mannWhitney tests whether durations of one side tend to be greater than those of the other. It returns the p-value as
// for independent requests and the one between blocks, and whether the blocks kept resembling each other.
func (x *set) mannWhitney() (independent, between float64, drift bool) {
	b, a := &x.sides[0], &x.sides[1]
	placed := [2]sums{newSums(b.blocks), newSums(a.blocks)}
	var below [2]float64
	var ties, auc float64
	var doubled []int
	rankSum := 0
	exact := b.timed+a.timed <= exactRanks && b.even() && a.even()
	for from := 0; from < len(x.packed); {
		to := from
		var equal [2]float64
		for to < len(x.packed) && x.packed[to]>>durShift == x.packed[from]>>durShift {
			i := sideOf(x.packed[to])
			equal[i] += x.sides[i].weightOf(x.packed[to])
			to++
		}
		for _, v := range x.packed[from:to] {
			i := sideOf(v)
			w := x.sides[i].weightOf(v)
			other := 1 - i
			placed[i].add(blockOf(v), w*(below[other]+equal[other]/2)/x.sides[other].weighed, w)
			if exact {
				doubled = append(doubled, from+to+1) // twice the mean of the ranks from+1..to
				if i == 0 {
					rankSum += from + to + 1
				}
			}
		}
		t := float64(to - from)
		ties += t*t*t - t
		below[0] += equal[0]
		below[1] += equal[1]
		from = to
	}
	auc = placed[1].mean()
	// Ties and sizes as if the weights were one, each side with as many requests as its weights leave.
	n0, n1 := float64(b.timed)*b.share(), float64(a.timed)*a.share()
	ties *= math.Pow((n0+n1)/float64(b.timed+a.timed), 3)
	if exact {
		independent = mannWhitneyExact(doubled, b.timed, rankSum)
	} else {
		independent = mannWhitneyNormal(auc, n0, n1, ties)
	}
	before, driftB := placed[0].merged()
	after, driftA := placed[1].merged()
	return independent, blockTestOf(auc-0.5, before, after), driftA || driftB
}

func (d *side) even() bool { return len(d.weights) == 1 }

// share is the part of the requests that their weights leave.
func (d *side) share() float64 {
	if d.n == 0 {
		return 0
	}
	return d.effective / float64(d.n)
}

// quantileTest tests whether the share of durations beyond the quantile of both sides together is the same on both: Fisher's
// exact test as for independent requests, and the test between blocks.
func (x *set) quantileTest(q float64) (independent, between float64) {
	b, a := &x.sides[0], &x.sides[1]
	all := b.weighed + a.weighed
	target := q * (all - 1)
	// Of equal values all or none lie beyond: whichever comes nearer, as a ratio, to the share asked for, and so never nothing.
	sum, limit := 0.0, uint64(0)
	for from := 0; from < len(x.packed); {
		to, equal := from, 0.0
		for to < len(x.packed) && x.packed[to]>>durShift == x.packed[from]>>durShift {
			equal += x.sides[sideOf(x.packed[to])].weightOf(x.packed[to])
			to++
		}
		if sum+equal > target {
			limit = x.packed[from] >> durShift
			if with, without := all-sum, all-sum-equal; with*without > (all-target)*(all-target) {
				limit++
			}
			break
		}
		sum += equal
		from = to
	}
	beyond := [2]sums{newSums(b.blocks), newSums(a.blocks)}
	for _, v := range x.packed {
		i := sideOf(v)
		w := x.sides[i].weightOf(v)
		score := 0.0
		if v>>durShift >= limit {
			score = w
		}
		beyond[i].add(blockOf(v), score, w)
	}
	return proportionTest(beyond[0], beyond[1], float64(b.timed)*b.share(), float64(a.timed)*a.share())
}

// proportionTest tests equal shares: Fisher's exact test over n0 and n1 trials, and the test between blocks.
func proportionTest(before, after sums, n0, n1 float64) (independent, between float64) {
	count := func(x sums, n float64) (k, of int64) {
		of = int64(math.Round(n))
		return int64(math.Round(x.mean() * float64(of))), of
	}
	k0, m0 := count(before, n0)
	k1, m1 := count(after, n1)
	b, _ := before.merged()
	a, _ := after.merged()
	return fisher(k0, m0, k1, m1), blockTest(b, a)
}

// gridSize is how many values around a quantile a resample chooses from: a sixteenth of its standard error apart.
const gridSize = 256

// maxGuesses is how often a place is guessed before the rest is halved.
const maxGuesses = 6

// bootstrapQuantile fills out with a side's quantile in each resample of its blocks, ns.
func (x *set) bootstrapQuantile(dr *draws, i int, q float64, out []float64) (blocks int) {
	d := &x.sides[i]
	at := x.quantile(i, q)
	beyond := newSums(d.blocks)
	for _, v := range x.packed {
		if sideOf(v) == i {
			w, score := d.weightOf(v), 0.0
			if float64(v>>durShift) > at {
				score = w
			}
			beyond.add(blockOf(v), score, w)
		}
	}
	merged, _ := beyond.merged()
	blocks = len(merged.s)
	by := 0 // how many times neighbours were put together, as powers of two
	for n := d.blocks; n > blocks; n = (n + 1) / 2 {
		by++
	}
	variance, _ := merged.variance()
	reach := 8*math.Sqrt(variance) + 4/float64(d.timed)
	low, high := (q-reach)*d.weighed, (q+reach)*d.weighed
	step := (high - low) / gridSize

	var values []float64
	var rows []float64 // weight up to the value, by block
	sum, next := 0.0, low
	weight := make([]float64, blocks)
	for k, v := range x.packed {
		if sideOf(v) != i {
			continue
		}
		w := d.weightOf(v)
		weight[blockOf(v)>>by] += w
		sum += w
		if sum < next || k+1 < len(x.packed) && sideOf(x.packed[k+1]) == i && x.packed[k+1]>>durShift == v>>durShift {
			continue
		}
		value := float64(v >> durShift)
		if n := len(values); n > 0 && values[n-1] == value {
			copy(rows[len(rows)-blocks:], weight)
			continue
		}
		values = append(values, value)
		rows = append(rows, weight...)
		next = max(next+step, sum)
		if sum > high {
			break
		}
	}
	if len(values) == 0 { // all beyond high: cannot be but by rounding
		values, rows = []float64{at}, slices.Clone(weight)
	}
	times := dr.of(i, blocks)
	for r := range out {
		drawn := times[r*blocks:][:blocks]
		target := d.rank(q, dotProduct(drawn, merged.n))
		// The weight grows by about a step from value to value, so the place is guessed; should guesses fail, halving finds it.
		j, to := 0, len(values)-1
		guess := to / 2
		for tries := 0; j < to; tries++ {
			mid := min(max(guess, j), to-1)
			weight := dotProduct(drawn, rows[mid*blocks:][:blocks])
			if weight > target {
				to = mid
			} else {
				j = mid + 1
			}
			guess = (j + to) / 2
			if tries < maxGuesses && step > 0 {
				guess = mid + int(min(max((target-weight)/step, -gridSize), gridSize))
			}
		}
		out[r] = values[j]
	}
	return blocks
}
