package endtoend

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// staleJSON is what these tests read of demarc.stale/1.
type staleJSON struct {
	Schema     string `json:"schema"`
	StaleReads int64  `json:"stale_reads"`
	Coverage   struct {
		Hits       int64    `json:"hits"`
		HitsJudged *float64 `json:"hits_judged"`
	} `json:"coverage"`
	Findings []struct {
		ID, Cause, Verdict, Family, Key string
		StaleReads                      int64                             `json:"stale_reads"`
		MissingField                    string                            `json:"missing_field"`
		Writer                          struct{ Route, Code, SQL string } `json:"writer"`
		Advice                          string                            `json:"advice"`
	} `json:"findings"`
}

func (s *service) stale(args ...string) staleJSON {
	s.t.Helper()
	var r staleJSON
	text := s.do(append([]string{"stale", "--json", s.capture}, args...)...)
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.Schema != "demarc.stale/1" {
		s.t.Fatalf("stale --json: %v\n%s", err, text)
	}
	return r
}

// checkNothingStale holds that no finding is invented on a service whose caches are right.
func checkNothingStale(t *testing.T, s *service) {
	t.Helper()
	r := s.stale()
	for _, f := range r.Findings {
		t.Errorf("invented: %s %s %s of %s, %d stale reads, written by %s %s", f.Verdict, f.Cause, f.MissingField, f.Key, f.StaleReads, f.Writer.Route, f.Writer.Code)
	}
	if r.Coverage.Hits == 0 || r.Coverage.HitsJudged == nil || *r.Coverage.HitsJudged < 0.9 {
		t.Errorf("of %d hits too few were judged: %v", r.Coverage.Hits, r.Coverage.HitsJudged)
	}
}

func (s *service) send(method, path string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		s.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// checkToldSoon holds that a finding is told soon after the event that proves it: the set that gave article 2 another value.
// Two seconds are promised on a machine that has time for it; here others may have it.
func checkToldSoon(t *testing.T, s *service, told time.Time) {
	t.Helper()
	var proved time.Time
	for _, c := range ofType(s.events(), "cache") {
		if c["op"] != "set" || c["key"] != "article:2" {
			continue
		}
		at, known := c["at"].(float64) // a quarter of a microsecond is lost
		dur, knownDur := c["dur"].(float64)
		if !known || !knownDur {
			t.Fatalf("a set without its time: %v", c)
		}
		if end := time.Unix(0, int64(at)+int64(dur)); end.After(proved) {
			proved = end
		}
	}
	if proved.IsZero() {
		t.Fatal("the capture has no set of article:2")
	}
	after := told.Sub(proved)
	t.Logf("the finding was told %v after the event that proves it", after.Round(time.Millisecond))
	if after < 0 || after > 30*time.Second {
		t.Errorf("the finding was told %v after the event that proves it", after)
	}
}

// A read is stale in a running service; demarc says so while it runs, at its end, and afterwards.
func TestStaleWhileItRuns(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("testdata", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	s := observe(t, dir, "/articles/5", nil, nil, uvicorn(need(t, "DEMARC_TEST_PYTHON"), "shop:app"))
	s.get("/articles/1")
	s.send("PUT", "/articles/1?title=new") // this writer drops
	s.get("/articles/1")
	s.get("/articles/2")
	s.send("POST", "/articles/2/publish") // this one forgets
	for range 4 {
		s.get("/articles/2")
	}
	time.Sleep(5500 * time.Millisecond) // until the entry has expired
	s.get("/articles/2")
	deadline := time.Now().Add(60 * time.Second)
	for !strings.Contains(s.errs.String(), "demarc: stale read: forgot, proven · article:{}") {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was said while the service ran:\n%s", s.errs.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	told := time.Now()
	s.stop()
	checkToldSoon(t, s, told)
	errs := s.errs.String()
	for _, want := range []string{"STALE READS", "1 finding · 4 stale reads of ", "demarc stale "} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q at the end:\n%s", want, errs)
		}
	}
	r := s.stale()
	if len(r.Findings) != 1 {
		t.Fatalf("findings: %+v", r.Findings)
	}
	f := r.Findings[0]
	if f.Cause != "forgot" || f.Verdict != "proven" || f.Family != "article:{}" || f.StaleReads != 4 || f.Writer.Route != "POST /articles/{number}/publish" ||
		!strings.Contains(f.Writer.Code, "shop:publish:") {
		t.Errorf("finding: %+v", f)
	}
	if !strings.Contains(errs, "demarc explain "+f.ID) {
		t.Errorf("the capture's finding is %s, another one was told while the service ran:\n%s", f.ID, errs)
	}
	story := s.do("explain", f.ID[:8], s.capture)
	for _, want := range []string{"forgot · proven", "POST /articles/{number}/publish", "UPDATE articles SET published", "advice"} {
		if !strings.Contains(story, want) {
			t.Errorf("no %q in\n%s", want, story)
		}
	}
	if out, _, code := run(t, s.dir, "stale", "--fail-on-findings", s.capture); code != 12 || !strings.Contains(out, "forgot") {
		t.Errorf("--fail-on-findings: exit code %d\n%s", code, out)
	}
	if out, errs, code := run(t, s.dir, "stale", "--would-delete", "UPDATE articles SET published = 0 WHERE id = 2",
		"--key", filepath.Join(s.dir, ".demarc", "key"), s.capture); code != 0 || !strings.Contains(out, "article:2") || !strings.Contains(out, "row") {
		t.Errorf("--would-delete: exit code %d\n%s%s", code, out, errs)
	}
}
