package compare

import (
	"slices"
	"testing"
)

// readers are n requests of GET /a with one hit each, of which some were stale and some leaked.
func readers(n int, stale int64, leaks map[string]int64) *Samples {
	s := New(SampleOptions{})
	for i := range n {
		s.take(s.route(routeKey{method: "GET", route: "/a"}), &sample{at: start + int64(i)*1e7, dur: int64(1e6 + i%9*1e5), hits: 1, bytes: noBytes})
		s.take(s.route(routeKey{method: "GET", route: "/b"}), &sample{at: start + int64(i)*1e7, dur: int64(1e6 + i%9*1e5), hits: 1, bytes: noBytes})
	}
	s.AddStale(map[string]int64{"GET /a": stale})
	s.AddLeaks(map[string]map[string]int64{"GET /a": leaks})
	return s
}

// A leak hides the stale reads of its key: they are not worse when it is gone, nor better when it comes.
func TestLeaksHideStaleReads(t *testing.T) {
	for name, c := range map[string]struct {
		before, after *Samples
		stale, leaks  Verdict
		noted         bool
	}{
		"gone":         {readers(100, 0, map[string]int64{"recs:all": 60}), readers(100, 36, nil), Nothing, Better, true},
		"new":          {readers(100, 36, nil), readers(100, 0, map[string]int64{"recs:all": 60}), Nothing, Worse, true},
		"one of two":   {readers(100, 0, map[string]int64{"recs:all": 30, "menu": 30}), readers(100, 36, map[string]int64{"menu": 30}), Nothing, Better, true},
		"on both":      {readers(100, 40, map[string]int64{"menu": 30}), readers(100, 0, map[string]int64{"menu": 31}), Better, Nothing, false},
		"another size": {readers(100, 40, map[string]int64{"menu": 80}), readers(100, 0, map[string]int64{"menu": 20}), Better, Better, false},
	} {
		res := Compare(c.before, c.after, Options{})
		for _, list := range [][]Row{res.Routes, res.Totals} {
			route := list[0].Route
			if list[0].Route != TotalRoute {
				route = "GET /a"
			}
			r := row(t, list, route, StaleReads)
			if r.Verdict != c.stale || slices.Contains(r.Notes, "leaks") != c.noted || (r.P == nil) != c.noted || r.Before == nil || r.After == nil {
				t.Errorf("%s: %+v", name, r)
			}
			if r := row(t, list, route, LeakedReads); r.Verdict != c.leaks {
				t.Errorf("%s: %+v", name, r)
			}
		}
		told := slices.ContainsFunc(res.Warnings, func(d Doubt) bool { return d.Code == "leaks" && d.Route == "GET /a" })
		if told != c.noted {
			t.Errorf("%s: %+v", name, res.Warnings)
		}
		for _, r := range res.Routes {
			if r.Route == "GET /b" && r.Metric == LeakedReads {
				t.Errorf("%s: a row of leaks where there are none: %+v", name, r)
			}
		}
	}
	if res := Compare(readers(100, 1, nil), readers(100, 1, nil), Options{}); slices.Contains(res.Unasked, LeakedReads) {
		t.Errorf("no leak is an answer: %v", res.Unasked)
	}
}

// There cannot be more stale reads than hits: the interval of a share that fell from nearly all to none ends at all.
func TestIntervalOfReadsIsPossible(t *testing.T) {
	for _, k := range [][2]int64{{94, 0}, {0, 94}, {100, 0}, {50, 100}, {1, 0}} {
		r := row(t, Compare(readers(100, k[0], nil), readers(100, k[1], nil), Options{}).Routes, "GET /a", StaleReads)
		if r.CI == nil || *r.CI[0] < -1 || *r.CI[1] > 1 || *r.CI[0] > *r.Change || *r.CI[1] < *r.Change {
			t.Errorf("%v: %v … %v around %v", k, *r.CI[0], *r.CI[1], *r.Change)
		}
	}
}
