package stale

import (
	"slices"
	"strings"
)

// key returns a key of a store. Where probe is set, a key that is not known is only made if there is room.
// whole is the key of the hash that it is a field of, 0 for none.
func (d *Detector) key(st *store, p *proc, full uint64, name string, probe bool, whole uint64) *key {
	id := full
	if p != nil {
		id = mix(full, p.id)
	}
	if k := d.keys.get(id); k != nil {
		k.used = true
		return k
	}
	k := &key{id: id, used: !probe}
	k.name = strings.Clone(cut(name, maxKey))
	k.place = d.place(place{d.fams.of(st, k.name), st, p, whole})
	d.keys.put(id, k)
	if whole != 0 {
		d.isField(k, whole)
	}
	d.clock = append(d.clock, k)
	if p != nil {
		p.local = append(p.local, k)
		if len(p.local) > 2*d.keys.n+1024 {
			p.local = slices.DeleteFunc(p.local, func(k *key) bool { return k.dead })
		}
	}
	k.pins++ // it may not be the one to go
	for d.keys.n > d.opt.MaxKeys && d.evictOne() {
	}
	k.pins--
	return k
}

// place returns the one place that is equal to p, for keys to share. Where there are too many, equal ones may be made anew.
func (d *Detector) place(p place) *place {
	if have := d.places[p]; have != nil {
		return have
	}
	if len(d.places) >= 4*d.opt.MaxFamilies {
		clear(d.places)
	}
	kept := p
	d.places[p] = &kept
	return &kept
}

// evictOne forgets a key that was not used since the hand last came by. It looks at a few only: events on the wheel hold
// their keys, so that there may be MaxBuffered keys more than MaxKeys for a while.
func (d *Detector) evictOne() bool {
	for n := 0; n < 64 && len(d.clock) > 0; n++ {
		d.hand %= len(d.clock)
		k := d.clock[d.hand]
		if k.dead {
			d.clock[d.hand] = d.clock[len(d.clock)-1]
			d.clock = d.clock[:len(d.clock)-1]
			continue
		}
		if k.used || k.pins > 0 {
			k.used = false
			d.hand++
			continue
		}
		d.cov.Evicted++
		d.forget(k)
		d.clock[d.hand] = d.clock[len(d.clock)-1]
		d.clock = d.clock[:len(d.clock)-1]
		return true
	}
	return false
}

// forget drops a key; what is suspected of its entry and will never be confirmed becomes a story of its own.
func (d *Detector) forget(k *key) {
	d.unconfirmed(k, false)
	k.e.susp = nil
	delete(d.suspects, k)
	d.setLive(k, false)
	k.dead = true
	d.keys.delete(k.id)
	if k.set && k.proc == nil {
		d.noteSet(k.id)
	}
}

// noteSet remembers that a key was set that this detector does not keep, or that lives in one of several processes.
func (d *Detector) noteSet(full uint64) {
	if len(d.everSet) < d.opt.MaxKeys {
		d.everSet[full] = true
	} else {
		d.reach("keys that were set")
	}
}

// wasSet says whether a key was ever set, as far as is known.
func (d *Detector) wasSet(full uint64) bool {
	k := d.keys.get(full)
	return k != nil && k.set || d.everSet[full]
}

func (d *Detector) setLive(k *key, is bool) {
	was := k.e.state == live
	if was == is {
		return
	}
	if is {
		k.fam.find().live++
	} else {
		k.fam.find().live--
		k.e.state = closed
	}
}

// dropLocal forgets what a process had cached in itself.
func (d *Detector) dropLocal(p *proc) {
	for _, k := range p.local {
		if !k.dead {
			if k.pins > 0 {
				d.unconfirmed(k, false)
				delete(d.suspects, k)
				d.setLive(k, false)
				k.e = entry{serial: k.e.serial + 1}
				k.more = nil
				continue
			}
			d.forget(k)
		}
	}
	p.local = slices.DeleteFunc(p.local, func(k *key) bool { return k.dead })
}

// lose makes an entry unknown: what was stored is not what was seen.
func (d *Detector) lose(k *key) {
	d.leftOpen(k)
	d.setLive(k, false)
	if k.e.susp != nil {
		delete(d.suspects, k)
	}
	k.e = entry{serial: k.e.serial + 1}
	if k.more != nil {
		k.more.prev, k.more.endDel, k.more.hist, k.more.apart = 0, nil, nil, false
	}
}

// tidyAfter is how long after a set, in event time, what may still explain it is kept.
const tidyAfter = 30 * int64(1e9)

// untidy is a key that holds more than its entry, since at.
type untidy struct {
	k  *key
	at int64
}

// extra is what a key holds beside its entry.
func (d *Detector) extra(k *key) *keyMore {
	if k.more == nil {
		k.more = &keyMore{}
		d.untidy.push(untidy{k, d.now})
	}
	return k.more
}

// tidy looks with each set and delete at the keys that have held more than their entry for longest, and drops what they need no
// more, so that few keys at a time hold any. Those that go on to need some of it wait for their next turn.
func (d *Detector) tidy() {
	many := d.opt.MaxKeys + d.opt.MaxBuffered // keys that are gone among them
	for n := 0; n < 4 && d.untidy.n() > 0 && (d.untidy.first().at <= d.now-tidyAfter || d.untidy.n() > many); n++ {
		k := d.untidy.pop().k
		if k.dead || k.more == nil {
			continue
		}
		if d.sweep(k); k.more != nil {
			d.untidy.push(untidy{k, d.now})
		}
	}
}

// sweep drops what a key needs no more.
func (d *Detector) sweep(k *key) {
	m := k.more
	if k.e.state == live && k.e.end > d.now-tidyAfter {
		return
	}
	m.before, m.fills, m.prev = nil, nil, 0
	m.dels = useful(m.dels, k.e.pos, d.now-tidyAfter)
	if k.e.state != live {
		return
	}
	if m.txn != nil && m.txn.state != txnOpen {
		if k.e.susp == nil {
			m.txn = nil
		}
	}
	m.endDel = nil
	if len(m.dels) == 0 && len(m.tags) == 0 && m.txn == nil && m.ghost == nil && len(m.hist) == 0 && m.vary == nil && m.alias == nil &&
		!m.unsaid && m.role == roleUnknown {
		k.more = nil
	}
}

// named notes a delete that named the key. Where there are too many, those stay that came first after the entry's reads and
// those that came last.
func (m *keyMore) named(x *del) {
	if len(m.dels) < maxKeyDels {
		m.dels = append(m.dels, x)
		return
	}
	lastOf(m.dels[maxKeyDels/2:], x, maxKeyDels/2)
}

// since leaves of a key's deletes those that ended after its entry's reads began, and the last one before that took place.
func since(dels []*del, pos int64) []*del {
	if pos == 0 {
		return dels
	}
	from := 0
	for i, x := range dels {
		if x.end <= pos && !x.failed {
			from = i
		}
	}
	return slices.Delete(dels, 0, from)
}

// useful keeps of a key's deletes those that can still explain how its entry came to be stale: those after its reads
// began, and the last one before if it was made while a transaction was open then, or may have been.
func useful(dels []*del, pos, old int64) []*del {
	from := 0
	for i, x := range dels {
		if pos != 0 && x.end <= pos {
			from = i
			if x.end < old && (x.txn == nil || x.txn.state != txnOpen && x.txn.end1 <= pos) && (x.txn != nil || x.tr.who.done || !x.tr.traced()) &&
				!slices.ContainsFunc(x.tr.writes, func(w *write) bool { return w.end > pos }) {
				from = i + 1
			}
		}
	}
	if from == 0 {
		return dels
	}
	return append([]*del(nil), dels[from:]...)
}
