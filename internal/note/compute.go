package note

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Shape is what a note's text is made of, as far as its figures need it.
type Shape struct {
	Hash         string // of the text
	Words        int    // outside of code
	CodeLines    int
	CodeBlocks   int
	UnnamedCode  int // code blocks that name no language
	Paragraphs   int // blocks of text: neither heading, code, table nor picture
	LongestWords int // words of the longest paragraph
	Headings     int
	Images       int
	Captionless  int // pictures without a text
	Links        int
	Languages    map[string]int // of code blocks, to how many lines each

	Intervals bool // a table of figures with a column of intervals
	Before    bool // a table of figures with the columns before and after, or with a column of figures named "value"
	Commands  bool // a table of figures or its surroundings name the command that prints it: `demarc …`
	Claimless bool // a section says what the note does not claim
	Assumed   bool // a section of assumptions
	WayBack   bool // a section on taking it back
	Cause     bool // a section on the cause
}

// ShapeOf reads a text once, line by line, in time in proportion to its length. It does not need the Markdown to be well
// formed.
func ShapeOf(body []byte) Shape {
	s := Shape{Hash: Hash(body)}
	var fence, language string
	words, table, figures, header := 0, false, false, ""
	flush := func() {
		if words > 0 {
			s.Paragraphs++
			s.LongestWords = max(s.LongestWords, words)
		}
		words = 0
	}
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		t := strings.TrimSpace(string(line))
		if fence != "" {
			if strings.HasPrefix(t, fence) && strings.Trim(t, fence[:1]) == "" {
				fence = ""
				continue
			}
			s.CodeLines++
			if language != "" {
				if s.Languages == nil {
					s.Languages = map[string]int{}
				}
				if len(s.Languages) < 50 {
					s.Languages[language]++
				}
			}
			continue
		}
		if strings.HasPrefix(t, "```") || strings.HasPrefix(t, "~~~") {
			flush()
			mark := t[:1]
			fence = t[:len(t)-len(strings.TrimLeft(t, mark))]
			language, _, _ = strings.Cut(strings.TrimSpace(t[len(fence):]), " ")
			language = strings.ToLower(language)
			if len(language) > 40 {
				language = ""
			}
			s.CodeBlocks++
			if language == "" {
				s.UnnamedCode++
			}
			table = false
			continue
		}
		switch {
		case t == "":
			flush()
			table = false
			continue
		case strings.HasPrefix(t, "#"):
			flush()
			s.Headings++
			s.heading(strings.ToLower(t))
			table = false
			continue
		case strings.HasPrefix(t, "|"):
			flush()
			if !table {
				table, figures, header = true, false, strings.ToLower(t)
			} else if strings.ContainsAny(t, "0123456789") && !figures {
				figures = true
				if strings.Contains(header, "before") || strings.Contains(header, "| value |") {
					s.Before = true
				}
				if strings.Contains(header, "interval") && (strings.Contains(t, " to ") || strings.Contains(t, "±")) {
					s.Intervals = true
				}
			}
		default:
			table = false
		}
		if strings.Contains(t, "`demarc ") {
			s.Commands = true
		}
		n := countWords(t)
		s.Words += n
		s.picturesAndLinks(t)
		if picture := strings.HasPrefix(t, "![") && strings.HasSuffix(t, ")"); !table && !picture {
			words += n
		}
	}
	flush()
	return s
}

func (s *Shape) heading(t string) {
	for _, h := range []struct {
		word string
		is   *bool
	}{{"not claim", &s.Claimless}, {"assum", &s.Assumed}, {"taking it back", &s.WayBack}, {"rollback", &s.WayBack}, {"roll back", &s.WayBack}, {"cause", &s.Cause}} {
		if strings.Contains(t, h.word) {
			*h.is = true
		}
	}
}

func (s *Shape) picturesAndLinks(t string) {
	for {
		i := strings.Index(t, "](")
		if i < 0 {
			return
		}
		open := strings.LastIndexByte(t[:i], '[')
		if open > 0 && t[open-1] == '!' {
			s.Images++
			if strings.TrimSpace(t[open+1:i]) == "" {
				s.Captionless++
			}
		} else {
			s.Links++
		}
		t = t[i+2:]
	}
}

// countWords counts runs of characters that hold a letter or a digit; of scripts without spaces, every two characters count as a
// word.
func countWords(line string) int {
	n, wide, inside := 0, 0, false
	for _, c := range line {
		switch {
		case c == ' ' || c == '\t':
			inside = false
		case c >= 0x2e80 && c < utf8.MaxRune:
			wide++
			inside = false
		case !inside && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80):
			n++
			inside = true
		}
	}
	return n + (wide+1)/2
}

// minutes is how long it takes to read a text: 220 words or 40 lines of code a minute, rounded up, at least 1.
func (s *Shape) minutes() int {
	const perMinute = 220 * 40
	work := s.Words*40 + s.CodeLines*220
	return max(1, (work+perMinute-1)/perMinute)
}

// language is the one that most code lines are in; among equals the first of the alphabet.
func (s *Shape) language() string {
	best := ""
	for name, n := range s.Languages {
		switch name {
		case "text", "txt", "sh", "shell", "console", "bash", "output", "plain":
			continue
		}
		if best == "" || n > s.Languages[best] || n == s.Languages[best] && name < best {
			best = name
		}
	}
	return best
}

// Complete fills in the fields of a head that are computed from the text, and those that can be had from others where they are
// empty. It leaves Revision, Reference, Scores, Claims and the need for a review alone.
func Complete(h *Head, body []byte) Shape {
	s := ShapeOf(body)
	h.ContentHash = s.Hash
	h.ReadingTime = s.minutes()
	h.Payload.Paragraphs = s.Paragraphs
	if h.CodeLanguage == "" {
		h.CodeLanguage = s.language()
	}
	if h.Brief == "" {
		h.Brief = briefly(h.Summary)
	}
	images := max(s.Images, len(h.ImageSources))
	h.Flags.HasImages = images > 0
	h.Flags.ImageHeavy = images > 1+s.Words/200
	return s
}

// maxBrief is how long a brief is, in characters.
const maxBrief = 160

// briefly returns the first sentence of a text, cut at a word.
func briefly(summary string) string {
	t := strings.Join(strings.Fields(summary), " ")
	for i := 0; i+1 < len(t); i++ {
		if (t[i] == '.' || t[i] == '!' || t[i] == '?') && t[i+1] == ' ' {
			t = t[:i+1]
			break
		}
	}
	if utf8.RuneCountInString(t) <= maxBrief {
		return t
	}
	t = string([]rune(t)[:maxBrief-1])
	if i := strings.LastIndexByte(t, ' '); i > maxBrief/2 {
		t = t[:i]
	}
	return t + "…"
}
