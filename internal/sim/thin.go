package sim

// Sampled keeps the keys of a sample, in their order, with the times that belong to them (nil where there are none): those whose hash
// is below rate. Whether a key is kept depends on the key and the rate alone, and a lower rate keeps none that a higher one does not. Both
// slices are changed in place.
func Sampled(keys []uint64, at []int64, rate float64) ([]uint64, []int64) {
	if rate >= 1 {
		return keys, at
	}
	limit := sampleLimit(rate)
	n := 0
	for i, key := range keys {
		keys[n] = key
		if at != nil {
			at[n] = at[i]
		}
		if sampleHash(key) < limit {
			n++
		}
	}
	if at != nil {
		at = at[:n]
	}
	return keys[:n], at
}

func sampleLimit(rate float64) uint64 { return uint64(rate * (1 << 53)) }

func sampleHash(key uint64) uint64 { return mix(key+0x9e3779b97f4a7c15) >> 11 }

// Thin makes a smaller sample of one: it returns the numbers of the keys, and the requests without sizes, lifetimes and costs, as they would be if
// only the keys of that rate had been added from the beginning. What it is given is used up.
//
// Memory: 4 bytes for each key meanwhile, beside what goes in and what comes out.
func Thin(ids *Interner, t *Trace, rate float64) (*Interner, *Trace) {
	limit := sampleLimit(rate)
	numbers := make([]uint32, ids.keys) // by number: the new one plus one, 0 for keys that are not kept
	for _, e := range ids.table {
		if e.number != 0 && sampleHash(e.key) < limit {
			numbers[e.number-1] = 1
		}
	}
	n := uint32(0)
	for i, kept := range numbers {
		n += kept
		numbers[i] = n * kept
	}
	few := &Interner{seed: ids.seed, keys: int(n)}
	places := firstEntries
	for places/4*3 < int(n) {
		places = places / 2 * 3
	}
	few.room(places)
	for _, e := range ids.table {
		if e.number != 0 && numbers[e.number-1] != 0 {
			few.put(entry{key: e.key, number: numbers[e.number-1]})
		}
	}
	ids.table = nil
	return few, t.thin(numbers)
}

// thin keeps the requests of the keys that have a new number, which is given plus one, under that.
func (t *Trace) thin(numbers []uint32) *Trace {
	out, known := NewTrace(t.next), 0
	for i, b := range t.blocks {
		t.blocks[i] = Block{}
		n := 0
		for k, key := range b.Keys {
			number := numbers[key]
			if number == 0 {
				continue
			}
			known = max(known, int(number))
			b.Keys[n] = number - 1
			if b.At != nil {
				b.At[n] = b.At[k]
			}
			n++
		}
		if b.At != nil {
			b.At = b.At[:n]
		}
		out.Add(Block{Keys: b.Keys[:n], At: b.At, Known: known})
	}
	return out
}
