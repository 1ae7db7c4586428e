package recorder

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/demarc-dev/demarc/event"
)

// reader walks over one payload. The first defect stays in err, and everything read after it is empty. What most elements
// are (nothing, a number of 32 bits or a time, a text of the table) is read at one go: each method that begins so is right
// without those lines, and twice as slow.
type reader struct {
	d    *decoder
	s    string
	pos  int
	left int // elements left in the tuple that is being read
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s, at byte %d", errBad, what, r.pos)
	}
	r.left = 0
}

// more takes the next element of the tuple and says whether there is one.
func (r *reader) more() bool {
	if r.left <= 0 {
		return false
	}
	r.left--
	return true
}

func (r *reader) tag() byte {
	if r.pos >= len(r.s) || r.err != nil {
		r.fail("cut short")
		return 0
	}
	c := r.s[r.pos]
	r.pos++
	return c
}

// take returns the next n bytes.
func (r *reader) take(n int) string {
	if n < 0 || n > len(r.s)-r.pos || r.err != nil {
		r.fail("cut short")
		return ""
	}
	t := r.s[r.pos : r.pos+n]
	r.pos += n
	return t
}

func (r *reader) int32() int32 {
	t := r.take(4)
	if len(t) < 4 {
		return 0
	}
	return int32(uint32(t[0]) | uint32(t[1])<<8 | uint32(t[2])<<16 | uint32(t[3])<<24)
}

// open reads the head of a tuple '(' or a list '[' and returns its length, which is never more than the bytes left.
func (r *reader) open(tag byte) int {
	if got := r.tag(); got != tag {
		r.fail("a sequence was expected")
		return 0
	}
	return r.count()
}

func (r *reader) count() int {
	n := int(r.int32())
	if n < 0 || n > len(r.s)-r.pos {
		r.fail("a count larger than the bytes that are left")
		return 0
	}
	return n
}

// rest skips what is left of an event's tuple.
func (r *reader) rest() {
	for r.more() {
		r.skip(4)
	}
}

// skip passes over one value at a nesting of depth.
func (r *reader) skip(depth int) {
	if depth > maxDepth {
		r.fail("nested too deeply")
		return
	}
	switch r.tag() {
	case 'N', 'T', 'F':
	case 'i':
		r.take(4)
	case 'g':
		r.take(8)
	case 'l':
		r.long()
	case 's', 'u':
		r.take(int(r.int32()))
	case '(', '[':
		for n := r.count(); n > 0 && r.err == nil; n-- {
			r.skip(depth + 1)
		}
	default:
		r.fail("a type that does not occur")
	}
}

// long reads the digits of a long integer.
func (r *reader) long() (magnitude uint64, negative bool) {
	n := int(r.int32())
	if n < 0 {
		n, negative = -n, true
	}
	if n > 5 {
		r.fail("an integer of more than 64 bits")
		return 0, false
	}
	t := r.take(2 * n)
	for i := len(t) - 2; i >= 0; i -= 2 {
		digit := uint64(t[i]) | uint64(t[i+1])<<8
		hi, lo := bits.Mul64(magnitude, 1<<15)
		if hi != 0 || digit >= 1<<15 {
			r.fail("an integer of more than 64 bits")
			return 0, false
		}
		magnitude = lo | digit
	}
	return magnitude, negative
}

// integer reads an integer whose tag was read.
func (r *reader) integer(tag byte) (v int64, known bool) {
	switch tag {
	case 'i':
		return int64(r.int32()), r.err == nil
	case 'l':
		m, negative := r.long()
		if m > 1<<63-1 {
			r.fail("an integer out of range")
			return 0, false
		}
		if negative {
			return -int64(m), r.err == nil
		}
		return int64(m), r.err == nil
	case 'N':
		return 0, false
	}
	r.fail("an integer was expected")
	return 0, false
}

// small takes the next element of the tuple if it is None (tag N) or an integer of 32 bits (tag i); else tag is 0, and
// nothing is taken.
func (r *reader) small() (tag byte, v int32) {
	if r.left > 0 && len(r.s)-r.pos >= 5 {
		t := r.s[r.pos : r.pos+5]
		switch t[0] {
		case 'i':
			r.left--
			r.pos += 5
			return 'i', int32(uint32(t[1]) | uint32(t[2])<<8 | uint32(t[3])<<16 | uint32(t[4])<<24)
		case 'N':
			r.left--
			r.pos++
			return 'N', 0
		}
	}
	return 0, 0
}

func (r *reader) num() (int64, bool) {
	switch tag, v := r.small(); tag {
	case 'i':
		return int64(v), true
	case 'N':
		return 0, false
	}
	if !r.more() {
		return 0, false
	}
	return r.integer(r.tag())
}

// time reads the first number of every event: five digits of 15 bits.
func (r *reader) time() int64 {
	if r.left > 0 && len(r.s)-r.pos >= 15 && r.s[r.pos:r.pos+5] == "l\x05\x00\x00\x00" {
		t := r.s[r.pos+5 : r.pos+15]
		var v uint64
		var bad byte
		for i := 8; i >= 0; i -= 2 {
			v = v<<15 | uint64(t[i]) | uint64(t[i+1])<<8
			bad |= t[i+1] & 0x80
		}
		if bad == 0 && t[9] == 0 && t[8] < 8 { // below 2^63
			r.left--
			r.pos += 15
			return int64(v)
		}
	}
	v, _ := r.num()
	return v
}

func (r *reader) optInt() event.Opt[int64] {
	v, known := r.num()
	return event.Opt[int64]{V: v, Known: known}
}

func (r *reader) unsigned() uint64 {
	if tag, v := r.small(); tag == 'N' || tag == 'i' && v >= 0 {
		return uint64(v)
	} else if tag == 'i' {
		r.fail("a negative number was not expected")
		return 0
	}
	if !r.more() {
		return 0
	}
	tag := r.tag()
	if tag == 'l' {
		m, negative := r.long()
		if negative {
			r.fail("a negative number was not expected")
		}
		return m
	}
	v, _ := r.integer(tag)
	if v < 0 {
		r.fail("a negative number was not expected")
		return 0
	}
	return uint64(v)
}

func (r *reader) optBool() event.Opt[bool] {
	if !r.more() {
		return event.Opt[bool]{}
	}
	switch r.tag() {
	case 'T':
		return event.Some(true)
	case 'F':
		return event.Some(false)
	case 'N':
	default:
		r.fail("a boolean was expected")
	}
	return event.Opt[bool]{}
}

// utf8 reads the bytes of a text whose tag was read. Lone surrogates, which UTF-8 has no form for, are replaced.
func (r *reader) utf8() string {
	t := r.take(int(r.int32()))
	if utf8.ValidString(t) {
		return t
	}
	return strings.ToValidUTF8(t, "\uFFFD")
}

func (r *reader) text() string {
	switch tag, n := r.small(); tag {
	case 'i':
		return r.defined(n)
	case 'N':
		return ""
	}
	if !r.more() {
		return ""
	}
	return r.textValue(r.tag())
}

// defined returns a text of the table.
func (r *reader) defined(n int32) string {
	if n < 0 || int(n) >= len(r.d.texts) {
		r.fail("a text that was not defined")
		return ""
	}
	return r.d.texts[n]
}

func (r *reader) textValue(tag byte) string {
	switch tag {
	case 'N':
	case 'i':
		return r.defined(r.int32())
	case 'u':
		return r.utf8()
	default:
		r.fail("a text was expected")
	}
	return ""
}

// element reads a text inside a map or a list.
func (r *reader) element() string {
	if r.err == nil && len(r.s)-r.pos >= 5 && r.s[r.pos] == 'i' {
		r.pos++
		return r.defined(r.int32())
	}
	return r.textValue(r.tag())
}

func (r *reader) id() string {
	switch tag, n := r.small(); tag {
	case 'i':
		return r.d.id(int64(n))
	case 'N':
		return ""
	}
	if !r.more() {
		return ""
	}
	switch tag := r.tag(); tag {
	case 'N':
	case 'i', 'l':
		if n, ok := r.integer(tag); ok {
			return r.d.id(n)
		}
	case 'u':
		t := r.utf8()
		if len(t) > event.MaxID {
			r.fail("an id of more than 64 bytes")
			return ""
		}
		return t
	default:
		r.fail("an id was expected")
	}
	return ""
}

func bigEndian(t string) event.Hash {
	return event.Hash(uint64(t[0])<<56 | uint64(t[1])<<48 | uint64(t[2])<<40 | uint64(t[3])<<32 |
		uint64(t[4])<<24 | uint64(t[5])<<16 | uint64(t[6])<<8 | uint64(t[7]))
}

func (r *reader) hash() event.Hash {
	if !r.more() {
		return 0
	}
	return r.hashValue(r.tag())
}

// hashHead are the tag and the length of a hash.
const hashHead = "s\x08\x00\x00\x00"

// namedHash reads the hash of a map's element.
func (r *reader) namedHash() event.Hash {
	if r.err == nil && len(r.s)-r.pos >= 13 && r.s[r.pos:r.pos+5] == hashHead {
		r.pos += 13
		return bigEndian(r.s[r.pos-8 : r.pos])
	}
	return r.hashValue(r.tag())
}

func (r *reader) hashValue(tag byte) event.Hash {
	switch tag {
	case 'N':
	case 's':
		if r.int32() == 8 {
			if t := r.take(8); len(t) == 8 {
				return bigEndian(t)
			}
			return 0
		}
		r.fail("a hash that is not of 8 bytes")
	default:
		r.fail("a hash was expected")
	}
	return 0
}

func (r *reader) principal() string {
	if !r.more() {
		return ""
	}
	tag := r.tag()
	if tag == 's' {
		if h := r.hashValue(tag); h != 0 {
			return h.String()
		}
		return ""
	}
	return r.textValue(tag)
}

func (r *reader) hashes(b *batch) []event.Hash {
	if !r.more() {
		return nil
	}
	switch r.tag() {
	case 'N':
		return nil
	case 's':
		t := r.take(int(r.int32()))
		if len(t)%8 != 0 {
			r.fail("hashes that are not of 8 bytes each")
			return nil
		}
		if len(t) == 0 {
			return nil
		}
		start := len(b.hashes)
		for ; len(t) >= 8; t = t[8:] {
			b.hashes = append(b.hashes, bigEndian(t))
		}
		return b.hashes[start:len(b.hashes):len(b.hashes)]
	}
	r.fail("hashes were expected")
	return nil
}

// sequence reads the head of an element that is None or a flat tuple.
func (r *reader) sequence() int {
	if !r.more() {
		return 0
	}
	switch r.tag() {
	case 'N':
		return 0
	case '(', '[':
		return r.count()
	}
	r.fail("a tuple was expected")
	return 0
}

func (r *reader) list(b *batch) []string {
	n := r.sequence()
	if n == 0 {
		return nil
	}
	start := len(b.texts)
	for ; n > 0 && r.err == nil; n-- {
		b.texts = append(b.texts, r.element())
	}
	return b.texts[start:len(b.texts):len(b.texts)]
}

func (r *reader) pairCount() int {
	n := r.sequence()
	if n%2 != 0 {
		r.fail("a map with a name and no value")
		return 0
	}
	return n / 2
}

func (r *reader) pairs(b *batch) []event.Pair {
	n := r.pairCount()
	if n == 0 {
		return nil
	}
	start := len(b.pairs)
	for ; n > 0 && r.err == nil; n-- {
		name := r.element()
		b.pairs = append(b.pairs, event.Pair{Name: name, Value: r.element()})
	}
	list := b.pairs[start:len(b.pairs):len(b.pairs)]
	byName := func(x, y event.Pair) int { return strings.Compare(x.Name, y.Name) }
	if !slices.IsSortedFunc(list, byName) {
		slices.SortStableFunc(list, byName)
	}
	return list
}

func (r *reader) namedHashes(b *batch) []event.NamedHash {
	n := r.pairCount()
	if n == 0 {
		return nil
	}
	start := len(b.named)
	for ; n > 0 && r.err == nil; n-- {
		name := r.element()
		b.named = append(b.named, event.NamedHash{Name: name, Hash: r.namedHash()})
	}
	list := b.named[start:len(b.named):len(b.named)]
	byName := func(x, y event.NamedHash) int { return strings.Compare(x.Name, y.Name) }
	if !slices.IsSortedFunc(list, byName) {
		slices.SortStableFunc(list, byName)
	}
	return list
}
