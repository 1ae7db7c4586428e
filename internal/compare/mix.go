package compare

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// A change in what was asked is not a change in how it was answered. Where the shares of the strata (targets of a route,
// routes of the whole) differ between the sides beyond chance, the requests after are weighed so that each stratum has the
// share that it had before, and strata that only one side has are left out.
const (
	mixP       = 0.001 // significance from which shares count as different,
	mixShare   = 0.02  // and the least part of the requests that must lie in other strata
	mixCommon  = 0.5   // the least part of either side that must lie in common strata for a like-with-like comparison
	mixLeast   = 5     // requests of a stratum on either side; smaller ones are taken together
	maxStrata  = 256   // strata kept apart, the largest
	otherKey   = 0     // index of the rest among the weights
	chiSquareN = 5     // expected requests in a cell
)

// stratum is how many requests of each side one key has.
type stratum struct {
	key uint32
	n   [2]float64
}

// mixture is what is known of the shares of the strata.
type mixture struct {
	changed bool
	moved   float64 // part of the requests that would have to lie elsewhere for equal shares (total variation distance)
	// comparable says that enough is common to both sides to weigh; common is how much of each side is.
	comparable bool
	common     [2]float64
	index      map[uint32]int // into weights; a key that is not there is of the rest
	after      []float64      // weights of the requests after; those before weigh one
	out        map[uint32]bool
}

// compareMix finds how the strata differ. It orders them by size.
func compareMix(strata []stratum) mixture {
	var total [2]float64
	for _, s := range strata {
		total[0] += s.n[0]
		total[1] += s.n[1]
	}
	m := mixture{index: map[uint32]int{}, out: map[uint32]bool{}}
	if total[0] == 0 || total[1] == 0 || len(strata) < 2 {
		return m
	}
	slices.SortFunc(strata, func(a, b stratum) int {
		return cmp.Or(cmp.Compare(b.n[0]+b.n[1], a.n[0]+a.n[1]), cmp.Compare(a.key, b.key))
	})
	var rest [2]float64
	cells := make([][2]float64, 0, maxStrata)
	for i, s := range strata {
		share := (s.n[0] + s.n[1]) / (total[0] + total[1])
		if i >= maxStrata || share*min(total[0], total[1]) < chiSquareN {
			rest[0] += s.n[0]
			rest[1] += s.n[1]
			continue
		}
		cells = append(cells, s.n)
	}
	if rest != [2]float64{} {
		cells = append(cells, rest)
	}
	p := homogeneity(cells, total)
	for _, c := range cells {
		m.moved += math.Abs(c[0]/total[0]-c[1]/total[1]) / 2
	}
	m.changed = p < mixP && m.moved >= mixShare
	if !m.changed {
		return m
	}
	m.weigh(strata, total)
	return m
}

func (m *mixture) weigh(strata []stratum, total [2]float64) {
	var rest, common [2]float64
	var kept []stratum
	for i, s := range strata {
		switch {
		case i < maxStrata && min(s.n[0], s.n[1]) >= mixLeast:
			kept = append(kept, s)
		case i < maxStrata && max(s.n[0], s.n[1]) >= 4*mixLeast: // one side has it, the other has not
			m.out[s.key] = true
			continue
		default:
			rest[0] += s.n[0]
			rest[1] += s.n[1]
			continue
		}
		common[0] += s.n[0]
		common[1] += s.n[1]
	}
	useRest := min(rest[0], rest[1]) >= mixLeast
	if useRest {
		common[0] += rest[0]
		common[1] += rest[1]
	}
	for i := range common {
		m.common[i] = common[i] / total[i]
	}
	if min(m.common[0], m.common[1]) < mixCommon || common[1] == 0 {
		return
	}
	m.comparable = true
	m.after = []float64{-1}
	if useRest {
		m.after[otherKey] = rest[0] / common[0] / (rest[1] / common[1])
	}
	for _, s := range kept {
		m.index[s.key] = len(m.after)
		m.after = append(m.after, s.n[0]/common[0]/(s.n[1]/common[1]))
	}
}

// at is the index of a key's weight, -1 for one that is left out.
func (m *mixture) at(key uint32) int {
	if i, ok := m.index[key]; ok {
		return i
	}
	if m.out[key] || m.after[otherKey] < 0 {
		return -1
	}
	return otherKey
}

// homogeneity is the p-value of the chi-square test for equal shares.
func homogeneity(cells [][2]float64, total [2]float64) float64 {
	if len(cells) < 2 {
		return 1
	}
	x := 0.0
	for _, c := range cells {
		for i := range c {
			e := (c[0] + c[1]) * total[i] / (total[0] + total[1])
			x += (c[i] - e) * (c[i] - e) / e
		}
	}
	return mathext.GammaIncRegComp(float64(len(cells)-1)/2, x/2)
}

// targets counts the requests of two routes by target.
func targets(r [2]*routeSamples) []stratum {
	var keys [2][]uint32
	for i := range r {
		keys[i] = make([]uint32, 0, r[i].n)
		r[i].each(func(s *sample) { keys[i] = append(keys[i], s.key) })
		sortKeys(keys[i])
	}
	var out []stratum
	at := [2]int{}
	for at[0] < len(keys[0]) || at[1] < len(keys[1]) {
		key := uint32(math.MaxUint32)
		for i := range keys {
			if at[i] < len(keys[i]) {
				key = min(key, keys[i][at[i]])
			}
		}
		s := stratum{key: key}
		for i := range keys {
			from := at[i]
			for at[i] < len(keys[i]) && keys[i][at[i]] == key {
				at[i]++
			}
			s.n[i] = float64(at[i] - from)
		}
		out = append(out, s)
	}
	return out
}
