package forecast

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// Joint is a set of boundaries over the same traffic, for replay together: an answer from one boundary spares everything
// inside it.
type Joint struct {
	Units   []JointUnit // by start; what lies around another stands before it
	Keys    int         // keys of all members together
	Members []Member
}

// Member is one boundary of a Joint with its lifetime.
type Member struct {
	TTL      int64 // nanoseconds
	LookupNs int64 // what a look-up costs
}

// JointUnit is one request to one boundary.
type JointUnit struct {
	Request
	Member int32
	Key    int32 // of all members' keys
	Around int32 // the unit that it lies in, -1 for none
	// DropAt is when a drop would end an entry that it stores; math.MaxInt64 for never. Killed says that a fence keeps it
	// from storing.
	DropAt int64
	Killed bool
}

// JointResult is what a set would have done.
type JointResult struct {
	SavedNs, SavedQueries int64
	Lookups, LookupNs     int64 // how many, and what they cost
	Stale, Overlapping    int64 // answers that went out stale, by whatever boundary
	Evicted               int64
	Peaks                 Peaks
	Members               []JointMember
}

// JointMember is one boundary's part in it.
type JointMember struct {
	Lookups, LookupNs, Hits, Stale, Overlapping, SavedNs, SavedQueries int64
	Spared                                                             int64 // requests that never came, because a boundary around answered
}

type jointEntry struct {
	until      int64
	hash       uint64
	bytes      int64
	version    uint32
	live       bool
	prev, next int32 // by last use; -1 at the ends
}

type due struct {
	at      int64
	n       int32 // unit or key
	version uint32
}

type dues []due

func (d dues) Len() int { return len(d) }
func (d dues) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].n < d[j].n
}
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push adds an element, as container/heap wants it.
func (d *dues) Push(v any) { *d = append(*d, v.(due)) }

// Pop takes the last element away, as container/heap wants it.
func (d *dues) Pop() any {
	old := *d
	v := old[len(old)-1]
	*d = old[:len(old)-1]
	return v
}

// jointRun is the state of one replay. Memory: 48 bytes a key, 4 a unit, and 16 for each fill under way and entry alive.
type jointRun struct {
	j        *Joint
	capacity int64
	entries  []jointEntry
	state    []uint8
	fills    dues
	ends     dues
	first    int32 // used last
	last     int32
	now      Peaks
	res      JointResult
}

const (
	jointAnswered uint8 = 1 << iota // by the cache, itself or around it
	jointTainted                    // made from a stale answer
)

// Replay runs the traffic through the members that are on, with one memory of capacity bytes for all of them (0: without a
// limit), which gives up what was used longest ago. The rules are those of Grid.Add; in addition, an entry is used when
// it is hit and when it is stored, one that has ended takes no room, and an answer larger than the whole memory is not
// stored. What is made from a stale answer inside it is stale too.
func (j *Joint) Replay(on []bool, capacity int64) JointResult {
	r := &jointRun{
		j: j, capacity: capacity, entries: make([]jointEntry, j.Keys), state: make([]uint8, len(j.Units)), first: -1, last: -1,
		res: JointResult{Members: make([]JointMember, len(j.Members))},
	}
	for i := range j.Units {
		r.unit(int32(i), on)
	}
	r.until(math.MaxInt64)
	return r.res
}

func (r *jointRun) unit(i int32, on []bool) {
	u := &r.j.Units[i]
	if u.Around >= 0 {
		r.state[i] = r.state[u.Around] & jointAnswered
	}
	if !on[u.Member] {
		return
	}
	m := &r.res.Members[u.Member]
	if r.state[i] != 0 {
		m.Spared++
		return
	}
	r.until(u.At)
	m.Lookups++
	m.LookupNs += r.j.Members[u.Member].LookupNs
	r.res.Lookups++
	r.res.LookupNs += r.j.Members[u.Member].LookupNs
	e := &r.entries[u.Key]
	if !e.live {
		if !u.NoStore && !u.Killed {
			heap.Push(&r.fills, due{at: u.End, n: i})
		}
		return
	}
	r.state[i] |= jointAnswered
	m.Hits++
	if !u.Answered {
		m.SavedNs += u.End - u.At
		m.SavedQueries += int64(u.Queries)
		r.res.SavedNs += u.End - u.At
		r.res.SavedQueries += int64(u.Queries)
	}
	r.unlink(u.Key)
	r.link(u.Key)
	if e.hash != 0 && u.Hash != 0 && !u.Untold && e.hash != u.Hash {
		m.Stale++
		r.res.Stale++
		if u.Races {
			m.Overlapping++
			r.res.Overlapping++
		}
		for a := u.Around; a >= 0; a = r.j.Units[a].Around {
			r.state[a] |= jointTainted
		}
	}
}

// until lets pass what happens up to a time: ends and stores, in their order.
func (r *jointRun) until(t int64) {
	for {
		end, fill := int64(math.MaxInt64), int64(math.MaxInt64)
		if len(r.ends) > 0 {
			end = r.ends[0].at
		}
		if len(r.fills) > 0 {
			fill = r.fills[0].at
		}
		switch {
		case end <= t && end <= fill && end < math.MaxInt64:
			d := heap.Pop(&r.ends).(due)
			if e := &r.entries[d.n]; e.live && e.version == d.version {
				r.remove(d.n)
			}
		case fill <= t && fill < math.MaxInt64:
			r.store(heap.Pop(&r.fills).(due).n)
		default:
			return
		}
	}
}

func (r *jointRun) store(i int32) {
	u := &r.j.Units[i]
	e := &r.entries[u.Key]
	if e.live {
		r.remove(u.Key)
	}
	until := min(u.End+r.j.Members[u.Member].TTL, u.DropAt)
	if until <= u.End || r.capacity > 0 && int64(u.Bytes) > r.capacity {
		return
	}
	e.version++
	e.until, e.hash, e.bytes, e.live = until, u.Hash, int64(u.Bytes), true
	if r.state[i]&jointTainted != 0 && e.hash != 0 {
		e.hash = mix(e.hash, 0x7461696e74)
	}
	heap.Push(&r.ends, due{at: until, n: u.Key, version: e.version})
	r.link(u.Key)
	r.now.Keys++
	r.now.Bytes += e.bytes
	for r.capacity > 0 && r.now.Bytes > r.capacity {
		r.res.Evicted++
		r.remove(r.last)
	}
	r.res.Peaks.Keys, r.res.Peaks.Bytes = max(r.res.Peaks.Keys, r.now.Keys), max(r.res.Peaks.Bytes, r.now.Bytes)
}

func (r *jointRun) remove(k int32) {
	e := &r.entries[k]
	r.unlink(k)
	e.live = false
	r.now.Keys--
	r.now.Bytes -= e.bytes
}

func (r *jointRun) link(k int32) {
	e := &r.entries[k]
	e.prev, e.next = -1, r.first
	if r.first >= 0 {
		r.entries[r.first].prev = k
	} else {
		r.last = k
	}
	r.first = k
}

func (r *jointRun) unlink(k int32) {
	e := &r.entries[k]
	if e.prev >= 0 {
		r.entries[e.prev].next = e.next
	} else {
		r.first = e.next
	}
	if e.next >= 0 {
		r.entries[e.next].prev = e.prev
	} else {
		r.last = e.prev
	}
}

// net is what a result is worth: what is saved, less the look-ups and what a boundary costs those who keep it.
func (r *JointResult) net(members int, upkeep int64) int64 {
	return r.SavedNs - r.LookupNs - int64(members)*upkeep
}

// Select chooses the members whose set is worth most. Small traffic is replayed with every set. Else it begins with nothing
// and with each member alone, adds what helps most, takes out and exchanges, until nothing helps, and takes the best that
// it comes to: some members³ replays. upkeep is what each member must add; fits says whether a result is allowed.
func (j *Joint) Select(capacity, upkeep int64, fits func(r *JointResult) bool) ([]bool, JointResult) {
	s := j.search(capacity, upkeep, fits)
	if n := len(j.Members); n < 24 && (len(j.Units)+1)<<n <= smallTraffic {
		s.all()
	} else {
		s.climbAll()
	}
	return s.best.on, s.best.result
}

// smallTraffic is how many requests may be replayed to try every set: a few seconds.
const smallTraffic = 1 << 24

func (j *Joint) search(capacity, upkeep int64, fits func(r *JointResult) bool) *search {
	s := &search{j: j, capacity: capacity, upkeep: upkeep, fits: fits, known: map[string]bool{}}
	s.best.on = make([]bool, len(j.Members))
	s.best.result = j.Replay(s.best.on, capacity)
	return s
}

// all tries every set.
func (s *search) all() {
	on := make([]bool, len(s.j.Members))
	for set := range 1 << len(on) {
		for m := range on {
			on[m] = set>>m&1 == 1
		}
		s.try(on)
	}
}

// climbAll climbs from nothing and from each member alone.
func (s *search) climbAll() {
	s.climb(s.best)
	for m := range s.j.Members {
		on := make([]bool, len(s.j.Members))
		on[m] = true
		if start, ok := s.try(on); ok {
			s.climb(start)
		}
	}
}

// search is the work of Select.
type search struct {
	j                *Joint
	capacity, upkeep int64
	fits             func(r *JointResult) bool
	best             choice
	known            map[string]bool // sets that were tried
}

type choice struct {
	on     []bool
	result JointResult
	value  int64
}

// try replays a set that was not tried before; ok is false where it was, or does not fit.
func (s *search) try(on []bool) (choice, bool) {
	name := make([]byte, len(on))
	n := 0
	for i, v := range on {
		if v {
			name[i] = 1
			n++
		}
	}
	if s.known[string(name)] {
		return choice{}, false
	}
	s.known[string(name)] = true
	c := choice{on: slices.Clone(on), result: s.j.Replay(on, s.capacity)}
	c.value = c.result.net(n, s.upkeep)
	if !s.fits(&c.result) {
		return choice{}, false
	}
	if c.value > s.best.value {
		s.best = c
	}
	return c, true
}

// climb goes from set to set as long as one next to it is better: with one or two
// members more, one less, or one for another.
func (s *search) climb(from choice) {
	for {
		next := from
		on := slices.Clone(from.on)
		look := func(flip ...int) {
			for _, m := range flip {
				on[m] = !on[m]
			}
			if c, ok := s.try(on); ok && c.value > next.value {
				next = c
			}
			for _, m := range flip {
				on[m] = !on[m]
			}
		}
		for a := range on {
			look(a)
			for b := range on {
				if !on[b] && (on[a] || a < b) { // one for another, or two at a time: one may shield the other
					look(a, b)
				}
			}
		}
		if next.value <= from.value {
			return
		}
		from = next
	}
}

// joint puts candidates with their chosen points together.
func (l *log) joint(list []*candidate) *Joint {
	j := &Joint{}
	at := make(map[int32]int32) // unit of the log → of the joint
	var units []int32
	w := &lane{}
	for m, c := range list {
		j.Members = append(j.Members, Member{TTL: c.chosen.TTL, LookupNs: l.lookup(c)})
		for k := range c.keys {
			key := &c.keys[k]
			w.load(key.Requests)
			w.dropsBy(key, c.chosen.Invalidation)
			for i, n := range c.of[k] {
				at[n] = int32(len(j.Units))
				units = append(units, n)
				j.Units = append(j.Units, JointUnit{
					Request: key.Requests[i], Member: int32(m), Key: int32(j.Keys + k), DropAt: w.dropAt[i],
					Killed: c.chosen.Invalidation.fenced() && w.killed[i],
				})
			}
		}
		j.Keys += len(c.keys)
	}
	order := make([]int32, len(units))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(j.Units[a].At, j.Units[b].At), cmp.Compare(units[a], units[b]))
	})
	sorted := make([]JointUnit, len(units))
	place := make([]int32, len(units))
	for i, from := range order {
		sorted[i] = j.Units[from]
		place[from] = int32(i)
	}
	for i, from := range order {
		sorted[i].Around = -1
		in := l.units[units[from]].inside
		for range 64 {
			if in < 0 {
				break
			}
			if p, ok := at[in]; ok && place[p] < int32(i) {
				if l.units[units[from]].flags&late == 0 {
					sorted[i].Around = place[p]
				}
				break
			}
			in = l.units[in].inside
		}
	}
	j.Units = sorted
	return j
}
