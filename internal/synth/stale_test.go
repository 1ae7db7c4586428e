package synth_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/sqlread"
	"github.com/demarc-dev/demarc/internal/stale"
	"github.com/demarc-dev/demarc/internal/synth"
)

func traffic(t testing.TB, opt synth.TrafficOptions) *synth.Traffic {
	t.Helper()
	tr, err := synth.NewTraffic(opt)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// staleOf is what `demarc stale` finds in traffic, and the truth.
func staleOf(t testing.TB, opt synth.TrafficOptions) (*stale.Report, *synth.Truth) {
	t.Helper()
	tr := traffic(t, opt)
	d := stale.New(stale.Options{Late: 10 * time.Second})
	for batch := tr.Next(); len(batch) > 0; batch = tr.Next() {
		if err := d.Add(batch); err != nil {
			t.Fatal(err)
		}
	}
	d.Finish()
	return d.Report(), tr.Truth("")
}

// found is what a finding and a planted one have in common.
func found(cause, verdict, family, layer, route, sql, table string, reads, entries int64, ms float64) string {
	if sql != "" {
		sql = sqlread.Read(sqlread.DialectOf("postgresql"), sql).Fingerprint
	}
	return fmt.Sprintf("%s %s %s %s by %q %q %q: %d reads of %d entries, at most %.6f ms", cause, verdict, family, layer, route, sql, table, reads, entries, ms)
}

func checkStale(t *testing.T, rep *stale.Report, truth *synth.Truth) {
	t.Helper()
	var got, want []string
	for _, f := range rep.Findings {
		w := f.Writer
		got = append(got, found(f.Cause, f.Verdict, f.Family, f.Layer, w.Route, w.SQL, w.Table, f.StaleReads, f.Entries, f.MaxStalenessMs))
	}
	for _, f := range truth.Findings {
		w := f.Writer
		want = append(want, found(f.Cause, f.Verdict, f.Family, f.Layer, w.Route, w.SQL, w.Table, f.StaleReads, f.Entries, float64(f.MaxStalenessNs)/1e6))
	}
	slices.Sort(got)
	slices.Sort(want)
	diff(t, "finding", got, want)
	got, want = nil, nil
	for _, l := range rep.Lookalikes {
		got = append(got, fmt.Sprintf("%s %s %d", l.Cause, l.Family, l.Count))
	}
	for _, l := range truth.Lookalike {
		want = append(want, fmt.Sprintf("%s %s %d", l.Cause, l.Family, l.Count))
	}
	slices.Sort(got)
	slices.Sort(want)
	diff(t, "look-alike", got, want)
	if rep.StaleReads != truth.Totals.StaleReads || rep.Leaks != truth.Totals.Leaks || rep.Unjudged != 0 {
		t.Errorf("%d stale reads, %d leaks, %d unconfirmed; planted were %d and %d", rep.StaleReads, rep.Leaks, rep.Unjudged,
			truth.Totals.StaleReads, truth.Totals.Leaks)
	}
}

// diff names what stands in one sorted list and not in the other.
func diff(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i, j := 0, 0; i < len(got) || j < len(want); {
		c := 1
		switch {
		case j == len(want):
			c = -1
		case i < len(got):
			c = cmp.Compare(got[i], want[j])
		}
		switch {
		case c == 0:
			i++
			j++
		case c < 0:
			t.Errorf("%s found, not planted: %s", what, got[i])
			i++
		default:
			t.Errorf("%s planted, not found: %s", what, want[j])
			j++
		}
	}
}

// TestStaleFindsWhatWasPlanted holds the whole table of findings against the truth: cause, verdict, family, writer, number
// of stale reads and the greatest staleness, for several seeds and mixtures.
func TestStaleFindsWhatWasPlanted(t *testing.T) {
	for name, change := range map[string]func(*synth.TrafficOptions){
		"one of each": func(*synth.TrafficOptions) {},
		"five of each": func(o *synth.TrafficOptions) {
			o.Requests = 20_000
			for i := range o.Plant {
				o.Plant[i].N = 5
			}
		},
		"nothing":                     func(o *synth.TrafficOptions) { o.Plant = nil },
		"fast, few keys, many writes": func(o *synth.TrafficOptions) { o.Rate, o.Keys, o.WriteRate, o.Requests = 1000, 5, 300_000, 30_000 },
		"two processes, one user":     func(o *synth.TrafficOptions) { o.Processes, o.Users = 2, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				opt := synth.DefaultTraffic()
				opt.Seed = seed
				change(&opt)
				rep, truth := staleOf(t, opt)
				checkStale(t, rep, truth)
				if truth.Totals.Requests != opt.Requests {
					t.Errorf("%d requests, %d were asked for", truth.Totals.Requests, opt.Requests)
				}
				if t.Failed() {
					t.Fatalf("seed %d; coverage %+v", seed, rep.Coverage)
				}
			}
		})
	}
}
