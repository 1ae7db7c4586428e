package capture

import (
	"errors"
	"fmt"

	"github.com/demarc-dev/demarc/event"
)

// decoder reads the records of a segment in order. Its memory: the dictionaries (at most twice the writer's), and the
// events of one record.
type decoder struct {
	texts     entries[string]
	textBytes int
	hashes    entries[event.Hash]
	lost      bool // a reference to an entry whose definition was damaged

	common  tableOf[event.Event]
	tables  []table
	sources []*event.Source
	nums    map[*event.Source]int
	seqs    []uint64
	known   map[event.Source]*event.Source // one pointer for equal sources, across records
	last    *event.Source
	lastNum int

	ids        idTexts
	elements   int
	hashLists  arena[event.Hash]
	textLists  arena[string]
	namedLists arena[event.NamedHash]
	pairLists  arena[event.Pair]
	countLists arena[event.Count]
}

func newDecoder() *decoder {
	d := &decoder{common: tableOf[event.Event]{fields: commonFields}, tables: newTables(), nums: map[*event.Source]int{}, known: map[event.Source]*event.Source{}}
	d.segment()
	return d
}

// only leaves all fields out but those named, by type; event.Other stands for the common ones. Those that others are
// decoded from (dur, at and source) are always there.
func (d *decoder) only(want Fields) {
	d.common.only(append([]string{"dur", "at", "source"}, want[event.Other]...))
	for t, table := range d.tables {
		if t != int(event.Other) {
			table.only(want[event.Type(t)])
		}
	}
}

// segment forgets the dictionaries: a new segment begins.
func (d *decoder) segment() {
	d.texts = entries[string]{limit: 2 * maxTexts, all: d.texts.all[:0]}
	d.hashes = entries[event.Hash]{limit: 2 * maxHashes, all: d.hashes.all[:0]}
	d.textBytes = 0
}

var errRecord = errors.New("its contents do not fit together")

// errLost means that a record is whole but leans on damaged ones before it.
var errLost = errors.New("it refers to definitions of a damaged record before it")

// record decodes one record of n events, already decompressed. The events, and the lists they point to, are used
// again by the next call; texts and sources stay valid. The dictionaries hold what the record defined even if it
// failed later.
func (d *decoder) record(raw []byte, n int) ([]event.Event, error) {
	if n < 1 || n > maxEvents {
		return nil, fmt.Errorf("%d events in one record, 1 to %d are possible", n, maxEvents)
	}
	c := &cursor{b: raw}
	d.lost, d.elements = false, 0
	d.hashLists.reset()
	d.textLists.reset()
	d.namedLists.reset()
	d.pairLists.reset()
	d.countLists.reset()
	d.defineTexts(c)
	d.defineHashes(c)
	d.readSources(c, n)
	types := c.bytes(uint64(n))
	if types == nil || c.bad {
		return nil, errRecord
	}
	var counts [256]int
	for _, t := range types {
		counts[t]++
		if int(t) >= len(d.tables) {
			return nil, errRecord
		}
	}
	d.common.open(c, n)
	for t, table := range d.tables {
		if t != int(event.Other) && counts[t] > 0 {
			table.open(c, counts[t])
		}
	}
	if c.bad || len(c.b) != 0 {
		return nil, errRecord
	}
	if !d.fill(types, counts[:len(d.tables)]) {
		return nil, errRecord
	}
	if d.lost {
		return nil, errLost
	}
	return d.common.slab, nil
}

// fillRows is how many events are filled, column by column, before the next ones: so few that they stay in the processor's
// nearest cache.
const fillRows = 128

// fill reads the values of all columns that were found, and ties each event to its row of its type's table.
func (d *decoder) fill(types []byte, counts []int) bool {
	for from := 0; from < len(types); from += fillRows {
		to := min(from+fillRows, len(types))
		if !d.common.fill(d, to) {
			return false
		}
		for i, t := range types[from:to] {
			if e := &d.common.slab[from+i]; t != byte(event.Other) {
				e.Type = event.Type(t)
				d.tables[t].attach(e)
			}
		}
	}
	for t, table := range d.tables {
		if t == int(event.Other) || counts[t] == 0 {
			continue
		}
		for to := 0; to < counts[t]; {
			to = min(to+fillRows, counts[t])
			if !table.fill(d, to) {
				return false
			}
		}
		if !table.whole() {
			return false
		}
	}
	return d.common.whole()
}

func (d *decoder) defineTexts(c *cursor) {
	first, n := c.uvarint(), c.count()
	lengths := make([]int, 0, min(n, maxTexts))
	for range n {
		lengths = append(lengths, int(min(c.uvarint(), maxRaw)))
	}
	if c.bad {
		return
	}
	list, ok := d.texts.place(first, uint64(n))
	if !ok {
		c.fail()
		return
	}
	for i := range list {
		b := c.bytes(uint64(lengths[i]))
		if c.bad {
			return
		}
		if !list[i].known {
			if d.textBytes += len(b); d.textBytes > 2*maxTextBytes {
				c.fail()
				return
			}
			list[i] = entry[string]{string(b), true}
		}
	}
}

func (d *decoder) defineHashes(c *cursor) {
	first, n := c.uvarint(), c.uvarint()
	if n > uint64(len(c.b))/8 {
		c.fail()
	}
	if c.bad {
		return
	}
	list, ok := d.hashes.place(first, n)
	if !ok {
		c.fail()
		return
	}
	for i := range list {
		list[i] = entry[event.Hash]{event.Hash(c.uint64()), true}
	}
}

// maxKnownSources bounds the sources that are shared between records.
const maxKnownSources = 4096

func (d *decoder) readSources(c *cursor, events int) {
	d.sources = append(d.sources[:0], nil)
	d.seqs = append(d.seqs[:0], 0)
	d.last, d.lastNum = nil, 0
	clear(d.nums)
	if len(d.known) > maxKnownSources {
		clear(d.known)
	}
	n := c.count()
	if n > events {
		c.fail()
		return
	}
	for i := range n {
		var s event.Source
		for _, p := range []*string{&s.Service, &s.Version, &s.VersionFrom, &s.Host} {
			*p = string(c.bytes(c.uvarint()))
		}
		s.Pid = unzigzag(c.uvarint())
		p := d.known[s]
		if p == nil {
			p = &s
			d.known[s] = p
		}
		d.sources = append(d.sources, p)
		d.seqs = append(d.seqs, 0)
		d.nums[p] = i + 1
	}
}

func (d *decoder) sourceIndex(s *event.Source) int {
	if s != d.last {
		d.last, d.lastNum = s, d.nums[s]
	}
	return d.lastNum
}

func (d *decoder) text(c *cursor) string { return d.textOf(c, c.uvarint()) }

// textOf is the text that a reference stands for, which may follow it.
func (d *decoder) textOf(c *cursor, ref uint64) string {
	switch ref {
	case refLiteral:
		return string(c.bytes(c.uvarint()))
	case refZero:
		return ""
	default:
		s, ok := d.texts.get(ref)
		d.lost = d.lost || !ok
		return s
	}
}

func (d *decoder) hash(c *cursor) event.Hash {
	switch ref := c.uvarint(); ref {
	case refLiteral:
		return event.Hash(c.uint64())
	case refZero:
		return 0
	default:
		h, ok := d.hashes.get(ref)
		d.lost = d.lost || !ok
		return h
	}
}
