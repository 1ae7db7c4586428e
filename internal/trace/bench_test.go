package trace_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/demarc-dev/demarc/internal/trace"
)

func BenchmarkRead(b *testing.B) {
	var plain, timed, csv, records bytes.Buffer
	csv.WriteString("time,key,size\n")
	const n = 100_000
	for i := range uint64(n) {
		key := i * 0x9e3779b97f4a7c15
		fmt.Fprintln(&plain, key)
		fmt.Fprintf(&timed, "%d.5 %d 100\n", i/100, key)
		fmt.Fprintf(&csv, "%d.5,%d,100\n", i/100, key)
		records.WriteString(oracle([4]int64{int64(i / 100), int64(key), 100, -1}))
	}
	for name, text := range map[string][]byte{"plain": plain.Bytes(), "timed": timed.Bytes(), "csv": csv.Bytes(), "oracle": records.Bytes()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := trace.Read(context.Background(), bytes.NewReader(text), trace.Options{}, func(trace.Batch) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/request")
		})
	}
}
