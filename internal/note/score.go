package note

import (
	"slices"
	"time"
)

// Evidence is what is known of a note beside its file.
type Evidence struct {
	Now time.Time

	// Of its change record, where it has one.
	Record       bool
	Baseline     bool      // the record names figures of the state before, with the commands that printed them
	Rehearsed    bool      // the newest rehearsal ran deploy and rollback, and both passed
	ChecksPassed bool      // every check of the newest run on production, or else on staging, passed
	Verified     time.Time // when the checks were last asked again and held; zero: never
	Broken       string    // what the newest verification says no longer holds; empty: nothing
	BrokenAt     time.Time

	// Of git.
	Git     bool     // it could be asked
	Changed []Change // files and routes that the note names and that changed since it was written or reviewed
}

// Change is something that a note names and that is no longer as it was.
type Change struct {
	Name string    `json:"name"`
	Type string    `json:"type"` // file or route
	At   time.Time `json:"at"`   // of the newest commit that touched it
}

// Item is one named thing that a note has or lacks.
type Item struct {
	Score string `json:"score"` // quality, freshness, depth, clarity
	Name  string `json:"name"`
	Met   bool   `json:"met"`
	Why   string `json:"why,omitempty"` // where it is not met, and the name alone does not say it
}

// The names of the scores.
const (
	Quality   = "quality"
	Freshness = "freshness"
	Depth     = "depth"
	Clarity   = "clarity"
)

// ScoreNames are the scores in the order in which they are shown.
var ScoreNames = []string{Quality, Freshness, Depth, Clarity}

// Score names every item of the four scores and says which are met. There is no sum: what a note lacks is of use, how many it
// has is not. docs/notes.md lists the items in the same words.
func Score(h *Head, s *Shape, e Evidence) []Item {
	var items []Item
	add := func(score, name string, met bool, why string) {
		if met {
			why = ""
		}
		items = append(items, Item{score, name, met, why})
	}
	_, on, current := h.ReviewedBy(s.Hash)
	record := ""
	if !e.Record {
		record = "the note has no change record"
	}
	reviewed := "nobody has reviewed it"
	switch {
	case h.Hidden():
		reviewed = "it waits for a review"
	case on != "":
		reviewed = "its text was changed since the review of " + on
	}
	add(Quality, "baseline present", e.Baseline || s.Before, "")
	add(Quality, "figures with intervals", s.Intervals, "")
	add(Quality, "figures name their command", s.Commands, "")
	add(Quality, "cause named", s.Cause || h.Outline.Problem != "" || hasType(h, "cause"), "")
	add(Quality, "checks passed", e.ChecksPassed, record)
	add(Quality, "rollback rehearsed", e.Rehearsed, record)
	add(Quality, "reviewed by a person", on != "" && current, reviewed)

	since := Since(h)
	age := e.Now.Sub(since)
	undated := ""
	if since.IsZero() {
		undated = "it has no date"
	}
	add(Freshness, "written or reviewed within 90 days", !since.IsZero() && age <= 90*day, undated)
	add(Freshness, "written or reviewed within a year", !since.IsZero() && age <= 365*day, undated)
	verified := record
	if e.Record {
		verified = "its checks were never asked again"
		if !e.Verified.IsZero() {
			verified = "last on " + e.Verified.UTC().Format(time.DateOnly)
		}
	}
	add(Freshness, "verified within 90 days", !e.Verified.IsZero() && e.Now.Sub(e.Verified) <= 90*day && e.Broken == "", verified)
	broken := ""
	if e.Broken != "" {
		broken = e.BrokenAt.UTC().Format(time.DateOnly) + ": " + e.Broken
	}
	add(Freshness, "claimed figures not refuted", e.Broken == "", broken)
	for _, kind := range []string{"file", "route"} {
		why := ""
		if !e.Git {
			why = "git could not be asked"
		}
		if !hasType(h, kind) {
			why = "it names no " + kind
		}
		if i := slices.IndexFunc(e.Changed, func(c Change) bool { return c.Type == kind }); i >= 0 {
			why = e.Changed[i].Name + " changed on " + e.Changed[i].At.UTC().Format(time.DateOnly)
		}
		add(Freshness, "each "+kind+" that it names is unchanged", why == "", why)
	}

	add(Depth, "context given", h.Outline.Context != "", "")
	add(Depth, "problem given", h.Outline.Problem != "", "")
	add(Depth, "recommended action given", h.Outline.RecommendedAction != "", "")
	add(Depth, "code shown", s.CodeBlocks > 0, "")
	add(Depth, "assumptions listed", s.Assumed, "")
	add(Depth, "way back described", s.WayBack, "")
	add(Depth, "says what it does not claim", s.Claimless, "")
	add(Depth, "at least 300 words", s.Words >= 300, "")

	add(Clarity, "summary of at most 300 characters", h.Summary != "" && len([]rune(h.Summary)) <= 300, "")
	add(Clarity, "outline complete", h.Outline.Context != "" && h.Outline.Problem != "" && h.Outline.Stack != "" && h.Outline.RecommendedAction != "", "")
	add(Clarity, "a heading for every 300 words", s.Headings > 0 && s.Words <= 300*s.Headings, "")
	add(Clarity, "no paragraph above 150 words", s.LongestWords <= 150, "")
	add(Clarity, "every picture has a caption", s.Captionless == 0 && !slices.ContainsFunc(h.ImageSources, func(i ImageSource) bool { return i.Caption == "" }), "")
	add(Clarity, "every code block names its language", s.UnnamedCode == 0, "")
	add(Clarity, "read in at most 10 minutes", s.minutes() <= 10, "")
	return items
}

const day = 24 * time.Hour

func hasType(h *Head, kind string) bool {
	return slices.ContainsFunc(h.Entities, func(e Entity) bool { return e.Type == kind && e.Name != "" })
}

// Since is the day from which a note's age counts: when it was last reviewed or written, whichever is later. Zero: neither is
// known.
func Since(h *Head) time.Time {
	written, _ := time.Parse(time.DateOnly, h.Date)
	if _, on, _ := h.ReviewedBy(""); on != "" {
		if reviewed, err := time.Parse(time.DateOnly, on); err == nil && reviewed.After(written) {
			return reviewed
		}
	}
	return written
}

// Met returns the names of the items that were met, as a head keeps them.
func Met(items []Item, now time.Time) *Scores {
	s := &Scores{AsOf: now.UTC().Format(time.DateOnly)}
	for _, i := range items {
		if !i.Met {
			continue
		}
		switch i.Score {
		case Quality:
			s.Quality = append(s.Quality, i.Name)
		case Freshness:
			s.Freshness = append(s.Freshness, i.Name)
		case Depth:
			s.Depth = append(s.Depth, i.Name)
		case Clarity:
			s.Clarity = append(s.Clarity, i.Name)
		}
	}
	return s
}
