// Package otlptest builds the batch of spans that benchmarks and tests of OTLP share.
package otlptest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// Batch returns an ExportTraceServiceRequest in protobuf of n spans as a Python service sends them under OpenTelemetry's
// automatic instrumentation: a request of FastAPI in every ten spans, with two internal spans of its answer, four SQL
// statements and three Redis commands below it. A span takes about 460 bytes. Equal seeds give equal bytes.
func Batch(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 460))
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	res := rs.Resource().Attributes()
	res.PutStr("telemetry.sdk.language", "python")
	res.PutStr("telemetry.sdk.name", "opentelemetry")
	res.PutStr("telemetry.sdk.version", "1.45.1")
	res.PutStr("service.name", "shop")
	res.PutStr("service.version", "2026.11.1")
	res.PutStr("host.name", "web1")
	res.PutInt("process.pid", 4711)
	scopes := map[string]ptrace.SpanSlice{}
	for _, scope := range []string{"fastapi", "sqlalchemy", "redis"} {
		ss := rs.ScopeSpans().AppendEmpty()
		ss.Scope().SetName("opentelemetry.instrumentation." + scope)
		ss.Scope().SetVersion("0.66b1")
		scopes[scope] = ss.Spans()
	}
	at := pcommon.Timestamp(1_790_000_000_000_000_000)
	var trace pcommon.TraceID
	var request pcommon.SpanID
	for i := range n {
		var id pcommon.SpanID
		binary.BigEndian.PutUint64(id[:], r.Uint64())
		if i%10 == 0 {
			binary.BigEndian.PutUint64(trace[:8], r.Uint64())
			binary.BigEndian.PutUint64(trace[8:], r.Uint64())
			request = id
			s := newSpan(scopes["fastapi"], "GET /articles/{slug}", ptrace.SpanKindServer, trace, id, pcommon.SpanID{}, at)
			a := s.Attributes()
			slug := fmt.Sprintf("how-to-train-your-dragon-%06d", r.IntN(1000))
			a.PutStr("http.scheme", "http")
			a.PutStr("http.host", "shop.example:8000")
			a.PutInt("net.host.port", 8000)
			a.PutStr("http.flavor", "1.1")
			a.PutStr("http.target", "/articles/"+slug)
			a.PutStr("http.url", "http://shop.example:8000/articles/"+slug+"?page=2")
			a.PutStr("http.method", "GET")
			a.PutStr("http.server_name", "shop.example:8000")
			a.PutStr("http.user_agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
			a.PutStr("net.peer.ip", "192.0.2.17")
			a.PutInt("net.peer.port", int64(1024+r.IntN(60000)))
			a.PutStr("http.route", "/articles/{slug}")
			a.PutInt("http.status_code", 200)
			continue
		}
		switch i % 10 {
		case 1, 2:
			s := newSpan(scopes["fastapi"], "GET /articles/{slug} http send", ptrace.SpanKindInternal, trace, id, request, at)
			s.Attributes().PutStr("asgi.event.type", "http.response.start")
			s.Attributes().PutInt("http.status_code", 200)
			s.Attributes().PutInt("thread.id", 139_872_316_765_888)
			s.Attributes().PutStr("thread.name", "MainThread")
			s.Attributes().PutStr("deployment.environment", "production")
			s.Attributes().PutStr("code.file.path", "/srv/shop/routes/articles.py")
			s.Attributes().PutStr("k8s.pod.name", "shop-7c9d8b6f5d-x2x7q")
		case 3, 4, 5, 6:
			s := newSpan(scopes["sqlalchemy"], "SELECT shop", ptrace.SpanKindClient, trace, id, request, at)
			a := s.Attributes()
			a.PutStr("db.system", "postgresql")
			a.PutStr("db.name", "shop")
			a.PutStr("db.user", "shop")
			a.PutStr("net.peer.name", "db.shop.example")
			a.PutInt("net.peer.port", 5432)
			a.PutInt("thread.id", 139_872_316_765_888)
			a.PutStr("thread.name", "AnyIO worker thread")
			a.PutStr("db.statement", statements[i%10-3])
		default:
			s := newSpan(scopes["redis"], "GET", ptrace.SpanKindClient, trace, id, request, at)
			a := s.Attributes()
			a.PutStr("db.statement", commands[i%10-7])
			a.PutInt("db.redis.args_length", 2)
			a.PutStr("db.system", "redis")
			a.PutInt("db.redis.database_index", 0)
			a.PutStr("net.peer.name", "cache.shop.example")
			a.PutInt("net.peer.port", 6379)
			a.PutStr("net.transport", "ip_tcp")
			a.PutStr("thread.name", "AnyIO worker thread")
			a.PutInt("thread.id", 139_872_316_765_888)
			a.PutStr("deployment.environment", "production")
			a.PutStr("k8s.pod.name", "shop-7c9d8b6f5d-x2x7q")
			a.PutStr("code.namespace", "shop.cache")
			a.PutStr("code.function", "cached_article")
		}
	}
	msg, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil { // what was just built always marshals
		panic(err)
	}
	return msg
}

var statements = []string{
	"SELECT users.id, users.username, users.email, users.bio, users.image, users.created_at FROM users WHERE users.id = %(id_1)s AND users.deleted_at IS NULL",
	"SELECT articles.id, articles.slug, articles.title, articles.description, articles.body, articles.author_id, articles.created_at, articles.updated_at FROM articles WHERE articles.slug = %(slug_1)s ORDER BY articles.created_at DESC LIMIT 1",
	"SELECT tags.id, tags.name FROM tags JOIN article_tags ON tags.id = article_tags.tag_id WHERE article_tags.article_id = %(param_1)s ORDER BY tags.name",
	"SELECT count(*) AS count_1 FROM favorites WHERE favorites.article_id = %(article_id_1)s AND favorites.created_at > '2026-01-01 00:00:00'",
}

var commands = []string{"GET ?", "SET ? ? ? ?", "EXPIRE ? ?"}

func newSpan(
	to ptrace.SpanSlice, name string, kind ptrace.SpanKind, trace pcommon.TraceID, id, parent pcommon.SpanID, at pcommon.Timestamp,
) ptrace.Span {
	s := to.AppendEmpty()
	s.SetName(name)
	s.SetKind(kind)
	s.SetTraceID(trace)
	s.SetSpanID(id)
	s.SetParentSpanID(parent)
	s.SetFlags(0x101)
	s.SetStartTimestamp(at)
	s.SetEndTimestamp(at + 1_500_000)
	return s
}
