package compare

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// shape draws one route's requests in the order of time, as services give them.
type shape struct {
	name string
	// make returns a function that gives the next request; factor multiplies its time.
	make func(r *rand.Rand, factor float64) func() sample
}

func ns(ms float64) int64 { return int64(ms * 1e6) }

// counts adds what goes with a time: queries and misses that depend on a hit, sizes, few errors.
func counts(r *rand.Rand, s sample) sample {
	s.bytes = uint32(2000 * math.Exp(0.8*r.NormFloat64()))
	s.queries = 1 + uint32(r.IntN(3))
	if r.IntN(4) == 0 {
		s.misses = 1
		s.queries += 4
	} else {
		s.hits = 1
	}
	s.failed = r.IntN(100) == 0
	s.key = uint32(r.ExpFloat64() * 5)
	return s
}

func shapes() []shape {
	return []shape{
		{"log-normal", func(r *rand.Rand, factor float64) func() sample {
			return func() sample { return counts(r, sample{dur: ns(factor * 20 * math.Exp(0.5*r.NormFloat64()))}) }
		}},
		{"bimodal", func(r *rand.Rand, factor float64) func() sample { // a cache that hits or not
			return func() sample {
				mid := 2.0
				if r.IntN(3) == 0 {
					mid = 40
				}
				return counts(r, sample{dur: ns(factor * mid * math.Exp(0.3*r.NormFloat64()))})
			}
		}},
		{"ties", func(r *rand.Rand, factor float64) func() sample { // a clock that counts whole milliseconds
			return func() sample {
				return counts(r, sample{dur: ns(math.Round(factor * 20 * math.Exp(0.3*r.NormFloat64())))})
			}
		}},
		{"autocorrelated", func(r *rand.Rand, factor float64) func() sample { // load that comes and goes
			state := r.NormFloat64()
			return func() sample {
				state = 0.9*state + math.Sqrt(1-0.81)*r.NormFloat64()
				return counts(r, sample{dur: ns(factor * 20 * math.Exp(0.3*state+0.3*r.NormFloat64()))})
			}
		}},
		{"spells", func(r *rand.Rand, factor float64) func() sample { // slow spells in which errors come together
			left, slow := 0, false
			return func() sample {
				if left--; left < 0 {
					slow = r.IntN(8) == 0
					left = int(r.ExpFloat64() * 20)
				}
				s := counts(r, sample{dur: ns(factor * 20 * math.Exp(0.4*r.NormFloat64()))})
				if slow {
					s.dur *= 2
					s.failed = r.IntN(4) == 0
				}
				return s
			}
		}},
	}
}

// drawn is a side of routes with n requests each.
func drawn(seed uint64, sh shape, routes, n int, factor float64) *Samples {
	s := New(SampleOptions{})
	s.seen.queries, s.seen.cache = true, true
	r := rand.New(rand.NewPCG(seed, 7))
	for route := range routes {
		next := sh.make(r, factor)
		key := routeKey{method: "GET", route: string(rune('a' + route))}
		at := int64(1e18)
		for range n {
			x := next()
			at += int64(r.ExpFloat64() * 2e7)
			x.at, x.id = at, r.Uint32()
			s.take(s.route(key), &x)
		}
	}
	return s
}

func claims(r *Result) (list []Row) {
	for _, rows := range [][]Row{r.Totals, r.Routes} {
		for _, row := range rows {
			if row.Verdict == Better || row.Verdict == Worse {
				list = append(list, row)
			}
		}
	}
	return list
}

// TestNoDifference: of reports on two sides of the same traffic at most one in twenty may name any difference, in any
// route, metric or total. 1,000 pairs of every shape and several sizes; seeds are fixed, so that the count is too.
func TestNoDifference(t *testing.T) {
	const pairs = 1000
	all := shapes()
	wrong := make([]int, len(all))
	t.Run("pairs", func(t *testing.T) {
		for k, sh := range all {
			t.Run(sh.name, func(t *testing.T) {
				t.Parallel()
				byMetric := map[string]int{}
				n := pairs / len(all)
				for i := range n {
					seed := uint64(k*1_000_000 + 2*i)
					size := []int{60, 200, 600}[i%3]
					list := claims(Compare(drawn(seed, sh, 2, size, 1), drawn(seed+1, sh, 2, size, 1), Options{MinEffect: -1}))
					if len(list) > 0 {
						wrong[k]++
					}
					for _, r := range list {
						byMetric[fmt.Sprint(r.Metric, " of ", size)]++
					}
				}
				t.Logf("%d of %d pairs named a difference: %v", wrong[k], n, byMetric)
			})
		}
	})
	sum := 0
	for _, n := range wrong {
		sum += n
	}
	t.Logf("%d of %d pairs named a difference", sum, pairs)
	if sum > pairs/20 {
		t.Errorf("%d of %d reports on equal traffic name a difference, at most %d may", sum, pairs, pairs/20)
	}
}

// TestShift: a response time that is 10 % longer is found in at least nine of ten pairs of these sizes. TestSoakShift draws
// many more pairs.
func TestShift(t *testing.T) { shifted(t, 20) }

func shifted(t *testing.T, pairs int) {
	sizes := map[string][]int{ // requests on each side for p50, p95 and p99
		"log-normal":     {2000, 5000, 20000},
		"bimodal":        {3000, 4000, 8000},
		"ties":           {1000, 2500, 8000},
		"autocorrelated": {12000},
	}
	for k, sh := range shapes() {
		want, ok := sizes[sh.name]
		if !ok {
			continue
		}
		t.Run(sh.name, func(t *testing.T) {
			t.Parallel()
			for q, metric := range []string{P50, P95, P99}[:len(want)] {
				found := 0
				for i := range pairs {
					seed := uint64(9_000_000 + k*1_000_000 + 2*i)
					res := Compare(drawn(seed, sh, 1, want[q], 1), drawn(seed+1, sh, 1, want[q], 1.1), Options{})
					for _, r := range res.Routes {
						if r.Metric == metric && r.Verdict == Worse {
							found++
						}
					}
				}
				t.Logf("%s with %d requests: %d of %d found", metric, want[q], found, pairs)
				if found < pairs*9/10 {
					t.Errorf("%s: a shift of 10 %% was found in %d of %d pairs of %d requests", metric, found, pairs, want[q])
				}
			}
		})
	}
}
