package otlp

import "encoding/binary"

// The forms in which encoders write nearly everything, read in one step each. What has another form is left to wire.go.

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
