package check

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The grammar of a condition on a figure; words and signs may stand with or without blanks between them:
//
//	condition = metric [ "of" scope ] op bound
//	scope     = "total" | "*" | NAME | "family" NAME          NAME in double or single quotes, \ before a quote or \
//	op        = "<" | "<=" | ">" | ">=" | "==" | "!="
//	bound     = value | [ NUMBER "*" ] "baseline" [ ( "+" | "-" ) value ]
//	value     = NUMBER [ "%" | "ms" | "s" | … ]               as the metric's unit allows

// word is one piece of a line.
type word struct {
	kind  byte // 'w' word, 'n' number, 's' text in quotes, 'o' sign, 'e' end of the line
	text  string
	value float64
	at    int
}

func (w word) String() string {
	switch w.kind {
	case 'e':
		return "the end of the line"
	case 's':
		return "the text " + quote(w.text)
	}
	return strconv.Quote(w.text)
}

func errorAt(at int, format string, args ...any) error {
	return &SyntaxError{Offset: at, Text: fmt.Sprintf(format, args...)}
}

// words cuts a line into its pieces.
func words(line string) ([]word, error) {
	if len(line) > MaxLine {
		return nil, errorAt(MaxLine, "the line has %d bytes, at most %d are read", len(line), MaxLine)
	}
	var list []word
	for i := 0; i < len(line); {
		c, n := utf8.DecodeRuneInString(line[i:])
		switch {
		case c == utf8.RuneError && n == 1:
			return nil, errorAt(i, "the byte %#02x is not UTF-8", line[i])
		case unicode.IsSpace(c):
			i += n
		case c == '"' || c == '\'':
			text, end, err := quoted(line, i)
			if err != nil {
				return nil, err
			}
			list = append(list, word{kind: 's', text: text, at: i})
			i = end
		case c >= '0' && c <= '9' || c == '.':
			end := i
			for end < len(line) && (line[end] >= '0' && line[end] <= '9' || line[end] == '.' || line[end] == '_') {
				end++
			}
			v, err := strconv.ParseFloat(strings.ReplaceAll(line[i:end], "_", ""), 64)
			if err != nil || math.IsInf(v, 0) {
				return nil, errorAt(i, "%q is not a number", line[i:end])
			}
			list = append(list, word{kind: 'n', text: line[i:end], value: v, at: i})
			i = end
		case c == '_' || unicode.IsLetter(c):
			end := i
			for end < len(line) {
				c, n := utf8.DecodeRuneInString(line[end:])
				if c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
					break
				}
				end += n
			}
			list = append(list, word{kind: 'w', text: line[i:end], at: i})
			i = end
		default:
			end := i + n
			if strings.ContainsRune("<>=!", c) && end < len(line) && line[end] == '=' {
				end++
			}
			list = append(list, word{kind: 'o', text: line[i:end], at: i})
			i = end
		}
	}
	return append(list, word{kind: 'e', at: len(line)}), nil
}

// quoted reads the text in quotes that begins at i, and where it ends.
func quoted(line string, i int) (string, int, error) {
	var b strings.Builder
	for at := i + 1; at < len(line); at++ {
		switch {
		case line[at] == line[i]:
			if b.Len() == 0 {
				return "", 0, errorAt(i, "a name was expected between the quotes")
			}
			return b.String(), at + 1, nil
		case line[at] == '\\' && at+1 < len(line) && strings.ContainsRune(`"'\`, rune(line[at+1])):
			at++
		}
		b.WriteByte(line[at])
	}
	return "", 0, errorAt(i, "the quote that opens here is not closed")
}

// reader walks over the words of one line.
type reader struct {
	words []word
	next  int
}

func (r *reader) peek() word { return r.words[r.next] }

func (r *reader) take() word {
	w := r.words[r.next]
	if w.kind != 'e' {
		r.next++
	}
	return w
}

func (r *reader) takes(text string) bool {
	if w := r.peek(); w.kind != 's' && w.kind != 'e' && w.text == text {
		r.next++
		return true
	}
	return false
}

func parseFigure(line string) (Check, error) {
	list, err := words(line)
	if err != nil {
		return Check{}, err
	}
	r := &reader{words: list}
	c := Check{Kind: Figure, Scope: Total}

	name := r.take()
	m := metricNamed(name.text)
	if name.kind != 'w' || m.name == "" {
		return Check{}, errorAt(name.at, "a metric was expected, not %s%s: %s, run: or health:", name, meant(name.text, Metrics()),
			strings.Join(Metrics(), ", "))
	}
	c.Metric = m.name
	at := r.peek().at
	if r.takes("of") {
		at = r.peek().at
		switch w := r.take(); {
		case w.kind == 's':
			c.Scope, c.Of = Route, w.text
		case w.text == "*":
			c.Scope = Every
		case w.kind == 'w' && w.text == "total":
		case w.kind == 'w' && w.text == "family":
			f := r.take()
			if f.kind != 's' {
				return Check{}, errorAt(f.at, `a key family in quotes was expected, such as "article:{}", not %s`, f)
			}
			c.Scope, c.Of = Family, f.text
		default:
			return Check{}, errorAt(w.at, `a route in quotes was expected, such as "GET /articles", or *, total or family, not %s`, w)
		}
	}
	if !slices.Contains(m.scopes, c.Scope) {
		return Check{}, errorAt(at, "%s cannot be told of %s: %s was expected", m.name, scopeNames[c.Scope], scopeList(m.scopes))
	}
	op := r.take()
	if op.kind != 'o' || !slices.Contains(operators, op.text) {
		hint := ""
		if op.text == "=" {
			hint = ` (did you mean "=="?)`
		}
		if op.kind == 'w' && c.Scope == Total && r.next == 2 {
			hint = ` or "of"`
		}
		return Check{}, errorAt(op.at, "%s was expected, not %s%s", strings.Join(operators, " "), op, hint)
	}
	c.Op = op.text
	if c.Bound, err = r.bound(m); err != nil {
		return Check{}, err
	}
	if end := r.peek(); end.kind != 'e' {
		return Check{}, errorAt(end.at, "the end of the line was expected, not %s", end)
	}
	return c, nil
}

var operators = []string{"<", "<=", ">", ">=", "==", "!="}

var scopeNames = map[Scope]string{
	Total: "the whole service", Route: "a route", Every: "each route", Family: "a key family",
}

func scopeList(scopes []Scope) string {
	var list []string
	for _, s := range scopes {
		list = append(list, map[Scope]string{Total: "no scope", Route: `of "ROUTE"`, Every: "of *", Family: `of family "FAMILY"`}[s])
	}
	return strings.Join(list, " or ")
}

func (r *reader) bound(m metric) (Bound, error) {
	var b Bound
	switch w := r.peek(); {
	case r.takes("baseline"):
		b = Bound{Relative: true, Factor: 1}
	case w.kind == 'n':
		v, unit, err := r.value(m)
		if err != nil {
			return Bound{}, err
		}
		if !r.takes("*") {
			return Bound{Value: v}, nil
		}
		if unit && m.unit.scale != 100 {
			return Bound{}, errorAt(w.at, "a plain factor was expected before * baseline, as in 1.05 * baseline")
		}
		if at := r.peek(); !r.takes("baseline") {
			return Bound{}, errorAt(at.at, `"baseline" was expected, not %s`, at)
		}
		b = Bound{Relative: true, Factor: v}
	case w.text == "-":
		return Bound{}, errorAt(w.at, "no figure is below 0")
	default:
		return Bound{}, errorAt(w.at, "a number%s, or 1.05 * baseline was expected, not %s", unitList(m.unit), w)
	}
	sign := 0.0
	switch {
	case r.takes("+"):
		sign = 1
	case r.takes("-"):
		sign = -1
	default:
		return b, nil
	}
	if w := r.peek(); w.kind != 'n' {
		return Bound{}, errorAt(w.at, "a number%s was expected, not %s", unitList(m.unit), w)
	}
	v, _, err := r.value(m)
	b.Value = sign * v
	return b, err
}

// value reads a number and its unit, and says whether there was one.
func (r *reader) value(m metric) (float64, bool, error) {
	n := r.take()
	u := r.peek()
	text := u.text
	if u.kind == 'o' && text == "/" && r.words[r.next+1].text == "s" {
		text = "/s"
	}
	switch {
	case u.kind == 's' || u.kind == 'e', u.kind == 'o' && text != "%" && text != "/s":
		return n.value, false, nil
	case u.kind == 'w' && text == "baseline":
		return 0, false, errorAt(u.at, `"*" was expected before baseline`)
	}
	factor, ok := m.unit.suffixes[text]
	if !ok {
		return 0, false, errorAt(u.at, "a number%s was expected for %s, not %q", unitList(m.unit), m.name, n.text+text)
	}
	r.next++
	if text == "/s" {
		r.next++
	}
	v := n.value * factor
	if text == "%" {
		v = n.value / 100 // so that 0.1% is the same as 0.001
	}
	return v, true, nil
}

func unitList(u unit) string {
	var names []string
	for s := range u.suffixes {
		names = append(names, s)
	}
	slices.Sort(names)
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// meant proposes the nearest of the names, where one is near.
func meant(text string, names []string) string {
	if near := Near(text, names, 1); len(near) > 0 {
		return fmt.Sprintf(" (did you mean %s?)", near[0])
	}
	return ""
}

// Near returns at most n of the names that a person may have meant by text, the nearest first: those that text is a part
// of, and those that differ from it in few letters.
func Near(text string, names []string, n int) []string {
	type candidate struct {
		name string
		far  float64
	}
	var list []candidate
	low := strings.ToLower(text)
	if len(low) > 500 || low == "" {
		return nil
	}
	for _, name := range names {
		other := strings.ToLower(name)
		if len(other) > 500 {
			continue
		}
		far := float64(distance(low, other)) / float64(max(len(low), len(other)))
		if strings.Contains(other, low) {
			far /= 3
		}
		if far <= 0.4 {
			list = append(list, candidate{name, far})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		switch {
		case a.far < b.far:
			return -1
		case a.far > b.far:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	var near []string
	for _, c := range list[:min(n, len(list))] {
		near = append(near, c.name)
	}
	return near
}

// distance is the number of bytes to insert, remove or replace (Levenshtein), in memory of one row.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := before
			if a[i] != b[j] {
				d++
			}
			before = row[j+1]
			row[j+1] = min(d, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
