package capture

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// A column holds one field of the events of one type within one record: which of them have it, and its values one
// after the other.
type column struct {
	dense   int    // number of rows so far, all of which have the field; -1 where present tells
	present []byte // one bit a row; rows beyond its end do not have the field
	data    []byte

	// What the next value is told against.
	last   uint64
	lastID string
	prefix string
}

// set notes that a row has the field; rows come in order.
func (c *column) set(row int) {
	if row == c.dense {
		c.dense++
		return
	}
	c.mark(row)
}

func (c *column) mark(row int) {
	c.bitmap()
	for len(c.present) <= row>>3 {
		c.present = append(c.present, 0)
	}
	c.present[row>>3] |= 1 << (row & 7)
}

// bitmap makes the bitmap of the rows so far, where it was not needed yet.
func (c *column) bitmap() {
	if c.dense < 0 {
		return
	}
	for range c.dense / 8 {
		c.present = append(c.present, 0xff)
	}
	if c.dense%8 != 0 {
		c.present = append(c.present, 1<<(c.dense%8)-1)
	}
	c.dense = -1
}

func (c *column) reset() {
	if cap(c.data) > batchWeight {
		c.data = nil // one huge event is not the rule
	}
	*c = column{present: c.present[:0], data: c.data[:0]}
}

// How a column says which rows have the field.
const (
	presentNone = 0
	presentAll  = 1
	presentSome = 2 // a bitmap follows
)

// append writes the column of a table with n rows.
func (c *column) append(dst []byte, n int) []byte {
	switch c.dense {
	case 0:
		return append(dst, presentNone)
	case n:
		dst = append(dst, presentAll)
	default: // a bitmap is begun by a row that has the field, so one with no row at all there is not
		c.bitmap()
		dst = append(dst, presentSome)
		dst = append(dst, c.present...)
		dst = append(dst, make([]byte, (n+7)/8-len(c.present))...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.data)))
	return append(dst, c.data...)
}

// cursor reads a record's bytes. The first thing that is not as it should be makes all further reads return zeros;
// whoever reads looks at bad at the end of each part, before it believes a count.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := c.b[0]
		c.b = c.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) fail() { c.b, c.bad = nil, true }

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// count reads how many elements follow of which each takes at least one byte.
func (c *cursor) count() int {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail()
		return 0
	}
	return int(n)
}

func (c *cursor) uint64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// columnReader is a column being read.
type columnReader struct {
	cursor
	mode    byte
	present []byte

	last   uint64
	lastID string
	prefix string
	n      uint64 // number of lastID, where it has one
}

func (c *columnReader) has(row int) bool {
	return c.mode == presentAll || c.mode == presentSome && c.present[row>>3]>>(row&7)&1 != 0
}

func readColumn(from *cursor, n int) columnReader {
	c := columnReader{}
	if b := from.bytes(1); b != nil {
		c.mode = b[0]
	}
	switch c.mode {
	case presentNone:
		return c
	case presentSome:
		c.present = from.bytes(uint64(n+7) / 8)
	case presentAll:
	default:
		from.fail()
	}
	c.b = from.bytes(from.uvarint())
	return c
}

// codec is how values of one Go type stand in a column. put appends the values, at bytes into each of the rows, of those
// rows that have one; first is the number of the first row in its table. It takes a column's rows at once and a place
// instead of a function, because the encoder spends its time here: called for each value, it would take twice as long.
type codec[V any] struct {
	put func(e *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int)
	get func(*decoder, *columnReader, *V)
}

// putEach makes a put of how one value is appended; known says whether a row has one.
func putEach[V any](known func(*V) bool, put func(*encoder, *column, *V)) func(*encoder, *column, []unsafe.Pointer, uintptr, int) {
	return func(e *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int) {
		for i, r := range rows {
			if v := (*V)(unsafe.Add(r, at)); known(v) {
				c.set(first + i)
				put(e, c, v)
			}
		}
	}
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// appendDelta writes how far v is from the last value of the column, modulo 2^64.
func (c *column) appendDelta(v uint64) {
	c.data = binary.AppendUvarint(c.data, zigzag(int64(v-c.last)))
	c.last = v
}

func (c *columnReader) delta() uint64 {
	c.last += uint64(unzigzag(c.uvarint()))
	return c.last
}

var textCodec = codec[string]{
	put: func(e *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int) {
		for i, r := range rows {
			if s := *(*string)(unsafe.Add(r, at)); s != "" {
				c.set(first + i)
				c.data = e.texts.append(c.data, s)
			}
		}
	},
	get: func(d *decoder, c *columnReader, s *string) { *s = d.text(&c.cursor) },
}

// Forms of an id in a column; from idNumbered on, the number's distance from the last one under the same prefix.
const (
	idSame     = 0 // the id of the row before
	idPrefixed = 1 // a prefix and a number follow
	idHex      = 2 // an even count of hex digits follows, as bytes
	idText     = 3 // the text follows
	idNumbered = 4
	// maxIDNumber keeps distances within what idNumbered can say.
	maxIDNumber = 1 << 60
)

var idCodec = codec[string]{
	put: func(e *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int) {
		for i, r := range rows {
			if s := *(*string)(unsafe.Add(r, at)); s != "" {
				c.set(first + i)
				if s == c.lastID {
					c.data = append(c.data, idSame)
				} else {
					putID(e, c, s)
				}
			}
		}
	},
	get: getID,
}

func putID(e *encoder, c *column, s string) {
	c.lastID = s
	if n, at, ok := splitID(s); ok {
		if prefix := s[:at]; prefix == c.prefix {
			c.data = binary.AppendUvarint(c.data, zigzag(int64(n-c.last))+idNumbered)
		} else {
			c.prefix = prefix
			c.data = e.texts.append(append(c.data, idPrefixed), prefix)
			c.data = binary.AppendUvarint(c.data, n)
		}
		c.last = n
		return
	}
	if isHex(s) {
		c.data = append(c.data, idHex, byte(len(s)/2))
		for i := 0; i < len(s); i += 2 {
			c.data = append(c.data, hexValue(s[i])<<4|hexValue(s[i+1]))
		}
		return
	}
	c.data = e.texts.append(append(c.data, idText), s)
}

// splitID takes "<prefix>.<number>" apart: the number, and the length of the prefix with its point. A number that would
// not be written the same way again does not count.
func splitID(s string) (n uint64, at int, ok bool) {
	at = strings.LastIndexByte(s, '.') + 1
	digits := s[at:]
	if at == 0 || len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		return 0, 0, false
	}
	for i := range len(digits) {
		d := digits[i] - '0'
		if d > 9 {
			return 0, 0, false
		}
		n = n*10 + uint64(d)
	}
	return n, at, n < maxIDNumber
}

func isHex(s string) bool {
	if len(s)%2 != 0 || len(s) > 2*event.MaxID {
		return false
	}
	for i := range len(s) {
		if hexValue(s[i]) > 15 {
			return false
		}
	}
	return true
}

// hexValue returns the value of a lower-case hex digit, 16 or more for anything else.
func hexValue(b byte) byte {
	switch {
	case b >= '0' && b <= '9':
		return b - '0'
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10
	}
	return 16
}

func getID(d *decoder, c *columnReader, s *string) {
	switch form := c.uvarint(); form {
	case idSame:
	case idHex:
		n := c.bytes(1)
		if n == nil {
			break
		}
		const digits = "0123456789abcdef"
		b := c.bytes(uint64(n[0]))
		out := make([]byte, 0, 2*len(b))
		for _, v := range b {
			out = append(out, digits[v>>4], digits[v&15])
		}
		c.lastID = string(out)
	case idText:
		c.lastID = d.text(&c.cursor)
	default:
		if form == idPrefixed {
			c.prefix = d.text(&c.cursor)
			c.n = c.uvarint()
		} else {
			c.n += uint64(unzigzag(form - idNumbered))
		}
		c.lastID = d.ids.make(c.prefix, c.n)
	}
	*s = c.lastID
}

// idTexts makes ids from prefix and number. One id stands in several columns and rows, mostly near each other, so the
// last ones made are kept.
type idTexts struct {
	slots [1024]struct {
		prefix string
		n      uint64
		id     string
	}
	buf []byte
}

func (t *idTexts) make(prefix string, n uint64) string {
	slot := &t.slots[n%uint64(len(t.slots))]
	if slot.id == "" || slot.n != n || slot.prefix != prefix {
		t.buf = strconv.AppendUint(append(t.buf[:0], prefix...), n, 10)
		slot.prefix, slot.n, slot.id = prefix, n, string(t.buf)
	}
	return slot.id
}

func knownInt(v *int64) bool { return *v != 0 }

var intCodec = codec[int64]{
	put: putEach(knownInt, func(_ *encoder, c *column, v *int64) { c.data = binary.AppendUvarint(c.data, zigzag(*v)) }),
	get: func(_ *decoder, c *columnReader, v *int64) { *v = unzigzag(c.uvarint()) },
}

// timeCodec is for integers that are near the one before.
var timeCodec = codec[int64]{
	put: putEach(knownInt, func(_ *encoder, c *column, v *int64) { c.appendDelta(uint64(*v)) }),
	get: func(_ *decoder, c *columnReader, v *int64) { *v = int64(c.delta()) },
}

var uintCodec = codec[uint64]{
	put: putEach(func(v *uint64) bool { return *v != 0 }, func(_ *encoder, c *column, v *uint64) { c.appendDelta(*v) }),
	get: func(_ *decoder, c *columnReader, v *uint64) { *v = c.delta() },
}

var optIntCodec = codec[event.Opt[int64]]{
	put: func(_ *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int) {
		for i, r := range rows {
			if v := (*event.Opt[int64])(unsafe.Add(r, at)); v.Known {
				c.set(first + i)
				c.data = binary.AppendUvarint(c.data, zigzag(v.V))
			}
		}
	},
	get: func(_ *decoder, c *columnReader, v *event.Opt[int64]) { *v = event.Some(unzigzag(c.uvarint())) },
}

var optBoolCodec = codec[event.Opt[bool]]{
	put: putEach(func(v *event.Opt[bool]) bool { return v.Known }, func(_ *encoder, c *column, v *event.Opt[bool]) {
		b := byte(0)
		if v.V {
			b = 1
		}
		c.data = append(c.data, b)
	}),
	get: func(_ *decoder, c *columnReader, v *event.Opt[bool]) { *v = event.Some(c.uvarint() != 0) },
}

var optFloatCodec = codec[event.Opt[float64]]{
	put: putEach(func(v *event.Opt[float64]) bool { return v.Known }, func(_ *encoder, c *column, v *event.Opt[float64]) {
		c.data = binary.LittleEndian.AppendUint64(c.data, math.Float64bits(v.V))
	}),
	get: func(_ *decoder, c *columnReader, v *event.Opt[float64]) {
		*v = event.Some(math.Float64frombits(c.uint64()))
	},
}

var hashCodec = codec[event.Hash]{
	put: putEach(func(v *event.Hash) bool { return *v != 0 }, func(e *encoder, c *column, v *event.Hash) {
		c.data = e.hashes.append(c.data, *v)
	}),
	get: func(d *decoder, c *columnReader, v *event.Hash) { *v = d.hash(&c.cursor) },
}

// listCodec is a list as its length and its elements.
func listCodec[E any](put func(*encoder, []byte, []E) []byte, get func(*decoder, *cursor, *E),
	arena func(*decoder) *arena[E]) codec[[]E] {
	return codec[[]E]{
		put: putEach(func(v *[]E) bool { return len(*v) != 0 }, func(e *encoder, c *column, v *[]E) {
			c.data = put(e, binary.AppendUvarint(c.data, uint64(len(*v))), *v)
		}),
		get: func(d *decoder, c *columnReader, v *[]E) {
			n := c.count()
			if d.elements += n; d.elements > maxElements {
				c.fail()
				return
			}
			list := arena(d).take(n)
			for i := range list {
				get(d, &c.cursor, &list[i])
			}
			*v = list
		},
	}
}

// arena gives out short slices of one large one, which is used again for the next record.
type arena[E any] struct {
	buf  []E
	used int
}

func (a *arena[E]) take(n int) []E {
	if n > len(a.buf)-a.used {
		a.buf = make([]E, max(n, min(2*len(a.buf), 1<<16), 1024)) // slices given out keep the old one alive
		a.used = 0
	}
	s := a.buf[a.used : a.used+n : a.used+n]
	a.used += n
	return s
}

// reset takes everything back. An arena that one huge record blew up is let go.
func (a *arena[E]) reset() {
	if a.used = 0; len(a.buf) > 1<<16 {
		a.buf = nil
	}
}

var (
	hashesCodec = listCodec(
		func(e *encoder, b []byte, list []event.Hash) []byte {
			for _, v := range list {
				b = e.hashes.append(b, v)
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.Hash) { *v = d.hash(c) },
		func(d *decoder) *arena[event.Hash] { return &d.hashLists })
	textsCodec = listCodec(
		func(e *encoder, b []byte, list []string) []byte {
			for _, v := range list {
				b = e.texts.append(b, v)
			}
			return b
		},
		func(d *decoder, c *cursor, v *string) { *v = d.text(c) },
		func(d *decoder) *arena[string] { return &d.textLists })
	namedCodec = listCodec(
		func(e *encoder, b []byte, list []event.NamedHash) []byte {
			for i := range list {
				b = e.hashes.append(e.texts.append(b, list[i].Name), list[i].Hash)
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.NamedHash) { v.Name, v.Hash = d.text(c), d.hash(c) },
		func(d *decoder) *arena[event.NamedHash] { return &d.namedLists })
	pairsCodec = listCodec(
		func(e *encoder, b []byte, list []event.Pair) []byte {
			for i := range list {
				b = e.texts.append(e.texts.append(b, list[i].Name), list[i].Value)
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.Pair) { v.Name, v.Value = d.text(c), d.text(c) },
		func(d *decoder) *arena[event.Pair] { return &d.pairLists })
	countsCodec = listCodec(
		func(e *encoder, b []byte, list []event.Count) []byte {
			for i := range list {
				b = binary.AppendUvarint(e.texts.append(b, list[i].Name), zigzag(list[i].N))
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.Count) { v.Name, v.N = d.text(c), unzigzag(c.uvarint()) },
		func(d *decoder) *arena[event.Count] { return &d.countLists })
)
