package otlp

import (
	"encoding/binary"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// decodeProto reads an ExportTraceServiceRequest (a TracesData has the same form) in one pass over the bytes, copying
// nothing: texts alias msg. It accepts what the reference decoder accepts but for groups, a form of the wire format that
// OTLP never used, and for the limits of this package.
func decodeProto(b *batch, msg []byte) *DataError {
	r := reader{buf: msg, b: b}
	if r.message() < 0 {
		return r.err
	}
	return nil
}

// reader walks over a message. Its methods take the position and the end of what they read and return the position
// after it, or -1 once err is set.
type reader struct {
	buf []byte
	b   *batch
	err *DataError
}

// Wire types.
const (
	wireVarint = 0
	wireI64    = 1
	wireLen    = 2
	wireStart  = 3
	wireEnd    = 4
	wireI32    = 5
)

const (
	reasonCut   = "cut short: the message ends inside a field"
	reasonGroup = "a group, which OTLP does not use"
	reasonWire  = "a field has another wire type than it should have"
)

func (r *reader) fail(at int, reason string) int {
	if r.err == nil {
		r.err = &DataError{At: at, Reason: reason, limit: reason == reasonGroup}
	}
	return -1
}

func (r *reader) beyond(at int, limit string) int {
	r.fail(at, limit)
	r.err.limit = true
	return -1
}

func (r *reader) text(at, end int) string {
	if at == end {
		return ""
	}
	return unsafe.String(&r.buf[at], end-at)
}

// varint, tag and length have a short form for one byte, which the compiler puts in place, and a long one.
func (r *reader) varint(at, end int) (uint64, int) {
	if at < end && r.buf[at] < 0x80 {
		return uint64(r.buf[at]), at + 1
	}
	return r.longVarint(at, end)
}

func (r *reader) longVarint(at, end int) (uint64, int) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if at >= end {
			return 0, r.fail(at, reasonCut)
		}
		c := r.buf[at]
		at++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, at
		}
	}
	return 0, r.fail(at, "a number of more than ten bytes")
}

// tag reads a field's number and wire type.
func (r *reader) tag(at, end int) (int32, int, int) {
	if at < end {
		if c := r.buf[at]; c-8 < 0x78 {
			return int32(c >> 3), int(c & 7), at + 1
		}
	}
	return r.longTag(at, end)
}

func (r *reader) longTag(at, end int) (int32, int, int) {
	v, next := r.longVarint(at, end)
	if next < 0 {
		return 0, 0, -1
	}
	field := int32(v >> 3)
	if field <= 0 {
		return 0, 0, r.fail(at, "a field without a valid number")
	}
	return field, int(v & 7), next
}

// length reads the length of a field and returns where the field begins and ends.
func (r *reader) length(at, end int) (int, int) {
	v, at := r.varint(at, end)
	if at < 0 {
		return 0, -1
	}
	if v > uint64(end-at) {
		return 0, r.fail(at, reasonCut)
	}
	return at, at + int(v)
}

// lengthOf is length for a field that must have it.
func (r *reader) lengthOf(wire, at, end int) (int, int) {
	if wire != wireLen {
		return 0, r.fail(at, reasonWire)
	}
	return r.length(at, end)
}

func (r *reader) varintOf(wire, at, end int) (uint64, int) {
	if wire != wireVarint {
		return 0, r.fail(at, reasonWire)
	}
	return r.varint(at, end)
}

func (r *reader) fixed64Of(wire, at, end int) (uint64, int) {
	if wire != wireI64 {
		return 0, r.fail(at, reasonWire)
	}
	if end-at < 8 {
		return 0, r.fail(at, reasonCut)
	}
	return binary.LittleEndian.Uint64(r.buf[at:]), at + 8
}

func (r *reader) fixed32Of(wire, at, end int) (uint32, int) {
	if wire != wireI32 {
		return 0, r.fail(at, reasonWire)
	}
	if end-at < 4 {
		return 0, r.fail(at, reasonCut)
	}
	return binary.LittleEndian.Uint32(r.buf[at:]), at + 4
}

// skip passes over a field that is not known.
func (r *reader) skip(wire, at, end int) int {
	switch wire {
	case wireVarint:
		_, at = r.varint(at, end)
	case wireI64:
		_, at = r.fixed64Of(wire, at, end)
	case wireLen:
		_, at = r.length(at, end)
	case wireI32:
		_, at = r.fixed32Of(wire, at, end)
	case wireStart:
		return r.fail(at, reasonGroup)
	case wireEnd:
		return r.fail(at, "the end of a group that did not begin")
	default:
		return r.fail(at, "a wire type that does not exist")
	}
	return at
}

// shape says, for the fields of a message of which nothing is kept, what they are: a wire type, or a message in turn.
type shape map[int32]part

type part struct {
	wire    int
	message shape
	attr    bool // a KeyValue
	id      int  // length of an identity, which may also be empty
}

var (
	lenPart, varintPart = part{wire: wireLen}, part{wire: wireVarint}
	attrPart            = part{wire: wireLen, attr: true}
	entityShape         = shape{1: lenPart, 2: lenPart, 3: lenPart, 4: lenPart}
	scopeShape          = shape{1: lenPart, 2: lenPart, 3: attrPart, 4: varintPart}
	linkShape           = shape{
		1: {wire: wireLen, id: 16}, 2: {wire: wireLen, id: 8}, 3: lenPart, 4: attrPart, 5: varintPart, 6: {wire: wireI32},
	}
)

// check passes over a message of which nothing is kept, and refuses it where it is not what it should be.
func (r *reader) check(s shape, at, end int) int {
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		p, known := s[field]
		if known && wire != p.wire {
			return r.fail(next, reasonWire)
		}
		if !known || wire != wireLen {
			if at = r.skip(wire, next, end); at < 0 {
				return -1
			}
			continue
		}
		from, to := r.length(next, end)
		if to < 0 {
			return -1
		}
		switch {
		case p.attr:
			if r.attr(nil, from, to, 0) < 0 {
				return -1
			}
		case p.message != nil:
			if r.check(p.message, from, to) < 0 {
				return -1
			}
		case p.id > 0 && to != from && to-from != p.id:
			return r.fail(from, "an identity of another length than it should have")
		}
		at = to
	}
	return at
}

func (r *reader) message() int {
	at, end := 0, len(r.buf)
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		if field != 1 {
			if at = r.skip(wire, next, end); at < 0 {
				return -1
			}
			continue
		}
		from, to := r.lengthOf(wire, next, end)
		if to < 0 || r.resourceSpans(from, to) < 0 {
			return -1
		}
		at = to
	}
	return at
}

// oldScopeSpans is the field in which senders of before 2022 put what is now in field 2. It counts only where field 2 is
// absent.
const oldScopeSpans = 1000

// resourceSpans goes twice over its own few fields, because the resource need not come first.
func (r *reader) resourceSpans(start, end int) int {
	res := &r.b.res
	res.reset()
	scopes := int32(oldScopeSpans)
	for at := start; at < end; {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		var from int
		switch field {
		case 1:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.resource(from, at) < 0 {
				return -1
			}
		case 2:
			scopes = 2
			_, at = r.lengthOf(wire, next, end)
		case 3, oldScopeSpans:
			_, at = r.lengthOf(wire, next, end)
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	source := r.b.source()
	for at := start; at < end; {
		field, wire, next := r.tag(at, end)
		if field != 2 && field != oldScopeSpans {
			at = r.skip(wire, next, end)
			continue
		}
		from, to := r.length(next, end)
		if r.scopeSpans(from, to, source, field == scopes) < 0 {
			return -1
		}
		at = to
	}
	return end
}

func (r *reader) resource(at, end int) int {
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		var from int
		switch field {
		case 1:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.attr(&r.b.res, from, at, 0) < 0 {
				return -1
			}
		case 2:
			_, at = r.varintOf(wire, next, end)
		case 3:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.check(entityShape, from, at) < 0 {
				return -1
			}
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	return at
}

func (r *reader) scopeSpans(at, end int, source *event.Source, keep bool) int {
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		var from int
		switch field {
		case 1:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.check(scopeShape, from, at) < 0 {
				return -1
			}
		case 2:
			if from, at = r.lengthOf(wire, next, end); at < 0 {
				return -1
			}
			if r.b.span.reset(); r.span(&r.b.span, from, at) < 0 {
				return -1
			}
			if r.b.count++; r.b.count > MaxSpans {
				return r.beyond(from, limitSpans)
			}
			if keep {
				if r.b.add(source); r.b.over {
					return r.beyond(from, limitEvents)
				}
			}
		case 3:
			_, at = r.lengthOf(wire, next, end)
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	return at
}

// identity returns an id's bytes, read as big-endian numbers: the last eight, and those before.
func (r *reader) identity(wire, at, end, size int) (high, low uint64, next int) {
	from, to := r.lengthOf(wire, at, end)
	switch {
	case to < 0:
		return 0, 0, -1
	case from == to:
		return 0, 0, to
	case to-from != size:
		return 0, 0, r.fail(from, "an identity of another length than it should have")
	case size == 16:
		high = binary.BigEndian.Uint64(r.buf[from:])
	}
	return high, binary.BigEndian.Uint64(r.buf[to-8:]), to
}

func (r *reader) span(s *span, at, end int) int {
	for at < end {
		if next := r.plainField(s, at, end); next > 0 {
			at = next
			continue
		}
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		var from int
		var n uint64
		switch field {
		case 9:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.attr(&s.attrs, from, at, 0) < 0 {
				return -1
			}
		case 1:
			var high, low uint64
			high, low, at = r.identity(wire, next, end, 16)
			s.setTrace(high, low)
		case 2:
			_, s.id, at = r.identity(wire, next, end, 8)
		case 4:
			_, s.parent, at = r.identity(wire, next, end, 8)
		case 5:
			if from, at = r.lengthOf(wire, next, end); at >= 0 {
				s.name = r.text(from, at)
			}
		case 6:
			n, at = r.varintOf(wire, next, end)
			s.kind = int32(n)
		case 7:
			s.start, at = r.fixed64Of(wire, next, end)
		case 8:
			s.end, at = r.fixed64Of(wire, next, end)
		case 11:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.spanEvent(s, from, at) < 0 {
				return -1
			}
		case 15:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.status(s, from, at) < 0 {
				return -1
			}
		case 13:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.check(linkShape, from, at) < 0 {
				return -1
			}
		case 16:
			s.flags, at = r.fixed32Of(wire, next, end)
		case 10, 12, 14:
			_, at = r.varintOf(wire, next, end)
		case 3:
			_, at = r.lengthOf(wire, next, end)
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	return at
}

func (r *reader) spanEvent(s *span, at, end int) int {
	exc := &r.b.exc
	exc.reset()
	name := ""
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		var from int
		switch field {
		case 1:
			_, at = r.fixed64Of(wire, next, end)
		case 2:
			if from, at = r.lengthOf(wire, next, end); at >= 0 {
				name = r.text(from, at)
			}
		case 3:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.attr(exc, from, at, 0) < 0 {
				return -1
			}
		case 4:
			_, at = r.varintOf(wire, next, end)
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	s.exception(name, exc)
	return at
}

func (r *reader) status(s *span, at, end int) int {
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		switch field {
		case 2:
			_, at = r.lengthOf(wire, next, end)
		case 3:
			var n uint64
			n, at = r.varintOf(wire, next, end)
			s.status = int32(n)
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	return at
}

// plainField reads those fields of a span that every one has, in the form in which every encoder writes them; 0 for any
// other, which span then reads. It only saves time.
func (r *reader) plainField(s *span, at, end int) int {
	buf := r.buf[at:end]
	switch buf[0] {
	case 9<<3 | wireLen:
		return r.plainAttr(&s.attrs, at+1, end)
	case 1<<3 | wireLen:
		if len(buf) >= 18 && buf[1] == 16 {
			s.setTrace(binary.BigEndian.Uint64(buf[2:]), binary.BigEndian.Uint64(buf[10:]))
			return at + 18
		}
	case 2<<3 | wireLen:
		if len(buf) >= 10 && buf[1] == 8 {
			s.id = binary.BigEndian.Uint64(buf[2:])
			return at + 10
		}
	case 4<<3 | wireLen:
		if len(buf) >= 10 && buf[1] == 8 {
			s.parent = binary.BigEndian.Uint64(buf[2:])
			return at + 10
		}
	case 6<<3 | wireVarint:
		if len(buf) >= 2 && buf[1] < 0x80 {
			s.kind = int32(buf[1])
			return at + 2
		}
	case 7<<3 | wireI64:
		if len(buf) >= 9 {
			s.start = binary.LittleEndian.Uint64(buf[1:])
			return at + 9
		}
	case 8<<3 | wireI64:
		if len(buf) >= 9 {
			s.end = binary.LittleEndian.Uint64(buf[1:])
			return at + 9
		}
	}
	return 0
}

// plainAttr reads a KeyValue, from its length on, in the form in which encoders write nearly all of them: a key and a
// value, in this order (the SDKs) or the other (the Collector), the value a text or an integer, lengths below 16,384,
// nothing else. It returns 0 for any other, which attr then reads.
func (r *reader) plainAttr(a *attrs, at, end int) int {
	buf := r.buf[:end]
	stop, at := shortLength(buf, at)
	if stop-at < 4 {
		return 0
	}
	buf = buf[:stop]
	keyEnd, keyAt := shortLength(buf, at+1)
	if keyEnd == 0 || keyEnd+2 > stop {
		return 0
	}
	valueEnd, valueAt := shortLength(buf, keyEnd+1)
	if valueEnd != stop {
		return 0
	}
	switch {
	case buf[at] == 1<<3|wireLen && buf[keyEnd] == 2<<3|wireLen:
	case buf[at] == 2<<3|wireLen && buf[keyEnd] == 1<<3|wireLen:
		keyAt, keyEnd, valueAt, valueEnd = valueAt, valueEnd, keyAt, keyEnd
	default:
		return 0
	}
	if valueEnd-valueAt < 2 {
		return 0
	}
	var v value
	switch buf[valueAt] {
	case 1<<3 | wireLen:
		textEnd, textAt := shortLength(buf[:valueEnd], valueAt+1)
		if textEnd != valueEnd {
			return 0
		}
		v.kind, v.str = text, r.text(textAt, textEnd)
	case 3<<3 | wireVarint:
		n, width := binary.Uvarint(buf[valueAt+1 : valueEnd])
		if width <= 0 || valueAt+1+width != valueEnd {
			return 0
		}
		v.kind, v.n = integer, int64(n)
	default:
		return 0
	}
	a.set(r.text(keyAt, keyEnd), &v)
	return stop
}

// shortLength reads a length of one or two bytes and returns where the field ends and begins; 0 for a longer one, or one
// that reaches beyond buf.
func shortLength(buf []byte, at int) (end, begin int) {
	if at >= len(buf) {
		return 0, 0
	}
	n := int(buf[at])
	at++
	if n >= 0x80 {
		if at == len(buf) || buf[at] >= 0x80 {
			return 0, 0
		}
		n = n&0x7f | int(buf[at])<<7
		at++
	}
	if at+n > len(buf) {
		return 0, 0
	}
	return at + n, at
}

// attr reads a KeyValue into a, or only checks it where a is nil. depth is how many lists and maps it lies in.
func (r *reader) attr(a *attrs, at, end, depth int) int {
	var v value
	key := ""
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		var from int
		switch field {
		case 1:
			if from, at = r.lengthOf(wire, next, end); at >= 0 {
				key = r.text(from, at)
			}
		case 2:
			if from, at = r.lengthOf(wire, next, end); at < 0 || r.value(&v, from, at, depth) < 0 {
				return -1
			}
		case 3:
			_, at = r.varintOf(wire, next, end)
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	if a != nil {
		a.set(key, &v)
	}
	return at
}

func (r *reader) value(v *value, at, end, depth int) int {
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		var from int
		var n uint64
		switch field {
		case 1:
			if from, at = r.lengthOf(wire, next, end); at >= 0 {
				*v = value{kind: text, str: r.text(from, at)}
			}
		case 2:
			if n, at = r.varintOf(wire, next, end); n != 0 {
				n = 1
			}
			*v = value{kind: integer, n: int64(n)}
		case 3:
			n, at = r.varintOf(wire, next, end)
			*v = value{kind: integer, n: int64(n)}
		case 4:
			_, at = r.fixed64Of(wire, next, end)
			*v = value{}
		case 5, 6:
			if from, at = r.lengthOf(wire, next, end); at < 0 {
				return -1
			}
			if depth >= MaxDepth {
				return r.beyond(from, limitDepth)
			}
			*v = value{}
			if r.elements(v, field == 5, from, at, depth+1) < 0 {
				return -1
			}
		case 7:
			_, at = r.lengthOf(wire, next, end)
			*v = value{}
		case 8:
			_, at = r.varintOf(wire, next, end)
			*v = value{}
		default:
			at = r.skip(wire, next, end)
		}
		if at < 0 {
			return -1
		}
	}
	return at
}

// elements reads a list (of values) or a map (of KeyValues), which both have them in field 1.
func (r *reader) elements(v *value, isList bool, at, end, depth int) int {
	if isList {
		v.kind = list
	}
	for at < end {
		field, wire, next := r.tag(at, end)
		if next < 0 {
			return -1
		}
		if field != 1 {
			if at = r.skip(wire, next, end); at < 0 {
				return -1
			}
			continue
		}
		from, to := r.lengthOf(wire, next, end)
		if to < 0 {
			return -1
		}
		at = to
		if !isList {
			if r.attr(nil, from, to, depth) < 0 {
				return -1
			}
			continue
		}
		var element value
		if r.value(&element, from, to, depth) < 0 {
			return -1
		}
		if element.kind == text {
			v.element(element.str)
		}
	}
	return at
}
