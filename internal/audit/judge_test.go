package audit

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// get is a GET request as an event: fields are JSON members of a request, put behind the common ones.
func get(at int, path, fields string) string {
	return fmt.Sprintf(`{"type":"request","at":%d,"dur":1000000,"kind":"http","method":"GET","route":%q,"target":%q,"status":200,%s}`, int64(at)*1e9, path, path, fields)
}

func traffic1(t *testing.T, lines ...string) *Traffic {
	t.Helper()
	tr := NewTraffic(func(string) string { return "5be0cd19137e2179" })
	for _, l := range lines {
		e, err := event.ParseJSON([]byte(l))
		if err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		tr.Add(&e)
	}
	return tr
}

func TestTrafficIsJudged(t *testing.T) {
	const a, b = "00000000000000aa", "00000000000000bb"
	body := func(hash, rest string) string { return `"body_hash":"` + hash + `"` + rest }
	by := func(lang, hash, headers string) string {
		return body(hash, `,"vary":{"accept-language":"`+lang+`"},"headers":{`+headers+`}`)
	}
	shared := `"cache-control":"public, max-age=60"`
	for _, tc := range []struct {
		name, item string
		lines      []string
		fails      bool
	}{
		{"cookie and public", "set-cookie-stored", []string{get(1, "/a", `"headers":{"set-cookie":"true",`+shared+`}`)}, true},
		{"cookie and private", "set-cookie-stored", []string{get(1, "/a", `"headers":{"set-cookie":"true","cache-control":"private, max-age=60"}`)}, false},
		{"cookie out of a cache", "set-cookie-stored", []string{get(1, "/a", `"headers":{"set-cookie":"true","x-cache":"HIT from edge"}`)}, true},
		{"cookie and no header", "set-cookie-stored", []string{get(1, "/a", `"headers":{"set-cookie":"true"}`)}, false},
		{"known and public", "authorized-stored", []string{get(1, "/a", `"principal":"`+a+`","headers":{`+shared+`}`)}, true},
		{"known by Authorization, with max-age only", "authorized-stored", []string{get(1, "/a", `"principal":"`+a+`","headers":{"cache-control":"max-age=60"}`)}, false},
		{"known by cookie, with max-age only", "authorized-stored", []string{get(1, "/a", `"principal":"`+a+`","request_cookie":true,"headers":{"cache-control":"max-age=60"}`)}, true},
		{"known, with Vary", "authorized-stored", []string{get(1, "/a", `"principal":"`+a+`","headers":{`+shared+`,"vary":"Authorization"}`)}, false},
		{"known, no-store wins", "authorized-stored", []string{get(1, "/a", `"principal":"`+a+`","headers":{"cache-control":"public, no-store"}`)}, false},
		{"known, the layer above is told", "authorized-stored", []string{get(1, "/a", `"principal":"`+a+`","headers":{"cache-control":"private","cdn-cache-control":"max-age=60"}`)}, true},
		{"language, no Vary", "public-without-vary", []string{get(1, "/a", by(a, a, shared)), get(2, "/a", by(b, b, shared)), get(3, "/a", by(a, a, shared))}, true},
		{"language, in Vary", "public-without-vary", []string{get(1, "/a", by(a, a, shared+`,"vary":"Accept-Language"`)), get(2, "/a", by(b, b, shared+`,"vary":"Accept-Language"`)), get(3, "/a", by(a, a, shared+`,"vary":"Accept-Language"`))}, false},
		{"changed once, perhaps by a write", "public-without-vary", []string{get(1, "/a", by(a, a, shared)), get(2, "/a", by(b, b, shared))}, false},
		{"another Vary", "unkeyed-input", []string{get(1, "/a", by(a, a, shared+`,"vary":"Accept"`)), get(2, "/a", by(b, b, shared+`,"vary":"Accept"`)), get(3, "/a", by(a, a, shared+`,"vary":"Accept"`))}, true},
		{"404 for a minute", "cached-errors", []string{strings.Replace(get(1, "/a", `"headers":{`+shared+`}`), "200", "404", 1)}, true},
		{"404 without a word", "cached-errors", []string{strings.Replace(get(1, "/a", `"headers":{}`), "200", "404", 1)}, false},
		{"an error in the cache", "cached-errors", []string{get(1, "/a", `"headers":{}`), `{"type":"cache","at":1,"op":"set","store":"redis://h:6379/0","key":"k","value_kind":"error"}`}, true},
		{"301 without a word", "cached-redirects", []string{strings.Replace(get(1, "/a", `"headers":{}`), "200", "301", 1)}, true},
		{"302 without a word", "cached-redirects", []string{strings.Replace(get(1, "/a", `"headers":{}`), "200", "302", 1)}, false},
		{"304 with max-age", "cached-redirects", []string{strings.Replace(get(1, "/a", `"headers":{`+shared+`}`), "200", "304", 1)}, false},
		{"JSON as a style sheet", "path-confusion", []string{strings.Replace(get(1, "/account/x.css", `"headers":{"content-type":"application/json"}`), `"route":"/account/x.css"`, `"route":"/account/{rest}"`, 1)}, true},
		{"a style sheet", "path-confusion", []string{strings.Replace(get(1, "/static/x.css", `"headers":{"content-type":"text/css"}`), `"route":"/static/x.css"`, `"route":"/static"`, 1)}, false},
		{"one ETag, two bodies", "outer-etag", []string{get(1, "/a", body(a, `,"headers":{"etag":"\"1\""}`)), get(2, "/a", body(b, `,"headers":{"etag":"\"1\""}`))}, true},
		{"two ETags", "outer-etag", []string{get(1, "/a", body(a, `,"headers":{"etag":"\"1\""}`)), get(2, "/a", body(b, `,"headers":{"etag":"\"2\""}`))}, false},
		{"changed within max-age", "outer-lifetime", []string{get(1, "/a", body(a, `,"headers":{"cache-control":"max-age=60"}`)), get(9, "/a", body(b, `,"headers":{"cache-control":"max-age=60"}`))}, true},
		{"changed after max-age", "outer-lifetime", []string{get(1, "/a", body(a, `,"headers":{"cache-control":"max-age=60"}`)), get(99, "/a", body(b, `,"headers":{"cache-control":"max-age=60"}`))}, false},
		{"another person's", "outer-lifetime", []string{get(1, "/a", body(a, `,"principal":"`+a+`","headers":{"cache-control":"max-age=60"}`)), get(9, "/a", body(b, `,"principal":"`+b+`","headers":{"cache-control":"max-age=60"}`))}, false},
		{"429 without Retry-After", "retry-after", []string{strings.Replace(get(1, "/a", `"headers":{}`), "200", "429", 1)}, true},
		{"503 with it", "retry-after", []string{strings.Replace(get(1, "/a", `"headers":{"retry-after":"1"}`), "200", "503", 1)}, false},
		{"500 of a ValueError", "bad-input", []string{strings.Replace(get(1, "/a", `"error":"ValueError at shop.app:f:3"`), "200", "500", 1)}, true},
		{"500 of a defect", "bad-input", []string{strings.Replace(get(1, "/a", `"error":"ZeroDivisionError at shop.app:f:3"`), "200", "500", 1)}, false},
		{"a large body that was taken", "upload-limit", []string{`{"type":"request","at":1,"method":"POST","route":"/a","target":"/a","status":201,"request_bytes":20000000}`}, true},
		{"a key in clear", "capture-secrets", []string{`{"type":"cache","at":1,"op":"get","store":"s","key":"user:` + aws + `"}`}, true},
		{"an address in clear", "capture-secrets", []string{get(1, "/a?mail=ada@conduit.example", `"headers":{}`)}, true},
		{"hashed", "capture-secrets", []string{get(1, "/a?mail=~0c52ab34ff019e7d&token=~0c52ab34ff019e7d", `"headers":{}`)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rep := Judge(&Evidence{Traffic: traffic1(t, tc.lines...), Leaks: &stale.Report{}})
			x := rep.Item(tc.item)
			if x == nil {
				t.Fatalf("there is no item %s", tc.item)
			}
			if fails := x.State == Fail; fails != tc.fails {
				t.Errorf("%s: %s %+v", tc.item, x.State, x.Places)
			}
			for _, o := range rep.Items {
				if !tc.fails && o.State == Fail {
					t.Errorf("%s fails: %+v", o.ID, o.Places)
				}
			}
			for _, p := range x.Places {
				if strings.Contains(p.Says+p.Where, aws) {
					t.Errorf("the secret is shown: %+v", p)
				}
			}
		})
	}
}

// A reader of captures uses the memory of one batch again for the next.
func TestNothingOfAnEventIsKept(t *testing.T) {
	tr := NewTraffic(nil)
	inputs := make([]event.NamedHash, 1)
	for i, lang := range []event.Hash{1, 2, 1} {
		inputs[0] = event.NamedHash{Name: "accept-language", Hash: lang}
		tr.Add(&event.Event{Type: event.TypeRequest, At: int64(i + 1), Request: &event.Request{Kind: "http", Method: "GET", Route: "/a", Target: "/a", Status: 200,
			BodyHash: lang, Vary: inputs, Headers: []event.Pair{{Name: "cache-control", Value: "public, max-age=60"}}}})
	}
	inputs[0] = event.NamedHash{Name: "host", Hash: 9}
	if x := Judge(&Evidence{Traffic: tr}).Item("public-without-vary"); x.State != Fail {
		t.Errorf("%s", x.State)
	}
}

// What an event may hold of hostile length is cut before it is kept.
func TestLongTextsAreCut(t *testing.T) {
	tr := NewTraffic(nil)
	long := strings.Repeat("x", 1<<20)
	for i := range 3 {
		tr.Add(&event.Event{Type: event.TypeRequest, At: 1, Request: &event.Request{Kind: "http", Method: "GET", Route: "/" + long, Target: "/" + long + fmt.Sprint(i), Status: 500,
			Error: "ValueError at " + long, Headers: []event.Pair{{Name: "cache-control", Value: "public, x=" + long}}}})
	}
	for _, x := range Judge(&Evidence{Traffic: tr}).Items {
		for _, p := range x.Places {
			if len(p.Where)+len(p.Says) > 6*maxName {
				t.Errorf("%s: %d bytes", x.ID, len(p.Where)+len(p.Says))
			}
		}
	}
}

func TestWithoutEvidenceNothingPasses(t *testing.T) {
	rep := Judge(&Evidence{})
	for _, x := range rep.Items {
		if x.State != NotSeen || x.Missing == "" {
			t.Errorf("%s: %s, missing %q", x.ID, x.State, x.Missing)
		}
	}
	if rep.Counts.NotSeen != len(rules) || rep.Schema != Schema {
		t.Errorf("%+v", rep.Counts)
	}
	// Requests without headers, as OpenTelemetry gives them, leave the questions about headers open.
	rep = Judge(&Evidence{Traffic: traffic1(t, `{"type":"request","at":1,"method":"GET","route":"/a","target":"/a","status":200}`)})
	for _, id := range []string{"set-cookie-stored", "authorized-stored", "public-without-vary", "outer-etag", "shared-keys", "upload-limit"} {
		if x := rep.Item(id); x.State != NotSeen {
			t.Errorf("%s: %s", id, x.State)
		}
	}
}

func TestPathsServersLogsAndProbes(t *testing.T) {
	tr := traffic1(t, strings.Replace(get(1, "/a", `"error":"KeyError at shop.app:f:3"`), "200", "500", 1), strings.Replace(get(5, "/b?x=1", `"headers":{}`), "200", "500", 1),
		`{"type":"request","at":3,"method":"POST","route":"/up","target":"/up","status":201,"request_bytes":10}`)
	logs := NewLogs(tr.Failing(), nil)
	for i, l := range []string{`INFO "GET /b HTTP/1.1" 500`, "Traceback (most recent call last):", "KeyError: 'x'", "login of ada@conduit.example"} {
		logs.Add("shop.log", i+1, l)
	}
	rep := Judge(&Evidence{
		Traffic: tr, Logs: logs,
		Paths: []Path{
			{Kind: PathKey, Path: "key", Mode: 0o600, Mine: true}, {Kind: PathCapture, Path: "c", Mode: fs.ModeDir | 0o750, Mine: true},
			{Kind: PathRecord, Path: "r.yaml", Mode: 0o664, Mine: true}, {Kind: PathSecret, Path: ".env", Mode: 0o600},
		},
		Servers: []Server{
			{Address: "127.0.0.1:6379", Loopback: true, Open: true, Bind: "127.0.0.1 -::1"},
			{Address: "10.0.0.1:6379", Bind: "*", Guarded: "no"},
			{Address: "gone:6379", Error: "refused"},
		},
		Probe: &Probe{URL: "http://x", Uploads: []Upload{{Route: "POST /up", Declared: true, Sent: 5, Size: 10, Status: 413}, {Route: "POST /up", Sent: 10, Size: 10, Status: 422}},
			Inputs: []Asked{{What: "path", Route: "GET /me", Target: "/me/x.css", Status: 404, Plain: 401}, {What: "input", Route: "GET /a", Target: "/a?x=%00", Status: 500}}},
	})
	want := map[string]string{ // item: a failed one's places, or its state
		"key-file": "pass", "capture-files": "c", "change-records": "pass", "secret-files": ".env", "cache-network": "pass", "cache-password": "127.0.0.1:6379",
		"log-personal": "shop.log:4", "log-failures": "GET /b?x=1", "upload-limit": "POST /up", "path-confusion": "pass", "bad-input": "GET /a",
	}
	for id, w := range want {
		x := rep.Item(id)
		got := string(x.State)
		if x.State == Fail {
			got = x.Places[0].Where
		}
		if got != w {
			t.Errorf("%s: %s, %q expected: %+v", id, got, w, x.Places)
		}
	}
	if x := rep.Item("cache-password"); x.Severity != Low {
		t.Errorf("a server that only this machine reaches: %s", x.Severity)
	}
	if n := len(rep.Failed(High)); n != 2 || len(rep.Failed(Low)) != rep.Counts.Fail {
		t.Errorf("%d of severity high, %+v", n, rep.Counts)
	}
}

func TestRulesAreWhole(t *testing.T) {
	var ids []string
	for _, r := range rules {
		if slices.Contains(ids, r.id) || r.title == "" || r.fix == "" || r.verify == "" || !slices.Contains(Severities, r.severity) || r.seen == nil {
			t.Errorf("%+v", r.id)
		}
		ids = append(ids, r.id)
	}
}

func FuzzLogs(f *testing.F) {
	f.Add("ERROR login of ada@conduit.example token=8f3a9c1b7d99\nTraceback\nKeyError: 'x'", "/a?x", "KeyError at shop:f:3")
	f.Fuzz(func(t *testing.T, text, target, kind string) {
		l := NewLogs([]Failing{{Route: "GET /a", Target: target, Error: kind, Type: kind, Status: 500, N: 1}}, func(string) string { return "0" })
		n := 0
		for line := range strings.SplitSeq(text, "\n") {
			n++
			l.Add("x.log", n, line)
		}
		for _, list := range l.found().list {
			for _, x := range list {
				if x.Line > n {
					t.Fatalf("%+v", x)
				}
			}
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("public, s-maxage=60, max-age=\"5\"", "Accept, *", "hit;x", "-1")
	f.Fuzz(func(t *testing.T, control, vary, status, age string) {
		q := &event.Request{Headers: []event.Pair{{Name: "age", Value: age}, {Name: "cache-control", Value: control}, {Name: "cache-status", Value: status}, {Name: "vary", Value: vary}}}
		h := headersOf(q)
		if h.maxAge < 0 || h.lifetime < 0 || h.shared && !h.explicit {
			t.Fatalf("%+v", h)
		}
	})
}

func BenchmarkTraffic(b *testing.B) {
	e, err := event.ParseJSON([]byte(get(1, "/articles/7", `"principal":"00000000000000aa","body_hash":"00000000000000aa","headers":{"cache-control":"private, max-age=60","content-type":"application/json","vary":"Accept"}`)))
	if err != nil {
		b.Fatal(err)
	}
	tr := NewTraffic(nil)
	b.ReportAllocs()
	for b.Loop() {
		tr.Add(&e)
	}
}

func BenchmarkLogLine(b *testing.B) {
	l := NewLogs(nil, nil)
	line := `INFO:     127.0.0.1:51234 - "GET /api/articles/field-notes-1?limit=20 HTTP/1.1" 200 OK`
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		l.Add("x.log", 1, line)
	}
}
