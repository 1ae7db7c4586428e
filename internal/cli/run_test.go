package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/engine"
)

// buffer is what a process has written so far.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// With this variable the test binary is demarc itself, so that tests run it as the process that it is.
const asDemarc = "DEMARC_TEST_AS_DEMARC"

func init() {
	if os.Getenv(asDemarc) != "" {
		os.Unsetenv(asDemarc)
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}

// python returns the interpreter that DEMARC_TEST_PYTHON names.
func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv("DEMARC_TEST_PYTHON")
	if p == "" {
		t.Fatal("DEMARC_TEST_PYTHON is not set: it must name a Python interpreter, 3.9 or later (`make test` sets it)")
	}
	path, err := exec.LookPath(p)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// process is a demarc under test, in a folder of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	stdout buffer
	stderr buffer
}

// demarc prepares a demarc process; env is added to the environment.
func demarc(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	p := &process{t: t, dir: dir, cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	p.cmd.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DEMARC") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(append(p.cmd.Env, asDemarc+"=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = 10 * time.Second
	return p
}

func (p *process) start() *process {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	var ee *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &ee) {
		p.t.Fatalf("%v\n%s", err, p.stderr.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) run() int {
	p.t.Helper()
	return p.start().wait()
}

// patience is how long a test waits for what a machine that has time does at once.
const patience = time.Minute

// eventually waits until ok, and says whether that came.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// until waits for a text in a stream.
func (p *process) until(b *buffer, text string) {
	p.t.Helper()
	if !eventually(func() bool { return strings.Contains(b.String(), text) }) {
		p.t.Fatalf("%q did not come.\nstdout: %s\nstderr: %s", text, p.stdout.String(), p.stderr.String())
	}
}

func (p *process) says(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		if !strings.Contains(p.stderr.String(), text) {
			p.t.Errorf("%q is missing in:\n%s", text, p.stderr.String())
		}
	}
}

// captures are the names in the folder that are captures.
func (p *process) captures() []string {
	p.t.Helper()
	list, err := filepath.Glob(filepath.Join(p.dir, ".demarc", "*", "manifest*"))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range list {
		list[i] = filepath.Dir(list[i])
	}
	return list
}

// holds waits until a capture that is being written has a text on disk, and returns all that it has.
func holds(t *testing.T, dir, text string) (events string) {
	t.Helper()
	if !eventually(func() bool { events = exported(t, dir); return strings.Contains(events, text) }) {
		t.Fatalf("%s did not come into %s:\n%s", text, dir, events)
	}
	return events
}

// exported returns a capture's events as JSON lines.
func exported(t *testing.T, dir string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := Main([]string{"export", dir}, strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("export: %d %s", code, errs.String())
	}
	return out.String()
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// service answers requests until it is told to end; it prints its port first.
const service = `
import signal, sqlite3, sys
from wsgiref.simple_server import make_server, WSGIRequestHandler
class Quiet(WSGIRequestHandler):
    def log_message(self, *a): pass
db = sqlite3.connect(":memory:")
def app(env, start):
    db.execute("select ?", (7,)).fetchone()
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
s = make_server("127.0.0.1", 0, app, handler_class=Quiet)
print(s.server_port, flush=True)
def end(n, f):
    print("signal", n, flush=True)
    sys.exit(40 + n)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
s.serve_forever()
`

// port is the one that the service printed.
func (p *process) port() string {
	p.t.Helper()
	p.until(&p.stdout, "\n")
	port, _, _ := strings.Cut(p.stdout.String(), "\n")
	return port
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (p *process) runFile() engine.RunFile {
	p.t.Helper()
	var r engine.RunFile
	if !eventually(func() (ok bool) {
		var err error
		r, err = engine.FindRun(filepath.Join(p.dir, ".demarc"))
		return err == nil
	}) {
		p.t.Fatalf("no run file\n%s", p.stderr.String())
	}
	return r
}

// health waits until the events received are at least n.
func health(t *testing.T, url string, n int64) engine.Health {
	t.Helper()
	var h engine.Health
	if !eventually(func() bool {
		if err := json.Unmarshal([]byte(get(t, url+"/health")), &h); err != nil {
			t.Fatal(err)
		}
		return h.Received >= n
	}) {
		t.Fatalf("fewer than %d events: %+v", n, h)
	}
	return h
}

func TestRunEndToEnd(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", service)
	tmp := t.TempDir()
	p := demarc(t, dir, []string{"TMPDIR=" + tmp}, "run", "--log-lines=lines", "--report-json", "report.json", "--", python(t), "app.py").start()
	port := p.port()
	for range 3 {
		if got := get(t, "http://127.0.0.1:"+port+"/x"); got != "hello" {
			t.Fatalf("the service answered %q", got)
		}
	}
	r := p.runFile()
	if h := health(t, r.URL, 7); !h.OK || h.Processes != 1 || h.Dropped != 0 || h.Capture != r.Capture {
		t.Errorf("health %+v", h)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 55 {
		t.Errorf("exit code %d, want the child's 55", code)
	}
	if want := port + "\nsignal 15\n"; p.stdout.String() != want {
		t.Errorf("stdout is not the child's alone: %q, want %q", p.stdout.String(), want)
	}
	p.says("demarc: watching ", "keys and targets in clear", "this machine only", "3 requests", "none dropped", "demarc: next: demarc report "+r.Capture)
	if _, err := os.Stat(filepath.Join(dir, ".demarc", "run.json")); err == nil {
		t.Error("the run file is still there")
	}
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) != 0 {
		t.Errorf("temporary files are left: %v %v", entries, err)
	}
	var rep struct {
		Schema string
		Totals struct{ Requests, Queries int }
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(data, &rep)
	}
	if err != nil || rep.Schema != "demarc.report/1" || rep.Totals.Requests != 3 || rep.Totals.Queries != 3 {
		t.Errorf("report.json: %+v, %v", rep, err)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "lines"))
	if err != nil || strings.Count(string(lines), "queries=1\n") != 3 {
		t.Errorf("log lines: %v\n%s", err, lines)
	}
	events := exported(t, filepath.Join(dir, r.Capture))
	for _, want := range []string{`"op":"start"`, `"op":"exit"`, `"type":"request"`, `"type":"query"`} {
		if !strings.Contains(events, want) {
			t.Errorf("%s is missing in the capture:\n%s", want, events)
		}
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	notExecutable := filepath.Join(dir, "data")
	if err := os.WriteFile(notExecutable, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	noInterpreter := write(t, dir, "orphan", "#!/nonexistent/python\n")
	for _, tc := range []struct {
		name string
		argv []string
		code int
		says string
	}{
		{"its own", []string{"sh", "-c", "exit 7"}, 7, ""},
		{"success", []string{"true"}, 0, ""},
		{"killed", []string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{"terminated", []string{"sh", "-c", "kill -15 $$"}, 143, ""},
		{"not found", []string{"no-such-command"}, 127, `demarc run: cannot start "no-such-command": command not found`},
		{"no such file", []string{"./no/such/file"}, 127, "no such file"},
		{"not executable", []string{notExecutable}, 126, "permission denied"},
		{"no interpreter", []string{noInterpreter}, 127, "interpreter"},
		{"python's own error", []string{python(t), "no-such-file.py"}, 2, "can't open file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := demarc(t, t.TempDir(), nil, append([]string{"run", "--no-report", "--"}, tc.argv...)...)
			if code := p.run(); code != tc.code {
				t.Errorf("exit code %d, want %d\n%s", code, tc.code, p.stderr.String())
			}
			p.says(tc.says)
			if p.stdout.String() != "" {
				t.Errorf("stdout %q", p.stdout.String())
			}
			if tc.code >= 126 && tc.code <= 127 {
				if list := p.captures(); len(list) > 0 {
					t.Errorf("captures are left: %v", list)
				}
				p.says("expected: ", "retry: ", "try: ")
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"run"}, {"run", "--nonsense", "--", "true"}, {"nonsense"}, {"run", "--keys", "secret", "--", "true"}, {"run", "--rate", "-1", "--", "true"},
		{"run", "--live", "--", "true"}, {"mark"}, {"on", "now"}, {"collect", "x"},
	} {
		p := demarc(t, t.TempDir(), nil, args...)
		if code := p.run(); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
		p.says("--help", "expected: ", "retry: ")
	}
	p := demarc(t, t.TempDir(), nil, "rum")
	if p.run() != 2 || !strings.Contains(p.stderr.String(), "demarc run\n") {
		t.Errorf("no suggestion:\n%s", p.stderr.String())
	}
	for _, args := range [][]string{{}, {"--help"}, {"run", "--help"}, {"--version"}, {"completion", "bash"}} {
		p := demarc(t, t.TempDir(), nil, args...)
		if code := p.run(); code != 0 || p.stdout.String() == "" || p.stderr.String() != "" {
			t.Errorf("%v: exit code %d, stderr %q", args, code, p.stderr.String())
		}
	}
}

func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := demarc(t, t.TempDir(), nil, "run", "--listen", l.Addr().String(), "--", "sh", "-c", "echo started")
	if code := p.run(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	want := fmt.Sprintf(`demarc run: cannot listen on %s: address already in use
  expected: a free port for the live page
  retry:    safe
  try:      demarc run --listen 127.0.0.1:0 -- sh -c 'echo started'
`, l.Addr())
	if p.stderr.String() != want || p.stdout.String() != "" || len(p.captures()) != 0 {
		t.Errorf("got:\n%s\nwant:\n%s\nstdout %q", p.stderr.String(), want, p.stdout.String())
	}
}

// A folder that cannot be written is known before the service starts.
func TestReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "demarc-cannot-be-a-folder-here", "")
	for name, p := range map[string]*process{
		"a file in its place": demarc(t, dir, nil, "run", "--dir", "demarc-cannot-be-a-folder-here", "--", "echo", "started"),
		"no permission":       asNobody(t, "run", "--", "echo", "started"),
	} {
		if code := p.run(); code != 1 || p.stdout.String() != "" {
			t.Errorf("%s: exit code %d, stdout %q", name, code, p.stdout.String())
		}
		p.says("demarc run: cannot create the folder ", "expected: a folder that can be written to", "demarc run --dir DIR")
	}
}

// asNobody prepares a demarc in a read-only folder, as a user who may not write there.
func asNobody(t *testing.T, args ...string) *process {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "read-only")
	if err := os.Mkdir(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	p := demarc(t, dir, nil, args...)
	if os.Getuid() != 0 {
		return p
	}
	// Root may write anywhere. The binary goes where another user reaches it.
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Dir(root), root} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(root, "demarc")
	if err := os.WriteFile(bin, data, 0o755); err != nil {
		t.Fatal(err)
	}
	p.cmd.Path = bin
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return p
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, ".demarc", "key")
	if code := demarc(t, dir, nil, "run", "--", "true").run(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	first, err := os.ReadFile(key)
	info, serr := os.Stat(key)
	if err != nil || serr != nil || info.Mode().Perm() != 0o600 || len(strings.TrimSpace(string(first))) != 64 {
		t.Fatalf("key: %v %v %v %q", err, serr, info, first)
	}
	demarc(t, dir, nil, "run", "--", "true").run()
	if again, _ := os.ReadFile(key); !bytes.Equal(first, again) {
		t.Error("the key changed")
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	p := demarc(t, dir, nil, "run", "--", "echo", "started")
	if code := p.run(); code != 1 || p.stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q", code, p.stdout.String())
	}
	p.says("mode is -rw-r-----", "chmod 600 ")
	if err := os.WriteFile(key, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	p = demarc(t, dir, nil, "run", "--", "echo", "started")
	if code := p.run(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	p.says("64 hex digits")
}

// What keeps the recorder out is said, each with its own reason, and the service runs as it would without demarc.
func TestSilence(t *testing.T) {
	py := python(t)
	boot := filepath.Join("..", "..", "python", "boot", "sitecustomize.py")
	boot, err := filepath.Abs(boot)
	if err != nil {
		t.Fatal(err)
	}
	script := write(t, t.TempDir(), "isolated", "#!"+py+" -I\nprint('ran')\n")
	// There is no interpreter so old here: the bootstrap is run by one that says it were.
	old := "import sys; sys.version_info = (3, 8, 1); exec(compile(open(" + fmt.Sprintf("%q", boot) + ").read(), " + fmt.Sprintf("%q", boot) +
		", 'exec'), {'__name__': 'sitecustomize', '__file__': " + fmt.Sprintf("%q", boot) + "}); print('ran')"
	for _, tc := range []struct {
		name string
		env  []string
		argv []string
		says string
	}{
		{"-I", nil, []string{py, "-I", "-c", "print('ran')"}, "with -I"},
		{"-E", nil, []string{py, "-uE", "-c", "print('ran')"}, "with -E"},
		{"-S", nil, []string{py, "-X", "dev", "-S", "-c", "print('ran')"}, "with -S"},
		{"first line", nil, []string{script}, "the first line of " + script},
		{"DEMARC=off", []string{"DEMARC=off"}, []string{py, "-c", "print('ran')"}, "DEMARC=off is set"},
		{"no Python", nil, []string{"echo", "ran"}, "no Python process started"},
		{"too old", nil, []string{py, "-S", "-c", old}, "Python 3.8 is too old: the recorder needs 3.9 or later"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := demarc(t, t.TempDir(), tc.env, append([]string{"run", "--"}, tc.argv...)...)
			if code := p.run(); code != 0 || p.stdout.String() != "ran\n" {
				t.Errorf("exit code %d, stdout %q\n%s", code, p.stdout.String(), p.stderr.String())
			}
			p.says("demarc run: nothing was recorded from ", tc.says, "expected: ", "try: ", "no capture was kept")
			if list := p.captures(); len(list) != 0 {
				t.Errorf("captures are left: %v", list)
			}
		})
	}
}

// After five seconds demarc says what is wrong with a service that still runs.
func TestSilenceWhileRunning(t *testing.T) {
	py := python(t)
	p := demarc(t, t.TempDir(), nil, "run", "--", "env", "-u", "PYTHONPATH", py, "-c", "import time; time.sleep(60)").start()
	p.until(&p.stderr, "nothing has been recorded yet")
	if runtime.GOOS == "linux" {
		p.says("runs Python without the recorder")
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 143 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(p.stderr.String(), "recorded"); n != 1 {
		t.Errorf("said %d times:\n%s", n, p.stderr.String())
	}
}

func TestSignalsReachTheChildOnce(t *testing.T) {
	py := python(t)
	script := `
import signal, sys, time
seen = []
def note(n, f):
    seen.append(n)
    print("got", int(n), flush=True)
for n in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
    signal.signal(n, note)
print("ready", flush=True)
end = time.time() + 30
while signal.SIGTERM not in seen and time.time() < end:
    time.sleep(0.05)
time.sleep(0.3)
print(*map(int, seen), flush=True)
`
	p := demarc(t, t.TempDir(), nil, "run", "--no-report", "--", py, "-c", script).start()
	p.until(&p.stdout, "ready\n")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		p.until(&p.stdout, fmt.Sprintf("got %d\n", s))
	}
	if code := p.wait(); code != 0 || !strings.HasSuffix(p.stdout.String(), "got 15\n2 1 10 15\n") {
		t.Errorf("exit code %d, stdout %q", code, p.stdout.String())
	}
}

func TestMarkOffOn(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", service)
	p := demarc(t, dir, nil, "run", "--", python(t), "app.py").start()
	url := "http://127.0.0.1:" + p.port()
	get(t, url)
	r := p.runFile()
	health(t, r.URL, 3)
	tell := func(want int, args ...string) string {
		t.Helper()
		c := demarc(t, dir, nil, args...)
		if code := c.run(); code != want {
			t.Errorf("%v: exit code %d: %s", args, code, c.stderr.String())
		}
		return c.stdout.String() + c.stderr.String()
	}
	if said := tell(0, "mark", "deploy", "shop 1.2"); !strings.Contains(said, "marked deploy at ") {
		t.Error(said)
	}
	if said := tell(0, "off", "--json"); !strings.Contains(said, `"schema":"demarc.control/1","ok":true,"processes":1`) {
		t.Error(said)
	}
	// The recorder hears the order within its period, and tells its state.
	was := strings.Count(holds(t, filepath.Join(dir, r.Capture), `"recording":false`), `"recording":true`)
	n := health(t, r.URL, 5).Received
	for range 5 {
		get(t, url)
	}
	time.Sleep(500 * time.Millisecond)
	if h := health(t, r.URL, 0); h.Recording || h.Received > n+1 {
		t.Errorf("recording went on: %d events before, %+v", n, h)
	}
	n = health(t, r.URL, 0).Received
	tell(0, "on")
	if !eventually(func() bool {
		return strings.Count(exported(t, filepath.Join(dir, r.Capture)), `"recording":true`) > was
	}) {
		t.Error("the recorder did not tell that it is on")
	}
	get(t, url)
	health(t, r.URL, n+2)
	if said := tell(1, "mark", strings.Repeat("x", 300)); !strings.Contains(said, "1 to 200 bytes") {
		t.Error(said)
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.wait()
	if said := tell(1, "mark", "late"); !strings.Contains(said, "cannot find a running demarc") || !strings.Contains(said, "expected: ") {
		t.Error(said)
	}
	if events := exported(t, filepath.Join(dir, r.Capture)); !strings.Contains(events, `"name":"deploy","text":"shop 1.2"`) {
		t.Errorf("no mark in\n%s", events)
	}
}

// The service does not notice the death of its collector.
func TestKilledCollector(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", service)
	tmp := t.TempDir()
	p := demarc(t, dir, []string{"TMPDIR=" + tmp}, "run", "--", python(t), "app.py").start()
	url := "http://127.0.0.1:" + p.port()
	get(t, url)
	r := p.runFile()
	health(t, r.URL, 3)
	orphan := int(serviceStart(t, holds(t, filepath.Join(dir, r.Capture), `"type":"request"`)))
	defer func() { _ = syscall.Kill(orphan, syscall.SIGKILL) }()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if got := get(t, url); got != "hello" {
			t.Errorf("the service answered %q", got)
		}
		time.Sleep(50 * time.Millisecond)
	}
	c := demarc(t, dir, nil, "mark", "late")
	if code := c.run(); code != 1 {
		t.Errorf("a mark after kill -9: exit code %d", code)
	}
	c.says("no .demarc/run.json of a living process")
	// The next one takes away what the killed one left.
	demarc(t, dir, []string{"TMPDIR=" + tmp}, "run", "--", "true").run()
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) != 0 {
		t.Errorf("temporary files are left: %v %v", entries, err)
	}
	if events := exported(t, filepath.Join(dir, r.Capture)); !strings.Contains(events, `"type":"request"`) {
		t.Errorf("the capture lost it:\n%s", events)
	}
}

// serviceStart returns the pid of the process whose start is among exported events.
func serviceStart(t *testing.T, events string) int64 {
	t.Helper()
	for line := range strings.Lines(events) {
		var e struct {
			Type, Op string
			Pid      int64
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Type == "process" && e.Op == "start" {
			return e.Pid
		}
	}
	t.Fatalf("no start of a process in\n%s", events)
	return 0
}
