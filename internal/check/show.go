package check

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// show writes a value for people, with three digits or all those before the point.
func (u unit) show(v float64) string { return u.digits(v, 3) }

// shown writes a value and its bound with as many digits as it takes to tell them apart.
func (u unit) shown(v, bound float64) (string, string) {
	for n := 3; n < 12; n++ {
		if a, b := u.digits(v, n), u.digits(bound, n); a != b || v == bound {
			return a, b
		}
	}
	return u.exact(v), u.exact(bound)
}

func (u unit) digits(v float64, n int) string {
	v *= u.scale
	if a := math.Abs(v); a > 0 {
		// One place less than the digits before the point leave; what is whole gets no point.
		places := n - 1 - int(math.Floor(math.Log10(a)))
		s := strconv.FormatFloat(v, 'f', max(places, 0), 64)
		whole, part, point := strings.Cut(s, ".")
		if k, err := strconv.ParseInt(whole, 10, 64); err == nil && a < 1e15 && !(k == 0 && v < 0) {
			whole = count(k)
		}
		if part = strings.TrimRight(part, "0"); point && part != "" {
			whole += "." + part
		}
		return whole + u.suffix
	}
	return "0" + u.suffix
}

// count writes a whole number with a comma every three digits.
func count(n int64) string {
	s := strings.TrimPrefix(strconv.FormatInt(n, 10), "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if n < 0 {
		s = "-" + s
	}
	return s
}

// plainText makes text of others safe for a terminal and for XML: what clients chose must not move the cursor, change
// colours or the direction of writing. White space becomes one space.
func plainText(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Says gives value and bound of a result side by side, or why there is none.
func (r Result) Says() string {
	u := metricNamed(r.Metric).unit
	var parts []string
	switch {
	case r.Kind != Figure:
	case r.Value != nil && r.Bound != nil:
		v, b := u.shown(*r.Value, *r.Bound)
		text := fmt.Sprintf("%s, bound %s %s", v, r.Op, b)
		if r.Baseline != nil {
			text += " (baseline " + u.show(*r.Baseline) + ")"
		}
		parts = append(parts, text)
	case r.Value != nil:
		parts = append(parts, u.show(*r.Value))
	}
	if r.Reason != "" {
		parts = append(parts, r.Reason)
	}
	return strings.Join(parts, "; ")
}

// Title is what people see of a result: the check's name or text, and of a check of every route, which.
func (r Result) Title() string {
	title := r.Check
	if r.Name != "" {
		title = r.Name
	}
	if r.Of != "" && !strings.Contains(title, r.Of) {
		title += " (" + r.Of + ")"
	}
	return plainText(title)
}
