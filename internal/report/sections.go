package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// The sections below the table of routes: what stands out, and what the figures rest on.

// inRoute is something found in one route.
type inRoute[T any] struct {
	route *baseline.Route
	x     T
}

// top gathers what routes have of one sort, in order, and says how many were left out.
func top[T any](routes []baseline.Route, max int, of func(*baseline.Route) []T, order func(a, b T) int) ([]inRoute[T], int) {
	var all []inRoute[T]
	for i := range routes {
		for _, x := range of(&routes[i]) {
			all = append(all, inRoute[T]{&routes[i], x})
		}
	}
	slices.SortStableFunc(all, func(a, b inRoute[T]) int { return order(a.x, b.x) })
	n := min(len(all), max)
	return all[:n], len(all) - n
}

func topNPlusOne(routes []baseline.Route, max int) ([]inRoute[baseline.NPlusOne], int) {
	return top(routes, max, func(r *baseline.Route) []baseline.NPlusOne { return r.NPlusOne },
		func(a, b baseline.NPlusOne) int { return cmp.Compare(b.TotalMs, a.TotalMs) })
}

func topSlow(routes []baseline.Route, max int) ([]inRoute[baseline.SlowQuery], int) {
	return top(routes, max, func(r *baseline.Route) []baseline.SlowQuery { return r.SlowQueries },
		func(a, b baseline.SlowQuery) int { return cmp.Compare(b.TotalMs, a.TotalMs) })
}

func topErrors(routes []baseline.Route, max int) ([]inRoute[baseline.ErrorType], int) {
	return top(routes, max, func(r *baseline.Route) []baseline.ErrorType { return r.ErrorTypes },
		func(a, b baseline.ErrorType) int { return cmp.Compare(b.Count, a.Count) })
}

// repeats says whether an N+1 asks for the same again or for different rows, since the cure differs.
func repeats(n baseline.NPlusOne) string {
	switch {
	case n.SameParameters == nil:
		return ""
	case *n.SameParameters > 0.9:
		return "same parameters: once would do"
	case *n.SameParameters < 0.1:
		return "other parameters each time: one statement would do"
	}
	return percent(*n.SameParameters) + " with the same parameters"
}

func (t *terminal) nPlusOne(routes []baseline.Route) {
	list, more := topNPlusOne(routes, 5)
	if len(list) == 0 {
		return
	}
	t.head("N+1 QUERIES", "one statement again and again within a request")
	for _, n := range list {
		b := integer(int64(n.x.MedianCount)) + "×"
		t.line(t.style(yellow, padLeft(b, 5)) + "  " + fit(plain(n.route.Route), t.width-7))
		facts := []string{fmt.Sprintf("in %s of them, %s at most", percent(n.x.Share), integer(n.x.MaxCount))}
		if s := repeats(n.x); s != "" {
			facts = append(facts, s)
		}
		t.wrap("       ", strings.Join(facts, "; "))
		t.statement(n.x.Fingerprint, n.x.Code)
	}
	t.more(more)
}

func (t *terminal) statement(text, code string) {
	t.line("       " + clip(plain(text), t.width-7))
	if code != "" {
		t.line("       " + t.style(dim, "at "+fit(plain(code), t.width-10)))
	}
}

func (t *terminal) more(n int) {
	if n > 0 {
		t.line(t.style(dim, fmt.Sprintf("       … and %d more (--json, --html)", n)))
	}
}

func (t *terminal) slowQueries(routes []baseline.Route) {
	list, more := topSlow(routes, 5)
	if len(list) == 0 {
		return
	}
	t.head("QUERIES BY TOTAL TIME", "")
	t.line(t.style(dim, "   TOTAL      P95    COUNT  STATEMENT"))
	for _, q := range list {
		t.line(fmt.Sprintf("%s %s %s  %s", padLeft(millis(q.x.TotalMs), 8), padLeft(millisOr(q.x.P95Ms), 8),
			padLeft(integer(q.x.Count), 8), clip(plain(q.x.Fingerprint), t.width-28)))
		where := plain(q.route.Route)
		if q.x.Code != "" {
			where += " at " + plain(q.x.Code)
		}
		t.line(strings.Repeat(" ", 28) + t.style(dim, fit(where, t.width-28)))
	}
	t.more(more)
}

func (t *terminal) errors(routes []baseline.Route) {
	list, more := topErrors(routes, 5)
	if len(list) == 0 {
		return
	}
	t.head("ERRORS", "")
	for _, e := range list {
		s := plain(e.x.Type)
		if e.x.Code != "" {
			s += " at " + plain(e.x.Code)
		}
		s += " · " + plain(e.route.Route)
		t.line(t.style(red, padLeft(integer(e.x.Count)+"×", 7)) + "  " + fit(s, t.width-9))
	}
	t.more(more)
}

func (t *terminal) caches() {
	list := t.rep.Stores
	if len(list) == 0 {
		return
	}
	t.head("CACHES", "requests, jobs and everything outside them")
	shown := list[:min(len(list), 8)]
	rows := [][]string{{"STORE", "HITS", "MISSES", "HIT RATIO", "SETS", "DELETES"}}
	for _, s := range shown {
		rows = append(rows, []string{
			fit(plain(storeName(s)), t.width-50), integer(s.Hits), integer(s.Misses), percentOr(s.HitRatio), integer(s.Sets), integer(s.Deletes),
		})
	}
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], width(c))
		}
	}
	for n, r := range rows {
		b := padRight(r[0], widths[0])
		for i, c := range r[1:] {
			b += "  " + padLeft(c, widths[i+1])
		}
		if n == 0 {
			b = t.style(dim, b)
		}
		t.line(b)
	}
	t.more(len(list) - len(shown))
	for i := range t.rep.Routes {
		r := &t.rep.Routes[i]
		if st := r.Cache.Stampedes; st.Count > 0 {
			t.wrap(t.style(yellow, "! "), plain(r.Route)+": "+stampedeText(st))
		}
	}
}

func stampedeText(st baseline.Stampedes) string {
	return fmt.Sprintf("%s %s: up to %s requests computed one cache entry at the same time, %s %s in vain",
		integer(st.Count), one(st.Count, "stampede", "stampedes"), integer(st.Worst), integer(st.Wasted), one(st.Wasted, "was", "were"))
}

func storeName(s baseline.Store) string {
	switch {
	case s.Layer == "":
		return cmp.Or(s.Store, "(unnamed)")
	case s.Store == "":
		return s.Layer
	}
	return s.Store + " (" + s.Layer + ")"
}

// coverageFacts are what the figures rest on, in one line of facts.
func coverageFacts(rep *baseline.Report) []string {
	c := rep.Coverage
	facts := []string{integer(c.Events) + one(c.Events, " event", " events")}
	if c.ProcessCount > 0 {
		facts[0] += fmt.Sprintf(" from %d %s", c.ProcessCount, one(int64(c.ProcessCount), "process", "processes"))
	}
	if c.Dropped == 0 {
		facts = append(facts, "none dropped")
	} else {
		facts = append(facts, integer(c.Dropped)+" dropped")
	}
	if c.SampleRate != nil && *c.SampleRate < 1 {
		facts = append(facts, fmt.Sprintf("sampled (down to %s of the keys)", percent(*c.SampleRate)))
	} else {
		facts = append(facts, "none sampled")
	}
	if c.QueriesJoined != nil {
		facts = append(facts, fmt.Sprintf("%s of %s queries joined to a request", percent(*c.QueriesJoined), integer(rep.Totals.Queries)))
	}
	if len(rep.Stores) == 0 && rep.Totals.Requests > 0 {
		facts = append(facts, "no cache operation seen")
	}
	switch {
	case c.CostNs != nil && c.MostlyIdle():
		facts = append(facts, fmt.Sprintf("the recorder's own thread took %s of processor time in %s, most of it for waking where nothing was to be sent", millis(float64(*c.CostNs)/1e6),
			millis(c.CostSeconds*1e3)))
	case c.CostNsPerEvent != nil:
		facts = append(facts, fmt.Sprintf("the recorder's own thread took %s an event", millis(*c.CostNsPerEvent/1e6)))
	}
	if rep.Totals.Requests > 0 {
		facts = append(facts, fmt.Sprintf("percentiles within %s", percent(c.RelativeError)))
	}
	return facts
}

func (t *terminal) coverage() {
	if t.rep.Coverage.Events > 0 {
		t.head("COVERAGE", "")
		t.wrap("", strings.Join(coverageFacts(t.rep), "; ")+".")
	}
	for _, w := range t.rep.Warnings {
		if w.Code == "no-requests" || w.Code == "no-events" { // said above, with what helps
			continue
		}
		t.wrap(t.style(yellow, "! "), plain(w.Text))
	}
}

// maxGaps is how many questions that stay open are listed in text; the gravest stand first.
const maxGaps = 5

// missing lists what the events do not tell where they are spans, whose settings may be changed. A recorder leaves out
// only what was not there.
func (t *terminal) missing() {
	gaps := t.rep.Coverage.MissingEvidence
	if len(gaps) == 0 || !ofSpans(t.rep) {
		return
	}
	t.head("CANNOT TELL", "from the spans that came")
	for _, g := range gaps[:min(len(gaps), maxGaps)] {
		t.wrap("? ", gapText(g))
	}
	if n := len(gaps) - maxGaps; n > 0 {
		t.line(t.style(dim, fmt.Sprintf("  … and %d more: demarc doctor", n)))
	}
}

// ofSpans says whether no recorder was at work.
func ofSpans(rep *baseline.Report) bool { return len(rep.Coverage.Hooks) == 0 }

func gapText(g baseline.Gap) string {
	return fmt.Sprintf("%s: %s absent from %s of %s; %s", plain(g.Question), plain(g.Missing), integer(g.Of), integer(g.Total), plain(g.Remedy))
}
