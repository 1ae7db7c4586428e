package capture

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// Limits of one record. The writer stays far below them but for single huge events; the reader allocates nothing
// beyond them, whatever a record says.
const (
	batchEvents = 4096     // a record is closed at this many events …
	batchWeight = 2 << 20  // … or at about this many bytes, each text counted in full
	maxEvents   = 1 << 14  // that a reader accepts in one record
	maxRaw      = 40 << 20 // bytes of one record before compression
	maxElements = 6 << 20  // of all lists of one record
	maxWeight   = 16 << 20 // of one event
)

func appendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// table is all events of one type within one record.
type table interface {
	// Writing: gather notes an event, absorb encodes those noted, append writes and empties the table.
	gather(*event.Event)
	absorb(*encoder)
	append([]byte) []byte
	// Reading: open finds the columns of n rows, fill reads the rows up to one, whole says at the end whether the
	// columns held just that; attach hands the next row to an event.
	open(from *cursor, n int)
	fill(d *decoder, to int) bool
	whole() bool
	attach(*event.Event)
	len() int
	// only leaves fields out of reading, but for those named.
	only(names []string)
}

type tableOf[T any] struct {
	fields []field[T]
	of     func(*event.Event) **T

	// Writing.
	cols []column
	rows []unsafe.Pointer // to T; noted, not yet encoded
	n    int              // encoded
	none T

	// Reading.
	slab   []T
	stored []columnReader
	filled int    // rows
	next   int    // to be attached
	skip   []bool // fields that nobody asked for; nil: none
	empty  bool   // all of them, so that nothing is ever put into slab
}

func (t *tableOf[T]) gather(e *event.Event) {
	if p := *t.of(e); p != nil {
		t.rows = append(t.rows, unsafe.Pointer(p))
	} else {
		t.rows = append(t.rows, unsafe.Pointer(&t.none))
	}
}

func (t *tableOf[T]) absorb(e *encoder) {
	if len(t.rows) == 0 {
		return
	}
	if t.cols == nil {
		t.cols = make([]column, len(t.fields))
	}
	for i := range t.fields {
		t.fields[i].put(e, &t.cols[i], t.rows, t.fields[i].at, t.n)
	}
	t.n += len(t.rows)
	clear(t.rows)
	t.rows = t.rows[:0]
}

func (t *tableOf[T]) len() int { return t.n }

func (t *tableOf[T]) append(dst []byte) []byte {
	dst = appendUvarint(dst, uint64(len(t.fields)))
	for i := range t.cols {
		dst = t.cols[i].append(dst, t.n)
		t.cols[i].reset()
	}
	t.n = 0
	return dst
}

func (t *tableOf[T]) open(from *cursor, n int) {
	if cap(t.slab) < n {
		t.slab = make([]T, n)
	}
	t.slab = t.slab[:n]
	t.filled, t.next = 0, 0
	t.stored = t.stored[:0]
	stored := from.uvarint()
	if stored > uint64(len(t.fields)) {
		from.fail()
		return
	}
	for i := range int(stored) {
		c := readColumn(from, n)
		if t.skip != nil && t.skip[i] {
			c = columnReader{}
		}
		t.stored = append(t.stored, c)
	}
}

func (t *tableOf[T]) fill(d *decoder, to int) bool {
	rows := t.slab[t.filled:to]
	if len(rows) == 0 || t.empty {
		t.filled = to
		return true
	}
	clear(rows)
	whole := cells{first: unsafe.Pointer(unsafe.SliceData(t.slab)), size: unsafe.Sizeof(rows[0]), from: t.filled, to: to}
	for i := range t.stored {
		c := &t.stored[i]
		if c.mode == presentNone {
			continue
		}
		part := whole
		part.first = unsafe.Add(whole.first, t.fields[i].at)
		if t.fields[i].get(d, c, part); c.bad {
			return false
		}
	}
	t.filled = to
	return true
}

func (t *tableOf[T]) whole() bool {
	for i := range t.stored {
		if !t.stored[i].whole() {
			return false
		}
	}
	return true
}

func (t *tableOf[T]) only(names []string) {
	t.skip = skipped(t.fields, names)
	t.empty = !slices.Contains(t.skip, false)
}

// skipped says which fields are not among the names.
func skipped[T any](fields []field[T], names []string) []bool {
	skip := make([]bool, len(fields))
	for i := range fields {
		skip[i] = !slices.Contains(names, fields[i].name)
	}
	return skip
}

func (t *tableOf[T]) attach(e *event.Event) {
	*t.of(e) = &t.slab[t.next]
	t.next++
}
