// Command otlp measures what receiving OpenTelemetry spans costs on one core: `go run ./bench/otlp`.
//
// Both sides run in one process, one after the other and in turns, on the same batches of 1,000 spans of about 460
// bytes, with one core for Go (GOMAXPROCS=1; on Linux the process is also bound to one core, and the sender to another):
//
//	pdata      go.opentelemetry.io/collector/pdata decodes a batch into its own structures, nothing else
//	events     our reader decodes a batch into events
//	gRPC, HTTP batches come in over a loopback connection, become events, and are appended to a capture that is made
//	           durable (fsync) about once a second; the last flush is inside the measured time
//
// Figures are spans for each second of processor time of this process (user and system), which other work on the
// machine changes less than it changes the clock; the clock's figure stands beside it. Exit code 1 where a target of
// -targets is missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/demarc-dev/demarc/bench/measure"
	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/otlp"
	"github.com/demarc-dev/demarc/internal/otlp/otlptest"
	"golang.org/x/crypto/blake2b"
)

const (
	spans   = 1000
	batches = 16 // distinct ones, so that no cache of texts holds all of a run
)

func main() {
	rounds := flag.Int("rounds", 5, "how many times each side runs; the median counts")
	size := flag.Int("batches", 400, "batches of 1,000 spans in a run")
	targets := flag.Bool("targets", false, "exit with 1 where a target is missed")
	send := flag.String("send", "", "used by the command itself: send to this address, grpc:HOST:PORT or http:HOST:PORT")
	flag.Parse()
	if err := run(*rounds, *size, *targets, *send); err != nil {
		fmt.Fprintln(os.Stderr, "bench/otlp:", err)
		os.Exit(1)
	}
}

func run(rounds, size int, targets bool, send string) error {
	msgs := make([][]byte, batches)
	for i := range msgs {
		msgs[i] = otlptest.Batch(spans, uint64(i))
	}
	if send != "" {
		return sendAll(send, msgs, size)
	}
	runtime.GOMAXPROCS(1)
	pinned := measure.Pin(0)
	sides := []struct {
		name string
		run  func() (measure.Figure, error)
	}{
		{"pdata decodes", func() (measure.Figure, error) { return pdataAlone(msgs, size) }},
		{"we decode to events", func() (measure.Figure, error) { return events(msgs, size) }},
		{"we receive gRPC, durable", func() (measure.Figure, error) { return received("grpc", size) }},
		{"we receive HTTP, durable", func() (measure.Figure, error) { return received("http", size) }},
	}
	results := make([][]measure.Figure, len(sides))
	for range rounds {
		for i, side := range sides {
			runtime.GC()
			m, err := side.run()
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			results[i] = append(results[i], m)
		}
	}
	bytes := 0
	for _, msg := range msgs {
		bytes += len(msg)
	}
	fmt.Printf("batches of %d spans of %d bytes, %d batches a run, median of %d runs, GOMAXPROCS=1, %s\n\n", spans,
		bytes/batches/spans, size, rounds, pinned)
	fmt.Printf("%-26s %16s %16s %9s\n", "", "spans/s of CPU", "spans/s", "ratio")
	var base float64
	got := make([]float64, len(sides))
	for i, side := range sides {
		m := measure.Median(results[i])
		n := float64(size * spans)
		got[i] = n / m.CPU.Seconds()
		if i == 0 {
			base = got[i]
		}
		fmt.Printf("%-26s %16.0f %16.0f %8.2fx\n", side.name, got[i], n/m.Clock.Seconds(), got[i]/base)
	}
	missed := false
	for i, target := range []float64{0, 1_000_000, 300_000, 300_000} {
		if got[i] < target {
			missed = true
			fmt.Printf("\n%s: below the target of %.0f spans/s", sides[i].name, target)
		}
	}
	fmt.Println()
	if targets && missed {
		return fmt.Errorf("a target was missed")
	}
	return nil
}

func pdataAlone(msgs [][]byte, size int) (measure.Figure, error) {
	return measure.Timed(func() error {
		for i := range size {
			req := ptraceotlp.NewExportRequest()
			if err := req.UnmarshalProto(msgs[i%batches]); err != nil {
				return err
			}
			if n := req.Traces().SpanCount(); n != spans {
				return fmt.Errorf("%d spans came out", n)
			}
		}
		return nil
	})
}

// counter is a sink that only counts.
type counter struct{ n int }

func (c *counter) Events(list []event.Event) error {
	c.n += len(list)
	return nil
}

// options hash as demarc does: BLAKE2b of eight bytes under a key.
func options() otlp.Options {
	h, err := blake2b.New(8, make([]byte, 32))
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	return otlp.Options{Hash: func(s string) event.Hash {
		mu.Lock()
		defer mu.Unlock()
		h.Reset()
		_, _ = h.Write([]byte(s))
		var sum [8]byte
		h.Sum(sum[:0])
		var out event.Hash
		for _, b := range sum {
			out = out<<8 | event.Hash(b)
		}
		return out | 1
	}}
}

func events(msgs [][]byte, size int) (measure.Figure, error) {
	var sink counter
	d, err := otlp.NewDecoder(options(), &sink)
	if err != nil {
		return measure.Figure{}, err
	}
	return measure.Timed(func() error {
		for i := range size {
			if counts, err := d.Proto(msgs[i%batches]); err != nil {
				return err
			} else if counts.Spans != spans {
				return fmt.Errorf("%d spans came out", counts.Spans)
			}
		}
		return nil
	})
}

// toCapture appends to a capture, as demarc collect does.
type toCapture struct{ w *capture.Writer }

func (s toCapture) Events(list []event.Event) error { return s.w.Append(list) }

// received starts a server and a sender in another process, and measures this one from the first batch to the last flush.
func received(protocol string, size int) (measure.Figure, error) {
	dir, err := os.MkdirTemp("", "demarc-bench-otlp-")
	if err != nil {
		return measure.Figure{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, err := capture.Create(filepath.Join(dir, "capture"), capture.Options{})
	if err != nil {
		return measure.Figure{}, err
	}
	s, err := otlp.NewServer(options(), toCapture{w})
	if err != nil {
		return measure.Figure{}, err
	}
	l, err := otlp.Listen("127.0.0.1:0", "")
	if err != nil {
		return measure.Figure{}, err
	}
	serve := s.ServeGRPC
	if protocol == "http" {
		serve = s.ServeWeb
	}
	served := make(chan error, 1)
	go func(l net.Listener) { served <- serve(l) }(l)
	m, err := measure.Timed(func() error {
		if err := startSender(protocol+":"+l.Addr().String(), size); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		return measure.Figure{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		return measure.Figure{}, err
	}
	if err := <-served; err != nil {
		return measure.Figure{}, err
	}
	if got, kept := s.Stats(), w.Stats(); got.Spans != int64(size*spans) || kept.Events != got.Events || kept.Lost != 0 {
		return measure.Figure{}, fmt.Errorf("of %d spans %d arrived; of %d events %d were kept, %d lost", size*spans, got.Spans, got.Events, kept.Events, kept.Lost)
	}
	return m, nil
}
