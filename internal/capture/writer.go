package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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

// disk is the state of the goroutine that writes.
type disk struct {
	m      manifest
	f      file
	number int
	record uint32
	offset int64 // of the end of the last whole record
	synced bool  // nothing was written since the last sync
	unsure int64 // events written to the segment and not yet synced
	zstd   *zstd.Encoder
	out    []byte
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

// run is the disk's side: it compresses, writes and syncs what comes through the queue.
func (w *Writer) run() {
	defer close(w.done)
	for b := range w.queue {
		if b.sync {
			_ = w.sync() // a failure is pending
			w.expire()
			if b.done != nil {
				close(b.done)
			}
			continue
		}
		w.write(b)
		if cap(b.raw) <= 2*batchWeight {
			select {
			case w.spare <- b.raw:
			default:
			}
		}
	}
	w.seal()
	w.disk.m.Closed = true
	_ = w.writeManifest() // a failure is pending, and Close tells it
}

// fail notes a failed operation for the next Append and counts the events lost with it.
func (w *Writer) fail(what string, cause error, lost int64) {
	e := &fault.Error{What: what, Cause: cause, Expected: "space and permission to write", Retry: fault.RetrySafe,
		Try: "free space on the disk of " + w.dir}
	w.disk.m.Lost += lost
	w.count(func(s *Stats) {
		s.Failures++
		s.Lost += lost
		w.pending = e
	})
}

// write appends one record to the segment. After a failure the segment is given up, since later records would lean on
// what this one defines; those that are on the way are lost with it.
func (w *Writer) write(b batch) {
	d := &w.disk
	if b.fresh && d.record > 0 || d.f == nil {
		w.seal()
		if !b.fresh {
			d.m.Lost += int64(b.events)
			w.count(func(s *Stats) { s.Lost += int64(b.events) })
			return
		}
		if err := w.openSegment(); err != nil {
			w.fail("cannot begin a segment of capture "+w.dir, err, int64(b.events))
			w.roll.Store(true)
			return
		}
		// A manifest that could not be replaced is told by the next Append; readers find the segment without it.
		_ = w.writeManifest()
	}
	d.out = append(d.out[:0], make([]byte, recordHeaderSize)...)
	d.out = d.zstd.EncodeAll(b.raw, d.out)
	h := recordHeader{
		length: uint32(len(d.out) - recordHeaderSize), raw: uint32(len(b.raw)), events: uint32(b.events), number: d.record + 1,
		firstAt: b.firstAt, lastAt: b.lastAt, crc: crc32.Checksum(d.out[recordHeaderSize:], castagnoli),
	}
	h.append(d.out[:0])
	n, err := d.f.Write(d.out)
	if err == nil && n < len(d.out) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.fail("cannot write to "+w.segmentPath(), err, int64(b.events))
		if n > 0 {
			// Where the cut fails too, readers cut the torn record themselves.
			_ = d.f.Truncate(d.offset)
		}
		w.giveUp()
		return
	}
	d.record++
	d.offset += int64(len(d.out))
	d.unsure += int64(b.events)
	d.synced = false
	s := d.current()
	if s.Events == 0 {
		s.FirstAt, s.LastAt = b.firstAt, b.lastAt
	}
	s.FirstAt, s.LastAt = min(s.FirstAt, b.firstAt), max(s.LastAt, b.lastAt)
	s.Events += int64(b.events)
	s.Bytes = d.offset
	s.Ended = w.o.now().UTC()
	w.count(func(st *Stats) { st.Bytes += int64(len(d.out)) })
	if d.offset >= w.o.segmentBytes || s.Ended.Sub(s.Created) > w.o.MaxAge/8 {
		w.roll.Store(true)
	}
	if cap(d.out) > 2*batchWeight {
		d.out = nil
	}
}

func (d *disk) current() *segment { return &d.m.Segments[len(d.m.Segments)-1] }

func (w *Writer) segmentPath() string { return filepath.Join(w.dir, segmentFile(w.disk.number)) }

// sync makes the segment's records durable. After a failure nobody knows what the disk has of them (the system may
// have dropped the pages), so the segment is given up and its unsynced events count as lost.
func (w *Writer) sync() error {
	d := &w.disk
	if d.f == nil || d.synced {
		return nil
	}
	if err := d.f.Sync(); err != nil {
		w.fail("cannot make "+w.segmentPath()+" durable", err, d.unsure)
		d.unsure = 0
		w.giveUp()
		return err
	}
	now := w.o.now()
	w.count(func(s *Stats) {
		s.Durable += d.unsure
		s.LastFlush = now
	})
	d.synced, d.unsure = true, 0
	return nil
}

// giveUp leaves the segment as it is and asks for a new one.
func (w *Writer) giveUp() {
	d := &w.disk
	if d.unsure > 0 {
		if err := d.f.Sync(); err != nil {
			d.m.Lost += d.unsure
			w.count(func(s *Stats) { s.Lost += d.unsure })
		} else {
			w.count(func(s *Stats) { s.Durable += d.unsure })
		}
	}
	_ = d.f.Close()
	d.f, d.unsure, d.synced = nil, 0, true
	s := d.current()
	s.Sealed = true
	w.roll.Store(true)
}

// seal ends the segment: durable, closed, and listed as such.
func (w *Writer) seal() {
	d := &w.disk
	if d.f == nil || w.sync() != nil {
		return
	}
	if err := d.f.Close(); err != nil {
		w.fail("cannot close "+w.segmentPath(), err, 0)
	}
	d.f = nil
	d.current().Sealed = true
}

// openSegment begins the next segment; the caller writes the manifest that lists it.
func (w *Writer) openSegment() error {
	d := &w.disk
	d.number++
	path := w.segmentPath()
	f, err := w.o.fs.Create(path)
	if err != nil {
		d.number--
		return err
	}
	head := appendSegmentHeader(nil, d.number)
	if _, err = f.Write(head); err == nil {
		if err = f.Sync(); err == nil {
			err = w.o.fs.SyncDir(w.dir)
		}
	}
	if err != nil {
		_ = f.Close()
		_ = w.o.fs.Remove(path)
		d.number--
		return err
	}
	d.f, d.record, d.offset, d.synced, d.unsure = f, 0, int64(len(head)), true, 0
	now := w.o.now().UTC()
	d.m.Segments = append(d.m.Segments, segment{File: segmentFile(d.number), Created: now, Ended: now, Bytes: d.offset})
	w.count(func(s *Stats) {
		s.Segments++
		s.Bytes += d.offset
	})
	return nil
}

// expire drops the oldest segments beyond the capture's size and age. The manifest lets go of them first, so that a
// crash between leaves a file that nobody misses.
func (w *Writer) expire() {
	d := &w.disk
	var total int64
	for _, s := range d.m.Segments {
		total += s.Bytes
	}
	oldest := w.o.now().Add(-w.o.MaxAge)
	n := 0
	for n < len(d.m.Segments)-1 && (total > w.o.MaxBytes || d.m.Segments[n].Ended.Before(oldest)) {
		total -= d.m.Segments[n].Bytes
		n++
	}
	if n == 0 {
		return
	}
	var gone dropped
	for _, s := range d.m.Segments[:n] {
		gone.Segments++
		gone.Events += s.Events
		gone.Bytes += s.Bytes
	}
	old := d.m
	d.m.Dropped.Segments += gone.Segments
	d.m.Dropped.Events += gone.Events
	d.m.Dropped.Bytes += gone.Bytes
	d.m.Segments = append([]segment{}, d.m.Segments[n:]...)
	if w.writeManifest() != nil {
		d.m.Segments, d.m.Dropped = old.Segments, old.Dropped
		return
	}
	for _, s := range old.Segments[:n] {
		if err := w.o.fs.Remove(filepath.Join(w.dir, s.File)); err != nil {
			w.fail("cannot remove "+filepath.Join(w.dir, s.File), err, 0)
		}
	}
	w.count(func(s *Stats) {
		s.Dropped += gone.Events
		s.Bytes -= gone.Bytes
		s.Segments -= int(gone.Segments)
	})
}

// writeManifest replaces the manifest: a crash leaves the old or the new one.
func (w *Writer) writeManifest() error {
	err := writeFile(w.o.fs, filepath.Join(w.dir, manifestFile), func(to io.Writer) error {
		text, err := json.MarshalIndent(w.disk.m, "", " ")
		if err != nil {
			return err
		}
		_, err = to.Write(append(text, '\n'))
		return err
	})
	if err != nil {
		w.fail("cannot replace "+filepath.Join(w.dir, manifestFile), err, 0)
	}
	return err
}

// WriteFile writes a file of mode 0600 that appears under its name only when it is whole and durable; one that is
// there is replaced.
func WriteFile(path string, content func(io.Writer) error) error {
	return writeFile(osFS{}, path, content)
}

// writeFile makes a file appear under its name only when it is whole and durable.
func writeFile(fs fileSystem, path string, content func(io.Writer) error) error {
	temp := path + ".tmp"
	f, err := fs.Create(temp)
	if err != nil {
		return err
	}
	if err = content(f); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fs.Rename(temp, path)
	}
	if err != nil {
		_ = fs.Remove(temp)
		return err
	}
	return fs.SyncDir(filepath.Dir(path))
}
