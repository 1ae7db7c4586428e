package baseline

import (
	"fmt"
	"math/rand/v2"

	"github.com/demarc-dev/demarc/event"
)

// traffic makes n requests of a small shop with their queries, cache operations, errors and background work, in the
// order in which a process would tell of them. Two processes, one with a recorder that dropped something.
func traffic(seed uint64, n int) []event.Event {
	r := rand.New(rand.NewPCG(seed, 1))
	sources := []*event.Source{
		{Service: "shop", Version: "1", Host: "a", Pid: 10},
		{Service: "shop", Version: "1", Host: "a", Pid: 11},
	}
	const start = int64(1_700_000_000_000_000_000)
	var out []event.Event
	at := start
	for i := range n {
		src := sources[r.IntN(2)]
		trace := fmt.Sprintf("p%d.%d", src.Pid, i)
		at += int64(r.IntN(3_000_000))
		now := at
		step := func() (int64, event.Opt[int64]) {
			a, d := now, int64(r.IntN(2_000_000)+1000)
			now += d
			return a, event.Some(d)
		}
		add := func(e event.Event) {
			e.Trace, e.Source = trace, src
			if e.Dur == (event.Opt[int64]{}) {
				e.At, e.Dur = step()
			}
			out = append(out, e)
		}
		query := func(text, code string, params ...event.Hash) {
			add(event.Event{Type: event.TypeQuery, Parent: trace + "r", Query: &event.Query{DB: "sqlite", Text: text, Params: params, Code: code}})
		}
		cache := func(op string, hit event.Opt[bool], key string) {
			add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: op, Layer: "shared", Store: "redis", Key: key, Hit: hit}})
		}
		req := event.Request{Kind: "http", Method: "GET", Status: 200, BodyBytes: event.Some(int64(r.IntN(5000)))}
		switch r.IntN(5) {
		case 0, 1:
			slug := r.IntN(40)
			req.Route, req.Target = "/articles/{slug}", fmt.Sprintf("/articles/a-%d", slug)
			key := fmt.Sprintf("article:%d", slug)
			hit := r.IntN(3) > 0
			cache("get", event.Some(hit), key)
			if !hit {
				query("SELECT * FROM articles WHERE slug = ?", "shop.articles:one:12", event.Hash(slug+1))
				cache("set", event.Opt[bool]{}, key)
			}
		case 2:
			req.Route, req.Target = "/articles", fmt.Sprintf("/articles?page=%d", r.IntN(9))
			query("SELECT * FROM articles LIMIT ?", "shop.articles:many:20", 3)
			for range 5 + r.IntN(10) {
				query("SELECT * FROM users WHERE id = ?", "shop.models:author:77", event.Hash(1+r.IntN(6)))
			}
		case 3:
			req.Method, req.Route, req.Target = "POST", "/articles", "/articles"
			query("INSERT INTO articles VALUES (?)", "shop.articles:create:40", event.Hash(r.Uint64()|1))
			add(event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "commit", DB: "sqlite"}})
			req.Status = 201
			if r.IntN(5) == 0 {
				req.Status, req.Error = 500, "ValueError at shop.articles:create:42"
			}
		case 4:
			req.Kind, req.Method, req.Route = "job", "", "send_mail"
			query("SELECT * FROM users", "shop.jobs:mail:3")
			req.Status = 0
		}
		add(event.Event{Type: event.TypeRequest, At: at, Dur: event.Some(now - at + 100_000), Span: trace + "r", Request: &req})
		if r.IntN(6) == 0 { // background work
			query("UPDATE counters SET n = n + ?", "shop.bg:count:9", 1)
		}
		if i%50 == 49 {
			for k, s := range sources {
				out = append(out, event.Event{Type: event.TypeRecorder, At: now, Source: s, Recorder: &event.Recorder{
					Dropped: event.Some(int64(i / 50 * k)), Sampled: event.Some(int64(0)), Rate: event.Some(1.0),
					CostNs: event.Some(int64(i * 9000)), Hooks: []event.Pair{{Name: "sqlite3", Value: "on"}},
				}})
			}
		}
	}
	query := &event.Query{DB: "sqlite", Text: "PRAGMA x"}
	out = append(out,
		event.Event{Type: event.TypeQuery, At: start, Query: query, Source: sources[0]},
		event.Event{Type: event.TypeQuery, At: start, Trace: "nobody", Query: query, Source: sources[1]},
		event.Event{Type: event.TypeMark, At: start + 5, Mark: &event.Mark{Name: "deploy", Text: "v2"}})
	return out
}
