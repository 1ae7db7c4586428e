package forecast

import (
	"cmp"
	"math"
	"slices"

	"github.com/demarc-dev/demarc/event"
)

// log is the evidence in order: units with what lies inside them, and when what they rest on was written.
type log struct {
	*Forecast
	doubled  int64
	apart    string // says that clocks are apart, if they are
	loose    int64  // statements of no request that was seen
	byTag    [][]int64
	byTable  map[uint32][]int64
	open     map[[2]uint32][]int64 // writes to a table that do not say which values of a set of columns they touch
	asks     []asked               // what units asked of standing caches
	ran      []ran                 // what ran inside units and was asked for something
	runs     []uint32              // of units, in ran
	routesOf map[uint32]int        // by name of what ran: in how many routes
	lookups  costs
	nobody   uint64   // the principal of those who have none
	unknown  []string // boundaries that the options name, and that are not there
	unseen   int64    // answers that may come from a cache that was not seen
	unjoined int64    // writes of transactions whose end was not seen
}

// assemble joins what was collected. Called once; the forecast takes no more events afterwards.
func (f *Forecast) assemble() *log {
	l := &log{Forecast: f, byTable: map[uint32][]int64{}, open: map[[2]uint32][]int64{}, apart: f.seen.apartness()}
	l.units, l.doubled = once(l.units, func(u *unit) uint64 { return u.seq })
	var n int64
	l.reads, n = once(l.reads, func(r *read) uint64 { return r.seq })
	l.doubled += n
	slices.SortFunc(l.units, func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.trace, b.trace), cmp.Compare(a.at, b.at), cmp.Compare(b.end, a.end),
			cmp.Compare(a.level, b.level), cmp.Compare(a.span, b.span), cmp.Compare(a.seq, b.seq))
	})
	slices.SortFunc(l.reads, func(a, b read) int {
		return cmp.Or(cmp.Compare(a.trace, b.trace), cmp.Compare(a.at, b.at), cmp.Compare(a.end, b.end), cmp.Compare(a.seq, b.seq))
	})
	slices.SortFunc(l.looks, func(a, b look) int { return cmp.Or(cmp.Compare(a.trace, b.trace), cmp.Compare(a.at, b.at)) })
	r, w := 0, 0
	for i := 0; i < len(l.units); {
		j, trace := i, l.units[i].trace
		for j < len(l.units) && l.units[j].trace == trace {
			j++
		}
		if trace == 0 { // belongs to nothing: a unit of its own
			i = j
			continue
		}
		for r < len(l.reads) && l.reads[r].trace < trace {
			r++
			l.loose++
		}
		rEnd := r
		for rEnd < len(l.reads) && l.reads[rEnd].trace == trace {
			rEnd++
		}
		for w < len(l.looks) && l.looks[w].trace < trace {
			w++
		}
		wEnd := w
		for wEnd < len(l.looks) && l.looks[wEnd].trace == trace {
			wEnd++
		}
		l.join(i, l.units[i:j], l.reads[r:rEnd], l.looks[w:wEnd])
		i, r, w = j, rEnd, wEnd
	}
	l.loose += int64(len(l.reads) - r)
	l.commit()
	l.resolve()
	l.reads, l.looks = nil, nil
	l.quiet()
	l.countRoutes()
	for i := range l.units {
		u := &l.units[i]
		if l.wroteIn(u, u.at, u.end) {
			u.flags |= races
		}
	}
	return l
}

// quiet takes answers without a statement, where others of the same route had some, for those of a cache that nobody saw:
// unless caches were seen at all, since then this one would have been.
func (l *log) quiet() {
	if l.seen.events[event.TypeCache] > 0 {
		return
	}
	busy := map[uint32]bool{}
	for i := range l.units {
		if u := &l.units[i]; u.level == response && u.queries > 0 && u.status < 400 {
			busy[u.name] = true
		}
	}
	for i := range l.units {
		if u := &l.units[i]; u.level == response && u.queries == 0 && u.status < 400 && busy[u.name] {
			u.flags |= fromCache
			l.unseen++
		}
	}
}

// once leaves of events with the same identity the first.
func once[T any](list []T, seq func(*T) uint64) ([]T, int64) {
	type at struct {
		seq uint64
		i   int32
	}
	order := make([]at, 0, len(list))
	for i := range list {
		if s := seq(&list[i]); s != 0 {
			order = append(order, at{s, int32(i)})
		}
	}
	slices.SortFunc(order, func(a, b at) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.i, b.i)) })
	gone := map[int32]bool{}
	for i := 1; i < len(order); i++ {
		if order[i].seq == order[i-1].seq {
			gone[order[i].i] = true
		}
	}
	if len(gone) == 0 {
		return list, 0
	}
	kept := list[:0]
	for i := range list {
		if !gone[int32(i)] {
			kept = append(kept, list[i])
		}
	}
	return kept, int64(len(gone))
}

// join puts units, statements and cache hits of one trace into each other: by parent where that is known, else the
// innermost unit that was under way.
func (l *log) join(base int, units []unit, reads []read, looks []look) {
	bySpan := make(map[uint64]int, len(units))
	for i := range units {
		if s := units[i].span; s != 0 && units[i].level != query {
			bySpan[s] = i
		}
	}
	around := func(self int, parent uint64, at int64) int {
		if i, ok := bySpan[parent]; ok && parent != 0 && i != self {
			return i
		}
		best := -1
		for i := range units {
			u := &units[i]
			if u.at > at {
				break
			}
			if i != self && u.level != query && u.end >= at && (self < 0 || i < self) && (best < 0 || u.at >= units[best].at) {
				best = i
			}
		}
		return best
	}
	type part struct {
		tags    []uint32
		asks    []asked
		runs    []uint32
		queries int32
	}
	parts := make([]part, len(units))
	for i := range units {
		if in := around(i, units[i].parent, units[i].at); in >= 0 && in < i {
			units[i].inside = int32(base + in)
			if units[i].at >= units[in].end {
				units[i].flags |= late
			}
			if units[i].who == 0 {
				units[i].who = units[in].who
			}
		}
	}
	up := func(i int, at int64, do func(i int)) {
		for range 64 {
			if i < 0 || at >= units[i].end && units[i].end > units[i].at {
				return
			}
			do(i)
			if units[i].inside < 0 {
				return
			}
			i = int(units[i].inside) - base
		}
	}
	for k := range reads {
		r := &reads[k]
		in := around(-1, r.parent, r.at)
		if in < 0 {
			l.loose++
		}
		run := l.run(r.text, r.params, r.result)
		up(in, r.at, func(i int) {
			parts[i].runs = append(parts[i].runs, run...)
			parts[i].tags = append(parts[i].tags, l.refs[r.tags.from:r.tags.to]...)
			parts[i].queries++
			if r.writes {
				units[i].flags |= writesRow
			}
		})
	}
	for k := range looks {
		n := &looks[k]
		run := l.run(n.shape, n.key, n.value)
		up(around(-1, n.parent, n.at), n.at, func(i int) {
			parts[i].runs = append(parts[i].runs, run...)
			parts[i].asks = append(parts[i].asks, asked{n.shape, n.hit})
			if n.hit {
				units[i].flags |= fromCache
			}
		})
	}
	for i := range units {
		u := &units[i]
		if u.level != function || u.inside < 0 {
			continue
		}
		run := l.run(u.name, l.arguments(u), u.hash)
		up(int(u.inside)-base, u.at, func(i int) { parts[i].runs = append(parts[i].runs, run...) })
	}
	for i := range units {
		if units[i].level == query {
			continue
		}
		from := uint32(len(l.runs))
		l.runs = append(l.runs, parts[i].runs...)
		units[i].runs = span{from, uint32(len(l.runs))}
		units[i].queries = parts[i].queries
		l.ask(&units[i], parts[i].asks)
		first := len(l.refs)
		l.refs = append(l.refs, parts[i].tags...)
		units[i].tags = l.coarse(l.unique(first))
	}
}

// run keeps what ran, if it was asked for something, and returns its place.
func (l *log) run(text uint32, params span, result uint64) []uint32 {
	if params.from == params.to {
		return nil
	}
	l.ran = append(l.ran, ran{text, params, result})
	return []uint32{uint32(len(l.ran) - 1)}
}

// coarse replaces the rows of a table of which a unit read very many by the table.
func (l *log) coarse(s span) span {
	if int(s.to-s.from) <= maxValues {
		return s
	}
	rows := map[uint32]int{}
	for _, t := range l.refs[s.from:s.to] {
		rows[l.tags.list[t].table]++
	}
	for i := s.from; i < s.to; i++ {
		if g := l.tags.list[l.refs[i]]; rows[g.table] > maxValues {
			l.refs[i] = l.tags.id(tag{table: g.table})
		}
	}
	return l.unique(int(s.from))
}

// commit gives every write the time of its commit, and leaves out those that were taken back and, for tables that the
// database's log speaks of, what statements said.
func (l *log) commit() {
	kept := l.writes[:0]
	for i := range l.writes {
		w := l.writes[i]
		if !w.log && l.seen.changed[w.table] {
			continue
		}
		if w.txn != 0 {
			at, ok := l.txns[w.txn]
			switch {
			case !ok:
				l.unjoined++
			case at == rolledBack:
				continue
			default:
				w.at = at
			}
		}
		kept = append(kept, w)
	}
	var n int64
	l.writes, n = once(kept, func(w *write) uint64 {
		if w.seq == 0 {
			return 0
		}
		return mix(w.seq, uint64(w.table))
	})
	_ = n // doubled statements are counted as reads
	slices.SortFunc(l.writes, func(a, b write) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.table, b.table), cmp.Compare(a.seq, b.seq))
	})
}

// maxWritten is how many values a write may give a set of columns before it counts for all of them.
const maxWritten = 1 << 12

// resolve finds for every tag when it was written. A write that does not say which values a set of columns has in its rows
// counts for all of them: what runs at the statement cannot know more.
func (l *log) resolve() {
	l.byTag = make([][]int64, len(l.tags.list))
	sets := map[uint32][]uint32{} // table → sets of columns that reads are tied by
	for _, g := range l.tags.list {
		if g.cols != 0 && !slices.Contains(sets[g.table], g.cols) {
			sets[g.table] = append(sets[g.table], g.cols)
		}
	}
	key := l.keyColumns()
	for i := range l.writes {
		w := &l.writes[i]
		l.byTable[w.table] = append(l.byTable[w.table], w.at)
		if n, ok := l.tags.ids[tag{table: w.table}]; ok {
			l.byTag[n] = append(l.byTag[n], w.at)
		}
		for _, cols := range sets[w.table] {
			hit := func(v uint64) {
				if n, ok := l.tags.ids[tag{w.table, cols, v}]; ok {
					l.byTag[n] = append(l.byTag[n], w.at)
				}
			}
			if list, ok := l.pinned(w, cols, key[w.table]); ok && product(list) <= maxWritten {
				each(list, hit)
				continue
			}
			k := [2]uint32{w.table, cols}
			l.open[k] = append(l.open[k], w.at)
		}
	}
}

// pinned returns the values that a write's rows have in a set of columns, if they are known.
func (l *log) pinned(w *write, cols, key uint32) ([]bound, bool) {
	var list []bound
	for _, name := range splitColumns(l.names.text(cols)) {
		b := bound{col: name}
		for _, p := range l.pins[w.pins.from:w.pins.to] {
			col := l.names.text(p.col)
			if col == name || key != 0 && (col == logKey && name == l.names.text(key) || name == logKey && p.col == key) {
				b.values = append(b.values, p.value)
			}
		}
		if len(b.values) == 0 {
			return nil, false
		}
		list = append(list, b)
	}
	return list, true
}

func splitColumns(s string) []string {
	var list []string
	from := 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == ',' {
			list = append(list, s[from:i])
			from = i + 1
		}
	}
	return list
}

// keyColumns finds, for the tables that the database's log speaks of, the column whose values are its keys: the one by
// which statements name rows with values that are keys in the log.
func (l *log) keyColumns() map[uint32]uint32 {
	type place struct {
		table uint32
		value uint64
	}
	keys := map[place]bool{}
	own := l.names.ids[logKey]
	for i := range l.writes {
		w := &l.writes[i]
		for _, p := range l.pins[w.pins.from:w.pins.to] {
			if p.col == own && own != 0 {
				keys[place{w.table, p.value}] = true
			}
		}
	}
	votes := map[[2]uint32]int{}
	for _, g := range l.tags.list {
		if g.cols != 0 && g.cols != own && keys[place{g.table, g.value}] {
			votes[[2]uint32{g.table, g.cols}]++
		}
	}
	best := map[uint32]uint32{}
	for k, n := range votes {
		b := best[k[0]]
		if m := votes[[2]uint32{k[0], b}]; b == 0 || n > m || n == m && k[1] < b {
			best[k[0]] = k[1]
		}
	}
	if own == 0 {
		for _, g := range l.tags.list {
			if g.cols != 0 && l.names.text(g.cols) == "id" {
				best[g.table] = g.cols
			}
		}
	}
	return best
}

// times returns the commits of writes to what is behind a list of tags.
func (l *log) times(s span) [][]int64 { return l.appendTimes(nil, s, nil) }

// appendTimes adds the commits of writes to what is behind a list of tags: of writes to the rows, or to all of the table
// where that is in whole.
func (l *log) appendTimes(to [][]int64, s span, whole map[uint32]bool) [][]int64 {
	return l.appendTimesOf(to, l.refs[s.from:s.to], whole)
}

// appendTimesOf does so for tags.
func (l *log) appendTimesOf(to [][]int64, tags []uint32, whole map[uint32]bool) [][]int64 {
	add := func(list []int64) {
		if len(list) > 0 {
			to = append(to, list)
		}
	}
	last := tag{table: math.MaxUint32}
	for _, t := range tags {
		g := l.tags.list[t]
		if whole[g.table] {
			if g.table != last.table {
				add(l.byTable[g.table])
			}
		} else {
			add(l.byTag[t])
			if g.cols != 0 && (g.table != last.table || g.cols != last.cols) {
				add(l.open[[2]uint32{g.table, g.cols}])
			}
		}
		last = g
	}
	return to
}

// wroteIn says whether a write to a row that the unit read was committed after from and up to until.
func (l *log) wroteIn(u *unit, from, until int64) bool {
	return wroteBetween(l.times(u.tags), from, until)
}

func wroteBetween(lists [][]int64, from, until int64) bool {
	for _, list := range lists {
		if n := after(list, from); n < len(list) && list[n] <= until {
			return true
		}
	}
	return false
}
