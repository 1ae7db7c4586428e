package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/fault"
)

func checked(args ...string) (code int, stdout, stderr string) {
	var out, talk bytes.Buffer
	code = Main(append([]string{"check"}, args...), strings.NewReader(""), &out, &talk)
	return code, out.String(), talk.String()
}

// asked are n requests of a route that begin at a time and take ms each, the last of which fail.
func asked(route string, at int64, n, fail int, ms int64) []event.Event {
	var events []event.Event
	for i := range n {
		status := int64(200)
		if i >= n-fail {
			status = 500
		}
		events = append(events, event.Event{Type: event.TypeRequest, At: at + int64(i)*1e6, Dur: event.Some(ms * 1e6), Trace: fmt.Sprint(route, at, i),
			Request: &event.Request{Kind: "http", Method: "GET", Route: route, Target: route, Status: status}})
	}
	return events
}

const someTime = int64(1_790_000_000_000_000_000)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCheckWithoutACapture(t *testing.T) {
	t.Chdir(t.TempDir())
	code, _, talk := checked()
	if code != fault.ExitUsage || !strings.Contains(talk, "there is no check in demarc.yaml") {
		t.Errorf("%d %s", code, talk)
	}
	writeFile(t, "demarc.yaml", "checks:\n  - run: echo hello\n")
	code, out, talk := checked()
	if code != 0 || !strings.HasPrefix(out, "pass      run: echo hello") || talk != "" {
		t.Errorf("%d %s%s", code, out, talk)
	}
	if _, err := os.Stat(capture.Root); err == nil {
		t.Error("a folder for captures was made")
	}
	writeFile(t, "demarc.yaml", "checks:\n  - run: touch ran\n  - error_rate < 1%\n")
	code, _, talk = checked()
	if code == 0 || !strings.Contains(talk, "there is none under .demarc") {
		t.Errorf("%d %s", code, talk)
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("a command was run although the checks cannot be answered")
	}
	writeFile(t, "demarc.yaml", "service: shop\nchecks:\n  - eror_rate < 1%\n")
	code, _, talk = checked()
	if code != fault.ExitUsage || !strings.Contains(talk, ">  3 |   - eror_rate < 1%") || !strings.Contains(talk, "did you mean error_rate?") {
		t.Errorf("%d %s", code, talk)
	}
}

// The report is written before the exit; a failure beats a doubt; what failed stands on stderr with value and bound.
func TestCheckExitCodes(t *testing.T) {
	recorded(t, asked("/a", someTime, 1000, 100, 5)...)
	for name, tc := range map[string]struct {
		args []string
		code int
		talk string
	}{
		"pass":      {[]string{"--check", "p95_ms < 10", "--check", `p50_ms of "GET /a" >= 4`}, 0, ""},
		"fail":      {[]string{"--check", "p95_ms < 3", "--check", "error_rate < 9.9%"}, fault.ExitCheck, "failed: p95_ms < 3: 4.99 ms, bound < 3 ms\n"},
		"undecided": {[]string{"--check", "p95_ms < 10", "--check", "error_rate < 9.9%"}, fault.ExitTooFew, "too little to decide 1 of 2 checks"},
		"allowed":   {[]string{"--check", "error_rate < 9.9%", "--allow-undecided"}, 0, ""},
		"command":   {[]string{"--check", "run: echo why; exit 3"}, fault.ExitCheck, "failed: run: echo why; exit 3: exit 3 after"},
		"route":     {[]string{"--check", `p95_ms of "GET /b" < 3`, "--check", "run: touch ran"}, fault.ExitUsage, `did you mean "GET /a"?`},
		"grammar":   {[]string{"--check", "p95_ms < "}, fault.ExitUsage, "column 10: a number"},
		"baseline":  {[]string{"--check", "p95_ms < baseline", "--baseline", "none"}, fault.ExitFailed, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, talk := checked(append(tc.args, "--junit", "check.xml")...)
			if code != tc.code || !strings.Contains(talk, tc.talk) {
				t.Errorf("exit %d\n%s\n%s", code, out, talk)
			}
			data, err := os.ReadFile("check.xml")
			_ = os.Remove("check.xml")
			if refused := code == fault.ExitUsage || code == fault.ExitFailed; refused {
				if err == nil {
					t.Error("a report was written although nothing was checked")
				}
				return
			}
			var suite struct {
				Failures int `xml:"failures,attr"`
				Errors   int `xml:"errors,attr"`
			}
			if xml.Unmarshal(data, &suite) != nil || code == fault.ExitCheck != (suite.Failures > 0) {
				t.Errorf("%s", data)
			}
		})
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("a command was run although a check names no route")
	}
}

func TestCheckJSONAndBaseline(t *testing.T) {
	recorded(t, append(asked("/a", someTime, 500, 0, 20), append([]event.Event{
		{Type: event.TypeMark, At: someTime + 10*minute, Mark: &event.Mark{Name: "deploy"}},
	}, asked("/a", someTime+20*minute, 500, 0, 30)...)...)...)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.Create(filepath.Join(dir, "before"), capture.Options{})
	if err == nil {
		err = w.Append(asked("/a", someTime, 500, 0, 20))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for since, want := range map[string]check.Verdict{"deploy": check.Fail, "": check.Pass} {
		code, out, talk := checked("--json", "--baseline", "before", "--since", since, "--check", "p50_ms of * <= 1.4 * baseline")
		var rep check.Report
		if err := json.Unmarshal([]byte(out), &rep); err != nil {
			t.Fatalf("%v\n%s%s", err, out, talk)
		}
		if rep.Schema != check.Schema || rep.Verdict != want || code != rep.ExitCode() || rep.Baseline != "before" || rep.Capture != ".demarc/one" ||
			len(rep.Checks) != 1 || rep.Checks[0].Of != "GET /a" || *rep.Checks[0].Baseline < 19.9 || *rep.Checks[0].Baseline > 20.1 {
			t.Errorf("since %q: exit %d, %s", since, code, out)
		}
	}
}

func TestCheckBoundaries(t *testing.T) {
	events := asked("/a", someTime, 3, 0, 5)
	for i := range 3 {
		events = append([]event.Event{{Type: event.TypeCache, At: someTime + int64(i)*1e6, Trace: events[len(events)-1-i].Trace, Cache: &event.Cache{
			Op: "set", Layer: "shared", Store: "redis", Key: "a:1", TTLMs: event.Some(int64(300_000))}}}, events...)
	}
	recorded(t, events...)
	writeFile(t, "boundaries.yaml", "version: 1\nboundaries:\n  - {name: GET /a, level: response, key: [], ttl: 60s, invalidation: none}\n")
	writeFile(t, "demarc.yaml", "checks: ['run: touch ran']\n")
	code, out, talk := checked("--boundaries", "boundaries.yaml")
	if code != fault.ExitCheck || !strings.Contains(out, "pass      GET /a, key") ||
		!strings.Contains(talk, "failed: ttl of GET /a: declared 60s; lifetimes of 5m at 3 entries") {
		t.Errorf("%d\n%s\n%s", code, out, talk)
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("the configured checks were run too")
	}
	if code, _, talk := checked("--boundaries", "none.yaml"); code != fault.ExitUsage || !strings.Contains(talk, "none.yaml: no such file") {
		t.Errorf("%d %s", code, talk)
	}
}

// A watch sees what comes from now on: requests in the newest capture, errors in a log that is rotated, an outage.
func TestCheckWatch(t *testing.T) {
	recorded(t, asked("/old", someTime, 1000, 1000, 5)...) // none of this counts
	var down atomic.Bool
	began := make(chan struct{}) // the watch asks only when it has read what stood in the log before
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(began) })
		if down.Load() {
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	writeFile(t, "app.log", "ERROR known 1\n")
	writeFile(t, "demarc.yaml", "checks:\n  - error_rate < 50%\n  - p95_ms of \"GET /new\" < 10\n  - run: touch ran\n  - health: "+server.URL+"\n")

	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		<-began
		w, err := capture.Create(filepath.Join(capture.Root, "two"), capture.Options{})
		if err == nil {
			err = w.Append(asked("/new", time.Now().Add(500*time.Millisecond).UnixNano(), 300, 0, 5))
		}
		add := func(path, text string) {
			f, ferr := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if ferr == nil {
				_, ferr = f.WriteString(text)
				f.Close()
			}
			if err == nil {
				err = ferr
			}
		}
		add("app.log", "INFO fine\nERROR known 2\n")
		if rerr := os.Rename("app.log", "app.log.1"); err == nil {
			err = rerr
		}
		add("app.log", "Traceback (most recent call last):\n  File \"/srv/app.py\", line 3, in get\nKeyError: 17\n")
		<-stop
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		done <- err
	}()
	code, out, talk := checked("--watch", "3s", "--log", "app.log", "--json")
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var rep check.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatalf("%v\n%s%s", err, out, talk)
	}
	verdicts := ""
	for _, c := range rep.Checks {
		verdicts += string(c.Verdict) + " "
	}
	if code != fault.ExitCheck || verdicts != "pass pass pass pass fail " || len(rep.Watch.New) != 1 || rep.Watch.New[0].Shape != "KeyError: <n> (app.py get)" ||
		len(rep.Watch.Known) != 1 || rep.Watch.Lines != 5 || rep.Watch.Polls < 2 || !strings.Contains(talk, "new error: KeyError: <n> (app.py get)\n") {
		t.Errorf("exit %d: %s\n%s\n%s", code, verdicts, out, talk)
	}

	down.Store(true)
	begin := time.Now()
	code, out, talk = checked("--watch", "1h", "--fail-fast")
	if code != fault.ExitCheck || !strings.Contains(out, "ended early: health: ") || time.Since(begin) > 10*time.Minute {
		t.Errorf("exit %d after %s\n%s\n%s", code, time.Since(begin), out, talk)
	}
}

// The command that shows a log may be given, too, and its end is said.
func TestCheckWatchCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, talk := checked("--watch", "4s", "--baseline-log", "run: echo ERROR known 1", "--log", "run: echo ERROR known 2; exit 3")
	if code != fault.ExitTooFew || !strings.Contains(out, "the command that shows the log ended: exit 3") {
		t.Errorf("exit %d\n%s\n%s", code, out, talk)
	}
	for _, args := range [][]string{
		{"--watch", "1s", "--log", "none.log"}, {"--log", "x"}, {"--watch", "1s", "--baseline-log", "x"}, {"--watch", "-1s"}, {"--watch", "1s", "--since", "x"},
		{"--watch", "1s", "--log", "run: cat", "--baseline-log", "none.log"}, {"--watch", "1s", "--log", "run: cat", "--baseline-log", "run: false"},
	} {
		if code, _, talk := checked(args...); code != fault.ExitUsage {
			t.Errorf("%q: exit %d, %s", args, code, talk)
		}
	}
}
