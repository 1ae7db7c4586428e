package forecast

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// TestLifetimeThatIsRightByChance: requests every 100 ms, of which every other one is a hit at a lifetime of 100 ms, and what they
// show changes every 5 s, just between two of which the second one is a miss. A few milliseconds earlier, it is a stale hit.
func TestLifetimeThatIsRightByChance(t *testing.T) {
	s := newShop(1)
	start := s.now
	for i := range int64(1000) {
		v := s.visit(10 * time.Millisecond)
		v.at = start + (20+100*i)*msec
		v.done(event.Request{Method: "GET", Route: "/news", Target: "/news", Principal: "-", BodyHash: hash(i / 50)})
	}
	b := find(t, report(t, Options{}, s.events), "GET /news")
	right := false
	for _, p := range b.Curve {
		right = right || p.How == "none" && p.Hits >= 400 && p.StaleServes == 0
	}
	if !right || b.Verdict != Leave || !strings.HasPrefix(b.Reason, "every lifetime serves stale answers, or does not by chance: a lifetime of 100ms alone would keep about 10 answers beyond a change, ") {
		t.Errorf("%s: %s; %+v", b.Verdict, b.Reason, b.Curve[:3])
	}
	b = find(t, report(t, Options{Staleness: map[string]Budget{"": {Ratio: 0.05}}}, s.events), "GET /news")
	if b.Verdict != Cache || b.How != "none" || b.Forecast.StaleHigh == 0 || float64(b.Forecast.StaleHigh) > 0.05*float64(b.Forecast.HitsHigh) {
		t.Errorf("with a budget: %s: %s %+v", b.Verdict, b.Reason, b.Forecast)
	}
	b = find(t, report(t, Options{Staleness: map[string]Budget{"": {Age: 10 * time.Second}}}, s.events), "GET /news")
	if b.Verdict != Cache || b.How != "none" {
		t.Errorf("with a budget of as many seconds: %s: %s", b.Verdict, b.Reason)
	}
}

// TestWhyThereIsNoReuse: what is asked for again and again, but written to in between, is not what hardly anybody asks for twice.
func TestWhyThereIsNoReuse(t *testing.T) {
	s := newShop(2)
	held := false
	for i := range 400 {
		v := s.visit(20 * time.Millisecond)
		v.query("SELECT qty FROM stock WHERE sku = $1", 1, hash(1))
		v.done(event.Request{Method: "GET", Route: "/stock/{sku}", Target: "/stock/1", Principal: "-", BodyHash: hash("stock", i)})

		v = s.visit(20 * time.Millisecond) // nearly all of it of a cache, which is hardly ever filled
		v.get("price:1", held)
		held = i%80 != 0
		v.query("SELECT name FROM stock WHERE sku = $1", 1, hash(1))
		v.done(event.Request{Method: "GET", Route: "/names/{sku}", Target: "/names/1", Principal: "-", BodyHash: hash("name")})

		v = s.visit(20 * time.Millisecond)
		v.query("SELECT day FROM days WHERE day = $1", 1, hash(i))
		v.done(event.Request{Method: "GET", Route: "/days/{day}", Target: fmt.Sprint("/days/", i), Principal: "-", BodyHash: hash("day", i)})

		v = s.visit(5 * time.Millisecond)
		v.query("UPDATE stock SET qty = $1 WHERE sku = $2", 1, hash(i), hash(1))
		v.done(event.Request{Method: "PUT", Route: "/stock/{sku}", Target: "/stock/1", Principal: "-"})
	}
	rep := report(t, Options{}, s.events)
	for name, want := range map[string]string{
		"GET /stock/{sku}": "no reuse: writes to stock drop every entry before it is asked for again; a lifetime alone serves stale answers (",
		"GET /names/{sku}": "no reuse: writes to stock drop every entry before it is asked for again; a lifetime alone (",
		"GET /days/{day}":  "no reuse: hardly any answer is asked for twice",
	} {
		b := find(t, rep, name)
		if b.Verdict != Leave || !strings.HasPrefix(b.Reason, want) || strings.HasPrefix(name, "GET /names") && !strings.HasSuffix(b.Reason, "could be judged") {
			t.Errorf("%s: %s, %s", name, b.Verdict, b.Reason)
		}
	}
}
