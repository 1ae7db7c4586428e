package check

import (
	"math"

	"github.com/demarc-dev/demarc/internal/stale"
)

// FromStale takes from a report of stale reads what checks ask for.
func FromStale(r *stale.Report) *Stale {
	s := &Stale{
		Total:  StaleCount{r.StaleReads, r.Leaks},
		Routes: map[string]StaleCount{}, Families: map[string]FamilyCount{}, Leaks: r.LeakReads(),
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

// leakMoved says that a key family leaked in one of two captures only, where a check of stale reads looks. A key that leaks is not
// judged for its age, so that its stale reads are counted in the other capture alone.
func leakMoved(a, b *Stale, c Check, name string) bool {
	if a == nil || b == nil || c.Metric != "stale_reads" {
		return false
	}
	if c.Scope == Family {
		return (a.Families[name].Leaks > 0) != (b.Families[name].Leaks > 0)
	}
	differ := func(a, b *Stale) bool {
		for route, families := range a.Leaks {
			for family, n := range families {
				if n > 0 && b.Leaks[route][family] == 0 && (c.Scope == Total || route == name) {
					return true
				}
			}
		}
		return false
	}
	return differ(a, b) || differ(b, a)
}
