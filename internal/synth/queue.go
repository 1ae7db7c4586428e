package synth

import "github.com/demarc-dev/demarc/event"

// slot is one event that waits until its time has come, with room for what it points to, so that ordinary traffic is made
// without an allocation for each event. Planted stories bring their own parts.
type slot struct {
	e      event.Event
	proc   *process
	req    event.Request
	query  event.Query
	txn    event.Txn
	cache  event.Cache
	params [4]event.Hash
	vary   [3]event.NamedHash
	head   [1]event.Pair
}

// queue gives events in the order of their ends; of equal ends the one that was put in first. It is a heap of small items.
// Memory: 1.2 kB for each event in flight, and as much for each event of the batch that was handed out last.
type queue struct {
	heap  []waiting
	free  []*slot
	count uint64
}

type waiting struct {
	end   int64
	order uint64
	s     *slot
}

func (a *waiting) before(b *waiting) bool {
	return a.end < b.end || a.end == b.end && a.order < b.order
}

// take returns an empty slot.
func (q *queue) take() *slot {
	if n := len(q.free); n > 0 {
		s := q.free[n-1]
		q.free = q.free[:n-1]
		return s
	}
	return &slot{}
}

func (q *queue) put(s *slot) {
	q.count++
	q.heap = append(q.heap, waiting{s.e.End(), q.count, s})
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up].before(&h[i]) {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (q *queue) pop() *slot {
	h := q.heap
	s := h[0].s
	n := len(h) - 1
	h[0] = h[n]
	h[n].s = nil
	q.heap = h[:n]
	h = q.heap
	for i := 0; ; {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && h[c+1].before(&h[c]) {
			c++
		}
		if h[i].before(&h[c]) {
			break
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
	return s
}
