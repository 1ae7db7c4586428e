package synth_test

import (
	"crypto/sha256"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/synth"
)

// benchTraffic makes traffic of 50,000 requests and hands its batches on; the figure is that of one event.
func benchTraffic(b *testing.B, change func(*synth.TrafficOptions), take func([]event.Event)) {
	opt := synth.DefaultTraffic()
	opt.Requests = 50_000
	if change != nil {
		change(&opt)
	}
	events := 0
	b.ReportAllocs()
	for b.Loop() {
		tr := traffic(b, opt)
		for batch := tr.Next(); len(batch) > 0; batch = tr.Next() {
			events += len(batch)
			if take != nil {
				take(batch)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}

// BenchmarkTraffic makes events and nothing else.
func BenchmarkTraffic(b *testing.B) { benchTraffic(b, nil, nil) }

// BenchmarkTrafficAsJSON makes events, writes them as JSON Lines and hashes these.
func BenchmarkTrafficAsJSON(b *testing.B) {
	sum := sha256.New()
	var lines []byte
	benchTraffic(b, nil, func(batch []event.Event) {
		lines = lines[:0]
		for i := range batch {
			lines = append(event.AppendJSON(lines, &batch[i]), '\n')
		}
		sum.Write(lines)
	})
}
