package recorder

import (
	"encoding/binary"
	"math"
)

// enc writes marshal version 2 as CPython does, for tests and benchmarks.
type enc struct{ b []byte }

// ref is the number of a text in the table; hb are raw bytes (hashes).
type (
	ref int
	hb  []byte
	tup []any
	lst []any
)

func (e *enc) count(n int) { e.b = binary.LittleEndian.AppendUint32(e.b, uint32(int32(n))) }

func (e *enc) value(v any) *enc {
	switch v := v.(type) {
	case nil:
		e.b = append(e.b, 'N')
	case bool:
		if v {
			e.b = append(e.b, 'T')
		} else {
			e.b = append(e.b, 'F')
		}
	case ref:
		e.integer(int64(v))
	case int:
		e.integer(int64(v))
	case int64:
		e.integer(v)
	case uint64:
		e.long(v, false)
	case float64:
		e.b = binary.LittleEndian.AppendUint64(append(e.b, 'g'), math.Float64bits(v))
	case string:
		e.b = append(e.b, 'u')
		e.count(len(v))
		e.b = append(e.b, v...)
	case hb:
		e.b = append(e.b, 's')
		e.count(len(v))
		e.b = append(e.b, v...)
	case tup:
		e.seq('(', v)
	case lst:
		e.seq('[', v)
	default:
		panic("no such type in marshal")
	}
	return e
}

func (e *enc) seq(tag byte, list []any) {
	e.b = append(e.b, tag)
	e.count(len(list))
	for _, v := range list {
		e.value(v)
	}
}

func (e *enc) integer(v int64) {
	switch {
	case v >= math.MinInt32 && v <= math.MaxInt32:
		e.b = binary.LittleEndian.AppendUint32(append(e.b, 'i'), uint32(int32(v)))
	case v < 0:
		e.long(uint64(-v), true)
	default:
		e.long(uint64(v), false)
	}
}

func (e *enc) long(m uint64, negative bool) {
	var digits []uint16
	for ; m > 0; m >>= 15 {
		digits = append(digits, uint16(m&0x7fff))
	}
	n := len(digits)
	if negative {
		n = -n
	}
	e.b = append(e.b, 'l')
	e.count(n)
	for _, d := range digits {
		e.b = binary.LittleEndian.AppendUint16(e.b, d)
	}
}

// marshal returns the payload of a batch.
func marshal(epoch int, defs []string, events ...any) []byte {
	list := make(lst, len(defs))
	for i, d := range defs {
		list[i] = d
	}
	return (&enc{}).value(tup{epoch, list, lst(events)}).b
}

// frame puts a head before a payload.
func frame(kind byte, payload []byte) []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), kind), payload...)
}
