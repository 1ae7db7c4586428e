//go:build soak

package endtoend

import (
	"path/filepath"
	"strings"
	"testing"
)

const (
	// hourRequests is an hour of traffic at 20 requests a second, asked as fast as they are answered.
	hourRequests = 60 * 60 * 20
	// hourHits is how many hits of these must have been judged for "no finding" to mean something.
	hourHits = 10_000
)

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
	s, sum := conduit(t, hourRequests, env, nil, args)
	s.stop()
	if sum.Requests != hourRequests {
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
		if judged < hourHits {
			t.Errorf("only %d hits were judged, expected %d", judged, hourHits)
		}
	}
	if t.Failed() {
		t.Logf("%s", s.do("stale", s.capture))
	}
}
