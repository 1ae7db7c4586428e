package forecast

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// ask is a statement with a known result.
func (v *visit) ask(text string, result any, params ...event.Hash) {
	v.s.emit(event.Event{Type: event.TypeQuery, At: v.at + v.dur/4, Dur: event.Some(v.dur / 4), Trace: v.trace, Parent: v.trace,
		Query: &event.Query{DB: "postgresql", Text: text, Params: params, Rows: event.Some(int64(1)), ResultHash: hash("result", result)}})
}

const lookUp = "SELECT id, name, token FROM users WHERE token = $1"

// signedIn is a service whose users all have three drafts, and the same theme. Each request of somebody looks up who that is,
// if auth says so; share of the requests are of nobody, on the routes that answer them.
func signedIn(auth bool, nobody int) []event.Event {
	s := newShop(9)
	for i := range 1500 {
		who := fmt.Sprint("u", s.rng.IntN(6))
		route := []string{"/me/drafts/count", "/me/theme", "/tags", "/items/{id}", "/cart/size"}[i%5]
		anyone := route == "/tags" || route == "/items/{id}"
		if anyone && s.rng.IntN(100) < nobody {
			who = "-"
		}
		v := s.visit(30 * time.Millisecond)
		if auth && who != "-" {
			v.ask(lookUp, who, hash("token of", who))
		}
		r := event.Request{Method: "GET", Route: route, Target: route, Principal: who, BodyHash: hash(route)}
		switch route {
		case "/me/drafts/count":
			v.ask("SELECT count(*) FROM drafts WHERE user_id = $1", 3, hash(who))
		case "/me/theme": // whole rows, which differ where what is shown of them does not
			v.ask("SELECT id, user_id, theme FROM settings WHERE user_id = $1", who, hash(who))
		case "/tags":
			v.ask("SELECT name FROM tags WHERE seen < $1", 1, hash(s.now)) // follows the time, not the principal
		case "/items/{id}":
			item := s.rng.IntN(3)
			r.Target, r.BodyHash = fmt.Sprint("/items/", item), hash("item", item)
			v.ask("SELECT id, name FROM items WHERE id = $1", item, hash(item))
		case "/cart/size": // of a function, which does not say what it asks
			s.emit(event.Event{Type: event.TypeCall, At: v.at + msec, Dur: event.Some(20 * msec), Trace: v.trace, Span: v.trace + ".f", Parent: v.trace,
				Call: &event.Call{Code: "shop.cart:size:12", Principal: who, ResultHash: hash(0),
					Args: []event.NamedHash{{Name: "session", Hash: hash(i)}, {Name: "user", Hash: hash("user", who)}}}})
		}
		v.done(r)
	}
	return s.events
}

// TestOwnRowsThatAreEqual: answers made of rows of each one's own are not everybody's because they were equal.
func TestOwnRowsThatAreEqual(t *testing.T) {
	for _, auth := range []bool{false, true} {
		rep := report(t, Options{}, signedIn(auth, 40))
		for name, what := range map[string]string{
			"GET /me/drafts/count": "SELECT count(*) FROM drafts", "GET /me/theme": "SELECT id, user_id, theme FROM settings", "GET /cart/size": "shop.cart:size",
		} {
			b := find(t, rep, name)
			in := principalOf(t, b)
			if !slices.Contains(b.Key, "principal") || in.Use != useKept || !strings.HasPrefix(in.Because, OwnRows) || in.Pairs < 200 || *in.Nobody != 0 ||
				!strings.Contains(in.Because, what) {
				t.Errorf("sign-in looked up: %v; %s: key %q, %+v", auth, name, b.Key, in)
			}
			if !slices.ContainsFunc(b.Notes, func(n string) bool { return strings.Contains(n, "although answers were the same in ") }) {
				t.Errorf("%s: %q", name, b.Notes)
			}
		}
		for name, key := range map[string][]string{"GET /tags": {}, "GET /items/{id}": {"path.id"}} {
			b := find(t, rep, name)
			in := principalOf(t, b)
			if !slices.Equal(b.Key, key) || in.Use != useIgnored || *in.Nobody < 50 || slices.Contains(b.Notes, Unguarded) || auth != strings.Contains(in.Because, "FROM users") {
				t.Errorf("sign-in looked up: %v; %s: key %q, %+v, %q", auth, name, b.Key, in, b.Notes)
			}
		}
	}
}

// TestAnswersToUsersOnly: where nobody without a principal was answered, leaving it out of the key is not called safe; and
// where who asks is looked up as well, nothing shows that the answer is not made of that.
func TestAnswersToUsersOnly(t *testing.T) {
	b := find(t, report(t, Options{}, signedIn(false, 0)), "GET /tags")
	if len(b.Key) > 0 || !slices.Contains(b.Notes, Unguarded) || *principalOf(t, b).Nobody != 0 {
		t.Errorf("key %q, %q, %+v", b.Key, b.Notes, b.Inputs)
	}
	b = find(t, report(t, Options{}, signedIn(true, 0)), "GET /tags")
	if !slices.Equal(b.Key, []string{"principal"}) || !strings.HasSuffix(principalOf(t, b).Because, "FROM users WHERE token = ? (perhaps only to find out who asks)") || slices.Contains(b.Notes, Unguarded) {
		t.Errorf("key %q, %q, %+v", b.Key, b.Notes, b.Inputs)
	}
}

// TestOneUserAndNobody: a statement that only runs for somebody follows the principal, too.
func TestOneUserAndNobody(t *testing.T) {
	s := newShop(3)
	for range 400 {
		who := []string{"ann", "-"}[s.rng.IntN(2)]
		v := s.visit(30 * time.Millisecond)
		v.query("SELECT id FROM items", 3)
		if who != "-" {
			v.ask("SELECT item FROM favorites WHERE user_id = $1", 0, hash(who))
		}
		v.done(event.Request{Method: "GET", Route: "/items", Target: "/items", Principal: who, BodyHash: hash("items")})
	}
	b := find(t, report(t, Options{}, s.events), "GET /items")
	if in := principalOf(t, b); !slices.Contains(b.Key, "principal") || !strings.HasSuffix(in.Because, "FROM favorites WHERE user_id = ?") {
		t.Errorf("key %q, %+v", b.Key, in)
	}
}

// TestWhatChangesByItself: parameters that differ with what was written, or with the time, as often for one principal as for two, do
// not follow it, nor does what a connection asks first.
func TestWhatChangesByItself(t *testing.T) {
	for seed := range uint64(10) {
		s := newShop(seed)
		best := 0
		for i := range 1000 {
			if i%20 == 19 {
				best++
				v := s.visit(5 * time.Millisecond)
				v.query("UPDATE ranks SET best = $1", 1, hash(best))
				v.done(event.Request{Method: "PUT", Route: "/ranks", Target: "/ranks", Principal: "root"})
			}
			v := s.visit(30 * time.Millisecond)
			if i%331 == 0 {
				v.query("SET search_path = $1", 0, hash(i))
				v.query("SELECT value FROM config WHERE name = $1", 1, hash("zone"))
			}
			v.query("SELECT best FROM ranks", 1)
			v.query("SELECT name FROM items WHERE id = $1", 1, hash("item", best))
			v.query("SELECT name FROM days WHERE day = $1", 1, hash(i/300))
			v.done(event.Request{Method: "GET", Route: "/best", Target: "/best", Principal: fmt.Sprint("u", s.rng.IntN(7)), BodyHash: hash("the same")})
		}
		if b := find(t, report(t, Options{}, s.events), "GET /best"); len(b.Key) > 0 {
			t.Errorf("seed %d: key %q, %+v", seed, b.Key, principalOf(t, b))
		}
	}
}

// TestAskedWith: what a statement is asked with stays in the key although all answers were alike: searches that found nothing,
// pages beyond the end, an order of one row. What nothing is asked with does not.
func TestAskedWith(t *testing.T) {
	s := newShop(11)
	for i := range 800 {
		v := s.visit(20 * time.Millisecond)
		word, page, ref := fmt.Sprint("w", i/2), s.rng.IntN(4), fmt.Sprint("r", s.rng.IntN(5))
		route, target := "/search", fmt.Sprintf("/search?q=%s&page=%d&ref=%s&_=%d", word, page, ref, i)
		v.ask("SELECT id FROM items WHERE name = $1 LIMIT 10 OFFSET $2", "nothing", hash(word), hash("offset", page))
		v.ask("SELECT name FROM banners WHERE until > $1", 1, hash(s.now))
		v.done(event.Request{Method: "GET", Route: route, Target: target, Principal: "-", BodyHash: hash("nothing")})
	}
	b := find(t, report(t, Options{}, s.events), "GET /search")
	if !slices.Equal(b.Key, []string{"query.page", "query.q", "principal"}) {
		t.Errorf("key %q", b.Key)
	}
	for _, in := range b.Inputs {
		switch asked := strings.HasPrefix(in.Because, AskedWith+": SELECT id FROM items"); in.Name {
		case "query.q", "query.page":
			if in.Use != useKept || !asked {
				t.Errorf("%+v", in)
			}
		case "query.ref", "query._":
			if in.Use != useIgnored || asked {
				t.Errorf("%+v", in)
			}
		}
	}
}
