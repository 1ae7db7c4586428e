package check

import (
	"math"

	"github.com/demarc-dev/demarc/internal/stale"
)

// FromStale takes from a report of stale reads what checks ask for.
func FromStale(r *stale.Report) *Stale {
	s := &Stale{
		Total:  StaleCount{r.StaleReads, r.Leaks},
		Routes: map[string]StaleCount{}, Families: map[string]FamilyCount{},
	}
	if share := r.Coverage.HitsJudged; share != nil {
		s.Judged = int64(math.Round(*share * float64(r.Coverage.Hits)))
	}
	if s.Judged == 0 {
		s.Why = "no cache hit was seen, so no read could be stale or fresh"
		if r.Coverage.Hits > 0 {
			s.Why = "of no cache hit both the fill and what it read were seen: demarc stale says what is missing"
		}
	}
	for _, x := range r.Routes {
		s.Routes[x.Route] = StaleCount{StaleReads: x.StaleReads}
	}
	for _, x := range r.Families {
		s.Families[x.Family] = FamilyCount{StaleCount{x.StaleReads, x.Leaks}, x.Hits, x.Misses}
	}
	return s
}
