package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/stale"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"clean": plain, "integer": integer, "percent": percent, "share": percentOr, "number": number, "dot": dot,
	"millis": millisOr, "ms": millis, "repeats": repeats, "states": states,
	"number0": func(v float64) string { return integer(int64(v)) },
	"numberOr": func(v *float64) string {
		if v == nil {
			return unknown
		}
		return number(*v)
	},
}).Parse(pageText + staleSection))

// HTML writes the report as one page that needs nothing else: no script, nothing loaded, light and dark. st are the stale
// reads of the same events; nil leaves their section out.
func HTML(w io.Writer, rep *baseline.Report, st *stale.Report) error {
	sum := sha256.Sum256([]byte(pageStyle))
	v := view{
		Rep: rep, Style: template.CSS(pageStyle), StyleHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		Service: cmp.Or(plain(service(rep)), "Baseline"), Window: window(rep.Window),
		Coverage: strings.Join(coverageFacts(rep), "; ") + ".",
		FewP95:   baseline.FewForP95, FewP99: baseline.FewForP99, Stale: newStaleView(st),
	}
	if ofSpans(rep) {
		for _, g := range rep.Coverage.MissingEvidence {
			v.Missing = append(v.Missing, gapText(g))
		}
	}
	v.Title = v.Service + " · demarc report"
	if len(rep.Routes)+len(rep.Jobs) == 0 {
		title, hints := emptyText(rep)
		v.Empty = &emptyView{title, hints}
	} else {
		v.Tiles = tiles(rep)
	}
	if len(rep.Routes) > 0 {
		v.Groups = append(v.Groups, newGroup("Routes", "route", "r", rep.Routes))
	}
	if len(rep.Jobs) > 0 {
		v.Groups = append(v.Groups, newGroup("Jobs", "job", "j", rep.Jobs))
	}
	for i := range v.Groups {
		v.Findings = append(v.Findings, findings(v.Groups[i].Rows)...)
	}
	slices.SortStableFunc(v.Findings, func(a, b finding) int { return cmp.Compare(b.weight, a.weight) })
	v.Findings = v.Findings[:min(len(v.Findings), 10)]
	return page.Execute(w, v)
}

type view struct {
	Rep                              *baseline.Report
	Style                            template.CSS
	StyleHash                        string
	Title, Service, Window, Coverage string
	Empty                            *emptyView
	Tiles                            []tile
	Findings                         []finding
	Groups                           []group
	FewP95, FewP99                   int
	Missing                          []string // what spans do not tell
	Stale                            *staleView
}

type emptyView struct {
	Title string
	Hints []string
}

type tile struct {
	Label, Value, Note string
	Bad                bool
}

type fact struct{ Label, Value string }

type group struct {
	Title, Name        string
	From, To           string // the range of the small charts
	Rows               []row
	Queries, NoQueries bool
	Cached, NoCache    bool
	Few                bool
}

type row struct {
	R            *baseline.Route
	Anchor, Line string
	P95, P99     string
	Small, Large chart
	Facts        []fact
	Open         bool
}

func tiles(rep *baseline.Report) []tile {
	x := rep.Totals
	if x.Requests == 0 {
		return nil
	}
	rate := ""
	if x.Rate != nil {
		rate = perSecond(x.Rate)
	}
	out := []tile{
		{Label: "Requests", Value: integer(x.Requests), Note: rate},
		{Label: "Errors", Value: percentOr(x.ErrorRate), Note: integer(x.Errors) + one(x.Errors, " request", " requests"), Bad: x.Errors > 0},
		{Label: "Median time", Value: millisOr(x.P50Ms), Note: fmt.Sprintf("p95 %s, p99 %s", millisOr(x.P95Ms), millisOr(x.P99Ms))},
	}
	if x.Queries > 0 {
		out = append(out, tile{Label: "Queries per request", Value: number(*x.QueriesPerRequest), Note: percentOr(x.DBTimeShare) + " of time in the database"})
	} else {
		out = append(out, tile{Label: "Queries", Value: "none seen", Note: "no database, or a driver not hooked"})
	}
	if x.HitRatio != nil {
		out = append(out, tile{Label: "Cache hit ratio", Value: percent(*x.HitRatio), Note: number(*x.MissesPerRequest) + " misses per request"})
	} else {
		out = append(out, tile{Label: "Cache", Value: "none seen", Note: "no cache operation was recorded"})
	}
	return out
}

func newGroup(title, name, prefix string, routes []baseline.Route) group {
	g := group{Title: title, Name: name}
	lo, hi := math.Inf(1), 0.0
	for i := range routes {
		r := &routes[i]
		g.Queries = g.Queries || r.QueriesPerRequest > 0
		g.Cached = g.Cached || len(r.Cache.ByStore) > 0
		g.Few = g.Few || len(r.TooFewFor) > 0
		for _, b := range r.Latency {
			to := bound(b)
			hi = max(hi, to)
			lo = min(lo, to)
		}
	}
	g.NoQueries, g.NoCache = !g.Queries, !g.Cached
	if hi > 0 {
		g.From, g.To = axis(lower(lo)), axis(hi)
	}
	for i := range routes {
		r := &routes[i]
		x := row{
			R: r, Anchor: fmt.Sprintf("%s%d", prefix, i+1), P95: doubtful(r, "p95_ms", r.P95Ms), P99: doubtful(r, "p99_ms", r.P99Ms),
			Small: smallChart(r, lo, hi), Large: largeChart(r), Facts: facts(r), Open: i == 0,
		}
		x.Line = fmt.Sprintf("%s %s, %s altogether, %s of the time", integer(r.Requests), one(r.Requests, "request", "requests"),
			millis(r.TotalMs), percentOr(r.TimeShare))
		g.Rows = append(g.Rows, x)
	}
	return g
}

func facts(r *baseline.Route) []fact {
	var out []fact
	add := func(label, format string, args ...any) { out = append(out, fact{label, fmt.Sprintf(format, args...)}) }
	add("mean, greatest", "%s, %s", millisOr(r.MeanMs), millisOr(r.MaxMs))
	if r.FirstByteP50Ms != nil {
		add("first byte", "p50 %s, p95 %s", millisOr(r.FirstByteP50Ms), millisOr(r.FirstByteP95Ms))
	}
	var status []string
	for _, s := range []struct {
		n    int64
		name string
	}{
		{r.Status.C1xx, "1xx"}, {r.Status.C2xx, "2xx"}, {r.Status.C3xx, "3xx"}, {r.Status.C4xx, "4xx"}, {r.Status.C5xx, "5xx"},
	} {
		if s.n > 0 {
			status = append(status, integer(s.n)+" × "+s.name)
		}
	}
	if len(status) > 0 {
		add("status", "%s", strings.Join(status, ", "))
	}
	if r.Disconnected > 0 {
		add("gone before the end", "%s", integer(r.Disconnected))
	}
	if r.QueriesPerRequest > 0 {
		add("queries per request", "%s, of which %s repeat a statement", number(r.QueriesPerRequest), number(r.DuplicateQueriesPerRequest))
		add("database", "%s of the time", percentOr(r.DBTimeShare))
	}
	if c := r.Cache; len(c.ByStore) > 0 {
		add("cache", "hit ratio %s, %s misses per request", percentOr(c.HitRatio), number(c.MissesPerRequest))
	}
	if st := r.Cache.Stampedes; st.Count > 0 || st.Wasted > 0 {
		add("stampedes", "%s", stampedeText(st))
	}
	if h := r.Cache.HTTP; h != (baseline.HTTPCache{}) {
		add("response headers", "%s from a cache, %s not, %s not modified (304), greatest age %s s", integer(h.Hits),
			integer(h.Misses), integer(h.NotModified), integer(h.MaxAgeS))
	}
	if r.BytesP50 != nil {
		add("body", "median %s", size(*r.BytesP50))
	}
	if r.ExampleTarget != "" {
		add("slowest", "%s", plain(r.ExampleTarget))
	}
	if r.ExampleErrorTarget != "" {
		add("slowest error", "%s", plain(r.ExampleErrorTarget))
	}
	return out
}

// finding is a line of "What stands out".
type finding struct {
	Kind, Tag, Anchor, Route, Text, Code, SQL string
	weight                                    float64
}

func findings(rows []row) []finding {
	var out []finding
	for i := range rows {
		r := rows[i].R
		add := func(kind, tag string, weight float64, text, code, sql string) {
			out = append(out, finding{kind, tag, rows[i].Anchor, r.Route, text, code, sql, weight})
		}
		if r.Errors > 0 && len(r.ErrorTypes) > 0 {
			e := r.ErrorTypes[0]
			add("bad", "errors", 3+r.ErrorRate, fmt.Sprintf("failed in %s of its requests, most often with %s", percent(r.ErrorRate), plain(e.Type)), e.Code, "")
		}
		for _, n := range r.NPlusOne {
			text := fmt.Sprintf("runs one statement %s times a request", integer(int64(n.MedianCount)))
			if s := repeats(n); s != "" {
				text += " (" + s + ")"
			}
			add("warn", "N+1", 2+n.TotalMs/(n.TotalMs+1000), text, n.Code, n.Fingerprint)
		}
		if st := r.Cache.Stampedes; st.Count > 0 {
			add("warn", "stampede", 1.5, "had "+stampedeText(st), "", "")
		}
		if r.TimeShare != nil && *r.TimeShare >= 0.25 && len(rows) > 1 {
			text := fmt.Sprintf("takes %s of all request time", percent(*r.TimeShare))
			if r.DBTimeShare != nil {
				text += fmt.Sprintf(", %s of that waiting for the database", percent(*r.DBTimeShare))
			}
			add("info", "time", 1+*r.TimeShare, text, "", "")
		}
	}
	return out
}

func states(h baseline.Hook) string {
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(h.States)) {
		if len(h.States) == 1 {
			parts = append(parts, plain(s))
		} else {
			parts = append(parts, fmt.Sprintf("%s in %s", plain(s), integer(h.States[s])))
		}
	}
	if h.Failures > 0 {
		parts = append(parts, integer(h.Failures)+one(h.Failures, " failure", " failures"))
	}
	return strings.Join(parts, ", ")
}

// chart is a histogram of latency in SVG. Heights are linear in the number of requests, the axis is logarithmic.
type chart struct {
	Class, Label string
	W, H         int
	margin       float64 // at both sides, for texts
	Bars         []rect
	Marks        []mark
	Ticks        []mark
}

type rect struct{ X, Y, W, H float64 }

type mark struct {
	X, Y0, Y1, TX, TY float64
	Text              string
}

// bound is a bucket's upper end; the last bucket, without one, is drawn as one step more.
func bound(b baseline.Bucket) float64 {
	if b.LeMs == nil {
		return 200_000
	}
	return *b.LeMs
}

// lower is a bucket's lower end: the bounds go 1, 1.5, 2, 3, 5, 7.
func lower(upper float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(upper)+1e-9))
	for _, lead := range []float64{5, 3, 2, 1.5, 1} {
		if upper/power > lead*1.01 {
			return lead * power
		}
	}
	return 0.7 * power
}

// axis writes a round time without its zeros after the point.
func axis(ms float64) string {
	v, unit, _ := strings.Cut(millis(ms), " ")
	if strings.Contains(v, ".") {
		v = strings.TrimRight(strings.TrimRight(v, "0"), ".")
	}
	return v + " " + unit
}

func chartLabel(r *baseline.Route) string {
	return fmt.Sprintf("p50 %s, p95 %s, p99 %s, greatest %s", millisOr(r.P50Ms), millisOr(r.P95Ms), millisOr(r.P99Ms), millisOr(r.MaxMs))
}

// draw places bars on the range lo..hi of upper bounds.
func (c *chart) draw(r *baseline.Route, lo, hi, height float64) func(ms float64) float64 {
	from := math.Log(lower(lo))
	span := math.Log(hi) - from
	x := func(ms float64) float64 {
		return tenth(c.margin + min(max((math.Log(ms)-from)/span, 0), 1)*(float64(c.W)-2*c.margin))
	}
	var most int64
	for _, b := range r.Latency {
		most = max(most, b.Count)
	}
	for _, b := range r.Latency {
		if b.Count == 0 {
			continue
		}
		a, e := x(lower(bound(b))), x(bound(b))
		h := max(tenth(float64(b.Count)/float64(most)*height), 1)
		c.Bars = append(c.Bars, rect{X: a, Y: tenth(float64(c.H) - (float64(c.H) - height) - h), W: max(tenth(e-a-1), 1), H: h})
	}
	return x
}

func tenth(v float64) float64 { return math.Round(v*10) / 10 }

func smallChart(r *baseline.Route, lo, hi float64) chart {
	c := chart{Class: "small", W: 120, H: 24, Label: chartLabel(r)}
	if len(r.Latency) == 0 {
		return c
	}
	x := c.draw(r, lo, hi, 24)
	if r.P95Ms != nil && *r.P95Ms > 0 {
		c.Marks = []mark{{X: x(*r.P95Ms), Y0: 0, Y1: 24}}
	}
	return c
}

func largeChart(r *baseline.Route) chart {
	const top, height, below = 16, 110, 18
	c := chart{Class: "large", W: 520, H: top + height + below, margin: 24, Label: chartLabel(r)}
	n := len(r.Latency)
	if n == 0 {
		return c
	}
	// One more bucket on either side, so that a narrow distribution looks narrow.
	lo, hi := lower(bound(r.Latency[0])), bound(r.Latency[n-1])*1.5
	x := c.draw(r, lo, hi, height)
	for i := range c.Bars {
		c.Bars[i].Y += top
	}
	last := math.Inf(-1)
	for _, p := range []struct {
		name string
		v    *float64
	}{{"p50", r.P50Ms}, {"p95", r.P95Ms}, {"p99", r.P99Ms}} {
		if p.v == nil || *p.v <= 0 {
			continue
		}
		m := mark{X: x(*p.v), Y0: top - 2, Y1: top + height}
		if m.X-last > 28 {
			m.Text, m.TX, m.TY, last = p.name, m.X, top-5, m.X
		}
		c.Marks = append(c.Marks, m)
	}
	last = math.Inf(-1)
	for _, b := range append([]float64{lower(lo), lo}, uppers(r.Latency)...) {
		if at := x(b); at-last > 44 {
			c.Ticks = append(c.Ticks, mark{X: at, TY: top + height + 14, Text: axis(b)})
			last = at
		}
	}
	return c
}

func uppers(list []baseline.Bucket) []float64 {
	out := make([]float64, len(list))
	for i, b := range list {
		out[i] = bound(b)
	}
	return out
}
