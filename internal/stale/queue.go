package stale

// queue gives back what was pushed, first in, first out. What was popped makes room for what comes.
type queue[T any] struct {
	list []T
	from int // place of the first
}

func (q *queue[T]) n() int { return len(q.list) - q.from }

// all are the things in it, the first one first, until the next push or pop.
func (q *queue[T]) all() []T { return q.list[q.from:] }

func (q *queue[T]) first() *T { return &q.list[q.from] }

func (q *queue[T]) push(v T) {
	if len(q.list) == cap(q.list) && q.from > len(q.list)/4 {
		n := copy(q.list, q.list[q.from:])
		clear(q.list[n:])
		q.list, q.from = q.list[:n], 0
	}
	q.list = append(q.list, v)
}

func (q *queue[T]) pop() T {
	var none T
	v := q.list[q.from]
	q.list[q.from] = none
	if q.from++; q.from == len(q.list) {
		q.list, q.from = q.list[:0], 0
	}
	return v
}
