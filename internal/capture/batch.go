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
	// Reading: read takes n rows from the cursor, attach hands the next one to an event.
	read(*decoder, *cursor, int)
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
	slab []T
	next int
	skip []bool // fields that nobody asked for; nil: none
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

func (t *tableOf[T]) read(d *decoder, from *cursor, n int) {
	if cap(t.slab) < n {
		t.slab = make([]T, n)
	}
	t.slab = t.slab[:n]
	if t.skip == nil || slices.Contains(t.skip, false) { // else nothing was ever put there
		clear(t.slab)
	}
	t.next = 0
	d.columns(from, n, len(t.fields), func(i int, c *columnReader) {
		if t.skip != nil && t.skip[i] {
			c.b = nil
			return
		}
		t.fields[i].get(d, c, t.slab)
	})
}

func (t *tableOf[T]) only(names []string) {
	t.skip = skipped(t.fields, names)
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
