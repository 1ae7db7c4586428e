// Package recordertest is a recorder for tests and benchmarks: traffic as a service gives it, and the frames of
// docs/wire.md that carry it, written from that page and not with the code that reads them.
package recordertest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/demarc-dev/demarc/event"
)

// Traffic makes events as a small service behind worker processes gives them: per request one request event, three to
// eight statements with a begin and a commit, and the operations on its cache. Identities, articles and parameters are
// drawn from Zipf distributions; durations are log-normal, so that they are as hard to compress as real ones. Equal seeds
// give equal events. Texts that a recorder keeps in its table are the same string each time. Not safe for concurrent use.
type Traffic struct {
	rng     *rand.Rand
	users   *rand.Zipf
	rows    *rand.Zipf
	now     int64
	workers []*worker
}

type worker struct {
	source *event.Source
	proc   string
	next   uint64
	seq    uint64
}

// Start is when the traffic of every seed begins, Unix nanoseconds.
const Start = 1_790_000_000_000_000_000

// NewTraffic returns the traffic of two processes.
func NewTraffic(seed uint64) *Traffic { return NewTrafficOf(seed, 2) }

// NewTrafficOf returns the traffic of n processes, 1 to 10. Its ids begin with Proc of the process's number.
func NewTrafficOf(seed uint64, n int) *Traffic {
	t := &Traffic{rng: rand.New(rand.NewPCG(seed, 1)), now: Start}
	t.users = rand.NewZipf(t.rng, 1.1, 4, 5000)
	t.rows = rand.NewZipf(t.rng, 1.1, 8, 50000)
	for i := range n {
		t.workers = append(t.workers, &worker{
			source: &event.Source{Service: "conduit", Version: "4f2a91c0", VersionFrom: "git", Host: "web-1", Pid: int64(4242 + i)},
			proc:   Proc(i), next: 1,
		})
	}
	return t
}

// Proc is the name that process i has on the wire.
func Proc(i int) string { return "k3x9q7a" + strconv.Itoa(i) }

func mix(kind string, n uint64) event.Hash {
	h := uint64(14695981039346656037)
	for i := range len(kind) {
		h = (h ^ uint64(kind[i])) * 1099511628211
	}
	h ^= n * 0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return event.Hash(h ^ h>>31)
}

// took draws a duration around ns.
func (t *Traffic) took(ns float64) int64 { return int64(ns * math.Exp(t.rng.NormFloat64()*0.5)) }

var routes = []string{"/api/articles/{slug}", "/api/articles", "/api/articles/{slug}/comments", "/api/profiles/{username}",
	"/api/tags", "/api/user", "/api/articles/feed"}

// statements and lines give the same string for the same statement, as the texts of a connection's table are.
var statements, lines = func() (sql, code [7][8]string) {
	for route := range sql {
		for n := range sql[route] {
			sql[route][n] = statement(route, n)
			code[route][n] = fmt.Sprintf("conduit.routes.r%d:handler%d:%d", route, n, 40+n)
		}
	}
	return sql, code
}()

func statement(route, n int) string {
	return fmt.Sprintf("SELECT articles.id, articles.slug, articles.title, articles.description, articles.body, articles.created_at, "+
		"users.username, users.bio, users.image FROM articles JOIN users ON users.id = articles.author_id LEFT JOIN t%d ON t%d.id = articles.id "+
		"WHERE articles.slug = ? AND users.id = ? ORDER BY articles.created_at DESC LIMIT ? OFFSET ? /* %d */", route, n, n)
}

// Request appends the events of one request in the order of their ends.
func (t *Traffic) Request(dst []event.Event) []event.Event {
	w := t.workers[t.rng.IntN(len(t.workers))]
	id := func() string { w.next++; return w.proc + "." + strconv.FormatUint(w.next, 10) }
	trace, span := id(), id()
	route := t.rng.IntN(len(routes))
	user, row := t.users.Uint64(), t.rows.Uint64()
	t.now += t.took(150_000)
	start := t.now
	add := func(e event.Event) {
		w.seq++
		e.Trace, e.Parent, e.Source, e.Seq = trace, span, w.source, w.seq
		e.At = t.now
		t.now += e.Dur.V + t.took(20_000)
		dst = append(dst, e)
	}
	key := "conduit:article:" + strconv.FormatUint(row, 10)
	hit := t.rng.IntN(3) > 0
	add(event.Event{Type: event.TypeCache, Dur: event.Some(t.took(60_000)), Cache: &event.Cache{Op: "get", Layer: "shared", Store: "redis:6379/0",
		Key: key, Hit: event.Some(hit), ValueHash: mix("value", row*10+uint64(t.rng.IntN(3))), ValueForm: "canonical", ValueKind: "value",
		Bytes: event.Some(int64(900 + row%700)), Code: "conduit.cache:get:31"}})
	txn := id()
	add(event.Event{Type: event.TypeTxn, Dur: event.Some(t.took(8_000)), Txn: &event.Txn{Op: "begin", DB: "sqlite", Txn: txn}})
	for i := range 3 + t.rng.IntN(6) {
		add(event.Event{Type: event.TypeQuery, Dur: event.Some(t.took(120_000)), Query: &event.Query{
			DB: "sqlite", Text: statements[route][i], Params: []event.Hash{mix("p", row), mix("u", user), mix("c", 20), mix("c", 0)},
			Rows: event.Some(int64(t.rng.IntN(20))), Txn: txn, Code: lines[route][i]}})
	}
	add(event.Event{Type: event.TypeTxn, Dur: event.Some(t.took(30_000)), Txn: &event.Txn{Op: "commit", DB: "sqlite", Txn: txn}})
	if !hit {
		add(event.Event{Type: event.TypeCache, Dur: event.Some(t.took(60_000)), Cache: &event.Cache{Op: "set", Layer: "shared", Store: "redis:6379/0",
			Key: key, ValueHash: mix("value", row*10), ValueForm: "canonical", ValueKind: "value", Bytes: event.Some(int64(900 + row%700)),
			TTLMs: event.Some(int64(60000)), FillStart: start + 70_000, Code: "conduit.cache:set:44"}})
	}
	body := mix("body", t.rng.Uint64())
	if t.rng.IntN(2) == 0 {
		body = mix("body", row)
	}
	size := int64(400 + uint64(body)%3000)
	dur := t.now - start
	w.seq++
	dst = append(dst, event.Event{Type: event.TypeRequest, At: start, Dur: event.Some(dur), Trace: trace, Span: span, Source: w.source, Seq: w.seq,
		Request: &event.Request{Kind: "http", Method: "GET", Route: routes[route], Target: fmt.Sprintf("/api/articles/article-%d?limit=20", row),
			Status: 200, Principal: mix("user", user).String(), Vary: []event.NamedHash{
				{Name: "accept", Hash: mix("accept", 1)}, {Name: "accept-encoding", Hash: mix("enc", 1)}, {Name: "accept-language", Hash: mix("lang", user%7)},
				{Name: "authorization", Hash: mix("auth", user)}, {Name: "host", Hash: mix("host", 1)}, {Name: "user-agent", Hash: mix("agent", user%40)}},
			BodyHash: body, BodyBytes: event.Some(size), Headers: []event.Pair{{Name: "cache-control", Value: "private, max-age=0"},
				{Name: "content-length", Value: strconv.FormatInt(size, 10)}, {Name: "content-type", Value: "application/json"}},
			FirstByteDur: event.Some(dur - t.took(9_000)), RequestCookie: event.Some(false)}})
	return dst
}

// SetNow moves the traffic's clock to a time in Unix nanoseconds; the next request begins there.
func (t *Traffic) SetNow(at int64) { t.now = at }

// Take returns n events.
func (t *Traffic) Take(n int) []event.Event {
	list := make([]event.Event, 0, n+16)
	for len(list) < n {
		list = t.Request(list)
	}
	return list[:n]
}
