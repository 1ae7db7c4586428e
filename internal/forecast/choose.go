package forecast

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// What makes a boundary worth having: what its hits save, less its look-ups, must be worthShare of the time of all requests, with
// enoughHits hits in enoughReuse of the requests.
const (
	worthShare  = 0.005
	enoughHits  = 20
	enoughReuse = 0.05
	// near is how close to the best saving a shorter lifetime must come to be preferred, nearWay how close to the most hits a
	// simpler or safer way to invalidate.
	near    = 0.98
	nearWay = 0.9
	// leastDropped is the shortest lifetime that is chosen where drops keep entries right at every lifetime: it only bounds how
	// long a drop that got lost matters, and what was observed may be shorter than the pauses between requests.
	leastDropped = int64(time.Minute)
	// enoughTold is the least part of a lifetime's hits that must have been judged where nothing but the lifetime ends an entry.
	enoughTold = 0.1
	// enoughSame is how many pairs with the same inputs it takes to call a boundary unstable.
	enoughSame = 5
)

// preferred are the ways to invalidate in the order in which they are taken where they save nearly the same: tables are
// simpler to drop by than rows. Those that are not fenced are replayed to be compared, and not chosen: every snippet fences.
var preferred = []Invalidation{TableFenced, RowFenced, None}

// Report weighs all candidates and chooses among them. The forecast takes no more events afterwards.
func (f *Forecast) Report() *Report {
	l := f.assemble()
	list := l.candidates()
	l.lookups = l.lookupCosts()
	ttls := make([]int64, 0, 32)
	for _, ttl := range append(Lifetimes(), l.opt.TTLs...) {
		ttls = append(ttls, int64(ttl))
	}
	var done atomic.Int64
	all := l.allTime()
	l.opt.Parallel(len(list), func(i int) {
		l.weigh(list[i], ttls)
		l.settle(list[i], all)
		if n := int(done.Add(1)); l.progress != nil {
			l.progress(n, len(list))
		}
	})
	rep := &Report{Schema: Schema, Boundaries: []Boundary{}, Warnings: l.warnings(list), Hooks: l.seen.hooks, Unknown: l.unknown}
	rep.Window = Window{
		From: stamp(l.seen.from), To: stamp(l.seen.to), Seconds: math.Round(float64(l.seen.to-l.seen.from)/1e6) / 1e3, Since: l.opt.SinceName,
	}
	rep.Evidence = Evidence{
		Requests: l.seen.requests, Hashed: l.seen.requests - l.seen.unhashed, Queries: l.seen.events[event.TypeQuery],
		Calls: l.seen.events[event.TypeCall], Writes: int64(len(l.writes)), Doubled: l.doubled, Loose: l.loose,
		Left: l.seen.left, Candidates: len(list),
	}
	rep.Evidence.SampleRate = 1
	if s := l.opt.Sample; s != nil {
		rep.Evidence.SampleRate = s.rate
	}
	for _, n := range l.seen.events {
		rep.Evidence.Events += n
	}
	rep.Set = l.choose(list, all)
	slices.SortStableFunc(list, func(a, b *candidate) int {
		if a.verdict != b.verdict {
			return cmp.Compare(a.verdict, b.verdict) // cache before leave
		}
		if a.verdict == Cache {
			return cmp.Compare(b.share.SavedNs-b.share.LookupNs, a.share.SavedNs-a.share.LookupNs)
		}
		return cmp.Compare(b.total, a.total)
	})
	for _, c := range list {
		rep.Boundaries = append(rep.Boundaries, l.boundary(c, all))
	}
	rep.Start = start(rep, list, l.seen.requests)
	return rep
}

// allTime is the time that all requests took; of calls and statements outside any, too.
func (l *log) allTime() int64 {
	var all int64
	for i := range l.units {
		if u := &l.units[i]; u.level == response || u.inside < 0 {
			all += u.end - u.at
		}
	}
	return all
}

// settle chooses the lifetime and the way to invalidate, and says where nothing is worth it.
func (l *log) settle(c *candidate, all int64) {
	c.verdict = Leave
	switch {
	case c.gate != "":
		c.reason = "never: " + c.gate
		return
	case c.lacks != "":
		c.reason = "no forecast: " + c.lacks + l.reuse(c)
		return
	}
	c.chosen = l.point(c)
	p := c.chosen
	if c.standing != nil && p != nil {
		c.standing.adds = c.adds(p)
	}
	lookup := l.lookup(c)
	mean := time.Duration(c.total / int64(max(len(c.units), 1)))
	switch {
	case c.standing != nil:
		c.reason = l.already(c, all)
	case c.parts.same >= enoughSame && 10*c.parts.unstable > c.parts.same:
		c.reason = fmt.Sprintf("unstable: %s of its answers differ though nothing was written between", share(c.parts.unstable, c.parts.same))
	case p == nil:
		c.reason = l.staleReason(c)
	case p.Hits == 0 && l.lost(c, p) != "":
		c.reason = "no reuse: " + l.lost(c, p)
	case p.Hits == 0:
		c.reason = "no reuse: hardly any answer is asked for twice"
	case mean <= 2*time.Duration(lookup):
		c.reason = fmt.Sprintf("not worth it: it takes %s, about what a look-up would", about3(mean))
	case p.Hits < enoughHits || float64(p.Hits) < enoughReuse*float64(p.Requests):
		c.reason = fmt.Sprintf("too little reuse: %d hits in %d requests", p.Hits, p.Requests)
		if lost := l.lost(c, p); lost != "" {
			c.reason += "; " + lost
		}
	case p.SavedNs <= p.Requests*lookup:
		c.reason = fmt.Sprintf("not worth it: the look-ups of its %d requests would take what its %d hits save", p.Requests, p.Hits)
	case float64(p.SavedNs-p.Requests*lookup) < worthShare*float64(all):
		c.reason = fmt.Sprintf("not worth it: saves %s of the time of all requests, less its look-ups", share(p.SavedNs-p.Requests*lookup, all))
	default:
		c.verdict = Cache
		c.reason = l.praise(c, all)
	}
	if p != nil {
		c.peaks = Peak(c.keys, p.TTL, p.Invalidation)
	}
}

func (l *log) praise(c *candidate, all int64) string {
	p, queries := c.chosen, c.chosen.SavedQueries
	saved := p.SavedNs - p.Requests*l.lookup(c)
	if c.share != nil { // of the set
		saved, queries = c.share.SavedNs-c.share.LookupNs, c.share.SavedQueries
	}
	text := fmt.Sprintf("saves %s of the time of all requests", share(saved, all))
	if queries > 0 {
		text += fmt.Sprintf(" and %d statements", queries)
	}
	switch stale := p.Stale - p.Overlapping; {
	case stale > 0:
		text += fmt.Sprintf("; %d stale serves, within the budget", stale)
		if p.Invalidation == None && c.spread.staleHigh > c.spread.staleLow {
			text += fmt.Sprintf(" (%d to %d with other timing)", c.spread.staleLow, c.spread.staleHigh)
		}
	case p.Unjudged > 0 && p.Unjudged == p.Hits:
		text += "; whether its hits are right could not be judged, it rests on the drops"
	case p.Unjudged > 0:
		text += fmt.Sprintf("; none of the %d hits that could be judged is stale", p.Hits-p.Unjudged)
	default:
		text += "; no stale serve"
	}
	return text
}

// notes say what else is to be known about a candidate.
func (c *candidate) notes(l *log) []string {
	notes := []string{}
	if c.grid == nil {
		return notes
	}
	for _, in := range c.parts.inputs {
		switch {
		case in.Use != useKept || in.Pairs == 0:
		case strings.HasPrefix(in.Because, OwnRows):
			notes = append(notes, fmt.Sprintf("%s is kept in the key although answers were the same in %d pairs: %s", in.Name, in.Pairs, in.Because))
		default:
			notes = append(notes, fmt.Sprintf("%s is kept in the key: only %d pairs of answers tell whether it matters", in.Name, in.Pairs))
		}
	}
	if text := c.unguarded(); text != "" {
		notes = append(notes, text)
	}
	if c.parts.unstable > 0 {
		notes = append(notes, fmt.Sprintf("unstable: %s of the answers differ though nothing was written between (%d pairs)",
			share(c.parts.unstable, c.parts.same), c.parts.same))
	}
	if c.judged < 0.995 {
		notes = append(notes, fmt.Sprintf("%s of the answers could be compared; the others failed, came from a standing cache, or were not hashed",
			share(int64(c.judged*1e6), 1e6)))
	}
	if len(c.tables) == 0 && c.level != query {
		notes = append(notes, "no statement was seen behind it: only a lifetime can end an entry")
	} else if c.cover.changed == 0 {
		notes = append(notes, "no answer changed while it was observed: how well writes explain changes is not known")
	}
	if line, n := c.code(l); n > 0 {
		notes = append(notes, fmt.Sprintf("run by %s (%d of %d times)", line, n, len(c.units)))
	}
	if p := c.chosen; p != nil && c.noRow != "" && len(c.byRow) > 0 && p.Invalidation == TableFenced {
		if row := c.grid.find(RowFenced, p.TTL); row.Hits > p.Hits {
			notes = append(notes, fmt.Sprintf("dropped by row it would have %d hits, not %d; but %s", row.Hits, p.Hits, c.noRow))
		}
	}
	if p := c.chosen; p != nil && len(c.shaky) > 0 {
		notes = append(notes, c.shaky[0].String())
	}
	if p := c.chosen; p != nil && p.Hits > 0 && c.peaks.Bytes == 0 {
		notes = append(notes, "the size of its answers is not known: memory is counted in entries only")
	}
	if p := c.chosen; p != nil && p.TTL > l.seen.to-l.seen.from {
		notes = append(notes, "the lifetime is longer than what was observed")
	}
	return notes
}

// code returns the line that runs a statement most often, and how often; 0 where none is known.
func (c *candidate) code(l *log) (line string, n int) {
	count := map[uint32]int{}
	for _, i := range c.units {
		if code := l.units[i].code; code != 0 {
			count[code]++
			if text := l.names.text(code); count[code] > n || count[code] == n && text < line {
				line, n = text, count[code]
			}
		}
	}
	return line, n
}

// share writes a part of a whole.
func share(part, whole int64) string {
	if whole == 0 {
		return "0 %"
	}
	v := 100 * float64(part) / float64(whole)
	if v < 10 {
		return fmt.Sprintf("%.1f %%", v)
	}
	return fmt.Sprintf("%.0f %%", v)
}

// about3 rounds a duration to three digits.
func about3(d time.Duration) string {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}

// warnings say what the evidence lacks.
func (l *log) warnings(list []*candidate) []Warning {
	w := []Warning{}
	add := func(code, format string, args ...any) { w = append(w, Warning{code, fmt.Sprintf(format, args...)}) }
	s := &l.seen
	if s.requests == 0 && s.events[event.TypeCall] == 0 {
		add("no-requests", "no request was recorded: there is nothing to replay")
	}
	if l.apart != "" {
		add("clocks", "%s; no forecast is made", l.apart)
	}
	if s.requests > 0 && s.unhashed == s.requests {
		add("no-hashes", "no answer was hashed: reuse can be seen, but not whether a stored answer would still be right")
	} else if 20*s.unhashed > s.requests {
		add("few-hashes", "%s of the requests carry no hash of their answer", share(s.unhashed, s.requests))
	}
	if a := &s.askers; a.requests > 0 && a.unknown == a.requests {
		add("no-principals", "who asked is not known: whether answers differ between users cannot be told; the principal stays in each key, and hits are counted as if all were one user")
	}
	if s.requests > 0 && s.events[event.TypeQuery] == 0 {
		add("no-queries", "no statement was recorded: what an answer rests on, and which write changes it, is not known")
	} else if s.unhashedQueries > 0 {
		add("no-results", "%d statements carry no hash of their result (streamed, not fetched to the end, too large, or from a source without): they are counted, but no candidates of their own", s.unhashedQueries)
	}
	if slices.ContainsFunc(list, func(c *candidate) bool { return c.level == response && strings.Contains(c.name, "{}") }) {
		add("inferred-routes", "routes were inferred from addresses ({} is a variable part): one that names its resources by words is many; demarc import --route says what belongs together")
	}
	if l.unseen > 0 {
		add("unseen-cache", "%d answers came without a statement, where others of their route had some: a cache that was not seen may have given them; they are not compared", l.unseen)
	}
	if l.doubled > 0 {
		add("doubled", "%d events came twice and are counted once", l.doubled)
	}
	if total := s.events[event.TypeQuery]; l.loose > 0 && 20*l.loose > total {
		add("loose", "%d of %d statements belong to no request that was seen: what rests on them may be missing", l.loose, total)
	}
	if l.unjoined > 0 {
		add("open-transactions", "%d writes are in transactions whose end was not seen; they count from when the statement ended", l.unjoined)
	}
	if s.dropped > 0 {
		add("dropped", "the recorder dropped %d events: writes may be missing", s.dropped)
	}
	if s.rate > 0 && s.rate < 1 {
		add("sampled", "the recorder kept %s of the keys: savings are of these", share(int64(s.rate*1e6), 1e6))
	}
	if p := l.opt.Sample; p != nil {
		add("sample", "not all events fit into memory: the figures are of %.3g %% of the keys, chosen by their hash, and all writes", 100*p.rate)
	}
	if s.left > 0 {
		add("memory", "%d of %d events did not fit into memory: the figures are of the first part of the time", s.left, l.total())
	}
	if s.cut > 0 {
		add("candidates", "%d boundaries that take the least time were not looked at", s.cut)
	}
	return w
}

func (l *log) total() int64 {
	var n int64
	for _, v := range l.seen.events {
		n += v
	}
	return n
}

// start is the last line: with which boundary to begin.
func start(rep *Report, list []*candidate, requests int64) string {
	if len(list) == 0 {
		if requests > 0 {
			return "Nothing to start with: of the requests that were recorded none is of what was asked for."
		}
		return "Nothing to start with: no request was recorded."
	}
	if c := list[0]; c.verdict == Cache {
		return fmt.Sprintf("Start with %s, because it %s.", c.name, c.reason)
	}
	return "Start with none: " + list[0].name + ", which takes most of the time: " + list[0].reason + "."
}

// maxMembers is how many candidates take part in the joint replay: those that would save most alone.
const maxMembers = 12

// choose picks the set by joint replay, and says of the others why they are not in it.
func (l *log) choose(list []*candidate, all int64) Set {
	var pool []*candidate
	for _, c := range list {
		if c.verdict == Cache {
			pool = append(pool, c)
		}
	}
	slices.SortStableFunc(pool, func(a, b *candidate) int { return cmp.Compare(b.chosen.SavedNs, a.chosen.SavedNs) })
	if len(pool) > maxMembers {
		for _, c := range pool[maxMembers:] {
			c.verdict, c.reason = Leave, fmt.Sprintf("%d others save more", maxMembers)
		}
		pool = pool[:maxMembers]
	}
	set := Set{Names: []string{}}
	if len(pool) == 0 {
		return set
	}
	j := l.joint(pool)
	on, res := j.Select(l.opt.CacheBytes, int64(worthShare*float64(all)), func(r *JointResult) bool {
		for m := range r.Members {
			p := &r.Members[m]
			if b := l.budget(pool[m]); b.Age == 0 && float64(p.Stale-p.Overlapping) > b.Ratio*float64(p.Hits) {
				return false
			}
		}
		return true
	})
	for m, c := range pool {
		c.rivals(l, pool, m, on)
		if !on[m] {
			c.verdict, c.reason = Leave, l.notInSet(j, pool, on, m, &res)
			continue
		}
		set.Names = append(set.Names, c.name)
		c.share = &res.Members[m]
		c.reason = l.praise(c, all)
	}
	set.SavedMs, set.SavedQueries, set.StaleServes = ms(res.SavedNs), res.SavedQueries, res.Stale
	set.Overlapping, set.Evicted, set.PeakKeys, set.PeakBytes = res.Overlapping, res.Evicted, res.Peaks.Keys, res.Peaks.Bytes
	set.LookupMs = ms(res.LookupNs)
	set.ShareOfTime = *round(float64(res.SavedNs-res.LookupNs) / float64(max(all, 1)))
	return set
}

// notInSet says why a candidate that is worth it alone is not in the set.
func (l *log) notInSet(j *Joint, pool []*candidate, on []bool, m int, res *JointResult) string {
	with := slices.Clone(on)
	with[m] = true
	r := j.Replay(with, l.opt.CacheBytes)
	adds := r.SavedNs - r.LookupNs - res.SavedNs + res.LookupNs
	text := "beside the others it would add nothing"
	if adds > 0 {
		text = fmt.Sprintf("beside the others it would add only %s of what it saves alone", share(adds, pool[m].chosen.SavedNs))
	}
	if own := &r.Members[m]; own.Spared > 0 {
		text += fmt.Sprintf(": of its %d requests %d do not come when what lies around it is cached", pool[m].chosen.Requests, own.Spared)
	} else if l.opt.CacheBytes > 0 && r.Evicted > res.Evicted {
		text += ": the memory is too small for both"
	}
	return text
}

// rivals compares a candidate with those around it and inside it.
func (c *candidate) rivals(l *log, pool []*candidate, m int, on []bool) {
	mine := map[uint32]bool{}
	for _, n := range c.units[:min(len(c.units), 1000)] {
		in := l.units[n].inside
		for range 64 {
			if in < 0 {
				break
			}
			mine[l.units[in].name] = true
			in = l.units[in].inside
		}
	}
	for o, other := range pool {
		if o == m {
			continue
		}
		around := mine[l.units[other.units[0]].name]
		inside := false
		if !around {
			own := l.units[c.units[0]].name
			for _, n := range other.units[:min(len(other.units), 1000)] {
				if p := l.units[n].inside; p >= 0 && l.units[p].name == own {
					inside = true
					break
				}
			}
		}
		if around || inside {
			where := "inside it"
			if around {
				where = "around it"
			}
			taken := "left"
			if on[o] {
				taken = "also taken"
			}
			c.levels = append(c.levels, fmt.Sprintf("%s %s would save %s alone (%s)", where, other.name, about3(time.Duration(other.chosen.SavedNs)), taken))
		}
	}
}
