package stale_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// A way of running a history that must not change what is found.
type way struct {
	name string
	run  func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report
}

// arriveWithin moves events to where they arrive if each is late by less than the bound.
func arriveWithin(events []event.Event, bound time.Duration, seed uint64) []event.Event {
	rng := rand.New(rand.NewPCG(seed, 7))
	type arriving struct {
		at int64
		e  event.Event
	}
	var all []arriving
	for _, e := range events {
		all = append(all, arriving{e.End() + rng.Int64N(int64(bound)), e})
	}
	slices.SortStableFunc(all, func(a, b arriving) int { return cmp.Compare(a.at, b.at) })
	var out []event.Event
	for _, a := range all {
		out = append(out, a.e)
	}
	return out
}

func late(opt stale.Options) time.Duration { return cmp.Or(opt.Late, time.Second) * 9 / 10 }

func inBatches(size int) way {
	return way{fmt.Sprintf("batches of %d", size), func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		return detect(t, opt, events, size)
	}}
}

var ways = []way{
	inBatches(1), inBatches(7), inBatches(100_000),
	{"late within the bound", func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		return detect(t, opt, arriveWithin(events, late(opt), 1), 20)
	}},
	{"late within the bound, otherwise", func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		return detect(t, opt, arriveWithin(events, late(opt), 2), 3)
	}},
	{"doubled at once", func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		var twice []event.Event
		for _, e := range events {
			twice = append(twice, e, copyEvent(e))
		}
		return detect(t, opt, twice, 10)
	}},
	{"doubled later", func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		return detect(t, opt, arriveWithin(append(slices.Clone(events), events...), late(opt), 3), 10)
	}},
	{"in four shards", func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		var reports []*stale.Report
		for shard := range 4 {
			opt.Shard, opt.Shards = shard, 4
			reports = append(reports, detect(t, opt, events, 50))
		}
		return stale.Merge(reports...)
	}},
	{"asked while it runs", func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		d := stale.New(opt)
		for batch := range slices.Chunk(events, 10) {
			if err := d.Add(batch); err != nil {
				t.Fatal(err)
			}
			d.Report()
			d.Drain()
		}
		d.Finish()
		return d.Report()
	}},
	{"stopped and resumed", func(t testing.TB, opt stale.Options, events []event.Event) *stale.Report {
		d := stale.New(opt)
		half := len(events) / 2
		for _, part := range [][]event.Event{events[:half], events[half:]} {
			if err := d.Add(part); err != nil {
				t.Fatal(err)
			}
			d.Finish()
			d.Report()
		}
		return d.Report()
	}},
}

// said is what a report says without the counts of how it was fed.
func said(t testing.TB, rep *stale.Report) string {
	t.Helper()
	again := *rep
	again.Coverage.Events, again.Coverage.Doubled = 0, 0
	text, err := json.MarshalIndent(&again, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func byEnd(events []event.Event) []event.Event {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b event.Event) int { return cmp.Compare(a.End(), b.End()) })
	return events
}

func sameWays(t *testing.T, opt stale.Options, events []event.Event) {
	events = byEnd(events)
	want := said(t, detect(t, opt, events, 50))
	for _, w := range ways {
		if got := said(t, w.run(t, opt, events)); got != want {
			t.Errorf("%s: another report\nwant %s\ngot  %s", w.name, firstDifference(want, got), firstDifference(got, want))
		}
	}
}

// firstDifference returns the lines of a around the first one that is not in b at the same place.
func firstDifference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return fmt.Sprintf("… %q …", a[max(0, i-200):min(len(a), i+200)])
}

// TestSameFindings holds that the way in which a history comes changes nothing in what is found, for every script and
// for histories of the model.
func TestSameFindings(t *testing.T) {
	for file, scripts := range allScripts(t) {
		t.Run(file, func(t *testing.T) {
			for _, s := range scripts {
				t.Run(s.name, func(t *testing.T) { sameWays(t, s.options(), s.events()) })
			}
		})
	}
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("model %d", seed), func(t *testing.T) {
			_, h := modelled(seed)
			sameWays(t, stale.Options{}, h.events)
		})
	}
}
