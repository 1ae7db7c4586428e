package capture

import (
	"encoding/binary"
	"strings"
	"unsafe"

	"github.com/demarc-dev/demarc/event"
)

// Limits of the dictionaries that the records of one segment share. A writer starts a new segment when one is full, a
// reader refuses a record that would exceed twice as much.
const (
	maxTexts     = 1 << 16
	maxTextBytes = 4 << 20
	maxHashes    = 1 << 16
	// maxDictText is the longest text that enters the dictionary; longer ones stand where they occur.
	maxDictText = 64 << 10
)

// References into a dictionary, as they stand in a column. Those from refFirst on are the number of an entry.
const (
	refLiteral = 0 // the value follows
	refZero    = 1 // the empty text, the hash that is not known
	refFirst   = 2
)

// seenSlots is the size of the filters that keep values seen once out of the dictionaries.
const seenSlots = 1 << 15

// texts numbers the texts of one segment. A text enters at its second occurrence, so that values which never repeat
// do not fill it. Memory: at most maxTextBytes of text, about 5 MB of tables.
type texts struct {
	ids   map[string]ownText
	bytes int
	fresh []string // those of the record being built and of the one before it
	first uint32   // number of fresh[0]
	older int      // how many of fresh are of the record before
	seen  []uint64 // fingerprints of texts seen once, by slot
	// recent finds the number of a text by the address of its bytes: those of a recorder's table keep theirs. What lies
	// there may change once the caller has its memory back, so in another call the bytes are compared with own.
	recent [1 << recentBits]recentText
	call   uint32
}

const recentBits = 11

type recentText struct {
	data uintptr // a pointer would keep the caller's memory alive
	own  string  // the dictionary's copy
	call uint32
	id   uint32
}

func newTexts() *texts {
	return &texts{ids: make(map[string]ownText), seen: make([]uint64, seenSlots)}
}

// reset empties the dictionary for a new segment. The filter stays: what repeated before will repeat.
func (d *texts) reset() {
	clear(d.ids)
	clear(d.recent[:])
	clear(d.fresh)
	d.fresh, d.first, d.older, d.bytes = d.fresh[:0], 0, 0, 0
	d.call++
}

func (d *texts) full() bool { return len(d.ids) >= maxTexts || d.bytes >= maxTextBytes }

// append writes a reference to s, or s itself where it is not in the dictionary.
func (d *texts) append(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, refZero)
	}
	data := uintptr(unsafe.Pointer(unsafe.StringData(s)))
	r := &d.recent[(uint64(data)+uint64(len(s)))*0x9E3779B97F4A7C15>>(64-recentBits)]
	if r.data == data && len(r.own) == len(s) && (r.call == d.call || r.own == s) {
		r.call = d.call
		return binary.AppendUvarint(dst, uint64(r.id))
	}
	if e, ok := d.entry(s); ok {
		*r = recentText{data, e.own, d.call, e.id}
		return binary.AppendUvarint(dst, uint64(e.id))
	}
	dst = append(dst, refLiteral)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// ownText is an entry of the dictionary.
type ownText struct {
	own string
	id  uint32
}

func (d *texts) entry(s string) (ownText, bool) {
	if len(s) > maxDictText {
		return ownText{}, false
	}
	if e, ok := d.ids[s]; ok {
		return e, true
	}
	if d.full() {
		return ownText{}, false
	}
	f := fingerprint(s)
	if slot := &d.seen[f%seenSlots]; *slot != f {
		*slot = f
		return ownText{}, false
	}
	s = strings.Clone(s)
	e := ownText{s, uint32(len(d.ids)) + refFirst}
	d.ids[s] = e
	d.fresh = append(d.fresh, s)
	d.bytes += len(s)
	return e, true
}

// define writes the entries that are new since the record before the last, and begins the next record. Writing each
// entry in two records means that one damaged record takes none of them along.
func (d *texts) define(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(d.first))
	dst = binary.AppendUvarint(dst, uint64(len(d.fresh)))
	for _, s := range d.fresh {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
	}
	for _, s := range d.fresh {
		dst = append(dst, s...)
	}
	n := copy(d.fresh, d.fresh[d.older:])
	clear(d.fresh[n:])
	d.first += uint32(d.older)
	d.fresh, d.older = d.fresh[:n], n
	return dst
}

// fingerprint mixes the length and 24 bytes of a text. Two texts with the same one only make one of them enter the
// dictionary an occurrence early.
func fingerprint(s string) uint64 {
	const m = 0x9E3779B97F4A7C15
	h := uint64(len(s)) * m
	if len(s) < 8 {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * m
		}
		return h ^ h>>29
	}
	for _, at := range [3]int{0, (len(s) - 8) / 2, len(s) - 8} {
		h = (h ^ binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s), len(s))[at:])) * m
		h ^= h >> 29
	}
	return h
}

// hashes numbers the hashes of one segment, as texts does with texts. Memory: about 2.5 MB.
type hashes struct {
	table []hashSlot // open addressing, half full at most
	n     int
	fresh []event.Hash
	first uint32
	older int
	seen  []event.Hash
}

type hashSlot struct {
	hash event.Hash
	id   uint32
}

func newHashes() *hashes {
	return &hashes{table: make([]hashSlot, 2*maxHashes), seen: make([]event.Hash, seenSlots)}
}

func (d *hashes) reset() {
	clear(d.table)
	d.n, d.fresh, d.first, d.older = 0, d.fresh[:0], 0, 0
}

func (d *hashes) full() bool { return d.n >= maxHashes }

func (d *hashes) append(dst []byte, h event.Hash) []byte {
	if h == 0 {
		return append(dst, refZero)
	}
	mixed := uint64(h) * 0x9E3779B97F4A7C15
	at := mixed >> 47 // the top 17 bits, as many as the table has
	for ; d.table[at].hash != 0; at = (at + 1) % uint64(len(d.table)) {
		if d.table[at].hash == h {
			return binary.AppendUvarint(dst, uint64(d.table[at].id))
		}
	}
	if slot := &d.seen[mixed%seenSlots]; *slot != h || d.full() {
		*slot = h
		dst = append(dst, refLiteral)
		return binary.LittleEndian.AppendUint64(dst, uint64(h))
	}
	id := uint32(d.n) + refFirst
	d.table[at] = hashSlot{h, id}
	d.n++
	d.fresh = append(d.fresh, h)
	return binary.AppendUvarint(dst, uint64(id))
}

func (d *hashes) define(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(d.first))
	dst = binary.AppendUvarint(dst, uint64(len(d.fresh)))
	for _, h := range d.fresh {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(h))
	}
	n := copy(d.fresh, d.fresh[d.older:])
	d.first += uint32(d.older)
	d.fresh, d.older = d.fresh[:n], n
	return dst
}

// entries is a dictionary as the reader rebuilds it. An entry may be missing, after a run of damaged records.
type entries[V any] struct {
	all   []entry[V]
	limit int
}

type entry[V any] struct {
	v     V
	known bool
}

// place makes room for n entries from number first on and returns those; nil if they are more than may be.
func (d *entries[V]) place(first, n uint64) ([]entry[V], bool) {
	if first > uint64(d.limit) || n > uint64(d.limit)-first {
		return nil, false
	}
	if need := int(first + n); need > len(d.all) {
		d.all = append(d.all, make([]entry[V], need-len(d.all))...)
	}
	return d.all[first : first+n], true
}

func (d *entries[V]) get(ref uint64) (V, bool) {
	if i := ref - refFirst; i < uint64(len(d.all)) && d.all[i].known {
		return d.all[i].v, true
	}
	var none V
	return none, false
}
