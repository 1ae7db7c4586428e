package capture

import (
	"encoding/json"
	"hash/crc32"
	"io"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/demarc-dev/demarc/internal/fault"
)

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
