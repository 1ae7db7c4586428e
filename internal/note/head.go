// Package note holds notes: what a team learned, as Markdown files with a metadata head above the text. It reads and writes
// heads, computes what is computed of them, imports notes from elsewhere, and finds the notes of a repository.
//
// Nothing here trusts a note: sizes, depths and counts are bounded before a parser sees them, and every bound is named.
package note

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Limits of one note.
const (
	MaxNote     = 1 << 20   // bytes, head and text
	MaxHead     = 128 << 10 // bytes of the head
	MaxTopic    = 300       // bytes of a topic, as imported
	MaxText     = 4 << 10   // bytes of one text in an imported head
	MaxList     = 200       // entries of one list in an imported head
	MaxClaims   = 100       // claims of one imported note
	MaxNesting  = 20        // levels of lists and quotations in a text, and of parts within parts of a head
	MaxBrackets = 200       // brackets that are open at once in a paragraph
)

// The states of a note's revision.
const (
	Draft    = "draft"
	Final    = "final"
	Imported = "imported"
	Reviewed = "reviewed"
)

// The kinds of views.
const (
	ViewsSynthetic = "synthetic"
	ViewsImported  = "imported"
)

// Head is the metadata at the top of a note. docs/notes.md says of each field how it is had. Empty fields are not written.
type Head struct {
	Topic        string        `json:"topic"`
	Summary      string        `json:"summary"`
	Brief        string        `json:"brief"`
	Outline      Outline       `json:"outline"`
	Stack        []string      `json:"stack"`
	Tools        []string      `json:"tools"`
	CodeLanguage string        `json:"code_language"`
	Difficulty   string        `json:"difficulty"`
	Owner        string        `json:"owner"`
	Date         string        `json:"date"`         // 2026-11-22
	ReadingTime  int           `json:"reading_time"` // minutes
	Views        *Views        `json:"views"`        // nil: not known
	Scores       *Scores       `json:"scores"`       // nil: not computed
	Revision     Revision      `json:"revision"`
	Reference    string        `json:"reference"`    // path of the change record, relative to the note
	ContentHash  string        `json:"content_hash"` // Hash of the text below the head, as demarc wrote it
	Flags        Flags         `json:"flags"`
	Checklist    []string      `json:"checklist"` // "done: run linting"
	Entities     []Entity      `json:"entities"`
	ImageSources []ImageSource `json:"image_sources"`
	Payload      Payload       `json:"payload"`
	Notes        []string      `json:"notes"`
	Claims       []Claim       `json:"claims"`

	// Other holds the fields that demarc does not know, as text, []any and map[string]any. They are kept when it writes the
	// head anew.
	Other map[string]any `json:"-"`
}

// Outline is the note in four lines.
type Outline struct {
	Context           string `json:"context"`
	Problem           string `json:"problem"`
	Stack             string `json:"stack"`
	RecommendedAction string `json:"recommended_action"`
}

// Views is how often a note was read, as a generator or an import says. Nothing is ever ordered by it.
type Views struct {
	Count int64  `json:"count"`
	Kind  string `json:"kind"` // ViewsSynthetic or ViewsImported
}

// Scores are the names of the items that a note met on a day (see Score).
type Scores struct {
	Quality   []string `json:"quality"`
	Freshness []string `json:"freshness"`
	Depth     []string `json:"depth"`
	Clarity   []string `json:"clarity"`
	AsOf      string   `json:"as_of"` // 2026-11-22
}

// Revision says what the note is worth as a document.
type Revision struct {
	Status       string `json:"status"`        // Draft, Final, Imported or Reviewed
	Version      int    `json:"version"`       // 1, and one more each time that demarc writes it anew
	LastReviewed string `json:"last_reviewed"` // 2026-11-22
	ReviewedBy   string `json:"reviewed_by"`
	ReviewedHash string `json:"reviewed_hash"` // Hash of the text that was reviewed
}

// Flags say how the note came about and what is still to be done with it.
type Flags struct {
	Generated        bool `json:"generated"` // no person has written or changed the text
	HasImages        bool `json:"has_images"`
	ImageHeavy       bool `json:"image_heavy"`
	NeedsHumanReview bool `json:"needs_human_review"`
}

// Entity is something that the note is about.
type Entity struct {
	Name string `json:"name"`
	Type string `json:"type"` // route, boundary, cause, finding, table, file
}

// ImageSource says where a picture of the note comes from.
type ImageSource struct {
	Source  string `json:"source"`  // what drew it, from which data; or who holds it
	Address string `json:"address"` // relative to the note, or a URL
	Caption string `json:"caption"`
}

// Payload says what the note was made from.
type Payload struct {
	SourceID   string `json:"source_id"`
	Generator  string `json:"generator"`
	Paragraphs int    `json:"paragraphs"` // computed
	Scenario   string `json:"scenario"`
	Seed       string `json:"seed"`
}

// Claim is what an imported note said of itself and demarc neither computed nor confirmed.
type Claim struct {
	Field string `json:"field"` // scores.quality
	Value string `json:"value"`
	From  string `json:"from"` // file that it came in
}

// Hash returns the hash of a note's text that its head holds.
func Hash(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Hidden says whether a note stays out of search and of the pages that are to be found: it waits for a person. The flag wins
// over any review that the note speaks of.
func (h *Head) Hidden() bool { return h.Flags.NeedsHumanReview }

// ReviewedBy returns who reviewed the note and when; current is false where the text, whose Hash is given, was changed since.
func (h *Head) ReviewedBy(hash string) (by, on string, current bool) {
	if h.Flags.NeedsHumanReview || h.Revision.ReviewedBy == "" {
		return "", "", false
	}
	return h.Revision.ReviewedBy, h.Revision.LastReviewed, h.Revision.ReviewedHash == hash
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$`)

// ValidID says whether a name can be a note's id: it is the name of its file, so it holds nothing that leads elsewhere.
func ValidID(id string) bool { return idForm.MatchString(id) && !strings.Contains(id, "..") }
