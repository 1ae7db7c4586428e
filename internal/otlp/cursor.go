package otlp

import (
	"encoding/binary"
	"unsafe"
)

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
