package logwatch

import (
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	for line, want := range map[string]string{
		"2026-11-22 10:11:12,345 ERROR shop.app: order 4711 failed after 12.5 ms":                   "<time> ERROR shop.app: order <n> failed after <n> ms",
		"2026-11-22T10:11:12.345Z ERROR [req_8f3a2b1c9d] 10.0.0.7:5432 refused":                     "<time> ERROR [<id>] <address> refused",
		`10.1.2.3 - - [22/Nov/2026:10:11:12 +0000] "GET /articles/17?limit=20&x=1 HTTP/1.1" 500 12`: `<address> - - [<time>] "GET /articles/<id>?<query> HTTP/<n>" <n> <n>`,
		"ERROR user a.b@example.org token=abcdef0123 password: hunter2 Authorization: Bearer xyz":   "ERROR user <email> token=<secret> password: <secret> Authorization: <secret>",
		"ERROR object at 0x7f3b2c of 0190a5b2-1111-7abc-8def-0123456789ab":                          "ERROR object at <n> of <id>",
		"ERROR postgres://shop:hunter2@db/shop is gone":                                             "ERROR <address>@db/shop is gone",
		"\x1b[31mERROR\x1b[0m\tutf8 \x00 ok\u202e":                                                  "ERROR utf8 ok",
		"ERROR -1.5 +3 1,000 12ms": "ERROR <n> <n> <n> <n>ms",
	} {
		if got := Shape(line); strings.ReplaceAll(strings.ReplaceAll(got, "-<n>", "<n>"), "+<n>", "<n>") != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
		if again := Shape(Shape(line)); again != Shape(line) {
			t.Errorf("the shape of %q has another shape, %q", Shape(line), again)
		}
	}
	if s := Shape("ERROR " + strings.Repeat("ä", 1000)); len(s) > MaxShape || !strings.HasSuffix(s, "…") {
		t.Errorf("%d bytes", len(s))
	}
}

const traceLog = `INFO:     127.0.0.1:51234 - "GET /ok HTTP/1.1" 200 OK
ERROR:    Exception in ASGI application
Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/uvicorn/protocols/http.py", line 403, in run_asgi
    result = await app(
             ^^^^^^^^^^
  File "/srv/shop/app.py", line 12, in get
    return price[key]

KeyError: 'article 17'
INFO:     127.0.0.1:51235 - "GET /article/17 HTTP/1.1" 500 Internal Server Error
no ERRORS here, 0 errors, error-free, HTTP/1.1" 200 5000
WARNING: 3 retries
{"level": "error", "msg": "gone", "ts": 1790000000}
time=2026-11-22T10:00:00Z level=error msg="gone" status=200
2026/11/22 10:11:12 [error] 31#31: *1 connect() failed
{"path": "/x", "status": 503}
web-1  | Traceback (most recent call last):
db-1   | LOG:  checkpoint
web-1  |   File "/srv/a.py", line 1, in f
web-1  |     x()
web-1  | ValueError: 3
  + Exception Group Traceback (most recent call last):
  |   File "/srv/g.py", line 3, in main
  |     x()
  | ExceptionGroup: several (2 sub-exceptions)
`

func TestFinder(t *testing.T) {
	f := NewFinder()
	var got []string
	lines := &Lines{Each: func(line string) {
		if shape, ok := f.Add(line); ok {
			got = append(got, shape)
		}
	}}
	for i := 0; i < len(traceLog); i += 7 { // whatever the borders between writes
		_, _ = lines.Write([]byte(traceLog[i:min(i+7, len(traceLog))]))
	}
	want := []string{
		"ERROR: Exception in ASGI application",
		"KeyError: 'article <n>' (app.py get)",
		`INFO: <address> - "GET /article/<id> HTTP/<n>" <n> Internal Server Error [500]`,
		`{"level": "error", "msg": "gone", "ts": <n>}`,
		`time=<time> level=error msg="gone" status=<n>`,
		`<time> [error] <n>#<n>: *<n> connect() failed`,
		`{"path": "/x", "status": <n>} [503]`,
		"ValueError: <n> (a.py f)",
		"ExceptionGroup: several (<n> sub-exceptions) (g.py main)",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLinesAreBounded(t *testing.T) {
	var got []string
	l := &Lines{Each: func(line string) { got = append(got, line) }}
	for range 100 {
		_, _ = l.Write([]byte(strings.Repeat("x", 1000)))
	}
	_, _ = l.Write([]byte("tail\nnext"))
	l.Flush()
	if len(got) != 2 || len(got[0]) != MaxLine || got[1] != "next" || cap(l.part) > 2*MaxLine {
		t.Errorf("%d lines, the first of %d bytes", len(got), len(got[0]))
	}
}

func TestSetIsBounded(t *testing.T) {
	var s Set
	for i := range 3 * MaxShapes {
		s.Add(strings.Repeat("x", i), int64(i))
	}
	list := s.List()
	if len(list) != MaxShapes+1 || list[MaxShapes].Shape != OtherShapes || list[MaxShapes].N != 2*MaxShapes || !s.Has("x") {
		t.Errorf("%d shapes", len(list))
	}
}

func FuzzFinder(f *testing.F) {
	f.Add(traceLog)
	f.Add("web-1  | \x1b[31mERROR \xff\xfe 12345678901234567890")
	f.Fuzz(func(t *testing.T, text string) {
		find := NewFinder()
		lines := &Lines{Each: func(line string) {
			if shape, ok := find.Add(line); ok && (len(shape) > 2*MaxShape+6 || strings.ContainsAny(shape, "\x1b\n\x00")) {
				t.Fatalf("%q", shape)
			}
		}}
		_, _ = lines.Write([]byte(text))
		lines.Flush()
	})
}
