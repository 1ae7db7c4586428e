package stale_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/demarc-dev/demarc/internal/stale"
)

// againstTruth compares what is found in a history with what was so: every stale read that the events decide is found,
// none is invented, and no cause is named that the writers of the key cannot have given.
func againstTruth(t testing.TB, what string, h *history, rep report) (must, found int64) {
	t.Helper()
	families := map[string]family{}
	for _, f := range rep.Families {
		families[f.Family] = f
	}
	for name, k := range h.keys {
		f := families[name]
		if f.Hits != k.hits {
			t.Errorf("%s: %s had %d hits, the report says %d", what, name, k.hits, f.Hits)
		}
		if f.StaleReads < k.must || f.StaleReads > k.stale-k.lag {
			t.Errorf("%s: %s (discipline %d) had %d stale reads, %d of them lag; the events decide %d; found %d", what, name, k.discipline,
				k.stale, k.lag, k.must, f.StaleReads)
		}
		must, found = must+k.must, found+f.StaleReads
	}
	for _, f := range rep.Findings {
		k := h.keys[f.Family]
		if k == nil {
			t.Errorf("%s: a finding of %s, which is no key", what, f.Family)
			continue
		}
		allowed := causesOf[k.discipline]
		if k.page {
			allowed = append(slices.Clone(allowed), causesOfPages...)
		}
		if f.Verdict == stale.CannotTell || slices.Contains(allowed, f.Cause) || slices.Contains([]string{"peer", "replica"}, f.Cause) {
			continue
		}
		t.Errorf("%s: %s has discipline %d, and %s %s is said of it", what, f.Family, k.discipline, f.Cause, f.Verdict)
	}
	return must, found
}

// modelled draws the kind of history from its seed too.
func modelled(seed uint64) (modelOptions, *history) {
	opt := modelOptions{
		articles: 1 + int(seed%7), processes: 1 + int(seed/7%3), steps: 60 + int(seed%5)*40, changes: seed%2 == 0,
		spread: []int64{20 * ms, 200 * ms, 3000 * ms}[seed%3],
	}
	switch seed % 11 {
	case 3:
		opt.local, opt.processes = true, 2
	case 7:
		opt.replica = true
	}
	opt.pages = seed%5 == 2 && !opt.local
	return opt, simulate(seed, opt)
}

func TestModel(t *testing.T) {
	var must, found int64
	for seed := range uint64(300) {
		opt, h := modelled(seed)
		rep := asReport(t, detect(t, stale.Options{}, h.events, 50))
		m, f := againstTruth(t, fmt.Sprintf("seed %d %+v", seed, opt), h, rep)
		must, found = must+m, found+f
		if t.Failed() {
			t.Logf("found:\n%s", rep)
			return
		}
	}
	if must < 1000 {
		t.Errorf("all histories together have only %d stale reads that the events decide", must)
	}
	t.Logf("%d stale reads decided by the events, %d found", must, found)
}

// TestModelAgreesWithItself holds that what the events decide is really so: a stale read that must be found was one.
func TestModelAgreesWithItself(t *testing.T) {
	var hits, old, lag, must int64
	for seed := range uint64(300) {
		_, h := modelled(seed)
		for name, k := range h.keys {
			if k.must+k.lag > k.stale || k.stale > k.hits {
				t.Errorf("seed %d: %s has %d hits, %d stale, %d of them lag, and %d that must be found", seed, name, k.hits, k.stale, k.lag, k.must)
			}
			hits, old, lag, must = hits+k.hits, old+k.stale, lag+k.lag, must+k.must
		}
	}
	t.Logf("%d hits, %d on a replaced value, %d of them lag, %d decided by the events", hits, old, lag, must)
	if must < old/2 {
		t.Errorf("the events decide %d of %d stale reads: the histories test too little", must, old)
	}
}

// FuzzModel looks for a seed on which the truth and the findings differ.
func FuzzModel(f *testing.F) {
	for seed := range uint64(5) {
		f.Add(1000 + seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		_, h := modelled(seed)
		rep := asReport(t, detect(t, stale.Options{}, h.events, 50))
		againstTruth(t, fmt.Sprintf("seed %d", seed), h, rep)
		if t.Failed() {
			t.Logf("found:\n%s", rep)
		}
	})
}
