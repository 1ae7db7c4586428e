package note

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// ViewSchema names the form of a View as JSON.
const ViewSchema = "demarc.note/1"

// View is a note as it is shown: the head with what was computed now, the items of its scores, its text, and notes like it.
type View struct {
	Schema  string    `json:"schema"`
	ID      string    `json:"id"`
	Path    string    `json:"path"`
	State   string    `json:"state"` // in words: "needs human review", "reviewed by Ada on 2026-11-22", …
	Head    *Head     `json:"head"`
	Items   []Item    `json:"items"`
	Changed []Change  `json:"changed"` // files and routes that changed since
	Text    string    `json:"text"`
	Similar []Similar `json:"similar"`
}

// Similar is a note like another.
type Similar struct {
	ID      string   `json:"id"`
	Path    string   `json:"path"`
	Topic   string   `json:"topic"`
	Reasons []string `json:"reasons"`
}

// NewView computes what is computed of a note. similar may be nil.
func NewView(id, path string, h *Head, body []byte, e Evidence, similar []Similar) *View {
	shown := *h
	shape := Complete(&shown, body)
	v := &View{Schema: ViewSchema, ID: id, Path: path, State: StateText(&shown, shape.Hash), Head: &shown, Items: Score(&shown, &shape, e), Changed: e.Changed,
		Text: string(body), Similar: similar}
	if v.Similar == nil {
		v.Similar = []Similar{}
	}
	if v.Changed == nil {
		v.Changed = []Change{}
	}
	shown.Scores = Met(v.Items, e.Now)
	shown.fill()
	return v
}

// fill gives every list a value, so that JSON has a list, too, where there is nothing.
func (h *Head) fill() {
	for _, l := range []*[]string{&h.Stack, &h.Tools, &h.Checklist, &h.Notes, &h.Scores.Quality, &h.Scores.Freshness, &h.Scores.Depth, &h.Scores.Clarity} {
		if *l == nil {
			*l = []string{}
		}
	}
	if h.Entities == nil {
		h.Entities = []Entity{}
	}
	if h.ImageSources == nil {
		h.ImageSources = []ImageSource{}
	}
	if h.Claims == nil {
		h.Claims = []Claim{}
	}
}

// StateText says in words what a note is worth as a document. hash is that of its text.
func StateText(h *Head, hash string) string {
	by, on, current := h.ReviewedBy(hash)
	switch {
	case h.Hidden():
		return "needs human review"
	case by != "" && current:
		return "reviewed by " + by + " on " + on
	case by != "":
		return "reviewed by " + by + " on " + on + ", and changed since"
	case h.Revision.Status == "":
		return "not reviewed"
	}
	return h.Revision.Status + ", not reviewed"
}

// Field is a field of a head as people see it: one text, or a list.
type Field struct {
	Name string
	Text string
	List []string
}

// Fields are what a head says, in its order, without what is empty. Every array is a list.
func (v *View) Fields() []Field {
	h := v.Head
	var out []Field
	one := func(name, value string) {
		if value != "" {
			out = append(out, Field{Name: name, Text: value})
		}
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			out = append(out, Field{Name: name, List: values})
		}
	}
	one("state", v.State)
	one("difficulty", cond(h.Difficulty != "", h.Difficulty+" (declared)"))
	one("reading time", cond(h.ReadingTime > 0, fmt.Sprintf("%d min", h.ReadingTime)))
	one("code language", h.CodeLanguage)
	one("owner", h.Owner)
	one("date", h.Date)
	one("version", cond(h.Revision.Version > 0, fmt.Sprint(h.Revision.Version)))
	one("last reviewed", cond(h.Revision.ReviewedBy != "" && !h.Hidden(), h.Revision.LastReviewed+" by "+h.Revision.ReviewedBy))
	if h.Views != nil {
		one("views", fmt.Sprintf("%d (%s, not counted by demarc)", h.Views.Count, h.Views.Kind))
	}
	list("stack", h.Stack)
	list("tools", h.Tools)
	var entities, images, claims []string
	for _, e := range h.Entities {
		entities = append(entities, e.Name+cond(e.Type != "", " ("+e.Type+")"))
	}
	for _, i := range h.ImageSources {
		images = append(images, cmp.Or(i.Caption, "without a caption")+" – "+i.Address+cond(i.Source != "", " – source: "+i.Source))
	}
	for _, c := range h.Claims {
		claims = append(claims, c.Field+": "+c.Value+cond(c.From != "", " (from "+c.From+")"))
	}
	list("entities", entities)
	list("checklist", h.Checklist)
	list("image sources", images)
	var flags []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"generated", h.Flags.Generated}, {"has images", h.Flags.HasImages}, {"image heavy", h.Flags.ImageHeavy}, {"needs human review", h.Flags.NeedsHumanReview}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	list("flags", flags)
	var payload []string
	for _, p := range []struct{ name, value string }{{"source id", h.Payload.SourceID}, {"generator", h.Payload.Generator},
		{"paragraphs", cond(h.Payload.Paragraphs > 0, fmt.Sprint(h.Payload.Paragraphs))}, {"scenario", h.Payload.Scenario}, {"seed", h.Payload.Seed}} {
		if p.value != "" {
			payload = append(payload, p.name+": "+p.value)
		}
	}
	list("payload", payload)
	list("notes", h.Notes)
	list("claims, not confirmed by demarc", claims)
	one("reference", h.Reference)
	one("content hash", h.ContentHash)
	return out
}

func cond(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// Of returns the items of one score, those that are met first.
func (v *View) Of(score string) []Item {
	var met, not []Item
	for _, i := range v.Items {
		switch {
		case i.Score != score:
		case i.Met:
			met = append(met, i)
		default:
			not = append(not, i)
		}
	}
	return append(met, not...)
}

// WriteText writes a note for a terminal.
func (v *View) WriteText(w io.Writer) error {
	var b strings.Builder
	h := v.Head
	fmt.Fprintf(&b, "%s\n%s\n", Plain(h.Topic), Plain(v.Path))
	if h.Summary != "" {
		fmt.Fprintf(&b, "\n%s\n", Plain(h.Summary))
	}
	if o := h.Outline; o != (Outline{}) {
		b.WriteString("\noutline\n")
		for _, l := range []struct{ name, value string }{{"context", o.Context}, {"problem", o.Problem}, {"stack", o.Stack}, {"recommended action", o.RecommendedAction}} {
			if l.value != "" {
				fmt.Fprintf(&b, "  - %s: %s\n", l.name, Plain(l.value))
			}
		}
	}
	b.WriteString("\n")
	for _, f := range v.Fields() {
		if f.List == nil {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, Plain(f.Text))
			continue
		}
		fmt.Fprintf(&b, "%s\n", f.Name)
		for _, e := range f.List {
			fmt.Fprintf(&b, "  - %s\n", Plain(e))
		}
	}
	for _, score := range ScoreNames {
		fmt.Fprintf(&b, "%s\n", score)
		for _, i := range v.Of(score) {
			mark := "[ ]"
			if i.Met {
				mark = "[x]"
			}
			fmt.Fprintf(&b, "  - %s %s%s\n", mark, i.Name, cond(i.Why != "", ": "+Plain(i.Why)))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(PlainLines(v.Text)))
	if len(v.Similar) > 0 {
		b.WriteString("\nsimilar notes\n")
		for _, s := range v.Similar {
			fmt.Fprintf(&b, "  - %s: %s\n", Plain(s.ID), Plain(s.Topic))
			for _, r := range s.Reasons {
				fmt.Fprintf(&b, "    - %s\n", Plain(r))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Plain is a text of a note as one line of a terminal takes it: nothing in it moves the cursor or turns the writing.
func Plain(s string) string { return oneLine(strings.ToValidUTF8(s, "\uFFFD")) }

// PlainLines is Plain for a text of several lines.
func PlainLines(s string) string {
	return strings.Map(func(c rune) rune {
		if unseen(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
