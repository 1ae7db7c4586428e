//go:build soak

package endtoend

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// hourRequests is how many requests an hour of traffic has, asked as fast as they are answered: 20 a second, or
// as many as DEMARC_SOAK_RATE says, for a machine or an evening that has less.
func hourRequests(t *testing.T) int {
	rate := 20
	if text := os.Getenv("DEMARC_SOAK_RATE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			t.Fatalf("DEMARC_SOAK_RATE is %q, expected requests a second, 1 to 1000", text)
		}
		rate = n
	}
	return 60 * 60 * rate
}

// hourHits is what share of the requests must have brought a hit that was judged for "no finding" to mean something: one
// in so many.
const hourHits = 7

// An hour of traffic finds nothing stale in the example service, whose caches are right: neither while it runs nor in the
// capture.
func TestSoakHourOnSQLite(t *testing.T) {
	database := filepath.Join(t.TempDir(), "conduit.db")
	nothingInAnHour(t, []string{"DATABASE_URL=sqlite+aiosqlite:///" + database, "CACHE_URL=local"}, nil)
}

func TestSoakHourOnPostgresAndRedis(t *testing.T) {
	postgres := strings.Replace(need(t, "DEMARC_TEST_POSTGRES"), "postgresql://", "postgresql+asyncpg://", 1)
	nothingInAnHour(t, []string{"DATABASE_URL=" + postgres, "CACHE_URL=" + need(t, "DEMARC_TEST_REDIS")}, []string{"--workers", "2"})
}

func nothingInAnHour(t *testing.T, env, args []string) {
	requests := hourRequests(t)
	s, sum := conduit(t, requests, env, nil, args)
	s.stop()
	if sum.Requests != requests {
		t.Errorf("%d requests were asked", sum.Requests)
	}
	if errs := s.errs.String(); strings.Contains(errs, "demarc: stale read") || strings.Contains(errs, "demarc: leak") {
		t.Errorf("told while it ran:\n%s", errs)
	}
	checkNothingStale(t, s)
	c := s.stale().Coverage
	if c.HitsJudged != nil {
		judged := int64(float64(c.Hits) * *c.HitsJudged)
		t.Logf("%d of %d hits were judged", judged, c.Hits)
		if least := int64(requests / hourHits); judged < least {
			t.Errorf("only %d hits were judged, expected %d", judged, least)
		}
	}
	if t.Failed() {
		t.Logf("%s", s.do("stale", s.capture))
	}
}
