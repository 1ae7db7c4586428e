package capture

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// codec is how values of one Go type stand in a column. put appends the values, at bytes into each of the rows, of those
// rows that have one; first is the number of the first row in its table. get fills the places of those rows that have
// one. Both take many rows at once and a place instead of a function, because encoder and decoder spend their time here:
// called for each value, they would take twice as long.
type codec[V any] struct {
	put func(e *encoder, c *column, rows []unsafe.Pointer, at uintptr, first int)
	get func(d *decoder, c *columnReader, to cells)
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

// getEach makes a get of how one value is read.
func getEach[V any](get func(*decoder, *columnReader, *V)) func(*decoder, *columnReader, cells) {
	return func(d *decoder, c *columnReader, to cells) {
		for row := to.from; row < to.to; row++ {
			if c.has(row) {
				get(d, c, (*V)(to.at(row)))
			}
		}
	}
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
	get: func(d *decoder, c *columnReader, to cells) {
		b, known := c.b, d.texts.all
		for row := to.from; row < to.to; row++ {
			if !c.has(row) {
				continue
			}
			ref, n := uvarint(b)
			if n <= 0 {
				c.fail()
				return
			}
			b = b[n:]
			if i := ref - refFirst; i < uint64(len(known)) && known[i].known {
				*(*string)(to.at(row)) = known[i].v
				continue
			}
			c.b = b
			*(*string)(to.at(row)) = d.textOf(&c.cursor, ref)
			b = c.b
		}
		c.b = b
	},
}

func knownInt(v *int64) bool { return *v != 0 }

var intCodec = codec[int64]{
	put: putEach(knownInt, func(_ *encoder, c *column, v *int64) { c.data = binary.AppendUvarint(c.data, zigzag(*v)) }),
	get: getEach(func(_ *decoder, c *columnReader, v *int64) { *v = unzigzag(c.uvarint()) }),
}

// timeCodec is for integers that are near the one before.
var timeCodec = codec[int64]{
	put: putEach(knownInt, func(_ *encoder, c *column, v *int64) { c.appendDelta(uint64(*v)) }),
	get: getEach(func(_ *decoder, c *columnReader, v *int64) { *v = int64(c.delta()) }),
}

var uintCodec = codec[uint64]{
	put: putEach(func(v *uint64) bool { return *v != 0 }, func(_ *encoder, c *column, v *uint64) { c.appendDelta(*v) }),
	get: getEach(func(_ *decoder, c *columnReader, v *uint64) { *v = c.delta() }),
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
	get: func(_ *decoder, c *columnReader, to cells) {
		b := c.b // in a register: through c, each value would wait for the one before
		for row := to.from; row < to.to; row++ {
			if !c.has(row) {
				continue
			}
			v, n := uvarint(b)
			if n <= 0 {
				c.fail()
				return
			}
			b = b[n:]
			*(*event.Opt[int64])(to.at(row)) = event.Some(unzigzag(v))
		}
		c.b = b
	},
}

var optBoolCodec = codec[event.Opt[bool]]{
	put: putEach(func(v *event.Opt[bool]) bool { return v.Known }, func(_ *encoder, c *column, v *event.Opt[bool]) {
		b := byte(0)
		if v.V {
			b = 1
		}
		c.data = append(c.data, b)
	}),
	get: getEach(func(_ *decoder, c *columnReader, v *event.Opt[bool]) { *v = event.Some(c.uvarint() != 0) }),
}

var optFloatCodec = codec[event.Opt[float64]]{
	put: putEach(func(v *event.Opt[float64]) bool { return v.Known }, func(_ *encoder, c *column, v *event.Opt[float64]) {
		c.data = binary.LittleEndian.AppendUint64(c.data, math.Float64bits(v.V))
	}),
	get: getEach(func(_ *decoder, c *columnReader, v *event.Opt[float64]) {
		*v = event.Some(math.Float64frombits(c.uint64()))
	}),
}

var hashCodec = codec[event.Hash]{
	put: putEach(func(v *event.Hash) bool { return *v != 0 }, func(e *encoder, c *column, v *event.Hash) {
		c.data = e.hashes.append(c.data, *v)
	}),
	get: getEach(func(d *decoder, c *columnReader, v *event.Hash) { *v = d.hash(&c.cursor) }),
}
