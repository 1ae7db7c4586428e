package note

import (
	"fmt"
	"strconv"
	"strings"
)

// field is one field of a head by its name.
type field struct {
	name string
	set  func(h *Head, v any) error
}

// fields are the fields of a head; whoever imports knows them by other names, too (see fieldNames).
var fields = []field{
	{"topic", textInto(func(h *Head) *string { return &h.Topic })},
	{"summary", textInto(func(h *Head) *string { return &h.Summary })},
	{"brief", textInto(func(h *Head) *string { return &h.Brief })},
	{"outline", func(h *Head, v any) error {
		return mapInto(v, map[string]*string{"context": &h.Outline.Context, "problem": &h.Outline.Problem, "stack": &h.Outline.Stack,
			"recommendedaction": &h.Outline.RecommendedAction})
	}},
	{"stack", listInto(func(h *Head) *[]string { return &h.Stack })},
	{"tools", listInto(func(h *Head) *[]string { return &h.Tools })},
	{"code_language", textInto(func(h *Head) *string { return &h.CodeLanguage })},
	{"difficulty", textInto(func(h *Head) *string { return &h.Difficulty })},
	{"owner", textInto(func(h *Head) *string { return &h.Owner })},
	{"date", textInto(func(h *Head) *string { return &h.Date })},
	{"reading_time", func(h *Head, v any) error {
		n, err := number(v)
		h.ReadingTime = int(min(n, 1<<20))
		return err
	}},
	{"views", setViews},
	{"scores", setScores},
	{"revision", setRevision},
	{"reference", textInto(func(h *Head) *string { return &h.Reference })},
	{"content_hash", textInto(func(h *Head) *string { return &h.ContentHash })},
	{"flags", setFlags},
	{"checklist", listInto(func(h *Head) *[]string { return &h.Checklist })},
	{"entities", setEntities},
	{"image_sources", setImages},
	{"payload", setPayload},
	{"notes", listInto(func(h *Head) *[]string { return &h.Notes })},
	{"claims", func(h *Head, v any) error {
		h.Claims = nil
		return eachMap(v, "field", func(m map[string]string) {
			h.Claims = append(h.Claims, Claim{m["field"], m["value"], m["from"]})
		})
	}},
}

// fieldNames leads from a folded name to the place in fields.
var fieldNames = func() map[string]int {
	m := map[string]int{}
	for i, f := range fields {
		m[fold(f.name)] = i
		m[f.name] = i
	}
	return m
}()

// fold makes the ways of writing one name equal: "Reading Time", "readingTime", "reading_time".
func fold(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			return c
		}
		return -1
	}, name)
}

// headOf reads the fields of a tree; those that it does not know are kept in Other.
func headOf(tree map[string]any) (Head, error) {
	var h Head
	for _, k := range sortedKeys(tree) { // so that of two ways of writing one name the same counts each time
		v := tree[k]
		i, ok := fieldNames[k]
		if !ok {
			i, ok = fieldNames[fold(k)]
		}
		if !ok {
			if h.Other == nil {
				h.Other = map[string]any{}
			}
			h.Other[k] = v
			continue
		}
		if err := fields[i].set(&h, v); err != nil {
			return h, fmt.Errorf("%s: %w", k, err)
		}
	}
	return h, nil
}

// text returns a value that must be one text. A list of texts counts as one, with commas.
func text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []any:
		words, err := texts(v)
		return strings.Join(words, ", "), err
	}
	return "", fmt.Errorf("a text was expected")
}

// texts returns a value that must be a list of texts. One text is a list of one; a map in it becomes "key: value, …".
func texts(v any) ([]string, error) {
	switch v := v.(type) {
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, nil
		}
		return []string{v}, nil
	case []any:
		list := make([]string, 0, len(v))
		for _, e := range v {
			switch e := e.(type) {
			case string:
				list = append(list, e)
			case map[string]any:
				var parts []string
				for _, k := range sortedKeys(e) {
					value, err := text(e[k])
					if err != nil {
						return nil, fmt.Errorf("a list of texts was expected")
					}
					parts = append(parts, k+": "+value)
				}
				list = append(list, strings.Join(parts, ", "))
			default:
				return nil, fmt.Errorf("a list of texts was expected")
			}
		}
		return list, nil
	case map[string]any:
		return texts([]any{v})
	}
	return nil, fmt.Errorf("a list of texts was expected")
}

func textInto(at func(*Head) *string) func(*Head, any) error {
	return func(h *Head, v any) (err error) {
		*at(h), err = text(v)
		return err
	}
}

func listInto(at func(*Head) *[]string) func(*Head, any) error {
	return func(h *Head, v any) (err error) {
		*at(h), err = texts(v)
		return err
	}
}

// asMap returns a value that must be a map; nothing counts as an empty one.
func asMap(v any) (map[string]any, error) {
	switch v := v.(type) {
	case map[string]any:
		return v, nil
	case string:
		if v == "" {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("a map was expected")
}

// mapInto reads the texts of a map by their folded keys; other keys are passed over.
func mapInto(v any, to map[string]*string) error {
	m, err := asMap(v)
	for k, e := range m {
		if at, ok := to[fold(k)]; ok {
			if *at, err = text(e); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
	}
	return err
}

// number reads a whole number that is not negative; words behind it are passed over ("9 min").
func number(v any) (int64, error) {
	s, err := text(v)
	s = strings.TrimSpace(s)
	if err != nil || s == "" {
		return 0, err
	}
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("a whole number was expected")
	}
	return n, nil
}

// truth reads a truth as people write it; known is false where it is neither.
func truth(v any) (is, known bool) {
	s, err := text(v)
	if err != nil {
		return false, false
	}
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "yes", "y", "1", "on":
		return true, true
	case "false", "no", "n", "0", "off", "":
		return false, true
	}
	return false, false
}

func setViews(h *Head, v any) error {
	h.Views = &Views{Kind: ViewsImported}
	m, ok := v.(map[string]any)
	if !ok {
		n, err := number(v)
		h.Views.Count = n
		return err
	}
	for k, e := range m {
		switch fold(k) {
		case "count":
			n, err := number(e)
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			h.Views.Count = n
		case "kind":
			if s, _ := text(e); fold(s) == ViewsSynthetic {
				h.Views.Kind = ViewsSynthetic
			}
		}
	}
	return nil
}

func setScores(h *Head, v any) error {
	m, err := asMap(v)
	if err != nil {
		return err
	}
	h.Scores = &Scores{}
	to := map[string]*[]string{"quality": &h.Scores.Quality, "freshness": &h.Scores.Freshness, "depth": &h.Scores.Depth, "clarity": &h.Scores.Clarity}
	for k, e := range m {
		if at, ok := to[fold(k)]; ok {
			if *at, err = texts(e); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
		if fold(k) == "asof" {
			h.Scores.AsOf, _ = text(e)
		}
	}
	return nil
}

func setRevision(h *Head, v any) error {
	if s, ok := v.(string); ok {
		h.Revision.Status = s
		return nil
	}
	version := ""
	err := mapInto(v, map[string]*string{"status": &h.Revision.Status, "version": &version, "lastreviewed": &h.Revision.LastReviewed,
		"reviewedby": &h.Revision.ReviewedBy, "reviewedhash": &h.Revision.ReviewedHash})
	if err == nil {
		var n int64
		n, err = number(strings.TrimLeft(version, "vV"))
		h.Revision.Version = int(min(n, 1<<30))
	}
	return err
}

// setFlags reads flags from a map, or from a list of those that are set. What is said of the need for a review and is neither
// yes nor no counts as yes: a note must not slip past a person by a slip of the pen.
func setFlags(h *Head, v any) error {
	set := func(name string, e any) {
		is, known := truth(e)
		switch fold(name) {
		case "generated":
			h.Flags.Generated = is || !known
		case "hasimages":
			h.Flags.HasImages = is
		case "imageheavy":
			h.Flags.ImageHeavy = is
		case "needshumanreview", "needsreview":
			h.Flags.NeedsHumanReview = is || !known
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			set(k, v[k])
		}
		return nil
	case []any, string:
		list, err := texts(v)
		for _, name := range list {
			name, value, glued := strings.Cut(name, ":")
			if glued {
				set(name, strings.TrimSpace(value))
			} else {
				set(name, "true")
			}
		}
		return err
	}
	return fmt.Errorf("a map of true and false was expected")
}

// eachMap calls f for each entry of a list of maps, with folded keys; an entry that is a text stands under the key given.
func eachMap(v any, key string, f func(map[string]string)) error {
	list, ok := v.([]any)
	if !ok {
		if s, is := v.(string); is && s == "" {
			return nil
		}
		list = []any{v}
	}
	for _, e := range list {
		switch e := e.(type) {
		case string:
			f(map[string]string{key: e})
		case map[string]any:
			m := make(map[string]string, len(e))
			for k, v := range e {
				s, err := text(v)
				if err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
				m[fold(k)] = s
			}
			f(m)
		default:
			return fmt.Errorf("a list of maps was expected")
		}
	}
	return nil
}

// setEntities reads entities; a text "GET /articles (route)" counts as name and type.
func setEntities(h *Head, v any) error {
	h.Entities = nil
	return eachMap(v, "", func(m map[string]string) {
		e := Entity{m["name"], m["type"]}
		if s := m[""]; s != "" {
			e.Name = s
			if i := strings.LastIndex(s, " ("); i > 0 && strings.HasSuffix(s, ")") {
				e = Entity{s[:i], s[i+2 : len(s)-1]}
			}
		}
		h.Entities = append(h.Entities, e)
	})
}

func setImages(h *Head, v any) error {
	h.ImageSources = nil
	return eachMap(v, "address", func(m map[string]string) {
		address := m["address"]
		if address == "" {
			address = m["url"]
		}
		h.ImageSources = append(h.ImageSources, ImageSource{m["source"], address, m["caption"]})
	})
}

func setPayload(h *Head, v any) error {
	paragraphs := ""
	err := mapInto(v, map[string]*string{"sourceid": &h.Payload.SourceID, "generator": &h.Payload.Generator, "paragraphs": &paragraphs,
		"scenario": &h.Payload.Scenario, "seed": &h.Payload.Seed})
	if err == nil && paragraphs != "" {
		if n, err := number(paragraphs); err == nil {
			h.Payload.Paragraphs = int(min(n, 1<<30))
		}
	}
	return err
}
