package join

import "cmp"

// Place is where a request stands in its trace: its time in nanoseconds, its span (see ID) and a number of its process.
type Place struct {
	At, End int64
	Span    uint64
	Source  uint32
}

// Compare orders requests of one trace by time.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(p.At, o.At), cmp.Compare(p.End, o.End), cmp.Compare(p.Span, o.Span))
}

// Link is where an item stands in its trace.
type Link struct {
	At           int64
	Span, Parent uint64 // 0 for none
	Source       uint32
}

// maxDepth is how many parents are asked for an item's request: in hostile input they may form a circle.
const maxDepth = 64

// Owners says which of a trace's several requests, ordered by Compare, each of n items belongs to: the nearest one among its
// parents; where that chain is broken, the last one that began before it in the same process, if possible one that had not
// ended; else the last one that began before it.
func Owners(requests []Place, n int, item func(int) Link) []int {
	bySpan, parent := map[uint64]int{}, map[uint64]uint64{}
	for i, r := range requests {
		if r.Span != 0 {
			bySpan[r.Span] = i
		}
	}
	for i := range n {
		if it := item(i); it.Span != 0 {
			parent[it.Span] = it.Parent
		}
	}
	owners := make([]int, n)
	for i := range owners {
		it := item(i)
		owner, ok := 0, false
		for at, depth := it.Parent, 0; at != 0 && !ok && depth < maxDepth; depth++ {
			owner, ok = bySpan[at]
			at = parent[at]
		}
		if !ok {
			owner = lastBefore(requests, it)
		}
		owners[i] = owner
	}
	return owners
}

func lastBefore(requests []Place, it Link) int {
	best, same := 0, -1
	for i := range requests {
		r := &requests[i]
		if r.At > it.At {
			break
		}
		best = i
		if r.Source == it.Source && (same < 0 || r.End >= it.At || requests[same].End < it.At) {
			same = i
		}
	}
	if same >= 0 {
		return same
	}
	return best
}
