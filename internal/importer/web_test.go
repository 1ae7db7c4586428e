package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// options hash a text to its length and first byte, so that tests can say what was hashed, and redact what is named token.
func options() WebOptions {
	return WebOptions{
		Hash: func(s string) event.Hash { return event.Hash(len(s))<<8 | event.Hash((s + "\x00")[0]) },
		Target: func(s string) string {
			if i := strings.Index(s, "token="); i >= 0 {
				s = s[:i] + "token=~"
			}
			if strings.Contains(s, "secret") {
				s = strings.ReplaceAll(s, "secret", "~")
			}
			return s
		},
	}
}

func hashed(s string) event.Hash { return options().Hash(s) }

type webResult struct {
	events []event.Event
	bad    []string
	counts Counts
	form   Form
	err    error
}

func readWeb(t testing.TB, text string, opt WebOptions) webResult {
	t.Helper()
	in, err := Open(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r := webResult{form: in.Form}
	r.counts, r.err = in.Web(context.Background(), opt, func(batch []event.Event) error {
		r.events = append(r.events, batch...)
		return nil
	}, func(n int64, err error) error {
		r.bad = append(r.bad, fmt.Sprintf("%d: %v", n, err))
		return nil
	})
	return r
}

// one returns the only event of a text, as JSON.
func one(t *testing.T, text string, form Form, opt WebOptions) string {
	t.Helper()
	r := readWeb(t, text, opt)
	if r.err != nil || r.form != form || len(r.events) != 1 || len(r.bad) != 0 {
		t.Fatalf("%s: %d events, bad %q, %v", r.form, len(r.events), r.bad, r.err)
	}
	return string(event.AppendJSON(nil, &r.events[0]))
}

// One line in each form that servers write.
func TestAccessLines(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 56, 9, 0, time.UTC).UnixNano()
	for _, c := range []struct {
		name, line string
		form       Form
		want       string
	}{
		{"combined", `203.0.113.9 - bob [22/Nov/2026:04:56:09 +0100] "GET /articles/17?page=2 HTTP/1.1" 200 512 "https://a.example/" "curl/8.5"`, Access,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/articles/{}","target":"/articles/17?page=2","status":200,"principal":"%v","vary":{"user-agent":"%v"},"body_hash_none":"not in an access log","body_bytes":512}`, at, hashed("bob"), hashed("curl/8.5"))},
		{"common, without a size", `203.0.113.9 - - [22/Nov/2026:03:56:09 +0000] "HEAD / HTTP/1.1" 304 -`, Access,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"HEAD","route":"/","target":"/","status":304,"body_hash_none":"not in an access log"}`, at)},
		{"escapes, and columns behind", `::1 - - [22/Nov/2026:03:56:09 +0000] "GET /a\x22b?q=\"x\" HTTP/2.0" 404 0 "-" "-" "-" 0.003`, Access,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/a\"b","target":"/a\"b?q=\"x\"","status":404,"body_hash_none":"not in an access log","body_bytes":0}`, at)},
		{"uvicorn, its time put before it by docker", `2026-11-22T03:56:09.000000000Z INFO:     127.0.0.1:39546 - "GET /articles/3?token=abc HTTP/1.1" 200 OK`, Access,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/articles/{}","target":"/articles/3?token=~","status":200,"body_hash_none":"not in an access log"}`, at)},
		{"uvicorn with colours and a formatter's time", "2026-11-22 03:56:09,000 \x1b[32mINFO\x1b[0m:     127.0.0.1:1 - \"\x1b[1mGET / HTTP/1.1\x1b[0m\" \x1b[32m200 OK\x1b[0m", Access,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/","target":"/","status":200,"body_hash_none":"not in an access log"}`, at)},
		{"Caddy", `{"level":"info","ts":1795319769.5,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"127.0.0.1","remote_port":"41342","client_ip":"127.0.0.1","proto":"HTTP/2.0","method":"GET","host":"shop.example","uri":"/o/1?a=b","headers":{"User-Agent":["curl/8"],"Cookie":["REDACTED"],"Authorization":["REDACTED"]}},"bytes_read":0,"user_id":"","duration":0.5,"size":10900,"status":200,"resp_headers":{"Server":["Caddy"],"Cache-Control":["max-age=5"],"Set-Cookie":["REDACTED"]}}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"dur":500000000,"kind":"http","method":"GET","route":"/o/{}","target":"/o/1?a=b","status":200,"vary":{"host":"%v","user-agent":"%v"},"body_hash_none":"not in an access log","body_bytes":10900,"request_bytes":0,"headers":{"cache-control":"max-age=5","set-cookie":true},"request_cookie":true}`, at, hashed("shop.example"), hashed("curl/8"))},
		{"Caddy: somebody whom it does not tell", `{"level":"info","ts":1795319769,"logger":"http.log.access","msg":"handled request","request":{"proto":"HTTP/2.0","method":"GET","host":"s","uri":"/o","headers":{"Cookie":["theme=a"],"Authorization":["REDACTED"]}},"status":200}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/o","target":"/o","status":200,"vary":{"cookie.theme":"%v","host":"%v"},"body_hash_none":"not in an access log","request_cookie":true}`, at, hashed("a"), hashed("s"))},
		{"Caddy: nobody", `{"level":"info","ts":1795319769,"logger":"http.log.access","msg":"handled request","request":{"proto":"HTTP/2.0","method":"GET","host":"s","uri":"/o","headers":{"Cookie":["theme=a"]}},"status":200}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/o","target":"/o","status":200,"principal":"-","vary":{"cookie.theme":"%v","host":"%v"},"body_hash_none":"not in an access log","request_cookie":true}`, at, hashed("a"), hashed("s"))},
		{"Caddy: a key", `{"level":"info","ts":1795319769,"logger":"http.log.access","msg":"handled request","request":{"proto":"HTTP/2.0","method":"GET","host":"s","uri":"/o","headers":{"X-Auth-Request-Access-Token":["t"],"X-Auth-Request-User":["ann"]}},"status":200}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/o","target":"/o","status":200,"principal":"%v","vary":{"host":"%v"},"body_hash_none":"not in an access log"}`, at, hashed("ann"), hashed("s"))},
		{"nginx", `{"msec":"1795319769.250","request":"GET /a/b HTTP/1.1","status":"200","body_bytes_sent":"7","request_time":"0.250","upstream_cache_status":"HIT","http_user_agent":"x","http_cookie":"sessionid=s1; theme=dark","remote_user":"-","sent_http_content_type":"text/html"}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"dur":250000000,"kind":"http","method":"GET","route":"/a/b","target":"/a/b","status":200,"principal":"%v","vary":{"cookie.sessionid":"%v","cookie.theme":"%v","user-agent":"%v"},"body_hash_none":"not in an access log","body_bytes":7,"headers":{"content-type":"text/html","x-cache":"HIT"},"request_cookie":true}`, at, hashed("s1"), hashed("s1"), hashed("dark"), hashed("x"))},
		{"nginx in variables of its own", `{"time_iso8601":"2026-11-22T03:56:09+00:00","request_method":"POST","request_uri":"/a","status":201,"request_time":0}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"dur":0,"kind":"http","method":"POST","route":"/a","target":"/a","status":201,"body_hash_none":"not in an access log"}`, at)},
		{"gunicorn's atoms", `{"t":"[22/Nov/2026:03:56:09 +0000]","m":"GET","U":"/a b","q":"x=1","s":"200","B":"3","D":"1500"}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"dur":1500000,"kind":"http","method":"GET","route":"/a%%20b","target":"/a%%20b?x=1","status":200,"body_hash_none":"not in an access log","body_bytes":3}`, at-1500000)},
		{"uvicorn in a JSON formatter", `{"asctime":"2026-11-22 03:56:09,000","levelname":"INFO","name":"uvicorn.access","message":"127.0.0.1:50332 - \"GET /a HTTP/1.1\" 200"}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/a","target":"/a","status":200,"body_hash_none":"not in an access log"}`, at)},
		{"docker's log", `{"log":"INFO:     127.0.0.1:1 - \"GET /a HTTP/1.1\" 200 OK\n","stream":"stdout","time":"2026-11-22T03:56:09Z"}`, AccessJSON,
			fmt.Sprintf(`{"type":"request","at":%d,"kind":"http","method":"GET","route":"/a","target":"/a","status":200,"body_hash_none":"not in an access log"}`, at)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := one(t, c.line+"\n", c.form, options()); got != c.want {
				t.Errorf("became\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestBadAccessLines(t *testing.T) {
	text := "INFO:     Started server process [17]\n" +
		`1.2.3.4 - - [22/Nov/2026:03:56:09 +0000] "GET /a HTTP/1.1" 200 1` + "\n" +
		`1.2.3.4 - - [22/Nov/2026:03:56:10 +0000] "\x16\x03\x01" 400 0` + "\n\n" +
		`1.2.3.4 - - [99/Nov/2026:03:56:09 +0000] "GET /a HTTP/1.1" 200 1` + "\n" +
		`INFO:     127.0.0.1:1 - "GET /a HTTP/1.1" 200 OK` + "\n" +
		`1.2.3.4 - - [22/Nov/2026:03:56:11 +0000] "get /a HTTP/1.1" 200 1` + "\r\n" +
		`1.2.3.4 - - [22/Nov/2026:03:56:12 +0000] "CONNECT a:443 HTTP/1.1" 200 1` + "\n" +
		`1.2.3.4 - - [22/Nov/2026:03:56:13 +0000] "GET /b HTTP/1.1" 200 1`
	r := readWeb(t, text, options())
	if r.err != nil || r.form != Access || len(r.events) != 2 || r.events[1].Request.Route != "/b" {
		t.Fatalf("%+v", r)
	}
	want := []string{"1: no access line", "3: the request line", "5: no access line", "6: the line has no time", `7: "get" is not`, `8: "a:443" is not an address`}
	if len(r.bad) != len(want) || !slices.EqualFunc(r.bad, want, strings.HasPrefix) {
		t.Errorf("bad lines %q", r.bad)
	}
	if want := (Counts{Lines: 8, Events: 2, Bad: 6, Bytes: int64(len(text))}); r.counts != want {
		t.Errorf("%+v, want %+v", r.counts, want)
	}
}

func TestRoutes(t *testing.T) {
	opt := options()
	opt.Routes = []string{"/articles/{slug}", "/files/{name:path}", "/export-{day}.csv"}
	for target, want := range map[string]string{
		"/articles/how-to?page=1":               "/articles/{slug}",
		"/articles/17/comments/99":              "/articles/{}/comments/{}",
		"/articles/":                            "/articles/",
		"/files/a/b/c":                          "/files/{name:path}",
		"/export-2026-11-22.csv":                "/export-{day}.csv",
		"/export-.csv":                          "/export-.csv",
		"/":                                     "/",
		"*":                                     "*",
		"/v2/users/me":                          "/v2/users/me",
		"/o/0af76519-16cd-43dd-8448-eb211c8031": "/o/0af76519-16cd-43dd-8448-eb211c8031",
		"/o/0af76519-16cd-43dd-8448-eb211c80319c": "/o/{}",
		"/blob/0af7651916cd43dd":                  "/blob/{}",
		"/face/decade":                            "/face/decade",
		"/x/secret/y":                             "/x/{}/y",
	} {
		if got := opt.route(target); got != want {
			t.Errorf("%s is of route %s, want %s", target, got, want)
		}
	}
	for _, r := range []string{"", "a", "/a b", "/{a", "/a?b"} {
		if CheckRoute(r) == nil {
			t.Errorf("%q is taken for a route", r)
		}
	}
}

const someHAR = `{"log":{"version":"1.2","creator":{"name":"WebInspector"},"pages":[{"id":"p"}],"entries":[
{"startedDateTime":"2026-11-22T03:56:09.000Z","time":120,"request":{"method":"GET","url":"https://shop.example/articles/17?token=abc#top","headers":[{"name":"Accept-Language","value":"de"},{"name":"X-Request-Id","value":"9"},{"name":":authority","value":"shop.example"}],"cookies":[{"name":"sid","value":"s1"}],"bodySize":0},
 "response":{"status":200,"headers":[{"name":"Cache-Control","value":"max-age=5"},{"name":"Cache-Control","value":"public"},{"name":"Set-Cookie","value":"a=b"},{"name":"Server","value":"x"}],"content":{"size":5,"mimeType":"text/plain","text":"hello"},"bodySize":-1},
 "timings":{"blocked":10,"dns":-1,"connect":20,"send":1,"wait":80,"receive":9,"ssl":5}},
{"startedDateTime":"2026-11-22T03:56:10.000Z","time":5,"request":{"method":"GET","url":"https://cdn.example/a.png","headers":[]},"response":{"status":200,"headers":[],"content":{"size":3,"text":"AP8A","encoding":"base64"},"bodySize":3},"timings":{"send":-1,"wait":-1,"receive":-1}},
{"startedDateTime":"2026-11-22T03:56:11.000Z","_fromCache":"disk","request":{"method":"GET","url":"https://shop.example/b"},"response":{"status":200}},
{"startedDateTime":"yesterday","request":{"method":"GET","url":"https://shop.example/b"},"response":{"status":200}},
{"startedDateTime":"2026-11-22T03:56:12.000Z","request":{"method":"GET","url":"https://shop.example/c"},"response":{"status":200,"content":{"size":9,"text":"hello"}}},
{"startedDateTime":"2026-11-22T03:56:12.000Z","request":{"method":7,"url":"https://shop.example/c"},"response":{"status":200}},
{"startedDateTime":"2026-11-22T03:56:13.000Z","request":{"method":"GET","url":"data:text/plain,x"},"response":{"status":200}},
{"startedDateTime":"2026-11-22T03:56:14.000Z","request":{"method":"GET","url":"https://shop.example/d"},"response":{"status":0}}
]}}`

func TestHAR(t *testing.T) {
	r := readWeb(t, "\ufeff"+someHAR, options())
	if r.err != nil || r.form != HAR || len(r.events) != 4 || r.counts.Skipped != 2 || r.counts.Lines != 8 || len(r.bad) != 2 ||
		!strings.HasPrefix(r.bad[0], "4: startedDateTime") || !strings.HasPrefix(r.bad[1], "6: json") {
		t.Fatalf("%s: %d events, %+v, bad %q, %v", r.form, len(r.events), r.counts, r.bad, r.err)
	}
	at := time.Date(2026, 11, 22, 3, 56, 9, 30e6, time.UTC).UnixNano()
	line := event.AppendJSON(nil, &r.events[0])
	want := fmt.Sprintf(`{"type":"request","at":%d,"dur":90000000,"kind":"http","method":"GET","route":"/articles/{}","target":"/articles/17?token=~","status":200,`+
		`"principal":"%v","vary":{"accept-language":"%v","cookie.sid":"%v","host":"%v"},"body_hash":"%v","body_bytes":5,"request_bytes":0,`+
		`"headers":{"cache-control":"max-age=5, public","set-cookie":true},"first_byte_dur":81000000,"request_cookie":true}`,
		at, hashed("s1"), hashed("de"), hashed("s1"), hashed("shop.example"), hashed("hello"))
	if string(line) != want {
		t.Errorf("became\n%s\nwant\n%s", line, want)
	}
	if e := r.events[1]; e.Request.BodyHash != hashed("\x00\xff\x00") || e.Dur.V != 5e6 || e.Request.BodyBytes.V != 3 || e.Request.Principal != "" {
		t.Errorf("%+v %+v", e, e.Request)
	}
	if e := r.events[2]; e.Request.BodyHashNone != "cut in the HAR" || e.Request.BodyHash != 0 || e.Dur.Known {
		t.Errorf("%+v", e.Request)
	}
	if e := r.events[3]; e.Request.Status != 0 || e.Request.BodyHashNone != "not in the HAR" {
		t.Errorf("%+v", e.Request)
	}
	opt := options()
	opt.Host = "SHOP.example:443"
	if r := readWeb(t, someHAR, opt); len(r.events) != 3 || r.counts.Skipped != 3 {
		t.Errorf("with --host: %d events, %+v", len(r.events), r.counts)
	}
}

// A file that ends early, or is another one, ends the reading with the place; what came before is handed on.
func TestBrokenHAR(t *testing.T) {
	for text, want := range map[string]string{
		someHAR[:len(someHAR)-200]:                           "entry ",
		someHAR[:len(someHAR)-2]:                             "cut short",
		`{"log":{"version":"2.0","entries":[]}}`:             `version "2.0" of HAR`,
		`{"log":{"version":"1.2"}}`:                          "no entries",
		`{"log":{"entries":{}}}`:                             "entries is {",
		`{"log":{"entries":[{]}}`:                            "entry 1: byte ",
		`{"log":{`:                                           "cut short",
		`{"log":{"entries":[` + strings.Repeat("[", 100_000): "entry 1: byte ",
	} {
		if r := readWeb(t, text, options()); r.form != HAR || r.err == nil || !strings.Contains(r.err.Error(), want) {
			t.Errorf("%.40s: %s, %v; want %q", text, r.form, r.err, want)
		}
	}
	if r := readWeb(t, someHAR[:len(someHAR)-200], options()); len(r.events) == 0 {
		t.Error("what was whole is lost")
	}
}

// A value larger than the limit is refused without being held.
func TestHugeEntry(t *testing.T) {
	in, err := Open(io.MultiReader(strings.NewReader(`{"log":{"entries":[{"a":"`), io.LimitReader(repeat('x'), 10*maxEntry)))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_, err = in.Web(context.Background(), options(), nil, nil)
	if !errors.Is(err, errTooLong) || in.Bytes() > 2*maxEntry {
		t.Errorf("%d bytes read, %v", in.Bytes(), err)
	}
}

type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

func TestIdentity(t *testing.T) {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.x"
	for _, c := range []struct{ authorization, cookie, want string }{
		{"Bearer " + jwt, "", "42"}, {"Bearer abc", "sid=1", "abc"}, {"Basic Ym9iOng=", "", "bob"}, {"", "theme=dark", ""},
		{"", "a=1; shop_sessionid=7", "7"}, {"", "access_token=" + jwt, "42"},
	} {
		if got := identity(c.authorization, jar(c.cookie)); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	o := options()
	if who, _, _ := o.asked(&exchange{asked: []event.Pair{{Name: "Cookie", Value: "theme=dark"}}}, ""); who != "-" {
		t.Errorf("whose cookies name nobody is %q", who)
	}
	if who, _, _ := o.asked(&exchange{asked: []event.Pair{{Name: "Accept", Value: "*/*"}}}, ""); who != "" {
		t.Errorf("of whom nothing is known is %q", who)
	}
}

// Whatever the bytes, reading ends without a panic, counts what it saw, and makes events that a capture takes and that are read again alike.
func fuzz(f *testing.F, form Form) {
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := Open(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer in.Close()
		in.Form = form
		events, bad := int64(0), int64(0)
		opt := options()
		opt.Routes = []string{"/articles/{slug}", "/{a:path}"}
		counts, err := in.Web(context.Background(), opt, func(batch []event.Event) error {
			for i := range batch {
				events++
				line := event.AppendJSON(nil, &batch[i])
				again, err := event.ParseJSON(line)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				if twice := event.AppendJSON(nil, &again); !bytes.Equal(line, twice) {
					t.Fatalf("%s became %s", line, twice)
				}
			}
			return nil
		}, func(int64, error) error { bad++; return nil })
		if counts.Events != events || counts.Bad != bad || counts.Lines != events+bad+counts.Skipped {
			t.Fatalf("%+v, %d events, %d bad, %v", counts, events, bad, err)
		}
	})
}

func FuzzHAR(f *testing.F) {
	f.Add([]byte(someHAR))
	f.Add([]byte(someHAR[:900]))
	fuzz(f, HAR)
}

func FuzzAccess(f *testing.F) {
	f.Add([]byte(`203.0.113.9 - bob [22/Nov/2026:04:56:09 +0100] "GET /articles/17?page=2 HTTP/1.1" 200 512 "https://a.example/" "curl\x22/8.5"`))
	f.Add([]byte("2026-11-22 03:56:09,000 \x1b[32mINFO\x1b[0m:     127.0.0.1:1 - \"GET / HTTP/1.1\" 200 OK"))
	fuzz(f, Access)
}

func FuzzAccessJSON(f *testing.F) {
	f.Add([]byte(`{"ts":1795319769.5,"request":{"method":"GET","host":"shop.example","uri":"/o/1?a=b","headers":{"User-Agent":["curl/8"]}},"duration":0.5,"size":10900,"status":200,"resp_headers":{"Server":["Caddy"]}}`))
	f.Add([]byte(`{"t":"[22/Nov/2026:03:56:09 +0000]","m":"GET","U":"/a b","q":"x=1","s":"200","B":"3","D":"1500","http_cookie":"sid=1"}`))
	f.Add([]byte(`{"log":"{\"message\":\"127.0.0.1:50332 - \\\"GET /a HTTP/1.1\\\" 200\"}","time":"2026-11-22T03:56:09Z"}`))
	fuzz(f, AccessJSON)
}
