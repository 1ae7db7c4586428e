package change

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/compare"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
)

// NoteInput is what a note is written from, beside the record itself.
type NoteInput struct {
	Runs     []*Run
	Compared *compare.Result   // figures before and after; nil: there are none
	Command  string            // that prints them
	NoFigure string            // why there are none, in one sentence
	Files    []string          // touched, from git; nil: those of the record
	Security []SecuritySetting // touched, from git; with Files
	Final    bool              // a person stands behind it; else it is a draft
	Rewrite  bool              // write it anew although a person has changed the text
	Now      time.Time
}

// WriteNote writes the record's note and its picture beside the record, and returns the note's path. A text that a person
// has changed is left as it is, and only its head is brought up to date, unless Rewrite is set.
func (r *Record) WriteNote(in NoteInput) (string, error) {
	path := r.NotePath()
	fail := func(cause error) error {
		return &fault.Error{What: "cannot write the note " + path, Cause: cause, Retry: fault.RetrySafe,
			Expected: "a note of at most " + fmt.Sprint(MaxNote) + " bytes, and permission to write beside the record"}
	}
	status := r.Status(in.Runs)
	for i := range status.Items {
		if r.Checklist[i].Step == StepNote { // which is being done now
			if status.Items[i].State, status.Items[i].Detail = ItemOpen, ""; in.Final {
				status.Items[i].State = ItemDone
			}
			status.Items[i].Command = "demarc change note " + r.Name()
		}
	}
	head, body, svg := r.note(in, &status)
	head.Revision.Version = 1
	hash, edited := head.ContentHash, false
	old, err := readBounded(path, MaxNote)
	switch {
	case err == nil:
		was, text, err := SplitNote(old)
		if err != nil {
			if !in.Rewrite {
				return "", fail(fmt.Errorf("there is one without a head: %w; --rewrite replaces it", err))
			}
			break
		}
		head.Revision.Version = was.Revision.Version + 1
		head.Revision.LastReviewed, head.Revision.ReviewedBy, head.Revision.ReviewedHash = was.Revision.LastReviewed, was.Revision.ReviewedBy, was.Revision.ReviewedHash
		head.Difficulty, head.Views, head.Notes, head.Claims, head.Other = was.Difficulty, was.Views, was.Notes, was.Claims, was.Other
		if was.ContentHash != ContentHash(text) && !in.Rewrite {
			// The words are a person's now; so is the picture that they speak of.
			head.Summary, head.Brief, head.Outline, head.ImageSources = was.Summary, was.Brief, was.Outline, was.ImageSources
			body, svg, edited, hash = text, nil, true, was.ContentHash
			if finalStatus(was.Revision.Status) == head.Revision.Status {
				head.Revision.Status = was.Revision.Status
			}
		} else if bytes.Equal(text, body) && finalStatus(was.Revision.Status) == head.Revision.Status {
			head.Revision.Status = was.Revision.Status
			head.Revision.Version = was.Revision.Version
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", fail(err)
	}
	shape := note.Complete(&head, body)
	if head.ContentHash = hash; edited {
		head.Flags.Generated = false
	}
	head.Scores = note.Met(note.Score(&head, &shape, r.Evidence(in.Runs, in.Now)), in.Now)
	data := r.masked(note.Join(&head, body))
	if len(data) > MaxNote {
		return "", fail(fmt.Errorf("it has %d bytes", len(data)))
	}
	if svg != nil {
		if err := WriteFile(r.figurePath(), svg); err != nil {
			return "", fail(err)
		}
	}
	if err := WriteFile(path, data); err != nil {
		return "", fail(err)
	}
	return path, nil
}

// finalStatus is the state of a note without its review: whoever reviews a note stands behind it.
func finalStatus(status string) string {
	if status == note.Reviewed {
		return NoteFinal
	}
	return status
}

func (r *Record) figurePath() string { return strings.TrimSuffix(r.path, ".yaml") + ".svg" }

// note writes the note of a record: head, text and picture (nil: there is nothing to draw). What it says comes from the record,
// its runs and the comparison alone, with the secrets that the record refers to masked wherever they turn up.
func (r *Record) note(in NoteInput, status *Status) (NoteHead, []byte, []byte) {
	n := &noteWriter{r: r, in: in, status: status, ship: Last(in.Runs, KindShip, "")}
	n.rows = n.routeRows()
	var svg []byte
	caption := ""
	if in.Compared != nil {
		of := cmp.Or(r.Baseline.Route, "all routes")
		svg = drawFigure(of+" before and after", in.Command, n.rows, in.Compared.Confidence)
		caption = fmt.Sprintf("%s before and after the change, with the %g %% interval in which the figure after lies.", of, 100*in.Compared.Confidence)
	}
	n.picture = svg != nil
	n.body(caption)
	body := r.masked([]byte(n.String()))
	head := n.head()
	head.ContentHash = ContentHash(body)
	if svg != nil {
		svg = r.masked(svg)
		head.ImageSources = []note.ImageSource{{Source: "drawn by demarc from: " + in.Command, Address: filepath.Base(r.figurePath()), Caption: caption}}
	}
	return head, body, svg
}

// noteWriter collects the text of a note.
type noteWriter struct {
	strings.Builder
	r       *Record
	in      NoteInput
	status  *Status
	ship    *Run
	rows    []compare.Row // of the route that the change is about, or of all
	picture bool
}

func (n *noteWriter) f(format string, args ...any) { fmt.Fprintf(n, format, args...) }

// para writes a text of a person, who may have used Markdown, as a paragraph.
func (n *noteWriter) para(text string) {
	if text = strings.TrimSpace(text); text != "" {
		n.f("\n%s\n", text)
	}
}

// named writes one named fact as an item of a list.
func (n *noteWriter) named(name, text string) {
	if text = strings.TrimSpace(text); text != "" {
		n.f("- %s: %s\n", name, strings.ReplaceAll(text, "\n", "\n  "))
	}
}

func (n *noteWriter) section(title string) { n.f("\n## %s\n", title) }

// open says that the record has no answer to what a section is about.
func (n *noteWriter) open(what string) { n.f("\n*The record does not say %s.*\n", what) }

// masked takes out the secrets that the record's commands refer to, as far as they can be read here, and passwords in
// addresses.
func (r *Record) masked(text []byte) []byte {
	var secrets [][]byte
	add := func(dir string, refs map[string]string) {
		for _, name := range sortedKeys(refs) {
			if value, err := command.ReadSecret(dir, refs[name]); err == nil {
				secrets = append(secrets, []byte(value))
			}
		}
	}
	for _, environment := range []string{"", "staging", "production"} {
		for _, name := range CommandNames {
			if c := r.Command(environment, name); c != nil {
				add(c.Dir, c.Secrets)
			}
		}
	}
	for _, i := range r.Checklist {
		if i.Run != nil {
			add(i.Run.Dir, i.Run.Secrets)
		}
	}
	for _, c := range r.Expected {
		add(c.Dir, c.Secrets)
	}
	var out bytes.Buffer
	m := command.NewMasker(&out, secrets)
	_, _ = m.Write(text) // a Buffer does not fail
	_ = m.Flush()
	return passwords.ReplaceAll(out.Bytes(), []byte("${1}"+command.Masked+"@"))
}

// routeRows are the compared figures of the record's route, or of all routes where it names none or the comparison has not
// seen it.
func (n *noteWriter) routeRows() []compare.Row {
	if n.in.Compared == nil {
		return nil
	}
	of := func(rows []compare.Row, other func(compare.Row) bool) []compare.Row {
		return slices.DeleteFunc(slices.Clone(rows), func(r compare.Row) bool { return other(r) || r.Before == nil && r.After == nil })
	}
	rows := of(n.in.Compared.Routes, func(r compare.Row) bool { return r.Route != n.r.Baseline.Route })
	if len(rows) == 0 {
		return of(n.in.Compared.Totals, func(compare.Row) bool { return false })
	}
	return rows
}

// headline is the one figure that a reader wants first: the first in the order of the metrics for which something can be
// claimed, p95 before all.
func (n *noteWriter) headline() *compare.Row {
	var best *compare.Row
	for i := range n.rows {
		r := &n.rows[i]
		if r.Before == nil || r.After == nil || r.Verdict != compare.Better && r.Verdict != compare.Worse {
			continue
		}
		if r.Metric == compare.P95 {
			return r
		}
		if best == nil {
			best = r
		}
	}
	return best
}

// summary is the change in one or two sentences.
func (n *noteWriter) summary() string {
	text := strings.TrimSuffix(oneSentence(cmp.Or(n.r.Change, n.r.Topic)), ".") + "."
	if h := n.headline(); h != nil {
		text += fmt.Sprintf(" %s of %s: %s before, %s after (%s).", h.Metric, h.Route, formatValue(h.Metric, *h.Before), formatValue(h.Metric, *h.After), claim(*h))
	}
	switch n.status.State {
	case RolledBack:
		text += " It was rolled back."
	case Draft, Rehearsed:
		text += " It has not been shipped."
	}
	return text
}

func oneSentence(text string) string { return strings.Join(strings.Fields(text), " ") }

func (n *noteWriter) head() NoteHead {
	r := n.r
	h := NoteHead{
		Topic: r.Topic, Summary: n.summary(), Stack: slices.Concat([]string{}, r.Stack), Owner: r.Owner,
		Date: n.in.Now.UTC().Format(time.DateOnly), Reference: filepath.Base(r.path),
		Revision: note.Revision{Status: NoteDraft}, Tools: r.tools(),
		Flags: note.Flags{Generated: true, HasImages: n.picture, NeedsHumanReview: !n.in.Final},
		Outline: note.Outline{
			Context: oneSentence(r.Context), Problem: oneSentence(cmp.Or(r.Cause, r.Reason)), Stack: strings.Join(r.Stack, ", "),
			RecommendedAction: oneSentence(r.Change),
		},
	}
	if n.in.Final {
		h.Revision.Status = NoteFinal
	}
	if n.ship != nil {
		h.Date = n.ship.At.UTC().Format(time.DateOnly)
	}
	for _, i := range n.status.Items {
		h.Checklist = append(h.Checklist, i.State+": "+i.Item)
	}
	for _, e := range []note.Entity{{Name: r.Baseline.Route, Type: "route"}, {Name: r.Boundary, Type: "boundary"},
		{Name: r.namedCause(), Type: "cause"}, {Name: r.Finding, Type: "finding"}} {
		if e.Name != "" {
			h.Entities = append(h.Entities, e)
		}
	}
	for _, f := range n.files() {
		if len(h.Entities) < 50 {
			h.Entities = append(h.Entities, note.Entity{Name: f, Type: "file"})
		}
	}
	return h
}

func (n *noteWriter) files() []string {
	if n.in.Files != nil {
		return n.in.Files
	}
	return n.r.Files
}
