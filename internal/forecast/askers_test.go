package forecast

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// priced is a service with a function that two routes call, and a route that does not. Nobody signs in; change may make
// events something else, before they are numbered.
func priced(n int, change func(i int, e *event.Event)) []event.Event {
	s := newShop(7)
	emit := func(i int, e event.Event) {
		if change != nil {
			change(i, &e)
		}
		s.emit(e)
	}
	for i := range n {
		item, page := s.rng.IntN(5), i
		v := s.visit(30 * time.Millisecond)
		request := event.Request{Kind: "http", Method: "GET", Status: 200, BodyBytes: event.Some(int64(100)), Principal: "-"}
		if route := i % 3; route == 2 {
			request.Route, request.Target, request.BodyHash = "/account", "/account", hash("account")
		} else {
			request.Route = []string{"/a", "/b"}[route]
			request.Target, request.BodyHash = fmt.Sprintf("%s?item=%d&page=%d", request.Route, item, page), hash(route, item, page)
			emit(i, event.Event{Type: event.TypeCall, At: v.at + 4*msec, Dur: event.Some(20 * msec), Trace: v.trace, Span: v.trace + ".f", Parent: v.trace,
				Call: &event.Call{Code: "shop.pricing:price_for:12", Args: []event.NamedHash{{Name: "item", Hash: hash(item)}}, ResultHash: hash("price", item), Principal: "-"}})
		}
		emit(i, event.Event{Type: event.TypeRequest, At: v.at, Dur: event.Some(v.dur), Trace: v.trace, Span: v.trace, Request: &request})
	}
	return s.events
}

func principalOf(t *testing.T, b *Boundary) KeyInput {
	t.Helper()
	i := slices.IndexFunc(b.Inputs, func(in KeyInput) bool { return in.Name == "principal" })
	if i < 0 {
		t.Fatalf("%s: the principal is no input: %+v", b.Name, b.Inputs)
	}
	return b.Inputs[i]
}

// TestPrincipalOfAFunction: it is left out where no request of the whole capture had one, and only if one would have been seen.
func TestPrincipalOfAFunction(t *testing.T) {
	onRequest := func(do func(i int, r *event.Request)) func(int, *event.Event) {
		return func(i int, e *event.Event) {
			if e.Request != nil {
				do(i, e.Request)
			}
		}
	}
	recorder := func(r event.Recorder) func([]event.Event) []event.Event {
		return func(list []event.Event) []event.Event {
			return append([]event.Event{{Type: event.TypeRecorder, At: list[0].At, Recorder: &r}}, list...)
		}
	}
	names := func(name string, value any) func(int, *event.Event) {
		return onRequest(func(i int, r *event.Request) {
			if i == 200 {
				r.Vary = []event.NamedHash{{Name: name, Hash: hash(value)}}
			}
		})
	}
	for name, c := range map[string]struct {
		n       int
		change  func(int, *event.Event)
		more    func([]event.Event) []event.Event
		because string // why it is kept; "" where it is left out
	}{
		"no users": {},
		"no users, and inputs that tell of none": {change: onRequest(func(i int, r *event.Request) {
			r.RequestCookie = event.Some(true)
			r.Vary = []event.NamedHash{{Name: "accept-language", Hash: hash(i % 3)}, {Name: "cookie._ga", Hash: hash(i)}, {Name: "cookie.csrftoken", Hash: hash(i)},
				{Name: "user-agent", Hash: hash(i % 7)}, {Name: "x-requested-with", Hash: hash("js")}}
			r.Target += "?utm_source=" + fmt.Sprint(i)
		})},
		"no users, and jobs that call it": {more: func(list []event.Event) []event.Event {
			for i := range 40 {
				at := list[len(list)-1].At + int64(i)*100*msec
				list = append(list, event.Event{Type: event.TypeRequest, At: at, Dur: event.Some(50 * msec), Trace: fmt.Sprint("job", i), Span: fmt.Sprint("job", i),
					Request: &event.Request{Kind: "job", Route: "warm"}},
					event.Event{Type: event.TypeCall, At: at + msec, Dur: event.Some(20 * msec), Trace: fmt.Sprint("job", i), Parent: fmt.Sprint("job", i), Call: &event.Call{
						Code: "shop.pricing:price_for:12", Args: []event.NamedHash{{Name: "item", Hash: hash(i % 5)}}, ResultHash: hash("price", i%5)}})
			}
			return recorder(event.Recorder{Hooks: []event.Pair{{Name: "asgi", Value: "on"}}})(list)
		}},
		"a user, at the very end, on another route": {change: onRequest(func(i int, r *event.Request) {
			if i == 599 {
				r.Principal = "ann"
			}
		}), because: "no two asked for the same"},
		"users on another route only": {change: onRequest(func(i int, r *event.Request) {
			if r.Route == "/account" {
				r.Principal = fmt.Sprint("u", i%4)
			}
		}), because: "no two asked for the same"},
		"one user": {change: func(_ int, e *event.Event) {
			if e.Request != nil {
				e.Request.Principal = "ann"
			} else {
				e.Call.Principal = "ann"
			}
		}, because: "no two asked for the same"},
		"a user of a call whose request was not seen": {more: func(list []event.Event) []event.Event {
			return append(list, event.Event{Type: event.TypeCall, At: list[len(list)-1].At, Trace: "lost", Call: &event.Call{Code: "shop.other:f:1", Principal: "ann"}})
		}, because: "no two asked for the same"},
		"spans, which do not say who asks": {change: func(_ int, e *event.Event) {
			if e.Request != nil {
				e.Request.Principal = ""
			} else {
				e.Call.Principal = ""
			}
		}, because: unknownAsker},
		"one request that does not say who asks": {change: onRequest(func(i int, r *event.Request) {
			if i == 300 {
				r.Principal = ""
			}
		}), because: unknownAsker},
		"calls without their requests, by something that does not tell who asks": {change: func(_ int, e *event.Event) {
			if e.Request != nil {
				*e = event.Event{Type: event.TypeMark, At: e.At, Mark: &event.Mark{Name: "m"}}
			} else {
				e.Call.Principal = ""
			}
		}, because: "no request had one, but 0 requests are too few to tell"},
		"a cookie of the service's own": {change: names("cookie.token", "a"), because: "cookie.token may say who asks"},
		"a header of the service's own": {change: names("x-user", "a"), because: "header.x-user may say who asks"},
		"cookies whose names were not kept": {change: onRequest(func(i int, r *event.Request) { r.RequestCookie = event.Some(i == 5) }),
			because: "cookie.* may say who asks"},
		"a credential in an address": {change: onRequest(func(i int, r *event.Request) {
			if i == 8 {
				r.Target = "/account?page=1&Api_Key=~0102030405060708"
			}
		}), because: "query.Api_Key may say who asks"},
		"dropped events":        {more: recorder(event.Recorder{Dropped: event.Some(int64(3))}), because: "the recorder dropped events"},
		"sampled":               {more: recorder(event.Recorder{Rate: event.Some(0.5)}), because: "kept only a part"},
		"an entry hook off":     {more: recorder(event.Recorder{Hooks: []event.Pair{{Name: "frameworks", Value: "off"}}}), because: "hook frameworks is off"},
		"an entry hook failing": {more: recorder(event.Recorder{Failures: []event.Count{{Name: "asgi", N: 1}}}), because: "hook asgi failed at times"},
		"few requests":          {n: 45, because: "45 requests are too few to tell"},
		"what it gives differs between a job and a request": {more: func(list []event.Event) []event.Event {
			list = recorder(event.Recorder{Hooks: []event.Pair{{Name: "asgi", Value: "on"}}})(list)
			at := list[len(list)-1].At + 200*msec
			return append(list, event.Event{Type: event.TypeCall, At: at, Dur: event.Some(20 * msec), Call: &event.Call{Code: "shop.pricing:price_for:12",
				Args: []event.NamedHash{{Name: "item", Hash: hash(1)}}, ResultHash: hash("another price")}})
		}, because: "answers differ with it"},
	} {
		t.Run(name, func(t *testing.T) {
			n := c.n
			if n == 0 {
				n = 600
			}
			events := priced(n, c.change)
			if c.more != nil {
				events = c.more(events)
			}
			for _, opt := range []Options{{}, {Since: events[len(events)/8].At}} {
				rep := report(t, opt, events)
				b := find(t, rep, "shop.pricing:price_for")
				in := principalOf(t, b)
				if kept := slices.Contains(b.Key, "principal"); kept != (c.because != "") || !strings.Contains(in.Because, c.because) ||
					!kept && (in.Because != NoAsker || in.Use != useIgnored || !slices.Contains(b.Ignored, "principal")) {
					t.Errorf("since %d: key %q, %+v", opt.Since, b.Key, in)
				}
				if c.because == "" && (b.Verdict != Cache || !slices.Equal(b.Key, []string{"arg.item"})) {
					t.Errorf("%s %s, key %q", b.Verdict, b.Reason, b.Key)
				}
				for i := range rep.Boundaries { // an answer has it at no cost
					if a := &rep.Boundaries[i]; a.Level == LevelResponse && a.Inputs != nil && c.because == "" && (!slices.Contains(a.Key, "principal") || !strings.HasPrefix(principalOf(t, a).Because, NoAsker)) {
						t.Errorf("%s: key %q, %+v", a.Name, a.Key, principalOf(t, a))
					}
				}
			}
		})
	}
}

// TestPrincipalBeforeTheTimeLookedAt: a user whom only a part of the capture that is not looked at knows.
func TestPrincipalBeforeTheTimeLookedAt(t *testing.T) {
	events := priced(600, func(i int, e *event.Event) {
		if i == 2 && e.Request != nil {
			e.Request.Principal = "ann"
		}
	})
	for _, opt := range []Options{{Since: events[len(events)/2].At}, {Memory: 100_000}} {
		if b := find(t, report(t, opt, slices.Clone(events)), "shop.pricing:price_for"); !slices.Contains(b.Key, "principal") {
			t.Errorf("%+v: key %q", opt, b.Key)
		}
	}
	slices.Reverse(events) // and where it comes last, it does not fit into memory
	if b := find(t, report(t, Options{Memory: 100_000}, events), "shop.pricing:price_for"); !slices.Contains(b.Key, "principal") {
		t.Errorf("key %q", b.Key)
	}
}

// TestUnknownPrincipalsAreNoEvidence: equal answers to somebody and to somebody unknown may be answers to the same one.
func TestUnknownPrincipalsAreNoEvidence(t *testing.T) {
	s := newShop(3)
	for i := range 1000 {
		item, who := s.rng.IntN(4), "ann"
		if s.rng.IntN(2) == 0 {
			who = ""
		}
		v := s.visit(20 * time.Millisecond)
		r := event.Request{Method: "GET", Route: "/cart/{id}", Target: fmt.Sprint("/cart/", item), Principal: who, BodyHash: hash("of ann", item)}
		if i%2 == 0 {
			r.Headers = []event.Pair{{Name: "cache-control", Value: "private"}}
		}
		v.done(r)
	}
	rep := report(t, Options{}, s.events)
	if b := find(t, rep, "GET /cart/{id}"); !slices.Contains(b.Key, "principal") || principalOf(t, b).Pairs != 0 {
		t.Errorf("key %q, %+v", b.Key, b.Inputs)
	}
	for i := range s.events {
		s.events[i].Request.Principal = ""
	}
	if b := find(t, report(t, Options{}, s.events), "GET /cart/{id}"); b.Verdict != Leave || !strings.Contains(b.Reason, "say private, and who asked is not known") {
		t.Errorf("%s %s", b.Verdict, b.Reason)
	}
}

// TestPrincipalBesideManyInputs: it is an input of its own, however many others there are.
func TestPrincipalBesideManyInputs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	s := newShop(2)
	for range 600 {
		user := rng.IntN(5)
		target := "/list?"
		for i := range 70 {
			target += fmt.Sprintf("&p%d=%d", i, rng.IntN(2)*rng.IntN(2)*rng.IntN(2)*rng.IntN(2)*rng.IntN(2))
		}
		v := s.visit(20 * time.Millisecond)
		v.done(event.Request{Method: "GET", Route: "/list", Target: target, Principal: fmt.Sprint("u", user), BodyHash: hash(user)})
	}
	b := find(t, report(t, Options{}, s.events), "GET /list")
	if !slices.Contains(b.Key, "principal") {
		t.Errorf("key %q", b.Key)
	}
}
