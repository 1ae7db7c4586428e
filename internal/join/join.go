// Package join puts what happened to the request it belongs to, by trace: it holds the traces whose events may still come,
// says which are to be closed, and which of a trace's several requests owns an item.
//
// The package is pure, and so is what it gives: the same events in the same order close the same traces at the same
// events.
package join

import "iter"

// MaxRequests is how many requests of one trace are kept. A trace holds one, except where a caller's trace goes through
// several services or calls one several times.
const MaxRequests = 256

// What a closed trace keeps of its room for the next one, and how many closed ones wait for it.
const (
	keptItems  = 64
	keptTraces = 1024
)

// Limits of Live: how long, in nanoseconds of event time, a trace is kept after its last event, and how much is kept.
type Limits struct {
	JoinAge   int64 // once its request has been seen
	OpenAge   int64 // before
	MaxItems  int
	MaxTraces int
}

// Trace is a trace whose events may still come: its requests R, what else happened in it as items I, and whatever sum S its
// owner keeps of them as they come.
type Trace[I, R, S any] struct {
	ID       uint64 // see ID
	Seen     int64  // the clock when the last event came
	Items    []I
	Requests []R
	Sum      S

	prev, next *Trace[I, R, S]
	in         *list[I, R, S]
}

type list[I, R, S any] struct{ front, back *Trace[I, R, S] }

// Live are the traces that are not closed, in the order in which they were last added to. The zero Live, with Limits, is
// ready. Not safe for concurrent use.
//
// Memory: what Limits allow of traces and items, up to 64 bytes a trace for finding them, and 1,024 closed traces that are used
// again.
type Live[I, R, S any] struct {
	Limits Limits
	Clock  int64 // greatest end of an event

	items int
	byID  table[Trace[I, R, S]]
	open  list[I, R, S] // no request seen yet
	done  list[I, R, S]
	free  []*Trace[I, R, S]
}

// Len is how many traces there are, Items how many items they hold.
func (l *Live[I, R, S]) Len() int   { return l.byID.n }
func (l *Live[I, R, S]) Items() int { return l.items }

// Trace returns the trace of an id, a new one where there is none.
func (l *Live[I, R, S]) Trace(id uint64) *Trace[I, R, S] {
	if t := l.byID.find(id); t != nil {
		return t
	}
	var t *Trace[I, R, S]
	if n := len(l.free); n > 0 {
		t = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		t = &Trace[I, R, S]{}
	}
	t.ID = id
	l.byID.add(id, t)
	return t
}

// Add adds an item to a trace; Touch is to follow.
func (l *Live[I, R, S]) Add(t *Trace[I, R, S], item I) {
	t.Items = append(t.Items, item)
	l.items++
}

// Advance moves the clock to the end of an event, where that is later, and returns it.
func (l *Live[I, R, S]) Advance(end int64) int64 {
	l.Clock = max(l.Clock, end)
	return l.Clock
}

// Touch notes that an event of the trace came: it is the last one to be closed, now.
func (l *Live[I, R, S]) Touch(t *Trace[I, R, S], seen int64) {
	t.Seen = seen
	to := &l.open
	if len(t.Requests) > 0 {
		to = &l.done
	}
	if to.back != t {
		to.move(t)
	}
}

func (l *list[I, R, S]) move(t *Trace[I, R, S]) {
	t.unlink()
	t.in, t.prev = l, l.back
	if l.back != nil {
		l.back.next = t
	} else {
		l.front = t
	}
	l.back = t
}

func (t *Trace[I, R, S]) unlink() {
	if t.in == nil {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		t.in.front = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		t.in.back = t.prev
	}
	t.prev, t.next, t.in = nil, nil, nil
}

// Due returns the next trace to be closed, with Remove, and whether that is early, for want of room; nil for none. It is to
// be asked after every event, until it says none.
func (l *Live[I, R, S]) Due() (t *Trace[I, R, S], early bool) {
	if t = l.done.front; t != nil && t.Seen < l.Clock-l.Limits.JoinAge {
		return t, false
	}
	if t = l.open.front; t != nil && t.Seen < l.Clock-l.Limits.OpenAge {
		return t, false
	}
	if l.items > l.Limits.MaxItems || l.byID.n > l.Limits.MaxTraces {
		if t = l.done.front; t == nil {
			t = l.open.front
		}
		return t, true
	}
	return nil, false
}

// All yields the traces, those with a request last, the first to be closed first. Each may be removed when it comes.
func (l *Live[I, R, S]) All() iter.Seq[*Trace[I, R, S]] {
	return func(yield func(*Trace[I, R, S]) bool) {
		for _, from := range []*list[I, R, S]{&l.open, &l.done} {
			for t := from.front; t != nil; {
				next := t.next
				if !yield(t) {
					return
				}
				t = next
			}
		}
	}
}

// Remove lets go of a trace, which is used again.
func (l *Live[I, R, S]) Remove(t *Trace[I, R, S]) {
	t.unlink()
	l.byID.remove(t.ID)
	l.items -= len(t.Items)
	if cap(t.Items) <= keptItems && len(l.free) < keptTraces {
		var none S
		clear(t.Requests)
		t.Items, t.Requests, t.Sum = t.Items[:0], t.Requests[:0], none
		l.free = append(l.free, t)
	}
}
