package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
)

// spansReport is that of one request without a recorder, which leaves eight questions open.
func spansReport() baseline.Report {
	f := baseline.New(baseline.Options{})
	f.Add(&event.Event{Type: event.TypeRequest, At: 1_790_000_000_000_000_000, Dur: event.Some(int64(1e6)), Trace: "a",
		Request: &event.Request{Kind: "http", Method: "GET", Route: "/"}})
	rep := f.Report()
	for i := range 8 {
		rep.Coverage.MissingEvidence = append(rep.Coverage.MissingEvidence, baseline.Gap{ID: fmt.Sprint("gap.", i),
			Question: fmt.Sprint("question ", i), Missing: "<b>", Of: 3, Total: 4, Remedy: fmt.Sprint("do ", i)})
	}
	return rep
}

func text(t *testing.T, rep *baseline.Report) string {
	t.Helper()
	var b strings.Builder
	if err := Terminal(&b, rep, TerminalOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What spans do not tell is listed, the gravest first; what a recorder did not see was not there.
func TestMissingEvidence(t *testing.T) {
	rep := spansReport()
	got := text(t, &rep)
	for _, want := range []string{"CANNOT TELL", "? question 0: <b> absent from 3 of 4; do 0\n", "do 4\n", "… and 3 more: demarc doctor"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "question 5") {
		t.Errorf("more than five questions:\n%s", got)
	}
	rep.Coverage.Hooks = append(rep.Coverage.Hooks, baseline.Hook{Name: "asgi"})
	if got := text(t, &rep); strings.Contains(got, "CANNOT TELL") {
		t.Errorf("a recorder was there:\n%s", got)
	}
}

// A capture whose writer was killed before its first record says so, although there is nothing to report.
func TestWarningsOfNothing(t *testing.T) {
	rep := baseline.New(baseline.Options{}).Report()
	rep.Warnings = append(rep.Warnings, baseline.Warning{Code: "capture", Text: "the writer did not end in order"})
	if got := text(t, &rep); !strings.Contains(got, "! the writer did not end in order") {
		t.Errorf("not said:\n%s", got)
	}
}
