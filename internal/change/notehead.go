package change

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/safeyaml"
)

// MaxNote is the greatest size of a note, in bytes.
const MaxNote = 1 << 20

// The states of notes.
const (
	NoteDraft = "draft"
	NoteFinal = "final"
)

// NoteHead is the metadata at the top of a note, as YAML between two lines of three hyphens. Fields are added to it, never
// renamed; a reader leaves out those that it does not know.
type NoteHead struct {
	Topic        string        `yaml:"topic"`
	Summary      string        `yaml:"summary"` // one or two sentences
	Outline      Outline       `yaml:"outline"`
	Stack        []string      `yaml:"stack"`
	Owner        string        `yaml:"owner,omitempty"`
	Date         string        `yaml:"date"`      // when the change was shipped, else when the note was written: 2026-11-22
	Reference    string        `yaml:"reference"` // path of the record, relative to the note
	Revision     Revision      `yaml:"revision"`
	Flags        Flags         `yaml:"flags"`
	Checklist    []string      `yaml:"checklist,omitempty"` // "done: run linting"
	Entities     []Entity      `yaml:"entities,omitempty"`
	ImageSources []ImageSource `yaml:"image_sources,omitempty"`
	ContentHash  string        `yaml:"content_hash"` // ContentHash of the text below the head, as demarc wrote it
}

// Outline is the note in four lines.
type Outline struct {
	Context           string `yaml:"context,omitempty"`
	Problem           string `yaml:"problem,omitempty"`
	Stack             string `yaml:"stack,omitempty"`
	RecommendedAction string `yaml:"recommended_action,omitempty"`
}

// Revision says what the note is worth as a document.
type Revision struct {
	Status       string `yaml:"status"`                  // NoteDraft or NoteFinal
	Version      int    `yaml:"version"`                 // 1, and one more each time that demarc writes it anew
	LastReviewed string `yaml:"last_reviewed,omitempty"` // 2026-11-22
}

// Flags say how the note came about.
type Flags struct {
	Generated bool `yaml:"generated"` // false: a person has changed the text since
	HasImages bool `yaml:"has_images"`
}

// Entity is something that the note is about.
type Entity struct {
	Name string `yaml:"name"`
	Type string `yaml:"type"` // route, boundary, finding, table, file
}

// ImageSource says where a picture of the note comes from.
type ImageSource struct {
	Source  string `yaml:"source"`  // what drew it, from which data
	Address string `yaml:"address"` // relative to the note
	Caption string `yaml:"caption"`
}

const headMark = "---\n"

// SplitNote takes a note apart into its head and the text below it.
func SplitNote(data []byte) (NoteHead, []byte, error) {
	var h NoteHead
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	rest, ok := bytes.CutPrefix(data, []byte(headMark))
	if !ok {
		return h, data, errors.New("a line of three hyphens was expected at its beginning")
	}
	head, body, ok := bytes.Cut(rest, []byte("\n"+headMark))
	if !ok {
		return h, data, errors.New("a line of three hyphens was expected at the end of its head")
	}
	if err := safeyaml.Unmarshal(head, &h); err != nil {
		return h, body, err
	}
	return h, body, nil
}

// joinNote puts a head above a text.
func joinNote(h NoteHead, body []byte) ([]byte, error) {
	head, err := yaml.MarshalWithOptions(h, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(headMark), head, []byte(headMark), body), nil
}

// ContentHash returns the hash of a note's text that its head holds.
func ContentHash(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}
