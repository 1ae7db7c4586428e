package capture

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// cpu is the processor time that this process has used: what a figure of cost means on a machine that does other
// things at the same time.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// trafficParts returns n events in parts as a recorder sends them.
func trafficParts(n int) [][]event.Event {
	traffic := recordertest.NewTraffic(1)
	var parts [][]event.Event
	for ; n > 0; n -= 256 {
		parts = append(parts, traffic.Take(min(n, 256)))
	}
	return parts
}

// benchEvents is enough for several segments' worth of dictionaries, without repeating an event.
const benchEvents = 400_000

// BenchmarkAppend measures the way into a durable capture: Append, columns, zstd, write and fsync, by one operation an
// event. bytes/event is the size on disk.
func BenchmarkAppend(b *testing.B) {
	parts := trafficParts(benchEvents)
	b.ReportAllocs()
	b.ResetTimer()
	var n int
	var size int64
	var used time.Duration
	for n < b.N {
		b.StopTimer()
		w, err := Create(filepath.Join(b.TempDir(), "c"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		before := cpu(b)
		b.StartTimer()
		for _, part := range parts {
			if err := w.Append(part); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		used += cpu(b) - before
		n += benchEvents
		size += w.Stats().Bytes
		if err := os.RemoveAll(w.Dir()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(n), "cpu-ns/event")
	b.ReportMetric(float64(size)/float64(n), "bytes/event")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

// BenchmarkSlowTraffic measures the size on disk where a record a second holds few events: 100 a record.
func BenchmarkSlowTraffic(b *testing.B) {
	traffic := recordertest.NewTraffic(1)
	dir := filepath.Join(b.TempDir(), "c")
	w, err := Create(dir, Options{flushEvery: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	var n int64
	for n < int64(b.N) || n < 20_000 {
		if err := w.Append(traffic.Take(100)); err != nil {
			b.Fatal(err)
		}
		w.mu.Lock()
		w.queue <- w.cut()
		w.mu.Unlock()
		n += 100
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(w.Stats().Bytes)/float64(n), "bytes/event")
}

// BenchmarkRead measures reading a capture, by one operation an event.
func BenchmarkRead(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "c")
	w, err := Create(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, part := range trafficParts(benchEvents) {
		if err := w.Append(part); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	n := 0
	for n < b.N {
		for batch, err := range r.Batches() {
			if err != nil {
				b.Fatal(err)
			}
			n += len(batch)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(n), "cpu-ns/event")
}

// BenchmarkEncode measures Append's own part, from events to the bytes of records before compression.
func BenchmarkEncode(b *testing.B) {
	parts := trafficParts(benchEvents / 8)
	enc := newEncoder()
	var buf []byte
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	n := 0
	for n < b.N {
		for _, part := range parts {
			for rest := part; len(rest) > 0; {
				rest = rest[enc.add(rest):]
				if enc.full() {
					buf = enc.finish(buf[:0])
				}
			}
			n += len(part)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(n), "cpu-ns/event")
}
