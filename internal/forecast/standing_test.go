package forecast

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// get is a look-up in a standing cache.
func (v *visit) get(key string, hit bool) {
	v.s.emit(event.Event{Type: event.TypeCache, At: v.at + 1, Dur: event.Some(int64(1000)), Trace: v.trace, Parent: v.trace,
		Cache: &event.Cache{Op: "get", Layer: "shared", Store: "redis", Key: key, Hit: event.Some(hit)}})
}

// cached is a service that caches one route well, another hardly, and a third not at all; something beside the answer is asked for
// at each request, and a proxy's header tells of a fourth.
func cached(n int) []event.Event {
	s := newShop(7)
	held := map[string]bool{}
	for i := range n {
		who := string(rune('a' + s.rng.IntN(5)))
		item := s.rng.IntN(12)
		ask := func(route, key string, keep bool) {
			hit := key != "" && held[key]
			took := 30 * time.Millisecond
			if hit {
				took = 3 * time.Millisecond
			}
			v := s.visit(took)
			v.get(":1:demarc:written:items", true) // says only which write was the last
			v.get(fmt.Sprint("session:", s.rng.IntN(50)), s.rng.IntN(2) == 0)
			if key != "" {
				v.get(key, hit)
			}
			if !hit {
				v.query("SELECT id, name FROM items WHERE id = $1", 1, hash(item))
			}
			held[key] = keep && key != ""
			v.done(event.Request{Method: "GET", Route: route, Target: strings.Replace(route, "{id}", fmt.Sprint(item), 1), Principal: who, BodyHash: hash(route, item)})
		}
		switch s.rng.IntN(4) {
		case 0:
			ask("/kept/{id}", fmt.Sprint("shop:kept:", item), true)
		case 1:
			ask("/hardly/{id}", fmt.Sprint("shop:hardly:", item), s.rng.IntN(6) == 0)
		case 2:
			ask("/not/{id}", "", false)
		case 3:
			v := s.visit(20 * time.Millisecond)
			r := event.Request{Method: "GET", Route: "/proxied/{id}", Target: fmt.Sprint("/proxied/", item), Principal: who, BodyHash: hash("proxied", item)}
			if i%2 == 0 {
				r.Headers = []event.Pair{{Name: "x-cache", Value: "HIT"}}
			} else {
				v.query("SELECT id, name FROM items WHERE id = $1", 1, hash(item))
			}
			v.done(r)
		}
	}
	return s.events
}

// Where a cache stands already, choose says so, and does not recommend another on top of it.
func TestStandingCache(t *testing.T) {
	rep := report(t, Options{}, cached(4000))
	for _, want := range []struct{ name, verdict, reason, family string }{
		{"GET /kept/{id}", Leave, "already cached by shop:kept:{}, hit ratio 99 %; a cache here would add nothing", "shop:kept:{}"},
		{"GET /hardly/{id}", Leave, "already cached by shop:hardly:{}, hit ratio 1", "shop:hardly:{}"},
		{"GET /proxied/{id}", Leave, "already cached by a cache that its answers' headers speak of, hit ratio 51 %", ""},
		{"GET /not/{id}", Cache, "saves", ""}, // what is asked beside is no answer: its hits leave a statement to run
	} {
		b := find(t, rep, want.name)
		if b.Verdict != want.verdict || !strings.HasPrefix(b.Reason, want.reason) {
			t.Errorf("%s: %s, %q; %s, %q was expected", want.name, b.Verdict, b.Reason, want.verdict, want.reason)
		}
		if (b.Standing != nil) != (want.verdict == Leave) || b.Standing != nil && b.Standing.Family != want.family {
			t.Errorf("%s: standing %+v", want.name, b.Standing)
		}
	}
	hardly := find(t, rep, "GET /hardly/{id}")
	if s := hardly.Standing; s.Adds < s.Requests/2 || s.Adds > hardly.Forecast.Hits || !strings.Contains(hardly.Reason, fmt.Sprintf("would add %d hits", s.Adds)) {
		t.Errorf("%+v: %s", s, hardly.Reason)
	}
	if got := fmt.Sprint(rep.Set.Names); got != "[GET /not/{id}]" {
		t.Errorf("set %s", got)
	}
}

// pieces is a service in which a cache holds a piece of each answer, hardly ever filled anew: what is answered is nearly
// never known to be right. Behind one route is a table that is written to, behind the other nothing that was seen.
func pieces(n int) []event.Event {
	s := newShop(11)
	held := map[string]bool{}
	for i := range n {
		item := s.rng.IntN(6)
		ask := func(route, key, text string) {
			v := s.visit(30 * time.Millisecond)
			v.get(key, held[key])
			if text != "" {
				v.query(text, 1, hash(item))
				if !held[key] {
					v.query("SELECT price FROM products WHERE id = $1", 1, hash(item))
				}
			}
			held[key] = true
			v.done(event.Request{Method: "GET", Route: route, Target: strings.Replace(route, "{id}", fmt.Sprint(item), 1), Principal: "-", BodyHash: hash(route, item, i/50)})
		}
		switch {
		case i%50 == 49:
			v := s.visit(5 * time.Millisecond)
			v.query("UPDATE products SET name = $1 WHERE id = $2", 1, hash(i), hash(item))
			v.done(event.Request{Method: "PUT", Route: "/products/{id}", Target: fmt.Sprint("/products/", item), Principal: "-"})
		case i%2 == 0:
			ask("/priced/{id}", fmt.Sprint("price:", item), "SELECT id, name FROM products WHERE id = $1")
		default:
			ask("/remote/{id}", fmt.Sprint("rate:", item), "")
		}
	}
	return s.events
}

// A lifetime that could not be judged is not chosen where writes were observed to what it would hold, or nothing tells what
// that is; drops are, and a budget of as many seconds allows it.
func TestUnjudged(t *testing.T) {
	rep := report(t, Options{}, pieces(3000))
	if b := find(t, rep, "GET /priced/{id}"); b.Verdict != Cache || !strings.HasSuffix(b.How, "-fenced") || !strings.Contains(b.Reason, "could not be judged, it rests on the drops") {
		t.Errorf("%s by %s: %s", b.Verdict, b.How, b.Reason)
	}
	if b := find(t, rep, "GET /remote/{id}"); b.Verdict != Leave || !strings.HasPrefix(b.Reason, "cannot be judged: of ") {
		t.Errorf("%s by %s: %s", b.Verdict, b.How, b.Reason)
	}
	rep = report(t, Options{Staleness: map[string]Budget{"": {Age: 10 * time.Second}}}, pieces(3000))
	if b := find(t, rep, "GET /remote/{id}"); b.Verdict != Cache || b.How != None.String() || *b.TTLMs > 10_000 {
		t.Errorf("with a budget: %s by %s: %s", b.Verdict, b.How, b.Reason)
	}
}

// The families of standing caches are named as demarc stale names them.
func TestFamiliesOfStandingCaches(t *testing.T) {
	for _, c := range []struct {
		store string
		keys  []string
		want  string
	}{
		{"redis://a:6379/0", []string{"demarc:get_tags:~0123456789abcdef", "demarc:get_tags:~0123456789abcdee"}, "demarc:get_tags:{}"},
		{"redis://a:6379/0", []string{"article:42"}, "article:{}"},
		{"functools:shop.genres", []string{"7", "8"}, "functools:shop.genres {}"},
		{"redis://a:6379/1", []string{"7"}, "redis/1 {}"},
		{"redis", []string{":1:menu"}, ":{}:menu"},
		{"redis", []string{"shop:1:page..GET.0123456789abcdef0123456789abcdef.en.America/Chicago"}, "shop:{}:page..GET.{}.en.America/Chicago"},
		{"redis", []string{"shop:1:page..GET.en.America/Chicago", "shop:1:page..GET.de.America/Chicago"}, "shop:{}:page..GET.{}.America/Chicago"},
		{"redis", []string{":1:a|x", ":1:b|x"}, ":{}:{}|x"},
		{"functools:shop.words", []string{"hello", "world"}, "functools:shop.words {}"},
	} {
		s := newShop(5)
		for i := range 200 {
			v := s.visit(20 * time.Millisecond)
			key := c.keys[i%len(c.keys)]
			v.s.emit(event.Event{Type: event.TypeCache, At: v.at + 1, Dur: event.Some(int64(1000)), Trace: v.trace, Parent: v.trace,
				Cache: &event.Cache{Op: "get", Store: c.store, Key: key, Hit: event.Some(i >= 4)}})
			if i < 4 {
				v.query("SELECT name FROM genres", 4)
			}
			v.done(event.Request{Method: "GET", Route: "/x", Target: "/x", Principal: "-", BodyHash: hash(key)})
		}
		b := find(t, report(t, Options{}, s.events), "GET /x")
		if b.Standing == nil || b.Standing.Family != c.want {
			t.Errorf("%s %q: %+v, %q was expected", c.store, c.keys, b.Standing, c.want)
		}
	}
}
