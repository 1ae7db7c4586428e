package check

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// confidence of the intervals around observed shares.
const confidence = 0.95

// interval returns the exact (Clopper-Pearson) interval of a share of which k of n were seen, n > 0.
func interval(k, n float64) (lo, hi float64) {
	tail := (1 - confidence) / 2
	lo, hi = 0, 1
	if k > 0 {
		lo = mathext.InvRegIncBeta(k, n-k+1, tail)
	}
	if k < n {
		hi = mathext.InvRegIncBeta(k+1, n-k, 1-tail)
	}
	return lo, hi
}

// maxNeeded is the greatest number of samples that is proposed; beyond it, a share is as good as the bound.
const maxNeeded = 1e9

// needed returns how many samples would tell the share k of n from the bound if it stayed what it is, or 0 where no
// number up to maxNeeded would.
func needed(k, n int64, bound float64) int64 {
	p := float64(k) / float64(n)
	tells := func(n float64) bool {
		lo, hi := interval(math.Round(p*n), n)
		return lo > bound || hi < bound
	}
	hi := float64(n)
	for !tells(hi) {
		if hi *= 2; hi > maxNeeded {
			return 0
		}
	}
	lo := hi / 2
	for hi-lo > 1 && hi-lo > hi/1000 { // nobody needs it more exactly than to a thousandth
		if mid := math.Round((lo + hi) / 2); tells(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return int64(math.Ceil(hi))
}

// fewBeyond is how many samples must lie beyond a quantile for it to be more than the luck of single requests.
const fewBeyond = 5

// neededFor returns how many samples a quantile needs.
func neededFor(q float64) int64 { return int64(math.Ceil(fewBeyond/(1-q) - 1e-9)) }
