package stale_test

import (
	"fmt"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// busy is the traffic of a service with many keys: for each write nineteen reads, nine in ten of them hits.
func busy(keys, requests int) []event.Event {
	src := &event.Source{Service: "shop", Host: "h1", Pid: 1}
	var out []event.Event
	at, seq := epoch, uint64(0)
	put := func(dur int64, trace string, e event.Event) {
		seq++
		at += 20e3
		e.At, e.Dur, e.Trace, e.Source, e.Seq = at, event.Some(dur), trace, src, seq
		out = append(out, e)
	}
	names, ids, filled := make([]string, keys), make([]event.Hash, keys), make([]int, keys)
	for i := range names {
		names[i], ids[i] = fmt.Sprintf("article:%d", i), hashOf(fmt.Sprint(i))
	}
	x := uint64(42)
	for r := range requests {
		x = x*6364136223846793005 + 1442695040888963407
		i := int(x>>33) % keys
		trace := fmt.Sprintf("r%d", r)
		cache := func(op string, value int) *event.Cache {
			c := &event.Cache{Op: op, Layer: "shared", Store: "redis:6379/0", Key: names[i]}
			if value > 0 {
				c.ValueHash, c.ValueForm, c.ValueKind = event.Hash(uint64(i)<<20+uint64(value)), "canonical", "value"
			}
			return c
		}
		if r%20 == 19 {
			put(500e3, trace, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "UPDATE articles SET title = $1 WHERE id = $2",
				Params: []event.Hash{1, ids[i]}, Rows: event.Some[int64](1)}})
			del := cache("delete", 0)
			del.Removed = event.Some(int64(min(filled[i], 1)))
			filled[i] = 0
			put(100e3, trace, event.Event{Type: event.TypeCache, Cache: del})
		} else if filled[i] > 0 {
			get := cache("get", filled[i])
			get.Hit = event.Some(true)
			put(100e3, trace, event.Event{Type: event.TypeCache, Cache: get})
		} else {
			get := cache("get", 0)
			get.Hit = event.Some(false)
			put(100e3, trace, event.Event{Type: event.TypeCache, Cache: get})
			start := at + 100e3
			put(300e3, trace, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "SELECT id, title FROM articles WHERE id = $1",
				Params: []event.Hash{ids[i]}, Rows: event.Some[int64](1)}})
			filled[i] = r + 1
			set := cache("set", filled[i])
			set.FillStart = start
			put(100e3, trace, event.Event{Type: event.TypeCache, Cache: set})
		}
		put(900e3, trace, event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "http", Method: "GET", Route: "/articles/{id}",
			Target: names[i], Status: 200, Principal: "-"}})
	}
	return out
}

// BenchmarkAdd is the speed of the state machine: one operation is one event.
func BenchmarkAdd(b *testing.B) {
	for _, keys := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			events := busy(keys, 400_000)
			b.ReportAllocs()
			b.ResetTimer()
			d := stale.New(stale.Options{})
			for n := 0; n < b.N; n += 1000 {
				from := n % (len(events) - 1000)
				if from < 1000 && n > 0 {
					b.StopTimer()
					d = stale.New(stale.Options{})
					b.StartTimer()
				}
				if err := d.Add(events[from : from+min(1000, b.N-n)]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLiveKeys is what a live key holds, with one statement behind it.
func BenchmarkLiveKeys(b *testing.B) {
	const keys = 200_000
	events := busy(keys, 3_000_000)
	for b.Loop() {
		before := heap()
		d := stale.New(stale.Options{})
		for from := 0; from < len(events); from += 1000 {
			if err := d.Add(events[from:min(from+1000, len(events))]); err != nil {
				b.Fatal(err)
			}
		}
		d.Finish()
		live := d.Report().Coverage.LiveKeys
		b.ReportMetric(float64(heap()-before)/float64(max(live, 1)), "B/key")
	}
}

// BenchmarkReport is the cost of a report over many families and keys.
func BenchmarkReport(b *testing.B) {
	d := stale.New(stale.Options{})
	if err := d.Add(busy(100_000, 400_000)); err != nil {
		b.Fatal(err)
	}
	d.Finish()
	b.ReportAllocs()
	for b.Loop() {
		d.Report()
	}
}
