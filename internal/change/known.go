package change

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/stale"
)

// FromBaseline fills the record's baseline with what a capture says of a route; an empty route stands for all of them.
// What the record says already stays. It is an error that lists the routes if the capture has none of that name.
func (r *Record) FromBaseline(rep *baseline.Report, capture, route string) error {
	b := &r.Baseline
	b.Capture = capture
	command := "demarc report --json " + ShellQuote(capture)
	add := func(metric string, value *float64, n int64) {
		if value != nil {
			b.Figures = append(b.Figures, Figure{Metric: metric, Of: route, Value: *value, N: n, Command: command})
		}
	}
	if route == "" {
		t := &rep.Totals
		add("p50_ms", t.P50Ms, t.Requests)
		add("p95_ms", t.P95Ms, t.Requests)
		add("error_rate", t.ErrorRate, t.Requests)
		add("queries_per_request", t.QueriesPerRequest, t.Requests)
		add("misses_per_request", t.MissesPerRequest, t.Requests)
		add("hit_ratio", t.HitRatio, t.CacheHits+t.CacheMisses)
		return nil
	}
	routes := slices.Concat(rep.Routes, rep.Jobs)
	i := slices.IndexFunc(routes, func(x baseline.Route) bool { return x.Route == route })
	if i < 0 {
		names := make([]string, len(routes))
		for i := range routes {
			names[i] = routes[i].Route
		}
		if len(names) == 0 {
			return fmt.Errorf("capture %s has no route %q: it has no request at all", capture, route)
		}
		near := check.Near(route, names, 5)
		if len(near) == 0 {
			near = names[:min(5, len(names))]
		}
		return fmt.Errorf("capture %s has no route %q; it has %s", capture, route, strings.Join(near, ", "))
	}
	x := &routes[i]
	b.Route = route
	add("p50_ms", x.P50Ms, x.Requests)
	if !slices.Contains(x.TooFewFor, "p95_ms") {
		add("p95_ms", x.P95Ms, x.Requests)
	}
	if !slices.Contains(x.TooFewFor, "p99_ms") {
		add("p99_ms", x.P99Ms, x.Requests)
	}
	add("error_rate", &x.ErrorRate, x.Requests)
	add("queries_per_request", &x.QueriesPerRequest, x.Requests)
	if x.Cache.Hits+x.Cache.Misses > 0 {
		add("misses_per_request", &x.Cache.MissesPerRequest, x.Requests)
		add("hit_ratio", x.Cache.HitRatio, x.Cache.Hits+x.Cache.Misses)
	}
	if b.Input == "" && x.ExampleTarget != "" {
		b.Input = x.ExampleTarget
	}
	if b.SlowQuery == "" && len(x.SlowQueries) > 0 {
		b.SlowQuery = x.SlowQueries[0].Fingerprint
	}
	if r.Cause == "" && len(x.NPlusOne) > 0 {
		q := x.NPlusOne[0]
		r.Cause = fmt.Sprintf("one statement runs again and again within a request, %g times in half of those where it does: %s", q.MedianCount, q.Fingerprint)
		if q.Code != "" {
			r.Cause += ", at " + q.Code
		}
	}
	return nil
}

// FromBoundary fills the record with a boundary that the change introduces.
func (r *Record) FromBoundary(b *boundary.Boundary) {
	r.Boundary = b.Name
	if r.Topic == "" {
		r.Topic = oneLineTopic("Cache " + b.Name)
	}
	if r.Change == "" {
		r.Change = "remember " + describeBoundary(b)
	}
	for _, line := range []string{"stale_reads == 0", "leaks == 0"} {
		r.expect(line)
	}
	if b.Family != "" && b.Expected != nil && b.Expected.HitRatio > 0 {
		r.expect(fmt.Sprintf("hit_ratio of family %s >= %s%%", strconv.Quote(b.Family), strconv.FormatFloat(90*b.Expected.HitRatio, 'f', 0, 64)))
	}
	if e := b.Expected; e != nil {
		r.Assumptions = append(r.Assumptions, fmt.Sprintf("the traffic stays like that of the replay, which says hit ratio %.3g, %d stale serves and %d queries saved in %d requests (%s)",
			e.HitRatio, e.StaleServes, e.SavedQueries, e.Requests, b.Command))
	}
}

// FromFinding fills the record with a finding of demarc stale: what was read stale, why, and what helps.
func (r *Record) FromFinding(f *stale.Finding, capture string) {
	r.Finding = f.ID
	of := f.Family
	if of == "" {
		of = f.Store
	}
	if r.Topic == "" {
		r.Topic = oneLineTopic("Stale reads of " + of)
	}
	if r.Cause == "" {
		r.Cause = causeOf(f)
	}
	if r.Change == "" {
		r.Change = f.Advice
	}
	command := "demarc explain " + f.ID + " " + ShellQuote(capture) + " --json"
	r.Baseline.Figures = append(r.Baseline.Figures, Figure{Metric: "stale_reads", Of: of, Value: float64(f.StaleReads), Command: command},
		Figure{Metric: "max_staleness_ms", Of: of, Value: f.MaxStalenessMs, Command: command})
	for _, metric := range []string{"stale_reads", "leaks"} {
		if f.Family == "" {
			r.expect(metric + " == 0")
		} else {
			r.expect(fmt.Sprintf("%s of family %s == 0", metric, strconv.Quote(f.Family)))
		}
	}
}

// causeOf says in one text why a finding's reads were stale, or what is missing to tell.
func causeOf(f *stale.Finding) string {
	var b strings.Builder
	if f.Cause != "" {
		fmt.Fprintf(&b, "%s (%s)", f.Cause, f.Verdict)
	} else {
		fmt.Fprintf(&b, "it cannot be told: %s is missing; it may be %s", f.MissingField, strings.Join(f.Candidates, ", "))
	}
	for _, part := range []struct{ name, text string }{
		{"written by", f.Writer.Route}, {"at", f.Writer.Code}, {"into", f.Writer.Table}, {"the delete that did not help is at", f.Deleter},
	} {
		if part.text != "" {
			fmt.Fprintf(&b, ", %s %s", part.name, part.text)
		}
	}
	return b.String()
}

// describeBoundary says in one line what is remembered, by what, how long, and what drops it.
func describeBoundary(b *boundary.Boundary) string {
	text := fmt.Sprintf("the %s %s, keyed by %s, for %s", b.Level, b.Name, strings.Join(b.Key, ", "), b.TTL)
	if len(b.Key) == 0 {
		text = fmt.Sprintf("the %s %s as one entry, for %s", b.Level, b.Name, b.TTL)
	}
	if len(b.InvalidateOn) > 0 {
		var drops []string
		for _, d := range b.InvalidateOn {
			drops = append(drops, d.Table+" (by "+d.By+")")
		}
		text += "; dropped by writes to " + strings.Join(drops, ", ") + " (" + b.Invalidation + ")"
	}
	return text
}

// expect adds a check that the record does not have yet.
func (r *Record) expect(line string) {
	c, err := check.Parse(line)
	if err != nil || slices.Contains(r.ExpectedLines(), c.String()) {
		return
	}
	r.Expected = append(r.Expected, c)
}

// ExpectBetter adds the checks that an improvement of the baseline's route must pass, where the record has none of its own: a
// p95 that is a tenth faster than it was, and errors not more often.
func (r *Record) ExpectBetter() {
	route := r.Baseline.Route
	if route == "" || len(r.Expected) > 0 && r.Boundary == "" {
		return
	}
	for _, f := range r.Baseline.Figures {
		if f.Of == route && f.Metric == "p95_ms" {
			r.expect(fmt.Sprintf("p95_ms of %s < %s", strconv.Quote(route), strconv.FormatFloat(0.9*f.Value, 'g', 3, 64)))
		}
		if f.Of == route && f.Metric == "error_rate" {
			r.expect(fmt.Sprintf("error_rate of %s <= %s%%", strconv.Quote(route), strconv.FormatFloat(100*f.Value, 'g', 3, 64)))
		}
	}
}

// oneLineTopic makes a topic of any text.
func oneLineTopic(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 120 {
		text = strings.ToValidUTF8(text[:117], "") + "…"
	}
	return text
}
