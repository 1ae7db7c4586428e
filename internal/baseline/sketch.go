package baseline

import (
	"math"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// RelativeError is the greatest distance of a percentile or median in a report from the observed value at that rank, as
// a share of that value: a p95 of 200 ms means that the request at that rank took 199 to 201 ms.
const RelativeError = 0.005

// maxBins holds ten powers of ten (100 ns to 1,000 s) at RelativeError; if values spread wider, the smallest ones share
// a bin. 8 bytes a bin, and only the bins between the smallest and the greatest value are there: 1 to 3 kB in practice.
const maxBins = 2400

var bins = func() mapping.IndexMapping {
	m, err := mapping.NewCubicallyInterpolatedMapping(RelativeError)
	if err != nil {
		panic(err) // the constant is between 0 and 1
	}
	return m
}()

// sketch holds a distribution of non-negative integers. The zero sketch is empty.
type sketch struct{ s *ddsketch.DDSketch }

func (s *sketch) add(v int64) {
	if s.s == nil {
		s.s = ddsketch.NewDDSketch(bins, store.NewCollapsingLowestDenseStore(maxBins), none)
	}
	// Add refuses only what no int64 >= 0 is: NaN, negative and greater than about 1e308.
	if err := s.s.Add(float64(v)); err != nil {
		panic(err)
	}
}

// none is the place for negative values, which do not come; all sketches share it.
var none = store.NewSparseStore()

func (s *sketch) merge(o *sketch) {
	switch {
	case o.s == nil:
	case s.s == nil:
		s.s = o.s.Copy()
	default:
		if err := s.s.MergeWith(o.s); err != nil {
			panic(err) // all sketches have one mapping
		}
	}
}

// quantile returns the value at rank floor(q*(n-1)) of the sorted values, or false where there are none.
func (s *sketch) quantile(q float64) (float64, bool) {
	if s.s == nil || s.s.IsEmpty() {
		return 0, false
	}
	v, err := s.s.GetValueAtQuantile(q)
	return v, err == nil
}

// histogram counts values up to each bound (included, within RelativeError); the last count is what lies above.
func (s *sketch) histogram(bounds []float64) []int64 {
	counts := make([]int64, len(bounds)+1)
	if s.s == nil {
		return counts
	}
	s.s.ForEach(func(v, n float64) bool {
		i := 0
		for i < len(bounds) && v > bounds[i] {
			i++
		}
		counts[i] += int64(math.Round(n))
		return false
	})
	return counts
}
