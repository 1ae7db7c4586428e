package capture

import (
	"encoding/binary"

	"github.com/demarc-dev/demarc/event"
)

// listCodec is a list as its length and its elements.
func listCodec[E any](put func(*encoder, []byte, []E) []byte, get func(*decoder, *cursor, *E),
	arena func(*decoder) *arena[E]) codec[[]E] {
	return codec[[]E]{
		put: putEach(func(v *[]E) bool { return len(*v) != 0 }, func(e *encoder, c *column, v *[]E) {
			c.data = put(e, binary.AppendUvarint(c.data, uint64(len(*v))), *v)
		}),
		get: getEach(func(d *decoder, c *columnReader, v *[]E) {
			n := c.count()
			if d.elements += n; d.elements > maxElements {
				c.fail()
				return
			}
			list := arena(d).take(n)
			for i := range list {
				get(d, &c.cursor, &list[i])
			}
			*v = list
		}),
	}
}

// arena gives out short slices of one large one, which is used again for the next record.
type arena[E any] struct {
	buf  []E
	used int
}

func (a *arena[E]) take(n int) []E {
	if n > len(a.buf)-a.used {
		a.buf = make([]E, max(n, min(2*len(a.buf), 1<<16), 1024)) // slices given out keep the old one alive
		a.used = 0
	}
	s := a.buf[a.used : a.used+n : a.used+n]
	a.used += n
	return s
}

// reset takes everything back. An arena that one huge record blew up is let go.
func (a *arena[E]) reset() {
	if a.used = 0; len(a.buf) > 1<<16 {
		a.buf = nil
	}
}

var (
	hashesCodec = listCodec(
		func(e *encoder, b []byte, list []event.Hash) []byte {
			for _, v := range list {
				b = e.hashes.append(b, v)
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.Hash) { *v = d.hash(c) },
		func(d *decoder) *arena[event.Hash] { return &d.hashLists })
	textsCodec = listCodec(
		func(e *encoder, b []byte, list []string) []byte {
			for _, v := range list {
				b = e.texts.append(b, v)
			}
			return b
		},
		func(d *decoder, c *cursor, v *string) { *v = d.text(c) },
		func(d *decoder) *arena[string] { return &d.textLists })
	namedCodec = listCodec(
		func(e *encoder, b []byte, list []event.NamedHash) []byte {
			for i := range list {
				b = e.hashes.append(e.texts.append(b, list[i].Name), list[i].Hash)
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.NamedHash) { v.Name, v.Hash = d.text(c), d.hash(c) },
		func(d *decoder) *arena[event.NamedHash] { return &d.namedLists })
	pairsCodec = listCodec(
		func(e *encoder, b []byte, list []event.Pair) []byte {
			for i := range list {
				b = e.texts.append(e.texts.append(b, list[i].Name), list[i].Value)
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.Pair) { v.Name, v.Value = d.text(c), d.text(c) },
		func(d *decoder) *arena[event.Pair] { return &d.pairLists })
	countsCodec = listCodec(
		func(e *encoder, b []byte, list []event.Count) []byte {
			for i := range list {
				b = binary.AppendUvarint(e.texts.append(b, list[i].Name), zigzag(list[i].N))
			}
			return b
		},
		func(d *decoder, c *cursor, v *event.Count) { v.Name, v.N = d.text(c), unzigzag(c.uvarint()) },
		func(d *decoder) *arena[event.Count] { return &d.countLists })
)
