package capture

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

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
	get: getIDs,
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

func getIDs(d *decoder, c *columnReader, to cells) {
	b, last := c.b, c.lastID
	for row := to.from; row < to.to; row++ {
		if !c.has(row) {
			continue
		}
		if len(b) > 0 && b[0] == idSame {
			b = b[1:]
		} else {
			c.b = b
			d.id(c)
			b, last = c.b, c.lastID
		}
		*(*string)(to.at(row)) = last
	}
	c.b = b
}

// id reads an id that differs from the one before.
func (d *decoder) id(c *columnReader) {
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
