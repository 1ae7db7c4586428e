package check

import (
	"testing"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// A leak that is gone makes no stale reads worse than in the baseline, nor does one that came make them better.
func TestLeakMovedIsUndecided(t *testing.T) {
	leaking := &Stale{Judged: 100, Total: StaleCount{0, 1}, Families: map[string]FamilyCount{"recs:all": {StaleCount{0, 1}, 90, 10}},
		Leaks: map[string]map[string]int64{"GET /recs": {"recs:all": 60}}}
	fixed := &Stale{Judged: 100, Total: StaleCount{36, 0}, Routes: map[string]StaleCount{"GET /recs": {36, 0}},
		Families: map[string]FamilyCount{"recs:{}": {StaleCount{36, 0}, 90, 10}}}
	rep := &baseline.Report{Routes: []baseline.Route{{Route: "GET /recs", Requests: 100}, {Route: "GET /menu", Requests: 100}}}
	relative := func(scope Scope, of string) Check {
		return Check{Kind: Figure, Metric: "stale_reads", Scope: scope, Of: of, Op: "<=", Bound: Bound{Relative: true, Factor: 1}}
	}
	for _, c := range []struct {
		check       Check
		now, before *Stale
		want        Verdict
	}{
		{relative(Total, ""), fixed, leaking, Undecided},
		{relative(Total, ""), leaking, fixed, Undecided},
		{relative(Total, ""), leaking, leaking, Pass},
		{relative(Total, ""), fixed, fixed, Pass},
		{relative(Route, "GET /recs"), fixed, leaking, Undecided},
		{relative(Route, "GET /menu"), fixed, leaking, Pass},
		{relative(Family, "recs:all"), fixed, leaking, Undecided},
		{relative(Family, "recs:{}"), fixed, fixed, Pass},
	} {
		f := Figures{Report: rep, Baseline: rep, Stale: c.now, BaselineStale: c.before}
		if r := f.one(c.check, c.check.Of); r.Verdict != c.want || (r.Reason == "") != (c.want == Pass) {
			t.Errorf("%s of %q: %+v, expected %s", c.check.Metric, c.check.Of, r, c.want)
		}
	}
}
