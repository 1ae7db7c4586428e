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
	t.missing()
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

// window is "2026-11-21 10:00:01 – 10:02:03 UTC (2 m 02 s of requests)": other reports tell the time of all events, which
// begins before the first request and ends after the last.
func window(w baseline.Window) string {
	if len(w.From) < 19 || len(w.To) < 19 {
		return ""
	}
	to := w.To[11:19]
	if w.To[:10] != w.From[:10] {
		to = w.To[:10] + " " + to
	}
	return fmt.Sprintf("%s %s – %s UTC (%s of requests)", w.From[:10], w.From[11:19], to, millis(w.Seconds*1e3))
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
