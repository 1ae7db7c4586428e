package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"html"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/name; the differing text is left beside it as name.got.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		if err := os.WriteFile(path+".got", got, 0o644); err != nil {
			t.Fatal(err)
		}
		w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
		for i := range w {
			if i >= len(g) || w[i] != g[i] {
				t.Fatalf("%s differs in line %d (see %s.got; go test -update accepts it)\nwant %s\ngot  %s", path, i+1, path, w[i], g[min(i, len(g)-1)])
			}
		}
		t.Fatalf("%s: more lines than expected", path)
	}
	os.Remove(path + ".got") // of an earlier failure
}

func render(t *testing.T, rep baseline.Report, opt TerminalOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Terminal(&b, &rep, opt); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTerminalGolden(t *testing.T) {
	golden(t, "terminal.txt", render(t, sample(), TerminalOptions{}))
	golden(t, "terminal-72.txt", render(t, sample(), TerminalOptions{Width: 72}))
	golden(t, "terminal-color.txt", render(t, sample(), TerminalOptions{Color: true}))
	golden(t, "empty.txt", render(t, baseline.New(baseline.Options{}).Report(), TerminalOptions{}))

	f := baseline.New(baseline.Options{})
	f.Add(&event.Event{Type: event.TypeProcess, At: 1e18, Process: &event.Process{Op: "start"}})
	golden(t, "no-requests.txt", render(t, f.Report(), TerminalOptions{}))

	f = baseline.New(baseline.Options{Since: 2e18, SinceName: "deploy"})
	f.Add(&event.Event{Type: event.TypeRequest, At: 1e18, Request: &event.Request{Kind: "http", Method: "GET", Route: "/", Status: 200}})
	f.Add(&event.Event{Type: event.TypeMark, At: 2e18, Mark: &event.Mark{Name: "deploy"}})
	golden(t, "since-nothing.txt", render(t, f.Report(), TerminalOptions{}))

	f = baseline.New(baseline.Options{})
	f.Add(&event.Event{Type: event.TypeRequest, At: 1e18, Dur: event.Some(int64(1234567)), Request: &event.Request{Kind: "http", Method: "GET", Route: "/health", Status: 200}})
	golden(t, "one-request.txt", render(t, f.Report(), TerminalOptions{}))
}

// No line is wider than the terminal, whatever its width, and nothing that clients chose reaches it as a control.
func TestTerminalFits(t *testing.T) {
	rep := sample()
	for w := 60; w < 180; w += 7 {
		for line := range strings.Lines(string(render(t, rep, TerminalOptions{Width: w}))) {
			line = strings.TrimSuffix(line, "\n")
			if width(line) > w {
				t.Errorf("width %d: %d columns: %s", w, width(line), line)
			}
			if strings.ContainsAny(line, "\x1b\u202e\r") {
				t.Errorf("a control character in %q", line)
			}
		}
	}
}

func TestJSONGolden(t *testing.T) {
	rep := sample()
	var b bytes.Buffer
	if err := JSON(&b, &rep); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b.Bytes())
	var back baseline.Report
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil {
		t.Fatal(err)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{millis(0), "0 ms"}, {millis(0.0000001), "<0.01 µs"}, {millis(0.85), "850 µs"}, {millis(0.9996), "1.00 ms"}, {millis(12.44), "12.4 ms"},
		{millis(999.4), "999 ms"}, {millis(999.6), "1.00 s"}, {millis(99_949), "99.9 s"}, {millis(125_000), "2 m 05 s"},
		{millis(3_600_000 * 30), "30 h 00 m"}, {percent(0), "0%"}, {percent(0.0001), "<0.1%"}, {percent(0.0123), "1.2%"},
		{percent(0.5), "50%"}, {percent(0.9999), "99.9%"}, {percent(1), "100%"}, {percent(1.5), "150%"}, {integer(1234567), "1,234,567"},
		{integer(-1234), "-1,234"}, {integer(999), "999"}, {number(0.25), "0.25"}, {number(21), "21.0"}, {number(2100), "2,100"},
		{size(12), "12 B"}, {size(1900), "1.90 kB"}, {size(18e6), "18.0 MB"}, {fit("/api/articles/{slug}/comments", 12), "/api/ar…ents"},
		{clip("SELECT 1", 5), "SELE…"}, {plain("a\x1b[31m\nb\u202e"), "a\ufffd[31m b\ufffd"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestHTML(t *testing.T) {
	rep := sample()
	rep.Routes[0].Route = `GET /<script>alert(1)</script>"'&`
	rep.Routes[0].ExampleTarget = `/?q="><img src=x onerror=alert(1)>`
	var b bytes.Buffer
	if err := HTML(&b, &rep, nil); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	for _, bad := range []string{"<script", "<img", "javascript:", "http://", "https://", "style=\"", "ZgotmplZ", "\x1b", "%!", "<nil>", "NaN"} {
		if strings.Contains(s, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, want := range []string{"GET /&lt;script&gt;alert(1)&lt;/script&gt;", "Content-Security-Policy", "N+1", "IntegrityError", "conduit.serialize:author:31"} {
		if !strings.Contains(s, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// The policy names the style sheet by its hash: the browser would drop another one.
	a, e := strings.Index(s, "<style>")+len("<style>"), strings.Index(s, "</style>")
	sum := sha256.Sum256([]byte(s[a:e]))
	if !strings.Contains(html.UnescapeString(s), "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Error("the style sheet's hash is not the one in the policy")
	}
	if out := os.Getenv("REPORT_HTML"); out != "" { // for a look at the page
		rep := sample()
		b.Reset()
		if err := HTML(&b, &rep, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	spans := spansReport()
	b.Reset()
	if err := HTML(&b, &spans, nil); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.Contains(s, "<li>question 7: &lt;b&gt; absent from 3 of 4; do 7</li>") {
		t.Error("the page lacks what the spans do not tell")
	}

	empty := baseline.New(baseline.Options{}).Report()
	b.Reset()
	if err := HTML(&b, &empty, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "Nothing was recorded.") {
		t.Error("the empty page does not explain itself")
	}
}
