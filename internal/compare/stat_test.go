package compare

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// reference is what scipy says, see testdata/reference.py.
type reference struct {
	Exact  []twoSamples `json:"mann_whitney_exact"`
	Normal []twoSamples `json:"mann_whitney_normal"`
	Ties   []twoSamples `json:"mann_whitney_ties"`
	Welch  []twoSamples `json:"welch"`
	Fisher []struct {
		K, N [2]int64
		P    float64
	} `json:"fisher"`
	Poisson []struct {
		K [2]int64
		T [2]float64
		P float64
	} `json:"poisson"`
	PoissonLimits []struct {
		K      int64
		Lo, Hi float64
	} `json:"poisson_limits"`
	Wilson []struct {
		K, N   int64
		Lo, Hi float64
	} `json:"wilson"`
	Student []struct {
		T  float64
		DF float64 `json:"df"`
		P  float64
	} `json:"student"`
	Homogeneity []struct {
		Cells [][2]float64
		P     float64
	} `json:"homogeneity"`
	Holm struct{ P, Adjusted []float64 } `json:"holm"`
}

type twoSamples struct {
	A, B []int64
	P    float64
}

func scipy(t *testing.T) reference {
	t.Helper()
	data, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Exact) < 10 || len(r.Normal) < 6 || len(r.Fisher) < 6 {
		t.Fatalf("few references: %d, %d, %d", len(r.Exact), len(r.Normal), len(r.Fisher))
	}
	return r
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*math.Max(math.Abs(want), 1e-300) && math.Abs(got-want) > 1e-13 {
		t.Errorf("%s: %.12g, scipy says %.12g", what, got, want)
	}
}

// plainSet is the set of durations without blocks in time.
func plainSet(a, b []int64) *set {
	sides := [2][]*routeSamples{}
	for i, list := range [][]int64{a, b} {
		r := &routeSamples{}
		for k, v := range list {
			r.add(&sample{at: int64(k), dur: v})
		}
		sides[i] = []*routeSamples{r}
	}
	return newSet(sides, unweighed)
}

func TestMannWhitney(t *testing.T) {
	ref := scipy(t)
	for name, list := range map[string][]twoSamples{"exact": ref.Exact, "normal": ref.Normal, "ties": ref.Ties} {
		for _, c := range list {
			p, _, _ := plainSet(c.A, c.B).mannWhitney()
			near(t, name, p, c.P, 1e-9)
		}
	}
}

func TestExactTests(t *testing.T) {
	ref := scipy(t)
	for _, c := range ref.Fisher {
		near(t, "fisher", fisher(c.K[0], c.N[0], c.K[1], c.N[1]), c.P, 1e-6)
	}
	for _, c := range ref.Poisson {
		near(t, "poisson", poisson(c.K[0], c.T[0], c.K[1], c.T[1]), c.P, 1e-6)
	}
}

func TestDistributionsAndLimits(t *testing.T) {
	ref := scipy(t)
	for _, c := range ref.Student {
		near(t, "student", studentP(c.T, c.DF), c.P, 1e-9)
		if c.P > 1e-12 { // no confidence is beyond that
			near(t, "quantile", studentQuantile(c.P, c.DF), c.T, 1e-6)
		}
	}
	for _, c := range ref.PoissonLimits {
		lo, hi := poissonLimits(c.K, 0.95)
		near(t, "lower limit", lo, c.Lo, 1e-8)
		near(t, "upper limit", hi, c.Hi, 1e-8)
	}
	for _, c := range ref.Wilson {
		lo, hi := wilson(float64(c.K)/float64(c.N), float64(c.N), 0.95)
		near(t, "wilson", lo, c.Lo, 1e-9)
		near(t, "wilson", hi, c.Hi, 1e-9)
	}
	for _, c := range ref.Homogeneity {
		var total [2]float64
		for _, x := range c.Cells {
			total[0] += x[0]
			total[1] += x[1]
		}
		near(t, "homogeneity", homogeneity(c.Cells, total), c.P, 1e-9)
	}
}

// A block of one value each is Welch's test, where the values are not correlated.
func TestBlockTestIsWelch(t *testing.T) {
	for _, c := range scipy(t).Welch {
		var x [2]sums
		for i, list := range [][]int64{c.A, c.B} {
			x[i] = newSums(len(list))
			for k, v := range list {
				x[i].add(k, float64(v), 1)
			}
			if v, df := x[i].variance(); v == 0 || df > float64(len(list)-1) {
				t.Errorf("variance %g, %g degrees of freedom of %d values", v, df, len(list))
			}
		}
		if got := blockTest(x[0], x[1]); got < c.P*(1-1e-9) {
			t.Errorf("%g is smaller than Welch's %g", got, c.P)
		} else if got > c.P*(1+1e-9) && !correlated(x[0]) && !correlated(x[1]) {
			t.Errorf("%g, Welch's is %g", got, c.P)
		}
	}
}

func correlated(x sums) bool {
	_, df := x.variance()
	return df < float64(len(x.s)-1)
}

func TestHolm(t *testing.T) {
	ref := scipy(t).Holm
	var list []*float64
	values := slices.Clone(ref.P)
	for i := range values {
		list = append(list, &values[i])
	}
	holm(list)
	for i := range values {
		near(t, "holm", values[i], ref.Adjusted[i], 1e-12)
	}
}

func TestSortKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 4095, 4096, 10000} {
		for _, bits := range []uint{1, 20, 47, 64} {
			list := make([]uint64, n)
			for i := range list {
				list[i] = r.Uint64() >> (64 - bits)
			}
			want := slices.Sorted(slices.Values(list))
			sortKeys(list)
			if !slices.Equal(list, want) {
				t.Errorf("%d keys of %d bits: not sorted", n, bits)
			}
		}
	}
}

// The figures are those that the baseline gives: the value at rank floor(q(n-1)).
func TestQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 10, 101, 3000} {
		var list []int64
		for range n {
			list = append(list, int64(r.IntN(500)))
		}
		x := plainSet(list, []int64{1})
		slices.Sort(list)
		for _, q := range []float64{0.5, 0.95, 0.99} {
			if got, want := x.sides[0].quantile(q), float64(list[int(q*float64(n-1))]); got != want {
				t.Errorf("%d values, q %g: %g, want %g", n, q, got, want)
			}
		}
	}
}

// The place among both sides is found without putting them together.
func TestRanked(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for range 300 {
		var sides [2][]int64
		var all []int64
		for i := range sides {
			for range r.IntN(12) + i {
				sides[i] = append(sides[i], int64(r.IntN(8)))
			}
			all = append(all, sides[i]...)
		}
		x := plainSet(sides[0], sides[1])
		slices.Sort(all)
		for rank, want := range all {
			if got := x.ranked(rank); got != uint64(want) {
				t.Fatalf("%v: place %d is %d, want %d", sides, rank, got, want)
			}
		}
		var joined []int64
		x.ties(func(value uint64, from, to [2]int, weight [2]float64) bool {
			n := to[0] - from[0] + to[1] - from[1]
			if float64(n) != weight[0]+weight[1] {
				t.Fatalf("%v: weight %v of %d values", sides, weight, n)
			}
			joined = append(joined, slices.Repeat([]int64{int64(value)}, n)...)
			return true
		})
		if !slices.Equal(joined, all) {
			t.Fatalf("%v: together %v", sides, joined)
		}
	}
}

// The interval of a quantile holds as often as it says, for values that do not depend on each other.
func TestBootstrapCovers(t *testing.T) {
	for _, c := range []struct {
		q float64
		n int
	}{{0.5, 40}, {0.5, 500}, {0.95, 1000}} {
		held := 0
		const times = 100
		for k := range times {
			r := rand.New(rand.NewPCG(uint64(k), uint64(c.n)))
			draw := func() (list []int64) {
				for range c.n {
					list = append(list, int64(1e6*math.Exp(r.NormFloat64())))
				}
				return list
			}
			x := plainSet(draw(), draw())
			d := draws{byN: map[drawKey][]float64{}}
			var out [2][]float64
			blocks := 0
			for i := range out {
				out[i] = make([]float64, resamples)
				blocks = x.sides[i].bootstrapQuantile(&d, i, c.q, out[i])
			}
			for i := range out[1] {
				out[1][i] = out[1][i]/out[0][i] - 1
			}
			lo, hi, ok := percentileLimits(out[1], 0.95, blocks)
			if ok && lo <= 0 && hi >= 0 {
				held++
			}
		}
		t.Logf("q %g of %d: %d of %d intervals hold", c.q, c.n, held, times)
		if held < times*90/100 || held == times {
			t.Errorf("q %g of %d: %d of %d intervals of 95 %% hold", c.q, c.n, held, times)
		}
	}
}
