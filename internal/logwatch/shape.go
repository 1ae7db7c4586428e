// Package logwatch reads the log of a service while it grows and tells which errors it holds, as shapes: lines without the
// times, numbers, ids and addresses in which one differs from the next. Two logs compare by their shapes, so that the
// errors which a release brought are told from those that were always there.
//
// An error is a line of level error or worse, an exception at the end of a traceback, or an answer with a status of 500
// and more. A shape holds nothing that looks like a secret or belongs to one user, so it can be shown and kept.
package logwatch

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits.
const (
	MaxLine     = 16 << 10 // bytes of a line that are looked at
	MaxShape    = 300      // bytes of a shape
	MaxShapes   = 1000     // shapes kept apart in one log; further ones are counted together
	MaxSources  = 64       // sources of one log (services of docker compose) whose tracebacks are kept apart
	OtherShapes = "(other errors)"
)

var (
	// The level as a word of its own in capitals, or in the field of a structured line, or in the brackets of nginx.
	levelWord  = regexp.MustCompile(`\b(ERROR|CRITICAL|FATAL|PANIC|SEVERE|EMERGENCY|ALERT)\b`)
	levelField = regexp.MustCompile(`(?i)["']?\b(level|levelname|level_name|severity|lvl|log\.level)["']?\s*[=:]\s*["']?(error|err|critical|crit|fatal|panic|severe|emerg|emergency|alert)\b`)
	levelMark  = regexp.MustCompile(`\[(error|crit|alert|emerg|fatal)\]`)
	// An answer of 500 and more: the combined form, logfmt and JSON.
	status5xx = regexp.MustCompile(`HTTP/\d(?:\.\d)?"?\s+(5\d\d)\b|(?i:["']?\b(?:status|status_code)["']?\s*[=:]\s*["']?(5\d\d)\b)`)
	// The path of a request, of which a segment with a digit or a hyphen, or a long one, is taken for a name.
	request = regexp.MustCompile(`\b((?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) )(/[^\s"?]*)`)
	// The prefix that docker compose puts before each line.
	compose = regexp.MustCompile(`^([\w.-]{1,80})\s+\| `)
	// The last line of a traceback: a dotted name that ends as exceptions do, or any after a traceback.
	exception = regexp.MustCompile(`^[A-Za-z_][\w.]*(?::|$)`)

	escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")
)

// The replacements that make a shape, in their order.
var replacements = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(?i)\b((?:[\w-]*(?:password|passwd|pwd|secret|token|api[_-]?key|authorization|cookie|session)[\w-]*)["']?\s*[=:]\s*["']?)(?:(?:bearer|basic)\s+)?[^\s"',;&)}\]]+`), "$1<secret>"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}`), "$1 <secret>"},
	{regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+\.[\w-]*`), "<secret>"},
	{regexp.MustCompile(`\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/@]+@`), "<address>@"},
	{regexp.MustCompile(`[\w.+-]+@[\w-]+\.[\w.-]+`), "<email>"},
	{regexp.MustCompile(`\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?`), "<time>"},
	{regexp.MustCompile(`\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?`), "<time>"},
	{regexp.MustCompile(`\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\b`), "<time>"},
	{regexp.MustCompile(`\b\d{4}[-/]\d\d[-/]\d\d\b`), "<time>"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b`), "<time>"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`(?i)\b0x[0-9a-f]+\b`), "<n>"},
	{regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b`), "<address>"},
	{regexp.MustCompile(`(?i)(?:\b[0-9a-f]{1,4}|:):(?:[0-9a-f]{0,4}:){1,6}[0-9a-f]{1,4}\b`), "<address>"},
	{regexp.MustCompile(`\?[^\s"']+`), "?<query>"},
}

// wordy is a run of letters, digits and the signs inside ids.
var wordy = regexp.MustCompile(`[A-Za-z0-9_]+`)

// Shape returns a line without what differs from one occurrence to the next.
func Shape(line string) string {
	if len(line) > MaxLine {
		line = line[:MaxLine]
	}
	line = escapes.ReplaceAllString(strings.ToValidUTF8(line, "�"), "")
	for _, r := range replacements {
		line = r.what.ReplaceAllString(line, r.with)
	}
	line = request.ReplaceAllStringFunc(line, func(r string) string {
		method, path, _ := strings.Cut(r, " ")
		segments := strings.Split(path, "/")
		for i, s := range segments {
			if len(s) > 24 || strings.ContainsAny(s, "-0123456789") {
				segments[i] = "<id>"
			}
		}
		return method + " " + strings.Join(segments, "/")
	})
	line = wordy.ReplaceAllStringFunc(line, func(w string) string {
		digits, letters := 0, 0
		for _, c := range w {
			switch {
			case c >= '0' && c <= '9':
				digits++
			case c != '_':
				letters++
			}
		}
		switch {
		case digits == 0:
			return w
		case letters == 0:
			return "<n>"
		case len(w) >= 8 && digits >= 2: // a hash, a token, a request's id
			return "<id>"
		case w[0] >= '0' && w[0] <= '9': // 12ms, 3rd
			return "<n>" + strings.TrimLeft(w, "0123456789_")
		}
		return w
	})
	line = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\t' || unicode.Is(unicode.Cf, c) {
			return -1
		}
		return c
	}, line)
	line = numbers.ReplaceAllString(strings.Join(strings.Fields(line), " "), "<n>")
	if len(line) > MaxShape {
		cut := MaxShape - len("…")
		for !utf8.RuneStart(line[cut]) {
			cut--
		}
		line = line[:cut] + "…"
	}
	return line
}

// numbers are what is left of one that had points and commas, or a sign.
var numbers = regexp.MustCompile(`[-+]?<n>(?:[.,]<n>)+`)

// Finder finds errors in the lines of one log. It is not safe for concurrent use. Memory: a few kB for each of MaxSources.
type Finder struct {
	traces map[string]*traceback
	Lines  int64 // given so far
}

// traceback is one that is being read.
type traceback struct {
	open bool
	at   string // the last place in it: module and function
}

// NewFinder returns a Finder that has seen nothing.
func NewFinder() *Finder { return &Finder{traces: map[string]*traceback{}} }

// Add takes one line and returns the shape of the error that it ends, if it does.
func (f *Finder) Add(line string) (shape string, found bool) {
	f.Lines++
	if len(line) > MaxLine {
		line = line[:MaxLine]
	}
	line = strings.TrimRight(line, "\r\n")
	source, body := "", line
	if m := compose.FindStringSubmatch(line); m != nil {
		source, body = m[1], line[len(m[0]):]
	}
	body = escapes.ReplaceAllString(body, "")
	t := f.traces[source]
	inner := strings.TrimLeft(body, "|+- ") // exception groups draw their tree before each line
	if strings.HasPrefix(inner, "Traceback (most recent call last):") || strings.HasPrefix(inner, "Exception Group Traceback (most recent call last):") {
		if t == nil {
			if len(f.traces) >= MaxSources {
				clear(f.traces)
			}
			t = &traceback{}
			f.traces[source] = t
		}
		*t = traceback{open: true}
		return "", false
	}
	if t != nil && t.open {
		switch trimmed := strings.TrimLeft(body, "| "); {
		case strings.HasPrefix(trimmed, "File \""):
			t.at = place(trimmed)
			return "", false
		case body == "" || strings.HasPrefix(body, " "):
			if !exception.MatchString(inner) || !strings.HasPrefix(strings.TrimLeft(body, " "), "|") {
				return "", false // code, carets and notes under a place
			}
		}
		if exception.MatchString(inner) {
			t.open = false
			if shape = Shape(inner); t.at != "" {
				shape += " (" + t.at + ")"
			}
			return shape, true
		}
		t.open = false // something else came in between
	}
	status := status5xx.FindStringSubmatch(body)
	if status != nil {
		return Shape(body) + " [" + status[1] + status[2] + "]", true // the number itself went with the others
	}
	if levelWord.MatchString(body) || levelField.MatchString(body) || levelMark.MatchString(body) {
		return Shape(body), true
	}
	return "", false
}

// place returns file and function of a line of a traceback, without its number, which every change moves.
func place(line string) string {
	rest := strings.TrimPrefix(line, "File \"")
	file, rest, ok := strings.Cut(rest, `"`)
	if !ok {
		return ""
	}
	if i := strings.LastIndexAny(file, `/\`); i >= 0 {
		file = file[i+1:]
	}
	_, function, _ := strings.Cut(rest, " in ")
	return Shape(strings.TrimSpace(file + " " + function))
}

// Count is how often a shape came.
type Count struct {
	Shape string
	N     int64
	First int64 // Unix nanoseconds: when the watch read it
	Last  int64
}

// Set counts shapes, at most MaxShapes of them apart.
type Set struct {
	byShape map[string]*Count
	order   []*Count
}

// Add counts a shape that was read at a time (Unix nanoseconds), and says whether it is the first of its kind.
func (s *Set) Add(shape string, at int64) bool {
	if s.byShape == nil {
		s.byShape = map[string]*Count{}
	}
	c := s.byShape[shape]
	if c == nil && len(s.order) >= MaxShapes {
		shape = OtherShapes
		c = s.byShape[shape]
	}
	fresh := c == nil
	if fresh {
		c = &Count{Shape: shape, First: at}
		s.byShape[shape] = c
		s.order = append(s.order, c)
	}
	c.N++
	c.Last = at
	return fresh
}

// Has says whether a shape was counted.
func (s *Set) Has(shape string) bool { return s.byShape[shape] != nil }

// List returns the counts in the order of first appearance.
func (s *Set) List() []Count {
	list := make([]Count, len(s.order))
	for i, c := range s.order {
		list[i] = *c
	}
	return list
}
