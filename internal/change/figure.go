package change

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"

	"github.com/demarc-dev/demarc/internal/compare"
)

// Sizes of the picture, in pixels of its own coordinates.
const (
	figureWidth = 760
	figureLabel = 170 // left of the bars
	figureBars  = 360 // the longest bar
	figureRow   = 58  // one metric: two bars
	figureHead  = 52
	figureFoot  = 44
)

// maxFigureRows is how many metrics the picture shows.
const maxFigureRows = 8

// figureRows are the rows of a comparison that a picture can show: those with a figure on both sides, in their order.
func figureRows(rows []compare.Row) []compare.Row {
	var shown []compare.Row
	for _, r := range rows {
		if r.Before != nil && r.After != nil && finite(*r.Before) && finite(*r.After) && len(shown) < maxFigureRows {
			shown = append(shown, r)
		}
	}
	return shown
}

func finite(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }

// Figure draws the figures before and after as an SVG that needs nothing from outside: two bars for each metric, a line for
// the interval in which the figure after lies, and what can be claimed. Metrics of time share a scale; every other metric
// has one of its own. It returns nil where there is nothing to draw.
func drawFigure(title, source string, rows []compare.Row, confidence float64) []byte {
	rows = figureRows(rows)
	if len(rows) == 0 {
		return nil
	}
	longest := 0.0 // of the times, which share a scale
	for _, r := range rows {
		if strings.HasSuffix(r.Metric, "_ms") {
			_, hi := interval(r)
			longest = max(longest, *r.Before, *r.After, hi)
		}
	}
	height := figureHead + len(rows)*figureRow + figureFoot
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="13">`+"\n", figureWidth, height)
	fmt.Fprintf(&b, "<title id=\"t\">%s</title>\n<desc id=\"d\">", escaped(title))
	for i, r := range rows {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(escaped(fmt.Sprintf("%s: before %s, after %s, %s", r.Metric, formatValue(r.Metric, *r.Before), formatValue(r.Metric, *r.After), claim(r))))
	}
	b.WriteString("</desc>\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", figureWidth, height)
	fmt.Fprintf(&b, `<text x="16" y="24" font-size="15" font-weight="600" fill="#1b1f24">%s</text>`+"\n", escaped(short(title, 90)))
	fmt.Fprintf(&b, `<rect x="16" y="34" width="10" height="10" fill="#9aa4b0"/><text x="30" y="43" fill="#57606a">before</text>`+
		`<rect x="86" y="34" width="10" height="10" fill="#0b63b8"/><text x="100" y="43" fill="#57606a">after</text>`+
		`<path d="M150 39h22M150 35v8M172 35v8" stroke="#1b1f24"/><text x="178" y="43" fill="#57606a">%g %% interval of the figure after</text>`+"\n", 100*confidence)
	for i, r := range rows {
		scale := longest
		lo, hi := interval(r)
		if !strings.HasSuffix(r.Metric, "_ms") {
			scale = max(*r.Before, *r.After, hi)
		}
		if scale <= 0 {
			scale = 1
		}
		length := func(v float64) float64 { return math.Round(10*figureBars*max(0, min(v/scale, 1))) / 10 }
		y := figureHead + i*figureRow + 8
		fmt.Fprintf(&b, `<text x="16" y="%d" fill="#1b1f24">%s</text>`, y+14, escaped(metricName(r.Metric)))
		fmt.Fprintf(&b, `<text x="16" y="%d" fill="#57606a">%s</text>`+"\n", y+32, escaped(claim(r)))
		for k, bar := range []struct {
			value float64
			color string
		}{{*r.Before, "#9aa4b0"}, {*r.After, "#0b63b8"}} {
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%g" height="16" fill="%s"/>`, figureLabel, y+k*19, max(1, length(bar.value)), bar.color)
			right := length(bar.value)
			if k == 1 {
				right = max(right, length(hi))
			}
			fmt.Fprintf(&b, `<text x="%g" y="%d" fill="#1b1f24">%s</text>`+"\n", figureLabel+right+8, y+k*19+13, escaped(formatValue(r.Metric, bar.value)))
		}
		if r.CI != nil && hi > lo {
			fmt.Fprintf(&b, `<path d="M%g %dH%gM%[1]g %[4]dv8M%[3]g %[4]dv8" stroke="#1b1f24" fill="none"/>`+"\n", figureLabel+length(lo), y+27, figureLabel+length(hi), y+23)
		}
	}
	fmt.Fprintf(&b, `<text x="16" y="%d" font-size="11" fill="#57606a">%s</text>`+"\n</svg>\n", height-16, escaped(short("Source: "+source, 130)))
	return []byte(b.String())
}

// interval returns the limits between which the figure after lies, as the interval of the change has them; both are the
// figure itself where there is no interval or only one limit.
func interval(r compare.Row) (lo, hi float64) {
	after := *r.After
	if r.CI == nil || r.CI[0] == nil || r.CI[1] == nil {
		return after, after
	}
	if r.ChangeIs == compare.Relative {
		lo, hi = *r.Before*(1+*r.CI[0]), *r.Before*(1+*r.CI[1])
	} else {
		lo, hi = *r.Before+*r.CI[0], *r.Before+*r.CI[1]
	}
	if !finite(max(lo, 0)) || !finite(max(hi, 0)) {
		return after, after
	}
	return max(lo, 0), max(hi, 0)
}

// claim says what can be said of a row.
func claim(r compare.Row) string {
	switch r.Verdict {
	case compare.Better, compare.Worse:
		return string(r.Verdict) + " " + formatChange(r)
	case compare.TooFew:
		return fmt.Sprintf("too few: %d needed", r.Needs)
	}
	return "~ no claim"
}

// formatChange writes the change of a row: −68 %, or the difference where the change is one.
func formatChange(r compare.Row) string {
	if r.Change == nil {
		return ""
	}
	return formatDelta(r, *r.Change)
}

func formatDelta(r compare.Row, v float64) string {
	sign := "+"
	if v < 0 {
		sign, v = "−", -v
	}
	switch {
	case r.ChangeIs == compare.Relative:
		return fmt.Sprintf("%s%.3g %%", sign, 100*v)
	case r.Metric == compare.ErrorRate || r.Metric == compare.HitRatio:
		return fmt.Sprintf("%s%.3g points", sign, 100*v)
	}
	return sign + formatValue(r.Metric, v)
}

// metricName writes a metric for people.
func metricName(metric string) string {
	names := map[string]string{
		compare.P50: "median time", compare.P95: "p95 of time", compare.P99: "p99 of time", compare.ErrorRate: "error rate",
		compare.QueriesPerRequest: "queries per request", compare.MissesPerRequest: "misses per request", compare.HitRatio: "hit ratio",
		compare.StaleReads: "stale reads", compare.LeakedReads: "leaked reads", compare.Bytes: "bytes",
	}
	if n, ok := names[metric]; ok {
		return n
	}
	return metric
}

// escaped writes a text for XML.
func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder does not fail
	return b.String()
}

// short cuts a text to n characters.
func short(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
