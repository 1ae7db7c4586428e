package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/fault"
)

// Options of a capture. The zero value is right for a developer's machine.
type Options struct {
	MaxBytes int64         // on disk; the oldest segments beyond are dropped. 0: 2 GB, negative: no limit
	MaxAge   time.Duration // segments last written longer ago are dropped. 0: 7 days, negative: no limit
	Service  string        // name of the service, for people

	segmentBytes int64
	flushEvery   time.Duration
	fs           fileSystem
	now          func() time.Time
}

const (
	defaultMaxBytes     = 2 << 30
	defaultMaxAge       = 7 * 24 * time.Hour
	defaultSegmentBytes = 32 << 20
	// The writer flushes a little more often than once a second, so that with the time that a flush takes no event
	// waits longer than that.
	defaultFlushEvery = 800 * time.Millisecond
)

func (o Options) withDefaults() Options {
	switch {
	case o.MaxBytes == 0:
		o.MaxBytes = defaultMaxBytes
	case o.MaxBytes < 0:
		o.MaxBytes = 1 << 62
	}
	switch {
	case o.MaxAge == 0:
		o.MaxAge = defaultMaxAge
	case o.MaxAge < 0:
		o.MaxAge = 1 << 62
	}
	if o.segmentBytes == 0 {
		o.segmentBytes = max(min(defaultSegmentBytes, o.MaxBytes/8), 64<<10)
	}
	if o.flushEvery == 0 {
		o.flushEvery = defaultFlushEvery
	}
	if o.fs == nil {
		o.fs = osFS{}
	}
	if o.now == nil {
		o.now = time.Now
	}
	return o
}

// Stats is what a writer has done.
type Stats struct {
	Events    int64     // accepted by Append
	Durable   int64     // of those, on disk for good
	Lost      int64     // of those, given up after a failed write, or refused as too large
	Dropped   int64     // of those, dropped by retention
	Bytes     int64     // on disk
	Segments  int       // on disk
	LastFlush time.Time // zero before the first one
	Failures  int64     // failed writes
}

// Writer appends events to one capture. Its methods may be called at the same time. Memory: about 12 MB, 25 MB where
// nothing repeats, and single events of megabytes on top of it.
type Writer struct {
	dir  string
	o    Options
	lock io.Closer

	mu      sync.Mutex // what Append does
	enc     *encoder
	fresh   bool // the next record begins a segment
	closed  bool
	pending error // of a write since the last Append, told once

	roll  atomic.Bool // the disk's side asks for a new segment
	queue chan batch
	spare chan []byte
	tick  *time.Ticker
	quit  chan struct{} // ends the flusher
	done  chan struct{} // the disk's side has ended

	disk disk // of the goroutine that writes

	statsMu sync.Mutex
	stats   Stats
}

// batch is what goes to the disk's side: a record, or with sync a wish to make all before it durable.
type batch struct {
	raw             []byte
	events          int
	firstAt, lastAt int64
	fresh           bool
	sync            bool
	done            chan struct{} // closed after the sync where it is not nil
}

// Create begins a capture in dir, which must not hold one; missing directories are made.
func Create(dir string, o Options) (*Writer, error) {
	o = o.withDefaults()
	fail := func(cause error, expected, try string) error {
		return &fault.Error{What: "cannot create capture " + dir, Cause: cause, Expected: expected, Retry: fault.RetrySafe, Try: try}
	}
	if list, err := os.ReadDir(dir); err == nil {
		for _, f := range list {
			if f.Name() == manifestFile || segmentNumber(f.Name()) != 0 {
				return nil, fail(errors.New("there is one already"), "a new or empty directory", "another name")
			}
		}
	}
	if err := o.fs.MkdirAll(dir); err != nil {
		return nil, fail(err, "a directory that can be written to", "")
	}
	lock, err := o.fs.Lock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fail(err, "a directory that can be written to and that nobody else writes to", "")
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	w := &Writer{
		dir: dir, o: o, lock: lock, enc: newEncoder(), fresh: true,
		queue: make(chan batch, 3), spare: make(chan []byte, 4), quit: make(chan struct{}), done: make(chan struct{}),
		disk: disk{zstd: z, synced: true},
	}
	w.disk.m = manifest{Format: formatName, Version: FormatVersion, Created: o.now().UTC(), Service: o.Service, Segments: []segment{}}
	if err := w.openSegment(); err != nil {
		return nil, errors.Join(fail(err, "space and permission to write", ""), lock.Close())
	}
	if err := w.writeManifest(); err != nil {
		return nil, errors.Join(fail(err, "space and permission to write", ""), w.disk.f.Close(), lock.Close())
	}
	// The name of the capture itself must outlive a crash as well.
	if err := o.fs.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, errors.Join(fail(err, "", ""), lock.Close())
	}
	w.stats.Segments, w.stats.Bytes = 1, w.disk.offset
	w.tick = time.NewTicker(o.flushEvery)
	go w.flusher()
	go w.run()
	return w, nil
}

// Dir returns the capture's directory.
func (w *Writer) Dir() string { return w.dir }

// Append adds events in the order given. It has copied what it needs when it returns, and waits only where the disk is
// several records behind. The error is that of an earlier write, told once: the events of that write are lost and
// counted, those of this call are taken. An event of more than 16 MB is refused, and the others taken.
func (w *Writer) Append(events []event.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return &fault.Error{What: "cannot append to capture " + w.dir, Cause: errors.New("it is closed"), Retry: fault.RetryUseless}
	}
	w.count(func(s *Stats) { s.Events += int64(len(events)) })
	err := w.takePending()
	for len(events) > 0 {
		n := w.enc.add(events)
		events = events[n:]
		if w.enc.oversized {
			w.enc.oversized = false
			events = events[1:]
			w.count(func(s *Stats) { s.Lost++ })
			err = errors.Join(err, &fault.Error{What: "cannot append an event to capture " + w.dir,
				Cause: errors.New("it is too large"), Expected: fmt.Sprintf("at most %d bytes", maxWeight), Retry: fault.RetryUseless})
		}
		if w.enc.full() {
			w.queue <- w.cut()
		}
	}
	return err
}

// cut closes the record being built. The caller holds mu, and sends it on before it lets go.
func (w *Writer) cut() batch {
	var buf []byte
	select {
	case buf = <-w.spare:
	default:
	}
	b := batch{events: w.enc.len(), firstAt: w.enc.min, lastAt: w.enc.max, fresh: w.fresh}
	b.raw = w.enc.finish(buf[:0])
	w.fresh = false
	if w.roll.Swap(false) || w.enc.texts.full() || w.enc.hashes.full() {
		w.enc.texts.reset()
		w.enc.hashes.reset()
		w.fresh = true
	}
	return b
}

// Flush makes everything appended so far durable. Without an error, nothing of it is lost but what an earlier error
// told of.
func (w *Writer) Flush() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	if w.enc.len() > 0 {
		w.queue <- w.cut()
	}
	done := make(chan struct{})
	w.queue <- batch{sync: true, done: done}
	w.mu.Unlock()
	<-done
	return w.takePending()
}

// takePending returns the failure that nobody was told of yet.
func (w *Writer) takePending() error {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	err := w.pending
	w.pending = nil
	return err
}

// flusher asks for a flush at every tick.
func (w *Writer) flusher() {
	for {
		select {
		case <-w.tick.C:
		case <-w.quit:
			return
		}
		w.mu.Lock()
		if !w.closed {
			if w.enc.len() > 0 {
				w.queue <- w.cut()
			}
			w.queue <- batch{sync: true}
		}
		w.mu.Unlock()
	}
}

// Stats returns counts as of now.
func (w *Writer) Stats() Stats {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	return w.stats
}

func (w *Writer) count(f func(*Stats)) {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	f(&w.stats)
}

// Close makes everything durable and lets go of the capture. A second call does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	if w.enc.len() > 0 {
		w.queue <- w.cut()
	}
	close(w.queue)
	w.mu.Unlock()
	w.tick.Stop()
	close(w.quit)
	<-w.done
	return errors.Join(w.takePending(), w.lock.Close(), w.disk.zstd.Close())
}
