package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	gzip_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/demarc-dev/demarc/event"
)

// keeper is a sink for several goroutines that can be told to refuse.
type keeper struct {
	mu sync.Mutex
	recorded
}

func (k *keeper) Events(events []event.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	return k.recorded.Events(events)
}

func (k *keeper) refuse(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *keeper) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.lines...)
}

// serve starts a server on free ports and returns its addresses.
func serve(t *testing.T, o Options, sink Sink) (s *Server, grpcAddr, httpAddr string) {
	t.Helper()
	s, err := NewServer(o, sink)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	listen := func(run func(net.Listener) error) string {
		l, err := Listen("127.0.0.1:0", o.Token)
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			if err := run(l); err != nil {
				t.Error(err)
			}
		})
		return l.Addr().String()
	}
	grpcAddr, httpAddr = listen(s.ServeGRPC), listen(s.ServeWeb)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		done.Wait()
	})
	return s, grpcAddr, httpAddr
}

func dial(t *testing.T, addr string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// oneRequest is a message of one request; with identity false, of a span that has none.
func oneRequest(identity bool) ptrace.Traces {
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "shop")
	s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	if identity {
		s.SetTraceID(traceID(1))
		s.SetSpanID(spanID(2))
	}
	s.SetKind(ptrace.SpanKindServer)
	s.SetStartTimestamp(1_790_000_000_000_000_000)
	s.SetEndTimestamp(1_790_000_000_000_000_500)
	s.Attributes().PutStr("http.request.method", "GET")
	return traces
}

const oneRequestEvent = `{"type":"request","at":1790000000000000000,"dur":500,"trace":"0000000000000002","span":"0000000000000002","service":"shop","kind":"http","method":"GET"}`

func TestGRPC(t *testing.T) {
	var sink keeper
	s, addr, _ := serve(t, Options{}, &sink)
	client := ptraceotlp.NewGRPCClient(dial(t, addr))
	ctx := t.Context()

	for _, o := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip_.Name)}} {
		answer, err := client.Export(ctx, ptraceotlp.NewExportRequestFromTraces(oneRequest(true)), o...)
		if err != nil || answer.PartialSuccess().RejectedSpans() != 0 {
			t.Fatalf("%v, %d spans refused", err, answer.PartialSuccess().RejectedSpans())
		}
	}
	if got := sink.all(); len(got) != 2 || got[0] != oneRequestEvent || got[1] != oneRequestEvent {
		t.Errorf("got %v", got)
	}
	answer, err := client.Export(ctx, ptraceotlp.NewExportRequestFromTraces(oneRequest(false)))
	if err != nil || answer.PartialSuccess().RejectedSpans() != 1 || !strings.Contains(answer.PartialSuccess().ErrorMessage(), "1 of 1 spans") {
		t.Errorf("a span without identity: %v, %q", err, answer.PartialSuccess().ErrorMessage())
	}

	sink.refuse(errors.New("disk full"))
	_, err = client.Export(ctx, ptraceotlp.NewExportRequestFromTraces(oneRequest(true)))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a sink that refuses: %v", err)
	}
	sink.refuse(nil)

	raw := dial(t, addr, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawClient{})))
	send := func(msg []byte) error {
		var answer []byte
		return raw.Invoke(ctx, "/"+traceServiceName+"/Export", msg, &answer)
	}
	err = send([]byte{1<<3 | wireLen, 9, 1})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "byte 2: cut short") {
		t.Errorf("a message that is cut: %v", err)
	}
	if err = send(make([]byte, MaxMessage+1)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message that is too long: %v", err)
	}
	_, err = plogotlp.NewGRPCClient(dial(t, addr)).Export(ctx, plogotlp.NewExportRequest())
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "OTEL_LOGS_EXPORTER=none") {
		t.Errorf("logs: %v", err)
	}
	want := Stats{Counts: Counts{Spans: 3, Events: 2, Refused: 1}, Messages: 3, Bad: 1, Later: 1}
	if got := s.Stats(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestGRPCToken(t *testing.T) {
	var sink keeper
	_, addr, httpAddr := serve(t, Options{Token: "s3cret"}, &sink)
	client := ptraceotlp.NewGRPCClient(dial(t, addr))
	for header, want := range map[string]codes.Code{"": codes.Unauthenticated, "Bearer s3cre": codes.Unauthenticated, "Bearer s3cret": codes.OK} {
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", header))
		_, err := client.Export(ctx, ptraceotlp.NewExportRequestFromTraces(oneRequest(true)))
		if status.Code(err) != want {
			t.Errorf("authorization %q: %v", header, err)
		}
		code, _, _ := post(t, httpAddr, marshal(t, oneRequest(true)), "application/x-protobuf", "", header)
		if (code == http.StatusOK) != (want == codes.OK) || code != http.StatusOK && code != http.StatusUnauthorized {
			t.Errorf("HTTP, authorization %q: %d", header, code)
		}
	}
	if n := len(sink.all()); n != 2 {
		t.Errorf("%d events, want those of the two right tokens", n)
	}
}

// rawClient sends and receives bytes.
type rawClient struct{ rawCodec }

func (rawClient) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func post(t *testing.T, addr string, body []byte, kind, encoding, authorization string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"Content-Type": kind, "Content-Encoding": encoding, "Authorization": authorization} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func asJSON(t *testing.T, traces ptrace.Traces) []byte {
	t.Helper()
	out, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestHTTP(t *testing.T) {
	const proto, js = "application/x-protobuf", "application/json"
	good, goodJSON := marshal(t, oneRequest(true)), asJSON(t, oneRequest(true))
	for name, c := range map[string]struct {
		body           []byte
		kind, encoding string
		sink           error
		code           int
		answer         string // part of the answer
		events         int
	}{
		"protobuf":             {good, proto, "", nil, 200, "", 1},
		"protobuf with gzip":   {zipped(t, good), proto, "gzip", nil, 200, "", 1},
		"JSON":                 {goodJSON, js + "; charset=utf-8", "", nil, 200, "{}", 1},
		"JSON with gzip":       {zipped(t, goodJSON), js, "gzip", nil, 200, "{}", 1},
		"empty message":        {nil, proto, "", nil, 200, "", 0},
		"no identity":          {marshal(t, oneRequest(false)), proto, "", nil, 200, "1 of 1 spans", 0},
		"no identity, JSON":    {asJSON(t, oneRequest(false)), js, "", nil, 200, `"rejectedSpans":"1"`, 0},
		"cut":                  {good[:len(good)-1], proto, "", nil, 400, "byte 2: cut short", 0},
		"not JSON":             {[]byte(`{"resourceSpans":[}`), js, "", nil, 400, "byte 19: not JSON", 0},
		"JSON of another kind": {[]byte(`[1]`), js, "", nil, 400, "not a JSON object", 0},
		"JSON nested deeply":   {[]byte(strings.Repeat(`{"a":`, 5000)), js, "", nil, 400, "nested deeper", 0},
		"not gzip":             {good, proto, "gzip", nil, 400, "not gzip", 0},
		"gzip that is cut":     {zipped(t, good)[:20], proto, "gzip", nil, 400, "cannot read the message", 0},
		"another encoding":     {good, proto, "zstd", nil, 415, "gzip or none", 0},
		"another kind":         {good, "text/plain", "", nil, 415, "Content-Type must be", 0},
		"too long":             {make([]byte, MaxMessage+1), proto, "", nil, 413, "longer than 8388608", 0},
		"a bomb":               {zipped(t, make([]byte, MaxMessage+1)), proto, "gzip", nil, 413, "longer than 8388608", 0},
		"a sink that refuses":  {good, proto, "", errors.New("disk full"), 503, "disk full", 0},
	} {
		t.Run(name, func(t *testing.T) {
			sink := keeper{}
			sink.err = c.sink
			_, _, addr := serve(t, Options{}, &sink)
			code, header, answer := post(t, addr, c.body, c.kind, c.encoding, "")
			if code != c.code || !strings.Contains(answer, c.answer) || len(sink.all()) != c.events {
				t.Errorf("got %d %q and %d events, want %d %q and %d", code, answer, len(sink.all()), c.code, c.answer, c.events)
			}
			if (header.Get("Retry-After") != "") != (code == 503) {
				t.Errorf("Retry-After is %q at %d", header.Get("Retry-After"), code)
			}
			if c.events == 1 && sink.all()[0] != oneRequestEvent {
				t.Errorf("got %s", sink.all()[0])
			}
		})
	}
}

func TestListen(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:0": "a token is needed", ":0": "a token is needed", "nonsense": "host:port was expected", "127.0.0.1:0": "", "localhost:0": "", "[::1]:0": "",
	} {
		l, err := Listen(addr, "")
		if l != nil {
			_ = l.Close()
		}
		if got := fmt.Sprint(err); want != "" && !strings.Contains(got, want) || want == "" && strings.Contains(got, "token") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	l, err := Listen("0.0.0.0:0", "token")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestHashedNeedsHash(t *testing.T) {
	if _, err := NewServer(Options{Hashed: true}, discard{}); err == nil {
		t.Error("keys would be kept in clear")
	}
}

func TestDecodeFile(t *testing.T) {
	msg, js := marshal(t, oneRequest(true)), string(asJSON(t, oneRequest(true)))
	framed := string([]byte{0, 0, 0, byte(len(msg))}) + string(msg)
	for name, c := range map[string]struct {
		format Format
		file   string
		events int
		err    string
	}{
		"one message":              {Protobuf, string(msg), 1, ""},
		"messages behind lengths":  {Protobuf, framed + framed + framed, 3, ""},
		"nothing":                  {Protobuf, "", 0, ""},
		"nothing, JSON":            {JSON, "\n", 0, ""},
		"lines of JSON":            {JSON, js + "\n" + js + "\n", 2, ""},
		"JSON over several lines":  {JSON, strings.ReplaceAll(js, ",", ",\n  "), 1, ""},
		"cut after the first":      {Protobuf, framed + framed[:9], 1, "message 2: cut short: 5 of "},
		"cut inside a length":      {Protobuf, framed + "\x00", 1, "message 2: cut short: the file ends inside a length"},
		"cut JSON":                 {JSON, js + "\n" + js[:40], 1, "message 2: cut short"},
		"bad JSON":                 {JSON, js + "\n{]", 1, "message 2: byte "},
		"damaged":                  {Protobuf, "\x0b" + string(msg[1:]), 0, "message 1: a length of"},
		"a list instead of object": {JSON, "[]", 0, "message 1: byte 0: not a JSON object"},
		"another format":           {"yaml", "", 0, `format "yaml"`},
	} {
		var sink recorded
		counts, err := DecodeFile(strings.NewReader(c.file), c.format, Options{}, &sink)
		if len(sink.lines) != c.events || counts.Events != int64(c.events) {
			t.Errorf("%s: %d events, counted %d, want %d", name, len(sink.lines), counts.Events, c.events)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got error %v, want %q", name, err, c.err)
		}
	}
	endless := io.MultiReader(strings.NewReader(`{"a":"`), endlessText{})
	if _, err := DecodeFile(endless, JSON, Options{}, discard{}); !errors.Is(err, errTooLong) {
		t.Errorf("an endless text: %v", err)
	}
	if _, err := DecodeFile(io.MultiReader(bytes.NewReader(msg), endlessText{}), Protobuf, Options{}, discard{}); !errors.Is(err, errTooLong) {
		t.Errorf("an endless message: %v", err)
	}
}

type endlessText struct{}

func (endlessText) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
