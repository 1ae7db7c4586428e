package stale

import (
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// maxHistory is the number of fills of one key that are compared for what they follow.
const maxHistory = 8

// fillOf is a fill, as far as it can show what a value follows.
type fillOf struct {
	val     event.Hash
	form    uint8
	at      int64
	end     int64
	who     *caller
	src     uint16
	reads   *reads
	others  uint32
	guest   uint16
	guestAt int64
}

// filled keeps the fills of a key that differ although nothing was written between. moved says that this fill differs
// for a reason, or that its value cannot be compared: the history begins anew.
func (d *Detector) filled(k *key, old, n *entry, r *rec, moved bool) {
	m := k.more
	if moved {
		if m != nil {
			m.hist = nil
		}
		return
	}
	if m == nil || len(m.hist) == 0 && same(old, n) {
		return
	}
	if len(m.hist) == 0 {
		m.hist = append(m.hist, fillFrom(old))
	} else {
		h := &m.hist[len(m.hist)-1]
		h.others, h.guest, h.guestAt = old.others, old.guest, old.guestAt
	}
	m.hist = lastOf(m.hist, fillFrom(n), maxHistory)
	if len(d.waiting) >= d.opt.MaxTraces {
		clear(d.waiting)
	}
	d.waiting[n.who] = append(d.waiting[n.who], k)
	if n.who.done {
		d.fickleTurn(n.who)
	}
}

func fillFrom(e *entry) fillOf {
	return fillOf{val: e.val, form: e.form, at: e.at, end: e.end, who: e.who, src: e.src, reads: e.reads, others: e.others, guest: e.guest, guestAt: e.guestAt}
}

// fickleTurn looks again at the keys that a request filled, now that it is known who asked.
func (d *Detector) fickleTurn(w *caller) {
	keys := d.waiting[w]
	if keys == nil {
		return
	}
	delete(d.waiting, w)
	for _, k := range keys {
		if !k.dead && k.more != nil && len(k.more.hist) > 1 {
			d.follows(k)
		}
	}
}

// follows asks what the values of a key follow: the identity, or another input of the request.
func (d *Detector) follows(k *key) {
	m := k.more
	hist := m.hist
	if m.vary != nil && m.vary.inputName != "" {
		m.vary.fills = slices.Clone(hist)
		return
	}
	name, sharp, lacks := judgeHistory(hist, d)
	if name == "" && lacks == "" {
		return
	}
	if m.vary == nil {
		m.vary = d.tell(k, &k.e, aboutVary)
		m.vary.id = mix(mix(k.id, uint64(hist[0].end)), 11)
		m.vary.confirmed = true
		m.vary.hit.first, m.vary.hit.last = hist[0].end, hist[len(hist)-1].at
		for _, h := range hist {
			m.vary.hit.n += int64(h.others)
			if h.who != nil && h.who.principal != 0 && !slices.Contains(m.vary.hit.ids, h.who.principal) {
				m.vary.hit.ids = append(m.vary.hit.ids, h.who.principal)
			}
		}
		d.keep(m.vary)
	}
	m.vary.inputName, m.vary.sharp, m.vary.lacks = name, sharp, lacks
	m.vary.fills = slices.Clone(hist)
}

// leak counts a read by another identity than that of who filled.
func (s *story) leak(w *caller, n int64) {
	s.hit.n += n
	s.hit.by(w, n)
}

// judgeHistory finds the input that a row of fills follows: "principal", or the name of another. lacks is what is not
// known where something of the kind may be.
func judgeHistory(hist []fillOf, d *Detector) (name string, sharp bool, lacks string) {
	returned := false
	for i := range hist {
		for j := 0; j+1 < i; j++ {
			if hist[i].val == hist[j].val && slices.ContainsFunc(hist[j+1:i], func(f fillOf) bool { return f.val != hist[i].val }) {
				returned = true
			}
		}
	}
	principals := func(f *fillOf) (uint64, bool) { return f.who.principal, f.who.done && f.who.principal != 0 }
	if f := followed(hist, principals); f == 2 {
		return "principal", true, ""
	} else if f == 1 && paramFollows(hist) {
		return "principal", true, ""
	} else if f == 1 && !d.newCode(hist) {
		return "", false, "fill"
	}
	var inputs []uint32
	for _, in := range hist[0].who.others() {
		inputs = append(inputs, in.name())
	}
	slices.SortFunc(inputs, func(a, b uint32) int { return strings.Compare(d.names.of(a), d.names.of(b)) })
	for _, in := range inputs {
		get := func(f *fillOf) (uint64, bool) {
			for _, v := range f.who.others() {
				if v.name() == in {
					return uint64(v), true
				}
			}
			return 0, false
		}
		if followed(hist, get) == 2 {
			return d.names.of(in), true, ""
		}
	}
	if followed(hist, func(f *fillOf) (uint64, bool) { return f.who.target, f.who.target != 0 }) == 2 {
		return "target", true, ""
	}
	unknown := slices.ContainsFunc(hist, func(f fillOf) bool { return f.who.principal == 0 })
	if unknown && (returned || paramFollows(hist)) {
		return "", false, "principal"
	}
	return "", false, ""
}

// newCode says whether values changed only where the version of the code that filled them did: that explains them, until a
// value returns with who asks.
func (d *Detector) newCode(hist []fillOf) bool {
	for i := 1; i < len(hist); i++ {
		if hist[i].val != hist[i-1].val && !otherVersion(d.sourceOf(hist[i-1].src), d.sourceOf(hist[i].src)) {
			return false
		}
	}
	return true
}

// followed says whether the value is a function of an input: 0 no or not known, 1 two fills of different inputs differ,
// 2 a value returned with its input.
func followed(hist []fillOf, get func(*fillOf) (uint64, bool)) int {
	byInput := map[uint64]event.Hash{}
	changed, returned := false, false
	var last uint64
	left := map[uint64]bool{}
	for i := range hist {
		in, ok := get(&hist[i])
		if !ok {
			return 0
		}
		if v, seen := byInput[in]; seen && v != hist[i].val {
			return 0
		}
		byInput[in] = hist[i].val
		if i > 0 && in != last {
			if hist[i].val != hist[i-1].val {
				changed = true
				returned = returned || left[in]
			}
			left[last] = true
		}
		last = in
	}
	switch {
	case changed && returned:
		return 2
	case changed:
		return 1
	}
	return 0
}

// paramFollows says whether the fills' statements are the same but for a value that a row must have, and that differs
// where the value differs.
func paramFollows(hist []fillOf) bool {
	for i := 1; i < len(hist); i++ {
		a, b := hist[i-1].reads, hist[i].reads
		if a == nil || b == nil || len(a.deps) != len(b.deps) || hist[i-1].val == hist[i].val {
			continue
		}
		alike, other := true, false
		for j := range a.deps {
			x, y := &a.deps[j], &b.deps[j]
			if x.use != y.use || len(x.bound) != len(y.bound) {
				alike = false
				break
			}
			for n := range x.bound {
				if x.bound[n].col != y.bound[n].col {
					alike = false
				} else if !slices.Equal(x.bound[n].vals, y.bound[n].vals) {
					other = true
				}
			}
		}
		if alike && other {
			return true
		}
	}
	return false
}
