// Command synth measures how fast traffic is made: as batches for an analysis, as JSON Lines with their SHA-256, and as a capture.
//
//	go run ./bench/synth                 500,000 requests, five rounds, the best of each
//
// It tells time on a processor, not by the clock: that of the whole process, in which a capture's writer compresses beside the
// generator. Compression and files are on the disk of -dir.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/synth"
)

func main() {
	requests := flag.Int64("requests", 500_000, "requests")
	rounds := flag.Int("rounds", 5, "how often to measure; the least is told")
	dir := flag.String("dir", "", "folder for what is written, removed afterwards (default: a temporary one)")
	flag.Parse()
	if err := run(*requests, *rounds, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "synth:", err)
		os.Exit(1)
	}
}

// sink takes the events of one run; done ends it.
type sink struct {
	name string
	open func(dir string) (take func([]event.Event) error, done func() error, err error)
}

var sinks = []sink{
	{"batches", func(string) (func([]event.Event) error, func() error, error) {
		return func([]event.Event) error { return nil }, func() error { return nil }, nil
	}},
	{"JSON Lines with SHA-256", func(dir string) (func([]event.Event) error, func() error, error) { return lines(dir, true) }},
	{"JSON Lines without", func(dir string) (func([]event.Event) error, func() error, error) { return lines(dir, false) }},
	{"capture", func(dir string) (func([]event.Event) error, func() error, error) {
		w, err := capture.Create(filepath.Join(dir, "capture"), capture.Options{MaxBytes: -1, MaxAge: -1})
		if err != nil {
			return nil, nil, err
		}
		return w.Append, w.Close, nil
	}},
}

func lines(dir string, hashed bool) (func([]event.Event) error, func() error, error) {
	f, err := os.Create(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.New()
	var text []byte
	take := func(batch []event.Event) error {
		text = text[:0]
		for i := range batch {
			text = append(event.AppendJSON(text, &batch[i]), '\n')
		}
		if hashed {
			sum.Write(text)
		}
		_, err := f.Write(text)
		return err
	}
	return take, f.Close, nil
}

func run(requests int64, rounds int, folder string) error {
	for _, s := range sinks {
		best, events := time.Duration(0), int64(0)
		for range rounds {
			dir, err := os.MkdirTemp(folder, "demarc-synth-")
			if err != nil {
				return err
			}
			used, n, err := once(s, dir, requests)
			if removed := os.RemoveAll(dir); err == nil {
				err = removed
			}
			if err != nil {
				return err
			}
			if events = n; best == 0 || used < best {
				best = used
			}
		}
		fmt.Printf("%-24s %d events: %.2f s on a processor, %.0f ns an event, %.2f M events a second of one\n", s.name, events, best.Seconds(),
			float64(best.Nanoseconds())/float64(events), float64(events)/best.Seconds()/1e6)
	}
	return nil
}

func once(s sink, dir string, requests int64) (time.Duration, int64, error) {
	opt := synth.DefaultTraffic()
	opt.Requests = requests
	before := processor()
	t, err := synth.NewTraffic(opt)
	if err != nil {
		return 0, 0, err
	}
	take, done, err := s.open(dir)
	if err != nil {
		return 0, 0, err
	}
	n := int64(0)
	for batch := t.Next(); len(batch) > 0; batch = t.Next() {
		n += int64(len(batch))
		if err := take(batch); err != nil {
			return 0, 0, err
		}
	}
	if err := done(); err != nil {
		return 0, 0, err
	}
	return processor() - before, n, nil
}

// processor is the time that this process has spent on processors.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
