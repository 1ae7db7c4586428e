//go:build soak

package endtoend

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// loopJSON is what scripts/demo-cached --json prints (demarc.loop/1).
type loopJSON struct {
	Boundaries []struct {
		Name                 string
		Requests             int
		RequestsBefore       int `json:"requests_before"`
		Hits                 int
		HitsForecast         int `json:"hits_forecast"`
		HitsReplayed         int `json:"hits_replayed"`
		SavedQueries         int `json:"saved_queries"`
		SavedQueriesForecast int `json:"saved_queries_forecast"`
		Stale                int
		StaleReplayed        int `json:"stale_replayed"`
		StaleLow             int `json:"stale_low"`
		StaleHigh            int `json:"stale_high"`
	}
	Left map[string]string
	Keys map[string][]string
	All  struct {
		Requests, Unexpected, Hits, Stale int
	}
}

// What demarc choose foretells comes true: the boundaries that it chooses for the uncached example are put there by its
// snippet, on a real Redis, and the same traffic is asked again. Each hit is compared with the service without a cache.
func TestSoakForecastComesTrue(t *testing.T) {
	binary := demarc(t) // before the clock runs: it may have to be built
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	script, err := filepath.Abs(filepath.Join("..", "..", "scripts", "demo-cached"))
	if err != nil {
		t.Fatal(err)
	}
	python := need(t, "DEMARC_TEST_PYTHON")
	cmd := exec.CommandContext(ctx, python, script, "--json", "--requests", "600", "--rate", "60", "--demarc", binary,
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
	if got.All.Requests != 600 || got.All.Unexpected != 0 {
		t.Errorf("%d requests, %d with another status than uncached", got.All.Requests, got.All.Unexpected)
	}
	// A lifetime ends by the clock, and a busy machine asks the second time at another pace: so the measurement is held
	// against the replay of what was observed uncached at the times at which it was asked again.
	var requests, hits, forecast int
	var saved, savedForecast float64
	for _, b := range got.Boundaries {
		if b.Requests != b.RequestsBefore {
			t.Errorf("%s: %d requests before, %d after: not the same traffic", b.Name, b.RequestsBefore, b.Requests)
		}
		requests, hits, forecast = requests+b.Requests, hits+b.Hits, forecast+b.HitsReplayed
		saved += float64(b.SavedQueries)
		savedForecast += float64(b.SavedQueriesForecast*b.HitsReplayed) / float64(b.HitsForecast)
		// Of 50 requests one is two points.
		if off := math.Abs(float64(b.Hits - b.HitsReplayed)); off > max(3, 0.01*float64(b.Requests)) {
			t.Errorf("%s: %d hits in %d requests, the replay says %d", b.Name, b.Hits, b.Requests, b.HitsReplayed)
		}
		if b.Stale < min(b.StaleLow, b.StaleReplayed) || b.Stale > max(b.StaleHigh, b.StaleReplayed) {
			t.Errorf("%s: %d stale serves, %d to %d were forecast", b.Name, b.Stale, b.StaleLow, b.StaleHigh)
		}
		if slices.Contains(got.Keys[b.Name], "query.utm_source") {
			t.Errorf("%s: the tracking parameter is in the key: %v", b.Name, got.Keys[b.Name])
		}
	}
	if hits < 100 || math.Abs(float64(hits-forecast)) > 0.01*float64(requests) {
		t.Errorf("%d hits in %d requests, %d were forecast", hits, requests, forecast)
	}
	if math.Abs(saved-savedForecast) > 0.03*savedForecast {
		t.Errorf("%.0f statements saved, %.0f were forecast", saved, savedForecast)
	}

	// What looks worth a cache, or is not what it looks like.
	chosen := func(name string) bool { return got.Left[name] == "" }
	for name, why := range map[string]string{
		"POST /api/users/login": "never", // slow, and no answer is another's
		"GET /api/user":         "",      // holds a token with the time
		"GET /health":           "",      // asked all the time, but quicker than a look-up
		"GET /api/articles":     "+",     // differs between users: favorited, following
		"GET /api/tags":         "+",     // written by a background task
	} {
		if why == "+" != chosen(name) || !strings.HasPrefix(got.Left[name], strings.TrimPrefix(why, "+")) {
			t.Errorf("%s: %q", name, got.Left[name])
		}
	}
	for _, name := range []string{"GET /api/articles", "GET /api/articles/{slug}", "GET /api/articles/feed"} {
		if !slices.Contains(got.Keys[name], "principal") {
			t.Errorf("%s: the key lacks the principal: %v", name, got.Keys[name])
		}
	}
}
