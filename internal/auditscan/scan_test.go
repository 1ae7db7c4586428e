package auditscan

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/audit"
)

func write(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestProjectStaysInside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	const secret = "SECRET_KEY = 'k3Jf9aZq82mL'\n"
	write(t, outside, "secrets.py", secret, 0o644)
	write(t, dir, "shop/settings.py", "DEBUG = False\n", 0o644)
	for _, name := range []string{".git/a.py", "venv/a.py", "node_modules/a.py", "mine/lib/a.py", "__pycache__/a.py"} {
		write(t, dir, name, secret, 0o644)
	}
	write(t, dir, "mine/pyvenv.cfg", "home = x\n", 0o644)
	write(t, dir, "large.py", secret+strings.Repeat("#\n", MaxFile/2), 0o644)
	write(t, dir, ".gitignore", ".env\n", 0o644)
	write(t, dir, ".env", "API_KEY=k3Jf9aZq82mL\n", 0o644)
	write(t, dir, "logs/shop.log", "x\n", 0o644)
	write(t, dir, "changes/2026-01-02-a.yaml", "version: 1\ntopic: a\n", 0o666)
	write(t, dir, "binary.py", "\xff\xfe\x00", 0o644)
	for link, to := range map[string]string{"link.py": filepath.Join(outside, "secrets.py"), "folder": outside, "loop": "."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Project(dir, []string{"shop/settings.py", "shop/gone.py"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rep := audit.Judge(&audit.Evidence{Files: s.Files, Notes: s.Notes, Paths: s.Paths})
	if x := rep.Item("config-secrets"); x.State != audit.Pass {
		t.Errorf("config-secrets: %s %+v", x.State, x.Places)
	}
	if x := rep.Item("secret-files"); x.State != audit.Fail || x.Places[0].Where != ".env" {
		t.Errorf("secret-files: %s %+v", x.State, x.Places)
	}
	if x := rep.Item("change-records"); x.State != audit.Fail || x.Places[0].Where != "changes/2026-01-02-a.yaml" {
		t.Errorf("change-records: %s %+v", x.State, x.Places)
	}
	if len(s.LogFiles) != 1 || s.Files.Files != 2 || s.Notes.Read != 1 {
		t.Errorf("logs %v, %d files, %d notes", s.LogFiles, s.Files.Files, s.Notes.Read)
	}
	for _, want := range []string{"security.files names shop/gone.py", "1 files larger than", "3 symbolic links"} {
		if !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning %q in %v", want, s.Warnings)
		}
	}
	if _, err := Project(filepath.Join(dir, "gone"), nil, nil); err == nil {
		t.Error("a folder that is not there was read")
	}
}

func TestStateOfCaptures(t *testing.T) {
	dir := t.TempDir()
	state, capture := filepath.Join(dir, ".demarc"), filepath.Join(dir, "elsewhere")
	write(t, state, "key", "x", 0o600)
	write(t, state, "run-77.json", "{}", 0o640)
	write(t, state, "one/manifest.json", "{}", 0o600)
	write(t, state, "one/00000001.seg", "", 0o644)
	write(t, capture, "manifest.json", "{}", 0o600)
	l, err := net.Listen("unix", filepath.Join(state, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, mode := range map[string]os.FileMode{state: 0o700, filepath.Join(state, "one"): 0o700, capture: 0o700, filepath.Join(state, "s"): 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	rep := audit.Judge(&audit.Evidence{Paths: State(state, capture)})
	for item, want := range map[string][]string{"capture-files": {"00000001.seg"}, "sockets": {"run-77.json", "s"}, "key-file": nil} {
		x := rep.Item(item)
		var got []string
		for _, p := range x.Places {
			got = append(got, filepath.Base(p.Where))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v expected", item, got, want)
		}
	}
}

// redisServer starts a Redis with these settings and returns its address.
func redisServer(t *testing.T, settings string) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("the test needs redis-server: %v", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(program, "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("port %s\nsave \"\"\nappendonly no\ndir %s\n%s\n", port, t.TempDir(), settings))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("Redis does not answer")
		}
	}
}

func TestServersAreAsked(t *testing.T) {
	for _, tc := range []struct {
		name, settings, user string
		network, password    audit.State
	}{
		{"as it should be", "bind 127.0.0.1\nrequirepass swordfish", ":swordfish@", audit.Pass, audit.Pass},
		{"no password", "bind 127.0.0.1", "", audit.Pass, audit.Fail},
		{"every address, protected", "bind 0.0.0.0\nprotected-mode yes", "", audit.Fail, audit.Fail},
		{"a password that is not known here", "bind 127.0.0.1\nrequirepass swordfish", "", audit.Pass, audit.Pass},
		{"a user of its own", "bind 127.0.0.1\nuser default off\nuser shop on >swordfish ~* +@all", "shop:swordfish@", audit.Pass, audit.Pass},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address := redisServer(t, tc.settings)
			servers := Servers(t.Context(), nil, []audit.ServerRef{{Address: "redis://" + address + "/0", Where: "the capture"}, {Address: "redis://" + tc.user + address + "/1", Where: "a.py:1"}})
			if len(servers) != 1 || servers[0].Error != "" || strings.Contains(fmt.Sprint(servers), "swordfish") {
				t.Fatalf("%+v", servers)
			}
			rep := audit.Judge(&audit.Evidence{Servers: servers})
			network := rep.Item("cache-network").State
			if tc.name == "a password that is not known here" && network == audit.NotSeen {
				network = audit.Pass // nothing tells, where this machine has no other address
			}
			if network != tc.network || rep.Item("cache-password").State != tc.password {
				t.Errorf("%+v: network %s, password %s", servers[0], network, rep.Item("cache-password").State)
			}
		})
	}
	servers := Servers(t.Context(), nil, []audit.ServerRef{{Address: "redis://127.0.0.1:1"}, {Address: "redis://HOST:PORT/0", Where: "a.py:3"}, {Address: "redis://192.0.2.1:6379", Where: "b.py:1"}})
	if len(servers) != 2 || servers[0].Error == "" || !strings.Contains(servers[1].Error, "--redis") {
		t.Errorf("%+v", servers)
	}
}

// The probe sends what it says, to a service with one good and one bad route, and judges by what came back.
func TestProbe(t *testing.T) {
	var asked []string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /good", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	mux.HandleFunc("POST /bad/{id}", func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err != nil || n != ProbeBody {
			t.Errorf("a body of %d bytes: %v", n, err)
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
	})
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "%00") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /me/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		mux.ServeHTTP(w, r)
	}))
	defer server.Close()
	tr := audit.NewTraffic(nil)
	for _, line := range []string{
		`{"type":"request","at":1,"method":"POST","route":"/good","target":"/good","status":200,"request_bytes":5}`,
		`{"type":"request","at":2,"method":"POST","route":"/bad/{id}","target":"/bad/7","status":200,"request_bytes":5}`,
		`{"type":"request","at":3,"method":"GET","route":"/page","target":"/page?n=1","status":200}`,
		`{"type":"request","at":4,"method":"GET","route":"/me","target":"/me","status":200,"principal":"00000000000000aa"}`,
	} {
		e, err := event.ParseJSON([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		tr.Add(&e)
	}
	target, err := ParseTarget(t.Context(), server.URL)
	if err != nil || !target.Loopback {
		t.Fatal(target, err)
	}
	rep := audit.Judge(&audit.Evidence{Traffic: tr, Probe: Probe(t.Context(), target, tr)})
	for item, want := range map[string][]string{
		"upload-limit": {"POST /bad/{id}", "POST /bad/{id}"}, "bad-input": {"GET /page"}, "path-confusion": {"GET /me"},
	} {
		var got []string
		for _, p := range rep.Item(item).Places {
			got = append(got, p.Where)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v expected", item, got, want)
		}
	}
	if !slices.Contains(asked, "POST /bad/demarc-probe") || slices.Contains(asked, "POST /bad/7") {
		t.Errorf("asked: %v", asked)
	}
	for _, bad := range []string{"", "127.0.0.1:80", "ftp://127.0.0.1", "http://user:pw@127.0.0.1", "http://"} {
		if _, err := ParseTarget(t.Context(), bad); err == nil {
			t.Errorf("%q was taken for an address", bad)
		}
	}
	if far, err := ParseTarget(t.Context(), "http://192.0.2.1"); err != nil || far.Loopback {
		t.Errorf("%+v, %v", far, err)
	}
	gone := Target{URL: target.URL}
	server.Close()
	if p := Probe(t.Context(), gone, tr); p.Failed == "" {
		t.Error("a service that is gone was asked")
	}
}

func TestLongLinesOfLogs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.log", strings.Repeat("x", 300_000)+" password=hunter-two\nmail ada@conduit.example\nno end", 0o644)
	logs := audit.NewLogs(nil, nil)
	cut, err := Log(filepath.Join(dir, "a.log"), "a.log", logs)
	if err != nil || cut || logs.Lines != 3 {
		t.Fatalf("%v, %v, %d lines", cut, err, logs.Lines)
	}
	rep := audit.Judge(&audit.Evidence{Logs: logs})
	if x := rep.Item("log-personal"); len(x.Places) != 1 || x.Places[0].Where != "a.log:2" {
		t.Errorf("%+v", x.Places)
	}
	if _, err := Log(filepath.Join(dir, "gone.log"), "gone.log", logs); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
