package trace

import "math"

// column is what stands in a column of a trace.
type column uint8

const (
	otherColumn column = iota
	keyColumn
	timeColumn
	sizeColumn
	numberColumn // a size that is not asked for: it must be a number
	ttlColumn
)

// maxQuick is how many bytes of a text rows looks at before it leaves the line to others.
const maxQuick = 1 << 10

// rows reads lines that look as most do: one separator between the columns, decimal numbers without blanks and quotes, keys that
// are numbers or short texts. It ends at one that does not, or that is wrong, or near the end of the buffer; that one is left
// for who reads any line, and says what is wrong with it.
func (r *reader) rows(columns []column, separator byte) error {
	for {
		buf := r.buf[:r.end]
		for len(r.batch.Keys) < cap(r.batch.Keys) {
			w := row{at: r.last}
			after := w.read(buf, r.start, columns, separator)
			if after == 0 || after-r.start > MaxLine || w.at < r.last && r.opt.Times || w.size > math.MaxUint32 && r.batch.Sizes != nil {
				return nil
			}
			if r.info.Times {
				r.last = w.at
				r.batch.At = append(r.batch.At, w.at)
			}
			if r.batch.Sizes != nil {
				r.batch.Sizes = append(r.batch.Sizes, uint32(w.size))
			}
			if r.batch.TTL != nil {
				r.batch.TTL = append(r.batch.TTL, w.ttl)
			}
			r.batch.Keys = append(r.batch.Keys, w.key)
			r.start = after
			r.line++
		}
		if err := r.flush(); err != nil {
			return err
		}
	}
}

// row is a line.
type row struct {
	key, size uint64
	at, ttl   int64
}

// read reads the line at p and returns where the next one begins; 0 if it is none of those that rows is for.
func (w *row) read(buf []byte, p int, columns []column, separator byte) int {
	for i, c := range columns {
		if i > 0 {
			if buf[p] != separator {
				return 0
			}
			p++
		}
		if p+2*numberWords+2 > len(buf) {
			return 0
		}
		switch c {
		case keyColumn:
			v, digits := number(buf[p : p+numberWords])
			end := p + digits
			if next := buf[end]; digits > 0 && digits <= 20 && (next == separator || next < ' ') && (buf[p] != '0' || digits == 1) && overflown(v, digits, buf[p]) == 0 {
				w.key, p = v, end
				break
			}
			if end = textEnd(buf, p, separator); end == p {
				return 0
			}
			w.key, p = keyOf(buf[p:end]), end
		case timeColumn, numberColumn, ttlColumn:
			if c == ttlColumn && (buf[p] == separator || buf[p] == '\n') {
				break // none
			}
			ns, end := nanoseconds(buf, p)
			if end == 0 {
				return 0
			}
			switch p = end; c {
			case timeColumn:
				w.at = ns
			case ttlColumn:
				w.ttl = ns
			}
		case sizeColumn:
			v, digits := number(buf[p : p+numberWords])
			if digits == 0 || digits > 10 || buf[p] == '0' && digits > 1 {
				return 0
			}
			w.size = v
			p += digits
		default:
			end := textEnd(buf, p, separator)
			if end == p && buf[p] != separator && buf[p] != '\n' {
				return 0
			}
			p = end
		}
		if p == len(buf) {
			return 0
		}
	}
	if buf[p] == '\r' && p+1 < len(buf) {
		p++
	}
	if buf[p] != '\n' {
		return 0
	}
	return p + 1
}

// textEnd is where a text without quotes around it ends: before a separator or what is no text. It is p where that is not for rows to tell.
func textEnd(buf []byte, p int, separator byte) int {
	if buf[p] == '"' {
		return p
	}
	limit := min(len(buf), p+maxQuick)
	for end := p; end < limit; end++ {
		if c := buf[end]; c == separator || c < ' ' {
			return end
		}
	}
	return p
}

// nanoseconds reads what seconds does, up to nine decimals, and returns where it ends; 0 if it is none of that.
func nanoseconds(buf []byte, p int) (ns int64, end int) {
	v, digits := number(buf[p : p+numberWords])
	if digits == 0 || digits > 18 || v > maxSeconds {
		return 0, 0
	}
	ns = int64(v) * 1_000_000_000
	if p += digits; buf[p] != '.' {
		return ns, p
	}
	v, digits = number(buf[p+1 : p+1+numberWords])
	if digits == 0 || digits > 9 {
		return 0, 0
	}
	return ns + int64(v*powers[9-digits]), p + 1 + digits
}
