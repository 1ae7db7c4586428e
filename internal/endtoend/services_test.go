package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The smallest service there is: eight lines with nothing but /health.
func TestHealthApplication(t *testing.T) {
	s := observe(t, examples(t, "health"), "/health", nil, nil, uvicorn(need(t, "DEMARC_TEST_PYTHON"), "app:app"))
	for range 5 {
		if status, body := s.get("/health"); status != 200 || !sameOK(body) {
			t.Fatalf("/health answered %d %s", status, body)
		}
	}
	s.stop()
	if s.out.String() != "" {
		t.Errorf("the child's standard output was touched: %q", s.out.String())
	}
	if !strings.Contains(s.errs.String(), "GET /health") || !strings.Contains(s.errs.String(), "demarc report") {
		t.Errorf("no baseline or next command at the end:\n%s", s.errs.String())
	}
	r := s.report().route(t, "GET /health")
	if r.Requests < 6 || r.Errors != 0 || r.QueriesPerRequest != 0 || r.ExampleTarget != "/health" || r.P50 <= 0 {
		t.Errorf("route: %+v", r)
	}
}

func sameOK(body string) bool {
	var v map[string]bool
	return json.Unmarshal([]byte(body), &v) == nil && len(v) == 1 && v["ok"]
}

// conduit starts the example service under observation with seeded data, and drives seeded traffic.
func conduit(t *testing.T, requests int, env, flags, args []string) (*service, trafficSummary) {
	t.Helper()
	python := need(t, "DEMARC_TEST_PYTHON")
	dir := examples(t, "conduit")
	seed := exec.Command(python, "-m", "conduit.seed", "--yes")
	seed.Dir, seed.Env = dir, append(cleanEnv(), env...)
	if out, err := seed.CombinedOutput(); err != nil {
		t.Fatalf("seed: %v\n%s", err, out)
	}
	s := observe(t, dir, "/health", env, flags, uvicorn(python, append([]string{"conduit.app:app"}, args...)...))
	return s, drive(t, s, requests)
}

type trafficSummary struct {
	Requests int            `json:"requests"`
	Statuses map[string]int `json:"statuses"`
}

func drive(t *testing.T, s *service, requests int) trafficSummary {
	t.Helper()
	cmd := exec.Command(need(t, "DEMARC_TEST_PYTHON"), "-m", "conduit.traffic", "--base", s.base, "--seed", "1",
		"--requests", strconv.Itoa(requests), "--json")
	cmd.Dir, cmd.Env = examples(t, "conduit"), cleanEnv()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("traffic: %v\n%s%s", err, errs.String(), s.errs.String())
	}
	var sum trafficSummary
	if err := json.Unmarshal(out, &sum); err != nil || len(sum.Statuses) == 0 {
		t.Fatalf("traffic printed %s: %v", out, err)
	}
	return sum
}

// checkStatuses compares what the driver was answered with what demarc saw, request by request.
func checkStatuses(t *testing.T, events []map[string]any, want trafficSummary) {
	t.Helper()
	got := map[string]int{}
	for _, e := range ofType(events, "request") {
		if e["route"] != "/health" && e["kind"] == "http" {
			got[fmt.Sprint(e["status"])]++
		}
	}
	for status, n := range want.Statuses {
		if got[status] != n {
			t.Errorf("status %s: demarc saw %d requests, the driver %d", status, got[status], n)
		}
	}
}

func TestConduitOnSQLite(t *testing.T) {
	database := filepath.Join(t.TempDir(), "conduit.db")
	env := []string{"DATABASE_URL=sqlite+aiosqlite:///" + database, "CACHE_URL=local"}
	s, sum := conduit(t, 600, env, []string{"--log-lines=" + filepath.Join(t.TempDir(), "lines")}, nil)
	s.do("mark", "--dir", filepath.Join(s.dir, ".demarc"), "halfway", "after the first traffic")
	const sinceMark = 30
	for range sinceMark {
		s.get("/api/tags")
	}
	s.stop()
	checkNothingStale(t, s)

	events := s.events()
	sum.Statuses["200"] += sinceMark
	checkStatuses(t, events, sum)
	r := s.report()
	articles := r.route(t, "GET /api/articles")
	if articles.QueriesPerRequest < 4 || articles.DuplicatesPerReq < 2 || articles.DBTimeShare <= 0.2 {
		t.Errorf("the article list's queries: %+v", articles)
	}
	if len(articles.NPlusOne) == 0 || !strings.Contains(articles.NPlusOne[0].Code, "conduit.routes.articles:") {
		t.Errorf("the article list's N+1 is not pointed out: %+v", articles.NPlusOne)
	}
	stats := r.route(t, "GET /api/profiles/{username}/stats")
	if stats.Errors == 0 || len(stats.ErrorTypes) != 1 || stats.ErrorTypes[0].Type != "ZeroDivisionError" ||
		!strings.HasPrefix(stats.ErrorTypes[0].Code, "conduit.routes.profiles:get_stats:") {
		t.Errorf("the failing route's errors: %+v", stats)
	}
	if one := r.route(t, "GET /api/articles/{slug}"); one.Cache.Hits == 0 || one.Cache.Misses == 0 {
		t.Errorf("the in-process cache was not seen: %+v", one.Cache)
	}
	if r.Coverage["dropped"] != float64(0) {
		t.Errorf("coverage: %v", r.Coverage)
	}
	principals := map[any]bool{}
	for _, e := range ofType(events, "request") {
		principals[e["principal"]] = true
	}
	if len(principals) < 5 || !principals["-"] {
		t.Errorf("%d principals were told apart", len(principals))
	}
	since := s.report("--since", "halfway")
	if n := since.route(t, "GET /api/tags").Requests; n != sinceMark {
		t.Errorf("since the mark there were %d requests, the report says %d", sinceMark, n)
	}
	checkSecrets(t, events)
	checkSize(t, s, events)
	checkRoundTrip(t, s, r)
	checkComparison(t, s, sinceMark)
}

// Values must not be found anywhere in a capture: the seeded users' passwords and e-mail addresses are values.
func checkSecrets(t *testing.T, events []map[string]any) {
	t.Helper()
	text, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"@example", "eyJ", "password\":\"", "scrypt$"} {
		if i := bytes.Index(text, []byte(secret)); i >= 0 {
			t.Errorf("%q is in the capture: …%s…", secret, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

// The promised size is that of a capture that was filled without pauses: the service's own, written batch by batch each
// second, is larger by what each batch holds beside its events.
func checkSize(t *testing.T, s *service, events []map[string]any) {
	t.Helper()
	const most, perSecond = 30, 3000 // bytes an event, and a second
	first, last := math.Inf(1), math.Inf(-1)
	for _, e := range events {
		if at, ok := e["at"].(float64); ok { // ns, less a quarter of a microsecond
			first, last = min(first, at), max(last, at)
		}
	}
	seconds := (last - first) / 1e9
	allowed := most + perSecond*(seconds+1)/float64(len(events))
	file, again := filepath.Join(s.dir, "sized.jsonl"), filepath.Join(s.dir, "sized")
	s.do("export", s.capture, "-o", file)
	s.do("import", file, "-o", again)
	live, kept := bytesPer(t, s.capture, len(events)), bytesPer(t, again, len(events))
	t.Logf("%.1f bytes an event on disk as it ran, %.1f without pauses (%d events in %.0f s)", live, kept, len(events), seconds)
	if kept > most || live > allowed {
		t.Errorf("%.1f and %.1f bytes an event on disk: at most %d are promised, and %.1f in so many seconds", kept, live, most, allowed)
	}
}

func bytesPer(t *testing.T, capture string, events int) float64 {
	t.Helper()
	var size int64
	err := filepath.Walk(capture, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return float64(size) / float64(events)
}

// Exported events make a capture that gives the same report.
func checkRoundTrip(t *testing.T, s *service, want reportJSON) {
	t.Helper()
	file := filepath.Join(s.dir, "events.jsonl")
	s.do("export", s.capture, "-o", file)
	again := filepath.Join(s.dir, "again")
	s.do("import", file, "-o", again)
	var got reportJSON
	if err := json.Unmarshal([]byte(s.do("report", "--json", again)), &got); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(want.Routes)
	b, _ := json.Marshal(got.Routes)
	if !bytes.Equal(a, b) {
		t.Errorf("the report differs after export and import:\n%s\n%s", a, b)
	}
}

func TestConduitOnPostgresAndRedis(t *testing.T) {
	postgres := strings.Replace(need(t, "DEMARC_TEST_POSTGRES"), "postgresql://", "postgresql+asyncpg://", 1)
	env := []string{"DATABASE_URL=" + postgres, "CACHE_URL=" + need(t, "DEMARC_TEST_REDIS")}
	s, sum := conduit(t, 400, env, nil, []string{"--workers", "2"})
	s.stop()
	checkNothingStale(t, s)
	events := s.events()
	checkStatuses(t, events, sum)
	pids := map[any]bool{}
	for _, e := range ofType(events, "process") {
		pids[e["pid"]] = true
	}
	if len(pids) < 3 {
		t.Errorf("%d processes were seen, a supervisor and 2 workers were running", len(pids))
	}
	for _, q := range ofType(events, "query") {
		if q["db"] != "postgresql" {
			t.Fatalf("query on %v: %v", q["db"], q)
		}
	}
	begins, commits := 0, 0
	for _, x := range ofType(events, "txn") {
		switch x["op"] {
		case "begin":
			begins++
		case "commit":
			commits++
		}
	}
	if begins == 0 || commits == 0 {
		t.Errorf("%d begins and %d commits were seen", begins, commits)
	}
	ops := map[string]int{}
	for _, c := range ofType(events, "cache") {
		store, _ := c["store"].(string)
		if !strings.HasPrefix(store, "redis://") || c["layer"] != "shared" {
			t.Fatalf("cache event: %v", c)
		}
		ops[c["op"].(string)]++
		if c["op"] == "set" && strings.Contains(fmt.Sprint(c["key"]), "conduit:article:") && c["fill_start"] == nil {
			t.Errorf("a fill without its start: %v", c)
		}
	}
	if ops["get"] == 0 || ops["set"] == 0 || ops["delete"] == 0 {
		t.Errorf("cache operations seen: %v", ops)
	}
	checkSecrets(t, events)
	checkSize(t, s, events)
	checkBoundaries(t, s)
}

// checkBoundaries holds the caches of the example in Redis to an array that is right, and to one that is not.
func checkBoundaries(t *testing.T, s *service) {
	file := filepath.Join(t.TempDir(), "boundaries.yaml")
	for ttl, want := range map[string]struct {
		code int
		line string
	}{
		"60s": {0, "pass"}, "5m": {10, "fail"},
	} {
		text := "version: 1\nboundaries:\n  - name: GET /api/articles/{slug}\n    level: response\n    key: [path.slug]\n    ttl: " + ttl +
			"\n    invalidation: row\n    invalidate_on: [{table: articles, by: row}]\n    family: \"conduit:article:{}\"\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, code := run(t, s.dir, "check", s.capture, "--boundaries", file)
		if code != want.code || !regexp.MustCompile(`(?m)^`+want.line+`\s.*ttl`).MatchString(out) || !regexp.MustCompile(`(?m)^pass\s.*drop on articles`).MatchString(out) {
			t.Errorf("a lifetime of %s: exit %d\n%s%s", ttl, code, out, errs)
		}
	}
}

// A test suite gets a baseline, too, and its exit code and output stay its own.
func TestSuiteUnderObservation(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "test_it.py")
	err := os.WriteFile(file, []byte(`
from app import app
from fastapi.testclient import TestClient

def test_health():
    assert TestClient(app).get("/health").json() == {"ok": True}

def test_wrong():
    assert TestClient(app).get("/nothing").status_code == 200
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	capture := filepath.Join(dir, "capture")
	cmd := exec.Command(demarc(t), "run", "--dir", filepath.Join(dir, ".demarc"), "--out", capture, "--",
		need(t, "DEMARC_TEST_PYTHON"), "-m", "pytest", "-q", "-p", "no:cacheprovider", file)
	cmd.Dir, cmd.Env = dir, append(cleanEnv(), "PYTHONPATH="+examples(t, "health"))
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "1 failed, 1 passed") {
		t.Fatalf("pytest's own result must come through: %v\n%s", err, out)
	}
	s := &service{t: t, dir: dir, capture: capture}
	var tests []string
	for _, e := range ofType(s.events(), "request") {
		tests = append(tests, strings.TrimPrefix(fmt.Sprint(e["test"]), "test_it.py::"))
	}
	if len(tests) != 2 || tests[0] != "test_health" || tests[1] != "test_wrong" {
		t.Errorf("requests of the tests %q were recorded", tests)
	}
}

func TestSwitchingOffAndOn(t *testing.T) {
	s := observe(t, examples(t, "health"), "/health", nil, nil, uvicorn(need(t, "DEMARC_TEST_PYTHON"), "app:app"))
	dir := filepath.Join(s.dir, ".demarc")
	seen := func() int { return len(ofType(s.events(), "request")) }
	s.get("/health?a")
	wait(t, "the first request", func() bool { return seen() >= 2 })
	s.do("off", "--dir", dir)
	wait(t, "the recorder's word that it is off", func() bool {
		r := ofType(s.events(), "recorder")
		return len(r) > 0 && r[len(r)-1]["recording"] == false
	})
	before := seen()
	s.get("/health?b")
	s.do("on", "--dir", dir)
	wait(t, "the recorder's word that it is on", func() bool {
		r := ofType(s.events(), "recorder")
		return r[len(r)-1]["recording"] == true
	})
	s.get("/health?c")
	wait(t, "the request after it", func() bool { return seen() > before })
	s.stop()
	for _, e := range ofType(s.events(), "request") {
		if e["target"] == "/health?b" {
			t.Error("a request was recorded while recording was off")
		}
	}
}

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not seen within a minute", what)
		}
	}
}

// The service must not notice when demarc dies, and what was on disk must open.
func TestServiceOutlivesDemarc(t *testing.T) {
	s := observe(t, examples(t, "health"), "/health", nil, nil, uvicorn(need(t, "DEMARC_TEST_PYTHON"), "app:app"))
	for range 20 {
		s.get("/health")
	}
	wait(t, "the requests in the capture", func() bool { return len(ofType(s.events(), "request")) >= 20 })
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.cmd.WaitDelay = time.Second // the service still holds the pipes
	_ = s.cmd.Wait()
	for _, e := range ofType(s.events(), "process") { // who outlives demarc is ended by nobody else
		pid := int(e["pid"].(float64))
		defer func() { _ = syscall.Kill(pid, syscall.SIGTERM) }()
	}
	for range 20 {
		if status, _ := s.get("/health"); status != 200 {
			t.Fatalf("after demarc's end the service answers %d", status)
		}
	}
	if n := s.report().route(t, "GET /health").Requests; n < 20 {
		t.Errorf("%d of 20 requests that were in the capture are still there", n)
	}
}
