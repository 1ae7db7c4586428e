package otlp

import (
	"testing"

	"github.com/demarc-dev/demarc/internal/otlp/otlptest"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// The batch is the one of bench/otlp: 1,000 spans of a service's requests, of about 460 bytes each.

func BenchmarkDecodeToEvents(b *testing.B) {
	msg := otlptest.Batch(1000, 1)
	d := newTestDecoder(b, Options{Hash: testHash})
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if _, err := d.run(decodeProto, msg, discard{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "spans/s")
}

func BenchmarkPdataDecodeAlone(b *testing.B) {
	msg := otlptest.Batch(1000, 1)
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if err := ptraceotlp.NewExportRequest().UnmarshalProto(msg); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "spans/s")
}
