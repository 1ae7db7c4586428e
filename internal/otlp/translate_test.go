package otlp

import (
	"bytes"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

type at = map[string]any

// body decodes one span and returns its events without what all of them share.
func body(t *testing.T, o Options, kind ptrace.SpanKind, attrs at, change func(ptrace.Span)) []string {
	t.Helper()
	traces := ptrace.NewTraces()
	s := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	s.SetTraceID(traceID(1))
	s.SetSpanID(spanID(2))
	s.SetName("name")
	s.SetKind(kind)
	s.SetStartTimestamp(10)
	s.SetEndTimestamp(15)
	if err := s.Attributes().FromRaw(attrs); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	lines := same(t, newTestDecoder(t, o), marshal(t, traces))
	for i, l := range lines {
		for _, shared := range []string{`"at":10,`, `"dur":5,`, `"trace":"0000000000000002",`, `"span":"0000000000000002",`, `"layer":"shared",`} {
			l = strings.Replace(l, shared, "", 1)
		}
		lines[i] = l
	}
	return lines
}

func failed(kind, stack string) func(ptrace.Span) {
	return func(s ptrace.Span) {
		s.Status().SetCode(ptrace.StatusCodeError)
		if kind != "" {
			e := s.Events().AppendEmpty()
			e.SetName("exception")
			e.Attributes().PutStr("exception.type", kind)
			e.Attributes().PutStr("exception.stacktrace", stack)
		}
	}
}

const trace = `Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/starlette/routing.py", line 7, in app
    await f()
RuntimeError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/starlette/routing.py", line 74, in app
  File "/srv/shop/app.py", line 42, in create
    check(x)
  File "/srv/shop/rules.py", line 9, in check
    int(x)
  File "/usr/lib/python3.11/json/decoder.py", line 3, in decode
ValueError: secret
`

func TestSpansToEvents(t *testing.T) {
	const client, server, internal = ptrace.SpanKindClient, ptrace.SpanKindServer, ptrace.SpanKindInternal
	const consumer, producer = ptrace.SpanKindConsumer, ptrace.SpanKindProducer
	redis := func(text string) at { return at{"db.system": "redis", "db.statement": text} }
	cache := func(op, rest string) string { return `{"type":"cache","op":"` + op + `","store":"redis"` + rest + `}` }
	query := func(rest string) string { return `{"type":"query","db":"postgresql","text":"SELECT a"` + rest + `}` }
	pg := func(more at) at {
		more["db.system"], more["db.statement"] = "postgresql", "SELECT a"
		return more
	}
	for name, c := range map[string]struct {
		kind   ptrace.SpanKind
		attrs  at
		change func(ptrace.Span)
		want   string // events, one a line
	}{
		"request, old names": {server, at{
			"http.method": "get", "http.route": "/a/{b}", "http.target": "/a/1?x=2", "http.status_code": 200,
			"http.request_content_length": 5, "http.response_content_length": 0,
		}, nil, `{"type":"request","kind":"http","method":"GET","route":"/a/{b}","target":"/a/1?x=2","status":200,"body_bytes":0,"request_bytes":5}`},
		"request, new names": {server, at{
			"http.request.method": "GET", "url.path": "/a/1", "url.query": "x=2", "http.response.status_code": "404", "error.type": "404",
		}, nil, `{"type":"request","kind":"http","method":"GET","target":"/a/1?x=2","status":404}`},
		"request whose query stands in the URL only": {server, at{
			"http.method": "GET", "http.target": "/a", "http.url": "http://h:80/a?x=2#top",
		}, nil, `{"type":"request","kind":"http","method":"GET","target":"/a?x=2"}`},
		"request of an unusual method": {server, at{"http.request.method": "_OTHER", "http.request.method_original": "Purge"}, nil,
			`{"type":"request","kind":"http","method":"PURGE"}`},
		"request with captured headers": {server, at{
			"http.request.method": "GET", "http.request.header.accept_language": []any{"de", "en"}, "http.request.header.x-api-key": []any{"k"},
			"http.response.header.vary": []any{"accept"}, "http.response.header.set_cookie": []any{"a=b"}, "http.response.header.x-secret": []any{"s"},
			"user.id": 42, "server.address": "h",
		}, nil, `{"type":"request","kind":"http","method":"GET","principal":"` + testHash("42").String() + `","vary":{"accept-language":"` +
			testHash("de, en").String() + `","host":"` + testHash("h").String() + `"},"headers":{"set-cookie":true,"vary":"accept"}}`},
		"request that failed": {server, at{"http.request.method": "GET", "http.response.status_code": 500}, failed("ValueError", trace),
			`{"type":"request","kind":"http","method":"GET","status":500,"error":"ValueError at shop.rules:check:9"}`},
		"exception that was handled": {server, at{"http.request.method": "GET"}, func(s ptrace.Span) {
			failed("ValueError", trace)(s)
			s.Status().SetCode(ptrace.StatusCodeUnset)
		}, `{"type":"request","kind":"http","method":"GET"}`},
		"failed without a word": {server, at{"http.request.method": "GET"}, failed("", ""),
			`{"type":"request","kind":"http","method":"GET","error":"unknown error"}`},
		"server that is not HTTP":     {server, at{"rpc.system": "grpc"}, nil, ``},
		"step inside a request":       {internal, at{"http.status_code": 200}, nil, ``},
		"call of another service":     {client, at{"http.method": "GET"}, nil, ``},
		"query":                       {client, pg(at{"db.response.returned_rows": 3, "db.operation.batch.size": 2}), nil, query(`,"rows":3,"many":2`)},
		"query of an in-memory base":  {internal, pg(at{}), nil, query("")},
		"query with its place":        {client, pg(at{"code.namespace": "shop.db", "code.function": "get", "code.lineno": 7}), nil, query(`,"code":"shop.db:get:7"`)},
		"query with its place, new":   {client, pg(at{"code.function.name": "shop.db.get", "code.line.number": 7}), nil, query(`,"code":"shop.db:get:7"`)},
		"query with its file":         {client, pg(at{"code.function.name": "Repo.get", "code.file.path": "/srv/shop/db.py"}), nil, query(`,"code":"shop.db:get"`)},
		"query that failed":           {client, pg(at{}), failed("psycopg.errors.UniqueViolation", ""), query(`,"error":"psycopg.errors.UniqueViolation"`)},
		"query with literals":         {client, at{"db.system.name": "mysql", "db.query.text": "SELECT 'x', 5"}, nil, `{"type":"query","db":"mysql","text":"SELECT '?', '?'"}`},
		"connect":                     {client, at{"db.system": "postgresql"}, nil, ``},
		"a database that has no SQL":  {client, at{"db.system": "mongodb", "db.statement": "find"}, nil, ``},
		"begin":                       {client, at{"db.system": "postgresql", "db.statement": "BEGIN ISOLATION LEVEL SERIALIZABLE;"}, nil, `{"type":"txn","op":"begin","db":"postgresql"}`},
		"commit":                      {client, at{"db.system": "postgresql", "db.statement": "commit;"}, nil, `{"type":"txn","op":"commit","db":"postgresql"}`},
		"rollback":                    {client, at{"db.system": "postgresql", "db.statement": "ROLLBACK TRANSACTION"}, nil, `{"type":"txn","op":"rollback","db":"postgresql"}`},
		"rollback to a savepoint":     {client, at{"db.system": "postgresql", "db.statement": "ROLLBACK TO s1"}, nil, `{"type":"query","db":"postgresql","text":"ROLLBACK TO s1"}`},
		"get":                         {client, redis("GET article:7"), nil, cache("get", `,"key":"article:7"`)},
		"get without its key":         {client, redis("GET ?"), nil, cache("get", "")},
		"get of another spelling":     {client, at{"db.system.name": "valkey", "db.operation.name": "get", "db.namespace": "3"}, nil, `{"type":"cache","op":"get","store":"valkey/3"}`},
		"mget":                        {client, redis("MGET a b"), nil, cache("get", `,"key":"a"`) + "\n" + cache("get", `,"key":"b"`)},
		"mget without keys":           {client, redis("MGET ? ? ?"), nil, cache("get", `,"count":3`)},
		"set with a lifetime":         {client, redis("SET a v EX 60"), nil, cache("set", `,"key":"a","ttl_ms":60000`)},
		"set of a value with blanks":  {client, redis("SET a some EX 60 px 5"), nil, cache("set", `,"key":"a"`)},
		"set of a value with lines":   {client, redis("SET a x\nGET secret"), nil, cache("set", `,"key":"a"`)},
		"setex":                       {client, redis("SETEX a 60 v"), nil, cache("set", `,"key":"a","ttl_ms":60000`)},
		"psetex without values":       {client, redis("PSETEX ? ? ?"), nil, cache("set", "")},
		"mset":                        {client, redis("MSET a 1 b 2"), nil, cache("set", `,"key":"a"`) + "\n" + cache("set", "")},
		"mset without keys":           {client, redis("MSET ? ? ? ?"), nil, cache("set", `,"count":2`)},
		"del":                         {client, redis("DEL a b"), nil, cache("delete", `,"key":"a"`) + "\n" + cache("delete", `,"key":"b"`)},
		"expire":                      {client, redis("EXPIRE a 60"), nil, cache("expire", `,"key":"a","ttl_ms":60000`)},
		"flush":                       {client, redis("FLUSHDB"), nil, cache("clear", "")},
		"part of a value":             {client, redis("HSET a f v"), nil, cache("set", `,"key":"a"`)},
		"command that reads no value": {client, redis("EXISTS a"), nil, ``},
		"pipeline": {client, at{"db.system": "redis", "db.statement": "DEL ? ?\nGET a\nPING", "db.redis.pipeline_length": 3}, nil,
			cache("delete", `,"count":2`) + "\n" + cache("get", `,"key":"a"`)},
		"cache that failed": {client, redis("GET a"), failed("redis.exceptions.TimeoutError", ""), cache("get", `,"key":"a","error":"redis.exceptions.TimeoutError"`)},
		"memcached":         {client, at{"db.system": "memcached", "db.statement": "set a"}, nil, `{"type":"cache","op":"set","store":"memcached","key":"a"}`},
		"job": {consumer, at{"celery.task_name": "shop.reindex", "messaging.message.id": "7", "messaging.destination.name": "fast"}, nil,
			`{"type":"request","kind":"job","route":"shop.reindex"}` + "\n" +
				`{"type":"task","parent":"0000000000000002","op":"start","id":"7","name":"shop.reindex","queue":"fast"}` + "\n" +
				`{"type":"task","at":15,"parent":"0000000000000002","op":"end","id":"7","name":"shop.reindex","queue":"fast"}`},
		"job that failed": {consumer, at{"messaging.destination": "q"}, failed("ValueError", ""),
			`{"type":"request","kind":"job","route":"q","error":"ValueError"}` + "\n" +
				`{"type":"task","parent":"0000000000000002","op":"start","name":"q","queue":"q"}` + "\n" +
				`{"type":"task","at":15,"parent":"0000000000000002","op":"fail","name":"q","queue":"q","error":"ValueError"}`},
		"fetching messages": {consumer, at{"messaging.operation": "receive", "messaging.destination": "q"}, nil, ``},
		"enqueue":           {producer, at{"celery.task_name": "shop.reindex", "messaging.message.id": "7"}, nil, `{"type":"task","op":"enqueue","id":"7","name":"shop.reindex"}`},
	} {
		got := body(t, Options{Hash: testHash}, c.kind, c.attrs, c.change)
		if out := strings.Join(got, "\n"); out != c.want {
			t.Errorf("%s:\n got  %s\n want %s", name, out, c.want)
		}
	}
}

// TestTraces: "2<1 c" is a span 2 below span 1 of kind c (s server, j job, c client, i internal, r internal with its parent
// in another process); "|" begins another process. The answer names the trace of each query and request.
func TestTraces(t *testing.T) {
	for spans, want := range map[string]string{
		"1 s, 2<1 c":                      "1:1 2:1",
		"2<1 c, 1 s":                      "2:1 1:1", // children come first
		"3<2 c, 2<1 i, 1 s":               "3:1 1:1", // through an internal step
		"2<1 c":                           "2:1",     // the request comes in a later message
		"3<2 c, 2<1 i":                    "3:1",     // as deep as the message goes
		"1 c":                             "1:-",     // belongs to none
		"1 i, 2<1 c, 3<1 c":               "2:1 3:1", // a script
		"1 s, 2<1 c, 3<2 s, 4<3 c":        "1:1 2:1 3:3 4:3",
		"1 s, 2<1 c | 3<2 s, 4<3 c":       "1:1 2:1 3:3 4:3",
		"1 s, 2<1 c | 3<2 i, 4<3 c":       "1:1 2:1 4:3", // another process, without a server span
		"1 s | 5 s | 2<1 c":               "1:1 5:5 2:2",
		"1 s, 2<1 j, 3<2 c":               "1:1 2:2 3:2",
		"2<1 r, 3<2 c":                    "3:2",
		"1<1 c":                           "1:-",
		"1<2 c, 2<1 c":                    "1:- 2:-",
		"1 s, 2<1 c, 2<3 c":               "1:1 2:1 2:3", // one id twice: each keeps its own way up
		"9<8 c, 8<7 i, 7<6 i, 6<5 i, 5 s": "9:5 5:5",
	} {
		traces := ptrace.NewTraces()
		var list ptrace.SpanSlice
		for p, process := range strings.Split(spans, " | ") {
			rs := traces.ResourceSpans().AppendEmpty()
			rs.Resource().Attributes().PutInt("process.pid", int64(p+1))
			list = rs.ScopeSpans().AppendEmpty().Spans()
			for one := range strings.SplitSeq(process, ", ") {
				ids, kind, _ := strings.Cut(one, " ")
				s := list.AppendEmpty()
				s.SetTraceID(traceID(1))
				s.SetStartTimestamp(1)
				id, parent, _ := strings.Cut(ids, "<")
				s.SetSpanID(spanID(uint64(id[0] - '0')))
				if parent != "" {
					s.SetParentSpanID(spanID(uint64(parent[0] - '0')))
				}
				switch kind {
				case "s":
					s.SetKind(ptrace.SpanKindServer)
					s.Attributes().PutStr("http.request.method", "GET")
				case "j":
					s.SetKind(ptrace.SpanKindConsumer)
				case "c":
					s.SetKind(ptrace.SpanKindClient)
					s.Attributes().PutStr("db.system", "sqlite")
					s.Attributes().PutStr("db.statement", "SELECT 1")
				case "i", "r":
					s.SetKind(ptrace.SpanKindInternal)
					if kind == "r" {
						s.SetFlags(flagHasRemote | flagRemote)
					}
				}
			}
		}
		var got []string
		for _, l := range same(t, newTestDecoder(t, Options{}), marshal(t, traces)) {
			if strings.Contains(l, `"type":"task"`) {
				continue
			}
			digit := func(field string) string {
				_, rest, ok := strings.Cut(l, `"`+field+`":"000000000000000`)
				if !ok {
					return "-"
				}
				return rest[:1]
			}
			got = append(got, digit("span")+":"+digit("trace"))
		}
		if out := strings.Join(got, " "); out != want {
			t.Errorf("%s: got %s, want %s", spans, out, want)
		}
	}
}

// What a batch remembers for the next message must not lie in the memory of the last one.
func TestNothingAliasesTheMessage(t *testing.T) {
	d := newTestDecoder(t, Options{Hash: testHash})
	msg := func(key string) []byte {
		traces := oneRequest(true)
		a := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes()
		a.PutStr("url.path", "/articles/"+key)
		a.PutStr("server.address", key)
		traces.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", key)
		s := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().AppendEmpty()
		traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).CopyTo(s)
		s.SetKind(ptrace.SpanKindClient)
		s.Attributes().PutStr("db.system", "redis")
		s.Attributes().PutStr("db.statement", "GET "+key)
		s.Attributes().PutStr("db.namespace", key)
		return marshal(t, traces)
	}
	decode := func(key string) string {
		m := msg(key)
		var sink recorded
		if _, err := d.run(decodeProto, m, &sink); err != nil {
			t.Fatal(err)
		}
		copy(m, bytes.Repeat([]byte("#"), len(m)))
		return strings.Join(sink.lines, "\n")
	}
	first := decode("aaaa")
	decode("bbbb")
	if again := decode("aaaa"); again != first {
		t.Errorf("first\n%s\nthen\n%s", first, again)
	}
}

func TestPlaces(t *testing.T) {
	for stack, want := range map[string]string{
		"":            "",
		"not a trace": "",
		"Traceback (most recent call last):\n  File \"/usr/lib/python3.11/json/a.py\", line 3, in f\nE": "json.a:f:3",
		"  File \"C:\\shop\\app.py\", line 3, in f\n":                                                   "shop.app:f:3",
		"  File \"app.py\", line 3, in <module>\n":                                                      "app:<module>:3",
		"  File \"/app.py\", line 3, in f\n":                                                            "app:f:3",
		"  File \"<string>\", line 1, in g\n":                                                           "<string>:g:1",
		"  | Traceback (most recent call last):\n  |   File \"/srv/app.py\", line 3, in f\n  | E\n":     "srv.app:f:3",
		"  File \"/srv/app.py\", line x, in f\n":                                                        "",
		"  File \"/srv/app.py":                                                                          "",
		strings.Repeat("x\n", maxStack) + "  File \"/srv/app.py\", line 3, in f\n":                      "srv.app:f:3",
	} {
		if got := raisedAt(stack); got != want {
			t.Errorf("%.60q: got %q, want %q", stack, got, want)
		}
	}
}
