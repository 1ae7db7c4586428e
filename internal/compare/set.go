package compare

import (
	"math"
	"slices"
)

// set is the requests of both sides that one route's rows (or the totals) are made of.
type set struct{ sides [2]side }

// A duration is packed with what belongs to it: nanoseconds from bit 16 on (up to 39 hours), then six bits for the block and
// ten for the weight. One sort serves every test and interval.
const (
	blockShift = 10
	weightMask = 1<<blockShift - 1
	blockMask  = 1<<(durShift-blockShift) - 1
	durShift   = 16
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

	durs    []uint64  // packed, in increasing order
	timedBy []float64 // sum of their weights by block

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
		x.sides[i].gather(groups[i], w, w.weights[i])
	}
	return x
}

func (d *side) gather(groups []*routeSamples, w weighing, weights []float64) {
	d.weights = weights
	blocks := timeBlocks(groups, w.of)
	d.n, d.blocks = len(blocks), blocksFor(len(blocks))
	d.failed, d.queries, d.misses = newSums(d.blocks), newSums(d.blocks), newSums(d.blocks)
	d.hits, d.bytes = newSums(d.blocks), newSums(d.blocks)
	var sum, squares float64
	at := 0
	d.durs = make([]uint64, 0, d.n)
	for g, r := range groups {
		r.each(func(s *sample) {
			index := w.of(g, s)
			if index < 0 {
				return
			}
			v, block := d.weights[index], int(blocks[at])
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
				d.durs = append(d.durs, uint64(min(s.dur, maxDur))<<durShift|uint64(block)<<blockShift|uint64(index))
			}
		})
	}
	if squares > 0 {
		d.effective = sum * sum / squares
	}
	sortKeys(d.durs)
	d.timedBy = make([]float64, d.blocks)
	for _, v := range d.durs {
		d.timedBy[blockOf(v)] += d.weightOf(v)
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

// from is the place of the first duration of at least so many nanoseconds.
func (d *side) from(ns uint64) int {
	at, _ := slices.BinarySearch(d.durs, ns<<durShift)
	return at
}

// quantile is the value at rank floor(q*(n-1)) of the sorted durations, ns: the baseline's definition, for weights
// other than one the smallest value with more than that much weight up to it.
func (d *side) quantile(q float64) float64 {
	if d.timed == 0 {
		return math.NaN()
	}
	target, sum := d.rank(q, d.weighed), 0.0
	if d.even() {
		return float64(d.durs[min(int(target), d.timed-1)] >> durShift)
	}
	for _, v := range d.durs {
		if sum += d.weightOf(v); sum > target {
			return float64(v >> durShift)
		}
	}
	return float64(d.durs[d.timed-1] >> durShift) // rounding
}

func (d *side) rank(q, weight float64) float64 { return q * (weight - d.weighed/float64(d.timed)) }

// run is where the values that equal the one at from end, and their weight.
func (d *side) run(from int, value uint64) (to int, weight float64) {
	for to = from; to < len(d.durs) && d.durs[to]>>durShift == value; to++ {
		weight += d.weightOf(d.durs[to])
	}
	return to, weight
}

// ties yields the durations of both sides in increasing order, equal ones at once: their range on each side and its weight.
func (x *set) ties(yield func(value uint64, from, to [2]int, weight [2]float64) bool) {
	var from [2]int
	b, a := &x.sides[0], &x.sides[1]
	for from[0] < len(b.durs) || from[1] < len(a.durs) {
		value := uint64(math.MaxUint64)
		if from[0] < len(b.durs) {
			value = b.durs[from[0]] >> durShift
		}
		if from[1] < len(a.durs) {
			value = min(value, a.durs[from[1]]>>durShift)
		}
		var to [2]int
		var weight [2]float64
		to[0], weight[0] = b.run(from[0], value)
		to[1], weight[1] = a.run(from[1], value)
		if !yield(value, from, to, weight) {
			return
		}
		from = to
	}
}

// mannWhitney tests whether durations of one side tend to be greater than those of the other. It returns the p-value as
// for independent requests and the one between blocks, and whether the blocks kept resembling each other.
func (x *set) mannWhitney() (independent, between float64, drift bool) {
	b, a := &x.sides[0], &x.sides[1]
	placed := [2]sums{{make([]float64, b.blocks), b.timedBy}, {make([]float64, a.blocks), a.timedBy}}
	var below [2]float64
	var ties, auc float64
	var doubled []int
	rankSum := 0
	exact := b.timed+a.timed <= exactRanks && b.even() && a.even()
	x.ties(func(_ uint64, from, to [2]int, weight [2]float64) bool {
		rank := from[0] + from[1] + to[0] + to[1] + 1 // twice the mean of their ranks
		for i := range placed {
			d, other := &x.sides[i], 1-i
			under := below[other] + weight[other]/2
			for _, v := range d.durs[from[i]:to[i]] {
				placed[i].s[blockOf(v)] += d.weightOf(v) * under / x.sides[other].weighed
				if exact {
					doubled = append(doubled, rank)
					if i == 0 {
						rankSum += rank
					}
				}
			}
		}
		t := float64(to[0] - from[0] + to[1] - from[1])
		ties += t*t*t - t
		below[0] += weight[0]
		below[1] += weight[1]
		return true
	})
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
	var limit uint64
	decide := func(value uint64, sum, equal float64) {
		limit = value
		if with, without := all-sum, all-sum-equal; with*without > (all-target)*(all-target) {
			limit++
		}
	}
	if b.even() && a.even() {
		value := x.ranked(int(target))
		sum := b.from(value) + a.from(value)
		decide(value, float64(sum), float64(b.from(value+1)+a.from(value+1)-sum))
	} else {
		sum := 0.0
		x.ties(func(value uint64, _, _ [2]int, weight [2]float64) bool {
			equal := weight[0] + weight[1]
			if sum+equal > target {
				decide(value, sum, equal)
				return false
			}
			sum += equal
			return true
		})
	}
	return proportionTest(b.beyond(limit), a.beyond(limit), float64(b.timed)*b.share(), float64(a.timed)*a.share())
}

// ranked is the duration at a place among those of both sides in order, ns: found by halving, as how many of one side lie up to
// it says how many of the other do.
func (x *set) ranked(rank int) uint64 {
	b, a := x.sides[0].durs, x.sides[1].durs
	// The first i elements of b and the first rank-i of a are those before it.
	low, high := max(0, rank-len(a)), min(rank, len(b))
	for low < high {
		i := (low + high) / 2
		if b[i]>>durShift < a[rank-i-1]>>durShift {
			low = i + 1
		} else {
			high = i
		}
	}
	value := uint64(math.MaxUint64)
	if low < len(b) {
		value = b[low] >> durShift
	}
	if rank-low < len(a) {
		value = min(value, a[rank-low]>>durShift)
	}
	return value
}

// beyond counts the durations of at least limit ns.
func (d *side) beyond(limit uint64) sums {
	x := sums{make([]float64, d.blocks), d.timedBy}
	for _, v := range d.durs[d.from(limit):] {
		x.s[blockOf(v)] += d.weightOf(v)
	}
	return x
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

// upTo skips the durations before the one with which their weight reaches low, where that is quickly known: how many, and
// their weight by block, of which 2^by are taken together.
func (d *side) upTo(low float64, blocks, by int) (first int, weight []float64) {
	weight = make([]float64, blocks)
	if !d.even() || !(low > 1) {
		return 0, weight
	}
	first = min(int(math.Ceil(low))-1, d.timed)
	if first <= d.timed/2 {
		for _, v := range d.durs[:first] {
			weight[blockOf(v)>>by]++
		}
		return first, weight
	}
	for block, n := range d.timedBy {
		weight[block>>by] += n
	}
	for _, v := range d.durs[first:] {
		weight[blockOf(v)>>by]--
	}
	return first, weight
}

// gridSize is how many values around a quantile a resample chooses from: a sixteenth of its standard error apart.
const gridSize = 256

// maxGuesses is how often a place is guessed before the rest is halved.
const maxGuesses = 6

// bootstrapQuantile fills out with the quantile in each resample of the blocks, ns.
func (d *side) bootstrapQuantile(dr *draws, i int, q float64, out []float64) (blocks int) {
	at := d.quantile(q)
	merged, _ := d.beyond(uint64(at) + 1).merged()
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
	next := low
	first, weight := d.upTo(low, blocks, by)
	sum := float64(first)
	for k, v := range d.durs[first:] {
		w := d.weightOf(v)
		weight[blockOf(v)>>by] += w
		sum += w
		if at := first + k + 1; sum < next || at < len(d.durs) && d.durs[at]>>durShift == v>>durShift {
			continue
		}
		values = append(values, float64(v>>durShift))
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
