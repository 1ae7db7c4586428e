package sim

import "math/bits"

// Interner gives each distinct 64-bit key a dense number, from 0 in the order of first appearance.
//
// The table holds numbers only, the keys lie in the order of the numbers: so those asked for early and often are found side by side.
// Memory: at most 28 bytes a key, 40 while the table grows.
type Interner struct {
	slots []uint32 // number plus one, 0 for a free slot; at most half of them are used
	keys  []uint64 // by number
	shift uint
	seed  uint64
	warm  uint32 // no meaning, see Add
}

// NewInterner returns an empty table. The seed has no influence on the numbers; an unpredictable one keeps a hostile trace
// from choosing keys that meet in one place.
func NewInterner(seed uint64) *Interner {
	const size = 1 << 12
	return &Interner{slots: make([]uint32, size), shift: uint(64 - bits.TrailingZeros(size)), seed: seed}
}

// Keys is how many distinct keys there are.
func (t *Interner) Keys() int { return len(t.keys) }

// Bytes is the memory that the table takes.
func (t *Interner) Bytes() int64 { return int64(len(t.slots))*4 + int64(cap(t.keys))*8 }

// Full says that a block of n keys might not find numbers.
func (t *Interner) Full(n int) bool { return len(t.keys)+n > 1<<31 }

func (t *Interner) place(key uint64) uint64 {
	hi, lo := bits.Mul64(key^t.seed, 0x9e3779b97f4a7c15)
	return ((hi ^ lo) * 0xd6e8feb86659fd93) >> t.shift
}

// Add writes the numbers of keys into ids, which has room for as many.
func (t *Interner) Add(keys []uint64, ids []uint32) {
	const stretch = 256
	var places [stretch]uint32
	for len(keys) > 0 {
		n := min(len(keys), stretch)
		for (len(t.keys)+n)*2 > len(t.slots) {
			t.double()
		}
		slots, mask := t.slots, uint32(len(t.slots)-1)
		// Slots come from far in memory. This loop fetches them side by side; in the next one each would wait for the one before.
		warm := uint32(0)
		for k, key := range keys[:n] {
			i := uint32(t.place(key)) & mask
			places[k] = i
			warm |= slots[i]
		}
		t.warm = warm
		for k, key := range keys[:n] {
			i := places[k]
			for {
				id := slots[i&mask]
				if id == 0 {
					t.keys = append(t.keys, key)
					id = uint32(len(t.keys))
					slots[i&mask] = id
				}
				if t.keys[id-1] == key {
					ids[k] = id - 1
					break
				}
				i++
			}
		}
		keys, ids = keys[n:], ids[n:]
	}
}

func (t *Interner) double() {
	t.slots = make([]uint32, 2*len(t.slots))
	t.shift--
	mask := uint64(len(t.slots) - 1)
	for id, key := range t.keys {
		i := t.place(key)
		for t.slots[i&mask] != 0 {
			i++
		}
		t.slots[i&mask] = uint32(id) + 1
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
