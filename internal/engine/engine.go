// Package engine stands between the sources of events and what is done with them: it keeps them in a capture, folds
// them into the live report, and answers over HTTP for both (server.go) and to the other commands (control.go).
package engine

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/otlp"
	"github.com/demarc-dev/demarc/internal/otlp/evidence"
	"github.com/demarc-dev/demarc/internal/recorder"
	"github.com/demarc-dev/demarc/internal/stale"
)

// Sink is what every source gives its events to; Engine is one. A batch and what it points to are valid only during
// the call. An error means that the batch was not taken, and that the engine has counted it as dropped.
type Sink interface {
	Events(batch []event.Event) error
}

// Fold is something beside the baseline that looks at every event. Add must not keep the event.
type Fold interface {
	Add(*event.Event)
	// Flush is called after each batch.
	Flush()
}

// Limits of the engine.
const (
	// maxWaiting is how many batches may be in work at a time, and takeTimeout how long one waits for its turn before it
	// is dropped. With the capture's own queue, that is all the engine holds: it has no buffer of its own, so that a slow
	// disk shows in the sources, which are bounded, and not as memory here.
	maxWaiting  = 8
	takeTimeout = time.Second
	// lossEvery is the least time between two messages about a failing capture.
	lossEvery = 10 * time.Second
)

// ErrBusy says that a batch was dropped because the disk could not keep up.
var ErrBusy = errors.New("the capture's disk is too slow: the batch was dropped")

// ErrClosed says that a batch came after the end.
var ErrClosed = errors.New("the collector is ending: the batch was dropped")

// Options of an engine.
type Options struct {
	Capture  *capture.Writer
	Baseline *baseline.Fold
	Stale    *stale.Detector // nil: stale reads are not looked for
	Folds    []Fold
	// OnLoss is told when the capture could not be written, at most every ten seconds.
	OnLoss func(error)
}

// Engine takes events from sources at the same time. Its memory is that of the capture's writer and of the folds.
type Engine struct {
	opt     Options
	started time.Time
	gate    chan struct{}

	mu       sync.Mutex // folds
	closing  sync.RWMutex
	closed   bool
	lossAt   atomic.Int64 // of the last message, Unix nanoseconds
	received atomic.Int64
	dropped  atomic.Int64
	recorder atomic.Pointer[recorder.Server]
	spans    atomic.Pointer[otlp.Server]
	seen     evidence.Evidence // guarded by mu
}

// New returns an engine.
func New(opt Options) *Engine {
	return &Engine{opt: opt, started: time.Now(), gate: make(chan struct{}, maxWaiting)}
}

// Recorders tells the engine of the server whose counts belong into its own, and which marks and switches go to.
func (e *Engine) Recorders(s *recorder.Server) { e.recorder.Store(s) }

// Spans tells the engine of the server of OpenTelemetry's spans, whose counts belong beside its own.
func (e *Engine) Spans(s *otlp.Server) { e.spans.Store(s) }

// Events takes a batch: it is in the capture's hands and in the folds when the call returns.
func (e *Engine) Events(batch []event.Event) error {
	select {
	case e.gate <- struct{}{}:
	default:
		timer := time.NewTimer(takeTimeout)
		defer timer.Stop()
		select {
		case e.gate <- struct{}{}:
		case <-timer.C:
			e.dropped.Add(int64(len(batch)))
			return ErrBusy
		}
	}
	defer func() { <-e.gate }()
	e.closing.RLock()
	defer e.closing.RUnlock()
	if e.closed {
		e.dropped.Add(int64(len(batch)))
		return ErrClosed
	}
	e.received.Add(int64(len(batch)))
	if err := e.opt.Capture.Append(batch); err != nil {
		e.loss(err) // the batch itself was taken; the capture counts what it lost
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range batch {
		e.opt.Baseline.Add(&batch[i])
		e.seen.Add(&batch[i])
	}
	if e.opt.Stale != nil {
		if err := e.opt.Stale.Add(batch); err != nil {
			return err
		}
	}
	for _, f := range e.opt.Folds {
		for i := range batch {
			f.Add(&batch[i])
		}
		f.Flush()
	}
	return nil
}

func (e *Engine) loss(err error) {
	now, last := time.Now().UnixNano(), e.lossAt.Load()
	if e.opt.OnLoss != nil && (last == 0 || now-last > int64(lossEvery)) && e.lossAt.CompareAndSwap(last, now) {
		e.opt.OnLoss(err)
	}
}

// Report is the baseline of all events so far.
func (e *Engine) Report() baseline.Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	rep := e.opt.Baseline.Report()
	rep.Coverage.MissingEvidence = append(rep.Coverage.MissingEvidence, e.seen.Missing()...)
	return rep
}

// Stale is what is known of stale reads so far; nil where nobody looks for them.
func (e *Engine) Stale() *stale.Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opt.Stale == nil {
		return nil
	}
	return e.opt.Stale.Report()
}

// NewFindings returns the findings about stale reads that were confirmed since the last call, with now as the time of the
// clock that the events were timed by. Called about twice a second, it gives each within the detector's bound for late
// events and half a second of the event that proves it.
func (e *Engine) NewFindings(now time.Time) []stale.Finding {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opt.Stale == nil {
		return nil
	}
	e.opt.Stale.Advance(now.UnixNano())
	return e.opt.Stale.Drain()
}

// SettleStale says that no more events come, so that the last ones are judged too.
func (e *Engine) SettleStale() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opt.Stale != nil {
		e.opt.Stale.Finish()
	}
}

// Mark puts a named point in time into the capture and the report.
func (e *Engine) Mark(name, text string) (at time.Time, err error) {
	at = time.Now()
	return at, e.Events([]event.Event{{Type: event.TypeMark, At: at.UnixNano(), Mark: &event.Mark{Name: name, Text: text}}})
}

// Record switches the recording of every connected process on or off, and of those to come. It returns how many were
// told.
func (e *Engine) Record(on bool) int {
	if s := e.recorder.Load(); s != nil {
		return s.Record(on)
	}
	return 0
}

// Close ends the engine: what comes later is refused, and the capture is closed. Its error says that events were lost.
func (e *Engine) Close() error {
	e.closing.Lock()
	defer e.closing.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	return e.opt.Capture.Close()
}

// Drops are events that are not in the capture, by where they were lost.
type Drops struct {
	Recorders int64 `json:"recorders"` // could not be sent by the service's processes
	Collector int64 `json:"collector"` // dropped here because the disk was too slow
	Disk      int64 `json:"disk"`      // of a write that failed
}

// Health is what /health answers.
type Health struct {
	Schema      string `json:"schema"` // demarc.health/1
	OK          bool   `json:"ok"`     // the capture is being written
	Received    int64  `json:"received"`
	Dropped     int64  `json:"dropped"`
	DroppedBy   Drops  `json:"dropped_by"`
	BadFrames   int64  `json:"bad_frames"`
	Refused     int64  `json:"refused"` // connections
	LastRefusal string `json:"last_refusal,omitempty"`
	Processes   int64  `json:"processes"`   // seen
	Connections int    `json:"connections"` // now
	Recording   bool   `json:"recording"`
	Capture     string `json:"capture"`
	Bytes       int64  `json:"bytes"` // of the capture
	// OTLP are the counts of the receiver of spans; absent where there is none.
	OTLP    *otlp.Stats `json:"otlp,omitempty"`
	UptimeS float64     `json:"uptime_s"`
}

// Health returns the counts so far. It is not OK for a while after the capture could not be written.
func (e *Engine) Health() Health {
	cs := e.opt.Capture.Stats()
	h := Health{
		Schema: "demarc.health/1", Received: e.received.Load(), Recording: true,
		DroppedBy: Drops{Collector: e.dropped.Load(), Disk: cs.Lost},
		Capture:   e.opt.Capture.Dir(), Bytes: cs.Bytes, UptimeS: time.Since(e.started).Seconds(),
	}
	if s := e.recorder.Load(); s != nil {
		st := s.Stats()
		h.DroppedBy.Recorders = st.RecorderDropped
		h.BadFrames, h.Refused, h.LastRefusal = st.BadFrames, st.Refused, st.LastRefusal
		h.Processes, h.Connections = st.Processes, st.Connections
		h.Recording = s.Recording()
	}
	if s := e.spans.Load(); s != nil {
		st := s.Stats()
		h.OTLP = &st
	}
	h.Dropped = h.DroppedBy.Recorders + h.DroppedBy.Collector + h.DroppedBy.Disk
	last := e.lossAt.Load()
	h.OK = last == 0 || time.Since(time.Unix(0, last)) > 2*lossEvery
	return h
}
