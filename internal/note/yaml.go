package note

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/demarc-dev/demarc/internal/safeyaml"
)

const headMark = "---\n"

// Split takes a note apart into its head and the text below it. The text is a part of data, with line ends as Unix has them.
func Split(data []byte) (Head, []byte, error) {
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	}
	tree, body, err := splitTree(data)
	if err != nil {
		return Head{}, body, err
	}
	h, err := headOf(tree)
	return h, body, err
}

func splitTree(data []byte) (map[string]any, []byte, error) {
	rest, ok := bytes.CutPrefix(data, []byte(headMark))
	if !ok {
		return nil, data, errors.New("a line of three hyphens was expected at its beginning")
	}
	head, body, ok := bytes.Cut(rest, []byte("\n"+headMark))
	if !ok {
		if body, ok = bytes.CutPrefix(rest, []byte(headMark)); !ok { // a head without a line
			return nil, data, errors.New("a line of three hyphens was expected at the end of its head")
		}
		head = nil
	}
	if len(head) > MaxHead {
		return nil, body, fmt.Errorf("its head has %d bytes, at most %d were expected", len(head), MaxHead)
	}
	tree, err := parseYAML(head)
	return tree, body, err
}

// parseYAML reads a head as text, []any and map[string]any. What demarc writes itself, which is nearly all, is read by
// parsePlain in a hundredth of the time; everything else goes through safeyaml.
func parseYAML(data []byte) (map[string]any, error) {
	if tree, ok := parsePlain(string(data)); ok {
		return tree, nil
	}
	var read map[string]any
	if err := safeyaml.Unmarshal(data, &read); err != nil {
		return nil, err
	}
	tree, _ := plainValue(read).(map[string]any)
	return tree, nil
}

// plainValue turns what a parser of YAML or JSON gives into text, []any and map[string]any.
func plainValue(v any) any {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]any:
		for k, e := range v {
			v[k] = plainValue(e)
		}
		return v
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[fmt.Sprint(k)] = plainValue(e)
		}
		return m
	case []any:
		for i, e := range v {
			v[i] = plainValue(e)
		}
		return v
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// parsePlain reads the form of YAML that appendYAML writes: maps and lists as blocks, texts on one line, plain where nothing in
// them could mean something else or in double quotes. It gives up (false) on everything else, also on what is wrong.
func parsePlain(text string) (map[string]any, bool) {
	p := plainParser{rest: text}
	p.next()
	if p.done {
		return nil, false
	}
	m, ok := p.mapping(0, 0)
	return m, ok && p.done
}

type plainParser struct {
	rest   string
	line   string // the current one, without its indentation
	indent int
	done   bool
	failed bool
}

func (p *plainParser) next() {
	if p.rest == "" {
		p.done = true
		return
	}
	p.line, p.rest, _ = strings.Cut(p.rest, "\n")
	trimmed := strings.TrimLeft(p.line, " ")
	p.indent = len(p.line) - len(trimmed)
	p.line = trimmed
	if trimmed == "" {
		p.failed = true
	}
}

// mapping reads the entries at one indentation. The current line is its first.
func (p *plainParser) mapping(indent, depth int) (map[string]any, bool) {
	m := make(map[string]any, 8)
	for !p.done && p.indent == indent && !strings.HasPrefix(p.line, "- ") {
		if p.failed || depth >= MaxNesting/2 {
			return nil, false
		}
		key, value, ok := cutKey(p.line)
		if !ok {
			return nil, false
		}
		if _, twice := m[key]; twice {
			return nil, false
		}
		if m[key], ok = p.value(value, indent, depth, true); !ok {
			return nil, false
		}
	}
	return m, !p.failed && (p.done || p.indent < indent)
}

// value reads what stands behind a key or a hyphen, and moves to the next line.
func (p *plainParser) value(text string, indent, depth int, inMap bool) (any, bool) {
	if text != "" {
		v, ok := plainScalar(text)
		p.next()
		return v, ok && (p.done || p.indent <= indent)
	}
	p.next()
	switch {
	case p.done || p.failed || !inMap:
		return nil, false
	case strings.HasPrefix(p.line, "- ") && p.indent == indent+2:
		return p.list(p.indent, depth+1)
	case p.indent == indent+2:
		return p.mapping(p.indent, depth+1)
	}
	return nil, false
}

func (p *plainParser) list(indent, depth int) (any, bool) {
	var l []any
	for !p.done && p.indent == indent && strings.HasPrefix(p.line, "- ") {
		if p.failed || depth >= MaxNesting/2 {
			return nil, false
		}
		entry := p.line[2:]
		if _, _, ok := cutKey(entry); ok {
			p.line, p.indent = entry, indent+2
			m, ok := p.mapping(indent+2, depth+1)
			if !ok {
				return nil, false
			}
			l = append(l, m)
			continue
		}
		v, ok := p.value(entry, indent, depth, false)
		if !ok {
			return nil, false
		}
		l = append(l, v)
	}
	return l, !p.failed && (p.done || p.indent < indent)
}

// cutKey takes "key: value" or "key:" apart. A key is a plain word of lower-case letters, digits and underscores.
func cutKey(line string) (key, value string, ok bool) {
	i := 0
	for i < len(line) && (line[i] >= 'a' && line[i] <= 'z' || line[i] == '_' || i > 0 && line[i] >= '0' && line[i] <= '9') {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' || !plainSafe(line[:i]) {
		return "", "", false
	}
	if i+1 == len(line) {
		return line[:i], "", true
	}
	if line[i+1] != ' ' || i+2 == len(line) {
		return "", "", false
	}
	return line[:i], line[i+2:], true
}

func plainScalar(text string) (any, bool) {
	switch {
	case text == "[]":
		return []any{}, true
	case text[0] == '"':
		return unquote(text)
	case text == "true", text == "false", plainInt(text), plainSafe(text):
		return text, true
	}
	return nil, false
}

func plainInt(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && text != "0" {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// plainSafe says whether a text means itself in YAML without quotes, for every reader: it begins with a letter or a slash, and
// nothing in it ends it, begins something, or is one of the words that mean a truth, a number or nothing.
func plainSafe(s string) bool {
	if s == "" || len(s) > 1000 || s[len(s)-1] == ' ' || s[len(s)-1] == ':' {
		return false
	}
	if c := s[0] | 0x20; (c < 'a' || c > 'z') && s[0] != '/' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f || c >= 0x80 || c == '"' || c == '\\' || c == '#' || c == '`':
			return false
		case c == ':' && (i+1 == len(s) || s[i+1] == ' '):
			return false
		}
	}
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return false
	}
	return true
}

// unquote reads a text in double quotes that appendText wrote.
func unquote(text string) (any, bool) {
	if len(text) < 2 || text[len(text)-1] != '"' {
		return nil, false
	}
	inner := text[1 : len(text)-1]
	if strings.ContainsFunc(inner, escaped) || !utf8.ValidString(inner) {
		return nil, false
	}
	if strings.IndexByte(inner, '"') < 0 && strings.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	var b strings.Builder
	b.Grow(len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c == '"' {
			return nil, false
		}
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if i++; i == len(inner) {
			return nil, false
		}
		switch inner[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '"', '\\':
			b.WriteByte(inner[i])
		default: // left to the other reader
			return nil, false
		}
	}
	return b.String(), true
}

// escaped says whether a character is written by its number: a control character, or one that ends a line or a text for some
// readers.
func escaped(c rune) bool {
	return c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff
}

// appendText writes one text as YAML on one line.
func appendText(b []byte, s string) []byte {
	if plainSafe(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	for _, c := range s { // what is no UTF-8 becomes U+FFFD
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\t':
			b = append(b, '\\', 't')
		case escaped(c):
			b = append(b, fmt.Sprintf(`\u%04x`, c)...)
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}

// appendYAML writes a value of a tree below a key or a hyphen; b ends just behind it.
func appendYAML(b []byte, v any, indent int) []byte {
	newline := func() { b = append(append(b, '\n'), strings.Repeat(" ", indent)...) }
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return append(b, " []"...)
		}
		for _, e := range v {
			newline()
			b = append(b, '-')
			if m, ok := e.(map[string]any); ok && len(m) > 0 {
				for i, k := range sortedKeys(m) {
					if i == 0 {
						b = append(b, ' ')
					} else {
						newline()
						b = append(b, "  "...)
					}
					b = append(appendText(b, k), ':')
					b = appendYAML(b, m[k], indent+4)
				}
				continue
			}
			b = appendYAML(b, e, indent+2)
		}
	case map[string]any:
		if len(v) == 0 {
			return append(b, " {}"...)
		}
		for _, k := range sortedKeys(v) {
			newline()
			b = append(appendText(b, k), ':')
			b = appendYAML(b, v[k], indent+2)
		}
	case string:
		b = appendText(append(b, ' '), v)
	}
	return b
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
