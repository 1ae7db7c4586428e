package stale

import (
	"cmp"
	"slices"
)

// What a story is about, as far as the entry alone tells.
const (
	aboutWrite  = iota // the entry is older than a write
	aboutOld           // it was filled after a write, with the value from before
	aboutInside        // it was set in a transaction that did not commit, or may not have
	aboutGhost         // without pid: a value that was dropped is read again
	aboutVary          // fills follow who asks
	aboutVersion
	aboutAlias
	aboutError  // an error was cached
	aboutUnseen // fills differ and no write was seen
)

// story is one entry that was, or may have been, read stale. Its cause is decided when a report is made, for what
// happens later may revise it.
type story struct {
	id        uint64
	about     uint8
	k         *key
	key       string
	st        *store
	proc      *proc
	fam       *family
	e         entry
	tags      []string
	dels      []*del // that named the key
	endDel    *del
	txn       *txn
	role      uint8
	hit       suspect
	others    []suspect // writes that may be to blame as well: their columns are not known
	confirmed bool
	refill    brief
	inputName string
	fills     []fillOf
	sharp     bool      // the fills' reads differ in a parameter, or a value returned
	apart     bool      // the refill asked for other rows: what it found says little of the write
	also      []suspect // writes of other kinds, after which the refill came as well
	crowded   bool      // there were more writes than could be noted
	noisy     bool      // values of the family differ where nothing changed, so that a refill confirms nothing
	sure      int64     // hits after all of them
	lacks     string
}

// brief is a later set, as a story tells it.
type brief struct {
	at, end int64
	who     *caller
	src     uint16
	tr      *trace
}

// unaltered says whether two fills read the same and found the same, whatever they made of it. What a writer stores is not made of
// what it had read, and one that stored what it cannot have read held it from somewhere else.
func unaltered(a, b *entry) bool {
	x, y := a.reads, b.reads
	if a.susp != nil && slices.ContainsFunc(a.susp.ws, func(s suspect) bool { return s.lapse != lapseWrite }) {
		return false
	}
	return !a.through && !b.through && x != nil && y != nil && !a.inherit && !b.inherit && x.result != 0 && x.result == y.result && x.sig == y.sig && !x.carried() && !y.carried()
}

func same(a, b *entry) bool   { return a.val != 0 && a.val == b.val && a.form == b.form }
func differ(a, b *entry) bool { return a.val != 0 && b.val != 0 && a.val != b.val && a.form == b.form }

// refill compares an entry with the next one of its key.
func (d *Detector) refill(k *key, old, n *entry, r *rec, fill bool) {
	if k.more != nil {
		k.more.before = nil
	}
	if old.state == none {
		return
	}
	if old.checked != d.writeSeq { // what was written after the last read may explain that the next fill differs
		unread := old.susp == nil
		d.compare(k)
		*old = k.e
		if unread && old.susp != nil {
			defer d.reuseSuspicion(old.susp)
		}
	}
	k.fam.find().learn(old, n)
	if same(old, n) {
		d.carry(k, old, n, r)
		d.filled(k, old, n, r, false)
		return
	}
	if !differ(old, n) { // one of the values is not known, so that nothing is confirmed or refuted
		d.leftOpen(k)
		d.filled(k, old, n, r, true)
		return
	}
	if k.st.local && k.proc.pid == 0 {
		d.haunt(k, old, n)
	}
	blamed, still := false, unaltered(old, n)
	if from, to := d.sourceOf(old.src), d.sourceOf(n.src); still && !otherVersion(from, to) && !unversioned(from, to) {
		k.fam.find().noise++
	}
	switch {
	case old.susp == nil:
	case still:
		d.carry(k, old, n, r)
	default:
		blamed = d.blameWrite(k, old, n, r)
	}
	if !blamed && old.kind == valueError && n.kind == valueValue && old.hits > 0 {
		s := d.tell(k, old, aboutError)
		s.hit = suspect{n: int64(old.hits), first: old.end, last: n.at}
		s.confirm(n)
		d.keep(s)
		blamed = true
	}
	// A set over what is live, with no miss before it, is no fill: a counter, or a writer's own value.
	unmoved := !blamed && (r.fill != 0 || old.state != live) && d.noWriteBetween(k, old, n, r)
	d.filled(k, old, n, r, !unmoved)
	if unmoved {
		d.unmoved(k, old, n, r)
	}
}

// blameWrite finds the write that made an entry stale, and tells the story. It says whether any write could have.
func (d *Detector) blameWrite(k *key, old, n *entry, r *rec) bool {
	s := d.accuse(k, old)
	if s == nil || s.hit.n == 0 {
		d.unsure += d.excused
	}
	if s == nil {
		return len(old.susp.ws) > 0
	}
	s.confirm(n)
	s.apart = old.elsewhere(n)
	s.refill.tr = d.context(r)
	s.refill.tr.kept = true
	m := d.extra(k)
	m.before, m.kept = s, s.hit.n > 0
	if s.hit.n == 0 {
		return true
	}
	if w := s.hit.w; s.about == aboutWrite && s.refill.tr.startedBy(w.tr) && w.tr.traced() && n.end >= w.end {
		k.fam.find().lag.note(n.end-w.end, 1)
	}
	d.keep(s)
	return true
}

// overtaken counts a hit that had the value of the entry before, while the next one was being stored.
func (d *Detector) overtaken(k *key, r *rec) {
	m := k.more
	if m == nil || m.before == nil || r.val == 0 || r.val != m.before.e.val || r.val == k.e.val || r.at < m.before.e.end {
		return
	}
	was := suspicion{ws: []suspect{m.before.hit}}
	if was.hit(d, k, r) == 0 {
		return
	}
	m.before.hit = was.ws[0]
	d.judged += r.n
	if !m.kept {
		m.kept = true
		d.keep(m.before)
	}
	if r.tr != nil && len(r.tr.touch) < maxOfTrace {
		d.touch(r.tr, touch{k: k, n: int32(r.n), story: m.before})
	}
}

// tell begins a story.
func (d *Detector) tell(k *key, e *entry, about uint8) *story {
	s := &story{about: about, k: k, key: k.name, st: k.st, proc: k.proc, fam: k.fam, e: *e}
	s.e.susp = nil
	s.id = mix(mix(k.id, uint64(e.end)), uint64(about>>7))
	s.dels = d.delsOf(k, e)
	if m := k.more; m != nil {
		s.tags, s.endDel, s.txn, s.role = m.tags, m.endDel, m.txn, m.role
		if m.unsaid {
			s.lacks = "hit"
		}
	}
	return s
}

// delsOf are the deletes that named a key, in order.
func (d *Detector) delsOf(k *key, e *entry) []*del {
	var out []*del
	if m := k.more; m != nil {
		out = append(out, m.dels...)
		for _, t := range m.tags {
			out = append(out, d.tag(k.st, t).dels...)
		}
	}
	for _, x := range k.st.wide {
		if x.covers(k, nil) {
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b *del) int { return cmp.Compare(a.end, b.end) })
	return out
}

func (s *story) confirm(n *entry) {
	s.confirmed = true
	s.refill = brief{at: n.at, end: n.end, who: n.who, src: n.src}
}

// keep adds a story; beyond MaxCases the oldest is added up with its like for good.
func (d *Detector) keep(s *story) {
	d.stories = append(d.stories, s)
	d.fresh = append(d.fresh, s)
	if len(d.stories) > d.opt.MaxCases {
		d.reach("stories")
		d.settle(d.stories[:len(d.stories)/2])
		d.stories = append(d.stories[:0], d.stories[len(d.stories)/2:]...)
	}
	if len(d.fresh) > d.opt.MaxCases {
		d.fresh = d.fresh[len(d.fresh)/2:]
	}
}

// carry takes what is suspected of an entry to the next one with the same value, where that one's reads are as old: it
// says nothing of the write.
func (d *Detector) carry(k *key, old, n *entry, r *rec) {
	if old.susp == nil || n.pos == 0 {
		return
	}
	for _, x := range old.susp.ws {
		if x.lapse == lapseWrite && n.pos < x.w.at && !d.lagged(k, old, x.w) {
			if n.susp == nil {
				n.susp = &suspicion{full: old.susp.full}
			}
			n.susp.ws = append(n.susp.ws, x)
		}
	}
}

// noWriteBetween says whether nothing was written to the tables behind two entries between their reads.
func (d *Detector) noWriteBetween(k *key, old, n *entry, r *rec) bool {
	if old.reads == nil || n.reads == nil || old.inherit || n.inherit {
		return false
	}
	if old.susp != nil && len(old.susp.ws) > 0 {
		return false
	}
	from := old.pos
	if from == 0 {
		from = old.at
	}
	if n.pos != 0 && n.pos < from {
		from = n.pos
	}
	for _, rd := range []*reads{old.reads, n.reads} {
		for i := range rd.deps {
			if x := &rd.deps[i]; x.carried {
				from = min(from, x.at)
			}
		}
	}
	for _, rd := range []*reads{old.reads, n.reads} {
		for i := range rd.deps {
			t := rd.deps[i].use.table
			if t.taint >= from {
				return false
			}
			for j := len(t.log) - 1; j >= 0; j-- {
				w := t.log[j]
				if w.end <= from {
					break
				}
				if level, cols, _ := rd.relevance(w); level != levelNone && cols != colsNo {
					return false
				}
				if j == 0 && t.lost > 0 {
					return false
				}
			}
		}
	}
	return true
}

// unmoved takes two fills that differ although nothing was written between.
func (d *Detector) unmoved(k *key, old, n *entry, r *rec) {
	if old.reads.loose || n.reads.loose {
		return
	}
	results := old.reads.result != 0 && n.reads.result != 0
	if n.form != formCanonical && (!results || old.reads.result == n.reads.result) { // the same may have been written down in another way
		return
	}
	if otherVersion(d.sourceOf(old.src), d.sourceOf(n.src)) {
		if old.newer > 0 {
			s := d.tell(k, old, aboutVersion)
			s.hit = suspect{n: int64(old.newer), first: old.end, last: n.at}
			s.confirm(n)
			d.keep(s)
		}
		return
	}
	if old.hits == 0 {
		return
	}
	// From equal results other code may have made another value; where the versions are known, it did not.
	moved := old.reads.result == 0 || old.reads.result != n.reads.result || unversioned(d.sourceOf(old.src), d.sourceOf(n.src))
	if old.reads.sig == n.reads.sig && !old.reads.carried() && moved {
		s := d.tell(k, old, aboutUnseen)
		s.hit = suspect{n: int64(old.hits), first: old.end, last: n.at}
		s.confirm(n)
		d.keep(s)
	}
}

// aliased takes a hit whose value is not the one that was set, if nobody else could have set another.
func (d *Detector) aliased(k *key, r *rec) bool {
	lacks := ""
	switch {
	case r.form == formRaw:
		return false
	case k.st.layer == "":
		lacks = "layer"
	case !k.st.local || k.proc.pid == 0:
		return false
	case r.form == formUnknown:
		lacks = "value_form"
	}
	d.context(r).kept = true
	m := d.extra(k)
	if m.alias == nil || m.alias.e.serial != k.e.serial {
		m.alias = d.tell(k, &k.e, aboutAlias)
		m.alias.confirmed, m.alias.lacks = true, lacks
		m.alias.refill = brief{at: r.at, end: r.end, src: r.src.number, who: d.context(r).who}
		d.keep(m.alias)
	}
	s := &m.alias.hit
	s.n += r.n
	if s.first == 0 {
		s.first = r.at
	}
	s.last = max(s.last, r.at)
	d.judged += r.n
	if r.tr != nil && len(r.tr.touch) < maxOfTrace {
		d.touch(r.tr, touch{k: k, serial: k.e.serial, n: int32(r.n), story: m.alias})
	}
	return true
}

// leftOpen counts what is suspected of an entry that was followed by a value that is not known.
func (d *Detector) leftOpen(k *key) {
	before := d.unsure
	d.unconfirmed(k, false)
	d.opened += d.unsure - before
}

// unconfirmed makes a story of an entry that may be stale and was never filled again. Where the write surely touched
// what was read it is a finding, else its reads are counted in coverage. Nothing is kept where only is set.
func (d *Detector) unconfirmed(k *key, only bool) *story {
	e := k.e
	if e.susp == nil {
		return nil
	}
	s := d.accuse(k, &e)
	if s == nil || s.hit.n == 0 {
		return nil
	}
	sure := s.hit.level == levelRow && s.hit.cols == colsYes && s.hit.stood != readUnknown && s.about == aboutWrite && len(s.others) == 0
	if s.about == aboutInside && s.txn != nil && s.txn.state == txnRolledBack {
		sure = true
	}
	if !sure {
		if !only {
			d.unsure += s.hit.n
		}
		s.about = 255
		return s
	}
	if !only {
		d.keep(s)
	}
	return s
}
