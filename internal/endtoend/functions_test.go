package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFunctionOfAServiceWithoutUsers: a function is chosen without the principal in its key, since no request had one; what is printed
// for it passes its own tests, and put into the service it hits and drops.
func TestFunctionOfAServiceWithoutUsers(t *testing.T) {
	python := need(t, "DEMARC_TEST_PYTHON")
	redis := need(t, "DEMARC_TEST_REDIS") + "?socket_timeout=60&socket_connect_timeout=60" // a machine that stalls is no Redis that fails
	app, err := filepath.Abs(filepath.Join("testdata", "prices"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	settings := filepath.Join(dir, "demarc.yaml")
	if err := os.WriteFile(settings, []byte("observe: { functions: [\"prices:price_of\"] }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"PRICES_DB=sqlite:///" + filepath.Join(dir, "prices.db"), "BOUNDARY_PREFIX=" + filepath.Base(t.TempDir()) + ":" + dir + ":"}
	command := uvicorn(python, "prices:app", "--app-dir", app)
	items := []string{"pen", "ink", "pad"}
	cents := []int{120, 480, 250}
	// ask asks for an offer, as another page each time, and says how often a price was computed by then.
	ask := func(s *service, i int) (computed int) {
		t.Helper()
		status, body := s.get(fmt.Sprintf("/offers/%s?page=%d", items[i%3], i))
		var got struct{ Cents, Computed int }
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || got.Cents != cents[i%3] {
			t.Fatalf("%s: %d %s, %d was expected", items[i%3], status, body, cents[i%3])
		}
		return got.Computed
	}
	s := observe(t, dir, "/offers/pen", env, []string{"--config", settings}, command)
	for i := range 90 {
		if i == 45 {
			cents[1] = 500
			s.send("PUT", "/prices/ink/500")
		}
		ask(s, i)
	}
	s.stop()
	var chosen struct {
		Boundaries []struct {
			Name, Level, Verdict string
			Key, Ignored         []string
			Inputs               []struct{ Name, Use, Because string }
		}
	}
	text := s.do("choose", "--json", "--level", "function", s.capture)
	if err := json.Unmarshal([]byte(text), &chosen); err != nil || len(chosen.Boundaries) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	if b := chosen.Boundaries[0]; b.Name != "prices:price_of" || b.Verdict != "cache" || !slices.Equal(b.Key, []string{"arg.item"}) || !slices.Contains(b.Ignored, "principal") ||
		!strings.Contains(text, `"no request had one"`) {
		t.Fatalf("%+v", b)
	}
	into := filepath.Join(dir, "boundaries")
	s.do("choose", "--snippet", "cashews", "--level", "function", "--into", into, s.capture)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-m", "pytest", "-q", "-p", "no:cacheprovider", into)
	cmd.Dir, cmd.Env = into, append(cleanEnv(), "REDIS_URL="+redis, "PYTEST_DEBUG_TEMPROOT="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), " passed") || strings.Contains(string(out), "skipped") {
		t.Fatalf("%v\n%s", err, out)
	}
	cached := observe(t, dir, "/offers/pen", append(env, "CACHED=1", "PYTHONPATH="+into, "REDIS_URL="+redis), nil, command)
	computed := 0
	for i := range 30 {
		computed = ask(cached, i)
	}
	if computed != 3 {
		t.Errorf("of 31 prices %d were computed, 3 were expected", computed)
	}
	cents[2] = 99
	cached.send("PUT", "/prices/pad/99")
	for i := range 6 {
		computed = ask(cached, i)
	}
	if computed != 6 {
		t.Errorf("%d prices were computed, 6 were expected: a write drops what rests on its table", computed)
	}
	cached.stop()
}
