package otlp

import (
	"encoding/binary"

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
