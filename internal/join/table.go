package join

import "hash/maphash"

// table finds what belongs to ids that are hashes, by open addressing, half full at most. Where an id lies depends on a secret of the
// process, so that a capture made to harm cannot have all its ids in one place; nothing that is given out does.
type table[T any] struct {
	slots  []slot[T]
	shift  uint // 64 less the logarithm of the number of slots
	secret uint64
	n      int
}

type slot[T any] struct {
	id uint64
	v  *T // nil: free
}

const leastSlots = 64

func (t *table[T]) home(id uint64) int { return int(id * t.secret >> t.shift) }

// find returns nil for an id that is not there.
func (t *table[T]) find(id uint64) *T {
	if t.n == 0 {
		return nil
	}
	for at := t.home(id); ; at = (at + 1) & (len(t.slots) - 1) {
		if s := &t.slots[at]; s.id == id || s.v == nil {
			return s.v
		}
	}
}

// add adds an id that is not there.
func (t *table[T]) add(id uint64, v *T) {
	if 2*(t.n+1) > len(t.slots) {
		t.grow()
	}
	t.put(slot[T]{id, v})
	t.n++
}

func (t *table[T]) put(s slot[T]) {
	at := t.home(s.id)
	for t.slots[at].v != nil {
		at = (at + 1) & (len(t.slots) - 1)
	}
	t.slots[at] = s
}

func (t *table[T]) grow() {
	old := t.slots
	if old == nil {
		t.secret = maphash.String(maphash.MakeSeed(), "") | 1
	}
	t.slots = make([]slot[T], max(2*len(old), leastSlots))
	for t.shift = 64; 1<<(64-t.shift) < len(t.slots); {
		t.shift--
	}
	for _, s := range old {
		if s.v != nil {
			t.put(s)
		}
	}
}

// remove takes an id out and moves those behind it that would not be found any more.
func (t *table[T]) remove(id uint64) {
	if t.n == 0 {
		return
	}
	mask := len(t.slots) - 1
	hole := t.home(id)
	for t.slots[hole].v != nil && t.slots[hole].id != id {
		hole = (hole + 1) & mask
	}
	if t.slots[hole].v == nil {
		return
	}
	t.n--
	for at := (hole + 1) & mask; t.slots[at].v != nil; at = (at + 1) & mask {
		// It may move into the hole if it does not belong between the hole and where it lies.
		if (at-t.home(t.slots[at].id))&mask >= (at-hole)&mask {
			t.slots[hole] = t.slots[at]
			hole = at
		}
	}
	t.slots[hole] = slot[T]{}
}
