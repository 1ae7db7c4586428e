package stale_test

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// busy makes the traffic of a service with many keys: of twenty requests one writes a row in a transaction and drops its key, the others
// read: mostly hits, else a miss, a query and a set. What it returns is used again by the next call, so that making it
// leaves no garbage.
type busy struct {
	src    *event.Source
	ids    []event.Hash
	filled []int
	r      int
	x, seq uint64
	at     int64
	pause  int64 // before each request

	out      []event.Event
	caches   []event.Cache
	queries  []event.Query
	requests []event.Request
	txns     []event.Txn
	params   []event.Hash
	text     []byte
}

func newBusy(keys int) *busy {
	b := &busy{src: &event.Source{Service: "shop", Host: "h1", Pid: 1}, at: epoch, x: 42}
	for i := range keys {
		b.ids = append(b.ids, hashOf(fmt.Sprint(i)))
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
	b.caches = append(b.caches, event.Cache{Op: op, Layer: "shared", Store: "redis:6379/0", Key: b.name(i)})
	c := &b.caches[len(b.caches)-1]
	if value > 0 {
		c.ValueHash, c.ValueForm, c.ValueKind = event.Hash(uint64(i)<<20+uint64(value)), "canonical", "value"
	}
	return c
}

func (b *busy) query(trace string, dur int64, text string, params ...event.Hash) {
	from := len(b.params)
	b.params = append(b.params, params...)
	b.queries = append(b.queries, event.Query{DB: "postgresql", Text: text, Params: b.params[from:len(b.params):len(b.params)],
		Rows: event.Some[int64](1)})
	b.put(dur, trace, event.Event{Type: event.TypeQuery, Query: &b.queries[len(b.queries)-1]})
}

// write renames an article in a transaction.
func (b *busy) write(trace string, i int) {
	b.txns = append(b.txns, event.Txn{Op: "begin", Txn: trace}, event.Txn{Op: "commit", Txn: trace})
	n := len(b.txns)
	b.put(0, trace, event.Event{Type: event.TypeTxn, Txn: &b.txns[n-2]})
	b.query(trace, 500e3, "UPDATE articles SET title = $1 WHERE id = $2", 1, b.ids[i])
	b.queries[len(b.queries)-1].Txn = trace
	b.put(300e3, trace, event.Event{Type: event.TypeTxn, Txn: &b.txns[n-1]})
}

// name is the name of a key as an event has it that was just decoded: in a place of its own.
func (b *busy) name(i int) string {
	from := len(b.text)
	b.text = strconv.AppendInt(append(b.text, "article:"...), int64(i), 10)
	return unsafe.String(&b.text[from], len(b.text)-from)
}

// traffic returns the events of the next n requests, in their order.
func (b *busy) traffic(n int) []event.Event {
	if cap(b.requests) < n {
		b.out, b.caches, b.queries = make([]event.Event, 0, 4*n), make([]event.Cache, 0, 2*n), make([]event.Query, 0, n)
		b.requests, b.params, b.text = make([]event.Request, 0, n), make([]event.Hash, 0, 2*n), make([]byte, 0, 100*n)
		b.txns = make([]event.Txn, 0, n)
	}
	b.out, b.caches, b.queries, b.requests, b.params = b.out[:0], b.caches[:0], b.queries[:0], b.requests[:0], b.params[:0]
	b.text, b.txns = b.text[:0], b.txns[:0]
	for range n {
		b.x = b.x*6364136223846793005 + 1442695040888963407
		b.at += b.pause
		i := int(b.x>>33) % len(b.ids)
		from := len(b.text)
		b.text = strconv.AppendInt(append(b.text, 'r'), int64(b.r), 10)
		b.r++
		trace := unsafe.String(&b.text[from], len(b.text)-from)
		switch {
		case b.r%20 == 0:
			b.write(trace, i)
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
			b.query(trace, 300e3, "SELECT id, title FROM articles WHERE id = $1", b.ids[i])
			b.filled[i] = b.r
			set := b.cache(i, "set", b.filled[i])
			set.FillStart = start
			b.put(100e3, trace, event.Event{Type: event.TypeCache, Cache: set})
		}
		target := b.name(i)
		b.requests = append(b.requests, event.Request{Kind: "http", Method: "GET", Route: "/articles/{id}", Target: target, Status: 200,
			Principal: "-"})
		b.put(10e3, trace, event.Event{Type: event.TypeRequest, Request: &b.requests[len(b.requests)-1]})
	}
	return b.out
}

// cpu is the time that this process has had of all processors: beside others a clock tells little.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAdd is the speed of the state machine: one operation is one event. cpu-ns/op is processor time, with that of
// the collection of garbage: at Go's own pace (gc=100), as while a service runs, and at that of the commands that read a capture (gc=400).
func BenchmarkAdd(b *testing.B) {
	for _, c := range []struct{ keys, percent int }{{100, 100}, {100_000, 100}, {100, 400}, {100_000, 400}} {
		keys := c.keys
		b.Run(fmt.Sprintf("keys=%d/gc=%d", keys, c.percent), func(b *testing.B) {
			defer debug.SetGCPercent(debug.SetGCPercent(c.percent))
			traffic, d := newBusy(keys), stale.New(stale.Options{})
			for range 20 {
				if err := d.Add(traffic.traffic(max(keys/10, 10_000))); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			var used time.Duration
			for n := 0; n < b.N; {
				b.StopTimer()
				batch := traffic.traffic(200) // as much as a batch of a capture
				batch = batch[:min(len(batch), b.N-n)]
				n += len(batch)
				b.StartTimer()
				used -= cpu()
				if err := d.Add(batch); err != nil {
					b.Fatal(err)
				}
				used += cpu()
			}
			b.StopTimer()
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/used.Seconds(), "events/cpu-s")
		})
	}
}

// BenchmarkReport is the cost of a report over many keys and writes.
func BenchmarkReport(b *testing.B) {
	traffic, d := newBusy(100_000), stale.New(stale.Options{})
	if err := d.Add(traffic.traffic(200_000)); err != nil {
		b.Fatal(err)
	}
	d.Finish()
	b.ReportAllocs()
	for b.Loop() {
		d.Report()
	}
}
