package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds demarc once for all tests of the package.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "demarc-e2e-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "demarc")
	out, err := exec.Command("go", "build", "-o", path, "github.com/demarc-dev/demarc/cmd/demarc").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var built string // the binary's folder, empty where no test wanted it

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

func demarc(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// need returns a variable that `make test` sets.
func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run make test, or scripts/with-servers with the variables of scripts/env", name)
	}
	return v
}

func examples(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// freePort is a port that nobody else is given for a minute: where a connection has just ended, the system hands out none, but a
// server may listen.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server.Close() // the side that ends it first keeps the port
	return l.Addr().(*net.TCPAddr).Port
}

// service is a server that runs under `demarc run`.
type service struct {
	t       *testing.T
	cmd     *exec.Cmd
	dir     string // where .demarc lies
	base    string
	out     lockedBuffer
	errs    lockedBuffer
	capture string
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// observe starts `demarc run [flags] -- command`, with %d in the command standing for a free port, and waits until
// path answers.
func observe(t *testing.T, cwd, path string, env, flags, command []string) *service {
	t.Helper()
	program := demarc(t) // which may have to be built: the port is not to wait for that
	port := freePort(t)
	s := &service{t: t, dir: t.TempDir(), base: fmt.Sprintf("http://127.0.0.1:%d", port)}
	s.capture = filepath.Join(s.dir, "capture")
	args := append([]string{"run", "--dir", filepath.Join(s.dir, ".demarc"), "--out", s.capture}, flags...)
	args = append(args, "--")
	for _, a := range command {
		args = append(args, strings.ReplaceAll(a, "%d", fmt.Sprint(port)))
	}
	s.cmd = exec.Command(program, args...)
	s.cmd.Dir = cwd
	s.cmd.Env = append(cleanEnv(), env...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.errs
	s.cmd.WaitDelay = 20 * time.Second // where the service outlives demarc, it still holds the pipes
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	})
	deadline := time.Now().Add(60 * time.Second)
	for {
		resp, err := http.Get(s.base + path)
		if err == nil {
			resp.Body.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the service did not answer at %s%s: %v\n%s%s", s.base, path, err, s.out.String(), s.errs.String())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// cleanEnv is the test's environment without what belongs to demarc or to another Python.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "DEMARC") && name != "PYTHONPATH" && name != "DATABASE_URL" && name != "CACHE_URL" {
			env = append(env, kv)
		}
	}
	return env
}

// stop ends the service as Ctrl-C does and waits for demarc; it returns demarc's exit code.
func (s *service) stop() int {
	s.t.Helper()
	if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.cmd.Wait() // its exit code is what the caller asks for
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		s.t.Fatalf("demarc run did not end within a minute of SIGINT\n%s", s.errs.String())
	}
	return s.cmd.ProcessState.ExitCode()
}

func (s *service) get(path string) (int, string) {
	s.t.Helper()
	resp, err := http.Get(s.base + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// do runs a demarc command in the service's directory and returns its standard output.
func (s *service) do(args ...string) string {
	s.t.Helper()
	out, errs, code := run(s.t, s.dir, args...)
	if code != 0 {
		s.t.Fatalf("demarc %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

func run(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, demarc(t), args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, cleanEnv(), &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// reportJSON is what these tests read of demarc.report/1.
type reportJSON struct {
	Schema   string         `json:"schema"`
	Coverage map[string]any `json:"coverage"`
	Routes   []route        `json:"routes"`
}

type route struct {
	Route             string                               `json:"route"`
	Requests          int                                  `json:"requests"`
	Errors            int                                  `json:"errors"`
	ErrorRate         float64                              `json:"error_rate"`
	P50               float64                              `json:"p50_ms"`
	QueriesPerRequest float64                              `json:"queries_per_request"`
	DuplicatesPerReq  float64                              `json:"duplicate_queries_per_request"`
	DBTimeShare       float64                              `json:"db_time_share"`
	ExampleTarget     string                               `json:"example_target"`
	SlowQueries       []struct{ Fingerprint, Code string } `json:"slow_queries"`
	ErrorTypes        []struct {
		Type, Code string
		Count      int
	} `json:"error_types"`
	Cache struct {
		Hits, Misses int
		HitRatio     *float64 `json:"hit_ratio"`
	} `json:"cache"`
	NPlusOne []struct{ Fingerprint, Code string } `json:"n_plus_one"`
}

func (s *service) report(args ...string) reportJSON {
	s.t.Helper()
	var r reportJSON
	text := s.do(append([]string{"report", "--json", s.capture}, args...)...)
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		s.t.Fatalf("report --json: %v\n%s", err, text)
	}
	if r.Schema != "demarc.report/1" {
		s.t.Fatalf("schema %q", r.Schema)
	}
	return r
}

func (r reportJSON) route(t *testing.T, name string) route {
	t.Helper()
	var names []string
	for _, x := range r.Routes {
		if x.Route == name {
			return x
		}
		names = append(names, x.Route)
	}
	t.Fatalf("no route %q; there are %q", name, names)
	return route{}
}

// events are the capture's events as the export writes them.
func (s *service) events() []map[string]any {
	s.t.Helper()
	var list []map[string]any
	for line := range strings.Lines(s.do("export", s.capture)) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		list = append(list, e)
	}
	return list
}

func ofType(events []map[string]any, kind string) []map[string]any {
	var list []map[string]any
	for _, e := range events {
		if e["type"] == kind {
			list = append(list, e)
		}
	}
	return list
}

func uvicorn(python string, args ...string) []string {
	return append([]string{python, "-m", "uvicorn", "--port", "%d", "--log-level", "warning"}, args...)
}
