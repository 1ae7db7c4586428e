package note

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// formats are the names of files that an import reads, by their ends.
var formats = map[string]func(data []byte) (map[string]any, []byte, error){
	".md": fromMarkdown, ".markdown": fromMarkdown, ".txt": fromText, ".text": fromText, ".json": fromJSON, ".jsonl": fromJSON, ".ndjson": fromJSON,
}

func format(name string) string { return strings.ToLower(path.Ext(name)) }

// fromMarkdown reads Markdown with YAML front matter, or with a block of post metadata at its end.
func fromMarkdown(data []byte) (map[string]any, []byte, error) {
	if strings.HasPrefix(string(data[:min(len(data), len(headMark))]), headMark) {
		tree, body, err := splitTree(data)
		if tree == nil {
			tree = map[string]any{}
		}
		return tree, body, err
	}
	return fromText(data)
}

func fromText(data []byte) (map[string]any, []byte, error) {
	tree, body := parsePlainText(string(data))
	return tree, []byte(body), nil
}

// fromJSON reads one object: the fields of the head beside the text, or below a key of their own.
func fromJSON(data []byte) (map[string]any, []byte, error) {
	if levels := deepest(data); levels > MaxNesting {
		return nil, nil, fmt.Errorf("the object has %d levels, at most %d were expected", levels, MaxNesting)
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var read map[string]any
	if err := d.Decode(&read); err != nil {
		return nil, nil, fmt.Errorf("it is no JSON: %w", err)
	}
	if read == nil {
		return nil, nil, errors.New("an object was expected")
	}
	tree, _ := plainValue(read).(map[string]any)
	body := ""
	for _, k := range sortedKeys(tree) {
		v := tree[k]
		switch fold(k) {
		case "body", "content", "text", "markdown", "article":
			s, ok := v.(string)
			if list, isList := v.([]any); isList {
				s, ok = paragraphs(list)
			}
			if !ok {
				return nil, nil, fmt.Errorf("%s: a text was expected", k)
			}
			body = s
			delete(tree, k)
		case "head", "metadata", "meta", "frontmatter", "postmetadata":
			if m, ok := v.(map[string]any); ok {
				delete(tree, k)
				for k, v := range m {
					if _, there := tree[k]; !there {
						tree[k] = v
					}
				}
			}
		}
	}
	if payload, ok := tree["payload"].(map[string]any); ok {
		if list, ok := payload["paragraphs"].([]any); ok {
			if s, ok := paragraphs(list); ok && body == "" {
				body = s
			}
			delete(payload, "paragraphs")
		}
	}
	clean, err := decoded([]byte(body)) // what was escaped in JSON
	return tree, clean, err
}

// deepest is how many objects and lists of a JSON text lie within each other.
func deepest(data []byte) int {
	depth, most := 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			most = max(most, depth)
		case '}', ']':
			depth--
		}
	}
	return most
}

// paragraphs joins a list of texts to one text.
func paragraphs(list []any) (string, bool) {
	var b strings.Builder
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return "", false
		}
		b.WriteString(s + "\n\n")
	}
	return b.String(), true
}

// aliases are the names under which other programs keep the fields of a head, folded.
var aliases = map[string]string{"title": "topic", "posttitle": "topic", "author": "owner", "language": "code_language", "images": "image_sources",
	"created": "date", "published": "date", "readtime": "reading_time", "description": "summary", "keywords": "tools"}

// convert makes a note of what an import read. from names the file that it came in.
func convert(tree map[string]any, body []byte, from string, now time.Time, review bool) (*Head, []byte, error) {
	var claims []Claim
	for _, k := range sortedKeys(tree) {
		v, folded := tree[k], fold(k)
		if to, ok := aliases[folded]; ok {
			if _, there := tree[to]; !there {
				tree[to] = v
				delete(tree, k)
			}
			continue
		}
		switch folded {
		case "id", "slug", "sourceid":
			delete(tree, k)
			id, err := text(v)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", k, err)
			}
			payload, ok := tree["payload"].(map[string]any)
			if !ok {
				payload = map[string]any{}
				tree["payload"] = payload
			}
			if _, there := payload["source_id"]; !there {
				payload["source_id"] = id
			}
		case "scores", "score", "rating", "revision":
			// What others computed or reviewed is their word, whatever its form.
			claims = flatten(claims, k, v, 0)
			delete(tree, k)
		case "claims":
			delete(tree, k)
			if err := eachMap(v, "value", func(m map[string]string) {
				claims = append(claims, Claim{cmp.Or(m["field"], "claim"), m["value"], cmp.Or(m["from"], from)})
			}); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", k, err)
			}
		case "readingtime", "contenthash":
			delete(tree, k) // computed anew
		}
	}
	h, err := headOf(tree)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range sortedKeys(h.Other) {
		claims = flatten(claims, k, h.Other[k], 0)
	}
	h.Other = nil
	for i := range claims {
		c := &claims[i]
		c.Field, c.Value, c.From = oneLine(c.Field), oneLine(c.Value), cmp.Or(c.From, from)
	}
	h.Claims = claims
	if h.Topic == "" {
		h.Topic = firstLine(body)
	}
	if h.Date != "" {
		h.Date = dayOf(h.Date)
	}
	if d := strings.ToLower(h.Difficulty); d == "beginner" || d == "intermediate" || d == "advanced" {
		h.Difficulty = d
	}
	h.Revision = Revision{Status: Imported, Version: 1}
	h.Flags.Generated = h.Flags.Generated || h.Payload.Generator != ""
	h.Flags.NeedsHumanReview = h.Flags.NeedsHumanReview || h.Flags.Generated || review
	if h.Views != nil && h.Flags.Generated {
		h.Views.Kind = ViewsSynthetic
	}
	body = []byte(strings.Trim(string(body), "\n") + "\n")
	if err := h.clean(); err != nil {
		return nil, nil, err
	}
	switch {
	case h.Topic == "":
		return nil, nil, errors.New("it has no topic: neither a field nor a first line")
	case len(strings.TrimSpace(string(body))) == 0:
		return nil, nil, errors.New("it has no text")
	case len(body) > MaxNote-MaxHead:
		return nil, nil, fmt.Errorf("its text has %d bytes, at most %d were expected", len(body), MaxNote-MaxHead)
	}
	if err := CheckMarkdown(body); err != nil {
		return nil, nil, err
	}
	if err := refuseScript(body); err != nil {
		return nil, nil, err
	}
	body = append([]byte("\n"), body...)
	shape := Complete(&h, body)
	h.Scores = Met(Score(&h, &shape, Evidence{Now: now}), now)
	return &h, body, nil
}

// flatten makes claims of a value and of what is in it.
func flatten(claims []Claim, field string, v any, depth int) []Claim {
	if len(claims) > MaxClaims || depth > MaxNesting {
		return claims
	}
	switch v := v.(type) {
	case string:
		if v != "" {
			claims = append(claims, Claim{Field: field, Value: v})
		}
	case []any:
		if list, err := texts(v); err == nil {
			return flatten(claims, field, strings.Join(list, ", "), depth+1)
		}
		for i, e := range v {
			claims = flatten(claims, fmt.Sprintf("%s.%d", field, i+1), e, depth+1)
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			claims = flatten(claims, field+"."+k, v[k], depth+1)
		}
	}
	return claims
}

// firstLine is the first line of a text that says something, without the marks of a heading.
func firstLine(body []byte) string {
	for line := range strings.Lines(string(body)) {
		if t := strings.TrimSpace(strings.Trim(strings.TrimSpace(line), "#=*_")); t != "" {
			if len(t) > MaxTopic {
				return briefly(t)
			}
			return t
		}
	}
	return ""
}

// dayOf returns the day of a date in one of the usual forms, else the text as it is.
func dayOf(s string) string {
	for _, form := range []string{time.DateOnly, time.RFC3339Nano, time.DateTime, "2006-01-02T15:04:05", "2006/01/02", "2 January 2006", "January 2, 2006", "Jan 2, 2006",
		"2006-01-02 15:04:05 -0700 MST"} {
		if t, err := time.Parse(form, strings.TrimSpace(s)); err == nil {
			return t.UTC().Format(time.DateOnly)
		}
	}
	return s
}

// clean brings every text of an imported head into one line without what nobody sees, and holds it to its limits.
func (h *Head) clean() error {
	var wrong error
	one := func(name string, s *string, limit int) {
		*s = oneLine(*s)
		switch {
		case wrong != nil:
		case len(*s) > limit:
			wrong = fmt.Errorf("%s has %d bytes, at most %d were expected", name, len(*s), limit)
		case scriptTag.MatchString(*s):
			wrong = fmt.Errorf("%s holds HTML that is not let in: %q", name, scriptTag.FindString(*s))
		}
	}
	list := func(name string, n int) {
		if n > MaxList && wrong == nil {
			wrong = fmt.Errorf("%s has more than %d entries", name, MaxList)
		}
	}
	all := func(name string, l []string) {
		if list(name, len(l)); wrong == nil {
			for i := range l {
				one(name, &l[i], MaxText)
			}
		}
	}
	one("topic", &h.Topic, MaxTopic)
	one("summary", &h.Summary, MaxText)
	one("brief", &h.Brief, MaxText)
	for name, s := range map[string]*string{"outline.context": &h.Outline.Context, "outline.problem": &h.Outline.Problem, "outline.stack": &h.Outline.Stack,
		"outline.recommended_action": &h.Outline.RecommendedAction} {
		one(name, s, MaxText)
	}
	for name, s := range map[string]*string{"code_language": &h.CodeLanguage, "difficulty": &h.Difficulty, "owner": &h.Owner, "date": &h.Date,
		"reference": &h.Reference, "payload.source_id": &h.Payload.SourceID, "payload.generator": &h.Payload.Generator, "payload.scenario": &h.Payload.Scenario,
		"payload.seed": &h.Payload.Seed} {
		one(name, s, MaxTopic)
	}
	all("stack", h.Stack)
	all("tools", h.Tools)
	all("checklist", h.Checklist)
	all("notes", h.Notes)
	list("entities", len(h.Entities))
	list("image_sources", len(h.ImageSources))
	if len(h.Claims) > MaxClaims && wrong == nil {
		wrong = fmt.Errorf("it has more than %d fields that demarc does not know or compute itself", MaxClaims)
	}
	if wrong != nil {
		return wrong
	}
	kept := h.Entities[:0]
	for _, e := range h.Entities {
		one("entities.name", &e.Name, MaxTopic)
		one("entities.type", &e.Type, MaxTopic)
		if e.Type = strings.ToLower(e.Type); e.Name != "" {
			kept = append(kept, e)
		}
	}
	h.Entities = kept
	for i := range h.ImageSources {
		s := &h.ImageSources[i]
		one("image_sources.source", &s.Source, MaxText)
		one("image_sources.address", &s.Address, MaxText)
		one("image_sources.caption", &s.Caption, MaxText)
		if wrong == nil && badAddress(s.Address) || !remote(s.Address) && Leads(s.Address) {
			wrong = fmt.Errorf("image_sources.address leads elsewhere: %.60q", s.Address)
		}
	}
	for i := range h.Claims {
		c := &h.Claims[i]
		one("a claim's field", &c.Field, MaxTopic)
		one("a claim's value ("+c.Field+")", &c.Value, MaxText)
		one("a claim's origin", &c.From, MaxText)
	}
	if id := h.Payload.SourceID; wrong == nil && id != "" && !remote(id) && Leads(id) {
		wrong = fmt.Errorf("its id is a path that leads elsewhere: %.60q", id)
	}
	return wrong
}

// remote says whether an address is one on the web.
func remote(address string) bool {
	scheme, _, ok := strings.Cut(strings.ToLower(address), "://")
	return ok && (scheme == "http" || scheme == "https")
}

// importedID is the id of an imported note: the same for the same source and topic, so that a second import finds the first. Only
// its hash carries what the source says; the rest is for people.
func importedID(h *Head) string {
	seed := h.Payload.SourceID + "\x00" + h.Topic
	if h.Payload.SourceID == "" {
		seed += "\x00" + h.ContentHash
	}
	sum := sha256.Sum256([]byte(seed))
	return slug(h.Topic) + "-" + hex.EncodeToString(sum[:6])
}

// slug makes a name for a file of a topic: lower-case letters, digits and hyphens, at most 60.
func slug(topic string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(topic) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b.WriteRune(c)
		} else if s := b.String(); s != "" && s[len(s)-1] != '-' {
			b.WriteByte('-')
		}
		if b.Len() >= 60 {
			break
		}
	}
	return cmp.Or(strings.Trim(b.String(), "-"), "note")
}
