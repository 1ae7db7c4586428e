package stale

import "github.com/demarc-dev/demarc/event"

// Keys and requests lie far apart in memory, and each step waits for the few places that it looks at. Whoever looks at
// them for many events in a row before the steps waits for all of them at once: the processor fetches what it can see that
// it will need. Nothing but speed depends on it. What was looked at is added up, so that the compiler leaves it in.

// warm looks at what the steps of some records are about to use.
func (d *Detector) warm(list []rec) {
	sum := uint64(0)
	gone := d.hitters.head.next // those that the ends of requests will push out
	for i := range list {
		r := &list[i]
		if k := r.key; k != nil {
			sum += uint64(k.pins) + uint64(k.e.slot)
		}
		if r.x != nil {
			sum += r.x.xid
		}
		if t := r.tr; t != nil {
			sum += uint64(t.pins) + t.own.target + uint64(t.one[0].serial)
			if r.kind == kRequest && t.next != nil && t.prev != nil {
				sum += t.prev.h + t.next.h
				if d.hitters.n >= maxHitters && gone != &d.hitters.head {
					sum += d.traces.slots[d.traces.place(gone.h)].h
					gone = gone.next
				}
			}
		}
	}
	for i := range list {
		if k := list[i].key; k != nil && list[i].kind == kGet {
			if s := int(k.e.slot); s < len(d.slots) {
				sum += d.slots[s]
			}
			if w := k.e.who; w != nil {
				sum += w.principal
			}
		}
	}
	ended := d.ended.all() // whose statements will be dropped
	for i := range ended[:min(len(ended), len(list)/2)] {
		sum += uint64(ended[i].t.gen)
	}
	d.seen += sum
}

// warmBatch looks at what taking some events is about to use, as far as that can be told cheaply.
func (d *Detector) warmBatch(batch []event.Event) {
	sum := uint64(0)
	keys := d.near[:0]
	for i := range batch {
		e := &batch[i]
		if e.Trace != "" && d.traces.n > 0 {
			sum += d.traces.slots[d.traces.place(hashText(4, e.Trace))].h
		}
		if e.Type != event.TypeCache || e.Cache == nil || e.Cache.Key == "" {
			continue
		}
		if s := d.lastStore; s != nil && !s.local && s.name == e.Cache.Store && s.layer == e.Cache.Layer && d.keys.n > 0 {
			if k := d.keys.slots[d.keys.place(hashText(s.id, e.Cache.Key))].v; k != nil {
				keys = append(keys, k)
			}
		}
	}
	for _, k := range keys {
		sum += uint64(k.pins)
	}
	clear(keys)
	d.near, d.seen = keys, d.seen+sum
}

// warmEvents is how many events are looked at before the first of them is taken.
const warmEvents = 64
