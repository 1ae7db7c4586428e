package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func answer(t *testing.T, r Runner, c Check) Result {
	t.Helper()
	res, err := r.Run(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	logs := filepath.Join(dir, "logs")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	r := Runner{Dir: dir, Env: map[string]string{"A": "1", "B": "1"}, LogDir: logs}
	ok := answer(t, r, Check{Kind: Command, Run: "pwd; echo $A$B", Dir: "sub", Env: map[string]string{"B": "2"}})
	if ok.Verdict != Pass || ok.Tail != filepath.Join(dir, "sub")+"\n12" || *ok.Exit != 0 || ok.DurationMS == nil {
		t.Errorf("%+v", ok)
	}
	if data, err := os.ReadFile(filepath.Join(logs, "check-1.log")); err != nil || !strings.HasSuffix(string(data), "12\n") {
		t.Errorf("%q %v", data, err)
	}
	bad := answer(t, r, Check{Kind: Command, Run: "echo why; exit 4"})
	if bad.Verdict != Fail || *bad.Exit != 4 || !strings.HasPrefix(bad.Says(), "exit 4 after") || bad.Tail != "why" {
		t.Errorf("%+v", bad)
	}
	slow := answer(t, Runner{}, Check{Kind: Command, Run: "sleep 60", Timeout: 100 * time.Millisecond})
	if slow.Verdict != Fail || !strings.HasPrefix(slow.Says(), "not done after") {
		t.Errorf("%+v", slow)
	}
	none := answer(t, Runner{}, Check{Kind: Command, Run: "true", Secrets: map[string]string{"A": "env:NO_SUCH_VARIABLE"}})
	if none.Verdict != Fail || !strings.Contains(none.Says(), "it was not run: the secret A") {
		t.Errorf("%+v", none)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Run(ctx, Check{Kind: Command, Run: "true"}, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestHealth(t *testing.T) {
	var asked atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/soon", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(503)
		}
	})
	mux.HandleFunc("/down", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "no\x1b[2J database")
	})
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok?token=abc", http.StatusFound) })
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()

	// What fails is asked until the time is over, all at the same time: long enough for one answer of a machine that stalls.
	const long, short = time.Minute, 4 * time.Second
	var all sync.WaitGroup
	for url, tc := range map[string]struct {
		status  int
		timeout time.Duration
		want    Verdict
		says    string
		tail    string
	}{
		server.URL + "/ok":       {0, long, Pass, "status 200", ""},
		server.URL + "/soon":     {0, long, Pass, "status 200", ""},
		server.URL + "/endless":  {0, long, Pass, "status 200", ""},
		server.URL + "/down":     {500, long, Pass, "status 500", ""},
		server.URL + "/down?204": {204, short, Fail, "status 500, 204 was expected", "no�[2J database"},
		server.URL + "/login":    {0, short, Fail, "status 302 to /ok (asked", ""},
		server.URL + "/hangs":    {0, 300 * time.Millisecond, Fail, "no answer in time", ""},
		nobody:                   {0, short, Fail, "connection refused", ""},
	} {
		all.Go(func() {
			r := answer(t, Runner{}, Check{Kind: Health, URL: url, Status: tc.status, Timeout: tc.timeout})
			if r.Verdict != tc.want || !strings.Contains(r.Says(), tc.says) || tc.tail != "" && r.Tail != tc.tail {
				t.Errorf("%s: %s (%s) %q", url, r.Verdict, r.Says(), r.Tail)
			}
		})
	}
	all.Wait()
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
	once, err := Runner{}.Ask(t.Context(), Check{Kind: Health, URL: server.URL + "/down"})
	if err != nil || once.Verdict != Fail || once.Reason != "status 500" {
		t.Errorf("%+v %v", once, err)
	}
}
