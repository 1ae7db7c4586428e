package change

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/note"
	"github.com/demarc-dev/demarc/internal/stale"
)

// MaxNote is the greatest size of a note, in bytes.
const MaxNote = note.MaxNote

// The states of a record's note.
const (
	NoteDraft = note.Draft
	NoteFinal = note.Final
)

// NoteHead is the metadata at the top of a note.
type NoteHead = note.Head

// SplitNote takes a note apart into its head and the text below it.
func SplitNote(data []byte) (NoteHead, []byte, error) { return note.Split(data) }

// ContentHash returns the hash of a note's text that its head holds.
func ContentHash(body []byte) string { return note.Hash(body) }

// Evidence is what the record and its runs say of its note, for note.Score.
func (r *Record) Evidence(runs []*Run, now time.Time) note.Evidence {
	e := note.Evidence{Now: now, Record: true, Baseline: len(r.Baseline.Figures) > 0}
	if run := Last(runs, KindRehearse, ""); run != nil {
		passed := func(name string) bool { s := run.Step(name); return s != nil && s.State == StatePassed }
		e.Rehearsed = passed("deploy") && passed("rollback")
	}
	n := noteWriter{r: r, in: NoteInput{Runs: runs}}
	results, _ := n.checked()
	e.ChecksPassed = len(results) > 0 && !slices.ContainsFunc(results, func(c CheckResult) bool { return c.State != StatePassed })
	for _, run := range runs {
		if run.Kind != KindVerify {
			continue
		}
		switch run.State {
		case StatePassed:
			e.Verified, e.Broken = run.Ended(), ""
		case StateFailed:
			e.Broken, e.BrokenAt = firstLine(run.Detail), run.Ended()
			if e.Broken == "" {
				e.Broken = "the record's checks do not hold"
			}
		}
	}
	return e
}

// tools are the programs that the record's commands and checks begin with, and demarc itself.
func (r *Record) tools() []string {
	found := map[string]bool{"demarc": true}
	add := func(line string) {
		for word := range strings.FieldsSeq(line) {
			if strings.Contains(word, "=") { // a variable in front of the command
				continue
			}
			if name := path.Base(word); toolName(name) {
				found[name] = true
			}
			return
		}
	}
	for _, environment := range []string{"", "staging", "production"} {
		for _, name := range CommandNames {
			if c := r.Command(environment, name); c != nil {
				add(c.Run)
			}
		}
	}
	for _, i := range r.Checklist {
		if i.Run != nil {
			add(i.Run.Run)
		}
	}
	for _, c := range r.Expected {
		if line, ok := strings.CutPrefix(c.String(), "run: "); ok {
			add(line)
		}
	}
	for _, f := range r.Baseline.Figures {
		add(f.Command)
	}
	return slices.Sorted(maps.Keys(found))
}

func toolName(name string) bool {
	return name != "" && len(name) <= 40 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+") == "" &&
		name != "cd" && name != "set" && name != "if" && name != "for" && name != "test" && name != "export" && name != "."
}

// namedCause is the cause of demarc stale that the record's cause begins with ("forgot: the writer …") or names in backquotes.
func (r *Record) namedCause() string {
	for _, c := range []string{stale.Forgot, stale.Bypass, stale.External, stale.Dependency, stale.KeyDrift, stale.Order, stale.StaleSet, stale.Rollback,
		stale.Peer, stale.Lost, stale.Index, stale.Replica, stale.Vary, stale.Negative, stale.Version, stale.TTL, stale.Alias, stale.Outer,
		stale.Stampede, stale.UnstableKey} {
		if rest, ok := strings.CutPrefix(r.Cause, c); ok && (rest == "" || rest[0] == ':' || rest[0] == ',' || rest[0] == '\n') || strings.Contains(r.Cause, "`"+c+"`") {
			return c
		}
	}
	return ""
}
