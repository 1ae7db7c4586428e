package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
)

const testAt = int64(1_790_000_000_000_000_000)

func newEngine(t testing.TB, folds ...Fold) *Engine {
	t.Helper()
	w, err := capture.Create(filepath.Join(t.TempDir(), "c"), capture.Options{Service: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{Capture: w, Baseline: baseline.New(baseline.Options{}), Folds: folds})
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func request(n int) event.Event {
	return event.Event{
		Type: event.TypeRequest, At: testAt + int64(n), Dur: event.Some(int64(12_340_000)), Trace: fmt.Sprint("t", n),
		Request: &event.Request{Kind: "http", Method: "GET", Route: "/a/{slug}", Status: 200},
	}
}

func TestEventsReachCaptureAndReport(t *testing.T) {
	e := newEngine(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				if err := e.Events([]event.Event{request(100*g + i), request(100*g + i + 50)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := e.Mark("deploy", "1.2"); err != nil {
		t.Fatal(err)
	}
	rep := e.Report()
	if rep.Totals.Requests != 400 || len(rep.Marks) != 1 || rep.Marks[0].Name != "deploy" {
		t.Errorf("report: %d requests, marks %v", rep.Totals.Requests, rep.Marks)
	}
	if h := e.Health(); !h.OK || h.Received != 401 || h.Dropped != 0 {
		t.Errorf("health %+v", h)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Events([]event.Event{request(1)}); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if h := e.Health(); h.Dropped != 1 || h.DroppedBy.Collector != 1 {
		t.Errorf("health %+v", h)
	}
	r, err := capture.Open(e.opt.Capture.Dir())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for batch, err := range r.Batches() {
		if err != nil {
			t.Fatal(err)
		}
		n += len(batch)
	}
	if n != 401 {
		t.Errorf("%d events in the capture, want 401", n)
	}
}

// stuck is a fold that does not come back, as a disk that hangs would not.
type stuck struct{ release chan struct{} }

func (s stuck) Add(*event.Event) { <-s.release }
func (s stuck) Flush()           {}

func TestSlowEndDropsAndCounts(t *testing.T) {
	s := stuck{make(chan struct{})}
	e := newEngine(t, s)
	var wg sync.WaitGroup
	for i := range maxWaiting {
		wg.Go(func() { _ = e.Events([]event.Event{request(i)}) })
	}
	for len(e.gate) < maxWaiting {
		time.Sleep(time.Millisecond)
	}
	if err := e.Events([]event.Event{request(1), request(2)}); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if h := e.Health(); h.DroppedBy.Collector != 2 {
		t.Errorf("health %+v", h)
	}
	close(s.release)
	wg.Wait()
}

func serve(t *testing.T, address string) (*Server, *Engine) {
	t.Helper()
	e := newEngine(t)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, e, "sesame-sesame-sesame")
	t.Cleanup(s.Close)
	return s, e
}

// ask sends a request and returns status, headers and body.
func ask(t *testing.T, method, url, host, token, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

func TestPages(t *testing.T) {
	s, e := serve(t, "127.0.0.1:0")
	if err := e.Events([]event.Event{request(1), request(2)}); err != nil {
		t.Fatal(err)
	}
	for path, wants := range map[string][]string{
		"/health":  {`"ok":true`, `"received":2`, `"dropped":0`, `"schema":"demarc.health/1"`},
		"/report":  {`"schema":"demarc.report/1"`, `"route":"GET /a/{slug}"`},
		"/metrics": {`demarc_events_received_total 2`, `demarc_requests_total{route="GET /a/{slug}"} 2`, `le="+Inf"} 2`},
		"/":        {"/metrics"},
	} {
		status, head, body := ask(t, "GET", s.URL+path, "", "", "")
		if status != 200 {
			t.Errorf("%s: status %d", path, status)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s is missing in\n%s", path, want, body)
			}
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		} {
			if head.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, head.Get(name))
			}
		}
		if !strings.Contains(head.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: policy %q", path, head.Get("Content-Security-Policy"))
		}
	}
	if status, _, _ := ask(t, "POST", s.URL+"/health", "", "", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("POST /health: %d", status)
	}
}

// The text of /metrics keeps to the rules of its format: every series after its TYPE, buckets that never fall, and a last one
// that equals the count.
func TestMetricsForm(t *testing.T) {
	s, e := serve(t, "127.0.0.1:0")
	odd := request(1)
	odd.Request.Route = "/\"quo\\te\"\n"
	if err := e.Events([]event.Event{request(2), odd}); err != nil {
		t.Fatal(err)
	}
	_, _, body := ask(t, "GET", s.URL+"/metrics", "", "", "")
	typed := map[string]bool{}
	buckets := map[string]int{}
	for line := range strings.Lines(strings.TrimSpace(body)) {
		line = strings.TrimSpace(line)
		if f := strings.Fields(line); strings.HasPrefix(line, "# TYPE ") {
			typed[f[2]] = true
			continue
		} else if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		name, _, _ := strings.Cut(line[:at], "{")
		family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if !typed[name] && !typed[family] {
			t.Errorf("no TYPE before %q", line)
		}
		if strings.HasSuffix(name, "_bucket") {
			series := line[:strings.Index(line, ",le=")]
			var n int
			if _, err := fmt.Sscan(line[at+1:], &n); err != nil || n < buckets[series] {
				t.Errorf("bucket falls: %q (%v)", line, err)
			}
			buckets[series] = n
		}
	}
	if len(buckets) != 2 || !strings.Contains(body, `route="GET /\"quo\\te\"\n"`) {
		t.Errorf("series %v in\n%s", buckets, body)
	}
}

func TestForeignNamesAreTurnedAway(t *testing.T) {
	s, _ := serve(t, "127.0.0.1:0")
	for host, want := range map[string]int{
		"evil.example": 403, "evil.example:80": 403, "127.0.0.1.evil.example": 403, "10.0.0.1": 403,
		"localhost": 200, "localhost:7171": 200, "[::1]:7171": 200, "127.0.0.1": 200,
	} {
		if status, _, body := ask(t, "GET", s.URL+"/health", host, "", ""); status != want {
			t.Errorf("Host %s: %d %s", host, status, body)
		}
	}
}

func TestOutsideWantsTheToken(t *testing.T) {
	s, _ := serve(t, "0.0.0.0:0")
	for _, tc := range []struct {
		path, token string
		want        int
	}{
		{"/health", "", 200}, {"/report", "", 401}, {"/metrics", "", 401}, {"/report", "sesame", 401},
		{"/report", "sesame-sesame-sesame", 200}, {"/metrics", "sesame-sesame-sesame", 200},
	} {
		if status, _, _ := ask(t, "GET", s.URL+tc.path, "shop.example", tc.token, ""); status != tc.want {
			t.Errorf("%s with token %q: %d, want %d", tc.path, tc.token, status, tc.want)
		}
	}
}

func TestControl(t *testing.T) {
	s, e := serve(t, "127.0.0.1:0")
	token := "sesame-sesame-sesame"
	for _, tc := range []struct {
		path, token, body string
		want              int
	}{
		{"/control/mark", "", `{"name":"a"}`, 401},
		{"/control/mark", "wrong", `{"name":"a"}`, 401},
		{"/control/mark", token, `{"name":"a","text":"b"}`, 200},
		{"/control/mark", token, `{"name":""}`, 400},
		{"/control/mark", token, `{"name":"` + strings.Repeat("x", maxMarkName+1) + `"}`, 400},
		{"/control/mark", token, `{"name":"a","text":"` + strings.Repeat("x", maxBody) + `"}`, 400},
		{"/control/mark", token, `name=a`, 400},
		{"/control/recording", token, `{"on":false}`, 200},
		{"/control/recording", token, `{}`, 400},
		{"/control/recording", "", `{"on":false}`, 401},
	} {
		if status, _, body := ask(t, "POST", s.URL+tc.path, "", tc.token, tc.body); status != tc.want {
			t.Errorf("%s %.40s: %d, want %d: %s", tc.path, tc.body, status, tc.want, body)
		}
	}
	if rep := e.Report(); len(rep.Marks) != 1 {
		t.Errorf("marks %v", rep.Marks)
	}
}

func TestRunFile(t *testing.T) {
	s, e := serve(t, "127.0.0.1:0")
	dir := t.TempDir()
	if _, err := FindRun(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("an empty folder: %v", err)
	}
	path, err := WriteRunFile(dir, RunFile{URL: s.URL, Token: "sesame-sesame-sesame", Started: "2026-11-21T10:00:00Z"})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || filepath.Base(path) != "run.json" {
		t.Errorf("%s: %v %v", path, info, err)
	}
	r, err := FindRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := r.Mark("deploy", ""); err != nil || !d.OK || d.At == "" {
		t.Errorf("mark: %+v %v", d, err)
	}
	if _, err := r.Record(false); err != nil {
		t.Error(err)
	}
	r.Token = "another"
	if _, err := r.Mark("deploy", ""); err == nil || !strings.Contains(err.Error(), "wrong token") {
		t.Errorf("a wrong token: %v", err)
	}
	if len(e.Report().Marks) != 1 {
		t.Errorf("marks %v", e.Report().Marks)
	}
}

func TestRunFileOfTheDead(t *testing.T) {
	dir := t.TempDir()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	stale := func(name string, pid int) {
		data, err := json.Marshal(RunFile{Schema: RunSchema, Pid: pid})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stale("run.json", dead.Process.Pid)
	if _, err := FindRun(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stale file: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "run.json")); err == nil {
		t.Error("the stale file is still there")
	}
	// The first of two that live keeps run.json.
	stale("run.json", os.Getppid())
	path, err := WriteRunFile(dir, RunFile{})
	if err != nil || filepath.Base(path) != fmt.Sprintf("run-%d.json", os.Getpid()) {
		t.Errorf("%s, %v", path, err)
	}
	if r, err := FindRun(dir); err != nil || r.Pid != os.Getppid() {
		t.Errorf("found %+v, %v", r, err)
	}
	if err := os.Remove(filepath.Join(dir, "run.json")); err != nil {
		t.Fatal(err)
	}
	if r, err := FindRun(dir); err != nil || r.Pid != os.Getpid() {
		t.Errorf("found %+v, %v", r, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(`{"schema":"demarc.run/9"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FindRun(dir); err == nil || !strings.Contains(err.Error(), "no run file of this version") {
		t.Errorf("a file of another version: %v", err)
	}
}

func TestLogLines(t *testing.T) {
	var out strings.Builder
	l := NewLogLines(&out)
	add := func(e event.Event) { l.Add(&e) }
	query := func(trace string) event.Event {
		return event.Event{Type: event.TypeQuery, At: testAt, Trace: trace, Query: &event.Query{}}
	}
	get := func(trace string, hit bool) event.Event {
		return event.Event{Type: event.TypeCache, At: testAt, Trace: trace, Cache: &event.Cache{Op: "get", Hit: event.Some(hit)}}
	}
	add(query("t1"))
	add(query("t1"))
	add(get("t1", true))
	add(request(1))
	add(get("t2", true))
	add(get("t2", false))
	add(query("other"))
	add(request(2))
	odd := request(3)
	odd.Request.Route, odd.Request.Target, odd.Dur = "", `/a b?q="x"`, event.Opt[int64]{}
	odd.Request.Status, odd.Request.Error = 500, "ValueError at shop:f:1"
	odd.Request.Headers = []event.Pair{{Name: "x-cache", Value: "Hit from edge"}}
	add(odd)
	job := request(4)
	job.Request = &event.Request{Kind: "job", Route: "mail"}
	add(job)
	l.Flush()
	want := `time=2026-09-21T14:13:20.000Z method=GET route=/a/{slug} status=200 ms=12.3 cache=hit hits=1 misses=0 queries=2
time=2026-09-21T14:13:20.000Z method=GET route=/a/{slug} status=200 ms=12.3 cache=miss hits=1 misses=1 queries=0
time=2026-09-21T14:13:20.000Z method=GET target="/a b?q=\"x\"" status=500 cache=hit hits=0 misses=0 queries=0 error="ValueError at shop:f:1"
time=2026-09-21T14:13:20.000Z kind=job route=mail ms=12.3 cache=none hits=0 misses=0 queries=0
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestLogLinesAreBounded(t *testing.T) {
	l := NewLogLines(io.Discard)
	for i := range maxTraces + 1000 {
		e := event.Event{Type: event.TypeQuery, At: testAt, Trace: fmt.Sprint("t", i), Query: &event.Query{}}
		l.Add(&e)
	}
	if len(l.byID) != maxTraces {
		t.Errorf("%d traces are kept", len(l.byID))
	}
}
