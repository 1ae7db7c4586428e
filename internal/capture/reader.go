package capture

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/fault"
)

// Reader reads one capture. It holds no file open between calls; Batches may run several times, and at once.
type Reader struct {
	dir string

	mu       sync.Mutex
	info     Info
	segments []segment
}

// Info says what a capture holds.
type Info struct {
	Version  int       // of the format
	Created  time.Time // when the writer began
	Service  string
	Events   int64
	Bytes    int64 // on disk
	Segments int
	FirstAt  int64 // earliest and latest start of an event, Unix nanoseconds; 0 in an empty capture
	LastAt   int64
	Closed   bool // the writer ended in order
	Active   bool // a writer has it open
	// Warnings say what is not there: a torn tail that was cut, a damaged record, a missing segment, what retention
	// dropped and failed writes lost. Damage inside a segment shows when Batches has read it.
	Warnings []string
}

// Open opens a capture for reading. A writer may be active: then the events are those written so far. It fails with
// the exit code fault.ExitCapture where the capture is from a newer version or is no capture any more.
func Open(dir string) (*Reader, error) {
	r := &Reader{dir: dir}
	active := locked(filepath.Join(dir, lockFile))
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if m.Closed {
		active = false
	}
	r.info = Info{Version: m.Version, Created: m.Created, Service: m.Service, Closed: m.Closed, Active: active}
	if m.Dropped.Events > 0 {
		r.warn("retention dropped %d events in %d segments (%d bytes)", m.Dropped.Events, m.Dropped.Segments, m.Dropped.Bytes)
	}
	if m.Lost > 0 {
		r.warn("%d events were lost to failed writes", m.Lost)
	}
	segments, err := withUnlisted(dir, m)
	if err != nil {
		return nil, err
	}
	for _, s := range segments {
		if err := r.add(s); err != nil {
			return nil, err
		}
	}
	if listed := listedEvents(m); listed > 0 && r.info.Events == 0 && !active {
		return nil, &fault.Error{What: "cannot read capture " + dir, Cause: fmt.Errorf("of %d events that it lists none is there: its segments are missing or empty", listed),
			Expected: "the files that demarc wrote into the folder", Retry: fault.RetryUseless, Try: "a copy of the whole folder", Code: fault.ExitCapture}
	}
	if !m.Closed && !active {
		until := "its beginning"
		if r.info.LastAt != 0 {
			until = time.Unix(0, r.info.LastAt).UTC().Format(time.RFC3339Nano)
		}
		r.warn("the writer did not end in order: up to one second of events after %s is not there", until)
	}
	return r, nil
}

// listedEvents is how many events the sealed segments of a manifest hold.
func listedEvents(m manifest) (n int64) {
	for _, s := range m.Segments {
		n += s.Events
	}
	return n
}

// withUnlisted adds segments that the manifest does not list yet: those after the last one that it does.
func withUnlisted(dir string, m manifest) ([]segment, error) {
	last := 0
	for _, s := range m.Segments {
		last = max(last, segmentNumber(s.File))
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, &fault.Error{What: "cannot list capture " + dir, Cause: err, Retry: fault.RetrySafe}
	}
	segments := m.Segments
	for _, f := range files { // sorted by name
		if segmentNumber(f.Name()) > last {
			segments = append(segments, segment{File: f.Name()})
		}
	}
	return segments, nil
}

// add takes a segment into the capture's counts. Those of a sealed segment with the listed size are believed, others
// are counted by walking from record to record.
func (r *Reader) add(s segment) error {
	path := filepath.Join(r.dir, s.File)
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		r.warn("segment %s is missing (%d events)", s.File, s.Events)
		return nil
	}
	if err != nil {
		return &fault.Error{What: "cannot read " + path, Cause: err, Retry: fault.RetrySafe}
	}
	if !s.Sealed || st.Size() != s.Bytes {
		if s.Sealed && st.Size() < s.Bytes {
			r.warn("segment %s has %d bytes of the %d listed", s.File, st.Size(), s.Bytes)
		}
		s.Events, s.Bytes = 0, st.Size()
		err := r.scan(s, false, func(h recordHeader, _ []byte) bool {
			if s.Events == 0 {
				s.FirstAt, s.LastAt = h.firstAt, h.lastAt
			}
			s.FirstAt, s.LastAt = min(s.FirstAt, h.firstAt), max(s.LastAt, h.lastAt)
			s.Events += int64(h.events)
			return true
		})
		if err != nil {
			return err
		}
	}
	if s.Events > 0 {
		if r.info.Events == 0 {
			r.info.FirstAt, r.info.LastAt = s.FirstAt, s.LastAt
		}
		r.info.FirstAt, r.info.LastAt = min(r.info.FirstAt, s.FirstAt), max(r.info.LastAt, s.LastAt)
	}
	r.info.Events += s.Events
	r.info.Bytes += s.Bytes
	r.info.Segments++
	r.segments = append(r.segments, s)
	return nil
}

// Info returns what is known of the capture; after Batches, with what reading found.
func (r *Reader) Info() Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	info := r.info
	info.Warnings = slices.Clone(info.Warnings)
	return info
}

func (r *Reader) warn(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.info.Warnings, text) {
		r.info.Warnings = append(r.info.Warnings, text)
	}
}

// Batches yields the events in the order of arrival, a record at a time. A batch, and what its events point to, is
// used again for the next one; texts and sources stay valid. Damaged records are skipped and named in Info.Warnings;
// an error is one of the disk and ends the sequence. Memory: one record and the dictionaries of one segment, about
// 15 MB; a record made to harm costs at most about 300 MB.
func (r *Reader) Batches() iter.Seq2[[]event.Event, error] { return r.batches(nil) }

// Fields are fields by type of event, with the names that event.FieldNames gives; event.Other stands for those that every
// event has.
type Fields map[event.Type][]string

// BatchesOf is Batches for a reader that needs only some fields, which takes a part of the time: all others stay "not known".
// dur, at and source are always there.
func (r *Reader) BatchesOf(want Fields) iter.Seq2[[]event.Event, error] { return r.batches(want) }

func (r *Reader) batches(want Fields) iter.Seq2[[]event.Event, error] {
	return func(yield func([]event.Event, error) bool) {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			yield(nil, err)
			return
		}
		defer z.Close()
		dec := newDecoder()
		if want != nil {
			dec.only(want)
		}
		var raw []byte
		for _, s := range r.segments {
			dec.segment()
			more := true
			err := r.scan(s, true, func(h recordHeader, packed []byte) bool {
				raw = slices.Grow(raw[:0], int(h.raw))
				out, err := z.DecodeAll(packed, raw)
				var events []event.Event
				if err == nil && len(out) != int(h.raw) {
					err = errRecord
				}
				if err == nil {
					events, err = dec.record(out, int(h.events))
				}
				if cap(raw) > 2*batchWeight {
					raw = nil
				}
				if err != nil {
					r.warn("segment %s: record %d skipped, %d events: %v", s.File, h.number, h.events, err)
					return true
				}
				more = yield(events, nil)
				return more
			})
			if err != nil {
				yield(nil, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

// scan walks over the records of a segment. With payload it reads and checks their bytes, without it only those of the
// last one, which a crash may have torn. Where it finds damage it goes on at the next record that is whole.
func (r *Reader) scan(s segment, payload bool, each func(recordHeader, []byte) bool) error {
	path := filepath.Join(r.dir, s.File)
	fail := func(err error) error {
		return &fault.Error{What: "cannot read " + path, Cause: err, Retry: fault.RetrySafe}
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		r.warn("segment %s is gone: dropped while the capture was read", s.File)
		return nil
	}
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	size := st.Size()
	in := &window{f: f, size: size}
	head, err := in.read(0, headerSize)
	if err != nil {
		return fail(err)
	}
	version, err := parseSegmentHeader(head)
	if err == nil && version > FormatVersion {
		return newerVersion(r.dir, version)
	}
	if err != nil && size > 0 {
		r.warn("segment %s: %v, its records are read all the same", s.File, err)
	}
	at := int64(headerSize)
	number := uint32(0)
	for at < size {
		head, err := in.read(at, recordHeaderSize)
		if err != nil {
			return fail(err)
		}
		h, ok := parseRecordHeader(head)
		if !ok {
			next, err := in.nextRecord(at + 1)
			if err != nil {
				return fail(err)
			}
			if next < 0 {
				r.torn(s, size-at)
				return nil
			}
			r.warn("segment %s: damaged at byte %d, %d bytes skipped", s.File, at, next-at)
			at = next
			continue
		}
		end := at + recordHeaderSize + int64(h.length)
		if end > size {
			r.torn(s, size-at)
			return nil
		}
		if number != 0 && h.number > number+1 {
			r.warn("segment %s: records %d to %d are missing", s.File, number+1, h.number-1)
		}
		number = h.number
		var packed []byte
		if payload || end == size {
			if packed, err = in.read(at+recordHeaderSize, int(h.length)); err != nil {
				return fail(err)
			}
			if crc32.Checksum(packed, castagnoli) != h.crc {
				if end == size && !s.Sealed {
					r.torn(s, size-at)
					return nil
				}
				r.warn("segment %s: record %d is damaged (checksum), %d events skipped", s.File, h.number, h.events)
				at = end
				continue
			}
		}
		at = end
		if !each(h, packed) {
			return nil
		}
	}
	return nil
}

// torn notes a last record that is not whole; while a writer is active it is simply not there yet.
func (r *Reader) torn(s segment, n int64) {
	if !r.info.Active {
		r.warn("segment %s: last record torn, %d bytes cut", s.File, n)
	}
}

// window reads ranges of a file through one buffer. Memory: the longest record, at least 256 KB.
type window struct {
	f    *os.File
	size int64
	at   int64
	buf  []byte
}

// read returns up to n bytes from at on: fewer only where the file ends. They are valid until the next call.
func (w *window) read(at int64, n int) ([]byte, error) {
	n = int(max(min(int64(n), w.size-at), 0))
	if at < w.at || at+int64(n) > w.at+int64(len(w.buf)) {
		const ahead = 256 << 10
		want := int(max(min(int64(max(n, ahead)), w.size-at), 0))
		if cap(w.buf) < want || cap(w.buf) > 2*batchWeight && want <= ahead {
			w.buf = make([]byte, want)
		}
		w.buf = w.buf[:want]
		w.at = at
		got, err := w.f.ReadAt(w.buf, at)
		w.buf = w.buf[:got]
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		n = min(n, got)
	}
	return w.buf[at-w.at:][:n:n], nil
}

// nextRecord finds the next whole record's header from at on, or returns -1.
func (w *window) nextRecord(at int64) (int64, error) {
	const step = 128 << 10
	for at < w.size {
		b, err := w.read(at, step+recordHeaderSize)
		if err != nil {
			return 0, err
		}
		for from := 0; ; {
			i := bytes.Index(b[from:], []byte(recordMagic))
			if i < 0 {
				break
			}
			from += i
			if _, ok := parseRecordHeader(b[from:]); ok {
				return at + int64(from), nil
			}
			from++
		}
		if len(b) < step+recordHeaderSize {
			return -1, nil
		}
		at += step
	}
	return -1, nil
}
