package sim

import "math/bits"

// Interner gives each distinct 64-bit key a dense number, from 0 in the order of first appearance.
//
// It is a hash table with linear probing in which key, number and what a Curve has to know of the key lie side by side: a key that was
// not asked for lately costs one access to memory that is far away, whatever is wanted of it.
//
// Memory: at most 32 bytes a key (Bytes), and as much and a half of that again while the table grows (Growing).
type Interner struct {
	table []entry
	keys  int
	limit int // keys at which the table grows
	seed  uint64
	warm  uint64 // no meaning, see find
}

// entry is a key. A free place has number 0.
type entry struct {
	key    uint64
	number uint32 // plus one
	mark   uint32 // of a Curve: place of the last request plus one
}

const (
	entrySize     = 16
	firstEntries  = 1 << 12
	mostInterned  = 1 << 31
	internerBlock = 256 // keys that are looked up side by side
)

// NewInterner returns an empty table. The seed has no influence on the numbers; an unpredictable one keeps a hostile trace
// from choosing keys that meet in one place.
func NewInterner(seed uint64) *Interner {
	t := &Interner{seed: seed}
	t.room(firstEntries)
	return t
}

// room makes an empty table of so many places, three quarters of which may be taken, and one behind them that stays free.
func (t *Interner) room(places int) {
	t.table = make([]entry, places+1)
	t.limit = places / 4 * 3
}

// Keys is how many distinct keys there are.
func (t *Interner) Keys() int { return t.keys }

// Bytes is the memory that the table takes.
func (t *Interner) Bytes() int64 { return int64(len(t.table)) * entrySize }

// Growing is the memory that the table takes beside Bytes while it grows the next time.
func (t *Interner) Growing() int64 { return t.Bytes() / 2 * 3 }

// Full says that a block of n keys might not find numbers.
func (t *Interner) Full(n int) bool { return t.keys+n > mostInterned }

// home is where a key is looked for first. Homes are in the order of the hashes, in a table of any length.
func (t *Interner) home(key uint64) uint64 {
	hi, lo := bits.Mul64(key^t.seed, 0x9e3779b97f4a7c15)
	at, _ := bits.Mul64((hi^lo)*0xd6e8feb86659fd93, uint64(len(t.table)-1))
	return at
}

// Add writes the numbers of keys into ids, which has room for as many.
func (t *Interner) Add(keys []uint64, ids []uint32) {
	var at [internerBlock]uint32
	for len(keys) > 0 {
		n := min(len(keys), internerBlock)
		t.find(keys[:n], &at)
		for k, place := range at[:n] {
			ids[k] = t.table[place].number - 1
		}
		keys, ids = keys[n:], ids[n:]
	}
}

// find looks up, or puts in, at most internerBlock keys, and says where each of them is until the next call.
func (t *Interner) find(keys []uint64, at *[internerBlock]uint32) {
	for t.keys+len(keys) > t.limit {
		t.grow()
	}
	for k, key := range keys {
		at[k&(internerBlock-1)] = uint32(t.home(key))
	}
	// Entries come from far in memory. This loop, which does nothing else, fetches them side by side; in the next one each would wait for the
	// one before.
	table, warm := t.table, uint64(0)
	for _, i := range at[:len(keys)] {
		warm |= table[i].key
	}
	t.warm = warm
	for k, key := range keys {
		i := at[k&(internerBlock-1)]
		// Most keys are at home or next door. Which of the two cannot be foreseen, and is found without a branch.
		differ := table[i].key ^ key
		next := i + uint32((differ|-differ)>>63)
		if e := &table[next]; e.key != key || e.number == 0 {
			next = t.search(key, i)
		}
		at[k&(internerBlock-1)] = next
	}
}

// search looks for a key from its home on, or puts it in.
func (t *Interner) search(key uint64, i uint32) uint32 {
	for {
		e := &t.table[i]
		if e.number == 0 {
			t.keys++
			*e = entry{key: key, number: uint32(t.keys)}
			return i
		}
		if e.key == key {
			return i
		}
		if i++; int(i) == len(t.table)-1 {
			i = 0
		}
	}
}

// grow makes the table half as large again.
func (t *Interner) grow() {
	old := t.table
	t.room((len(old) - 1) / 2 * 3)
	for _, e := range old {
		if e.number != 0 {
			t.put(e)
		}
	}
}

// put gives a place to a key that has none.
func (t *Interner) put(e entry) {
	i := t.home(e.key)
	for t.table[i].number != 0 {
		if i++; int(i) == len(t.table)-1 {
			i = 0
		}
	}
	t.table[i] = e
}
