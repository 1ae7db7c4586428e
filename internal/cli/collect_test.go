package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/recorder"
)

// elsewhere starts the service as something else would, with the recorder pointed at a collector, and returns its
// address.
func elsewhere(t *testing.T, dir, address, token string) string {
	t.Helper()
	unpacked := filepath.Join(dir, "recorder")
	if err := recorder.Unpack(unpacked, 0o755, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, python(t), write(t, dir, "app.py", service))
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(unpacked, "boot"), "DEMARC_ADDRESS="+address, "DEMARC_TOKEN="+token,
		"DEMARC_KEY_FILE="+filepath.Join(dir, ".demarc", "key"), "DEMARC_SERVICE=shop")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, "start of the service", &out, func() bool { return strings.Contains(out.String(), "\n") })
	port, _, _ := strings.Cut(out.String(), "\n")
	return "http://127.0.0.1:" + port
}

func waitFor(t *testing.T, what string, out *buffer, ok func() bool) {
	t.Helper()
	if !eventually(ok) {
		t.Fatalf("%s: did not happen. The output is:\n%s", what, out.String())
	}
}

// A collector dies and comes back on the same socket: the service does not notice, and recording goes on.
func TestCollectorComesBack(t *testing.T) {
	dir := t.TempDir()
	address := "unix:" + filepath.Join(dir, "s")
	write(t, dir, "token", "0123456789abcdef0123")
	if err := os.Chmod(filepath.Join(dir, "token"), 0o600); err != nil {
		t.Fatal(err)
	}
	collect := func() *process {
		p := demarc(t, dir, nil, "collect", "--listen-recorder", address, "--token-file", "token").start()
		p.until(&p.stderr, "demarc: watching ")
		return p
	}
	first := collect()
	url := elsewhere(t, dir, address, "0123456789abcdef0123")
	get(t, url)
	health(t, first.runFile().URL, 3)
	one := first.runFile().Capture
	holds(t, filepath.Join(dir, one), `"type":"request"`)
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, url); got != "hello" {
		t.Errorf("the service answered %q", got)
	}
	second := collect()
	r := second.runFile()
	for range 3 {
		get(t, url)
	}
	health(t, r.URL, 4)
	if err := second.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := second.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, second.stderr.String())
	}
	second.says("keys and targets hashed", "recorder on "+address, "demarc: next: ")
	if events := exported(t, filepath.Join(dir, one)); !strings.Contains(events, `"type":"request"`) {
		t.Errorf("the first capture holds\n%s", events)
	}
	events := exported(t, filepath.Join(dir, r.Capture))
	if n := strings.Count(events, `"type":"request"`); n < 3 || strings.Contains(events, `"op":"start"`) {
		t.Errorf("the second capture holds %d requests:\n%s", n, events)
	}
}

// A collector that keeps keys hashed takes no recorder that sends them in clear, and says so.
func TestCollectKeepsKeysHashed(t *testing.T) {
	dir := t.TempDir()
	address := "unix:" + filepath.Join(dir, "s")
	p := demarc(t, dir, nil, "collect", "--listen-recorder", address).start()
	p.until(&p.stderr, "demarc: watching ")
	token, err := os.ReadFile(filepath.Join(dir, ".demarc", "token"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DEMARC_KEYS", "clear")
	url := elsewhere(t, dir, address, strings.TrimSpace(string(token)))
	if got := get(t, url); got != "hello" {
		t.Errorf("the service answered %q", got)
	}
	p.until(&p.stderr, "a recorder was refused: keys are kept hashed here")
	if h := health(t, p.runFile().URL, 0); h.Received != 0 || h.Refused != 1 {
		t.Errorf("health %+v", h)
	}
	t.Setenv("DEMARC_KEYS", "")
	url = elsewhere(t, dir, address, strings.TrimSpace(string(token)))
	get(t, url+"/users/kunde4711?page=2")
	health(t, p.runFile().URL, 3)
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.wait()
	list := p.captures()
	if len(list) != 1 {
		t.Fatalf("captures %v", list)
	}
	if events := exported(t, list[0]); strings.Contains(events, "kunde4711") || !strings.Contains(events, `"target":"/users/~`) {
		t.Errorf("the capture holds a key in clear:\n%s", events)
	}
}

func TestCollectOverTCPAndOTLP(t *testing.T) {
	dir := t.TempDir()
	tcp, web := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	p := demarc(t, dir, nil, "collect", "--listen-recorder", "tcp:"+tcp, "--otlp-http", web).start()
	p.until(&p.stderr, "demarc: watching ")
	token, err := os.ReadFile(filepath.Join(dir, ".demarc", "token"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, ".demarc", "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token file: %v %v", info, err)
	}
	if strings.Contains(p.stderr.String(), strings.TrimSpace(string(token))) {
		t.Error("the token is printed")
	}
	url := elsewhere(t, dir, "tcp:"+tcp, strings.TrimSpace(string(token)))
	get(t, url)
	n := health(t, p.runFile().URL, 3).Received

	now := time.Now().UnixNano()
	span := fmt.Sprintf(`{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"other"}}]},"scopeSpans":[{"spans":[
		{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"GET /o/{id}","kind":2,"startTimeUnixNano":"%d",
		"endTimeUnixNano":"%d","attributes":[{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"http.route",
		"value":{"stringValue":"/o/{id}"}},{"key":"http.response.status_code","value":{"intValue":"200"}}]}]}]}]}`, now-5e6, now)
	post := func(token string) int {
		req, err := http.NewRequest(http.MethodPost, "http://"+web+"/v1/traces", bytes.NewReader([]byte(span)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := post("wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", status)
	}
	if status := post(strings.TrimSpace(string(token))); status != http.StatusOK {
		t.Errorf("a span: %d", status)
	}
	if h := health(t, p.runFile().URL, n+1); h.OTLP == nil || h.OTLP.Spans != 1 || h.OTLP.Events != 1 {
		t.Errorf("health %+v", h)
	}
	if m := get(t, p.runFile().URL+"/metrics"); !strings.Contains(m, "\ndemarc_otlp_spans_total 1\n") {
		t.Errorf("metrics:\n%s", m)
	}
	var rep struct{ Routes []struct{ Route string } }
	if err := json.Unmarshal([]byte(get(t, p.runFile().URL+"/report")), &rep); err != nil || !strings.Contains(fmt.Sprint(rep.Routes), "GET /o/{id}") {
		t.Errorf("report %v, %v", rep, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
}

func TestCollectRefusesWhatItCannotDo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	open := write(t, dir, "open-token", "0123456789abcdef0123")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"busy":            {[]string{"--listen-recorder", "tcp:" + l.Addr().String()}, "cannot listen on tcp:" + l.Addr().String() + ": address already in use"},
		"busy OTLP":       {[]string{"--otlp-grpc", l.Addr().String()}, "address already in use"},
		"no address":      {[]string{"--listen-recorder", "here"}, "neither unix:/path nor tcp:host:port"},
		"no folder":       {[]string{"--listen-recorder", "unix:/no/such/folder/s"}, "no such file or directory"},
		"open token file": {[]string{"--token-file", open}, "chmod 600 "},
		"no token file":   {[]string{"--token-file", "/no/such/token"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"collect", "--listen-recorder", "tcp:127.0.0.1:0"}, tc.args...)
			if tc.args[0] == "--listen-recorder" {
				args = append([]string{"collect"}, tc.args...)
			}
			p := demarc(t, t.TempDir(), nil, args...)
			if code := p.run(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			p.says(tc.says, "expected: ", "retry: ")
			if list := p.captures(); len(list) != 0 {
				t.Errorf("captures are left: %v", list)
			}
		})
	}
}
