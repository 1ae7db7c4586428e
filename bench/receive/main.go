// Command receive measures what receiving from demarc's own recorder costs on one core: `go run ./bench/receive`.
//
// All sides run in one process, one after the other and in turns, on an equal number of events (or spans), with one core
// for Go (GOMAXPROCS=1; on Linux the process is also bound to one core, and the sender to another):
//
//	pdata      the peer: go.opentelemetry.io/collector/pdata decodes as many spans of OpenTelemetry, nothing else
//	JSON       encoding/json decodes the same events as JSON Lines into a struct, nothing else
//	frames     recorder frames over a Unix socket become events, which are counted
//	capture    … and are appended to a capture that is made durable (fsync) at least once a second
//	collector  … and are folded into the live report as well: all that demarc run and collect do with an event
//
// The frames are made before, by the sender, from generated traffic: requests with their headers and vary inputs, three
// to eight statements with begin and commit, cache operations; two processes, 500 events a frame. The last flush is
// inside the measured time. Figures are for each second of processor time of this process (user and system), which other
// work on the machine changes less than it changes the clock; the clock's figure stands beside it. Exit code 1 where a
// target of -targets is missed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/demarc-dev/demarc/bench/measure"
	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/engine"
	"github.com/demarc-dev/demarc/internal/otlp/otlptest"
	"github.com/demarc-dev/demarc/internal/recorder"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
	"github.com/demarc-dev/demarc/internal/sqlread"
)

// target is the least number of events a second of one core, durable.
const target = 500_000

// token is what the sender brings to the server of the same run.
const token = "0123456789abcdef0123456789abcdef"

func main() {
	rounds := flag.Int("rounds", 3, "how many times each side runs; the median counts")
	size := flag.Int("events", 1_000_000, "events in a run")
	targets := flag.Bool("targets", false, "exit with 1 where a target is missed")
	profile := flag.String("cpuprofile", "", "write a profile of the last side that receives to this file")
	only := flag.String("only", "", "run only the sides whose name contains this")
	send := flag.String("send", "", "used by the command itself: send to this Unix socket")
	flag.Parse()
	err := error(nil)
	if *send != "" {
		err = sendAll(*send, *size)
	} else {
		err = run(*rounds, *size, *targets, *only, *profile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/receive:", err)
		os.Exit(1)
	}
}

func run(rounds, size int, targets bool, only, profile string) error {
	runtime.GOMAXPROCS(1)
	pinned := measure.Pin(0)
	lines := jsonLines()
	spans := otlptest.Batch(1000, 1)
	type side struct {
		name   string
		target float64
		run    func() (measure.Figure, error)
	}
	sides := []side{
		{"pdata decodes spans", 0, func() (measure.Figure, error) { return pdataAlone(spans, size) }},
		{"encoding/json decodes lines", 0, func() (measure.Figure, error) { return jsonAlone(lines, size) }},
		{"frames to events", 0, func() (measure.Figure, error) { return received(size, toCounter, profile) }},
		{"frames to capture, durable", target, func() (measure.Figure, error) { return received(size, toCapture, profile) }},
		{"frames to collector, durable", target, func() (measure.Figure, error) { return received(size, toEngine, profile) }},
	}
	sides = slices.DeleteFunc(sides, func(s side) bool { return !strings.Contains(s.name, only) })
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
	fmt.Printf("%d events a run, median of %d runs, GOMAXPROCS=1, %s\n\n", size, rounds, pinned)
	fmt.Printf("%-30s %16s %16s %12s %8s\n", "", "events/s of CPU", "events/s", "ns/event", "ratio")
	missed, base := "", 0.0
	for i, side := range sides {
		m := measure.Median(results[i])
		n := float64(size)
		got := n / m.CPU.Seconds()
		if i == 0 {
			base = got
		}
		fmt.Printf("%-30s %16.0f %16.0f %12.0f %7.2fx\n", side.name, got, n/m.Clock.Seconds(), 1e9/got, got/base)
		if got < side.target {
			missed += fmt.Sprintf("\n%s: below the target of %.0f events/s", side.name, side.target)
		}
	}
	fmt.Println(missed)
	if targets && missed != "" {
		return fmt.Errorf("a target was missed")
	}
	return nil
}

func pdataAlone(batch []byte, size int) (measure.Figure, error) {
	return measure.Timed(func() error {
		for n := 0; n < size; {
			req := ptraceotlp.NewExportRequest()
			if err := req.UnmarshalProto(batch); err != nil {
				return err
			}
			n += req.Traces().SpanCount()
		}
		return nil
	})
}

// line is an event as a collector of JSON Lines would declare it with the standard library: the fields that the
// traffic has.
type line struct {
	Type, Trace, Span, Parent, Service, Version, Host                              string
	Kind, Method, Route, Target, Principal                                         string
	DB, Text, Code, Txn, Op                                                        string
	Layer, Store, Key                                                              string
	VersionFrom                                                                    string `json:"version_from"`
	ValueHash                                                                      string `json:"value_hash"`
	ValueForm                                                                      string `json:"value_form"`
	ValueKind                                                                      string `json:"value_kind"`
	BodyHash                                                                       string `json:"body_hash"`
	At, Dur, Pid, Seq, Status, Rows, Bytes, TTLMs, FillStart, BodyBytes, FirstByte *int64
	Hit                                                                            *bool
	Params                                                                         []string
	Vary, Headers                                                                  map[string]string
}

func jsonLines() [][]byte {
	var list [][]byte
	events := recordertest.NewTraffic(1).Take(10_000)
	for i := range events {
		list = append(list, event.AppendJSON(nil, &events[i]))
	}
	return list
}

func jsonAlone(lines [][]byte, size int) (measure.Figure, error) {
	return measure.Timed(func() error {
		for i := range size {
			var l line
			if err := json.Unmarshal(lines[i%len(lines)], &l); err != nil {
				return err
			}
		}
		return nil
	})
}

// destination is where the server's events go: a sink, what ends it, and how many events it has for good.
type destination struct {
	recorder.Sink
	end  func() error
	kept func() int64
}

type counter struct{ n atomic.Int64 }

func (c *counter) Events(list []event.Event) error {
	c.n.Add(int64(len(list)))
	return nil
}

func toCounter(string) (destination, error) {
	c := &counter{}
	return destination{c, func() error { return nil }, c.n.Load}, nil
}

type appender struct{ w *capture.Writer }

func (a appender) Events(list []event.Event) error { return a.w.Append(list) }

func toCapture(dir string) (destination, error) {
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		return destination{}, err
	}
	return destination{appender{w}, w.Close, func() int64 { return w.Stats().Durable }}, nil
}

func toEngine(dir string) (destination, error) {
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		return destination{}, err
	}
	fold := baseline.New(baseline.Options{
		Fingerprint: func(db, text string) string { return sqlread.Fingerprint(sqlread.DialectOf(db), text) },
	})
	e := engine.New(engine.Options{Capture: w, Baseline: fold})
	return destination{e, e.Close, func() int64 { return w.Stats().Durable }}, nil
}

// received starts a server and a sender in another process, and measures this one from the first frame to the last
// flush.
func received(size int, to func(dir string) (destination, error), profile string) (measure.Figure, error) {
	dir, err := os.MkdirTemp("", "demarc-bench-receive-")
	if err != nil {
		return measure.Figure{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sink, err := to(filepath.Join(dir, "capture"))
	if err != nil {
		return measure.Figure{}, err
	}
	server := recorder.NewServer(recorder.Options{Token: token}, sink)
	socket := filepath.Join(dir, "s")
	l, err := recorder.Listen("unix:" + socket)
	if err != nil {
		return measure.Figure{}, err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	sender, err := startSender(socket, size)
	if err != nil {
		return measure.Figure{}, err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return measure.Figure{}, err
		}
		out := bufio.NewWriter(f)
		if err := pprof.StartCPUProfile(out); err != nil {
			return measure.Figure{}, err
		}
		defer func() { pprof.StopCPUProfile(); _ = out.Flush(); _ = f.Close() }()
	}
	m, err := measure.Timed(func() error {
		if err := sender.send(); err != nil {
			return err
		}
		server.Close(10 * time.Second) // after the last event was given to the sink
		return sink.end()
	})
	if err != nil {
		return measure.Figure{}, err
	}
	if err := <-served; err != nil {
		return measure.Figure{}, err
	}
	// Each of the two processes is an event of its own.
	if got := server.Stats(); got.Events != int64(size) || got.BadFrames != 0 || sink.kept() != int64(size)+processes {
		return measure.Figure{}, fmt.Errorf("of %d events %d arrived (%d bad frames) and %d were kept", size, got.Events, got.BadFrames, sink.kept())
	}
	return m, nil
}
