package stale

import (
	"slices"

	"github.com/demarc-dev/demarc/event"
)

// States of an entry.
const (
	none   = iota
	live   // set, and as far as is known still there
	closed // deleted, or found to be gone
)

// How an entry ended.
const (
	byMiss = iota + 1
	byDelete
	byEvict
)

// entry is one value of one key: 104 bytes. What a hit looks at stands together, at the beginning.
type entry struct {
	end     int64 // of the set
	val     event.Hash
	reads   *reads
	susp    *suspicion
	checked uint64 // number of the last write that it was compared with
	who     *caller
	hits    uint32
	ttl     uint32 // ms, at most maxTTL
	serial  uint32
	others  uint32 // hits by another identity than that of who filled it
	slot    uint16 // where the last write of the one row that it was read from is noted; 0: nowhere
	src     uint16 // number of the source; 0: not known
	state   uint8
	form    uint8
	how     uint8 // of its end
	kind    uint8
	through bool   // stored over what nobody had missed
	inherit bool   // its reads are those of the entry before: it was stored without any
	again   bool   // hit after a delete that should have removed it
	newer   uint16 // hits by another version of the code than filled it, at most 65,535
	guest   uint16 // number of the source of such a hit, or of one by another identity
	code    uint16
	guestAt int64 // when that hit began
	at      int64 // of the set's begin
	pos     int64 // read position; 0: not known
}

const maxTTL = 1<<32 - 1

// key is one key of one store, with its entry: 160 bytes, its name, and some 35 in tables. What is kept of the request
// that filled it takes 64 more.
type key struct {
	*place
	more   *keyMore
	pins   int32
	used   bool // since the hand of the clock came by
	dead   bool
	stamp  uint8 // whether it is one
	missed bool  // since the last set
	e      entry
	id     uint64 // of the store and the name, and of the process for local stores
	name   string
	set    bool // some time
}

// place is what many keys have in common.
type place struct {
	fam   *family
	st    *store
	proc  *proc  // whose it is, in a local store
	whole uint64 // the key of the hash that it is a field of; 0 for none
}

// keyMore is what only some keys have.
type keyMore struct {
	dels   []*del
	tags   []string
	txn    *txn // in which the entry was set
	endDel *del // that ended the entry
	prev   event.Hash
	prevAt int64 // start and end of the set of the entry before
	prevTo int64
	prevBy *caller // who set it, where it is what a writer stored by itself
	ghost  *ghost
	fills  []span // the last fills, where they overlap
	hist   []fillOf
	apart  bool // fills of hist asked for other rows: it goes on over writes
	vary   *story
	role   uint8
	alias  *story
	before *story // of the entry before, for hits that the set of this one overtook
	kept   bool   // it is among the stories
	unsaid bool   // whether a read was a hit is not known
}

type span struct{ from, to int64 }

// got takes a get; where first is not set, it is counted elsewhere.
func (d *Detector) got(r *rec, first bool) {
	k := r.key
	f := k.fam.find()
	n := r.n
	if !first {
		n = 0
	}
	if r.hit == 0 {
		f.misses += n
		if r.failed {
			return
		}
		k.missed = true
		e := &k.e
		if e.state == live && r.at >= e.end {
			d.setLive(k, false)
			e.how = byMiss
		}
		return
	}
	asIf := r.hit < 0 && k.st.http() && r.val != 0 && r.val == k.e.val // not said, and the value is the one kept
	if r.hit < 0 {
		k.missed = true // perhaps
	}
	if r.hit != 1 && !asIf || r.failed {
		return
	}
	if asIf && k.e.state == live {
		d.extra(k).unsaid = true
	}
	f.hits += n
	d.cov.Hits += n
	e := &k.e
	if r.at < e.end && e.state == live { // begun before this value was stored: it is of this entry, or of the one before
		d.overtaken(k, r)
		return
	}
	if d.ghostHit(k, r) {
		return
	}
	if e.state == closed && !d.revive(k, r) {
		d.hitClosed(k, r)
		return
	}
	if e.state != live {
		return
	}
	if e.val == 0 && r.val != 0 { // of a set that did not show it, such as a script's
		e.val, e.form = r.val, r.form
	}
	if r.val != 0 && e.val != 0 && r.val != e.val && r.form == e.form {
		if d.aliased(k, r) {
			return
		}
		d.lose(k) // a set that was not seen
		return
	}
	e.hits += uint32(r.n)
	if e.reads != nil && e.val != 0 || k.stamp == stampSure {
		d.judged += n
	}
	if life := int64(e.ttl) * 1e6; life > 0 && e.ttl < maxTTL && r.at-e.end > life+life/20+1e9 {
		f.factor.over += r.n
	}
	if e.src != r.src.number && otherVersion(d.sourceOf(e.src), r.src) {
		if e.newer == 0 {
			e.guestAt, e.guest = r.at, r.src.number
		}
		e.newer = uint16(min(int64(e.newer)+r.n, 65535))
	}
	if e.checked != d.writeSeq {
		if e.slot != 0 && d.looseSeq <= e.checked && d.slots[e.slot] <= e.checked {
			e.checked = d.writeSeq
		} else {
			d.compare(k)
		}
	}
	mask := uint16(0)
	if e.susp != nil {
		mask = e.susp.hit(d, k, r)
	}
	if r.tr != nil && len(r.tr.touch) < maxOfTrace {
		t := touch{k: k, serial: e.serial, n: int32(r.n), s: e.susp, mask: mask, at: r.at, took: uint32(min(r.end-r.at, maxTook)), src: r.src.number}
		if r.tr.who.done {
			d.touched(&t, r.tr.who)
		} else {
			d.touch(r.tr, t)
		}
	}
}

// revive says whether a hit on an entry that was thought gone shows that it was not: a delete whose count is not known
// did not remove it.
func (d *Detector) revive(k *key, r *rec) bool {
	e := &k.e
	if e.how != byDelete || r.val == 0 || r.val != e.val || k.more == nil || k.more.endDel == nil || r.at < k.more.endDel.end {
		return false
	}
	if k.more.endDel.removed > 0 && (!k.st.local || k.proc.pid != 0) {
		return false
	}
	d.setLive(k, true)
	e.state, e.how, e.again = live, 0, true
	return true
}

// touched is a hit whose reader is known now.
func (d *Detector) touched(t *touch, w *caller) {
	if t.story != nil {
		t.story.hit.by(w, int64(t.n))
	}
	if t.s != nil && t.mask != 0 {
		t.s.reader(t.mask, w, int64(t.n))
	}
	if t.k.dead || t.k.e.serial != t.serial {
		return
	}
	f := t.k.e.who
	if f != nil && f.principal != 0 && w.principal != 0 && f.principal != w.principal {
		if t.k.e.guestAt == 0 && t.src != 0 {
			t.k.e.guestAt, t.k.e.guest = t.at, t.src
		}
		t.k.e.others += uint32(t.n)
		if m := t.k.more; m != nil && m.vary != nil {
			m.vary.leak(w, int64(t.n))
		}
	}
}

// stored takes a set.
func (d *Detector) stored(r *rec) {
	k := r.key
	d.fieldFill(r)
	f := k.fam.find()
	f.sets++
	full := uint64(r.n)
	first := !k.set && !d.everSet[full]
	k.set = true
	if k.st.local {
		d.noteSet(full)
	}
	if r.failed {
		return
	}
	old := k.e
	if old.state != none && r.end < old.end {
		return // of two sets that overlap the later one stays
	}
	n := entry{state: live, kind: r.vkind, form: r.form, serial: old.serial + 1, code: uint16(r.code), at: r.at, end: r.end, ttl: lifetime(r.ttl), val: r.val,
		src: r.src.number}
	tr := d.context(r)
	n.who = tr.who
	n.through = r.fill == 0 && !k.missed
	rd, role, in := d.readsBehind(tr, r)
	blind := n.through
	k.missed = false
	renewed := blind && old.state == live && same(&old, &n) && tr.traced() && (old.who == n.who || hitBy(tr, k, old.serial))
	if r.vkind == valueCounter || renewed {
		rd = nil
	} else if blind {
		rd = ownWrites(rd, tr, r, in, &old)
	}
	fill := r.fill != 0 || rd != nil
	if fill {
		f.fills++
		d.cov.Fills++
		if rd != nil {
			d.fillsWithReads++
			for i := range rd.deps {
				f.reads(rd.deps[i].use.table.name)
			}
		}
	}
	d.batched(tr, k, rd)
	n.reads = rd
	n.slot = d.slotFor(rd)
	if rd == nil && old.state != none && old.reads != nil {
		n.reads, n.inherit = old.reads, true
	}
	n.pos = r.fill
	if n.pos != 0 && rd != nil && rd.from != 0 && rd.from < n.pos {
		n.pos = rd.from
	}
	if renewed {
		n.pos = old.pos
	}
	if n.pos > n.end {
		n.pos = 0
	}
	if !renewed {
		d.stamped(k, &old, &n, r, blind)
	}
	var m *keyMore
	tagged := r.x != nil && len(r.x.texts) > 0
	if k.more != nil || old.state != none || tagged || r.x != nil || role == roleReplica {
		m = d.extra(k)
	}
	d.refill(k, &old, &n, r, fill)
	if m != nil {
		if old.state != none {
			m.prev, m.prevAt, m.prevTo, m.prevBy = old.val, old.at, old.end, nil
			if old.through && old.who != nil {
				m.prevBy = old.who
			}
			if old.form != n.form {
				m.prev = 0
			}
		}
		m.dels = since(m.dels, n.pos)
		was := m.tags
		m.tags, m.txn, m.endDel, m.role = nil, r.txn(), nil, role
		if tagged {
			m.tags = slices.Clone(r.x.texts)
			for _, t := range m.tags {
				if !slices.Contains(was, t) {
					tg := d.tag(k.st, t)
					tg.keys = append(tg.keys, k)
				}
			}
		}
		if r.x != nil && r.x.ttlEff > 0 {
			f.factor.note(r.ttl, r.x.ttlEff)
		}
	}
	if tagged {
		d.register(k.st, k.fam, r.x.texts)
	} else {
		d.register(k.st, k.fam, nil)
	}
	carried := n.susp
	n.susp = nil
	d.setLive(k, false)
	k.e = n
	k.e.state = closed
	d.setLive(k, true)
	k.e.state = live
	k.e.susp = carried
	if n.inherit || n.reads == nil {
		in = nil
	}
	d.atSet(k, r, in)
	if k.e.susp != nil {
		d.suspects[k] = true
	} else {
		delete(d.suspects, k)
	}
	d.tidy()
	if fill {
		d.stampede(k, &old, r)
	}
	d.unstable(k, r, fill, first)
}

// hitBy says whether a trace hit an entry: who stores again what it has just read, or stored, only renews it.
func hitBy(tr *trace, k *key, serial uint32) bool {
	return slices.ContainsFunc(tr.touches(), func(t touch) bool { return t.k == k && t.serial == serial })
}

func lifetime(ms int64) uint32 { return uint32(max(min(ms, maxTTL), 0)) }

// expired takes a new lifetime, or the end that it brings.
func (d *Detector) expired(r *rec) {
	k := r.key
	if !k.set {
		for _, kid := range d.fieldsOf(k.id) {
			if r.key = kid; kid.set {
				d.expired(r)
			}
		}
		r.key = k
	}
	if r.kind == kExpire && r.ttl > 0 {
		if k.e.state == live {
			k.e.ttl = lifetime(r.ttl + (r.end-k.e.end)/1e6)
		}
		return
	}
	if r.failed || r.at < k.e.end {
		return
	}
	if k.e.state == live {
		d.setLive(k, false)
		k.e.how = byEvict
	}
}

// deleted takes a delete of a key, a tag, a pattern or everything.
func (d *Detector) deleted(r *rec) {
	x := &del{at: r.at, end: r.end, tr: d.context(r), src: r.src, txn: r.x.txn, st: r.x.st, by: r.by, removed: r.n, err: r.x.err, failed: r.failed,
		code: r.code, tag: r.x.tag, pattern: r.x.pattern}
	if r.by == byKey {
		x.key, x.keyID, x.fam = r.x.delKey, r.x.delID, r.x.delFam
	}
	if did := d.does(x.tr); len(did.dels) < maxOfTrace {
		did.dels = append(did.dels, x)
	} else if !x.tr.traced() {
		did.dels = lastOf(did.dels, x, maxOfTrace)
	}
	first := !d.sharded || d.opt.Shard == 0
	var fams []*family
	switch r.by {
	case byKey:
		f := x.fam.find()
		f.covered = true
		if r.key != nil {
			f.deletes++
			if r.n == 0 {
				f.removed0++
			}
			k := r.key
			m := d.extra(k)
			m.named(x)
			d.endBy(k, x)
		}
		f.removed = f.removed || r.n > 0
		x.one[0] = x.fam
		x.fams = x.one[:]
		for _, kid := range d.fieldsOf(x.keyID) {
			of := kid.fam.find()
			of.covered, of.removed = true, of.removed || r.n > 0
			if len(x.fams) < maxPerFamily && !slices.Contains(x.fams, kid.fam) {
				of.deletes++
				if x.fams = append(x.fams, kid.fam); r.n == 0 {
					of.removed0++
				}
			}
			d.extra(kid).named(x)
			d.endBy(kid, x)
		}
	case byTag:
		t := d.tag(x.st, x.tag)
		t.dels = lastOf(t.dels, x, maxTagDels)
		fams = t.fams
		t.keys = slices.DeleteFunc(t.keys, func(k *key) bool {
			if k.dead || k.more == nil || !slices.Contains(k.more.tags, x.tag) {
				return true
			}
			if k.proc == nil || k.proc == x.src.proc {
				d.endBy(k, x)
			}
			return false
		})
		for _, f := range fams {
			f.find().covered = true
			if first {
				f.find().deletes++
				if r.n == 0 {
					f.find().removed0++
				}
			}
		}
	default:
		x.st.wide = lastOf(x.st.wide, x, d.opt.MaxDeletes)
		d.endWide(x)
		fams = wideFamilies(x)
		for _, f := range fams {
			f.covered = true
			if first {
				f.deletes++
				if r.n == 0 {
					f.removed0++
				}
			}
		}
	}
	if r.by != byKey {
		x.fams = slices.Clone(fams[:min(len(fams), maxPerFamily)])
	}
	d.blame(x)
	d.tidy()
}

// endBy ends the entry of a key that a delete covers, where the delete took effect.
func (d *Detector) endBy(k *key, x *del) {
	e := &k.e
	if e.state != live || x.failed || x.at < e.end {
		return
	}
	if x.by == byTag && x.removed == 0 { // the map from the tag to its keys was lost
		return
	}
	if e.susp != nil && e.reads != nil {
		d.knowing(k, x)
	}
	d.setLive(k, false)
	e.how = byDelete
	d.extra(k).endDel = x
}

// endWide ends the entries that a delete by pattern, or of everything, covers. It looks at every key of the store, which a
// service does rarely.
func (d *Detector) endWide(x *del) {
	for _, k := range d.clock {
		if !k.dead && k.st == x.st && k.set && (k.proc == nil || k.proc == x.src.proc) && x.names(k, nil) {
			d.endBy(k, x)
		}
	}
}
