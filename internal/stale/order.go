package stale

import (
	"cmp"
	"slices"

	"github.com/demarc-dev/demarc/event"
)

// The wheel puts events in the order of their ends. An event waits until all that ended before it have had
// Options.Late to arrive; one that comes later than that is late.
//
// Slots of equal width cover the time of Options.Late; a slot is sorted when it is taken out, which is cheap, because
// what arrives is nearly in order. Whole slots are taken, so what is late does not depend on how events are batched.
// It holds MaxBuffered events at most: beyond, the oldest slots are taken out early.
const wheelSlots = 256

type wheel struct {
	width int64
	next  int64 // number of the first slot that was not taken out
	high  int64 // greatest end seen
	begun bool
	n     int
	warm  func([]rec) // is shown the records of a slot before they are taken out
	order []int32     // of the slot being taken out
	slots [wheelSlots + 2][]rec
}

func (w *wheel) init(late int64, warm func([]rec)) { w.width, w.warm = max(late/wheelSlots, 1), warm }

// slotOf is the number of the slot that a time lies in.
func (w *wheel) slotOf(t int64) int64 {
	s := t / w.width
	if t < 0 && t%w.width != 0 {
		s--
	}
	return s
}

// late says whether an event that ends in a slot comes too late.
func (w *wheel) late(slot int64) bool { return w.begun && slot < w.next }

// put takes an event that ends in a slot and is not late; the wheel must have been advanced to its end.
func (w *wheel) put(r *rec, slot int64) {
	i := int(uint64(slot) % uint64(len(w.slots)))
	w.slots[i] = append(w.slots[i], *r)
	w.n++
}

// advance takes out all slots that lie wholly before t-wheelSlots*width, after a new greatest end t, which lies in slot.
func (w *wheel) advance(t, slot int64, take func(*rec)) {
	if !w.begun {
		w.begun, w.high = true, t
		w.next = slot - wheelSlots
		return
	}
	if t <= w.high {
		return
	}
	w.high = t
	w.takeBelow(slot-wheelSlots, take)
}

// takeBelow takes out the slots with a number below end.
func (w *wheel) takeBelow(end int64, take func(*rec)) {
	for w.next < end {
		if w.n == 0 {
			w.next = end
			return
		}
		w.takeSlot(take)
	}
}

func (w *wheel) takeSlot(take func(*rec)) {
	i := int(uint64(w.next) % uint64(len(w.slots)))
	list := w.slots[i]
	w.next++
	if len(list) == 0 {
		return
	}
	w.warm(list)
	w.order = w.order[:0]
	inPlace := true
	for j := range list {
		w.order = append(w.order, int32(j))
		inPlace = inPlace && (j == 0 || inOrder(&list[j-1], &list[j]) <= 0)
	}
	order := w.order
	if !inPlace {
		slices.SortFunc(order, func(a, b int32) int { return cmp.Or(inOrder(&list[a], &list[b]), cmp.Compare(a, b)) })
	}
	for _, j := range order {
		take(&list[j])
	}
	w.n -= len(list)
	if cap(list) > 4096 {
		clear(list)
		list = nil
	}
	w.slots[i] = list[:0]
}

// flush takes out everything. The slot of the last event stays open: what comes next may lie in it.
func (w *wheel) flush(take func(*rec)) {
	if w.begun {
		last := w.slotOf(w.high)
		w.takeBelow(last+1, take)
		w.next = last
	}
}

// inOrder compares two events: by end, then by start, then by process and the order in it. Events that are equal in all
// of that keep the order in which they arrived.
func inOrder(a, b *rec) int {
	if a.end != b.end {
		return cmp.Compare(a.end, b.end)
	}
	if a.src.proc == b.src.proc {
		if a.seq != 0 && b.seq != 0 {
			return cmp.Compare(a.seq, b.seq)
		}
		return cmp.Compare(a.at, b.at)
	}
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.src.proc.name, b.src.proc.name))
}

// seen tells doubled events of one process apart by their seq: it remembers the last seqWindow of them.
const seqWindow = 1 << 15

type seen struct {
	max  uint64
	at   int64 // greatest end
	bits []uint64
}

// first says whether the event is seen for the first time. A seq far below the greatest, on an event that ended later
// than all others, is a process that began anew under the old number.
func (s *seen) first(seq uint64, end int64) (fresh, known bool) {
	if s.bits == nil {
		s.bits = make([]uint64, seqWindow/64)
	}
	switch {
	case seq > s.max:
		if seq-s.max >= seqWindow {
			clear(s.bits)
		} else {
			for i := s.max + 1; i < seq; i++ {
				s.bits[i/64%(seqWindow/64)] &^= 1 << (i % 64)
			}
		}
		s.max = seq
	case s.max-seq >= seqWindow:
		if end <= s.at {
			return false, false
		}
		clear(s.bits)
		s.max = seq
	default:
		if s.bits[seq/64%(seqWindow/64)]&(1<<(seq%64)) != 0 {
			return false, true
		}
	}
	s.bits[seq/64%(seqWindow/64)] |= 1 << (seq % 64)
	s.at = max(s.at, end)
	return true, true
}

// maxUnnumbered is the number of events without seq that doubles are looked for among.
const maxUnnumbered = 1 << 16

// twice says whether an event that has no number in its process came before. Where times are whole seconds without a
// duration, as in access logs, equal events are many events.
func (d *Detector) twice(e *event.Event, src *source) bool {
	if !e.Dur.Known && e.At%1e9 == 0 && e.Type != event.TypeChange && e.Type != event.TypeProcess {
		return false
	}
	h := mix(uint64(e.At), uint64(e.Dur.V))
	h = mix(hashText(h, e.Trace), src.proc.id^uint64(e.Type))
	text := func(s string) { h = hashText(h, s) }
	num := func(n uint64) { h = mix(h, n) }
	switch {
	case e.Request != nil:
		text(e.Request.Route)
		text(e.Request.Target)
	case e.Query != nil:
		text(e.Query.Text)
		text(e.Query.Txn)
		for _, p := range e.Query.Params {
			num(uint64(p))
		}
	case e.Txn != nil:
		text(e.Txn.Op)
		text(e.Txn.Txn)
	case e.Cache != nil:
		c := e.Cache
		for _, s := range []string{c.Op, c.Store, c.Key, c.Tag, c.Pattern} {
			text(s)
		}
		num(uint64(c.ValueHash))
	case e.Task != nil:
		text(e.Task.Op)
		text(e.Task.ID)
	case e.Process != nil:
		text(e.Process.Op)
	case e.Change != nil:
		c := e.Change
		text(c.Table)
		text(c.Op)
		num(c.Lsn)
		num(c.Xid)
		for _, p := range c.PK {
			num(uint64(p))
		}
		for _, col := range c.Columns {
			text(col)
		}
	default:
		return false
	}
	if d.young[h] || d.old[h] {
		return true
	}
	if len(d.young) >= maxUnnumbered {
		d.old, d.young = d.young, map[uint64]bool{}
	}
	d.young[h] = true
	return false
}
