package capture

import (
	"reflect"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/klauspost/compress/zstd"
)

func TestRecordsOfTraffic(t *testing.T) {
	events := newTraffic(1).take(20000)
	enc, dec := newEncoder(), newDecoder()
	for rest := events; len(rest) > 0; {
		n := enc.add(rest)
		got, err := dec.record(enc.finish(nil), n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], rest[i]) {
				t.Fatalf("event %d:\n got  %s\n want %s", i, event.AppendJSON(nil, &got[i]), event.AppendJSON(nil, &rest[i]))
			}
		}
		rest = rest[n:]
	}
}

func BenchmarkEncode(b *testing.B) {
	events := newTraffic(1).take(200_000)
	enc := newEncoder()
	z, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	for _, compress := range []bool{false, true} {
		name := "columns"
		if compress {
			name = "columns+zstd"
		}
		b.Run(name, func(b *testing.B) {
			var raw, out []byte
			var rawBytes, outBytes, n int
			b.ReportAllocs()
			at := 0
			for n < b.N {
				batch := events[at:min(at+200, len(events))]
				at = (at + 200) % len(events)
				for len(batch) > 0 {
					k := enc.add(batch)
					batch = batch[k:]
					n += k
					if enc.full() {
						raw = enc.finish(raw[:0])
						if compress {
							out = z.EncodeAll(raw, out[:0])
						}
						rawBytes += len(raw)
						outBytes += len(out)
					}
				}
			}
			b.ReportMetric(float64(rawBytes)/float64(n), "raw-bytes/event")
			b.ReportMetric(float64(outBytes)/float64(n), "bytes/event")
		})
	}
}
