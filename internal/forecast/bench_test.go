package forecast

import "testing"

// BenchmarkForecast takes the events of 20,000 requests and reports.
func BenchmarkForecast(b *testing.B) {
	events := traps(1, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		f := New(Options{})
		if err := f.Add(events); err != nil {
			b.Fatal(err)
		}
		if rep := f.Report(); len(rep.Boundaries) == 0 {
			b.Fatal("no boundary")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/20_000, "µs/request")
}

// BenchmarkGrid replays one key through all lifetimes and ways to invalidate.
func BenchmarkGrid(b *testing.B) {
	var k Key
	times := []int64{}
	for i := range int64(10_000) {
		k.Requests = append(k.Requests, Request{At: i * 1e9, End: i*1e9 + 20e6, Hash: uint64(i/97) + 1, Bytes: 100})
		if i%97 == 0 {
			times = append(times, i*1e9-1)
		}
	}
	k.Row, k.Table = [][]int64{times}, [][]int64{times}
	var ttls []int64
	for _, ttl := range Lifetimes() {
		ttls = append(ttls, int64(ttl))
	}
	g := NewGrid(ttls)
	b.ReportAllocs()
	for b.Loop() {
		g.Add(&k)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/request")
}
