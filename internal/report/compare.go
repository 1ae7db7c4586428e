package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/internal/compare"
)

// CompareJSON writes a comparison as one indented JSON object (schema compare.Schema), members in a fixed order.
func CompareJSON(w io.Writer, res *compare.Result) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(res)
}

// green is the style of what got better.
const green = "32"

// CompareTerminal writes a comparison as text: the two sides, the figures over all routes and those that changed, one line a
// route, and every doubt as a footnote. With all, every figure of every route is written instead.
func CompareTerminal(w io.Writer, res *compare.Result, opt TerminalOptions, all bool) error {
	t := &comparison{terminal: terminal{width: max(cmp.Or(opt.Width, 100), 80), color: opt.Color, rows: cmp.Or(opt.Rows, 30)}, res: res}
	t.sides()
	t.figures(all)
	if !all {
		t.matrix()
	}
	t.legend()
	t.onlyOneSide()
	t.footnotes()
	_, err := io.WriteString(w, t.b.String())
	return err
}

type comparison struct {
	terminal
	res *compare.Result
}

func (t *comparison) sides() {
	for i, s := range []compare.Side{t.res.Before, t.res.After} {
		t.wrap(t.style(dim, []string{"before", "after "}[i])+"  ", compareSide(s))
	}
	t.line("")
	t.wrap("", compareSummary(t.res))
}

// compareSide is ".demarc/a · shop 1.4 · 2026-11-21 10:00:01 – 10:02:03 UTC (2 m 02 s) · 1,204 requests".
func compareSide(s compare.Side) string {
	var parts []string
	add := func(text string) {
		if text != "" {
			parts = append(parts, plain(text))
		}
	}
	add(s.Name)
	add(s.Window)
	add(strings.Join(s.Services[:min(len(s.Services), 3)], ", "))
	if len(s.From) >= 19 && len(s.To) >= 19 {
		to := s.To[11:19]
		if s.To[:10] != s.From[:10] {
			to = s.To[:10] + " " + to
		}
		add(fmt.Sprintf("%s %s – %s UTC (%s)", s.From[:10], s.From[11:19], to, millis(s.Seconds*1e3)))
	}
	add(integer(s.Requests) + one(s.Requests, " request", " requests"))
	return strings.Join(parts, " · ")
}

// compareSummary says in one sentence what can be said.
func compareSummary(res *compare.Result) string {
	var parts []string
	count := func(n int, text string) {
		if n > 0 {
			parts = append(parts, integer(int64(n))+" "+text)
		}
	}
	count(res.Counts.Better, "better")
	count(res.Counts.Worse, "worse")
	count(res.Counts.Nothing, "without a difference that can be claimed (~)")
	count(res.Counts.TooFew, "with too few requests")
	if len(parts) == 0 {
		return "No route has requests on both sides: nothing can be compared."
	}
	return fmt.Sprintf("Figures of routes: %s. Confidence %s over all of them together.", strings.Join(parts, ", "), percent(res.Confidence))
}

// compareMetric is what a metric is called in tables, long and short.
var compareMetrics = map[string][2]string{
	compare.P50: {"p50", "P50"}, compare.P95: {"p95", "P95"}, compare.P99: {"p99", "P99"},
	compare.ErrorRate: {"error rate", "ERRORS"}, compare.QueriesPerRequest: {"queries/request", "QUERIES"},
	compare.MissesPerRequest: {"misses/request", "MISSES"}, compare.HitRatio: {"hit ratio", "HITS"},
	compare.StaleReads: {"stale/request", "STALE"}, compare.LeakedReads: {"leaks/request", "LEAKS"}, compare.Bytes: {"bytes/request", "BYTES"},
}

func compareMetric(name string) string { return compareMetrics[name][0] }

// compareFigure writes a figure in its unit.
func compareFigure(metric string, v *float64) string {
	if v == nil {
		return unknown
	}
	switch metric {
	case compare.P50, compare.P95, compare.P99:
		return millis(*v)
	case compare.ErrorRate, compare.HitRatio, compare.StaleReads, compare.LeakedReads:
		return percent(*v)
	case compare.Bytes:
		return size(*v)
	}
	return number(*v)
}

// compareChange writes a change, or one of its limits: "+12%", "-0.35 pt" (points of a percentage), "+4.00".
func compareChange(r *compare.Row, v *float64) string {
	switch {
	case v == nil:
		return unknown
	case r.ChangeIs == compare.Relative:
		return signed(*v*100) + "%"
	case r.Metric == compare.ErrorRate || r.Metric == compare.HitRatio || r.Metric == compare.StaleReads || r.Metric == compare.LeakedReads:
		return signed(*v*100) + " pt"
	case r.Metric == compare.P50 || r.Metric == compare.P95 || r.Metric == compare.P99:
		return signed(*v) + " ms"
	}
	return signed(*v)
}

func signed(v float64) string {
	sign := "+"
	if v < 0 {
		sign, v = "−", -v
	}
	switch {
	case v == 0:
		return "0"
	case v < 0.095:
		return sign + strconv.FormatFloat(v, 'g', 1, 64)
	case v < 9.95:
		return sign + strconv.FormatFloat(v, 'f', 1, 64)
	}
	return sign + integer(int64(math.Round(v)))
}

// compareInterval writes the limits of a change.
func compareInterval(r *compare.Row) string {
	if r.CI == nil {
		return ""
	}
	limit := func(v *float64, infinite string) string {
		if v == nil {
			return infinite
		}
		return compareChange(r, v)
	}
	return limit(r.CI[0], "−∞") + " … " + limit(r.CI[1], "+∞")
}

func compareP(r *compare.Row) string {
	switch {
	case r.P == nil:
		return ""
	case *r.P < 0.001:
		return "<0.001"
	}
	return strconv.FormatFloat(*r.P, 'f', 3, 64)
}

func compareN(r *compare.Row) string {
	if r.N[0] == r.N[1] {
		return integer(r.N[0])
	}
	return integer(r.N[0]) + "/" + integer(r.N[1])
}

// compareVerdict is the verdict in words, with how many requests are missing.
func compareVerdict(r *compare.Row) string {
	if r.Verdict == compare.TooFew {
		return "too few, needs " + integer(r.Needs)
	}
	return string(r.Verdict)
}

// footnote numbers the doubts that rows refer to, in the order of the result's warnings.
func footnote(res *compare.Result, r *compare.Row) string {
	var marks []string
	for i, w := range res.Warnings {
		if slices.Contains(r.Notes, w.Code) && (w.Route == r.Route || w.Route == "") {
			marks = append(marks, strconv.Itoa(i+1))
		}
	}
	if len(marks) == 0 {
		return ""
	}
	return "[" + strings.Join(marks, ",") + "]"
}

func verdictStyle(v compare.Verdict) string {
	switch v {
	case compare.Better:
		return green
	case compare.Worse:
		return red
	}
	return dim
}

// figures is the table of the totals and of what changed, or with all of everything.
func (t *comparison) figures(all bool) {
	var rows []*compare.Row
	routes := 0
	for i := range t.res.Totals {
		rows = append(rows, &t.res.Totals[i])
	}
	last := ""
	for i := range t.res.Routes {
		r := &t.res.Routes[i]
		if r.Route != last {
			last = r.Route
			routes++
		}
		if all || r.Verdict == compare.Better || r.Verdict == compare.Worse {
			rows = append(rows, r)
		}
	}
	if routes == 1 && all { // the totals would say it again
		rows = rows[len(t.res.Totals):]
	}
	if len(rows) == 0 {
		return
	}
	t.line("")
	titles := []string{"ROUTE", "METRIC", "BEFORE", "AFTER", "CHANGE", percent(t.res.Confidence) + " INTERVAL", "P", "REQUESTS", ""}
	cells := make([][]string, len(rows))
	widths := make([]int, len(titles))
	for k, s := range titles {
		widths[k] = width(s)
	}
	for i, r := range rows {
		change := compareChange(r, r.Change)
		if r.Change == nil {
			change = ""
		}
		verdict := compareVerdict(r)
		if r.Verdict == compare.TooFew {
			verdict = "needs " + integer(r.Needs)
		}
		cells[i] = []string{plain(r.Route), compareMetric(r.Metric), compareFigure(r.Metric, r.Before), compareFigure(r.Metric, r.After),
			change, compareInterval(r), compareP(r), compareN(r), strings.TrimSpace(verdict + " " + footnote(t.res, r))}
		for k, s := range cells[i] {
			widths[k] = max(widths[k], width(s))
		}
	}
	rest := t.width
	for _, w := range widths[1:] {
		rest -= w + 2
	}
	shown := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}
	for _, k := range []int{6, 7, 5} { // a narrow terminal shows no p-value, no number of requests, no interval
		if rest < min(widths[0], 16) {
			shown = slices.DeleteFunc(shown, func(i int) bool { return i == k })
			rest += widths[k] + 2
		}
	}
	widths[0] = min(widths[0], max(rest, 16))
	left := func(k int) bool { return k <= 1 || k == len(titles)-1 }
	write := func(line []string, style func(k int) string) {
		out := ""
		for _, k := range shown {
			s := line[k]
			if k > 0 {
				out += "  "
			}
			if left(k) {
				s = padRight(fit(s, widths[k]), widths[k])
			} else {
				s = padLeft(s, widths[k])
			}
			out += t.style(style(k), s)
		}
		t.line(out)
	}
	write(titles, func(int) string { return dim })
	before := ""
	for i, r := range rows {
		line := slices.Clone(cells[i])
		if r.Route == before { // named once
			line[0] = ""
		}
		before = r.Route
		write(line, func(k int) string {
			switch {
			case k == len(titles)-1, k == 4 && (r.Verdict == compare.Better || r.Verdict == compare.Worse):
				return verdictStyle(r.Verdict)
			case k == 0:
				return bold
			}
			return ""
		})
	}
}

// compareLine is one route of the matrix.
type compareLine struct {
	route string
	cells map[string]*compare.Row
	n     [2]int64
}

// compareLines are the routes with their rows by metric, and the metrics that any of them has.
func compareLines(rows []compare.Row) (lines []compareLine, metrics []string) {
	seen := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		if n := len(lines); n == 0 || lines[n-1].route != r.Route {
			lines = append(lines, compareLine{route: r.Route, cells: map[string]*compare.Row{}})
		}
		l := &lines[len(lines)-1]
		l.cells[r.Metric] = r
		if r.Metric == compare.ErrorRate {
			l.n = r.N
		}
		seen[r.Metric] = true
	}
	for _, m := range compare.Metrics() {
		if seen[m] {
			metrics = append(metrics, m)
		}
	}
	return lines, metrics
}

// compareCell is a change in one word: "−27%", "~", "few", or a point where the route has no such figure.
func compareCell(r *compare.Row) string {
	switch {
	case r == nil:
		return "·"
	case r.Verdict == compare.TooFew:
		return "few"
	case r.Verdict == compare.Better || r.Verdict == compare.Worse:
		return compareChange(r, r.Change)
	}
	return "~"
}

func (t *comparison) matrix() {
	lines, metrics := compareLines(t.res.Routes)
	if len(lines) == 0 {
		return
	}
	shown := lines[:min(len(lines), t.rows)]
	t.line("")
	cell := func(l *compareLine, k int) string {
		if k == 0 {
			return integer(l.n[0]) + "/" + integer(l.n[1])
		}
		return compareCell(l.cells[metrics[k-1]])
	}
	title := func(k int) string {
		if k == 0 {
			return "REQUESTS"
		}
		return compareMetrics[metrics[k-1]][1]
	}
	longest := width("ROUTE")
	for i := range shown {
		longest = max(longest, width(plain(shown[i].route)))
	}
	var widths []int
	var name int
	for drop := []string{compare.Bytes, compare.StaleReads, compare.P99, compare.MissesPerRequest}; ; drop = drop[1:] {
		name, widths = t.width, widths[:0]
		for k := range len(metrics) + 1 {
			w := width(title(k))
			for i := range shown {
				w = max(w, width(cell(&shown[i], k)))
			}
			widths = append(widths, w)
			name -= w + 2
		}
		if name >= min(longest, 20) || len(drop) == 0 {
			break
		}
		metrics = slices.DeleteFunc(metrics, func(m string) bool { return m == drop[0] })
	}
	name = min(longest, max(name, 16))
	b := padRight("ROUTE", name)
	for k, w := range widths {
		b += "  " + padLeft(title(k), w)
	}
	t.line(t.style(dim, b))
	for i := range shown {
		l := &shown[i]
		b := padRight(fit(plain(l.route), name), name)
		for k, w := range widths {
			s := padLeft(cell(l, k), w)
			if k > 0 {
				if r := l.cells[metrics[k-1]]; r != nil {
					s = t.style(verdictStyle(r.Verdict), s)
				}
			}
			b += "  " + s
		}
		t.line(b)
	}
	if len(lines) > len(shown) {
		t.line(t.style(dim, fmt.Sprintf("… and %d more (--json has them all)", len(lines)-len(shown))))
	}
}

func (t *comparison) legend() {
	if len(t.res.Routes) == 0 {
		return
	}
	text := "~ no difference can be claimed"
	if few := compareFew(t.res); few != "" {
		text += "; " + few
	}
	t.wrap("", t.style(dim, text))
}

// compareFew says how many requests the rows with too few would need.
func compareFew(res *compare.Result) string {
	needs := map[int64][]string{}
	var order []int64
	for _, r := range res.Routes {
		if r.Verdict != compare.TooFew {
			continue
		}
		if needs[r.Needs] == nil {
			order = append(order, r.Needs)
		}
		if name := compareMetric(r.Metric); !slices.Contains(needs[r.Needs], name) {
			needs[r.Needs] = append(needs[r.Needs], name)
		}
	}
	if len(order) == 0 {
		return ""
	}
	slices.Sort(order)
	var parts []string
	for _, n := range order {
		parts = append(parts, fmt.Sprintf("%s %s", strings.Join(needs[n], ", "), integer(n)))
	}
	return "few, needs N: too few requests, each side needs for " + strings.Join(parts, "; ")
}

func (t *comparison) onlyOneSide() {
	for i, list := range [][]compare.Only{t.res.New, t.res.Gone} {
		if len(list) == 0 {
			continue
		}
		t.head([]string{"NEW ROUTES", "GONE"}[i], []string{"only after", "only before"}[i])
		for k, o := range list {
			if k == 10 {
				t.line(t.style(dim, fmt.Sprintf("… and %d more", len(list)-k)))
				break
			}
			t.line(fmt.Sprintf("%s  %s %s, p50 %s", fit(plain(o.Route), t.width-40), integer(o.Requests),
				one(o.Requests, "request", "requests"), millisOr(o.P50Ms)))
		}
	}
}

func (t *comparison) footnotes() {
	if len(t.res.Warnings) == 0 {
		return
	}
	t.line("")
	const most = 15
	for i, w := range t.res.Warnings {
		if i == most {
			t.line(t.style(dim, fmt.Sprintf("… and %d more doubts (--json has them all)", len(t.res.Warnings)-i)))
			break
		}
		t.wrap(t.style(yellow, fmt.Sprintf("[%d]", i+1))+" ", compareDoubt(w))
	}
}

// compareDoubt is a warning with the route that it is about.
func compareDoubt(w compare.Doubt) string {
	if w.Route == "" {
		return plain(w.Text)
	}
	return plain(w.Route) + ": " + plain(w.Text)
}
