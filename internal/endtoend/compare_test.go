package endtoend

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// comparison is what this test reads of demarc.compare/1.
type comparison struct {
	Schema string
	Totals []comparedRow
	Routes []comparedRow
}

type comparedRow struct {
	Route, Metric, Verdict string
	Before, After, Change  *float64
	P                      *float64
	N                      [2]int
}

func (c comparison) row(t *testing.T, route, metric string) comparedRow {
	t.Helper()
	for _, r := range append(c.Totals, c.Routes...) {
		if r.Route == route && r.Metric == metric {
			return r
		}
	}
	t.Fatalf("no row %s of %s", metric, route)
	return comparedRow{}
}

// checkComparison compares the example service without a cache with after, which has one: real captures. Fewer queries are found,
// and said with the figures that the reports of the two captures have. after has the mark halfway, and since then so many requests.
func checkComparison(t *testing.T, after *service, since int) {
	env := []string{"DATABASE_URL=sqlite+aiosqlite:///" + filepath.Join(t.TempDir(), "conduit.db"), "CACHE_URL=off"}
	before, _ := conduit(t, 250, env, nil, nil)
	before.stop()

	var res comparison
	text := before.do("compare", before.capture, after.capture, "--json", "--until", "halfway")
	if err := json.Unmarshal([]byte(text), &res); err != nil || res.Schema != "demarc.compare/1" {
		t.Fatalf("%v: %s", err, text)
	}
	const route = "GET /api/articles/{slug}"
	queries := res.row(t, route, "queries_per_request")
	was := before.report().route(t, route)
	if queries.Verdict != "better" || queries.N[0] != was.Requests || *queries.Before-was.QueriesPerRequest > 1e-3 || *queries.Change > -0.05 {
		t.Errorf("queries: %+v before %v after %v, the report before has %+v", queries, *queries.Before, *queries.After, was)
	}
	if p50 := res.row(t, "(all routes)", "p50_ms"); p50.P == nil || p50.N[0] < 240 {
		t.Errorf("totals: %+v", p50)
	}
	if hits := res.row(t, route, "hit_ratio"); hits.Before != nil || hits.After == nil || hits.Verdict != "~" {
		t.Errorf("a cache that was not there before: %+v", hits)
	}

	dir := t.TempDir()
	page := filepath.Join(dir, "compare.html")
	after.do("compare", "--mark", "halfway", after.capture, "--html", "-o", page)
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "GET /api/tags") {
		t.Errorf("%v", err)
	}
	// One route only: too few for a p95.
	marked := after.do("compare", "--mark", "halfway", after.capture, "--route", "GET /api/tags")
	if !strings.Contains(marked, "since halfway") || !strings.Contains(marked, fmt.Sprintf("· %d requests", since)) || !strings.Contains(marked, "needs 100") {
		t.Errorf("%s", marked)
	}
}
