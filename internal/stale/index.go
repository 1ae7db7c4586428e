package stale

import "math/bits"

// index is a hash table from 64-bit hashes, which must be well mixed, to things: open addressing, linear probing, deletion
// by moving back what follows. A slot takes 16 bytes, at most four fifths of the slots are taken, and a full table grows
// by half, so that a thing costs 20 to 30 bytes. A look-up touches one cache line nearly always.
type index[T any] struct {
	slots []slot[T]
	n     int
}

type slot[T any] struct {
	h uint64
	v *T
}

func (x *index[T]) place(h uint64) int {
	i, _ := bits.Mul64(h, uint64(len(x.slots)))
	return int(i)
}

// get returns nil for what is not there.
func (x *index[T]) get(h uint64) *T {
	if x.n == 0 {
		return nil
	}
	for i := x.place(h); ; {
		s := &x.slots[i]
		if s.v == nil || s.h == h {
			return s.v
		}
		if i++; i == len(x.slots) {
			i = 0
		}
	}
}

// put adds what is not there yet.
func (x *index[T]) put(h uint64, v *T) {
	if 5*(x.n+1) > 4*len(x.slots) {
		old := x.slots
		x.slots = make([]slot[T], max(16, len(old)+len(old)/2))
		for i := range old {
			if old[i].v != nil {
				x.insert(old[i])
			}
		}
	}
	x.insert(slot[T]{h, v})
	x.n++
}

func (x *index[T]) insert(s slot[T]) {
	i := x.place(s.h)
	for x.slots[i].v != nil {
		if i++; i == len(x.slots) {
			i = 0
		}
	}
	x.slots[i] = s
}

// delete takes out what may be there.
func (x *index[T]) delete(h uint64) {
	if x.n == 0 {
		return
	}
	n := len(x.slots)
	i := x.place(h)
	for x.slots[i].h != h || x.slots[i].v == nil {
		if x.slots[i].v == nil {
			return
		}
		if i++; i == n {
			i = 0
		}
	}
	x.n--
	for j := i; ; { // whoever stands behind the gap and may stand in it moves there
		if j++; j == n {
			j = 0
		}
		s := x.slots[j]
		if s.v == nil {
			break
		}
		home := x.place(s.h)
		if i <= j && (home <= i || home > j) || i > j && home <= i && home > j {
			x.slots[i] = s
			i = j
		}
	}
	x.slots[i] = slot[T]{}
}

// all is for ranging over everything, in no order that means anything.
func (x *index[T]) all(yield func(*T) bool) {
	for i := range x.slots {
		if v := x.slots[i].v; v != nil && !yield(v) {
			return
		}
	}
}
