package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// TerminalOptions say how the table is drawn.
type TerminalOptions struct {
	Width int  // columns, 0 for 100; under 60 lines may be longer than that
	Color bool // ANSI colours: the caller knows whether it writes to a terminal and whether NO_COLOR is set
	Rows  int  // routes shown, 0 for 30
}

// Terminal writes the report as text: routes by what they cost, then what stands out, then what the figures rest on.
func Terminal(w io.Writer, rep *baseline.Report, opt TerminalOptions) error {
	t := &terminal{rep: rep, width: max(cmp.Or(opt.Width, 100), 60), color: opt.Color, rows: cmp.Or(opt.Rows, 30)}
	t.all()
	_, err := io.WriteString(w, t.b.String())
	return err
}

type terminal struct {
	b     strings.Builder
	rep   *baseline.Report
	width int
	color bool
	rows  int
}

// Styles.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	yellow = "33"
)

func (t *terminal) style(code, s string) string {
	if !t.color || code == "" || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *terminal) line(s string) { t.b.WriteString(strings.TrimRight(s, " ") + "\n") }

func (t *terminal) head(title, note string) {
	t.line("")
	if note != "" {
		note = "  " + t.style(dim, note)
	}
	t.line(t.style(bold, title) + note)
}

func (t *terminal) all() {
	rep := t.rep
	t.summary()
	if len(rep.Routes)+len(rep.Jobs) == 0 {
		t.empty()
	}
	if len(rep.Routes) > 0 {
		t.line("")
		t.routes("ROUTE", rep.Routes)
	}
	if len(rep.Jobs) > 0 {
		t.line("")
		t.routes("JOB", rep.Jobs)
	}
	both := slices.Concat(rep.Routes, rep.Jobs)
	t.nPlusOne(both)
	t.slowQueries(both)
	t.errors(both)
	t.caches()
	t.coverage()
}

// service names the service, if the processes agree on it.
func service(rep *baseline.Report) string {
	name := ""
	for _, p := range rep.Coverage.Processes {
		if p.Service != "" && name != "" && p.Service != name {
			return "several services"
		}
		name = cmp.Or(name, p.Service)
	}
	return name
}

// window is "2026-11-21 10:00:01 – 10:02:03 UTC (2 m 02 s)".
func window(w baseline.Window) string {
	if len(w.From) < 19 || len(w.To) < 19 {
		return ""
	}
	to := w.To[11:19]
	if w.To[:10] != w.From[:10] {
		to = w.To[:10] + " " + to
	}
	return fmt.Sprintf("%s %s – %s UTC (%s)", w.From[:10], w.From[11:19], to, millis(w.Seconds*1e3))
}

// part is a piece of a line with its style.
type part struct{ style, text string }

// flow writes parts with dots between them, in as many lines as they need.
func (t *terminal) flow(parts []part) {
	line, at := "", 0
	for _, p := range parts {
		p.text = clip(p.text, t.width)
		if at > 0 && at+3+width(p.text) > t.width {
			t.line(line)
			line, at = "", 0
		}
		if at > 0 {
			line += " · "
			at += 3
		}
		line += t.style(p.style, p.text)
		at += width(p.text)
	}
	if at > 0 {
		t.line(line)
	}
}

func (t *terminal) summary() {
	rep := t.rep
	var parts []part
	if s := plain(service(rep)); s != "" {
		parts = append(parts, part{bold, s})
	}
	if s := window(rep.Window); s != "" {
		parts = append(parts, part{"", s})
	}
	if rep.Window.Since != "" {
		parts = append(parts, part{"", "since " + plain(rep.Window.Since)})
	}
	t.flow(parts)
	x := rep.Totals
	if x.Requests == 0 {
		return
	}
	requests := integer(x.Requests) + one(x.Requests, " request", " requests")
	if x.Rate != nil {
		requests += ", " + perSecond(x.Rate)
	}
	parts = []part{{"", requests}}
	if x.Errors > 0 {
		parts = append(parts, part{red, fmt.Sprintf("%s %s (%s)", integer(x.Errors), one(x.Errors, "error", "errors"), percentOr(x.ErrorRate))})
	} else {
		parts = append(parts, part{"", "no errors"})
	}
	parts = append(parts, part{"", fmt.Sprintf("p50 %s, p95 %s", millisOr(x.P50Ms), millisOr(x.P95Ms))})
	if x.Queries > 0 {
		parts = append(parts, part{"", number(*x.QueriesPerRequest) + " queries a request"})
	}
	if x.HitRatio != nil {
		parts = append(parts, part{"", "cache hit ratio " + percent(*x.HitRatio)})
	}
	t.flow(parts)
}

func one(n int64, singular, plural string) string {
	if n == 1 {
		return singular
	}
	return plural
}

func (t *terminal) empty() {
	title, hints := emptyText(t.rep)
	t.line("")
	t.line(t.style(bold, title))
	for _, h := range hints {
		t.wrap("  - ", h)
	}
}

// emptyText says why there is no route to show, and what helps.
func emptyText(rep *baseline.Report) (string, []string) {
	switch {
	case rep.Window.Since != "" && rep.Coverage.EventsBefore > 0 && rep.Coverage.Events <= 1:
		return "Nothing was recorded after the mark " + plain(rep.Window.Since) + ".", []string{
			integer(rep.Coverage.EventsBefore) + one(rep.Coverage.EventsBefore, " event", " events") + " came before it: leave out --since to see them.",
			"Traffic after the mark shows here as soon as it is recorded.",
		}
	case rep.Coverage.Events == 0:
		return "Nothing was recorded.", []string{
			"The service may have ended before its first event, or the recorder did not load (python -I, -E and -S prevent it).",
			"`demarc doctor` says what is seen, what is not, and why.",
		}
	default:
		return "No request was seen.", []string{
			integer(rep.Coverage.Events) + one(rep.Coverage.Events, " event of another type was", " events of other types were") + " recorded.",
			"Ask the service something while it is observed: curl its address, or run its tests under `demarc run -- pytest`.",
			"If it was asked, its server may not be hooked: `demarc doctor` lists the hooks.",
		}
	}
}

// column is one column of the table of routes.
type column struct {
	title string
	cell  func(*baseline.Route) string
	style func(*baseline.Route) string
	drop  int // dropped from narrow terminals, the greatest first; 0 never
}

func (t *terminal) columns(list []baseline.Route) []column {
	var queries, cached bool
	for i := range list {
		r := &list[i]
		queries = queries || r.QueriesPerRequest > 0
		cached = cached || len(r.Cache.ByStore) > 0
	}
	cols := []column{
		{title: "REQ", cell: func(r *baseline.Route) string { return integer(r.Requests) }},
		{title: "ERR", cell: func(r *baseline.Route) string {
			if r.Errors == 0 {
				return "·"
			}
			return percent(r.ErrorRate)
		}, style: func(r *baseline.Route) string {
			if r.Errors > 0 {
				return red
			}
			return dim
		}},
		{title: "P50", cell: func(r *baseline.Route) string { return millisOr(r.P50Ms) }},
		{title: "P95", cell: func(r *baseline.Route) string { return doubtful(r, "p95_ms", r.P95Ms) }},
		{title: "P99", cell: func(r *baseline.Route) string { return doubtful(r, "p99_ms", r.P99Ms) }, drop: 4},
		{title: "TIME", cell: func(r *baseline.Route) string { return percentOr(r.TimeShare) }, drop: 2},
	}
	if queries {
		cols = append(cols,
			column{title: "QUERIES", cell: func(r *baseline.Route) string { return dot(r.QueriesPerRequest) }},
			column{title: "DUPL", cell: func(r *baseline.Route) string { return dot(r.DuplicateQueriesPerRequest) },
				style: func(r *baseline.Route) string {
					if len(r.NPlusOne) > 0 {
						return yellow
					}
					return ""
				}, drop: 3},
			column{title: "DB", cell: func(r *baseline.Route) string {
				if r.QueriesPerRequest == 0 {
					return "·"
				}
				return percentOr(r.DBTimeShare)
			}, drop: 1},
		)
	}
	if cached {
		cols = append(cols,
			column{title: "HITS", cell: func(r *baseline.Route) string {
				if len(r.Cache.ByStore) == 0 {
					return "·"
				}
				return percentOr(r.Cache.HitRatio)
			}},
			column{title: "MISS/REQ", cell: func(r *baseline.Route) string { return dot(r.Cache.MissesPerRequest) }, drop: 5},
		)
	}
	return cols
}

func dot(v float64) string {
	if v == 0 {
		return "·"
	}
	return number(v)
}

// doubtful marks a percentile that rests on too few requests.
func doubtful(r *baseline.Route, name string, v *float64) string {
	if v != nil && slices.Contains(r.TooFewFor, name) {
		return "~" + millis(*v)
	}
	return millisOr(v)
}

func (t *terminal) routes(title string, list []baseline.Route) {
	shown := list[:min(len(list), t.rows)]
	cols := t.columns(shown)
	longest := width(title)
	for i := range shown {
		longest = max(longest, width(plain(shown[i].Route)))
	}
	var widths []int
	var name int
	for {
		widths = widths[:0]
		rest := t.width
		for _, c := range cols {
			w := width(c.title)
			for i := range shown {
				w = max(w, width(c.cell(&shown[i])))
			}
			widths = append(widths, w)
			rest -= w + 2
		}
		name = min(longest, rest)
		drop := -1
		for i, c := range cols {
			if c.drop > 0 && (drop < 0 || c.drop > cols[drop].drop) {
				drop = i
			}
		}
		if name >= min(longest, 24) || drop < 0 {
			break
		}
		cols = slices.Delete(cols, drop, drop+1)
	}
	name = max(name, 10)
	b := padRight(title, name)
	for i, c := range cols {
		b += "  " + padLeft(c.title, widths[i])
	}
	t.line(t.style(dim, b))
	few := false
	for i := range shown {
		r := &shown[i]
		b := padRight(fit(plain(r.Route), name), name)
		for k, c := range cols {
			s := c.cell(r)
			few = few || strings.HasPrefix(s, "~")
			s = padLeft(s, widths[k])
			if c.style != nil {
				s = t.style(c.style(r), s)
			}
			b += "  " + s
		}
		t.line(b)
	}
	if len(list) > len(shown) {
		rest := 0.0
		for _, r := range list[len(shown):] {
			if r.TimeShare != nil {
				rest += *r.TimeShare
			}
		}
		t.line(t.style(dim, fmt.Sprintf("… and %d more with %s of the time (--json has them all)", len(list)-len(shown), percent(rest))))
	}
	if few {
		t.line(t.style(dim, fmt.Sprintf("~ rests on too few requests (p95: under %d, p99: under %d)", baseline.FewForP95, baseline.FewForP99)))
	}
}

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
	if c.CostNsPerEvent != nil {
		facts = append(facts, fmt.Sprintf("the recorder's own thread took %s an event", millis(*c.CostNsPerEvent/1e6)))
	}
	if rep.Totals.Requests > 0 {
		facts = append(facts, fmt.Sprintf("percentiles within %s", percent(c.RelativeError)))
	}
	return facts
}

func (t *terminal) coverage() {
	if t.rep.Coverage.Events == 0 {
		return
	}
	t.head("COVERAGE", "")
	t.wrap("", strings.Join(coverageFacts(t.rep), "; ")+".")
	for _, w := range t.rep.Warnings {
		if w.Code == "no-requests" { // said above, with what helps
			continue
		}
		t.wrap(t.style(yellow, "! "), plain(w.Text))
	}
}

// wrap writes words in lines; the first begins with lead, the others with as much space.
func (t *terminal) wrap(lead, text string) {
	indent := len([]rune(lead))
	if strings.Contains(lead, "\x1b") {
		indent = 2
	}
	var b strings.Builder
	b.WriteString(lead)
	at := indent
	for i, word := range strings.Fields(text) {
		if i > 0 && at+1+width(word) > t.width {
			t.line(b.String())
			b.Reset()
			b.WriteString(strings.Repeat(" ", indent))
			at = indent
		} else if i > 0 {
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += width(word)
	}
	t.line(b.String())
}
