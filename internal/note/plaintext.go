package note

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// inside are the labels that a map among the fields has; elsewhere such a line is a text.
var inside = map[string][]string{
	"outline":      {"context", "problem", "stack", "recommendedaction"},
	"views":        {"count", "kind"},
	"scores":       {"quality", "freshness", "depth", "clarity", "asof"},
	"revision":     {"status", "version", "lastreviewed", "reviewedby", "reviewedhash"},
	"flags":        {"generated", "hasimages", "imageheavy", "needshumanreview"},
	"entities":     {"name", "type"},
	"imagesources": {"source", "address", "url", "caption"},
	"payload":      {"sourceid", "generator", "paragraphs", "scenario", "seed"},
}

// lists are the fields whose value is a list.
var lists = []string{"stack", "tools", "checklist", "notes", "entities", "imagesources", "claims"}

// topLabels are the labels that begin a field of the head itself, longest first, so that "code language" is not taken for a
// shorter one. A value may be glued to its label: "reading time9".
var topLabels = func() []string {
	l := []string{"title", "author", "id", "slug", "sourceid"}
	for _, f := range fields {
		l = append(l, fold(f.name))
	}
	slices.SortFunc(l, func(a, b string) int { return len(b) - len(a) })
	return l
}()

// cutLabel takes a label off the front of a line, if it is one of those given: behind it must come the end, a colon, an equals
// sign, white space, or a value that is glued on. Only where glue is true may the value go on in lower case, as in
// "code languagepython"; "stacked" is a word else.
func cutLabel(line string, known []string, glue bool) (label, value string, ok bool) {
	for _, want := range known {
		rest, matched := cutFolded(line, want)
		if !matched {
			continue
		}
		if rest == "" {
			return want, "", true
		}
		c, _ := utf8.DecodeRuneInString(rest)
		if c == ':' || c == '=' {
			return want, strings.TrimSpace(rest[1:]), true
		}
		if glue || !unicode.IsLower(c) && c != '\'' && c != '-' && c != '_' {
			return want, strings.TrimSpace(rest), true
		}
	}
	return "", "", false
}

// cutFolded takes a folded label off a line, whatever stands between its words: "Reading Time", "reading_time", "readingTime".
func cutFolded(line, label string) (string, bool) {
	k := 0
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == ' ' || c == '_' || c == '-':
			if k == 0 || k == len(label) {
				return "", false
			}
			continue
		}
		if c != label[k] {
			return "", false
		}
		if k++; k == len(label) {
			return line[i+1:], true
		}
	}
	return "", false
}

// blockTitle says whether a line announces the block of post metadata.
func blockTitle(line string) bool {
	switch fold(line) {
	case "postmetadata", "metadata", "notemetadata", "articlemetadata":
		return true
	}
	return false
}

// parsePlainText takes a text with a block of post metadata at its end apart. The block begins at the last line that announces
// it, or else at the last run of lines of which three or more are labels with values. Without a block the head is empty.
func parsePlainText(data string) (map[string]any, string) {
	lines := strings.Split(data, "\n")
	start, body := -1, len(lines)
	for i := len(lines) - 1; i >= 0; i-- {
		if blockTitle(strings.Trim(lines[i], "#*=-_: \t")) {
			start, body = i+1, i
			break
		}
	}
	if start < 0 {
		start = unannounced(lines)
		if start < 0 {
			return map[string]any{}, data
		}
		body = start
	}
	p := blockParser{}
	for _, line := range lines[start:] {
		p.add(line)
	}
	tree := p.tree()
	return tree, strings.TrimRight(strings.TrimRight(strings.Join(lines[:body], "\n"), "\n \t"), "-=_") // a rule above the block goes with it
}

// unannounced finds a block that no line announces: the last paragraph that has three labels or more with values and begins with
// one.
func unannounced(lines []string) int {
	end := len(lines)
	for end > 0 && strings.TrimSpace(lines[end-1]) == "" {
		end--
	}
	start := end
	for start > 0 && strings.TrimSpace(lines[start-1]) != "" {
		start--
	}
	n := 0
	for _, l := range lines[start:end] {
		if _, _, ok := cutLabel(unbullet(l), topLabels, false); ok {
			n++
		}
	}
	if n < 3 {
		return -1
	}
	if _, _, ok := cutLabel(unbullet(lines[start]), topLabels, false); !ok {
		return -1
	}
	return start
}

func unbullet(line string) string {
	text, _, _ := bullet(line)
	return text
}

// bullet takes indentation and bullet off a line.
func bullet(line string) (text string, indent int, has bool) {
	for i, c := range line {
		if c != ' ' && c != '\t' {
			line = line[i:]
			break
		}
		if indent++; c == '\t' {
			indent += 3
		}
	}
	line = strings.TrimSpace(line)
	for _, mark := range []string{"- ", "* ", "+ ", "• ", "– ", "◦ ", "▪ "} {
		if rest, ok := strings.CutPrefix(line, mark); ok {
			return strings.Trim(rest, " \t"), indent, true
		}
	}
	if rest, ok := strings.CutPrefix(line, "•"); ok {
		return strings.TrimSpace(rest), indent, true
	}
	return line, indent, false
}

// blockParser collects a block of post metadata, line by line.
type blockParser struct {
	fields  map[string]any
	field   string // the one that lines are added to
	at      int    // indentation of its label
	bullets bool   // its label stood behind a bullet
	items   bool   // what was added to it stood behind bullets, other than its label
	key     string // within it, a label whose values are being listed
	keyAt   int
}

// add reads one line. A label of the head at the outer level begins a field; within a map, its own labels come first; all else
// belongs to the field before.
func (p *blockParser) add(line string) {
	text, indent, has := bullet(line)
	if text == "" {
		return
	}
	if p.fields == nil {
		p.fields = map[string]any{}
	}
	deeper := p.field != "" && (indent > p.at || has && !p.bullets)
	// Where all that belongs to the field stood behind bullets, a line that stands as its label did is none of it.
	beside := !deeper && !has && p.items
	if own := inside[p.field]; own != nil && !beside && (deeper || !p.top(text)) {
		if key, value, ok := cutLabel(text, own, true); ok {
			p.items = p.items || has && !p.bullets
			p.set(key, value, has, indent)
			return
		}
	}
	if !deeper {
		if name, value, ok := cutLabel(text, topLabels, true); ok && (beside || !slices.Contains(lists, p.field) || plainLabel(text, name)) {
			p.field, p.at, p.bullets, p.items, p.key = name, indent, has, false, ""
			if old, twice := p.fields[name]; !twice || old == "" {
				p.fields[name] = any(value)
			} else if value != "" {
				p.append(value)
			}
			return
		}
	}
	if p.field == "" {
		return
	}
	p.items = p.items || has && !p.bullets
	if m, ok := p.fields[p.field].(map[string]any); ok && p.key != "" && indent > p.keyAt {
		m[p.key] = joined(m[p.key], text)
		return
	}
	p.append(text)
}

// top says whether a line is a label of the head: one that the map has too is, when the map has it already.
func (p *blockParser) top(text string) bool {
	name, _, ok := cutLabel(text, topLabels, true)
	if m, _ := p.fields[p.field].(map[string]any); ok && slices.Contains(inside[p.field], name) {
		_, twice := m[name]
		return twice
	}
	return ok
}

// plainLabel says whether a label can be told from a word that begins with it.
func plainLabel(text, name string) bool {
	_, _, ok := cutLabel(text, []string{name}, false)
	return ok
}

// set puts a labelled value into the map, or the newest map of the list, that the field is.
func (p *blockParser) set(key, value string, has bool, indent int) {
	p.key, p.keyAt = key, indent
	if p.field == "flags" && value == "" { // named is set
		value = "true"
	}
	if p.field == "entities" || p.field == "imagesources" {
		list, _ := p.fields[p.field].([]any)
		if len(list) > MaxList {
			return
		}
		if n := len(list); n > 0 {
			if m, ok := list[n-1].(map[string]any); ok {
				if _, there := m[key]; !there {
					m[key] = value
					return
				}
			}
		}
		p.fields[p.field] = append(list, map[string]any{key: value})
		return
	}
	m, ok := p.fields[p.field].(map[string]any)
	if !ok {
		m = map[string]any{}
		p.fields[p.field] = m
	}
	m[key] = value
}

// append adds a text to the field: to its list, or behind its text.
func (p *blockParser) append(text string) {
	switch old := p.fields[p.field].(type) {
	case []any:
		if len(old) <= MaxList { // one more than that is refused
			p.fields[p.field] = append(old, text)
		}
	case map[string]any:
		// A line in a map that no label of it begins: kept under its own words.
		name, value, _ := strings.Cut(text, ":")
		if len(old) < MaxList {
			old[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	case string:
		switch {
		case old == "" && (slices.Contains(lists, p.field) || inside[p.field] != nil):
			p.fields[p.field] = []any{text}
		case slices.Contains(lists, p.field):
			p.fields[p.field] = []any{old, text}
		default:
			p.fields[p.field] = joined(old, text)
		}
	}
}

func joined(old any, text string) any {
	if s, _ := old.(string); s != "" {
		if len(s) > 2*MaxText { // too long already, and refused for it
			return s
		}
		return s + ", " + text
	}
	return text
}

func (p *blockParser) tree() map[string]any {
	if p.fields == nil {
		return map[string]any{}
	}
	return p.fields
}
