package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/forecast"
)

func chosen() *forecast.Report {
	ttl := int64(90_000)
	share := 0.97
	return &forecast.Report{
		Schema: forecast.Schema, Start: "Start with GET /a, because it saves 12 % of the time of all requests.",
		Boundaries: []forecast.Boundary{
			{
				Name: "GET /articles/{slug}", Level: "response", Verdict: forecast.Cache, Reason: "saves 12 % of the time of all requests; no stale serve",
				Key: []string{"path.slug", "principal"}, Ignored: []string{"query.utm_source"}, TTLMs: &ttl, How: "row-fenced", Coverage: &share,
				On:       []forecast.Dependency{{Table: "articles", By: "row"}, {Table: "tags", By: "table"}},
				Forecast: &forecast.Figures{Requests: 1000, Hits: 870, HitRatio: 0.87, SavedMs: 12_000, StaleServes: 3, Overlapping: 3, PeakKeys: 12, PeakBytes: 4096},
				Inputs: []forecast.KeyInput{{Name: "principal", Use: "key", Pairs: 120, Differ: 7, Because: "answers differ with it"},
					{Name: "query.utm_source", Use: "ignored", Pairs: 41, Because: "answers stay the same"}},
				Notes: []string{"unstable: 1 % of its answers differ"},
			},
			{Name: "GET /\x1b[31mred\u202e", Level: "response", Verdict: forecast.Leave, Reason: "never: 3 of 3 answers \x07 set a cookie", TimeShare: 0.2},
		},
		Set:      forecast.Set{Names: []string{"GET /articles/{slug}"}, SavedMs: 12_000, ShareOfTime: 0.12, PeakKeys: 12, PeakBytes: 4096},
		Warnings: []forecast.Warning{{Code: "no-queries", Text: "no statement was recorded"}},
	}
}

func TestChooseTerminal(t *testing.T) {
	for _, columns := range []int{60, 100, 160} {
		var b bytes.Buffer
		if err := ChooseTerminal(&b, chosen(), ChooseOptions{TerminalOptions: TerminalOptions{Width: columns}, Explain: true}); err != nil {
			t.Fatal(err)
		}
		words := strings.Join(strings.Fields(b.String()), " ")
		for _, want := range []string{
			"key path.slug, principal; not query.utm_source", "lifetime 90s, dropped by writes to articles (by row), tags (by table); a fill",
			"1,000 requests · 870 hits (87%) · saves 12.0 s · no stale serve (3 while a write was under way) · at most 12 entries, 4.10 kB",
			"note: unstable", "7 of 120 pairs of different users got different answers", "query.utm_source (41 pairs", "Observed writes explain 97%",
			"WHAT THE EVIDENCE LACKS no statement was recorded", "Start with GET /a",
		} {
			if !strings.Contains(words, want) {
				t.Errorf("width %d: %q is missing:\n%s", columns, want, b.String())
			}
		}
		for line := range strings.Lines(b.String()) {
			if width(strings.TrimRight(line, "\n")) > columns {
				t.Errorf("%d columns were given: %q", columns, line)
			}
		}
		if strings.ContainsAny(b.String(), "\x1b\x07\u202e") {
			t.Errorf("what clients chose reaches the terminal: %q", b.String())
		}
	}
}

func TestLifetimes(t *testing.T) {
	for ms, want := range map[int64]string{100: "100ms", 1500: "1500ms", 2000: "2s", 90_000: "90s", 300_000: "5m", 86_400_000: "24h"} {
		if got := lifetime(&ms); got != want {
			t.Errorf("%d ms: %s, %s was expected", ms, got, want)
		}
	}
	if lifetime(nil) != unknown {
		t.Error("no lifetime")
	}
}
