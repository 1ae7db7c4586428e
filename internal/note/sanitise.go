package note

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	markdown "github.com/yuin/goldmark/text"
)

// decoded checks that data is text in UTF-8 and returns it with Unix line ends, without a mark at its start and without
// characters that show nothing but change what is shown: control characters and those that turn the direction of writing.
func decoded(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return nil, errors.New("it is UTF-16; UTF-8 was expected")
	case bytes.IndexByte(data, 0) >= 0:
		return nil, errors.New("it holds NUL bytes: text in UTF-8 was expected")
	case !utf8.Valid(data):
		i := 0
		for i < len(data) {
			if r, n := utf8.DecodeRune(data[i:]); r == utf8.RuneError && n == 1 {
				break
			} else {
				i += n
			}
		}
		return nil, fmt.Errorf("byte %d is no UTF-8 (is it Latin-1?)", i+1)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	if bytes.IndexFunc(data, unseen) >= 0 {
		data = bytes.Map(func(c rune) rune {
			if unseen(c) {
				return -1
			}
			return c
		}, data)
	}
	return data, nil
}

func unseen(c rune) bool {
	return c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 || c == 0xfeff
}

// oneLine cleans a text of a head: on one line, without what unseen names.
func oneLine(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' ') {
			return strings.Join(strings.Fields(strings.Map(func(c rune) rune {
				if c == '\n' || c == '\t' {
					return ' '
				}
				if unseen(c) {
					return -1
				}
				return c
			}, s)), " ")
		}
	}
	return s
}

var (
	scriptTag  = regexp.MustCompile(`(?i)<\s*/?\s*(script|iframe|object|embed|applet|base|meta|link|style|form|svg|math|frameset)\b|<[^>]*\son[a-z]{3,}\s*=`)
	scriptLink = regexp.MustCompile(`(?i)^\s*(javascript|vbscript|data|file|blob)\s*:`)
)

// mayHoldScript says, from a look at its bytes, whether a text must be read as Markdown to know that it brings no script.
func mayHoldScript(body []byte) bool {
	for rest := body; ; {
		i := bytes.IndexAny(rest, "<&")
		if i < 0 || i+1 == len(rest) {
			break
		}
		if c := rest[i+1] | 0x20; c >= 'a' && c <= 'z' || rest[i+1] == '/' || rest[i+1] == '!' || rest[i+1] == '?' || rest[i+1] == '#' {
			return true
		}
		rest = rest[i+1:]
	}
	for _, word := range []string{"script:", "data:", "file:", "blob:"} {
		if containsFold(body, word) {
			return true
		}
	}
	return bytes.IndexByte(body, '\\') >= 0 && bytes.Contains(body, []byte("](")) // a scheme may hide behind a backslash
}

func containsFold(b []byte, word string) bool {
	for {
		i := bytes.IndexByte(b, ':')
		if i < 0 {
			return false
		}
		if i+1 >= len(word) && strings.EqualFold(string(b[i+1-len(word):i+1]), word) {
			return true
		}
		b = b[i+1:]
	}
}

// refuseScript reads a text as Markdown and refuses raw HTML that runs or loads something, and links that do. What stands in
// code is text, and stays.
func refuseScript(body []byte) error {
	if !mayHoldScript(body) {
		return nil
	}
	doc := goldmark.DefaultParser().Parse(markdown.NewReader(body))
	return ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		address := ""
		switch n := n.(type) {
		case *ast.HTMLBlock:
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				if m := scriptTag.Find(line.Value(body)); m != nil {
					return ast.WalkStop, fmt.Errorf("it holds HTML that is not let in: %q", m)
				}
			}
		case *ast.RawHTML:
			for i := range n.Segments.Len() {
				s := n.Segments.At(i)
				if m := scriptTag.Find(s.Value(body)); m != nil {
					return ast.WalkStop, fmt.Errorf("it holds HTML that is not let in: %q", m)
				}
			}
		case *ast.Link:
			address = string(n.Destination)
		case *ast.Image:
			address = string(n.Destination)
		case *ast.AutoLink:
			address = string(n.URL(body))
		}
		if badAddress(address) {
			return ast.WalkStop, fmt.Errorf("it holds a link that is not let in: %.40q", address)
		}
		return ast.WalkContinue, nil
	})
}

// badAddress says whether a link runs something or reads the reader's own files. Characters that a browser passes over do not
// hide it.
func badAddress(address string) bool {
	if address == "" {
		return false
	}
	plain := strings.Map(func(c rune) rune {
		if c <= ' ' || unseen(c) {
			return -1
		}
		return c
	}, unescapeAddress(address))
	return scriptLink.MatchString(plain)
}

// unescapeAddress resolves the ways in which a colon or a letter can be written in a link.
func unescapeAddress(s string) string {
	if !strings.ContainsAny(s, `&\`) {
		return s
	}
	return html.UnescapeString(strings.ReplaceAll(s, `\`, ""))
}

// maxWork bounds what a reader of Markdown may have to do for one paragraph, which grows as the number of marks in it (links,
// references, HTML) times its bytes. A paragraph of 64 kB may have four thousand marks.
const maxWork = 1 << 28

// CheckMarkdown refuses texts whose lists, quotations or brackets are nested so deep, or whose paragraphs hold so many marks, that a
// reader of Markdown would spend more time on them than their length deserves. What looks like code counts, too: whether it is code
// only that reader can tell.
func CheckMarkdown(body []byte) error {
	number, open := 0, 0
	var size, marks int64 // of the paragraph
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		number++
		t := bytes.TrimLeft(line, " \t")
		size += int64(len(line)) + 1
		for _, c := range t {
			if c == ']' || c == '<' || c == '&' || c == '`' {
				marks++
			}
		}
		if size*marks > maxWork {
			return fmt.Errorf("line %d: its paragraph has %d bytes and %d links, references or marks of HTML", number, size, marks)
		}
		if len(t) == 0 {
			open, size, marks = 0, 0, 0
			continue
		}
		levels := 0
		rest := line
		for len(rest) > 0 {
			switch c := rest[0]; {
			case c == ' ' || c == '\t':
				rest = rest[1:]
				continue
			case c == '>':
				levels++
				rest = rest[1:]
				continue
			case (c == '-' || c == '+' || c == '*') && len(rest) > 1 && (rest[1] == ' ' || rest[1] == '\t'):
				levels++
				rest = rest[2:]
				continue
			case c >= '0' && c <= '9':
				i := 1
				for i < len(rest) && i < 10 && rest[i] >= '0' && rest[i] <= '9' {
					i++
				}
				if i+1 < len(rest) && (rest[i] == '.' || rest[i] == ')') && rest[i+1] == ' ' {
					levels++
					rest = rest[i+2:]
					continue
				}
			}
			break
		}
		if levels > MaxNesting && !rule(t) {
			return fmt.Errorf("line %d nests lists or quotations more than %d levels deep", number, MaxNesting)
		}
		for _, c := range rest {
			switch c {
			case '[':
				open++
			case ']':
				open = max(0, open-1)
			}
		}
		if open > MaxBrackets {
			return fmt.Errorf("line %d has more than %d open brackets", number, MaxBrackets)
		}
	}
	return nil
}

// rule says whether a line is a rule of hyphens or stars, however long.
func rule(t []byte) bool {
	return len(bytes.Trim(t, "- \t")) == 0 || len(bytes.Trim(t, "* \t")) == 0
}

// Leads says whether a path or a name leads out of the folder that it stands in, on any system.
func Leads(path string) bool {
	p := strings.ToLower(path)
	p = strings.NewReplacer(`\`, "/", "%2f", "/", "%5c", "/", "%2e", ".").Replace(p)
	if strings.HasPrefix(p, "/") || strings.IndexByte(p, 0) >= 0 || len(p) > 1 && p[1] == ':' {
		return true
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}
