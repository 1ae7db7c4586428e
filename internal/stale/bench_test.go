package stale_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// busy makes the traffic of a service with many keys: for each write nineteen reads, most of them hits.
type busy struct {
	src    *event.Source
	names  []string
	ids    []event.Hash
	filled []int
	r      int
	x, seq uint64
	at     int64
	out    []event.Event
}

func newBusy(keys int) *busy {
	b := &busy{src: &event.Source{Service: "shop", Host: "h1", Pid: 1}, at: epoch, x: 42}
	for i := range keys {
		b.names, b.ids = append(b.names, fmt.Sprintf("article:%d", i)), append(b.ids, hashOf(fmt.Sprint(i)))
	}
	b.filled = make([]int, keys)
	return b
}

func (b *busy) put(dur int64, trace string, e event.Event) {
	b.seq++
	b.at += 20e3
	e.At, e.Dur, e.Trace, e.Source, e.Seq = b.at, event.Some(dur), trace, b.src, b.seq
	b.out = append(b.out, e)
	b.at += dur // one after the other, so that each set has its reads
}

func (b *busy) cache(i int, op string, value int) *event.Cache {
	c := &event.Cache{Op: op, Layer: "shared", Store: "redis:6379/0", Key: b.names[i]}
	if value > 0 {
		c.ValueHash, c.ValueForm, c.ValueKind = event.Hash(uint64(i)<<20+uint64(value)), "canonical", "value"
	}
	return c
}

// requests returns the events of the next n requests, in their order.
func (b *busy) requests(n int) []event.Event {
	b.out = nil
	for range n {
		b.x = b.x*6364136223846793005 + 1442695040888963407
		i := int(b.x>>33) % len(b.names)
		trace := fmt.Sprintf("r%d", b.r)
		b.r++
		switch {
		case b.r%20 == 0:
			b.put(500e3, trace, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "UPDATE articles SET title = $1 WHERE id = $2",
				Params: []event.Hash{1, b.ids[i]}, Rows: event.Some[int64](1)}})
			del := b.cache(i, "delete", 0)
			del.Removed = event.Some(int64(min(b.filled[i], 1)))
			b.filled[i] = 0
			b.put(100e3, trace, event.Event{Type: event.TypeCache, Cache: del})
		case b.filled[i] > 0:
			get := b.cache(i, "get", b.filled[i])
			get.Hit = event.Some(true)
			b.put(100e3, trace, event.Event{Type: event.TypeCache, Cache: get})
		default:
			get := b.cache(i, "get", 0)
			get.Hit = event.Some(false)
			b.put(100e3, trace, event.Event{Type: event.TypeCache, Cache: get})
			start := b.at
			b.put(300e3, trace, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "SELECT id, title FROM articles WHERE id = $1",
				Params: []event.Hash{b.ids[i]}, Rows: event.Some[int64](1)}})
			b.filled[i] = b.r
			set := b.cache(i, "set", b.filled[i])
			set.FillStart = start
			b.put(100e3, trace, event.Event{Type: event.TypeCache, Cache: set})
		}
		b.put(10e3, trace, event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "http", Method: "GET", Route: "/articles/{id}",
			Target: b.names[i], Status: 200, Principal: "-"}})
	}
	return b.out
}

// BenchmarkAdd is the speed of the state machine: one operation is one event.
func BenchmarkAdd(b *testing.B) {
	for _, keys := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			traffic, d := newBusy(keys), stale.New(stale.Options{})
			if err := d.Add(traffic.requests(2 * keys)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				b.StopTimer()
				batch := traffic.requests(20_000)
				batch = batch[:min(len(batch), b.N-n)]
				n += len(batch)
				b.StartTimer()
				for len(batch) > 0 {
					part := batch[:min(len(batch), 500)]
					if err := d.Add(part); err != nil {
						b.Fatal(err)
					}
					batch = batch[len(part):]
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLiveKeys is what a live key holds, with one statement behind it.
func BenchmarkLiveKeys(b *testing.B) {
	const keys = 100_000
	for b.Loop() {
		traffic := newBusy(keys)
		before := heap()
		d := stale.New(stale.Options{})
		for range 50 {
			if err := d.Add(traffic.requests(keys / 10)); err != nil {
				b.Fatal(err)
			}
		}
		d.Finish()
		traffic.out = nil
		live := d.Report().Coverage.LiveKeys
		b.ReportMetric(float64(heap()-before)/float64(max(live, 1)), "B/key")
		b.ReportMetric(float64(live), "keys")
		runtime.KeepAlive(d)
	}
}

// BenchmarkReport is the cost of a report over many keys and writes.
func BenchmarkReport(b *testing.B) {
	traffic, d := newBusy(100_000), stale.New(stale.Options{})
	if err := d.Add(traffic.requests(200_000)); err != nil {
		b.Fatal(err)
	}
	d.Finish()
	b.ReportAllocs()
	for b.Loop() {
		d.Report()
	}
}
