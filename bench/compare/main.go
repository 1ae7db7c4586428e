// Command compare measures `demarc compare` of two captures: elapsed and processor time and the greatest resident memory of
// the command as a process of its own.
//
//	go build -o bin/demarc ./cmd/demarc && go run ./bench/compare -requests 1000000
//
// The captures hold the traffic of internal/recorder/recordertest (ten events a request, seven routes), or with -events 4
// one query, one cache lookup and a commit a request.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

func main() {
	requests := flag.Int("requests", 1_000_000, "requests in each capture")
	events := flag.Int("events", 10, "events a request: 10 as a small service, or 4")
	demarc := flag.String("demarc", "bin/demarc", "the binary to measure")
	rounds := flag.Int("rounds", 3, "how often to measure")
	dir := flag.String("dir", "", "folder for the captures, kept and used again; empty for one that is removed")
	flag.Parse()
	if err := run(*requests, *events, *rounds, *demarc, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(requests, events, rounds int, demarc, dir string) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "demarc-compare-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	sides := [2]string{filepath.Join(dir, "before"), filepath.Join(dir, "after")}
	for i, side := range sides {
		if _, err := os.Stat(side); err == nil {
			continue
		}
		if err := write(side, uint64(i+1), requests, events); err != nil {
			return err
		}
	}
	for _, side := range sides {
		r, err := capture.Open(side)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d events, %.1f MB\n", filepath.Base(side), r.Info().Events, float64(r.Info().Bytes)/1e6)
	}
	for range rounds {
		cmd := exec.Command(demarc, "compare", sides[0], sides[1], "--json")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return err
		}
		took := time.Since(start)
		var res struct {
			Before, After struct{ Requests, Kept int }
			Verdict       string
			Tests         int
		}
		if err := json.Unmarshal(out.Bytes(), &res); err != nil {
			return err
		}
		use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		fmt.Printf("%d and %d requests, %d and %d kept, %d tests, verdict %s: %.2f s elapsed, %.2f s of CPU, %.0f MB resident\n",
			res.Before.Requests, res.After.Requests, res.Before.Kept, res.After.Kept, res.Tests, res.Verdict, took.Seconds(),
			(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), float64(use.Maxrss)*1024/1e6)
	}
	return nil
}

func write(dir string, seed uint64, requests, events int) error {
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		return err
	}
	traffic := recordertest.NewTraffic(seed)
	var list, kept []event.Event
	for i := range requests {
		list = traffic.Request(list[:0])
		if events < 10 {
			list = few(list)
		}
		kept = append(kept, list...)
		if len(kept) >= 512 || i == requests-1 {
			if err := w.Append(kept); err != nil {
				return err
			}
			kept = kept[:0]
		}
	}
	return w.Close()
}

// few leaves of a request the lookup, one query, the commit and the request itself.
func few(list []event.Event) []event.Event {
	out := list[:0]
	queries := 0
	for _, e := range list {
		switch {
		case e.Type == event.TypeQuery:
			if queries++; queries > 1 {
				continue
			}
		case e.Type == event.TypeTxn && e.Txn.Op == "begin", e.Type == event.TypeCache && e.Cache.Op == "set":
			continue
		}
		out = append(out, e)
	}
	return out
}
