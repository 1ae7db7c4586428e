package forecast

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// candidate is a place where a cache could stand.
type candidate struct {
	name     string
	level    uint8
	units    []int32 // in log.units, by start
	total    int64   // their durations
	queries  int64
	gate     string // why never; "" where nothing forbids it
	lacks    string // why nothing can be said
	parts    keyParts
	table    *inputsOf
	keys     []Key
	of       [][]int32 // units of each key
	grid     *Grid
	tables   []uint32
	byRow    map[uint32][]uint32 // tables of which some rows are known: the sets of columns that tell which
	noRow    string              // why drops by row cannot be put there; "" where they can
	cover    coverage
	standing *standing // the cache that answers it already
	answered []bool    // units that it answered; nil without one
	judged   float64   // share of the units whose answer can be compared
	chosen   *Point
	peaks    Peaks
	spread   spread
	shaky    []shaky      // lifetimes alone that only keep the budget at the exact timing
	share    *JointMember // of the set; nil where it is not in it
	levels   []string     // how it stands beside those around it and inside it
	verdict  string
	reason   string
}

// coverage is how far observed writes explain observed changes of answers.
type coverage struct {
	changed, changedSeen     int64 // answers that differ from the one before, and those with a write between
	unchanged, unchangedSeen int64
}

// share is the share of changes that a write explains beyond chance, 0 to 1; ok is false where nothing changed.
func (c coverage) share() (v float64, ok bool) {
	if c.changed == 0 {
		return 0, false
	}
	seen, chance := float64(c.changedSeen)/float64(c.changed), 0.0
	if c.unchanged > 0 {
		chance = float64(c.unchangedSeen) / float64(c.unchanged)
	}
	if chance >= 1 {
		return 0, true
	}
	return max(0, (seen-chance)/(1-chance)), true
}

// over is the share of the drops that changed nothing; ok is false where nothing was dropped.
func (c coverage) over() (v float64, ok bool) {
	if n := c.changedSeen + c.unchangedSeen; n > 0 {
		return float64(c.unchangedSeen) / float64(n), true
	}
	return 0, false
}

// candidates groups the units by boundary, the most expensive first.
func (l *log) candidates() []*candidate {
	type place struct {
		name  uint32
		level uint8
	}
	byPlace := map[place]*candidate{}
	var list []*candidate
	for i := range l.units {
		u := &l.units[i]
		k := place{u.name, u.level}
		c := byPlace[k]
		if c == nil {
			c = &candidate{name: l.names.text(u.name), level: u.level}
			byPlace[k] = c
			list = append(list, c)
		}
		c.units = append(c.units, int32(i))
		c.total += u.end - u.at
		c.queries += int64(u.queries)
	}
	for _, name := range slices.Sorted(maps.Keys(l.opt.named())) {
		if !slices.ContainsFunc(list, func(c *candidate) bool { return c.named(name) }) {
			l.unknown = append(l.unknown, name)
		}
	}
	list = slices.DeleteFunc(list, func(c *candidate) bool { return !l.asked(c) })
	slices.SortFunc(list, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.level, b.level), cmp.Compare(a.name, b.name))
	})
	if len(list) > maxCandidates {
		l.seen.cut = len(list) - maxCandidates
		list = list[:maxCandidates]
	}
	return list
}

// maxCandidates is how many boundaries are looked at, by the time they take.
const maxCandidates = 1000

// asked says whether the options want a candidate.
func (l *log) asked(c *candidate) bool {
	if len(l.opt.Levels) > 0 && !slices.Contains(l.opt.Levels, levelNames[c.level]) {
		return false
	}
	return len(l.opt.Names) == 0 || slices.ContainsFunc(l.opt.Names, c.named)
}

// named says whether somebody who writes this means the candidate: its name, or its route without the method.
func (c *candidate) named(name string) bool {
	_, route, _ := strings.Cut(c.name, " ")
	return name == c.name || name == route && c.level == response
}

// named are the boundaries that options speak of.
func (o *Options) named() map[string]bool {
	names := map[string]bool{}
	for _, name := range o.Names {
		names[name] = true
	}
	for name := range o.Staleness {
		if name != "" {
			names[name] = true
		}
	}
	return names
}

// weigh finds everything about one candidate but its place in the set.
func (l *log) weigh(c *candidate, ttls []int64) {
	slices.SortFunc(c.units, func(a, b int32) int {
		return cmp.Or(cmp.Compare(l.units[a].at, l.units[b].at), cmp.Compare(a, b))
	})
	if c.gate = l.gate(c); c.gate != "" {
		return
	}
	if c.lacks = l.lack(c); c.lacks != "" {
		return
	}
	c.standing = l.stands(c)
	c.table = l.inputsTable(stretches(l.answers(c)))
	c.parts = l.keyParts(c.table)
	if c.gate = l.privateGate(c); c.gate != "" {
		return
	}
	l.makeKeys(c)
	l.cover(c)
	c.grid = NewGrid(ttls)
	for i := range c.keys {
		c.grid.Add(&c.keys[i])
	}
}

// answers are the units that may be compared or stored: those that did not fail.
func (l *log) answers(c *candidate) []int32 {
	var list []int32
	for _, i := range c.units {
		if l.units[i].flags&failed == 0 {
			list = append(list, i)
		}
	}
	return list
}

// storable says whether a cache would keep the answer.
func (u *unit) storable() bool {
	if u.flags&(failed|noStore|setsCookie|streamed|untimed) != 0 {
		return false
	}
	return u.level != response || u.status == 0 || u.status >= 200 && u.status < 300
}

// makeKeys sorts the units by key, and finds for each key what drops it.
func (l *log) makeKeys(c *candidate) {
	index := map[uint64]int{}
	inputs := c.table
	if len(inputs.units) != len(c.units) { // the key was found from a part of the units
		inputs = l.sameColumns(c)
	}
	judged := 0
	whole := l.selectors(c)
	for i, n := range c.units {
		u := &l.units[n]
		h := inputs.keyOf(inputs.rows[i], c.parts.key)
		k, ok := index[h]
		if !ok {
			k = len(c.keys)
			index[h] = k
			c.keys = append(c.keys, Key{})
			c.of = append(c.of, nil)
		}
		r := Request{At: u.at, End: u.end, Queries: u.queries, Bytes: u.bytes, NoStore: !u.storable(), Races: u.flags&races != 0, Rests: n}
		r.Answered = c.answered != nil && c.answered[i]
		if u.flags&fromCache != 0 { // a standing cache kept its statements from being seen
			r.Rests = -1
		}
		if u.flags&failed == 0 {
			r.Hash, r.Untold = u.hash, u.flags&fromCache != 0
		}
		if u.comparable() {
			judged++
		}
		c.keys[k].Requests = append(c.keys[k].Requests, r)
		c.of[k] = append(c.of[k], n)
	}
	c.judged = float64(judged) / float64(max(len(c.units), 1))
	var table [][]int64
	for _, t := range c.tables {
		if list := l.byTable[t]; len(list) > 0 {
			table = append(table, list)
		}
	}
	for k := range c.keys {
		c.keys[k].Table = table
		l.rowDrops(c, k, whole)
	}
}

// sameColumns is the table of inputs of all units, with the columns that the key was found in.
func (l *log) sameColumns(c *candidate) *inputsOf {
	t := l.inputsTable(c.units)
	moved := &inputsOf{names: c.table.names, units: t.units, who: c.table.who}
	for _, row := range t.rows {
		to := make([]uint64, len(c.table.names))
		for from, name := range t.names {
			if col := slices.Index(c.table.names, name); col >= 0 {
				to[col] = row[from]
			}
		}
		moved.rows = append(moved.rows, to)
	}
	return moved
}

// maxSelectors is how many sets of columns of one table may tell which of its rows a boundary rests on before it counts as the whole
// table.
const maxSelectors = 16

// selectors finds the tables behind a candidate, and for each the sets of columns by which its rows are known; it returns
// the tables for which there are too many. It says, too, why drops by row cannot be put there.
func (l *log) selectors(c *candidate) (whole map[uint32]bool) {
	c.byRow, whole = map[uint32][]uint32{}, map[uint32]bool{}
	own := l.names.ids[logKey]
	looked := map[[2]uint32]bool{}
	for _, n := range c.units {
		u := &l.units[n]
		for _, t := range l.refs[u.tags.from:u.tags.to] {
			g := l.tags.list[t]
			k := [2]uint32{g.table, g.cols}
			if looked[k] {
				continue
			}
			looked[k] = true
			if !slices.Contains(c.tables, g.table) {
				c.tables = append(c.tables, g.table)
			}
			switch {
			case g.cols == 0 || whole[g.table]:
			case len(c.byRow[g.table]) == maxSelectors:
				whole[g.table] = true
				delete(c.byRow, g.table)
			default:
				c.byRow[g.table] = append(c.byRow[g.table], g.cols)
			}
			if g.cols != 0 && g.cols == own {
				c.noRow = "its rows are known by the keys that came back, which statements do not show"
			}
		}
	}
	slices.Sort(c.tables)
	for _, t := range c.tables {
		if l.seen.changed[t] {
			c.noRow = "its writes are known from the database's log, not from statements"
		}
	}
	switch {
	case l.opt.NoRow != "":
		c.noRow = l.opt.NoRow
	case len(l.seen.hooks) > 0 && !l.seen.hooks["sqlalchemy"]:
		c.noRow = "only statements of SQLAlchemy show where they are made which rows they are about"
	}
	return whole
}

// rowDrops finds when a key is dropped by row.
func (l *log) rowDrops(c *candidate, k int, whole map[uint32]bool) {
	key := &c.keys[k]
	var all []uint32
	first := span{}
	for i, n := range c.of[k] {
		s := l.units[n].tags
		if i == 0 {
			first = s
		}
		if i == 0 || !slices.Equal(l.refs[s.from:s.to], l.refs[first.from:first.to]) {
			if i > 0 && key.Own == nil {
				key.Own = func(rests int32, to [][]int64) [][]int64 { return l.appendTimes(to, l.units[rests].tags, whole) }
			}
			all = append(all, l.refs[s.from:s.to]...)
		}
	}
	slices.Sort(all)
	// The tags are numbered as they were met: those of one table and set of columns must stand together for open writes
	// to be listed once.
	all = slices.Compact(all)
	slices.SortStableFunc(all, func(a, b uint32) int {
		x, y := l.tags.list[a], l.tags.list[b]
		return cmp.Or(cmp.Compare(x.table, y.table), cmp.Compare(x.cols, y.cols))
	})
	key.Row = l.appendTimesOf(nil, all, whole)
}

// cover compares each answer of a key with the one before.
func (l *log) cover(c *candidate) {
	for i := range c.keys {
		k := &c.keys[i]
		last := -1
		for j := range k.Requests {
			r := &k.Requests[j]
			if r.Hash == 0 || r.Untold {
				continue
			}
			if last >= 0 {
				o := &k.Requests[last]
				seen := wroteBetween(k.Row, o.At, r.End)
				switch {
				case o.Hash != r.Hash && seen:
					c.cover.changedSeen++
					c.cover.changed++
				case o.Hash != r.Hash:
					c.cover.changed++
				case seen:
					c.cover.unchangedSeen++
					c.cover.unchanged++
				default:
					c.cover.unchanged++
				}
			}
			last = j
		}
	}
}

// gate says why a cache must never stand here.
func (l *log) gate(c *candidate) string {
	if c.level == response {
		method, _, _ := strings.Cut(c.name, " ")
		if method != "GET" && method != "HEAD" {
			return fmt.Sprintf("%s is not a safe method", cmp.Or(method, "a request without a known method"))
		}
		if strings.HasSuffix(c.name, "(no route)") {
			return "no route of the service matched"
		}
	}
	var cookies, stores, streams, fails, writes int
	for _, i := range c.units {
		u := &l.units[i]
		count := func(flag uint16, n *int) {
			if u.flags&flag != 0 {
				*n++
			}
		}
		count(setsCookie, &cookies)
		count(noStore, &stores)
		count(streamed, &streams)
		count(writesRow, &writes)
		if u.flags&failed != 0 || c.level == response && u.status >= 400 {
			fails++
		}
	}
	n := len(c.units)
	switch {
	case cookies > 0:
		return fmt.Sprintf("%d of %d answers set a cookie", cookies, n)
	case stores > 0:
		return fmt.Sprintf("%d of %d answers say no-store", stores, n)
	case streams > 0:
		return fmt.Sprintf("%d of %d answers are streams", streams, n)
	case writes > 0:
		return fmt.Sprintf("it writes to the database (%d of %d times), which a hit would not", writes, n)
	case 2*fails > n:
		return fmt.Sprintf("%d of %d answers are errors", fails, n)
	}
	return ""
}

// privateGate refuses answers that say private where the key has no principal, or nobody knows what the principal was: then
// no hit of the replay can be told from one of somebody else's.
func (l *log) privateGate(c *candidate) string {
	who, why := c.table.who, "the principal is not in the key"
	if who >= 0 && c.parts.key[who] {
		if c.parts.unsaid != unknownAsker {
			return ""
		}
		why = unknownAsker
	}
	n := 0
	for _, i := range c.units {
		if l.units[i].flags&private != 0 {
			n++
		}
	}
	if n > 0 {
		return fmt.Sprintf("%d of %d answers say private, and %s", n, len(c.units), why)
	}
	return ""
}

// lack says what evidence a forecast would need and does not have.
func (l *log) lack(c *candidate) string {
	var hashed, timed, warm int
	for _, i := range c.units {
		u := &l.units[i]
		if u.hash != 0 {
			hashed++
		}
		if u.flags&untimed == 0 {
			timed++
		}
		if u.flags&fromCache != 0 {
			warm++
		}
	}
	switch {
	case l.apart != "":
		return l.apart
	case len(c.units) < 2:
		return "one request: nothing is known of reuse"
	case hashed == 0:
		return "answers carry no hash: whether a stored one would still be right cannot be told"
	case timed == 0:
		return "durations are not known: when an answer would be stored cannot be told"
	case warm == len(c.units):
		if c.standing = l.stands(c); c.standing != nil {
			return "already cached by " + c.standing.by() + ", which answered everything: what the origin would have said is not known"
		}
		return "each answer was made with a hit in a standing cache: what the origin would have said is not known"
	}
	return ""
}
