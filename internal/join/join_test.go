package join

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type live = Live[int, string, int]

func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var got table[int]
	want := map[uint64]*int{}
	for step := range 200_000 {
		id := rng.Uint64N(300) // close together, and 0 among them
		if step/50_000%2 == 1 {
			id <<= 50
		}
		switch v, ok := want[id]; {
		case got.find(id) != v:
			t.Fatalf("step %d: %v for %d, want %v", step, got.find(id), id, v)
		case ok && rng.IntN(2) == 0:
			got.remove(id)
			delete(want, id)
		case !ok && rng.IntN(3) > 0:
			v := &step
			got.add(id, v)
			want[id] = v
		case !ok:
			got.remove(id) // nothing to do
		}
		if got.n != len(want) {
			t.Fatalf("step %d: %d, want %d", step, got.n, len(want))
		}
	}
	if len(got.slots) > 4*600 {
		t.Errorf("%d slots for at most 600 ids", len(got.slots))
	}
}

// closed takes all traces that are due, as letters of their ids, early ones in capitals.
func closed(l *live) string {
	out := ""
	for t, early := l.Due(); t != nil; t, early = l.Due() {
		letter := byte('a' + t.ID)
		if early {
			letter -= 'a' - 'A'
		}
		out += string(letter)
		l.Remove(t)
	}
	return out
}

func TestLive(t *testing.T) {
	l := &live{Limits: Limits{JoinAge: 10, OpenAge: 100, MaxItems: 5, MaxTraces: 4}}
	item := func(id uint64, at int64) string {
		t := l.Trace(id)
		t.Sum++
		l.Add(t, 1)
		l.Touch(t, l.Advance(at))
		return closed(l)
	}
	request := func(id uint64, at int64) string {
		t := l.Trace(id)
		t.Requests = append(t.Requests, "r")
		l.Touch(t, l.Advance(at))
		return closed(l)
	}
	for _, step := range []struct {
		do   func(uint64, int64) string
		id   uint64
		at   int64
		want string
	}{
		{item, 0, 1, ""},
		{request, 1, 2, ""},
		{request, 0, 3, ""},
		{item, 1, 4, ""},    // b was added to last
		{request, 2, 2, ""}, // late: the clock stays at 4
		{item, 3, 14, "a"},  // 3 is more than 10 before
		{item, 3, 15, "bc"},
		{item, 4, 15, ""},
		{item, 4, 115, ""},
		{item, 3, 116, ""},
		{item, 5, 117, "E"}, // six items, and nothing that has its request
		{request, 6, 118, ""},
		{request, 7, 119, ""},
		{request, 8, 120, "G"}, // five traces: one with its request goes first
		{item, 5, 230, "hid"},
	} {
		if got := step.do(step.id, step.at); got != step.want {
			t.Errorf("at %d: closed %q, want %q", step.at, got, step.want)
		}
	}
	var left []uint64
	for x := range l.All() {
		left = append(left, x.ID)
		if x.Sum != 2 || len(x.Items) != 2 {
			t.Errorf("sum %d of items %v, want 2 of two", x.Sum, x.Items)
		}
		l.Remove(x)
	}
	if !slices.Equal(left, []uint64{5}) || l.Len() != 0 || l.Items() != 0 {
		t.Errorf("left %v, then %d traces and %d items; want [5] and none", left, l.Len(), l.Items())
	}
	if x := l.Trace(9); x.Sum != 0 || len(x.Items) != 0 || len(x.Requests) != 0 {
		t.Errorf("a new trace holds %+v", x)
	}
}

func TestOwners(t *testing.T) {
	requests := []Place{{At: 0, End: 100, Span: 1, Source: 1}, {At: 10, End: 50, Span: 2, Source: 2}, {At: 60, End: 90, Span: 3, Source: 2}}
	items := []Link{
		{At: 70, Span: 10, Parent: 2},            // a child, whatever its time
		{At: 70, Parent: 10},                     // and its child
		{At: 5, Parent: 99, Source: 2},           // unknown parent: nothing of its process had begun
		{At: 70, Source: 1},                      // the process tells
		{At: 55, Source: 2},                      // of its process the one before, though it had ended
		{At: 70, Source: 9},                      // the last one that had begun
		{At: 20, Span: 20, Parent: 21},           // a circle
		{At: 65, Span: 21, Parent: 20},           //
		{At: -5, Source: 2},                      // before all of them
		{At: 62, Span: 30, Parent: 3, Source: 1}, // the parent counts more than the process
	}
	got := Owners(requests, len(items), func(i int) Link { return items[i] })
	if want := []int{1, 1, 0, 0, 1, 2, 1, 2, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("owners %v, want %v", got, want)
	}
}

func TestID(t *testing.T) {
	seen := map[uint64]string{0: ""}
	for _, s := range []string{"", "a", "b", "\x00", "\x00\x00", "12345678", "123456789", "4bf92f3577b34da6a3ce929d0e0e4736"} {
		if was, ok := seen[ID(s)]; ok && was != s {
			t.Errorf("%q and %q have one id", s, was)
		}
		seen[ID(s)] = s
	}
}

// BenchmarkLive puts ten items and a request into each of many traces of which a hundred run at the same time.
func BenchmarkLive(b *testing.B) {
	l := &live{Limits: Limits{JoinAge: 15e9, OpenAge: 300e9, MaxItems: 262144, MaxTraces: 32768}}
	b.ReportAllocs()
	for n := range b.N {
		id := Mix(uint64(n/1100*100+n%100), 1)
		t := l.Trace(id)
		if n/100%11 == 10 {
			t.Requests = append(t.Requests, "r")
		} else {
			l.Add(t, n)
		}
		l.Touch(t, l.Advance(int64(n)*100_000))
		for t, _ := l.Due(); t != nil; t, _ = l.Due() {
			l.Remove(t)
		}
	}
}
