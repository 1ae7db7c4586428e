package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// unknown stands where a value is not known.
const unknown = "-"

// millis writes a time with three digits and the unit that suits it: 850 µs, 12.4 ms, 1.24 s, 2 m 05 s.
func millis(ms float64) string {
	switch {
	case ms < 0:
		return unknown
	case ms == 0:
		return "0 ms"
	case ms < 0.9995:
		return digits(ms*1e3) + " µs"
	case ms < 999.5:
		return digits(ms) + " ms"
	case ms < 99_950:
		return digits(ms/1e3) + " s"
	}
	s := int64(math.Round(ms / 1e3))
	if s < 3600 {
		return fmt.Sprintf("%d m %02d s", s/60, s%60)
	}
	return fmt.Sprintf("%s h %02d m", integer(s/3600), s%3600/60)
}

func millisOr(ms *float64) string {
	if ms == nil {
		return unknown
	}
	return millis(*ms)
}

// digits writes a positive number with three significant digits, or all those before the point.
func digits(v float64) string {
	switch {
	case v < 0.01:
		return "<0.01"
	case v < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return integer(int64(math.Round(v)))
}

// number writes a ratio such as queries per request: 0, 0.25, 12.0, 240.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	return digits(v)
}

// integer writes a count with a comma every three digits.
func integer(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// percent writes a fraction: 0%, 0.3%, 12%. Only nothing is 0% and only all is 100%.
func percent(v float64) string {
	p := v * 100
	switch {
	case p == 0:
		return "0%"
	case p < 0.1:
		return "<0.1%"
	case p < 9.95:
		return strconv.FormatFloat(p, 'f', 1, 64) + "%"
	case p < 100 && p >= 99.5:
		return strconv.FormatFloat(math.Floor(p*10)/10, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "%"
}

func percentOr(v *float64) string {
	if v == nil {
		return unknown
	}
	return percent(*v)
}

// perSecond writes a rate.
func perSecond(v *float64) string {
	if v == nil {
		return unknown
	}
	return number(*v) + "/s"
}

// size writes bytes in decimal units.
func size(b float64) string {
	switch {
	case b < 1000:
		return strconv.FormatFloat(b, 'f', 0, 64) + " B"
	case b < 999_500:
		return digits(b/1e3) + " kB"
	case b < 999_500_000:
		return digits(b/1e6) + " MB"
	}
	return digits(b/1e9) + " GB"
}

// plain makes recorded text safe for a terminal: what the service's clients chose must not move the cursor, change
// colours or the direction of writing. White space becomes one space.
func plain(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func width(s string) int { return uniseg.StringWidth(s) }

// fit cuts a text to a width by leaving out its middle, since both ends of a route or a code line tell something.
func fit(s string, w int) string {
	if width(s) <= w {
		return s
	}
	if w < 3 {
		return head(s, w)
	}
	left := (w - 1) * 2 / 3
	return head(s, left) + "…" + tail(s, w-1-left)
}

// clip cuts a text to a width at its end.
func clip(s string, w int) string {
	if width(s) <= w {
		return s
	}
	return head(s, w-1) + "…"
}

func head(s string, w int) string {
	var b strings.Builder
	g := uniseg.NewGraphemes(s)
	for g.Next() && w >= g.Width() {
		w -= g.Width()
		b.WriteString(g.Str())
	}
	return b.String()
}

func tail(s string, w int) string {
	var parts []string
	g := uniseg.NewGraphemes(s)
	for g.Next() {
		parts = append(parts, g.Str())
	}
	i := len(parts)
	for i > 0 && w >= width(parts[i-1]) {
		i--
		w -= width(parts[i])
	}
	return strings.Join(parts[i:], "")
}

func padLeft(s string, w int) string  { return strings.Repeat(" ", max(w-width(s), 0)) + s }
func padRight(s string, w int) string { return s + strings.Repeat(" ", max(w-width(s), 0)) }
