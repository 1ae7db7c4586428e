package note

import (
	"strconv"
)

// writer writes the fields of a head in their order; what is empty is left out.
type writer struct{ b []byte }

func (w *writer) text(indent int, key, value string) {
	if value != "" {
		w.key(indent, key)
		w.b = append(appendText(append(w.b, ' '), value), '\n')
	}
}

func (w *writer) plain(indent int, key, value string) {
	w.key(indent, key)
	w.b = append(append(append(w.b, ' '), value...), '\n')
}

func (w *writer) number(indent int, key string, value int64) {
	if value != 0 {
		w.plain(indent, key, strconv.FormatInt(value, 10))
	}
}

func (w *writer) key(indent int, key string) {
	for range indent {
		w.b = append(w.b, ' ')
	}
	w.b = append(append(w.b, key...), ':')
}

func (w *writer) list(indent int, key string, values []string) {
	if len(values) == 0 {
		return
	}
	w.key(indent, key)
	w.b = append(w.b, '\n')
	for _, v := range values {
		for range indent + 2 {
			w.b = append(w.b, ' ')
		}
		w.b = append(appendText(append(w.b, "- "...), v), '\n')
	}
}

// maps writes a list of maps whose keys are those given; an empty value is written, so that each entry has them all.
func (w *writer) maps(key string, n int, of func(i int) [][2]string) {
	if n == 0 {
		return
	}
	w.key(0, key)
	w.b = append(w.b, '\n')
	for i := range n {
		for k, pair := range of(i) {
			lead := "    "
			if k == 0 {
				lead = "  - "
			}
			w.b = append(append(w.b, lead...), pair[0]...)
			w.b = append(appendText(append(w.b, ": "...), pair[1]), '\n')
		}
	}
}

// group writes a map; a map without a field that is set is left out.
func (w *writer) group(key string, fields func()) {
	before := len(w.b)
	w.key(0, key)
	w.b = append(w.b, '\n')
	empty := len(w.b)
	if fields(); len(w.b) == empty {
		w.b = w.b[:before]
	}
}

// AppendHead writes a head as YAML between its marks.
func AppendHead(b []byte, h *Head) []byte {
	w := writer{append(b, headMark...)}
	w.text(0, "topic", h.Topic)
	w.text(0, "summary", h.Summary)
	w.text(0, "brief", h.Brief)
	w.group("outline", func() {
		w.text(2, "context", h.Outline.Context)
		w.text(2, "problem", h.Outline.Problem)
		w.text(2, "stack", h.Outline.Stack)
		w.text(2, "recommended_action", h.Outline.RecommendedAction)
	})
	w.list(0, "stack", h.Stack)
	w.list(0, "tools", h.Tools)
	w.text(0, "code_language", h.CodeLanguage)
	w.text(0, "difficulty", h.Difficulty)
	w.text(0, "owner", h.Owner)
	w.text(0, "date", h.Date)
	w.number(0, "reading_time", int64(h.ReadingTime))
	if h.Views != nil {
		w.group("views", func() {
			w.plain(2, "count", strconv.FormatInt(h.Views.Count, 10))
			w.text(2, "kind", h.Views.Kind)
		})
	}
	if s := h.Scores; s != nil {
		w.group("scores", func() {
			w.list(2, "quality", s.Quality)
			w.list(2, "freshness", s.Freshness)
			w.list(2, "depth", s.Depth)
			w.list(2, "clarity", s.Clarity)
			w.text(2, "as_of", s.AsOf)
		})
	}
	w.group("revision", func() {
		w.text(2, "status", h.Revision.Status)
		w.number(2, "version", int64(h.Revision.Version))
		w.text(2, "last_reviewed", h.Revision.LastReviewed)
		w.text(2, "reviewed_by", h.Revision.ReviewedBy)
		w.text(2, "reviewed_hash", h.Revision.ReviewedHash)
	})
	w.text(0, "reference", h.Reference)
	w.text(0, "content_hash", h.ContentHash)
	w.group("flags", func() {
		w.plain(2, "generated", strconv.FormatBool(h.Flags.Generated))
		w.plain(2, "has_images", strconv.FormatBool(h.Flags.HasImages))
		w.plain(2, "image_heavy", strconv.FormatBool(h.Flags.ImageHeavy))
		w.plain(2, "needs_human_review", strconv.FormatBool(h.Flags.NeedsHumanReview))
	})
	w.list(0, "checklist", h.Checklist)
	w.maps("entities", len(h.Entities), func(i int) [][2]string {
		return [][2]string{{"name", h.Entities[i].Name}, {"type", h.Entities[i].Type}}
	})
	w.maps("image_sources", len(h.ImageSources), func(i int) [][2]string {
		s := h.ImageSources[i]
		return [][2]string{{"source", s.Source}, {"address", s.Address}, {"caption", s.Caption}}
	})
	w.group("payload", func() {
		w.text(2, "source_id", h.Payload.SourceID)
		w.text(2, "generator", h.Payload.Generator)
		w.number(2, "paragraphs", int64(h.Payload.Paragraphs))
		w.text(2, "scenario", h.Payload.Scenario)
		w.text(2, "seed", h.Payload.Seed)
	})
	w.list(0, "notes", h.Notes)
	w.maps("claims", len(h.Claims), func(i int) [][2]string {
		c := h.Claims[i]
		return [][2]string{{"field", c.Field}, {"value", c.Value}, {"from", c.From}}
	})
	for _, k := range sortedKeys(h.Other) {
		w.b = append(appendText(w.b, k), ':')
		w.b = append(appendYAML(w.b, h.Other[k], 2), '\n')
	}
	return append(w.b, headMark...)
}

// Join puts a head above a text.
func Join(h *Head, body []byte) []byte {
	return append(AppendHead(make([]byte, 0, len(body)+2<<10), h), body...)
}
