package audit

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// Bounds of what is kept of a capture.
const (
	maxRoutes  = 1000   // the rest is counted as one
	maxTargets = 5000   // whose answers are compared
	maxAnswers = 24     // of one target
	maxHits    = 2000   // flaws told apart by item, route and text
	maxTexts   = 100000 // different texts of events in which secrets are looked for
	maxServed  = 64     // stores, and processes
)

// LargeBody is from which size on a body that was taken counts as taken without a limit, in bytes.
const LargeBody = 10 << 20

// Traffic is what the requests and cache operations of a capture show. Add the events in their order, then judge.
type Traffic struct {
	Events, Requests int64
	Processes        []event.Source           // that sent events, by host and pid; the last maxServed
	Stores           []string                 // caches that were asked, as events name them: redis:127.0.0.1:6379/0
	Mask             func(text string) string // keyed hash of a secret; nil: none is kept

	routes  map[string]*route
	targets map[string]*target
	hits    map[hitKey]*hit
	more    map[string]int64    // occurrences beyond maxHits, by item
	texts   map[uint64]struct{} // of different texts, their hashes
	unread  int64               // texts beyond maxTexts
	places  places
	last    *event.Source

	// Answers: with headers; to who is known; with an ETag; to paths that look like files; that failed; that send elsewhere; 429 and
	// 503; from 400 on; to what could not be read or found.
	withHeaders, withIdentity, withTag, static, errors, redirects, refused, refusals, badInput int64
	sets                                                                                       int64 // into caches
}

// route is what is known of one route.
type route struct {
	name       string
	n          int64
	bodies     int64 // requests with a body
	largest    int64 // bytes of the largest body
	largestOK  int64 // of those that were answered with less than 400
	tooLarge   int64 // answers 413
	ok, failed int64 // answers below 400, and from 500 on
	errors     map[string]*failure
	target     string   // an example that was answered well, else any
	personal   bool     // asked with an identity
	params     []string // names of the query's parameters, at most maxParams
}

// failure is one kind of failing request of a route.
type failure struct {
	n      int64
	status int64
	target string
}

// maxParams is how many names of parameters of one route are kept.
const maxParams = 8

// maxFailures is how many kinds of failures of one route are told apart.
const maxFailures = 20

type hitKey struct{ item, route, says string }

type hit struct {
	n       int64
	example string
}

// target is one address whose answers are compared.
type target struct {
	route   string
	answers []answer
}

// answer is what matters of one answer for comparing it with others.
type answer struct {
	at, end   int64
	body      event.Hash
	principal string
	vary      []event.NamedHash
	keyed     []string // inputs that the header Vary names, lower case; "*": all
	storable  bool     // by caches that several people share
	maxAge    int64    // seconds a client may keep it
	etag      string
}

// NewTraffic returns a Traffic that has seen nothing. mask makes a keyed hash of a secret; nil: none is kept.
func NewTraffic(mask func(string) string) *Traffic {
	return &Traffic{
		Mask: mask, routes: map[string]*route{}, targets: map[string]*target{}, hits: map[hitKey]*hit{}, more: map[string]int64{},
		texts: map[uint64]struct{}{},
	}
}

// maxName is how much of a text of an event is kept, in bytes.
const maxName = 2048

// short cuts a text that is to be kept.
func short(s string) string {
	if len(s) <= maxName {
		return s
	}
	return strings.ToValidUTF8(s[:maxName], "") + "…"
}

// Add takes one event. It keeps nothing of it but texts, each of at most maxName bytes.
func (t *Traffic) Add(e *event.Event) {
	t.Events++
	t.process(e.Source)
	switch {
	case e.Request != nil:
		t.request(e, e.Request)
	case e.Cache != nil:
		t.cache(e.Cache)
	case e.Query != nil:
		t.text("the text of a statement", e.Query.Text, "")
	case e.Task != nil:
		t.text("the name of a job", e.Task.Name, "")
	case e.Mark != nil:
		t.text("a mark", e.Mark.Text, "")
	}
}

// process notes where an event came from.
func (t *Traffic) process(s *event.Source) {
	if s == nil || s.Pid <= 0 || s == t.last {
		return
	}
	t.last = s
	if slices.ContainsFunc(t.Processes, func(p event.Source) bool { return p.Pid == s.Pid && p.Host == s.Host }) {
		return
	}
	if len(t.Processes) >= maxServed {
		t.Processes = slices.Delete(t.Processes, 0, 1)
	}
	t.Processes = append(t.Processes, *s)
}

func (t *Traffic) hit(item, route, says, example string) {
	k := hitKey{item, route, says}
	h := t.hits[k]
	if h == nil {
		if len(t.hits) >= maxHits {
			t.more[item]++
			return
		}
		h = &hit{example: example}
		t.hits[k] = h
	}
	h.n++
}

// text looks for secrets in a text of an event, once for each different text.
func (t *Traffic) text(what, text, where string) {
	if text == "" {
		return
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, text) // never fails
	if _, seen := t.texts[h.Sum64()]; seen {
		return
	}
	if len(t.texts) >= maxTexts {
		t.unread++
		return
	}
	t.texts[h.Sum64()] = struct{}{}
	found := Secrets(text, Prose)
	for _, s := range append(found, Emails(text)...) {
		x := Place{Where: cmp.Or(where, what), Says: s.Kind + " stands in clear in " + what}
		if t.Mask != nil {
			x.Hash = t.Mask(text[s.From:s.To])
		}
		t.places.add("capture-secrets", x)
	}
}

func (t *Traffic) cache(c *event.Cache) {
	if c.Store != "" && len(c.Store) <= maxName && !slices.Contains(t.Stores, c.Store) && len(t.Stores) < maxServed {
		t.Stores = append(t.Stores, c.Store)
	}
	t.text("a cache key", c.Key, c.Store)
	t.text("a tag", c.Tag, c.Store)
	t.text("a pattern of keys", c.Pattern, c.Store)
	for _, tag := range c.Tags {
		t.text("a tag", tag, c.Store)
	}
	if c.Op == "set" {
		t.sets++
		if c.ValueKind == "error" {
			t.hit("cached-errors", cmp.Or(c.Code, c.Store), "an error was put into the cache "+c.Store, "")
		}
	}
}

func name(q *event.Request) string {
	r := q.Route
	if r == "" {
		r = "(no route)"
	}
	return strings.TrimSpace(q.Method + " " + r)
}

func (t *Traffic) request(e *event.Event, q *event.Request) {
	if q.Kind == "job" {
		return
	}
	t.Requests++
	t.text("a request's target", q.Target, short(name(q)))
	t.text("an error", q.Error, short(name(q)))
	if len(q.Target) > maxName || len(q.Route) > maxName || len(q.Error) > maxName {
		c := *q
		c.Target, c.Route, c.Error = short(q.Target), short(q.Route), short(q.Error)
		q = &c
	}
	r := t.route(q)
	n := r.name
	for _, h := range q.Headers {
		if h.Name != "etag" && h.Name != "last-modified" && h.Name != "expires" && h.Name != "age" {
			t.text("the header "+h.Name, h.Value, n)
		}
	}
	if known := q.Principal != "" && q.Principal != "-"; known || q.RequestCookie.Or(false) {
		t.withIdentity++
		r.personal = r.personal || known
	}
	t.input(q, r)
	if len(q.Headers) > 0 {
		t.withHeaders++
	}
	h := headersOf(q)
	t.stored(q, h, n)
	t.confusion(q, h, n)
	t.compare(e, q, h, n)
}

func (t *Traffic) route(q *event.Request) *route {
	n := name(q)
	r := t.routes[n]
	if r == nil {
		if len(t.routes) >= maxRoutes {
			n = "(other routes)"
			if r = t.routes[n]; r != nil {
				return r
			}
		}
		r = &route{name: n, errors: map[string]*failure{}}
		t.routes[n] = r
	}
	r.n++
	if r.target == "" || r.ok == 0 && q.Status > 0 && q.Status < 400 {
		r.target = q.Target
	}
	if q.Status > 0 && q.Status < 400 {
		r.ok++
	}
	if _, query, ok := strings.Cut(q.Target, "?"); ok && len(r.params) < maxParams {
		for pair := range strings.SplitSeq(query, "&") {
			if name, _, _ := strings.Cut(pair, "="); name != "" && len(name) <= 64 && len(r.params) < maxParams && !slices.Contains(r.params, name) {
				r.params = append(r.params, name)
			}
		}
	}
	return r
}

// mistakes are exceptions by which code says that it cannot read what it was given.
var mistakes = []string{
	"ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "UnicodeDecodeError", "UnicodeEncodeError", "UnicodeError", "JSONDecodeError", "OverflowError",
	"DecodeError", "ValidationError", "InvalidOperation", "ConversionSyntax", "BadRequestKeyError", "MultiValueDictKeyError", "AssertionError", "LookupError",
	"DataError", "NumericValueOutOfRange", "InvalidTextRepresentation", "StringDataRightTruncation", "RecursionError", "ParserError",
}

// mistake says whether an error's type is one of mistakes.
func mistake(err string) bool {
	typ, _, _ := strings.Cut(err, " at ")
	typ = typ[strings.LastIndexByte(typ, '.')+1:]
	return slices.Contains(mistakes, typ)
}

// input looks at what was sent: how large it was, and whether bad input or overload was answered as it should be.
func (t *Traffic) input(q *event.Request, r *route) {
	if q.RequestBytes.Known && q.RequestBytes.V > 0 || q.Method == "POST" || q.Method == "PUT" || q.Method == "PATCH" {
		r.bodies++
		size := q.RequestBytes.Or(0)
		r.largest = max(r.largest, size)
		if q.Status > 0 && q.Status < 400 {
			r.largestOK = max(r.largestOK, size)
		}
	}
	if q.Status >= 400 {
		t.refusals++
	}
	switch q.Status {
	case 400, 404, 405, 406, 414, 415, 422:
		t.badInput++
	case 413:
		r.tooLarge++
	case 429, 503:
		t.refused++
		if value(q, "retry-after") == "" {
			t.hit("retry-after", r.name, fmt.Sprintf("answers %d without Retry-After", q.Status), q.Target)
		}
	}
	if q.Status < 500 && (q.Status != 0 || q.Error == "") {
		return
	}
	t.errors++
	r.failed++
	kind := cmp.Or(q.Error, "status "+strconv.FormatInt(q.Status, 10))
	f := r.errors[kind]
	if f == nil && len(r.errors) < maxFailures {
		f = &failure{status: q.Status, target: q.Target}
		r.errors[kind] = f
	}
	if f != nil {
		f.n++
	}
	if q.Status == 500 && mistake(q.Error) {
		t.hit("bad-input", r.name, "answers 500 to input that it cannot read: "+q.Error, q.Target)
	}
}

// value returns a header of the response, "" where it was not sent.
func value(q *event.Request, name string) string {
	for _, h := range q.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// Failing is one kind of failing request, for a look into the log.
type Failing struct {
	Route, Error, Type, Target string
	Status                     int64
	N                          int64
}

// Failing returns what failed with a status of 500 and above, most frequent first, at most 200 kinds.
func (t *Traffic) Failing() []Failing {
	var list []Failing
	for _, n := range slices.Sorted(maps.Keys(t.routes)) {
		r := t.routes[n]
		for _, kind := range slices.Sorted(maps.Keys(r.errors)) {
			f := r.errors[kind]
			x := Failing{Route: n, Error: kind, Target: f.target, Status: f.status, N: f.n}
			if typ, _, ok := strings.Cut(kind, " at "); ok {
				x.Type = typ[strings.LastIndexByte(typ, '.')+1:]
			} else if !strings.HasPrefix(kind, "status ") {
				x.Type = kind[strings.LastIndexByte(kind, '.')+1:]
			}
			list = append(list, x)
		}
	}
	slices.SortStableFunc(list, func(a, b Failing) int { return cmp.Compare(b.N, a.N) })
	return list[:min(len(list), 200)]
}

// ProbeRoute is a route with an example of its target and the names of its query's parameters, for a probe.
type ProbeRoute struct {
	Method, Route, Target string
	Params                []string
}

// BodyRoutes returns routes that were asked with bodies, most asked first, at most n.
func (t *Traffic) BodyRoutes(n int) []ProbeRoute {
	return t.pick(n, func(r *route) bool { return r.bodies > 0 })
}

// PlainRoutes returns routes that were asked with GET and answered well at least once, most asked first, at most n.
func (t *Traffic) PlainRoutes(n int) []ProbeRoute {
	return t.pick(n, func(r *route) bool { return strings.HasPrefix(r.name, "GET /") && r.ok > 0 })
}

// PersonalRoutes returns those of PlainRoutes that were asked by somebody who is known.
func (t *Traffic) PersonalRoutes(n int) []ProbeRoute {
	return t.pick(n, func(r *route) bool { return strings.HasPrefix(r.name, "GET /") && r.ok > 0 && r.personal })
}

func (t *Traffic) pick(n int, wanted func(*route) bool) []ProbeRoute {
	var list []*route
	for _, r := range t.routes {
		if _, p, ok := strings.Cut(r.name, " "); ok && strings.HasPrefix(p, "/") && wanted(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *route) int { return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.name, b.name)) })
	var out []ProbeRoute
	for _, r := range list[:min(n, len(list))] {
		method, p, _ := strings.Cut(r.name, " ")
		out = append(out, ProbeRoute{method, p, r.target, r.params})
	}
	return out
}

// found turns what was counted into places.
func (t *Traffic) found() *places {
	t.judgeTargets()
	keys := slices.SortedFunc(maps.Keys(t.hits), func(a, b hitKey) int {
		return cmp.Or(strings.Compare(a.item, b.item), cmp.Compare(t.hits[b].n, t.hits[a].n), strings.Compare(a.route, b.route), strings.Compare(a.says, b.says))
	})
	p := &places{}
	p.merge(&t.places)
	for _, k := range keys {
		h := t.hits[k]
		says := k.says
		if h.example != "" {
			says += ", such as " + h.example
		}
		p.add(k.item, onRoute(k.route, says, h.n))
	}
	for item, n := range t.more {
		if p.more == nil {
			p.list, p.more = map[string][]Place{}, map[string]int64{}
		}
		p.more[item] += n
	}
	return p
}
