package forecast

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// bruteJoint moves all caches instant by instant and keeps entries in a plain list by last use.
func bruteJoint(j *Joint, on []bool, capacity int64) JointResult {
	res := JointResult{Members: make([]JointMember, len(j.Members))}
	type entry struct {
		key     int32
		stored  int64
		until   int64
		hash    uint64
		bytes   int64
		unit    int
		tainted bool
	}
	var list []*entry // used last first
	find := func(key int32) int { return slices.IndexFunc(list, func(e *entry) bool { return e.key == key }) }
	answered, tainted := map[int]bool{}, map[int]bool{}
	var fills []int
	last := int64(0)
	for _, u := range j.Units {
		last = max(last, u.End)
	}
	store := func(i int) {
		u := j.Units[i]
		if at := find(u.Key); at >= 0 {
			list = slices.Delete(list, at, at+1)
		}
		until := min(u.End+j.Members[u.Member].TTL, u.DropAt)
		if until <= u.End || capacity > 0 && int64(u.Bytes) > capacity {
			return
		}
		list = slices.Insert(list, 0, &entry{u.Key, u.End, until, u.Hash, int64(u.Bytes), i, tainted[i]})
		var bytes int64
		for _, e := range list {
			bytes += e.bytes
		}
		for capacity > 0 && bytes > capacity {
			bytes -= list[len(list)-1].bytes
			list = list[:len(list)-1]
			res.Evicted++
		}
		res.Peaks = Peaks{max(res.Peaks.Keys, int64(len(list))), max(res.Peaks.Bytes, bytes)}
	}
	for now := int64(0); now <= last; now++ {
		list = slices.DeleteFunc(list, func(e *entry) bool { return e.until <= now })
		for i := 0; i < len(fills); {
			if j.Units[fills[i]].End == now {
				n := fills[i]
				fills = slices.Delete(fills, i, i+1)
				store(n)
			} else {
				i++
			}
		}
		for i, u := range j.Units {
			if u.At != now {
				continue
			}
			if u.Around >= 0 && answered[int(u.Around)] {
				answered[i] = true
				if on[u.Member] {
					res.Members[u.Member].Spared++
				}
				continue
			}
			if !on[u.Member] {
				continue
			}
			m := &res.Members[u.Member]
			m.Lookups++
			res.Lookups++
			at := find(u.Key)
			if at < 0 {
				if !u.NoStore && !u.Killed {
					if u.End == now {
						store(i)
					} else {
						fills = append(fills, i)
						slices.Sort(fills)
					}
				}
				continue
			}
			e := list[at]
			list = slices.Insert(slices.Delete(list, at, at+1), 0, e)
			answered[i] = true
			m.Hits++
			if !u.Answered {
				m.SavedNs += u.End - u.At
				m.SavedQueries += int64(u.Queries)
				res.SavedNs += u.End - u.At
				res.SavedQueries += int64(u.Queries)
			}
			if e.hash != 0 && u.Hash != 0 && !u.Untold && (e.tainted || e.hash != u.Hash) {
				m.Stale++
				res.Stale++
				if u.Races {
					m.Overlapping++
					res.Overlapping++
				}
				for a := u.Around; a >= 0; a = j.Units[a].Around {
					tainted[int(a)] = true
				}
			}
		}
	}
	return res
}

func randomJoint(rng *rand.Rand, members int) *Joint {
	j := &Joint{}
	perMember := 1 + rng.IntN(4)
	for range members {
		j.Members = append(j.Members, Member{TTL: 1 + rng.Int64N(60)})
	}
	j.Keys = members * perMember
	for range 1 + rng.IntN(40) {
		at := rng.Int64N(150)
		// A request with some things inside it.
		top := JointUnit{Request: Request{At: at, End: at + rng.Int64N(20)}}
		nest := []JointUnit{top}
		for range rng.IntN(4) {
			in := top.At + rng.Int64N(top.End-top.At+1)
			nest = append(nest, JointUnit{Request: Request{At: in, End: in + rng.Int64N(top.End-in+1)}})
		}
		for i := range nest {
			u := &nest[i]
			u.Member = int32(rng.IntN(members))
			u.Key = u.Member*int32(perMember) + int32(rng.IntN(perMember))
			u.Hash, u.Bytes, u.Queries = uint64(1+rng.IntN(3)), int32(1+rng.IntN(50)), int32(rng.IntN(4))
			u.NoStore, u.Races, u.Killed = rng.IntN(10) == 0, rng.IntN(4) == 0, rng.IntN(10) == 0
			u.Untold, u.Answered = rng.IntN(8) == 0, rng.IntN(8) == 0
			u.DropAt = math.MaxInt64
			if rng.IntN(3) == 0 {
				u.DropAt = u.End + rng.Int64N(40)
			}
			u.Around = -1
			if i > 0 {
				u.Around = -2 - int32(len(j.Units)) // the first of the nest, until all are in order
			}
		}
		base := len(j.Units)
		for i := range nest {
			if i > 0 {
				nest[i].Around = int32(base)
			}
		}
		j.Units = append(j.Units, nest...)
	}
	order := make([]int, len(j.Units))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(j.Units[a].At - j.Units[b].At) })
	place := make([]int32, len(order))
	sorted := make([]JointUnit, len(order))
	for i, from := range order {
		place[from] = int32(i)
		sorted[i] = j.Units[from]
	}
	for i := range sorted {
		if sorted[i].Around >= 0 {
			sorted[i].Around = place[sorted[i].Around]
		}
	}
	j.Units = sorted
	return j
}

func TestJointEqualsPlainCaches(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	evicted, stale := int64(0), int64(0)
	for round := range 2000 {
		j := randomJoint(rng, 1+rng.IntN(4))
		on := make([]bool, len(j.Members))
		for i := range on {
			on[i] = rng.IntN(4) > 0
		}
		capacity := int64(0)
		if rng.IntN(2) == 0 {
			capacity = 1 + rng.Int64N(200)
		}
		got, want := j.Replay(on, capacity), bruteJoint(j, on, capacity)
		evicted += got.Evicted
		stale += got.Stale
		if !slices.Equal(got.Members, want.Members) {
			t.Fatalf("round %d, capacity %d: members %+v, plain caches have %+v", round, capacity, got.Members, want.Members)
		}
		got.Members, want.Members = nil, nil
		if got.SavedNs != want.SavedNs || got.Peaks != want.Peaks || got.Evicted != want.Evicted || got.Stale != want.Stale ||
			got.Overlapping != want.Overlapping || got.Lookups != want.Lookups || got.SavedQueries != want.SavedQueries {
			t.Fatalf("round %d, capacity %d: %+v, plain caches have %+v", round, capacity, got, want)
		}
	}
	if evicted == 0 || stale == 0 {
		t.Errorf("%d entries were evicted and %d answers stale: the histories test too little", evicted, stale)
	}
}

// TestJointOfOneEqualsGrid compares the two replays where they answer the same question.
func TestJointOfOneEqualsGrid(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		k := randomKey(rng)
		g := NewGrid([]int64{7})
		g.Add(&k)
		for v := None; v < numInvalidations; v++ {
			j := &Joint{Keys: 1, Members: []Member{{TTL: 7}}}
			w := &lane{}
			w.load(k.Requests)
			w.dropsBy(&k, v)
			for i, r := range k.Requests {
				j.Units = append(j.Units, JointUnit{Request: r, Around: -1, DropAt: w.dropAt[i], Killed: v.fenced() && w.killed[i]})
			}
			p, r := g.At(v)[0], j.Replay([]bool{true}, 0)
			if p.Hits != r.Members[0].Hits || p.Stale != r.Stale || p.Overlapping != r.Overlapping || p.SavedNs != r.SavedNs {
				t.Fatalf("%v: grid %+v, joint %+v\n%+v", v, p, r, k)
			}
		}
	}
}

// TestSelectionIsNearTheBest compares with every subset: the selection as it is, which searches small traffic whole, and
// the climbing that larger traffic gets.
func TestSelectionIsNearTheBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	missed := 0
	const rounds = 250
	for round := range rounds {
		j := randomJoint(rng, 2+rng.IntN(6))
		for i := range j.Units { // beside times that look-ups do not outweigh
			j.Units[i].At *= 1e6
			j.Units[i].End *= 1e6
			if j.Units[i].DropAt < math.MaxInt64 {
				j.Units[i].DropAt *= 1e6
			}
		}
		for i := range j.Members {
			j.Members[i].TTL *= 1e6
		}
		capacity := int64(0)
		if rng.IntN(2) == 0 {
			capacity = 20 + rng.Int64N(200)
		}
		upkeep, limit := rng.Int64N(4e6), rng.Int64N(5)
		fits := func(r *JointResult) bool { return r.Stale <= limit }
		best := int64(0)
		for set := range 1 << len(j.Members) {
			on := make([]bool, len(j.Members))
			for i := range on {
				on[i] = set>>i&1 == 1
			}
			if r := j.Replay(on, capacity); fits(&r) {
				best = max(best, r.net(count(on), upkeep))
			}
		}
		on, res := j.Select(capacity, upkeep, fits)
		if got := res.net(count(on), upkeep); float64(got) < 0.98*float64(best) {
			t.Errorf("round %d: the selection is worth %d, the best subset %d", round, got, best)
		}
		s := j.search(capacity, upkeep, fits)
		s.climbAll()
		if float64(s.best.value) < 0.98*float64(best) {
			missed++
		}
	}
	if missed*100 > rounds {
		t.Errorf("climbing missed the best subset by more than 2 %% in %d of %d histories", missed, rounds)
	}
}

func count(on []bool) int {
	n := 0
	for _, v := range on {
		if v {
			n++
		}
	}
	return n
}
