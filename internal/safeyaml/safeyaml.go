// Package safeyaml reads YAML that people wrote, or that came from elsewhere, at a cost that is in proportion to its size.
// The files of demarc need neither anchors, which can refer to each other a thousand million times over, nor tags, nor deep
// nesting: all three are refused before the parser sees them.
package safeyaml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Limits of a document. Its size in bytes is the caller's to limit.
const (
	MaxDepth  = 20  // levels of parts within parts; the deepest file of demarc needs six
	MaxIndent = 200 // columns by which a line that is not part of a text may be indented
)

// maxShown is how much of a wrong line an error shows, in bytes.
const maxShown = 120

// Check says what of a document is refused: anchors, aliases, merge keys, tags, and nesting beyond the limits. The error
// shows the line.
func Check(data []byte) error {
	depth, entries, line := 0, 0, 0
	for _, t := range lexer.Tokenize(string(data)) {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		wrong := ""
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			wrong = "a text was expected; anchors, aliases and << are not used here"
		case token.TagType:
			wrong = "a text was expected; tags are not used here"
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		}
		if depth+entries > MaxDepth || t.Position.IndentNum > MaxIndent {
			wrong = fmt.Sprintf("at most %d levels were expected", MaxDepth)
		}
		if wrong != "" {
			return fmt.Errorf("[%d:%d] %s%s", line, t.Position.Column, wrong, shown(data, line))
		}
	}
	return nil
}

// shown returns a line of a document, on a line of its own.
func shown(data []byte, line int) string {
	text := strings.Split(string(data), "\n")
	if line < 1 || line > len(text) {
		return ""
	}
	found := strings.TrimRight(text[line-1], "\r")
	if len(found) > maxShown {
		found = strings.ToValidUTF8(found[:maxShown], "") + "…"
	}
	return fmt.Sprintf("\n>%3d | %s", line, found)
}

// Unmarshal reads a document that passes Check; yaml.Strict() among the options refuses fields that it does not know. An
// error of the parser shows the line. A document that holds nothing empties the target.
func Unmarshal(data []byte, to any, options ...yaml.DecodeOption) error {
	if err := Check(data); err != nil {
		return err
	}
	err := yaml.UnmarshalWithOptions(data, to, options...)
	var y yaml.Error
	if errors.As(err, &y) {
		return errors.New(strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	return err
}
