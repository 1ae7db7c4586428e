package compare

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// The tests and intervals of the field, each for two independent groups; every p-value is two-sided. Sources stand with
// each function; reference values of other implementations are in testdata/reference.json.

// normalP is the probability that a standard normal variable lies at least as far from zero as z.
func normalP(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }

// studentP is the same for Student's t with df degrees of freedom.
func studentP(t, df float64) float64 {
	if math.IsInf(t, 0) {
		return 0
	}
	if !(df > 0) {
		return 1
	}
	return mathext.RegIncBeta(df/2, 0.5, df/(df+t*t))
}

// studentQuantile is the t that studentP gives p for, 0 < p < 1.
func studentQuantile(p, df float64) float64 {
	x := mathext.InvRegIncBeta(df/2, 0.5, p)
	return math.Sqrt(df * (1 - x) / x)
}

// normalQuantile is the z that normalP gives p for.
func normalQuantile(p float64) float64 { return -mathext.NormalQuantile(p / 2) }

func lgamma(x float64) float64 {
	v, _ := math.Lgamma(x)
	return v
}

func logChoose(n, k float64) float64 { return lgamma(n+1) - lgamma(k+1) - lgamma(n-k+1) }

// discrete is a unimodal distribution on the integers lo..hi.
type discrete struct {
	lo, hi, mode int64
	log          func(k int64) float64 // logarithm of the probability of k
}

// twoSided is the probability of all outcomes that are no likelier than x: the usual two-sided form of an exact test
// (R's fisher.test and binom.test, scipy.stats). Outcomes within a relative 1e-7 of x's probability count as equal.
func (d discrete) twoSided(x int64) float64 {
	if d.lo >= d.hi {
		return 1
	}
	limit := d.log(x) + 1e-7
	if d.log(d.mode) <= limit {
		return 1
	}
	// On either side of the mode the outcomes that count begin where the probability has fallen to the limit.
	lower := search(d.lo, d.mode, func(k int64) bool { return d.log(k) > limit }) - 1
	upper := search(d.mode, d.hi+1, func(k int64) bool { return d.log(k) <= limit })
	sum := 0.0
	for k := lower; k >= d.lo; k-- {
		p := math.Exp(d.log(k))
		if sum += p; p < sum*1e-17 || p == 0 {
			break
		}
	}
	for k := upper; k <= d.hi; k++ {
		p := math.Exp(d.log(k))
		if sum += p; p < sum*1e-17 || p == 0 {
			break
		}
	}
	return min(sum, 1)
}

// search returns the first k of from..to-1 for which yes holds, to where it holds for none; from it on it must hold.
func search(from, to int64, yes func(int64) bool) int64 {
	for from < to {
		if mid := from + (to-from)/2; yes(mid) {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from
}

// fisher is Fisher's exact test of k1 of n1 against k2 of n2.
func fisher(k1, n1, k2, n2 int64) float64 {
	n, k := n1+n2, k1+k2
	if n1 <= 0 || n2 <= 0 || k <= 0 || k >= n {
		return 1
	}
	all := logChoose(float64(n), float64(k))
	return discrete{
		lo: max(0, k-n2), hi: min(k, n1), mode: int64((float64(k) + 1) * (float64(n1) + 1) / (float64(n) + 2)),
		log: func(x int64) float64 {
			return logChoose(float64(n1), float64(x)) + logChoose(float64(n2), float64(k-x)) - all
		},
	}.twoSided(k1)
}

// poisson is the conditional test of two Poisson rates: k1 events in the exposure t1 against k2 in t2. Given their sum, k1
// is binomial (Przyborowski and Wilenski 1940).
func poisson(k1 int64, t1 float64, k2 int64, t2 float64) float64 {
	n := k1 + k2
	if n == 0 || t1 <= 0 || t2 <= 0 {
		return 1
	}
	p := t1 / (t1 + t2)
	return discrete{
		lo: 0, hi: n, mode: min(int64(float64(n+1)*p), n),
		log: func(x int64) float64 {
			return logChoose(float64(n), float64(x)) + float64(x)*math.Log(p) + float64(n-x)*math.Log1p(-p)
		},
	}.twoSided(k1)
}

// poissonLimits are Garwood's exact limits of a Poisson mean after k events, each side with (1-confidence)/2.
func poissonLimits(k int64, confidence float64) (lo, hi float64) {
	a := (1 - confidence) / 2
	if k > 0 {
		lo = mathext.GammaIncRegInv(float64(k), a)
	}
	return lo, mathext.GammaIncRegInv(float64(k)+1, 1-a)
}

// wilson are Wilson's score limits of a share p seen in n trials; n need not be whole.
func wilson(p, n, confidence float64) (lo, hi float64) {
	z := normalQuantile(1 - confidence)
	d := 1 + z*z/n
	mid := (p + z*z/(2*n)) / d
	half := z / d * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	lo, hi = max(mid-half, 0), min(mid+half, 1)
	if p == 0 {
		lo = 0
	}
	if p == 1 {
		hi = 1
	}
	return lo, hi
}

// interval is the limits of one estimate around it.
type interval struct{ at, lo, hi float64 }

// differenceLimits are limits of b - a from those of a and b (Newcombe 1998 for shares; MOVER, Zou and Donner 2008).
func differenceLimits(a, b interval) (lo, hi float64) {
	d := b.at - a.at
	return d - math.Hypot(b.at-b.lo, a.hi-a.at), d + math.Hypot(b.hi-b.at, a.at-a.lo)
}

// exactRanks is the greatest number of values of both groups for which mannWhitneyExact is used.
const exactRanks = 40

// mannWhitneyExact is the two-sided p-value of a rank sum under all ways to divide the values into the groups, ties
// included: twice the smaller tail. doubled are twice the midranks of all values, sum is twice the rank sum of the n
// values of one group.
func mannWhitneyExact(doubled []int, n, sum int) float64 {
	total := 0
	for _, r := range doubled {
		total += r
	}
	// ways[k][s]: in how many ways k values have the doubled rank sum s. At most 40 over 20, which a float64 counts exactly
	// enough.
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, total+1)
	}
	ways[0][0] = 1
	most := 0
	for i, r := range doubled {
		most += r
		for k := min(n, i+1); k > 0; k-- {
			to, from := ways[k], ways[k-1]
			for s := most; s >= r; s-- {
				to[s] += from[s-r]
			}
		}
	}
	var below, above, all float64
	for s, w := range ways[n] {
		all += w
		if s <= sum {
			below += w
		}
		if s >= sum {
			above += w
		}
	}
	return min(1, 2*min(below, above)/all)
}

// mannWhitneyNormal is the normal approximation with the correction for ties and for continuity, from the probability auc
// that a value of one group exceeds one of the other (half for equal ones). ties is the sum of t³-t over groups of t equal
// values.
func mannWhitneyNormal(auc, n1, n2, ties float64) float64 {
	n := n1 + n2
	variance := n1 * n2 / 12 * (n + 1 - ties/(n*(n-1)))
	if variance <= 0 {
		return 1
	}
	u := math.Abs(auc-0.5)*n1*n2 - 0.5
	return normalP(max(u, 0) / math.Sqrt(variance))
}

// holm corrects p-values in place for their number (Holm 1979): if those at most α are taken, the probability that any of
// them is wrong is at most α, however they depend on each other.
func holm(p []*float64) {
	slices.SortStableFunc(p, func(a, b *float64) int { return cmp.Compare(*a, *b) })
	least := 0.0
	for i, v := range p {
		least = max(least, min(1, *v*float64(len(p)-i)))
		*v = least
	}
}
