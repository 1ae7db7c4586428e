package forecast

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// Where a library keeps nothing for less than a second, a lifetime that it can keep is chosen; and none where each of those
// serves what is older than it may be.
func TestLeastLifetime(t *testing.T) {
	short := Budget{Age: 600 * time.Millisecond}
	for _, c := range []struct {
		changes int64 // ms between changes of the answer; 0 for none
		budget  Budget
		least   time.Duration
		reason  string
		from    time.Duration // the chosen lifetime: from, and below
		below   time.Duration
	}{
		{0, Budget{}, 0, "no stale serve", time.Millisecond, time.Minute},
		{0, Budget{}, time.Minute, "no stale serve", time.Minute, 2 * time.Minute},
		{600, short, 0, "within the budget", time.Millisecond, time.Second},
		{600, short, time.Second, "every lifetime of 1s or more, which is what can be put there, serves stale answers", 0, 0},
	} {
		var events []event.Event
		for n := range int64(3000) {
			at, answer := 20*n, int64(1)
			if c.changes > 0 {
				answer = 1 + at/c.changes
			}
			events = append(events, line(at, fmt.Sprint("r", n), "GET", "/a", "/a", answer)...)
		}
		b := find(t, report(t, Options{LeastTTL: c.least, Staleness: map[string]Budget{"": c.budget}}, events), "GET /a")
		var ttl time.Duration
		if b.TTLMs != nil {
			ttl = time.Duration(*b.TTLMs) * time.Millisecond
		}
		if !strings.Contains(b.Reason, c.reason) || ttl < c.from || ttl >= max(c.below, 1) {
			t.Errorf("changed each %d ms, least %s: %s, lifetime %s", c.changes, c.least, b.Reason, ttl)
		}
	}
}
