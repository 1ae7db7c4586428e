package forecast

import (
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

// Requests of an access log: no hash of an answer, no duration. Reuse is told, a forecast is not made.
func TestReuseWithoutAnswers(t *testing.T) {
	f := New(Options{})
	for i, r := range []struct {
		at     int64 // s
		target string
	}{{0, "/a/1"}, {5, "/a/1"}, {15, "/a/1"}, {16, "/a/2?x=1"}, {17, "/a/2?x=2"}, {70, "/a/1"}} {
		if err := f.Add([]event.Event{{Type: event.TypeRequest, At: (r.at + 1) * 1e9, Request: &event.Request{Kind: "http", Method: "GET", Route: "/a/{}",
			Target: r.target, Status: 200, BodyBytes: event.Some(int64(100 + i))}}}); err != nil {
			t.Fatal(err)
		}
	}
	rep := f.Report()
	if len(rep.Boundaries) != 1 {
		t.Fatalf("%d candidates", len(rep.Boundaries))
	}
	b := rep.Boundaries[0]
	// /a/1 at 0, 5, 15, 70: of 10 s one hit (5); of a minute two (5, 15); of an hour three. Answers: 105 + 103 + 104 bytes.
	want := "right or not: 17 % at 10 s, 33 % at 1 min, 50 % at 1 h (6 requests, 3 addresses, 312 bytes)"
	if b.Verdict != Leave || b.Forecast != nil || len(b.Curve) != 0 || !strings.HasPrefix(b.Reason, "no forecast: answers carry no hash") || !strings.HasSuffix(b.Reason, want) {
		t.Errorf("%s, forecast %v: %s", b.Verdict, b.Forecast, b.Reason)
	}
	codes := ""
	for _, w := range rep.Warnings {
		codes += w.Code + " "
	}
	if codes != "no-hashes no-principals no-queries inferred-routes " {
		t.Errorf("warnings %s", codes)
	}
}
