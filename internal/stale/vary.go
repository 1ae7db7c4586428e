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
	moved   bool // something was written since the fill before that may explain its value
}

// filled keeps the fills of a key that differ although nothing was written between. moved says that this fill may differ
// because of a write, or that its value cannot be compared. The history begins anew then, unless the fills ask for other
// rows from their first statement on: no write makes them do so, and an input of the request may.
func (d *Detector) filled(k *key, old, n *entry, r *rec, moved bool) {
	m := k.more
	if moved {
		// A set over what is live, with no miss before it, is no fill.
		asked := n.val != 0 && !n.inherit && (r.fill != 0 || old.state != live)
		if asked && differ(old, n) && firstOther(old.reads, n.reads) >= 0 {
			m = d.extra(k)
			m.apart = true
		}
		if m == nil || !m.apart || !asked {
			if m != nil {
				m.hist, m.apart = nil, false
			}
			return
		}
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
	m.hist[len(m.hist)-1].moved = moved
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
// known where something of the kind may be. Of several inputs that explain the values it is the one with the fewest
// values, of equals the identity.
func judgeHistory(hist []fillOf, d *Detector) (name string, sharp bool, lacks string) {
	value := func(f *fillOf) uint64 { return uint64(f.val) }
	written := slices.ContainsFunc(hist[1:], func(f fillOf) bool { return f.moved })
	if written {
		rows, ok := rowsAsked(hist)
		if !ok {
			return "", false, ""
		}
		value = rows
	}
	principals := func(f *fillOf) (uint64, bool) { return f.who.principal, f.who.done && f.who.principal != 0 }
	byWho := followed(hist, principals, value)
	fewest := maxHistory + 1
	prefer := func(in string, get func(*fillOf) (uint64, bool)) {
		if n := valuesOf(hist, get); n < fewest && followed(hist, get, value) == 2 {
			name, fewest = in, n
		}
	}
	prefer("principal", principals)
	if name == "" && !written {
		if byWho == 1 && paramFollows(hist) {
			return "principal", true, ""
		} else if byWho == 1 && !d.newCode(hist) {
			return "", false, "fill"
		}
	}
	var inputs []uint32
	for _, in := range hist[0].who.others() {
		inputs = append(inputs, in.name())
	}
	slices.SortFunc(inputs, func(a, b uint32) int { return strings.Compare(d.names.of(a), d.names.of(b)) })
	for _, in := range inputs {
		prefer(d.names.of(in), func(f *fillOf) (uint64, bool) {
			for _, v := range f.who.others() {
				if v.name() == in {
					return uint64(v), true
				}
			}
			return 0, false
		})
	}
	if name == "" {
		prefer("target", func(f *fillOf) (uint64, bool) { return f.who.target, f.who.target != 0 })
	}
	if name != "" {
		return name, true, ""
	}
	unknown := slices.ContainsFunc(hist, func(f fillOf) bool { return f.who.principal == 0 })
	if unknown && !written && (returned(hist) || paramFollows(hist)) {
		return "", false, "principal"
	}
	return "", false, ""
}

// returned says whether a value came back after another one.
func returned(hist []fillOf) bool {
	for i := range hist {
		for j := 0; j+1 < i; j++ {
			if hist[i].val == hist[j].val && slices.ContainsFunc(hist[j+1:i], func(f fillOf) bool { return f.val != hist[i].val }) {
				return true
			}
		}
	}
	return false
}

// valuesOf counts the values of an input.
func valuesOf(hist []fillOf, get func(*fillOf) (uint64, bool)) int {
	seen := make(map[uint64]bool, maxHistory)
	for i := range hist {
		v, _ := get(&hist[i])
		seen[v] = true
	}
	return len(seen)
}

// firstOther is the first read in which two fills of the same statements ask for rows with other values, if nothing
// before it differs; -1 for none.
func firstOther(a, b *reads) int {
	if a == nil || b == nil {
		return -1
	}
	for i := range min(len(a.deps), len(b.deps)) {
		x, y := &a.deps[i], &b.deps[i]
		if x.use != y.use || x.carried || y.carried || len(x.bound) != len(y.bound) {
			return -1
		}
		other := false
		for n := range x.bound {
			if x.bound[n].col != y.bound[n].col {
				return -1
			}
			other = other || !slices.Equal(x.bound[n].vals, y.bound[n].vals)
		}
		if other {
			return i
		}
	}
	return -1
}

// rowsAsked tells by the values that rows must have in it, in the first read in which fills differ, what each of them
// asked for. Not so where an earlier statement is another one, or no read differs.
func rowsAsked(hist []fillOf) (func(*fillOf) uint64, bool) {
	at := -1
	for i := 1; i < len(hist); i++ {
		if n := firstOther(hist[i-1].reads, hist[i].reads); n >= 0 && (at < 0 || n < at) {
			at = n
		}
	}
	if at < 0 {
		return nil, false
	}
	for i := range hist {
		rd := hist[i].reads
		if rd == nil || len(rd.deps) <= at || rd.deps[at].use != hist[0].reads.deps[at].use {
			return nil, false
		}
	}
	return func(f *fillOf) uint64 {
		h := uint64(at)
		for _, b := range f.reads.deps[at].bound {
			for _, v := range b.vals {
				h = mix(h, uint64(v))
			}
		}
		return h
	}, true
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

// followed says whether what fills stored, or asked for, is a function of an input: 0 no or not known, 1 two fills of
// different inputs differ, 2 it returned with its input.
func followed(hist []fillOf, get func(*fillOf) (uint64, bool), value func(*fillOf) uint64) int {
	byInput := map[uint64]uint64{}
	changed, returned := false, false
	var last uint64
	left := map[uint64]bool{}
	for i := range hist {
		in, ok := get(&hist[i])
		if !ok {
			return 0
		}
		is := value(&hist[i])
		if v, seen := byInput[in]; seen && v != is {
			return 0
		}
		byInput[in] = is
		if i > 0 && in != last {
			if is != value(&hist[i-1]) {
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
