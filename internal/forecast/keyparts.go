package forecast

import (
	"cmp"
	"slices"
	"strings"
)

// What an input needs before it is left out of a key: this many pairs of answers that were equal although it differed. A
// principal left out by mistake shows one user's answer to another, so it needs more.
const (
	enoughPairs     = 20
	enoughPrincipal = 50
	// enoughTracking is what a parameter needs whose name says that it only follows readers around.
	enoughTracking = 5
	// neighbours is with how many answers before it, of the same group, each one is compared.
	neighbours = 4
	// tolerated is the share of differing pairs above the unstable share that is put down to writes nobody observed.
	tolerated = 0.02
)

// KeyInput is what was found about one input of a boundary.
type KeyInput struct {
	Name    string `json:"name"`
	Use     string `json:"use"`     // key, kept, ignored, follows
	Pairs   int64  `json:"pairs"`   // pairs of answers in which, beside ignored inputs, it alone could matter
	Differ  int64  `json:"differ"`  // of these, answers that differed
	Because string `json:"because"` // in words
	// Nobody is, of the principal, how many units were answered to nobody: with a status of 200 to 299, of an answer.
	Nobody *int64 `json:"nobody,omitempty"`
}

// Uses of an input.
const (
	useKey     = "key"     // the answer depends on it
	useKept    = "kept"    // too little evidence to leave it out
	useIgnored = "ignored" // never changed the answer
	useFollows = "follows" // never differs where the key is the same
)

// inputsOf are the inputs of one candidate, as a table: one row a unit, one column an input.
type inputsOf struct {
	names    []string
	rows     [][]uint64  // 0 where it was absent
	units    []int32     // indices into log.units, by start
	times    [][][]int64 // of each unit: when what it rests on was written
	unlikely []bool      // inputs
	who      int         // column of the principal, -1 for none
}

// maxCompared is how many units of a boundary are looked at to find its key: those of a few stretches of time.
const maxCompared = 100_000

// stretches leaves of many units those of ten stretches, evenly apart.
func stretches(units []int32) []int32 {
	if len(units) <= maxCompared {
		return units
	}
	var some []int32
	for i := range 10 {
		from := i * (len(units) - maxCompared/10) / 9
		some = append(some, units[from:from+maxCompared/10]...)
	}
	return some
}

// maxCandidateInputs bounds the columns; inputs beyond them count as one.
const maxCandidateInputs = 64

const principalName = "principal"

// inputsTable collects the inputs of units, which are answers worth comparing.
func (l *log) inputsTable(units []int32) *inputsOf {
	t := &inputsOf{units: units, who: -1}
	col := map[uint32]int{}
	place := func(name uint32) int {
		c, ok := col[name]
		if !ok {
			if c = len(t.names); c >= maxCandidateInputs {
				c = maxCandidateInputs - 1
				t.names[c] = "query.*"
			} else {
				t.names = append(t.names, l.names.text(name))
			}
			col[name] = c
		}
		return c
	}
	who := l.names.id(principalName)
	anyone := slices.ContainsFunc(units, func(u int32) bool { return l.units[u].who != 0 || l.asksUnknown(&l.units[u]) })
	if anyone { // the first: what comes beyond the limit counts as one input, and this must not be in it
		t.who = place(who)
	}
	var all []uint64
	for _, i := range units {
		u := &l.units[i]
		row := make([]uint64, maxCandidateInputs)
		for _, s := range [...]span{u.own, u.vary} {
			for _, in := range l.inputs[s.from:s.to] {
				c := place(in.name)
				if row[c] != 0 {
					row[c] = mix(row[c], in.hash)
				} else {
					row[c] = in.hash
				}
			}
		}
		if anyone {
			row[t.who] = u.who
		}
		all = append(all, row[:len(t.names)]...)
		t.rows = append(t.rows, all[len(all)-len(t.names):])
		t.times = append(t.times, l.times(u.tags))
		if cap(all)-len(all) < maxCandidateInputs {
			all = make([]uint64, 0, 1<<16)
		}
	}
	for i, row := range t.rows { // earlier rows are shorter
		if len(row) < len(t.names) {
			t.rows[i] = append(slices.Clone(row), make([]uint64, len(t.names)-len(row))...)
		}
	}
	return t
}

// tier orders inputs by how likely an answer depends on them: what is asked for, who asks, how.
func tier(name string) int {
	switch {
	case strings.HasPrefix(name, "path"), strings.HasPrefix(name, "arg."):
		return 0
	case strings.HasPrefix(name, "query."):
		return 1
	case name == principalName:
		return 2
	case strings.HasPrefix(name, "cookie."):
		return 3
	}
	return 4
}

// groupPairs calls do with pairs of answers whose inputs in the key are equal: each with the few before it in its group.
// clean says that nothing that either rests on was written between. Answers that are not known are left out.
func (l *log) groupPairs(t *inputsOf, key []bool, do func(a, b int, equal, clean bool)) {
	groups := map[uint64][]int32{}
	for i, row := range t.rows {
		u := &l.units[t.units[i]]
		if !u.comparable() {
			continue
		}
		h := t.keyOf(row, key)
		recent := groups[h]
		clean := true
		for k := len(recent) - 1; k >= 0; k-- {
			o := &l.units[t.units[recent[k]]]
			clean = clean && !wroteBetween(t.times[i], o.at, u.end) && !wroteBetween(t.times[recent[k]], o.at, u.end)
			do(int(recent[k]), i, o.hash == u.hash, clean)
		}
		if recent == nil {
			recent = make([]int32, 0, neighbours)
		}
		if len(recent) == neighbours {
			recent = slices.Delete(recent, 0, 1)
		}
		groups[h] = append(recent, int32(i))
	}
}

// comparable says whether a unit's answer is the origin's and known.
func (u *unit) comparable() bool { return u.hash != 0 && u.flags&(fromCache|failed) == 0 }

// evidence is what the pairs of one grouping say. That answers differ tells something only where nothing was written
// between (clean); that they are equal does always.
type evidence struct {
	pairs, differ       int64   // clean ones
	anyPairs, anyDiffer int64   // with those that have a write between
	with, against       []int64 // clean pairs in which an input differed, and those of them whose answers did
	anyWith, anyAgainst []int64
	alone               []int64 // clean differing pairs in which it was the only likely one to differ
}

func (l *log) evidence(t *inputsOf, key []bool) *evidence {
	n := len(t.names)
	e := &evidence{with: make([]int64, n), against: make([]int64, n), anyWith: make([]int64, n), anyAgainst: make([]int64, n), alone: make([]int64, n)}
	l.groupPairs(t, key, func(a, b int, equal, clean bool) {
		e.anyPairs++
		var diff int64
		if !equal {
			diff = 1
		}
		e.anyDiffer += diff
		likely, last := 0, 0
		for c, v := range t.rows[a] {
			if t.rows[b][c] == v {
				continue
			}
			if equal && c == t.who && (v == 0 || t.rows[b][c] == 0) {
				continue // who is not known may be the same one
			}
			e.anyWith[c]++
			e.anyAgainst[c] += diff
			if clean {
				e.with[c]++
				e.against[c] += diff
			}
			if !t.unlikely[c] {
				likely, last = likely+1, c
			}
		}
		if clean {
			e.pairs++
			e.differ += diff
			if likely == 1 {
				e.alone[last] += diff
			}
		}
	})
	return e
}

// finding is what the evidence says of one input.
type finding struct {
	pairs, differ int64 // pairs that tell something: clean ones, and those with equal answers
	matters       bool
	enough        bool // to leave it out
}

func (k *keyParts) finding(t *inputsOf, e *evidence, c int) finding {
	equal := e.anyWith[c] - e.anyAgainst[c]
	f := finding{pairs: equal + e.against[c], differ: e.against[c]}
	need := int64(enoughPairs)
	if tracking(t.names[c]) {
		need = enoughTracking
	}
	f.matters = float64(f.differ) > k.chance*float64(e.with[c])
	if t.names[c] == principalName {
		need = enoughPrincipal
		f.matters = f.matters || f.differ > 0 && k.unstable == 0
	}
	// With writes between, answers may differ as often as they do where the input is the same.
	usual, n := k.chance, e.anyPairs-e.anyWith[c]
	if n >= enoughPairs {
		usual += float64(e.anyDiffer-e.anyAgainst[c]) / float64(n)
	} else if e.anyWith[c] > 0 {
		usual += 0.3
	}
	calm := float64(e.anyAgainst[c]) <= (usual+0.05)*float64(e.anyWith[c])
	f.enough = !f.matters && (e.with[c] >= need || equal >= need && calm)
	return f
}

// keyParts is what is known of a boundary's key.
type keyParts struct {
	key      []bool // of the table's columns
	inputs   []KeyInput
	same     int64   // pairs with equal inputs and no write between
	unstable int64   // of these, those whose answers differ
	chance   float64 // share of differing pairs that tells nothing

	who       int // column of the principal, -1 for none
	principal finding
	nobody    bool   // no request of the capture had one
	unsaid    string // why that cannot be said, although none was seen
	needless  bool   // it is left out for that, without a comparison
	own       ownRows
	asked     map[int]string // inputs that are in the key only because something is asked with them: what
}

// keyParts finds the inputs that decide the answer. It starts with those that name what is asked for and who asks, adds the
// input that explains most of the differing pairs until none are left to explain, takes out again what turns out not to
// matter, and keeps whatever there is too little evidence to leave out.
func (l *log) keyParts(t *inputsOf) keyParts {
	n := len(t.names)
	order := make([]int, n)
	for c := range order {
		order[c] = c
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(tier(t.names[a]), tier(t.names[b])), cmp.Compare(t.names[a], t.names[b]))
	})
	t.unlikely = t.unlikelyInputs()
	all := make([]bool, n)
	for c := range all {
		all[c] = true
	}
	k := keyParts{key: make([]bool, n), chance: tolerated}
	e := l.evidence(t, all)
	k.same, k.unstable = e.pairs, e.differ
	if k.same > 0 {
		k.chance += float64(k.unstable) / float64(k.same)
	}
	k.who = t.who
	k.nobody, k.unsaid = l.seen.askers.nobody()
	for c, name := range t.names {
		k.key[c] = tier(name) == 0 || c == k.who
	}
	l.addParts(t, &k, order)
	l.removeParts(t, &k, order)
	if k.who >= 0 {
		// Beside nothing but inputs of which it is known, among requests of one principal, that they matter: else one
		// that merely comes along with a few of the principals would be taken for what makes answers differ.
		k.key[k.who] = false
		k.principal = k.finding(t, l.evidence(t, k.key), k.who)
		k.needless = k.nobody && !k.principal.enough && !k.principal.matters && l.withoutRequest(t)
		k.key[k.who] = !k.principal.enough && !k.needless
		if !k.key[k.who] {
			l.removeParts(t, &k, order)
		}
	}
	for _, c := range order { // the likeliest first: what is kept may let others follow from the key
		if !k.key[c] && (c != k.who || !k.needless) {
			k.key[c] = l.mustKeep(t, &k, c)
		}
	}
	l.removeParts(t, &k, order)
	if k.who >= 0 && !k.key[k.who] && !k.needless {
		if k.own = l.ownRows(t, k.key); k.own.keep != "" {
			k.key[k.who] = true
			l.removeParts(t, &k, order)
		}
	}
	l.keepAsked(t, &k, order)
	for _, c := range order {
		k.inputs = append(k.inputs, l.judge(t, &k, c))
	}
	return k
}

// NoAsker says why the principal is not in the key of a function or statement although no two were compared.
const NoAsker = "no request had one"

// withoutRequest says whether what stands around the units, if they are cached, has no request in hand that could say who
// asks. There the principal in the key is no cache at all, and where no request of the whole capture had a principal
// nothing that was observed can depend on one: it is left out. An answer keeps it all the same: all who do not say who they
// are share its entries, so that it costs nothing while there are no users, and it is what holds on the day when there are.
// Statements are as functions: a cache of one stands around the function that runs it.
func (l *log) withoutRequest(t *inputsOf) bool {
	return len(t.units) > 0 && l.units[t.units[0]].level != response
}

// unlikelyInputs are headers, and what has another value each time: neither is blamed while there is another input that
// could be.
func (t *inputsOf) unlikelyInputs() []bool {
	list := make([]bool, len(t.names))
	for c, name := range t.names {
		if list[c] = tier(name) == 4; list[c] || tier(name) == 0 {
			continue
		}
		values, present := map[uint64]bool{}, 0
		for _, row := range t.rows {
			if row[c] != 0 {
				present++
				values[row[c]] = true
			}
		}
		list[c] = present >= 10 && len(values)*10 >= present*9 && name != principalName
	}
	return list
}

// handle says whether an argument is, by its name, something to work with and not something that is asked for. It is left
// out where it never differed.
func handle(name string) bool {
	switch strings.TrimPrefix(name, "arg.") {
	case "self", "cls", "session", "db", "conn", "connection", "cursor", "pool", "client", "request", "app":
		return strings.HasPrefix(name, "arg.")
	}
	return false
}

// tracking says whether an input is, by its name, one that advertisers and newsletters add to addresses, or scripts
// to get past a cache. That answers stay the same with it must be seen, too.
func tracking(name string) bool {
	name, ok := strings.CutPrefix(name, "query.")
	switch name {
	case "fbclid", "gclid", "dclid", "gbraid", "wbraid", "msclkid", "twclid", "ttclid", "yclid", "igshid", "li_fat_id", "mc_cid", "mc_eid", "_ga", "_gl",
		"_", "cachebuster", "cache_buster":
		return ok
	}
	return ok && strings.HasPrefix(name, "utm_")
}

// addParts adds inputs until what differs can be explained.
func (l *log) addParts(t *inputsOf, k *keyParts, order []int) {
	for range t.names {
		e := l.evidence(t, k.key)
		matters := false
		best, bestScore := -1, 0.0
		for _, c := range order {
			if k.key[c] || e.against[c] == 0 {
				continue
			}
			matters = matters || k.finding(t, e, c).matters
			// How often answers differ where it does, how many of the differing pairs it explains, and how many it alone.
			right, found := float64(e.against[c])/float64(e.with[c]), float64(e.against[c])/float64(e.differ)
			score := 2 * right * found / (right + found) * (1 + 4*float64(e.alone[c])/float64(e.differ))
			if t.unlikely[c] {
				score /= 4
			}
			if score > bestScore*1.02 {
				best, bestScore = c, score
			}
		}
		if best < 0 || !matters {
			return
		}
		k.key[best] = true
	}
}

// removeParts takes out of the key what does not matter, the least likely first.
func (l *log) removeParts(t *inputsOf, k *keyParts, order []int) {
	for _, c := range slices.Backward(order) {
		if !k.key[c] || c == k.who {
			continue
		}
		k.key[c] = false
		e := l.evidence(t, k.key)
		follows := (tier(t.names[c]) >= 3 || handle(t.names[c])) && !l.varies(t, k.key, c)
		k.key[c] = !follows && !k.finding(t, e, c).enough
	}
}

// mustKeep says whether an input outside the key belongs into it for want of evidence.
func (l *log) mustKeep(t *inputsOf, k *keyParts, c int) bool {
	f := k.finding(t, l.evidence(t, k.key), c)
	if f.enough {
		return false
	}
	return tier(t.names[c]) <= 1 && !handle(t.names[c]) || l.varies(t, k.key, c)
}

// judge puts what was found of an input into words.
func (l *log) judge(t *inputsOf, k *keyParts, c int) KeyInput {
	in := KeyInput{Name: t.names[c]}
	inKey := k.key[c]
	k.key[c] = false
	f := k.finding(t, l.evidence(t, k.key), c)
	varies := l.varies(t, k.key, c)
	k.key[c] = inKey
	if c == k.who {
		f = k.principal
	}
	in.Pairs, in.Differ = f.pairs, f.differ
	if c == k.who {
		in.Nobody = l.answeredToNobody(t)
	}
	switch {
	case inKey && f.matters:
		in.Use, in.Because = useKey, "answers differ with it"
	case c == k.who && inKey && k.nobody:
		in.Use, in.Because = useKept, NoAsker+"; in the key of an answer it costs nothing"
	case c == k.who && inKey && k.unsaid != "":
		in.Use, in.Because = useKept, k.unsaid
	case c == k.who && inKey && k.own.keep != "":
		in.Use, in.Because = useKept, OwnRows+": "+k.own.keep
	case c == k.who && k.needless:
		in.Use, in.Because = useIgnored, NoAsker
	case k.asked[c] != "":
		in.Use, in.Because = useKept, AskedWith+": "+k.asked[c]
	case inKey && !varies && in.Name == principalName:
		in.Use, in.Because = useKept, "no two asked for the same"
	case inKey && !varies:
		in.Use, in.Because = useKept, "never differed alone"
	case inKey:
		in.Use, in.Because = useKept, "too few pairs to leave it out"
	case !varies:
		in.Use, in.Because = useFollows, "never differs where the key is the same"
	case c == k.who && k.own.mere != "":
		in.Use, in.Because = useIgnored, "answers stay the same, to nobody as well; who asks is looked up by "+k.own.mere
	default:
		in.Use, in.Because = useIgnored, "answers stay the same"
	}
	return in
}

// varies says whether an input takes several values under one key.
func (l *log) varies(t *inputsOf, key []bool, c int) bool {
	first := map[uint64]uint64{}
	for _, row := range t.rows {
		h := t.keyOf(row, key)
		v, ok := first[h]
		if !ok {
			first[h] = row[c]
		} else if v != row[c] {
			return true
		}
	}
	return false
}

// keyOf hashes the inputs in the key.
func (t *inputsOf) keyOf(row []uint64, key []bool) uint64 {
	h := uint64(1)
	for c, v := range row {
		if key[c] {
			h = mix(h, v+uint64(c)*0x9e3779b9)
		}
	}
	return h
}
