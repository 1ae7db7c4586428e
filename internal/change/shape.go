package change

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// maxDepth is how deeply the parts of a record may be nested; a record itself needs five.
const maxDepth = 20

// shape refuses what takes a parser of YAML out of all proportion to its size: anchors, which can refer to each other a
// thousand million times over, and deep nesting. A record needs neither. The error shows the line.
func shape(data []byte) error {
	depth, entries, line := 0, 0, 0
	for _, t := range lexer.Tokenize(string(data)) {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		wrong := ""
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			wrong = "a text was expected; anchors, aliases and << are not used in records"
		case token.TagType:
			wrong = "a text was expected; tags are not used in records"
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		}
		if depth+entries > maxDepth || t.Position.IndentNum > maxIndent {
			wrong = fmt.Sprintf("at most %d levels were expected", maxDepth)
		}
		if wrong == "" {
			continue
		}
		text := strings.Split(string(data), "\n")
		shown := ""
		if line >= 1 && line <= len(text) {
			shown = fmt.Sprintf("\n>%3d | %s", line, short(strings.TrimRight(text[line-1], "\r"), 120))
		}
		return fmt.Errorf("[%d:%d] %s%s", line, t.Position.Column, wrong, shown)
	}
	return nil
}

// maxIndent is how far a line of a record that is not part of a text may be indented.
const maxIndent = 200

// fromYAML reads a document of at most a megabyte; strict refuses fields that it does not know.
func fromYAML(data []byte, to any, options ...yaml.DecodeOption) error {
	if err := shape(data); err != nil {
		return err
	}
	if err := yaml.UnmarshalWithOptions(data, to, options...); err != nil {
		var y yaml.Error
		if errors.As(err, &y) {
			return errors.New(strings.TrimSpace(yaml.FormatError(err, false, true)))
		}
		return err
	}
	return nil
}
