package otlp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/demarc-dev/demarc/event"
)

// testHash stands for the project's keyed hash: FNV-1a, so that the expected value of a test can be worked out.
func testHash(s string) event.Hash {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return event.Hash(h | 1)
}

func marshal(t testing.TB, traces ptrace.Traces) []byte {
	t.Helper()
	msg, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// randomTraces draws a message of attributes that matter and attributes that do not, of every type, in spans of every
// kind whose parents are there, missing, in another process or themselves.
func randomTraces(r *rand.Rand) ptrace.Traces {
	traces := ptrace.NewTraces()
	var ids []uint64
	for range r.IntN(3) {
		rs := traces.ResourceSpans().AppendEmpty()
		for _, key := range []string{"service.name", "service.version", "host.name", "process.pid", "telemetry.sdk.language"} {
			if r.IntN(3) > 0 {
				randomValue(r, rs.Resource().Attributes().PutEmpty(key), 0)
			}
		}
		if r.IntN(4) == 0 {
			rs.Resource().Attributes().PutStr("service.name", "shop")
			rs.Resource().Attributes().PutInt("process.pid", 7)
		}
		for range r.IntN(3) {
			ss := rs.ScopeSpans().AppendEmpty()
			ss.Scope().SetName("scope")
			randomAttrs(r, ss.Scope().Attributes())
			for range r.IntN(6) {
				ids = randomSpan(r, ss.Spans().AppendEmpty(), ids)
			}
		}
	}
	return traces
}

func randomSpan(r *rand.Rand, s ptrace.Span, ids []uint64) []uint64 {
	id := uint64(r.IntN(40))
	ids = append(ids, id)
	s.SetSpanID(spanID(id))
	if r.IntN(20) > 0 {
		s.SetTraceID(traceID(1 + uint64(r.IntN(3))))
	}
	switch r.IntN(4) {
	case 0:
		s.SetParentSpanID(spanID(r.Uint64()))
	case 1, 2:
		s.SetParentSpanID(spanID(ids[r.IntN(len(ids))]))
	}
	s.SetName("span")
	s.SetKind(ptrace.SpanKind(r.IntN(7)))
	s.SetFlags([]uint32{0, 1, 0x101, 0x301}[r.IntN(4)])
	if r.IntN(20) > 0 {
		s.SetStartTimestamp(1_790_000_000_000_000_000)
	}
	s.SetEndTimestamp(pcommon.Timestamp(1_790_000_000_000_000_000 + r.IntN(1000) - 10))
	s.Status().SetCode(ptrace.StatusCode(r.IntN(4)))
	s.Status().SetMessage("message")
	s.TraceState().FromRaw("a=b")
	randomAttrs(r, s.Attributes())
	for range r.IntN(3) {
		e := s.Events().AppendEmpty()
		e.SetName([]string{"exception", "log"}[r.IntN(2)])
		e.SetTimestamp(5)
		e.Attributes().PutStr("exception.type", "app.Broken")
		e.Attributes().PutStr("exception.stacktrace", "Traceback (most recent call last):\n  File \"/srv/app.py\", line 3, in f\n")
		randomAttrs(r, e.Attributes())
	}
	for range r.IntN(2) {
		l := s.Links().AppendEmpty()
		l.SetTraceID(traceID(9))
		l.SetSpanID(spanID(9))
		randomAttrs(r, l.Attributes())
	}
	return ids
}

func spanID(n uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

func traceID(n uint64) (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

var randomKeys = []string{
	"http.request.method", "http.method", "http.route", "http.response.status_code", "http.status_code", "http.target",
	"http.url", "url.path", "url.query", "server.address", "http.server_name", "user_agent.original", "user.id",
	"http.request.header.accept-language", "http.request.header.x_tenant", "http.response.header.cache-control",
	"http.response.header.set-cookie", "http.response.body.size", "error.type", "db.system", "db.system.name",
	"db.statement", "db.query.text", "db.operation", "db.redis.database_index", "db.redis.pipeline_length",
	"db.response.returned_rows", "db.operation.batch.size", "code.function", "code.namespace", "code.lineno",
	"messaging.destination.name", "messaging.message.id", "celery.task_name", "messaging.operation", "thread.id", "",
}

var randomTexts = []string{
	"", "GET", "get", "/articles/{slug}", "/articles/first?token=abc&page=2", "200", "-5", "redis", "postgresql", "sqlite",
	"memcached", "SELECT title FROM articles WHERE slug = 'x' AND id = 5", "COMMIT", "BEGIN;", "GET article:7", "GET ?",
	"SET ? ? ? ?", "SET article:7 x EX 60", "DEL a b c", "MGET ? ? ?", "MSET a 1 b 2", "DEL ? ?\nEXPIRE ? ?",
	"SETEX k 60 v", "FLUSHDB", "https://shop.example/articles?page=1#top", "ann@shop.example", "receive", "caf\xe9", "shop.tasks.reindex",
}

func randomAttrs(r *rand.Rand, m pcommon.Map) {
	m.EnsureCapacity(8)
	for range r.IntN(14) {
		randomValue(r, m.PutEmpty(randomKeys[r.IntN(len(randomKeys))]), 0)
	}
}

func randomValue(r *rand.Rand, v pcommon.Value, depth int) {
	switch n := r.IntN(12); {
	case n < 6:
		v.SetStr(randomTexts[r.IntN(len(randomTexts))])
	case n < 8:
		v.SetInt(int64(r.IntN(600)) - 5)
	case n == 8:
		v.SetBool(r.IntN(2) == 0)
	case n == 9:
		v.SetDouble(1.5)
	case depth > 3:
	case n == 10:
		list := v.SetEmptySlice()
		for range r.IntN(20) {
			randomValue(r, list.AppendEmpty(), depth+1)
		}
	default:
		m := v.SetEmptyMap()
		for i := range r.IntN(3) {
			randomValue(r, m.PutEmpty(fmt.Sprint(i)), depth+1)
		}
	}
}
