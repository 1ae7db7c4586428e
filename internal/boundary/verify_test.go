package boundary

import (
	"fmt"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/check"
)

// story writes the events of a service that caches one route.
type story struct {
	events []event.Event
	at     int64
	n      int
}

func (s *story) add(e event.Event) {
	s.at += 1e6
	e.At, e.Trace, e.Dur = s.at, fmt.Sprint("t", s.n), event.Some(int64(1000))
	s.events = append(s.events, e)
}

// get asks for an article with a key, and stores it for ttl ms; 0: without a lifetime.
func (s *story) get(slug, page, principal, key string, ttl int64) {
	s.n++
	begin := s.at
	s.add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "get", Layer: "shared", Store: "redis", Key: key, Hit: event.Some(false)}})
	set := &event.Cache{Op: "set", Layer: "shared", Store: "redis", Key: key, Tags: []string{"a"}}
	if ttl > 0 {
		set.TTLMs = event.Some(ttl)
	}
	s.add(event.Event{Type: event.TypeCache, Cache: set})
	target := "/articles/" + slug
	if page != "" {
		target += "?page=" + page
	}
	s.add(event.Event{Type: event.TypeRequest, Request: &event.Request{
		Kind: "http", Method: "GET", Route: "/articles/{slug}", Target: target, Status: 200, Principal: principal}})
	s.events[len(s.events)-1].At = begin
}

// put writes an article in a transaction; op is what drops the entry then, nil for nothing.
func (s *story) put(end string, op *event.Cache) {
	s.n++
	s.add(event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "UPDATE articles SET title = $1 WHERE id = $2", Txn: "x", Rows: event.Some(int64(1))}})
	s.add(event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: end, Txn: "x"}})
	if op != nil {
		op.Store = "redis"
		s.add(event.Event{Type: event.TypeCache, Cache: op})
	}
	s.add(event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "http", Method: "PUT", Route: "/articles/{slug}", Target: "/articles/a", Status: 200}})
	s.at += 10e9 // whatever comes later comes too late
}

func declared(t *testing.T, events []event.Event, text string) map[string]check.Declared {
	t.Helper()
	f, err := Parse([]byte("version: 1\nboundaries:\n  - name: GET /articles/{slug}\n    level: response\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(f)
	if v.Learns() {
		v.Learn(events)
	}
	v.Learned()
	for i := range events {
		v.Add(events[i : i+1])
	}
	out := map[string]check.Declared{}
	for _, d := range v.Report() {
		out[d.What] = d
	}
	return out
}

const both = "    key: [path.slug, principal]\n    ttl: 60s\n    invalidation: row\n    invalidate_on: [{table: articles, by: row}]\n"

// right is a service that does what is declared: two articles, two callers.
func right(s *story) {
	for _, slug := range []string{"a", "b"} {
		for _, who := range []string{"1", "2"} {
			s.get(slug, "", who, "v1:article:"+slug+":"+who, 60000)
			s.get(slug, "", who, "v1:article:"+slug+":"+who, 63000)
		}
	}
}

func TestVerifyWhatHolds(t *testing.T) {
	for name, drop := range map[string]*event.Cache{
		"by key":     {Op: "delete", Key: "v1:article:a:1"},
		"by pattern": {Op: "delete", Pattern: "v1:article:a:*"},
		"by tag":     {Op: "delete-tag", Tag: "a"},
		"all":        {Op: "clear"},
		"renewed":    {Op: "set", Key: "v1:article:a:1", TTLMs: event.Some(int64(60000))},
	} {
		for _, family := range []string{"", "    family: \"v1:article:{}:{}\"\n"} {
			s := &story{at: 1e18}
			right(s)
			s.put("commit", drop)
			s.put("rollback", nil)
			got := declared(t, s.events, both+family)
			if len(got) != 3 {
				t.Fatalf("%v", got)
			}
			for what, d := range got {
				if d.Verdict != check.Pass || d.Family != "v1:article:{}:{}" {
					t.Errorf("%s, %s: %+v", name, what, d)
				}
			}
		}
	}
}

func TestVerifyWhatDoesNot(t *testing.T) {
	for name, tc := range map[string]struct {
		tell func(*story)
		text string
		what string
		want check.Verdict
		seen string
	}{
		"key lacks principal": {func(s *story) {
			s.get("a", "", "1", "article:a", 60000)
			s.get("a", "", "2", "article:a", 60000)
			s.get("b", "", "2", "article:b", 60000)
		}, both, "key", check.Fail, "lacks principal: 1 requests used a key that another value of it had made, such as article:a"},
		"one user, by session and by the framework": {func(s *story) {
			session := func(who event.Hash) {
				s.events[len(s.events)-1].Request.Vary = []event.NamedHash{{Name: "cookie.sessionid", Hash: who}}
			}
			for _, who := range []string{"7", "00000000000000aa"} { // known where the view ran, not where the cache answered
				s.get("a", "", who, "article:a:7", 60000)
				session(0xaa)
			}
			s.get("b", "", "8", "article:b:8", 60000)
			session(0xbb)
		}, both, "key", check.Pass, "3 requests, 2 keys"},
		"another's session": {func(s *story) {
			for i, who := range []string{"7", "8", "00000000000000bb"} {
				s.get([]string{"a", "b", "a"}[i], "", who, "article:"+[]string{"a", "b", "a"}[i], 60000)
				s.events[len(s.events)-1].Request.Vary = []event.NamedHash{{Name: "cookie.sessionid", Hash: []event.Hash{0xaa, 0xbb, 0xbb}[i]}}
			}
		}, both, "key", check.Fail, "lacks principal: 1 requests"},
		"never varied": {func(s *story) {
			s.get("a", "", "1", "article:a", 60000)
			s.get("b", "", "1", "article:b", 60000)
		}, both, "key", check.Undecided, "two values of principal"},
		"default page shares": {func(s *story) {
			s.get("a", "", "1", "article:a:1", 60000)
			s.get("a", "1", "1", "article:a:1", 60000)
			s.get("b", "2", "2", "article:b:2", 60000)
		}, strings.Replace(both, "principal", "query.page", 1), "key", check.Pass, "3 requests, 2 keys"},
		"more than declared": {func(s *story) {
			s.get("a", "", "1", "article:a:1", 60000)
			s.get("a", "", "2", "article:a:2", 60000)
			s.get("b", "", "2", "article:b:2", 60000)
		}, strings.Replace(both, ", principal", "", 1), "key", check.Pass, "1 requests had another key"},
		"no key at all":        {func(s *story) { s.get("a", "", "1", "article:a", 60000) }, both + "    family: \"tag:{}\"\n", "key", check.Undecided, "no request used a key"},
		"longer":               {func(s *story) { s.get("a", "", "1", "article:a", 600000) }, both, "ttl", check.Fail, "lifetimes of 10m at 1 entries"},
		"for ever":             {func(s *story) { s.get("a", "", "1", "article:a", 0) }, both, "ttl", check.Fail, "1 entries without a lifetime"},
		"as declared for ever": {func(s *story) { s.get("a", "", "1", "article:a", 0) }, strings.Replace(both, "60s", "none", 1), "ttl", check.Pass, ""},
		"set and expire": {func(s *story) {
			s.get("a", "", "1", "article:a", 0)
			s.add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "expire", Store: "redis", Key: "article:a", TTLMs: event.Some(int64(60000))}})
		}, both, "ttl", check.Pass, "lifetimes of 60s at 1 entries"},
		"not dropped": {func(s *story) {
			right(s)
			s.put("commit", nil)
			s.put("commit", &event.Cache{Op: "delete", Key: "tag:a"})
			s.put("commit", &event.Cache{Op: "delete", Key: "v1:article:a:1"})
		}, both, "drop on articles", check.Fail, "2 of 3 writes were not followed by a drop within 5s, first PUT /articles/{slug}"},
		"filled and dropped by others": {func(s *story) {
			right(s)
			s.put("commit", nil)
			s.at -= 10e9
			s.get("a", "", "1", "v1:article:a:1", 60000)
			s.put("commit", &event.Cache{Op: "delete", Key: "v1:article:b:1"})
		}, both, "drop on articles", check.Fail, "1 of 2 writes"},
		"dropped by a worker": {func(s *story) {
			right(s)
			s.put("commit", nil)
			s.at -= 9e9
			s.n++
			s.add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "delete", Store: "redis", Key: "v1:article:a:1"}})
		}, both, "drop on articles", check.Pass, "each of 1 writes"},
		"a new row": {func(s *story) {
			right(s)
			s.add(event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "INSERT INTO articles (title) VALUES ($1)"}})
		}, both, "drop on articles", check.Undecided, "no write"},
		"a new row of a table": {func(s *story) {
			right(s)
			s.add(event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Text: "INSERT INTO articles (title) VALUES ($1)"}})
		}, strings.ReplaceAll(strings.Replace(both, "by: row", "by: table", 1), "invalidation: row", "invalidation: table"), "drop on articles", check.Fail, "1 of 1 writes"},
		"rolled back":   {func(s *story) { right(s); s.put("rollback", nil) }, both, "drop on articles", check.Undecided, "no write"},
		"not yet there": {func(s *story) { s.put("commit", nil); right(s) }, both, "drop on articles", check.Undecided, "no write"},
		"other table": {func(s *story) { right(s); s.put("commit", nil) },
			strings.Replace(both, "table: articles", "table: tags", 1), "drop on tags", check.Undecided, "no write"},
		"two families": {func(s *story) {
			for i := range 5 {
				s.n++
				s.add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "get", Store: "redis", Key: fmt.Sprint("user:", i)}})
				s.n--
				s.get("a", "", "1", fmt.Sprint("article:", i), 60000)
			}
		}, both, "key", check.Undecided, "several key families could be it (article:{}, user:{})"},
		"nothing": {func(s *story) {}, both, "ttl", check.Undecided, "not seen: no cache key"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{at: 1e18}
			tc.tell(s)
			d := declared(t, s.events, tc.text)[tc.what]
			if d.Verdict != tc.want || !strings.Contains(d.Seen, tc.seen) {
				t.Errorf("%s: %s, want %s: %s", d.Verdict, d.Seen, tc.want, tc.seen)
			}
		})
	}
}

// One entry for all is one key, or one more after each write where the key holds which was the last, as Django's does.
func TestVerifyOneEntry(t *testing.T) {
	one := strings.ReplaceAll(both, "[path.slug, principal]", "[]")
	for name, tc := range map[string]struct {
		keys []string
		mark string
		want check.Verdict
	}{
		"one":           {[]string{"1", "1"}, "", check.Pass},
		"two":           {[]string{"1", "2"}, "", check.Fail},
		"after a write": {[]string{"1", "2"}, ":1:demarc:written:articles", check.Pass},
		"three":         {[]string{"1", "2", "3"}, ":1:demarc:written:articles", check.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{at: 1e18}
			for _, key := range tc.keys {
				s.get("a", "", "1", ":1:demarc:get_articles_slug:~000000000000000"+key, 60000)
				if tc.mark != "" && key == "1" {
					s.put("commit", &event.Cache{Op: "set", Key: tc.mark})
				}
			}
			if d := declared(t, s.events, one)["key"]; d.Verdict != tc.want {
				t.Errorf("%+v", d)
			}
		})
	}
}

// printed tells what the printed code does: entries and their heads under the boundary's word, and after a write the mark that its
// tables were written.
func (s *story) printed(prefix string, marks ...string) {
	for _, slug := range []string{"a", "b"} {
		for _, who := range []string{"1", "2"} {
			key := prefix + "get_articles_slug:~" + fmt.Sprintf("%016x", hashed(slug+who))
			s.get(slug, "", who, key, 60000)
			s.n--
			s.add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "set", Store: "redis", Key: key + ":head"}})
			s.n++
		}
	}
	s.n++
	s.add(event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "sqlite", Text: "UPDATE articles SET title = ? WHERE id = ?", Txn: "x", Rows: event.Some(int64(1))}})
	s.add(event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "commit", Txn: "x"}})
	for _, mark := range marks {
		s.add(event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "set", Store: "redis", Key: mark}})
	}
	s.add(event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "http", Method: "PUT", Route: "/articles/{slug}", Target: "/articles/a", Status: 200}})
	s.at += 10e9
}

// The caches that demarc's own snippets put there are decided without a family that somebody names.
func TestVerifyPrinted(t *testing.T) {
	for name, tc := range map[string]struct {
		prefix string
		marks  []string
		drop   check.Verdict
	}{
		"dropped":               {"demarc:", []string{"demarc:written:articles", "demarc:written:articles:slug", "demarc:written:articles:slug:~0123456789abcdef"}, check.Pass},
		"Django's keys":         {":1:demarc:", []string{":1:demarc:written:articles"}, check.Pass},
		"hashed prefix":         {"~0123456789abcdef:", []string{"~0123456789abcdef:written:articles"}, check.Pass},
		"nothing":               {"demarc:", nil, check.Fail},
		"another table":         {"demarc:", []string{"demarc:written:users"}, check.Fail},
		"another service's":     {"demarc:", []string{"other:written:articles"}, check.Fail},
		"only rows of a reader": {"demarc:", []string{"demarc:written:articles:slug"}, check.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{at: 1e18}
			s.printed(tc.prefix, tc.marks...)
			got := declared(t, s.events, both)
			for what, want := range map[string]check.Verdict{"key": check.Pass, "ttl": check.Pass, "drop on articles": tc.drop} {
				if d := got[what]; d.Verdict != want || d.Family != tc.prefix+"get_articles_slug:{}" {
					t.Errorf("%s: %+v", what, d)
				}
			}
		})
	}
	s := &story{at: 1e18}
	s.printed("demarc:", "demarc:written:articles")
	s.printed("staging:", "staging:written:articles")
	if d := declared(t, s.events, both)["key"]; d.Verdict != check.Undecided || !strings.Contains(d.Seen, "(demarc:get_articles_slug:{}, staging:get_articles_slug:{})") {
		t.Errorf("two prefixes: %+v", d)
	}
}

func TestWords(t *testing.T) {
	got := Words([]Boundary{{Name: "GET /api/articles/{slug}"}, {Name: "GET /api/articles-slug"}, {Name: "shop.pricing:price_for"}})
	if fmt.Sprint(got) != "[get_api_articles_slug get_api_articles_slug_2 shop_pricing_price_for]" {
		t.Error(got)
	}
}

// A function's boundary is judged by the keys that are used while it runs.
func TestVerifyFunction(t *testing.T) {
	var events []event.Event
	at := int64(1e18)
	call := func(n int, arg event.Hash, key string) {
		for _, e := range []event.Event{
			{Type: event.TypeCache, At: at + 10, Cache: &event.Cache{Op: "get", Store: "redis", Key: key, Hit: event.Some(true)}},
			{Type: event.TypeCache, At: at + 2000, Cache: &event.Cache{Op: "get", Store: "redis", Key: "other", Hit: event.Some(true)}},
			{Type: event.TypeCall, At: at, Dur: event.Some(int64(1000)), Call: &event.Call{Code: "shop.pricing:price_for:12", Args: []event.NamedHash{{Name: "item", Hash: arg}}}},
		} {
			e.Trace = fmt.Sprint("t", n)
			events = append(events, e)
		}
		at += 10000
	}
	call(1, 7, "price:7")
	call(2, 8, "price:8")
	call(3, 9, "price:8")
	f, err := Parse([]byte("version: 1\nboundaries:\n  - {name: \"shop.pricing:price_for\", level: function, key: [arg.item], ttl: 60s, invalidation: none}\n"))
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(f)
	v.Learn(events)
	v.Learned()
	v.Add(events)
	if d := v.Report()[0]; d.Verdict != check.Fail || !strings.Contains(d.Seen, "lacks arg.item") || d.Family != "price:{}" {
		t.Errorf("%+v", d)
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		family, key string
		want        bool
	}{
		{"article:{}", "article:a-b", true}, {"article:{}", "article:a:b", false}, {"article:{}", "articles:a", false}, {"{}", "x", true},
		{"a/{}|x", "a/7|x", true}, {"a/{}|x", "a:7|x", false}, {"user-{}", "user-7", true}, {"user-{}", "users", false}, {"", "", true},
	} {
		if got := matches(segments(tc.family), tc.key); got != tc.want {
			t.Errorf("%q of %q: %v", tc.key, tc.family, got)
		}
	}
}
