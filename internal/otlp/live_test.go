package otlp

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/demarc-dev/demarc/event"
)

var update = flag.Bool("update", false, "write testdata/*.jsonl anew")

// record, where set, is a directory into which the live test writes what the service sent: run
// DEMARC_OTLP_RECORD=testdata go test -run Live, then go test -run Golden -update.
var record = os.Getenv("DEMARC_OTLP_RECORD")

// TestGolden reads batches that OpenTelemetry's Python instrumentation sent (version 1.45.1, 0.66b1) and compares their
// events, line by line.
func TestGolden(t *testing.T) {
	for _, name := range []string{"old", "new"} {
		for _, o := range []struct {
			name string
			opts Options
		}{{name, Options{Hash: testHash}}, {name + "-hashed", Options{Hash: testHash, Hashed: true}}} {
			f, err := os.Open(filepath.Join("testdata", name+".pb"))
			if err != nil {
				t.Fatal(err)
			}
			var sink recorded
			_, err = DecodeFile(f, Protobuf, o.opts, &sink)
			_ = f.Close()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", o.name+".jsonl")
			got := strings.Join(sink.lines, "\n") + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs; got\n%s", golden, got)
			}
		}
	}
}

// TestLive runs a service under OpenTelemetry's own instrumentation against our server.
func TestLive(t *testing.T) {
	python := os.Getenv("DEMARC_TEST_OTEL_PYTHON")
	if python == "" {
		t.Fatal("DEMARC_TEST_OTEL_PYTHON must name the python of an environment with python/requirements/otel.txt")
	}
	redis := os.Getenv("DEMARC_TEST_REDIS")
	if redis == "" {
		t.Fatal("DEMARC_TEST_REDIS must be the URL of a Redis server; scripts/with-servers starts one")
	}
	for _, c := range []struct {
		name, semconv, protocol, compression string
	}{
		{"old", "", "grpc", "gzip"},
		{"new", "http,database", "http/protobuf", "none"},
		{"both", "http/dup,database/dup", "http/protobuf", "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sink keeper
			s, grpcAddr, httpAddr := serve(t, Options{Hash: testHash}, &sink)
			endpoint := "http://" + grpcAddr
			var tee tee
			switch {
			case record != "":
				tee.to = s.Handler()
				server := httptest.NewServer(&tee)
				defer server.Close()
				endpoint, c.protocol, c.compression = server.URL, "http/protobuf", "none"
			case c.protocol != "grpc":
				endpoint = "http://" + httpAddr
			}
			runShop(t, python, []string{
				"SHOP_REDIS=" + redis,
				"OTEL_SEMCONV_STABILITY_OPT_IN=" + c.semconv,
				"OTEL_EXPORTER_OTLP_PROTOCOL=" + c.protocol,
				"OTEL_EXPORTER_OTLP_COMPRESSION=" + c.compression,
				"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint,
			})
			if record != "" && c.name != "both" {
				if err := os.WriteFile(filepath.Join(record, c.name+".pb"), neutral(t, tee.messages), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			checkShop(t, sink.all())
			if got := s.Stats(); got.Bad != 0 || got.Refused != 0 || got.Later != 0 {
				t.Errorf("the server refused: %+v", got)
			}
		})
	}
}

// runShop starts the service, asks it a few things and stops it; its spans have been sent when it has ended.
func runShop(t *testing.T, python string, env []string) {
	t.Helper()
	port := freePort(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bin := filepath.Dir(python)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "opentelemetry-instrument"), python, "-m", "uvicorn", "shop:app", "--port", port)
	cmd.Dir = filepath.Join("testdata", "service")
	cmd.Env = append(append(os.Environ(), env...),
		"SHOP_DB="+filepath.Join(t.TempDir(), "shop.db"), "PYTHONDONTWRITEBYTECODE=1", "OTEL_SERVICE_NAME=shop",
		"OTEL_RESOURCE_ATTRIBUTES=service.version=1.2,host.name=web1,process.pid=7", "OTEL_BSP_SCHEDULE_DELAY=300",
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none",
		"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST=accept-language",
		"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE=content-type",
	)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	base := "http://127.0.0.1:" + port
	for {
		if answer, err := http.Get(base + "/health"); err == nil {
			_ = answer.Body.Close()
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the service ended: %v\n%s", err, &out)
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, ask := range []string{
		"PUT /articles/first?title=Start", "GET /articles/first", "GET /articles/first?utm_source=x&token=abcdef", "GET /articles/none",
		"PUT /articles/first?title=New", "GET /broken",
	} {
		method, target, _ := strings.Cut(ask, " ")
		r, err := http.NewRequestWithContext(ctx, method, base+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Language", "de")
		r.Header.Set("User-Agent", "shop-test")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%s: %v\n%s", ask, err, &out)
		}
		_ = answer.Body.Close()
	}
	// On SIGTERM uvicorn ends without Python's exit handlers, and what was not sent yet would be lost.
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Logf("the service ended: %v", err) // of the signal
	}
	if strings.Contains(out.String(), "Failed to export") {
		t.Errorf("the service could not send:\n%s", &out)
	}
}

// freePort is a port that nobody else is given for a minute: where a connection has just ended, the system hands out none, but a
// server may listen.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Close() // the side that ends it first keeps the port
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// checkShop looks for what the service did in the events.
func checkShop(t *testing.T, lines []string) {
	t.Helper()
	all := strings.Join(lines, "\n")
	for _, never := range []string{"secret-literal", "customer", "abcdef", "First"} {
		if strings.Contains(all, never) {
			t.Errorf("%q was kept in\n%s", never, all)
		}
	}
	routes := map[string]string{} // trace to request
	var events []event.Event
	for _, line := range lines {
		e, err := event.ParseJSON([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
		if e.Type == event.TypeRequest {
			routes[e.Trace] = strings.TrimSpace(e.Request.Method + " " + e.Request.Route)
		}
	}
	got := map[string]int{}
	for _, e := range events {
		if e.Source == nil || *e.Source != (event.Source{Service: "shop", Version: "1.2", Host: "web1", Pid: 7}) {
			t.Errorf("source %+v", e.Source)
		}
		where := routes[e.Trace]
		switch e.Type {
		case event.TypeRequest:
			r := e.Request
			code := regexp.MustCompile(`:\d+$`).ReplaceAllString(r.Error, ":N")
			got[strings.Join(strings.Fields(fmt.Sprint(r.Kind, " ", where, " ", r.Target, " ", r.Status, " ", code)), " ")]++
			if r.Kind == "http" && where != "GET /health" && (len(r.Vary) != 3 || r.Vary[0].Name != "accept-language" ||
				r.Vary[0].Hash != testHash("de") || r.Vary[1].Name != "host" || r.Vary[2].Hash != testHash("shop-test")) {
				t.Errorf("vary %+v", r.Vary)
			}
			if r.Kind == "http" && len(r.Headers) != 1 || r.Principal != "" {
				t.Errorf("headers %+v, principal %q", r.Headers, r.Principal)
			}
		case event.TypeQuery:
			got[where+": "+e.Query.DB+" "+e.Query.Text]++
		case event.TypeCache:
			c := e.Cache
			got[fmt.Sprintf("%s: %s %s x%d", where, c.Op, c.Layer, c.Count.Or(1))]++
		case event.TypeTask:
			got[where+": task "+e.Task.Op+" "+e.Task.Name]++
		}
	}
	want := map[string]int{
		"http GET /health /health 200":                                           0, // as often as it took to start
		"http GET /articles/{slug} /articles/first 200":                          1,
		"http GET /articles/{slug} /articles/first?utm_source=x&token=~HASH 200": 1,
		"http GET /articles/{slug} /articles/none 404":                           1,
		"http PUT /articles/{slug} /articles/first?title=Start 200":              1,
		"http PUT /articles/{slug} /articles/first?title=New 200":                1,
		"http GET /broken /broken 500 ValueError at service.shop:broken:N":       1,
		"job shop.reindex 0": 2,
		"GET /articles/{slug}: sqlite SELECT title FROM articles WHERE slug = ?":                    2,
		"PUT /articles/{slug}: sqlite UPDATE articles SET title = ? WHERE slug = ? AND slug <> '?'": 2,
		"GET /articles/{slug}: get shared x1":                                                       3,
		"GET /articles/{slug}: set shared x1":                                                       1,
		"PUT /articles/{slug}: delete shared x2":                                                    2,
		"PUT /articles/{slug}: expire shared x1":                                                    2,
		"shop.reindex: task start shop.reindex":                                                     2,
		"shop.reindex: task end shop.reindex":                                                       2,
	}
	hash := "~" + testHash("abcdef").String()
	for line, n := range want {
		line = strings.ReplaceAll(line, "~HASH", hash)
		if n == 0 && got[line] > 0 {
			continue
		}
		if got[line] != n {
			t.Errorf("%d times %q, want %d", got[line], line, n)
		}
	}
	if t.Failed() {
		t.Logf("got %+v", got)
	}
}

// tee keeps the bodies of requests on their way to a handler.
type tee struct {
	to       http.Handler
	mu       sync.Mutex
	messages [][]byte
}

func (h *tee) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	h.messages = append(h.messages, body)
	h.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	h.to.ServeHTTP(w, r)
}

var path = regexp.MustCompile(`File "[^"]*?(/site-packages/[^"]*|/service/shop\.py)"`)

// neutral returns messages as one file, without names and paths of the machine they were recorded on.
func neutral(t *testing.T, messages [][]byte) []byte {
	t.Helper()
	var out []byte
	for _, msg := range messages {
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalProto(msg); err != nil {
			t.Fatal(err)
		}
		clean := func(m pcommon.Map) {
			for key, v := range m.All() {
				switch key {
				case "celery.hostname":
					v.SetStr("web1")
				case "exception.stacktrace":
					v.SetStr(path.ReplaceAllString(v.Str(), `File "/srv/shop$1"`))
				}
			}
		}
		for _, rs := range req.Traces().ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					clean(s.Attributes())
					for _, e := range s.Events().All() {
						clean(e.Attributes())
					}
				}
			}
		}
		encoded, err := req.MarshalProto()
		if err != nil {
			t.Fatal(err)
		}
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(encoded))), encoded...)
	}
	return out
}
