package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
)

// recorded writes events as a capture below .demarc of a new working directory.
func recorded(t *testing.T, events ...event.Event) string {
	t.Helper()
	t.Chdir(t.TempDir())
	dir := filepath.Join(capture.Root, "one")
	w, err := capture.Create(dir, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(events) > 0 {
		if err := w.Append(events); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func reportOf(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := newReportCommand()
	root := &cobra.Command{Use: "demarc", SilenceErrors: true, SilenceUsage: true}
	root.AddGroup(&cobra.Group{ID: groupMain})
	root.AddCommand(cmd)
	var out, talk bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&talk)
	root.SetArgs(append([]string{"report"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), talk.String(), err
}

const minute = int64(60e9)

func visits() []event.Event {
	get := func(at int64, trace, route string) []event.Event {
		return []event.Event{
			{Type: event.TypeQuery, At: at + 1e6, Dur: event.Some(int64(2e6)), Trace: trace, Query: &event.Query{
				DB: "sqlite", Text: "SELECT x FROM t WHERE id IN (?, ?, ?)", Code: "shop:get:1"}},
			{Type: event.TypeRequest, At: at, Dur: event.Some(int64(5e6)), Trace: trace, Request: &event.Request{
				Kind: "http", Method: "GET", Route: route, Target: route, Status: 200}},
		}
	}
	mark := func(at int64, name string) event.Event {
		return event.Event{Type: event.TypeMark, At: at, Mark: &event.Mark{Name: name}}
	}
	at := int64(1_790_000_000_000_000_000)
	events := append(get(at, "a", "/old"), mark(at+minute, "deploy"))
	events = append(append(events, get(at+2*minute, "b", "/middle")...), mark(at+3*minute, "flush"), mark(at+4*minute, "deploy"))
	return append(events, get(at+5*minute, "c", "/new")...)
}

func TestReportOfTheNewestCapture(t *testing.T) {
	recorded(t, visits()...)
	out, talk, err := reportOf(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GET /old", "GET /middle", "GET /new", "COVERAGE", "100% of 3 queries"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || !strings.Contains(talk, filepath.Join(capture.Root, "one")) {
		t.Errorf("colours in a pipe, or the capture's name not said: %q", talk)
	}
}

func TestReportJSON(t *testing.T) {
	dir := recorded(t, visits()...)
	out, _, err := reportOf(t, dir, "--json", "--since", "deploy")
	if err != nil {
		t.Fatal(err)
	}
	var rep baseline.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Schema != baseline.Schema || len(rep.Routes) != 1 || rep.Routes[0].Route != "GET /new" || rep.Window.Since != "deploy" {
		t.Errorf("since the last mark of the name: %s", out)
	}
	// Names that other programs rely on.
	var raw struct {
		Coverage map[string]any
		Routes   []map[string]any
	}
	if err := json.Unmarshal([]byte(out), &raw); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("route requests rate errors error_rate p50_ms p95_ms p99_ms queries_per_request " +
		"duplicate_queries_per_request db_time_share bytes_p50 example_target slow_queries error_types cache") {
		if _, ok := raw.Routes[0][name]; !ok {
			t.Errorf("no %q in a route", name)
		}
	}
	if got := rep.Routes[0].SlowQueries[0].Fingerprint; strings.Count(got, "?") > 1 {
		t.Errorf("the list is not collapsed: %s", got)
	}
}

func TestReportHTMLToAFile(t *testing.T) {
	recorded(t, visits()...)
	out, _, err := reportOf(t, "--html", "-o", "r.html")
	if err != nil || out != "" {
		t.Fatalf("%v, printed %q", err, out)
	}
	page, err := os.ReadFile("r.html")
	if err != nil || !bytes.Contains(page, []byte("GET /middle")) {
		t.Errorf("%v: %.200s", err, page)
	}
}

func TestReportOfAnEmptyCapture(t *testing.T) {
	recorded(t)
	out, _, err := reportOf(t)
	if err != nil || !strings.Contains(out, "Nothing was recorded.") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReportFaults(t *testing.T) {
	recorded(t, visits()...)
	for _, c := range []struct {
		args []string
		code int
		say  []string
	}{
		{[]string{"--since", "release"}, fault.ExitUsage, []string{`cannot report since "release"`, "one of its marks: deploy, flush"}},
		{[]string{"nowhere"}, 0, []string{"nowhere"}},
		{[]string{"-o", "no/such/folder/r.txt"}, fault.ExitFailed, []string{"cannot write no/such/folder/r.txt"}},
	} {
		_, _, err := reportOf(t, c.args...)
		if err == nil {
			t.Errorf("%v: no error", c.args)
			continue
		}
		if c.code != 0 && fault.ExitCode(err) != c.code {
			t.Errorf("%v: exit code %d, want %d", c.args, fault.ExitCode(err), c.code)
		}
		for _, want := range append(c.say, "demarc report: ", "retry: ") {
			if !strings.Contains(fault.Text(err), want) {
				t.Errorf("%v: no %q in\n%s", c.args, want, fault.Text(err))
			}
		}
	}
	if err := os.RemoveAll(capture.Root); err != nil {
		t.Fatal(err)
	}
	if _, _, err := reportOf(t); err == nil || !strings.Contains(fault.Text(err), "demarc run -- ") {
		t.Errorf("without a capture: %v", err)
	}
}
