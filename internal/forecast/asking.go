package forecast

import (
	"cmp"
	"slices"
)

// Equal answers to two users do not show that an answer is the same for all where it was made of rows of each one's own that
// happened to be equal: six users with three drafts each. What was asked shows it: a parameter of a statement, an argument of
// an observed function or a key of a standing cache that differs with the principal, and comes back with it.

// ran is what ran inside a unit and was asked for something: a statement, a call, a look-up in a standing cache.
type ran struct {
	text   uint32 // the statement, function or shape of the key
	params span   // in Forecast.inputs
	result uint64 // hash of what it gave; 0: not known
}

// slot is one thing that something which ran is asked with.
type slot struct{ text, param uint32 }

// asking is a slot as one unit used it, however often.
type asking struct {
	slot
	values uint64
	result uint64 // 0: not known
}

// askings returns what ran inside a unit and with what, by slot.
func (l *log) askings(u *unit) []asking {
	var list []asking
	for _, i := range l.runs[u.runs.from:u.runs.to] {
		r := &l.ran[i]
		for _, in := range l.inputs[r.params.from:r.params.to] {
			list = append(list, asking{slot{r.text, in.name}, in.hash, r.result})
		}
	}
	slices.SortFunc(list, func(a, b asking) int {
		return cmp.Or(a.compare(b.slot), cmp.Compare(a.values, b.values), cmp.Compare(a.result, b.result))
	})
	one := list[:0]
	for i, a := range list {
		n := len(one)
		switch {
		case n == 0 || one[n-1].slot != a.slot:
			one = append(one, a)
		case list[i-1] != a: // the same one again says nothing more
			o := &one[n-1]
			o.values = mix(o.values, a.values)
			if o.result != 0 && a.result != 0 {
				o.result = mix(o.result, a.result)
			} else {
				o.result = 0
			}
		}
	}
	return one
}

func (s slot) compare(o slot) int {
	return cmp.Or(cmp.Compare(s.text, o.text), cmp.Compare(s.param, o.param))
}

// follower counts how a slot goes along with the principal, or another input, in pairs of units whose other inputs in the key
// are equal.
type follower struct {
	same, other counts
	told        int64 // pairs of two users with equal answers although what it gave them differed
}

// counts are of pairs of one value of the input, or of two.
type counts struct {
	both, differ int64 // both units asked with it, and of these those that asked for something else
	oneSided     int64 // one of them did not ask with it
}

func (c *counts) note(p, q *asking) {
	switch {
	case p == nil || q == nil:
		c.oneSided++
	default:
		c.both++
		if p.values != q.values {
			c.differ++
		}
	}
}

// tally is what pairs of units say of all slots.
type tally struct {
	slots       map[slot]*follower
	same, other int64 // pairs of one value, and of two
	nobody      int64 // pairs of somebody and nobody with equal answers
}

// chanceSides is how often one unit of a pair may ask with something alone by chance: the first statement of a connection.
const chanceSides = 3

// follows says whether a slot differs with the principal, and hardly while the principal stays the same. What was never
// asked twice for one principal is taken for one that does: leaving the principal out needs evidence.
func (t *tally) follows(f *follower) bool {
	usual := func(n, of int64) float64 { return 2 * float64(n) / float64(max(of, 1)) }
	sides := (usual(f.same.oneSided, t.same)+tolerated)*float64(t.other) + chanceSides
	return float64(f.other.differ) > usual(f.same.differ, f.same.both)*float64(f.other.both) || float64(f.other.oneSided) > sides
}

// ownRows is what was found of the slots that follow the principal.
type ownRows struct {
	keep string // what keeps the principal in the key; "" for nothing
	mere string // what only finds out who asks, as far as can be told; "" for nothing
}

// authRoutes is in how many routes something must run to be taken for what only finds out who asks.
const authRoutes = 3

// ownRows looks for what ran inside the units and was asked with something of the principal's, other inputs in the key being
// equal.
//
// What finds out who asks (the row of the session's user) is asked so in each answer, too. It is told apart only where
// nothing speaks against it: of an answer, where it runs behind several routes, what it gave differed between users whose
// answers were equal all the same, and users without a principal got the same answer as those with one, time and again. What
// depends on a login anyway keeps the principal, at no loss but that of hits.
func (l *log) ownRows(t *inputsOf, key []bool) ownRows {
	found, nobody := l.followers(t, key)
	answer := len(t.units) > 0 && l.units[t.units[0]].level == response
	var own ownRows
	perhaps := ""
	for _, s := range found {
		what, often := l.names.text(s.text), l.routesOf[s.text] >= authRoutes
		switch {
		case often && answer && s.told >= enoughPairs && nobody >= enoughPairs:
			own.mere = cmp.Or(own.mere, what)
		case often:
			perhaps = cmp.Or(perhaps, what+" (perhaps only to find out who asks)")
		default:
			own.keep = cmp.Or(own.keep, what)
		}
	}
	own.keep = cmp.Or(own.keep, perhaps)
	return own
}

type following struct {
	slot
	follower
}

// followers returns the slots that follow the principal, and in how many pairs of somebody and nobody the answers were equal.
func (l *log) followers(t *inputsOf, key []bool) (list []following, nobody int64) {
	of := l.tallied(t, key, t.who)
	for s, f := range of.slots {
		if of.follows(f) {
			list = append(list, following{s, *f})
		}
	}
	slices.SortFunc(list, func(a, b following) int {
		return cmp.Or(cmp.Compare(l.names.text(a.text), l.names.text(b.text)), cmp.Compare(l.names.text(a.param), l.names.text(b.param)))
	})
	return list, of.nobody
}

// tallied compares units with the last one before them of the same value in column c, and of another one, other inputs in the
// key being equal. What is asked may also change with what was written; so pairs with a write between count only where there
// are few others.
func (l *log) tallied(t *inputsOf, key []bool, c int) *tally {
	type group struct {
		last, other int            // the last unit, and the last one before it of another value; -1 for none
		of          map[uint64]int // the last one of each value
	}
	groups := map[uint64]*group{}
	all, calm := tally{slots: map[slot]*follower{}}, tally{slots: map[slot]*follower{}}
	pair := func(a, b int) {
		x, y := &l.units[t.units[a]], &l.units[t.units[b]]
		anonymous := c == t.who && (t.rows[a][c] == l.nobody || t.rows[b][c] == l.nobody)
		same := t.rows[a][c] == t.rows[b][c]
		l.tallyPair(&all, x, y, same, anonymous)
		if !wroteBetween(t.times[a], x.at, y.end) && !wroteBetween(t.times[b], x.at, y.end) {
			l.tallyPair(&calm, x, y, same, anonymous)
		}
	}
	for i, row := range t.rows {
		v := row[c]
		if v == 0 && c == t.who {
			continue // it is not known who asked
		}
		h := t.keyOf(row, key)
		g := groups[h]
		if g == nil {
			g = &group{last: -1, other: -1, of: map[uint64]int{}}
			groups[h] = g
		}
		if before, ok := g.of[v]; ok {
			pair(before, i)
		}
		if g.last >= 0 && t.rows[g.last][c] != v {
			g.other = g.last
		}
		if g.other >= 0 {
			pair(g.other, i)
		}
		g.of[v], g.last = i, i
	}
	if calm.other < enoughPairs {
		return &all
	}
	return &calm
}

// tallyPair counts two units, of the same value or not; anonymous: one of them was asked for by nobody.
func (l *log) tallyPair(t *tally, x, y *unit, same, anonymous bool) {
	hidden := (x.flags|y.flags)&fromCache != 0 // a hit kept statements from being run
	equal := x.comparable() && y.comparable() && x.hash == y.hash
	if same {
		t.same++
	} else {
		t.other++
	}
	if equal && anonymous && !same {
		t.nobody++
	}
	eachSlot(l.askings(x), l.askings(y), func(s slot, p, q *asking) {
		f := t.slots[s]
		if f == nil {
			f = &follower{}
			t.slots[s] = f
		}
		switch {
		case (p == nil || q == nil) && hidden:
		case same:
			f.same.note(p, q)
		default:
			f.other.note(p, q)
			if equal && !anonymous && p != nil && q != nil && p.values != q.values && p.result != 0 && q.result != 0 && p.result != q.result {
				f.told++
			}
		}
	})
}

// AskedWith begins the reason why another input is in the key although no answer differed with it.
const AskedWith = "its statements ask with it"

// askedWith names what ran inside the units and was asked with an input that no answer differed with (column c): with what
// differs when it does, and stays the same when it does. So are pages beyond the end of a list and searches that find nothing:
// all were answered alike, and will not be on the day when there is something to find. Of an input that never came twice it
// cannot be told. "" for nothing.
func (l *log) askedWith(t *inputsOf, key []bool, c int) string {
	found := ""
	for s, f := range l.tallied(t, key, c).slots {
		if min(f.same.both, f.other.both) < enoughPairs || 10*f.other.differ < 9*f.other.both || 10*f.same.differ > f.same.both {
			continue
		}
		if what := l.names.text(s.text); found == "" || what < found {
			found = what
		}
	}
	return found
}

// eachSlot calls do for each slot of two lists, with nil where one of them has it not.
func eachSlot(a, b []asking, do func(s slot, p, q *asking)) {
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(b) == 0:
			order = -1
		case len(a) == 0:
			order = 1
		default:
			order = a[0].compare(b[0].slot)
		}
		switch {
		case order < 0:
			do(a[0].slot, &a[0], nil)
			a = a[1:]
		case order > 0:
			do(b[0].slot, nil, &b[0])
			b = b[1:]
		default:
			do(a[0].slot, &a[0], &b[0])
			a, b = a[1:], b[1:]
		}
	}
}

// arguments are those of a call that it is asked for something with: those that are something to work with are left out.
func (l *log) arguments(call *unit) span {
	own := l.inputs[call.own.from:call.own.to]
	if !slices.ContainsFunc(own, func(in input) bool { return handle(l.names.text(in.name)) }) {
		return call.own
	}
	from := len(l.inputs)
	for _, in := range own {
		if !handle(l.names.text(in.name)) {
			l.inputs = append(l.inputs, in)
		}
	}
	return l.kept(from)
}

// countRoutes finds in how many routes each thing that is asked for something runs.
func (l *log) countRoutes() {
	l.nobody = id(anonymous)
	l.routesOf = map[uint32]int{}
	seen := map[[2]uint32]bool{}
	for i := range l.units {
		u := &l.units[i]
		if u.level != response {
			continue
		}
		for _, n := range l.runs[u.runs.from:u.runs.to] {
			k := [2]uint32{l.ran[n].text, u.name}
			if !seen[k] {
				seen[k] = true
				l.routesOf[k[0]]++
			}
		}
	}
}

// OwnRows begins the reason why the principal is in the key although no answer differed with it.
const OwnRows = "its statements ask for the principal's own rows"

// answeredToNobody counts the units that were asked for by nobody, and answered.
func (l *log) answeredToNobody(t *inputsOf) *int64 {
	n := int64(0)
	for _, i := range t.units {
		if u := &l.units[i]; u.who == l.nobody && (u.level != response || u.status >= 200 && u.status < 300) {
			n++
		}
	}
	return &n
}

// unguarded says what is to be known before an answer is cached without the principal in its key, where nobody without one
// was ever answered; "" where the principal is in the key, or where the answer is seen to be everybody's.
func (c *candidate) unguarded() string {
	if i := slices.IndexFunc(c.parts.inputs, func(in KeyInput) bool { return in.Name == principalName }); i >= 0 && c.level == response {
		if in := &c.parts.inputs[i]; in.Use != useKey && in.Use != useKept && in.Nobody != nil && *in.Nobody == 0 {
			return Unguarded
		}
	}
	return ""
}

// Unguarded is the note on an answer that only users with a principal were seen to get, and whose key has none.
const Unguarded = "no request without a principal was seen to be answered: a cache in front of the login check would answer those, too; " +
	"put it behind the check, or the principal into the key"

// keepAsked puts what is asked for into the key where it was left out, and something inside was asked with it.
func (l *log) keepAsked(t *inputsOf, k *keyParts, order []int) {
	k.asked = map[int]string{}
	for _, c := range order {
		if k.key[c] || tier(t.names[c]) > 1 || handle(t.names[c]) || !l.varies(t, k.key, c) {
			continue
		}
		if what := l.askedWith(t, k.key, c); what != "" {
			k.key[c], k.asked[c] = true, what
		}
	}
}
