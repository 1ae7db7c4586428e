package report

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
)

// sample folds the events of a small service: an N+1 list, a cached page with a stampede, a failing write, a login that
// is slow without the database, a stream, a job, requests without a route, and a name that would hurt a terminal.
func sample() baseline.Report {
	f := baseline.New(baseline.Options{})
	for _, e := range sampleEvents() {
		f.Add(&e)
	}
	return f.Report()
}

func sampleEvents() []event.Event {
	s := &sampler{r: rand.New(rand.NewPCG(7, 7)), now: 1_790_000_000_000_000_000}
	s.src = []*event.Source{
		{Service: "conduit", Version: "4f2a91c", VersionFrom: "git", Host: "dev", Pid: 4101},
		{Service: "conduit", Version: "4f2a91c", VersionFrom: "git", Host: "dev", Pid: 4102},
	}
	for _, p := range s.src {
		s.add(event.Event{Type: event.TypeProcess, At: s.now, Source: p,
			Process: &event.Process{Op: "start", Runtime: "CPython 3.12.4", Program: "uvicorn"}})
	}
	s.add(event.Event{Type: event.TypeQuery, At: s.now, Dur: event.Some(int64(900_000)), Source: s.src[0],
		Query: &event.Query{DB: "sqlite", Text: "CREATE TABLE IF NOT EXISTS articles (…)", Code: "conduit.db:create:18"}})
	for i := range 900 {
		s.now += int64(s.r.IntN(160_000_000))
		s.request(i)
		if i%300 == 299 { // a page that everybody wants at once, just after it expired
			for k := range 4 {
				s.hot = true
				s.request(1000 + 10*i + k)
			}
			s.hot = false
		}
	}
	s.add(event.Event{Type: event.TypeMark, At: s.now, Mark: &event.Mark{Name: "deploy", Text: "cache for /tags"}})
	for i, p := range s.src {
		s.add(event.Event{Type: event.TypeRecorder, At: s.now, Source: p, Recorder: &event.Recorder{
			Dropped: event.Some(int64(0)), Sampled: event.Some(int64(0)), Rate: event.Some(1.0), CostNs: event.Some(int64(11_200_000 + i)),
			Hooks: []event.Pair{{Name: "asgi", Value: "on"}, {Name: "asyncpg", Value: "waiting"}, {Name: "redis", Value: "on"}, {Name: "sqlalchemy", Value: "on"}},
		}})
	}
	return s.out
}

type sampler struct {
	r     *rand.Rand
	now   int64
	at    int64
	trace string
	hot   bool
	proc  *event.Source
	src   []*event.Source
	out   []event.Event
}

func (s *sampler) add(e event.Event) { s.out = append(s.out, e) }

// spend is a log-normal time with a median in microseconds.
func (s *sampler) spend(us, spread float64) event.Opt[int64] {
	return event.Some(int64(us * 1000 * math.Exp(s.r.NormFloat64()*spread)))
}

func (s *sampler) step(e event.Event, us, spread float64) {
	e.At, e.Dur, e.Trace, e.Source = s.at, s.spend(us, spread), s.trace, s.proc
	s.at += e.Dur.V
	s.add(e)
}

func (s *sampler) query(us float64, text, code string, param int) {
	s.step(event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "sqlite", Text: text, Code: code, Params: []event.Hash{event.Hash(param + 1)}}}, us, 0.5)
}

func (s *sampler) request(i int) {
	s.trace, s.proc = fmt.Sprintf("k3f9a0c2.%d", i), s.src[s.r.IntN(2)]
	s.at = s.now
	q := &event.Request{Kind: "http", Method: "GET", Status: 200}
	own := 1500.0
	n := s.r.IntN(100)
	if s.hot {
		n = 40
	}
	switch {
	case n < 30:
		q.Route, q.Target = "/api/articles", fmt.Sprintf("/api/articles?limit=20&offset=%d", 20*s.r.IntN(9))
		q.BodyBytes = event.Some(int64(18_000 + s.r.IntN(4000)))
		s.query(900, "SELECT articles.id, articles.slug, articles.title, articles.author_id FROM articles ORDER BY articles.created_at DESC LIMIT ? OFFSET ?", "conduit.articles:list_articles:64", n)
		for k := range 20 {
			s.query(260, "SELECT users.id, users.username, users.bio FROM users WHERE users.id = ?", "conduit.serialize:author:31", s.r.IntN(400)+k)
			s.query(190, "SELECT count(*) FROM favourites WHERE favourites.article_id = ?", "conduit.serialize:article:44", k*17)
		}
	case n < 58:
		slug := s.r.IntN(60)
		if s.hot {
			slug = 1
		}
		q.Route, q.Target = "/api/articles/{slug}", fmt.Sprintf("/api/articles/how-to-%d", slug)
		q.BodyBytes = event.Some(int64(1900 + s.r.IntN(600)))
		q.Headers = []event.Pair{{Name: "cache-control", Value: "private, max-age=0"}}
		key := fmt.Sprintf("article:%d", slug)
		hit := s.r.IntN(10) < 7 && !s.hot
		s.step(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "get", Layer: "shared", Store: "redis/0", Key: key, Hit: event.Some(hit)}}, 240, 0.3)
		if !hit {
			start := s.at
			s.query(700, "SELECT articles.* FROM articles WHERE articles.slug = ?", "conduit.articles:by_slug:22", slug)
			s.step(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "set", Layer: "shared", Store: "redis/0", Key: key, FillStart: start}}, 260, 0.3)
		}
		own = 700
	case n < 64:
		q.Route, q.Target = "/api/tags", "/api/tags"
		q.BodyBytes = event.Some(int64(420))
		hit := s.r.IntN(4) > 0
		s.step(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "get", Layer: "local", Store: "conduit.tags:popular", Key: "()", Hit: event.Some(hit)}}, 3, 0.1)
		if !hit {
			s.query(6500, "SELECT tags.name, count(*) AS n FROM tags JOIN article_tags ON tags.id = article_tags.tag_id GROUP BY tags.name ORDER BY n DESC LIMIT ?", "conduit.tags:popular:12", 9)
			s.step(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "set", Layer: "local", Store: "conduit.tags:popular", Key: "()"}}, 3, 0.1)
		}
		own = 400
	case n < 72:
		q.Method, q.Route, q.Target, q.Status = "POST", "/api/articles", "/api/articles", 201
		s.query(300, "SELECT users.id FROM users WHERE users.username = ?", "conduit.auth:current_user:19", n)
		s.query(450, "INSERT INTO articles (slug, title, body, author_id) VALUES (?, ?, ?, ?)", "conduit.articles:create:88", i)
		s.step(event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "commit", DB: "sqlite"}}, 2200, 0.6)
		if s.r.IntN(7) == 0 {
			q.Status, q.Error = 500, "IntegrityError at conduit.articles:create:91"
		}
	case n < 82:
		q.Method, q.Route, q.Target = "POST", "/api/users/login", "/api/users/login"
		s.query(310, "SELECT users.id, users.password_hash FROM users WHERE users.email = ?", "conduit.users:login:40", n)
		own = 58_000
		if s.r.IntN(12) == 0 {
			q.Status = 401
		} else if s.r.IntN(40) == 0 {
			q.Status = 503
		}
	case n < 90:
		q.Target, q.Status = fmt.Sprintf("/wp-admin/%d", i), 404
		own = 250
	case n < 92:
		q.Route, q.Target = "/api/articles/{slug}/comments/export.csv", "/api/articles/how-to-3/comments/export.csv"
		q.FirstByteDur = event.Some(int64(9_000_000))
		s.query(5200, "SELECT comments.* FROM comments WHERE comments.article_id = ?", "conduit.comments:export:120", n)
		own = 310_000
	case n < 93:
		q.Route, q.Target = "/api/\x1b[31m\u202eprofiles/{username}", "/api/profiles/\x1b[31mx"
	case n < 96:
		*q = event.Request{Kind: "job", Route: "conduit.jobs.rebuild_feed"}
		for k := range 6 {
			s.query(1100, "INSERT INTO feed (user_id, article_id) SELECT follower_id, ? FROM follows WHERE followed_id = ?", "conduit.jobs:rebuild_feed:33", k)
		}
	default:
		q.Route, q.Target = "/health", "/health"
		q.BodyBytes = event.Some(int64(12))
		own = 120
	}
	s.at += s.spend(own, 0.35).V
	s.add(event.Event{Type: event.TypeRequest, At: s.now, Dur: event.Some(s.at - s.now), Trace: s.trace, Source: s.proc, Request: q})
}
