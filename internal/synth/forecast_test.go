package synth_test

import (
	"slices"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/forecast"
	"github.com/demarc-dev/demarc/internal/synth"
)

// TestForecastFindsWhatIsWorthCaching holds key parts, ignored inputs and, for every lifetime and way to invalidate, the
// number of hits and stale serves against the truth.
func TestForecastFindsWhatIsWorthCaching(t *testing.T) {
	for seed := range uint64(3) {
		opt := synth.DefaultTraffic()
		opt.Seed, opt.Requests, opt.Rate = seed, 30_000, 50
		opt.Lifetimes = []int64{700, 10_000, 45_000}
		if seed == 2 { // requests, fills and writes of one key overlap
			opt.Rate, opt.Keys, opt.Users, opt.WriteRate, opt.Plant = 2000, 20, 20, 20_000, nil
			opt.Lifetimes = []int64{15, 300, 45_000}
		}
		tr := traffic(t, opt)
		var ttls []time.Duration
		for _, ms := range opt.Lifetimes {
			ttls = append(ttls, time.Duration(ms)*time.Millisecond)
		}
		f := forecast.New(forecast.Options{TTLs: ttls})
		for batch := tr.Next(); len(batch) > 0; batch = tr.Next() {
			if err := f.Add(batch); err != nil {
				t.Fatal(err)
			}
		}
		rep, truth := f.Report(), tr.Truth("")
		for _, want := range truth.Routes {
			i := slices.IndexFunc(rep.Boundaries, func(b forecast.Boundary) bool { return b.Name == want.Route })
			if i < 0 {
				t.Errorf("seed %d: no boundary %s", seed, want.Route)
				continue
			}
			b := &rep.Boundaries[i]
			if b.Requests != want.Requests {
				t.Errorf("seed %d, %s: %d requests, %d were made", seed, want.Route, b.Requests, want.Requests)
			}
			if want.Verdict != "either" && b.Verdict != want.Verdict {
				t.Errorf("seed %d, %s (%s): %s, %s; key %q", seed, want.Route, want.Why, b.Verdict, b.Reason, b.Key)
			}
			if want.Verdict != forecast.Cache {
				continue
			}
			slices.Sort(b.Key)
			slices.Sort(b.Ignored)
			if !slices.Equal(b.Key, want.Key) || !slices.Equal(b.Ignored, want.Ignored) {
				t.Errorf("seed %d, %s: key %q, ignored %q; the truth is %q, %q\n%+v", seed, want.Route, b.Key, b.Ignored, want.Key, want.Ignored, b.Inputs)
				continue
			}
			for _, p := range want.Points {
				j := slices.IndexFunc(b.Curve, func(c forecast.CurvePoint) bool {
					return c.TTLMs == float64(p.TTLMs) && c.How == p.Invalidation
				})
				if j < 0 || b.Curve[j].Hits != p.Hits || b.Curve[j].StaleServes != p.StaleServes {
					t.Errorf("seed %d, %s: %+v, the truth is %+v", seed, want.Route, b.Curve[max(j, 0)], p)
				}
			}
		}
	}
}
