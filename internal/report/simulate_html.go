package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/internal/sim"
)

//go:embed simulate.html
var simulateText string

//go:embed simulate.css
var simulateStyle string

var simulatePage = template.Must(template.New("simulate").Funcs(template.FuncMap{"clean": plain}).Parse(simulateText))

// SimulationHTML writes the curves of a simulation as one page that needs nothing else: no script, nothing loaded, light and dark.
func SimulationHTML(w io.Writer, r *sim.Result) error {
	style := pageStyle + simulateStyle
	sum := sha256.Sum256([]byte(style))
	v := curvesView{R: r, Style: template.CSS(style), StyleHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		Title: plain(filepath.Base(r.Trace.Name)),
		W:     curvesW, H: curvesH, Left: curvesLeft, Right: curvesRight, Top: curvesTop, Bottom: curvesBottom,
		YText: curvesLeft - 8, XText: curvesBottom + 20, Legend: curvesRight + 20, LegendText: curvesRight + 44}
	for _, p := range simulationFacts(r)[1:] {
		v.Facts = append(v.Facts, p.text)
	}
	if len(r.Curves) > 0 {
		v.plot()
		v.table()
	}
	return simulatePage.Execute(w, v)
}

// The plot, in the units of its view box.
const (
	curvesW      = 1100
	curvesH      = 470
	curvesLeft   = 56
	curvesRight  = 950
	curvesTop    = 12
	curvesBottom = 436
)

type curvesView struct {
	R                        *sim.Result
	Style                    template.CSS
	StyleHash, Title         string
	Facts                    []string
	W, H                     int
	Left, Right, Top, Bottom int
	YText, XText             int
	Legend, LegendText       int
	Xs, Ys                   []curvesTick
	Lines                    []curvesLine
	Rows                     []curvesRow
}

type curvesTick struct{ At, Text string }

type curvesLine struct {
	Name, Class, Points string
	LegendY             int
	Bars                []curvesMark
	Knee                *curvesMark
}

type curvesMark struct{ X, Y0, Y1 string }

type curvesRow struct {
	Size, Share string
	Cells       []curvesCell
}

type curvesCell struct {
	Text string
	Best bool
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func (v *curvesView) plot() {
	points := v.R.Curves[0].Points
	from, to := float64(points[0].Size), float64(points[len(points)-1].Size)
	if from == to { // one size stands in the middle
		from, to = from/2, to*2
	}
	x := func(size float64) string {
		return coordinate(curvesLeft + (curvesRight-curvesLeft)*math.Log(size/from)/math.Log(to/from))
	}
	y := func(ratio float64) string {
		return coordinate(curvesBottom - (curvesBottom-curvesTop)*min(max(ratio, 0), 1))
	}
	for i := range 6 {
		v.Ys = append(v.Ys, curvesTick{y(float64(i) / 5), fmt.Sprintf("%.1f", float64(i)/5)})
	}
	for decade := 1.0; decade <= to; decade *= 10 {
		for _, step := range []float64{1, 2, 5} {
			if step > 1 && to/from > 1000 {
				continue
			}
			if size := decade * step; size >= from && size <= to {
				v.Xs = append(v.Xs, curvesTick{x(size), sizeOf(v.R, int64(size))})
			}
		}
	}
	for i, c := range v.R.Curves {
		line := curvesLine{Name: c.Policy, Class: fmt.Sprintf("c%d", i%10), LegendY: curvesTop + 16 + 22*i}
		if c.Policy == "opt" {
			line.Class = "opt"
		}
		var path strings.Builder
		for _, p := range c.Points {
			at := x(float64(p.Size))
			path.WriteString(at + "," + y(p.MissRatio) + " ")
			if p.Error != nil {
				line.Bars = append(line.Bars, curvesMark{at, y(p.MissRatio - *p.Error), y(p.MissRatio + *p.Error)})
			}
			if p.Size == c.Knee {
				line.Knee = &curvesMark{X: at, Y0: y(p.MissRatio)}
			}
		}
		line.Points = path.String()
		v.Lines = append(v.Lines, line)
	}
}

func (v *curvesView) table() {
	best := bestPolicies(v.R)
	for j, p := range v.R.Curves[0].Points {
		row := curvesRow{Size: sizeOf(v.R, p.Size), Share: percent(shareOf(v.R, p.Size))}
		for i, c := range v.R.Curves {
			p := c.Points[j]
			text := strconv.FormatFloat(p.MissRatio, 'f', 4, 64)
			if p.Error != nil {
				text += " ± " + strconv.FormatFloat(*p.Error, 'f', 4, 64)
			}
			row.Cells = append(row.Cells, curvesCell{text, best[j] == i})
		}
		v.Rows = append(v.Rows, row)
	}
}
