package forecast

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// shop is the traffic of a service, event by event. Its answers are functions of its state, so that what they depend on is
// known.
type shop struct {
	rng    *rand.Rand
	source *event.Source
	seq    uint64
	now    int64
	trace  int
	events []event.Event
}

func newShop(seed uint64) *shop {
	return &shop{rng: rand.New(rand.NewPCG(seed, seed)), source: &event.Source{Service: "shop", Host: "a", Pid: 1}, now: int64(1e18)}
}

func hash(parts ...any) event.Hash { return event.Hash(fnv(fmt.Sprint(parts...))) }

func (s *shop) emit(e event.Event) {
	s.seq++
	e.Seq, e.Source = s.seq, s.source
	s.events = append(s.events, e)
}

// visit is one request; inside adds what happens in it, between its start and end.
type visit struct {
	s     *shop
	trace string
	at    int64
	dur   int64
}

func (s *shop) visit(dur time.Duration) *visit {
	s.trace++
	s.now += int64(dur) + s.rng.Int64N(int64(20*time.Millisecond))
	return &visit{s, fmt.Sprint("t", s.trace), s.now - int64(dur), int64(dur)}
}

func (v *visit) query(text string, rows int64, params ...event.Hash) {
	v.s.emit(event.Event{Type: event.TypeQuery, At: v.at + v.dur/4, Dur: event.Some(v.dur / 4), Trace: v.trace, Parent: v.trace,
		Query: &event.Query{DB: "postgresql", Text: text, Params: params, Rows: event.Some(rows)}})
}

func (v *visit) done(r event.Request) {
	r.Kind = "http"
	if r.Status == 0 {
		r.Status = 200
	}
	r.BodyBytes = event.Some(int64(100))
	slices.SortFunc(r.Vary, func(a, b event.NamedHash) int { return strings.Compare(a.Name, b.Name) })
	v.s.emit(event.Event{Type: event.TypeRequest, At: v.at, Dur: event.Some(v.dur), Trace: v.trace, Span: v.trace, Request: &r})
}

// traps is a service in which each route is a trap.
func traps(seed uint64, n int) []event.Event {
	s := newShop(seed)
	versions, carts := map[int]int{}, map[int]int{}
	job := 0
	for i := range n {
		user := s.rng.IntN(8)
		who := string(rune('a' + user))
		if user == 0 {
			who = "-"
		}
		vary := []event.NamedHash{{Name: "user-agent", Hash: hash("agent", user)}, {Name: "host", Hash: hash("shop")}}
		tracking := ""
		if s.rng.IntN(3) == 0 {
			tracking = fmt.Sprint("?utm_source=", []string{"mail", "ad"}[s.rng.IntN(2)])
			if s.rng.IntN(2) == 0 {
				tracking += fmt.Sprint("&fbclid=", s.rng.Uint64())
			}
		}
		if i%40 == 39 {
			job++ // a job that nobody observes writes what /report shows
		}
		switch k := s.rng.IntN(100); {
		case k < 40: // an item, with tracking parameters
			item := s.rng.IntN(12)
			v := s.visit(20 * time.Millisecond)
			v.query("SELECT id, name FROM items WHERE id = $1", 1, hash(item))
			v.done(event.Request{Method: "GET", Route: "/items/{id}", Target: fmt.Sprint("/items/", item, tracking), Principal: who, Vary: vary,
				BodyHash: hash("item", item, versions[item])})
		case k < 44: // a write to one
			item := s.rng.IntN(12)
			v := s.visit(10 * time.Millisecond)
			versions[item]++
			v.query("UPDATE items SET name = $1 WHERE id = $2", 1, hash(s.rng.Uint64()), hash(item))
			v.done(event.Request{Method: "PUT", Route: "/items/{id}", Target: fmt.Sprint("/items/", item), Principal: who, Vary: vary, BodyHash: hash("ok")})
		case k < 56: // a list of one's own
			v := s.visit(30 * time.Millisecond)
			v.query("SELECT id FROM carts WHERE user_id = $1", 1, hash(user))
			v.done(event.Request{Method: "GET", Route: "/cart", Target: "/cart" + tracking, Principal: who, Vary: vary, BodyHash: hash("cart", user, carts[user])})
		case k < 58:
			v := s.visit(10 * time.Millisecond)
			carts[user]++
			v.query("INSERT INTO carts (user_id, item) VALUES ($1, $2)", 1, hash(user), hash(s.rng.Uint64()))
			v.done(event.Request{Method: "POST", Route: "/cart", Target: "/cart", Principal: who, Vary: vary, BodyHash: hash("ok"), Status: 201})
		case k < 66: // a time in the body
			v := s.visit(25 * time.Millisecond)
			v.query("SELECT id, name FROM shops WHERE id = $1", 1, hash(1))
			v.done(event.Request{Method: "GET", Route: "/status", Target: "/status", Principal: who, Vary: vary, BodyHash: hash("now", s.now)})
		case k < 76: // what a job writes that is not seen
			v := s.visit(40 * time.Millisecond)
			v.query("SELECT day, total FROM totals", 5)
			v.done(event.Request{Method: "GET", Route: "/report", Target: "/report", Principal: who, Vary: vary, BodyHash: hash("report", job)})
		case k < 82: // slow, and never to be cached
			v := s.visit(150 * time.Millisecond)
			v.query("SELECT id FROM users WHERE name = $1", 1, hash(user))
			v.done(event.Request{Method: "POST", Route: "/login", Target: "/login", Principal: "-", Vary: vary, BodyHash: hash("token", s.now),
				Headers: []event.Pair{{Name: "set-cookie", Value: "true"}}})
		case k < 86:
			v := s.visit(150 * time.Millisecond)
			v.done(event.Request{Method: "GET", Route: "/login", Target: "/login", Principal: "-", Vary: vary, BodyHash: hash("form"),
				Headers: []event.Pair{{Name: "set-cookie", Value: "true"}}})
		default: // fast
			v := s.visit(300 * time.Microsecond)
			v.done(event.Request{Method: "GET", Route: "/ping", Target: "/ping", Principal: who, Vary: vary, BodyHash: hash("pong")})
		}
	}
	return s.events
}

func report(t *testing.T, opt Options, events []event.Event) *Report {
	t.Helper()
	f := New(opt)
	for from := 0; from < len(events); from += 100 {
		if err := f.Add(events[from:min(from+100, len(events))]); err != nil {
			t.Fatal(err)
		}
	}
	return f.Report()
}

func find(t *testing.T, rep *Report, name string) *Boundary {
	t.Helper()
	for i := range rep.Boundaries {
		if rep.Boundaries[i].Name == name {
			return &rep.Boundaries[i]
		}
	}
	t.Fatalf("no boundary %q", name)
	return nil
}

func TestTraps(t *testing.T) {
	for seed := range uint64(4) {
		rep := report(t, Options{}, traps(seed, 4000))
		for _, want := range []struct {
			name, verdict, reason string
			key, ignored          []string
			on                    []Dependency
		}{
			{"GET /items/{id}", Cache, "saves", []string{"path.id"}, []string{"query.fbclid", "query.utm_source", "principal", "header.user-agent"}, nil},
			{"GET /cart", Cache, "saves", []string{"principal"}, []string{"query.fbclid", "query.utm_source"}, nil},
			{"GET /status", Leave, "unstable", nil, nil, nil},
			{"GET /report", Leave, "", nil, nil, nil},
			{"POST /login", Leave, "never: POST is not a safe method", nil, nil, nil},
			{"GET /login", Leave, "set a cookie", nil, nil, nil},
			{"GET /ping", Leave, "not worth it: it takes 300µs", nil, nil, nil},
		} {
			b := find(t, rep, want.name)
			if b.Verdict != want.verdict || !strings.Contains(b.Reason, want.reason) {
				t.Errorf("seed %d, %s: %s, %q; %s, %q was expected", seed, want.name, b.Verdict, b.Reason, want.verdict, want.reason)
			}
			if want.key != nil && !slices.Equal(b.Key, want.key) {
				t.Errorf("seed %d, %s: key %q, %q was expected\n%+v", seed, want.name, b.Key, want.key, b.Inputs)
			}
			for _, name := range want.ignored {
				if !slices.Contains(b.Ignored, name) {
					t.Errorf("seed %d, %s: %s is not ignored: %+v", seed, want.name, name, b.Inputs)
				}
			}
			if want.verdict == Cache && b.Forecast.StaleServes > b.Forecast.Overlapping {
				t.Errorf("seed %d, %s: %d stale serves", seed, want.name, b.Forecast.StaleServes)
			}
		}
		item, cart := find(t, rep, "GET /items/{id}"), find(t, rep, "GET /cart")
		for _, b := range []*Boundary{item, cart} {
			if b.Coverage == nil || *b.Coverage < 0.99 {
				t.Errorf("seed %d, %s: writes explain %v of the changes, all was expected", seed, b.Name, b.Coverage)
			}
		}
		if b := find(t, rep, "GET /report"); b.Coverage == nil || *b.Coverage > 0.01 || b.Unexplained == "" {
			t.Errorf("seed %d: writes explain %v of the changes of /report, none was expected; %q", seed, b.Coverage, b.Unexplained)
		}
		if got := fmt.Sprint(rep.Set.Names); got != "[GET /items/{id} GET /cart]" {
			t.Errorf("seed %d: set %s", seed, got)
		}
		if !strings.HasPrefix(rep.Start, "Start with GET /items/{id}, because it saves") {
			t.Errorf("seed %d: %q", seed, rep.Start)
		}
	}
}

// TestPrincipalIsNotLost: answers depend on the principal in few cases, and another input comes along with these.
func TestPrincipalIsNotLost(t *testing.T) {
	for seed := range uint64(10) {
		s := newShop(seed)
		for range 600 {
			user, item := s.rng.IntN(10), s.rng.IntN(6)
			follows := user == 3 && item == 2
			target := fmt.Sprint("/people/", item)
			if follows || s.rng.IntN(6) == 0 {
				target += fmt.Sprint("?fbclid=", s.rng.Uint64())
			}
			v := s.visit(20 * time.Millisecond)
			v.query("SELECT id FROM people WHERE name = $1", 1, hash(item))
			v.done(event.Request{Method: "GET", Route: "/people/{name}", Target: target, Principal: fmt.Sprint("u", user), BodyHash: hash(item, follows)})
		}
		b := find(t, report(t, Options{}, s.events), "GET /people/{name}")
		if !slices.Contains(b.Key, "principal") {
			t.Errorf("seed %d: key %q has no principal: %+v", seed, b.Key, b.Inputs)
		}
	}
}

// TestOrderAndPartsDoNotMatter: the same events in another order and twice, and candidates weighed in another order.
func TestOrderAndPartsDoNotMatter(t *testing.T) {
	events := traps(1, 1500)
	want := report(t, Options{}, events)
	mixed := slices.Concat(events, events[200:300])
	rng := rand.New(rand.NewPCG(1, 1))
	rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	got := report(t, Options{Parallel: func(n int, work func(int)) {
		var wait sync.WaitGroup
		for i := range n {
			wait.Go(func() { work(n - 1 - i) })
		}
		wait.Wait()
	}}, mixed)
	if got.Evidence.Doubled == 0 || !slices.ContainsFunc(got.Warnings, func(w Warning) bool {
		return w.Code == "doubled" && strings.Contains(w.Text, " events came twice and are counted once")
	}) {
		t.Errorf("events that came twice are not named: %+v", got.Evidence)
	}
	for i := range want.Boundaries {
		a, b := want.Boundaries[i], got.Boundaries[i]
		if fmt.Sprintf("%+v", *orZero(a.Forecast)) != fmt.Sprintf("%+v", *orZero(b.Forecast)) || a.Reason != b.Reason || !slices.Equal(a.Key, b.Key) {
			t.Errorf("%s: %s %q %+v\nmixed: %s %q %+v", a.Name, a.Reason, a.Key, a.Forecast, b.Reason, b.Key, b.Forecast)
		}
	}
}

func orZero(f *Figures) *Figures {
	if f == nil {
		return &Figures{}
	}
	return f
}

// TestNoForecastWithoutGround withholds evidence, a kind at a time.
func TestNoForecastWithoutGround(t *testing.T) {
	for _, c := range []struct {
		name, warning string
		says          string                  // the warning, or the reason of an item's route
		change        func(*event.Event) bool // whether the event stays
		forecast      bool
	}{
		{"no hashes", "no-hashes", "answers carry no hash: whether a stored one would still be right cannot be told", func(e *event.Event) bool {
			if e.Request != nil {
				e.Request.BodyHash = 0
			}
			return true
		}, false},
		{"no queries", "no-queries", "no statement was recorded: what an answer rests on, and which write changes it, is not known", func(e *event.Event) bool { return e.Query == nil }, true},
		{"no principals", "no-principals", "who asked is not known: whether answers differ between users cannot be told", func(e *event.Event) bool {
			if e.Request != nil {
				e.Request.Principal = ""
			}
			return true
		}, true},
		{"clocks apart", "clocks", "the clocks of hosts a and b are 3.0 hours apart: what was before what cannot be told", func(e *event.Event) bool {
			if e.Seq%2 == 0 {
				e.Source = &event.Source{Service: "shop", Host: "b", Pid: 1}
				e.At += 3 * int64(time.Hour)
			}
			return true
		}, false},
		{"no durations", "", "durations are not known: when an answer would be stored cannot be told", func(e *event.Event) bool { e.Dur = event.Opt[int64]{}; return true }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := slices.DeleteFunc(traps(2, 1500), func(e event.Event) bool { return !c.change(&e) })
			for i := range events {
				c.change(&events[i])
			}
			rep := report(t, Options{}, events)
			if c.warning != "" && !slices.ContainsFunc(rep.Warnings, func(w Warning) bool { return w.Code == c.warning }) {
				t.Errorf("no warning %q: %+v", c.warning, rep.Warnings)
			}
			said := find(t, rep, "GET /items/{id}").Reason
			for _, w := range rep.Warnings {
				said += "\n" + w.Text
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("%q is not said: %s", c.says, said)
			}
			made := slices.ContainsFunc(rep.Boundaries, func(b Boundary) bool { return b.Forecast != nil })
			if made != c.forecast {
				t.Errorf("a forecast was made: %v", made)
			}
			if c.name == "no queries" {
				if b := find(t, rep, "GET /items/{id}"); b.How != "none" || len(b.On) > 0 {
					t.Errorf("without statements: dropped by %s, %v", b.How, b.On)
				}
			}
		})
	}
	if rep := report(t, Options{}, nil); rep.Start == "" || len(rep.Boundaries) != 0 {
		t.Errorf("of nothing: %+v", rep)
	}
}

// TestSampleOfKeys: what does not fit into memory is read as a share of the keys, whose hit ratios stay.
func TestSampleOfKeys(t *testing.T) {
	events := traps(3, 6000)
	whole := report(t, Options{}, events)
	first := report(t, Options{Memory: 600_000}, events)
	rate := first.SampleRate()
	if rate >= 0.8 || rate <= 0.05 || !slices.ContainsFunc(first.Warnings, func(w Warning) bool { return w.Code == "memory" }) {
		t.Fatalf("share that fits: %v, %+v", rate, first.Warnings)
	}
	rate /= 2 // few keys: some are asked for more than others
	s := NewSample(first, rate)
	s.Look(events)
	part := report(t, Options{Memory: 600_000, Sample: s}, events)
	if part.Evidence.Left > 0 || part.Evidence.SampleRate != rate || !slices.ContainsFunc(part.Warnings, func(w Warning) bool { return w.Code == "sample" }) {
		t.Errorf("%+v %+v", part.Evidence, part.Warnings)
	}
	a, b := find(t, whole, "GET /items/{id}"), find(t, part, "GET /items/{id}")
	if share := float64(b.Requests) / float64(a.Requests); share < rate/3 || share > 3*rate {
		t.Errorf("%d of %d requests in a sample of %v of the keys", b.Requests, a.Requests, rate)
	}
	if b.Forecast == nil || !slices.Equal(a.Key, b.Key) || b.Forecast.StaleServes > b.Forecast.Overlapping {
		t.Fatalf("sampled: %q %+v", b.Key, b.Forecast)
	}
	if d := a.Forecast.HitRatio - b.Forecast.HitRatio; d > 0.1 || d < -0.1 {
		t.Errorf("hit ratio %v, of the sample %v", a.Forecast.HitRatio, b.Forecast.HitRatio)
	}
}
