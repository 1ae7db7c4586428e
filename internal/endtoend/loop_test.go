package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loopJSON is what scripts/demo-cached --json prints (demarc.loop/1).
type loopJSON struct {
	Boundaries []struct {
		Name                 string
		Invalidation         string
		Requests             int
		RequestsBefore       int `json:"requests_before"`
		Hits                 int
		HitsForecast         int `json:"hits_forecast"`
		SavedQueries         int `json:"saved_queries"`
		SavedQueriesForecast int `json:"saved_queries_forecast"`
		Stale                int
		StaleLow             int `json:"stale_low"`
		StaleHigh            int `json:"stale_high"`
	}
	Left  map[string]string
	Keys  map[string][]string
	Check []struct{ Boundary, Family, What, Verdict, Seen string } // of demarc check --boundaries
	Atop  []struct {                                               // of demarc choose on the cached example
		Name, Verdict, Reason string
		Standing              *struct {
			Family   string
			HitRatio float64 `json:"hit_ratio"`
		}
	}
	All struct {
		Requests, Unexpected, Hits, Stale int
		SavedQueries                      int     `json:"saved_queries"`
		SavedQueriesForecast              int     `json:"saved_queries_forecast"`
		LateMs                            float64 `json:"late_ms"`
	}
}

// What demarc choose foretells comes true: the boundaries that it chooses for the uncached example are put there by its
// snippet, on a real Redis, and the same is asked again at the same times. Each hit is compared with the service without a cache.
// A lifetime ends by the clock: the forecast is of these times. Where a busy machine could not keep to them, it is done again.
func TestForecastComesTrue(t *testing.T) {
	binary := demarc(t) // before the clock runs: it may have to be built
	got := closedLoop(t, binary)
	for range 2 {
		wrong := got.forecastErrors()
		if len(wrong) == 0 || got.All.LateMs <= 100 {
			break
		}
		t.Logf("asked up to %.0f ms later than uncached, so again: %s", got.All.LateMs, strings.Join(wrong, "; "))
		got = closedLoop(t, binary)
	}
	for _, wrong := range got.forecastErrors() {
		t.Error(wrong)
	}
	if t.Failed() {
		t.Logf("asked up to %.0f ms later than uncached", got.All.LateMs)
	}
	got.caches(t)
	// What looks worth a cache, or is not what it looks like.
	chosen := func(name string) bool { return got.Left[name] == "" && got.Keys[name] != nil }
	for name, why := range map[string]string{
		"POST /api/users/login": "never",    // slow, and no answer is another's
		"GET /api/user":         "unstable", // holds a token with the time
		"GET /health":           "",         // asked all the time, but quicker than a look-up
		"GET /api/articles":     "+",        // differs between users: favorited, following
		"GET /api/tags":         "+",        // written by a background task
	} {
		if why == "+" != chosen(name) || !strings.HasPrefix(got.Left[name], strings.TrimPrefix(why, "+")) {
			t.Errorf("%s: chosen %v, %q", name, chosen(name), got.Left[name])
		}
	}
	for _, name := range []string{"GET /api/articles", "GET /api/articles/{slug}", "GET /api/articles/feed"} {
		if !slices.Contains(got.Keys[name], "principal") {
			t.Errorf("%s: the key lacks the principal: %v", name, got.Keys[name])
		}
	}
	byRow := 0
	for _, b := range got.Boundaries {
		for _, part := range []string{"query.utm_source", "query.fbclid", "query._"} {
			if slices.Contains(got.Keys[b.Name], part) {
				t.Errorf("%s: what only follows readers around is in the key: %v", b.Name, got.Keys[b.Name])
			}
		}
		if b.Invalidation == "row-fenced" {
			byRow++
		}
	}
	if len(got.Boundaries) < 4 || byRow == 0 {
		t.Errorf("%d boundaries, %d of them dropped by row: the loop tries too little", len(got.Boundaries), byRow)
	}
}

// caches says what is wrong with what is told of the cached example: whether its caches keep to boundaries.yaml, each of which has a
// family of its own, and that no second cache is worth it on top of them.
func (got *loopJSON) caches(t *testing.T) {
	families, drops := map[string]string{}, 0
	for _, d := range got.Check {
		if d.Verdict == "fail" || d.Family == "" || (d.What == "ttl" || d.What == "key") && d.Verdict != "pass" && !strings.Contains(d.Seen, "two values of") {
			t.Errorf("demarc check: %+v", d)
		}
		if other := families[d.Family]; other != "" && other != d.Boundary {
			t.Errorf("%s and %s have the family %s", other, d.Boundary, d.Family)
		}
		families[d.Family] = d.Boundary
		if strings.HasPrefix(d.What, "drop on ") && d.Verdict == "pass" {
			drops++
		}
	}
	if len(families) != len(got.Boundaries) || drops < len(got.Boundaries) {
		t.Errorf("demarc check decided %d families and %d drops", len(families), drops)
	}
	for _, b := range got.Atop {
		for _, mine := range got.Boundaries {
			if b.Name != mine.Name {
				continue
			}
			s := b.Standing
			if b.Verdict != "leave" || !strings.HasPrefix(b.Reason, "already cached by ") || s == nil || families[s.Family] == "" && !strings.HasSuffix(s.Family, ":{}") ||
				math.Abs(s.HitRatio-float64(mine.Hits)/float64(mine.Requests)) > 0.02 {
				t.Errorf("demarc choose, with its caches there: %+v, %d hits in %d requests", b, mine.Hits, mine.Requests)
			}
		}
		if b.Verdict != "leave" {
			t.Errorf("demarc choose, with its caches there: %+v", b)
		}
	}
}

// forecastErrors compares measurement and forecast.
func (got *loopJSON) forecastErrors() []string {
	var wrong []string
	if got.All.Requests != loopRequests || got.All.Unexpected != 0 {
		wrong = append(wrong, fmt.Sprintf("%d requests, %d with another status than uncached", got.All.Requests, got.All.Unexpected))
	}
	saved, savedForecast := 0.0, 0.0
	for _, b := range got.Boundaries {
		if b.Requests != b.RequestsBefore {
			wrong = append(wrong, fmt.Sprintf("%s: %d requests before, %d after: not the same traffic", b.Name, b.RequestsBefore, b.Requests))
		}
		if off := math.Abs(float64(b.Hits - b.HitsForecast)); off > 0.01*float64(b.Requests) {
			wrong = append(wrong, fmt.Sprintf("%s: %d hits in %d requests, %d were forecast", b.Name, b.Hits, b.Requests, b.HitsForecast))
		}
		if b.Stale < b.StaleLow || b.Stale > b.StaleHigh {
			wrong = append(wrong, fmt.Sprintf("%s: %d stale serves, %d to %d were forecast", b.Name, b.Stale, b.StaleLow, b.StaleHigh))
		}
		saved += float64(b.SavedQueries)
		savedForecast += float64(b.SavedQueriesForecast)
	}
	if math.Abs(saved-savedForecast) > 0.03*savedForecast {
		wrong = append(wrong, fmt.Sprintf("%.0f statements saved behind the boundaries, %.0f were forecast", saved, savedForecast))
	}
	if a := got.All; math.Abs(float64(a.SavedQueries-a.SavedQueriesForecast)) > 0.03*float64(a.SavedQueriesForecast) || a.Hits < 100 {
		wrong = append(wrong, fmt.Sprintf("%d hits; %d statements saved in all, %d were forecast", a.Hits, a.SavedQueries, a.SavedQueriesForecast))
	}
	return wrong
}

const loopRequests = 800

func closedLoop(t *testing.T, binary string) *loopJSON {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	script, err := filepath.Abs(filepath.Join("..", "..", "scripts", "demo-cached"))
	if err != nil {
		t.Fatal(err)
	}
	python := need(t, "DEMARC_TEST_PYTHON")
	cmd := exec.CommandContext(ctx, python, script, "--json", "--requests", strconv.Itoa(loopRequests), "--rate", "60", "--demarc", binary,
		"--redis", need(t, "DEMARC_TEST_REDIS"), "--python", python, "--folder", filepath.Join(t.TempDir(), "loop"))
	cmd.Env = cleanEnv()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it stops what it started
	cmd.WaitDelay = 30 * time.Second
	var errs lockedBuffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var got loopJSON
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return &got
}
