package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/compare"
)

func sampleComparison() *compare.Result {
	f := func(v float64) *float64 { return &v }
	ci := func(lo, hi *float64) *[2]*float64 { return &[2]*float64{lo, hi} }
	hostile := "GET /a|<b>\x1b[31m@team"
	return &compare.Result{
		Schema: compare.Schema, Verdict: compare.Mixed, Confidence: 0.95, MinEffect: 0.01, Correction: "holm", Tests: 9,
		Before: compare.Side{Name: ".demarc/one", From: "2026-11-21T10:00:01.000Z", To: "2026-11-21T10:02:03.000Z", Seconds: 122, Requests: 1204, Services: []string{"shop 1.4.1"}},
		After:  compare.Side{Name: ".demarc/two", Window: "since deploy", From: "2026-11-21T23:59:00.000Z", To: "2026-11-22T00:01:00.000Z", Seconds: 120, Requests: 1, Services: []string{}},
		Counts: compare.Counts{Better: 2, Worse: 1, Nothing: 1, TooFew: 1},
		Totals: []compare.Row{
			{Route: compare.TotalRoute, Metric: compare.P50, Before: f(12.4), After: f(12.6), Change: f(0.016), CI: ci(f(-0.01), f(0.04)), P: f(0.4), N: [2]int64{1204, 1190}, Verdict: compare.Nothing, ChangeIs: compare.Relative, Notes: []string{"mix"}},
		},
		Routes: []compare.Row{
			{Route: hostile, Metric: compare.P50, Before: f(30.1), After: f(22), Change: f(-0.269), CI: ci(f(-0.3), f(-0.24)), P: f(0.00001), N: [2]int64{1000, 1000}, Verdict: compare.Better, ChangeIs: compare.Relative, Notes: []string{}},
			{Route: hostile, Metric: compare.P99, Before: f(90), After: f(80), N: [2]int64{400, 400}, Needs: 500, Verdict: compare.TooFew, ChangeIs: compare.Relative, Notes: []string{}},
			{Route: hostile, Metric: compare.ErrorRate, Before: f(0.001), After: f(0.021), Change: f(0.02), CI: ci(f(0.012), f(0.03)), P: f(0.002), N: [2]int64{1000, 1000}, Verdict: compare.Worse, ChangeIs: compare.Difference, Notes: []string{"bursts"}},
			{Route: hostile, Metric: compare.HitRatio, After: f(0.8), N: [2]int64{0, 900}, Verdict: compare.Nothing, ChangeIs: compare.Difference, Notes: []string{}},
			{Route: "GET /b", Metric: compare.QueriesPerRequest, Before: f(24), After: f(4), Change: f(-20.0 / 24), CI: ci(f(-0.85), nil), P: f(0), N: [2]int64{200, 180}, Verdict: compare.Better, ChangeIs: compare.Relative, Notes: []string{}},
		},
		New:      []compare.Only{{Route: "POST /<new>", Requests: 1, P50Ms: f(4)}},
		Gone:     []compare.Only{},
		Warnings: []compare.Doubt{{Code: "mix", Route: compare.TotalRoute, Text: "the mix of routes changed"}, {Code: "bursts", Route: hostile, Text: "errors came in bursts"}},
		Unasked:  []string{compare.StaleReads},
	}
}

func TestCompareTerminal(t *testing.T) {
	var b bytes.Buffer
	if err := CompareTerminal(&b, sampleComparison(), TerminalOptions{Width: 120}, false); err != nil {
		t.Fatal(err)
	}
	const want = `before  .demarc/one · shop 1.4.1 · 2026-11-21 10:00:01 – 10:02:03 UTC (2 m 02 s) · 1,204 requests
after   .demarc/two · since deploy · 2026-11-21 23:59:00 – 2026-11-22 00:01:00 UTC (2 m 00 s) · 1 request

Figures of routes: 2 better, 1 worse, 1 without a difference that can be claimed (~), 1 with too few requests.
Confidence 95% over all of them together.

ROUTE                    METRIC            BEFORE    AFTER   CHANGE       95% INTERVAL       P     REQUESTS
(all routes)             p50              12.4 ms  12.6 ms    +1.6%      −1.0% … +4.0%   0.400  1,204/1,190  ~ [1]
GET /a|<b>�[31m@team     p50              30.1 ms  22.0 ms     −27%        −30% … −24%  <0.001        1,000  better
                         error rate          0.1%     2.1%  +2.0 pt  +1.2 pt … +3.0 pt   0.002        1,000  worse [2]
GET /b                   queries/request     24.0     4.00     −83%          −85% … +∞  <0.001      200/180  better

`
	if got := b.String(); !strings.HasPrefix(squeeze(got), squeeze(want)) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, line := range []string{
		"~ no difference can be claimed; few, needs N: too few requests, each side needs for p99 500",
		"NEW ROUTES only after", "POST /<new> 1 request, p50 4.00 ms",
		"[1] (all routes): the mix of routes changed", "errors came in bursts",
	} {
		if !strings.Contains(squeeze(b.String()), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if n := width(strings.TrimRight(line, "\n")); n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, columns := range []int{80, 100} { // without what does not fit
		var narrow bytes.Buffer
		if err := CompareTerminal(&narrow, sampleComparison(), TerminalOptions{Width: columns}, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(narrow.String()) {
			if n := width(strings.TrimRight(line, "\n")); n > columns {
				t.Errorf("%d of %d columns: %s", n, columns, line)
			}
		}
	}
	var all bytes.Buffer
	if err := CompareTerminal(&all, sampleComparison(), TerminalOptions{Width: 120, Color: true}, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"needs 500", "\x1b[32m", "\x1b[31m"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no %q in\n%s", want, all.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("escapes without colour")
	}
}

func squeeze(s string) string { return regexp.MustCompile(`[ ]+`).ReplaceAllString(s, " ") }

func TestCompareMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := CompareMarkdown(&b, sampleComparison()); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"## Some better, some worse than before\n", `GET /a\|&lt;b&gt;�\[31m&#64;team | p50 | 30.1 ms | 22.0 ms | −27% |`, "**better**", "too few, needs 500",
		"1. (all routes): the mix of routes changed\n", `\~ \[1\]`, "- POST /&lt;new&gt;: 1 request",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, bad := range []string{"<b>", "@team", "\x1b", "<new>"} {
		if strings.Contains(got, bad) {
			t.Errorf("%q is not escaped", bad)
		}
	}
	columns := 0
	for line := range strings.Lines(got) { // a stray bar would shift a row's cells
		if !strings.HasPrefix(line, "| ") || strings.Contains(line, "before | ") && columns == 0 {
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if n != 10 && n != 3 {
			t.Errorf("%d bars in %s", n, line)
		}
	}
}

func TestCompareHTML(t *testing.T) {
	var b bytes.Buffer
	if err := CompareHTML(&b, sampleComparison()); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{"Content-Security-Policy", "Some better, some worse than before", "GET /a|&lt;b&gt;�[31m@team", "−27%", `class="better"`,
		"POST /&lt;new&gt;", "errors came in bursts", "demarc.compare/1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, bad := range []string{"<b>", "\x1b", "<script", "http://", "https://", "ZgotmplZ"} {
		if strings.Contains(got, bad) {
			t.Errorf("%q in the page", bad)
		}
	}
}

func TestCompareOfNothing(t *testing.T) {
	res := compare.Compare(compare.New(compare.SampleOptions{}), compare.New(compare.SampleOptions{}), compare.Options{})
	for name, write := range map[string]func(*bytes.Buffer) error{
		"terminal": func(b *bytes.Buffer) error { return CompareTerminal(b, res, TerminalOptions{}, false) },
		"markdown": func(b *bytes.Buffer) error { return CompareMarkdown(b, res) },
		"html":     func(b *bytes.Buffer) error { return CompareHTML(b, res) },
		"json":     func(b *bytes.Buffer) error { return CompareJSON(b, res) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
