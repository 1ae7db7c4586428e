// Command sim measures demarc's simulation on a Zipf trace: the whole exact LRU curve including reading, and policies at one size.
//
//	go run ./bench/sim -write /tmp/zipf.oracleGeneral         writes the trace
//	go run ./bench/sim -curve /tmp/zipf.oracleGeneral         reads it and computes the LRU curve
//	go run ./bench/sim -policy lru -size 15012 /tmp/zipf.oracleGeneral
//	go run ./bench/sim -write - -distinct 1000000000 | demarc simulate - --policy lru --size 0.01%,1%
//
// With -distinct, the trace (oracleGeneral) asks for so many keys one after the other, and after each third one once more for the key that was
// new a million keys before: so that LRU misses every request while it holds a million objects or fewer, and from 1,333,334 on three of four.
//
// The trace: splitmix64 seeded with 42; u = (next >> 11) / 2^53; rank by binary search on the cumulative sums of 1/(r+1),
// r < 2,000,000; key = splitmix64's mix of rank+1. Everything runs on one processor (GOMAXPROCS=1); times are of that
// processor (user and system), memory is the peak of the process.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/internal/sim"
	"github.com/demarc-dev/demarc/internal/trace"
)

func main() {
	runtime.GOMAXPROCS(1)
	write := flag.String("write", "", "file to write the trace to, - for standard output: oracleGeneral where the name says so, else a list of keys")
	distinct := flag.Int("distinct", 0, "write a trace of so many keys instead of a Zipf one")
	requests := flag.Int("n", 20_000_000, "requests to write")
	curve := flag.Bool("curve", false, "compute the LRU curve")
	policy := flag.String("policy", "", "policy to replay, at -size, while reading")
	size := flag.Int("size", 15_012, "objects")
	flag.Parse()
	var err error
	switch {
	case *write != "" && *distinct > 0:
		err = writeDistinct(*write, *distinct)
	case *write != "":
		err = writeZipf(*write, *requests)
	case flag.NArg() == 1 && (*curve || *policy != ""):
		err = measure(flag.Arg(0), *curve, *policy, *size)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// create opens a file to be written, - for standard output.
func create(path string) (*os.File, error) {
	if path == "-" {
		return os.Stdout, nil
	}
	return os.Create(path)
}

// writeDistinct writes the trace of -distinct.
func writeDistinct(path string, keys int) error {
	const back = 1_000_000
	f, err := create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	requests := 0
	put := func(key int) {
		b := w.AvailableBuffer()
		b = binary.LittleEndian.AppendUint32(b, uint32(requests/100_000))
		b = binary.LittleEndian.AppendUint64(b, mix(uint64(key)))
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = binary.LittleEndian.AppendUint64(b, ^uint64(0))
		requests++
		_, err = w.Write(b)
	}
	for key := 0; key < keys && err == nil; key++ {
		put(key)
		if key%3 == 2 && key >= back {
			put(key - back)
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func writeZipf(path string, n int) error {
	const ranks = 2_000_000
	sums := make([]float64, ranks)
	sum := 0.0
	for r := range sums {
		sum += 1 / float64(r+1)
		sums[r] = sum
	}
	f, err := create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	state, oracle := uint64(42), strings.Contains(path, "oracleGeneral")
	var record [24]byte
	for i := range n {
		state += 0x9e3779b97f4a7c15
		u := float64(mix(state)>>11) / (1 << 53)
		rank := min(sort.SearchFloat64s(sums, u*sum), ranks-1)
		key := mix(uint64(rank+1) + 0x9e3779b97f4a7c15)
		if oracle {
			binary.LittleEndian.PutUint32(record[:], uint32(i/1000))
			binary.LittleEndian.PutUint64(record[4:], key)
			binary.LittleEndian.PutUint32(record[12:], 1)
			binary.LittleEndian.PutUint64(record[16:], ^uint64(0))
			_, err = w.Write(record[:])
		} else {
			_, err = fmt.Fprintln(w, key)
		}
		if err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func measure(path string, curve bool, policy string, size int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var add func([]uint64)
	var show func() int64
	var keys func() int
	if curve {
		c := sim.NewCurve(sim.NewInterner(1))
		add = func(keys []uint64) { c.Add(keys, nil) }
		keys = c.Keys
		show = func() int64 { return c.Misses([]int{size})[0] }
	} else {
		def, err := sim.Find(policy)
		if err != nil {
			return err
		}
		p, ids, numbers := def.New(size, sim.Options{}), sim.NewInterner(1), make([]uint32, 1<<16)
		add = func(keys []uint64) {
			ids.Add(keys, numbers[:len(keys)])
			p.Add(sim.Block{Keys: numbers[:len(keys)], Known: ids.Keys()})
		}
		keys, show = ids.Keys, p.Misses
	}
	began := time.Now()
	info, err := trace.Read(context.Background(), f, trace.Options{Name: path}, func(b trace.Batch) error {
		add(b.Keys)
		return nil
	})
	if err != nil {
		return err
	}
	misses := show()
	wall := time.Since(began)
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return err
	}
	cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	peak := u.Maxrss / 1000 // of kilobytes; macOS has bytes
	if runtime.GOOS == "darwin" {
		peak /= 1000
	}
	rate := func(d time.Duration) float64 { return float64(info.Requests) / d.Seconds() / 1e6 }
	fmt.Printf("%d requests, %d keys, miss ratio at %d: %.4f\n%.2f M requests/s of processor time, %.2f M/s of wall time; peak %d MB\n",
		info.Requests, keys(), size, float64(misses)/float64(info.Requests), rate(cpu), rate(wall), peak)
	return nil
}
