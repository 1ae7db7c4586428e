package capture

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
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
	v, n := uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// uvarint is binary.Uvarint, some three times as fast for values of several bytes.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) >= 8 {
		word := binary.LittleEndian.Uint64(b)
		if word&0x80 == 0 {
			return word & 0x7f, 1
		}
		// The first byte without its top bit is the last one. The sevens of bits are pushed together two, four and eight
		// bytes at a time.
		if ends := ^word & 0x8080808080808080; ends != 0 {
			last := bits.TrailingZeros64(ends)
			word &= 0x7f7f7f7f7f7f7f7f & (2<<last - 1)
			word = word&0x007f007f007f007f | word&0x7f007f007f007f00>>1
			word = word&0x00003fff00003fff | word&0x3fff00003fff0000>>2
			return word&0x0fffffff | word&0x0fffffff00000000>>4, last/8 + 1
		}
	}
	return binary.Uvarint(b)
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

// has tells whether a row of a column that is not presentNone has the field.
func (c *columnReader) has(row int) bool {
	return c.present == nil || c.present[row>>3]>>(row&7)&1 != 0
}

// cells are the places of a column's values: that of row i lies i*size bytes after first; from..to are the rows to fill.
type cells struct {
	first    unsafe.Pointer
	size     uintptr
	from, to int
}

func (t cells) at(row int) unsafe.Pointer { return unsafe.Add(t.first, uintptr(row)*t.size) }

// whole tells whether all bytes of the column were used, and none was missed: else it is not what was written.
func (c *columnReader) whole() bool { return !c.bad && len(c.b) == 0 }

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
