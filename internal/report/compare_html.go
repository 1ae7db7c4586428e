package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"

	"github.com/demarc-dev/demarc/internal/compare"
)

//go:embed compare.html
var compareText string

//go:embed compare.css
var compareStyle string

var comparePage = template.Must(template.New("compare").Funcs(template.FuncMap{
	"clean": plain, "integer": integer, "millis": millisOr, "side": compareSide, "metric": compareMetric,
	"figure": compareFigure, "interval": compareInterval, "p": compareP, "n": compareN, "words": compareVerdict, "cell": compareCell,
	"doubt": compareDoubt, "integer64": func(n int) string { return integer(int64(n)) }, "short": func(m string) string { return compareMetrics[m][1] },
	"change": func(r *compare.Row) string {
		if r.Change == nil {
			return ""
		}
		return compareChange(r, r.Change)
	},
}).Parse(compareText))

// CompareHTML writes a comparison as one page that needs nothing else: no script, nothing loaded, light and dark.
func CompareHTML(w io.Writer, res *compare.Result) error {
	style := pageStyle + compareStyle
	sum := sha256.Sum256([]byte(style))
	v := compareView{Res: res, Style: template.CSS(style), StyleHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		Title: markdownVerdict(res), Summary: compareSummary(res), Few: compareFew(res), Confidence: percent(res.Confidence)}
	rows := func(list []*compare.Row) (out []compareRow) {
		for _, r := range list {
			x := compareRow{Row: r, Note: footnote(res, r)}
			if r.CI != nil && r.CI[0] != nil && r.CI[1] != nil && r.Change != nil && r.ChangeIs == compare.Relative {
				x.bar(*r.CI[0], *r.Change, *r.CI[1])
			}
			out = append(out, x)
		}
		return out
	}
	add := func(title string, list []*compare.Row, open bool) {
		if len(list) > 0 {
			v.Tables = append(v.Tables, compareTable{title, rows(list), open})
		}
	}
	claimed := func(r *compare.Row) bool { return r.Verdict == compare.Better || r.Verdict == compare.Worse }
	add("Over all routes", pick(res.Totals, nil), true)
	add("Changed", pick(res.Routes, claimed), true)
	add("Every figure", pick(res.Routes, nil), false)
	lines, metrics := compareLines(res.Routes)
	v.Metrics = metrics
	for _, l := range lines {
		m := compareMatrixRow{Route: l.route, Before: l.n[0], After: l.n[1]}
		for _, name := range metrics {
			m.Cells = append(m.Cells, l.cells[name])
		}
		v.Matrix = append(v.Matrix, m)
	}
	return comparePage.Execute(w, v)
}

type compareView struct {
	Res                            *compare.Result
	Style                          template.CSS
	StyleHash, Title, Summary, Few string
	Confidence                     string
	Tables                         []compareTable
	Metrics                        []string
	Matrix                         []compareMatrixRow
}

type compareTable struct {
	Title string
	Rows  []compareRow
	Open  bool
}

type compareRow struct {
	*compare.Row
	Note        string
	Bar         bool
	X, W, At, Z string // the interval, the change and no change, in the units of the bar
}

type compareMatrixRow struct {
	Route         string
	Before, After int64
	Cells         []*compare.Row
}

// The bar shows -50 % to +50 %.
const (
	compareBar      = 120
	compareBarReach = 0.5
)

func (r *compareRow) bar(lo, at, hi float64) {
	x := func(v float64) float64 {
		return compareBar/2 + compareBar/2*min(max(v/compareBarReach, -1), 1)
	}
	r.Bar = true
	r.X, r.W = coordinate(x(lo)), coordinate(max(x(hi)-x(lo), 1))
	r.At, r.Z = coordinate(x(at)), coordinate(compareBar/2)
}
