package sim

import "math/bits"

// Interner gives each distinct 64-bit key a dense number, from 0 in the order of first appearance.
//
// Memory: 16 bytes a slot, at most 64 bytes a key, 96 while the table grows.
type Interner struct {
	slots []internSlot
	n     int
	shift uint
	seed  uint64
	warm  uint32 // no meaning, see Add
}

type internSlot struct {
	key uint64
	id  uint32 // the number plus one; 0 for a free slot
}

// NewInterner returns an empty table. The seed has no influence on the numbers; an unpredictable one keeps a hostile trace
// from choosing keys that meet in one place.
func NewInterner(seed uint64) *Interner {
	const size = 1 << 12
	return &Interner{slots: make([]internSlot, size), shift: uint(64 - bits.TrailingZeros(size)), seed: seed}
}

// Keys is how many distinct keys there are.
func (t *Interner) Keys() int { return t.n }

// Bytes is the memory that the table takes.
func (t *Interner) Bytes() int64 { return int64(len(t.slots)) * 16 }

// Full says that a block of n keys might not find numbers.
func (t *Interner) Full(n int) bool { return t.n+n >= int(Never) }

func (t *Interner) place(key uint64) uint64 {
	hi, lo := bits.Mul64(key^t.seed, 0x9e3779b97f4a7c15)
	return ((hi ^ lo) * 0xd6e8feb86659fd93) >> t.shift
}

// Add writes the numbers of keys into ids, which has room for as many.
func (t *Interner) Add(keys []uint64, ids []uint32) {
	const stretch = 256
	var places [stretch]uint64
	for len(keys) > 0 {
		n := min(len(keys), stretch)
		for (t.n+n)*2 > len(t.slots) {
			t.double()
		}
		slots, mask := t.slots, uint64(len(t.slots)-1)
		// Slots come from far in memory. This loop fetches them side by side; in the next one each would wait for the one before.
		warm := uint32(0)
		for k, key := range keys[:n] {
			i := t.place(key) & mask
			places[k] = i
			warm |= slots[i].id
		}
		t.warm = warm
		for k, key := range keys[:n] {
			i := places[k]
			for slots[i&mask].key != key || slots[i&mask].id == 0 {
				if slots[i&mask].id == 0 {
					t.n++
					slots[i&mask] = internSlot{key, uint32(t.n)}
					break
				}
				i++
			}
			ids[k] = slots[i&mask].id - 1
		}
		keys, ids = keys[n:], ids[n:]
	}
}

func (t *Interner) double() {
	old := t.slots
	t.slots = make([]internSlot, 2*len(old))
	t.shift--
	mask := uint64(len(t.slots) - 1)
	for _, s := range old {
		if s.id == 0 {
			continue
		}
		i := t.place(s.key)
		for t.slots[i&mask].id != 0 {
			i++
		}
		t.slots[i&mask] = s
	}
}

// Sampled keeps the keys of a sample, in their order, with the times that belong to them (nil where there are none): those whose hash
// is below rate. Whether a key is kept depends on the key and the rate alone. Both slices are changed in place.
func Sampled(keys []uint64, at []int64, rate float64) ([]uint64, []int64) {
	if rate >= 1 {
		return keys, at
	}
	limit := uint64(rate * (1 << 53))
	n := 0
	for i, key := range keys {
		if mix(key+0x9e3779b97f4a7c15)>>11 >= limit {
			continue
		}
		keys[n] = key
		if at != nil {
			at[n] = at[i]
		}
		n++
	}
	if at != nil {
		at = at[:n]
	}
	return keys[:n], at
}
