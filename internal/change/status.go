package change

import (
	"errors"
	"io/fs"
	"strings"
	"time"
)

// The states of records, in the order in which a change passes them.
const (
	Draft      = "draft"
	Rehearsed  = "rehearsed"
	Shipped    = "shipped"
	Watched    = "watched"
	Noted      = "noted"
	RolledBack = "rolled back"
)

// The states of the checklist's items.
const (
	ItemOpen   = "open"
	ItemDone   = "done"
	ItemFailed = "failed"
)

// Status is how far a record has come.
type Status struct {
	State      string       `json:"state"`
	Unfinished bool         `json:"unfinished"` // shipped, and no final note says what came of it
	Remarks    []string     `json:"remarks"`    // what a reader should know of it
	Missing    []string     `json:"missing"`    // what the record does not say yet
	Items      []ItemStatus `json:"checklist"`
	Last       *time.Time   `json:"last_run_at"` // start of the newest run
	Note       *NoteStatus  `json:"note"`
}

// NoteStatus is what the head of a record's note says.
type NoteStatus struct {
	Path   string `json:"path"`
	Status string `json:"status"` // draft or final
	Edited bool   `json:"edited"` // its text is not the one that demarc wrote
}

// ItemStatus is one item of the checklist with what did it.
type ItemStatus struct {
	ID       string     `json:"id"`
	Item     string     `json:"item"`
	State    string     `json:"state"` // open, done, failed
	Detail   string     `json:"detail,omitempty"`
	Command  string     `json:"command,omitempty"`
	ExitCode *int       `json:"exit_code,omitempty"`
	Duration string     `json:"duration,omitempty"`
	At       *time.Time `json:"at,omitempty"`
	Output   string     `json:"output,omitempty"` // the end of it
	Run      string     `json:"run,omitempty"`    // id of the run
}

// Done returns how many items of a checklist are done.
func (s *Status) Done() int {
	n := 0
	for _, i := range s.Items {
		if i.State == ItemDone {
			n++
		}
	}
	return n
}

// Status tells how far a record has come, from its runs and its note.
func (r *Record) Status(runs []*Run) Status {
	s := Status{State: Draft, Remarks: []string{}, Missing: r.Missing(), Items: []ItemStatus{}, Note: r.noteStatus()}
	var rehearsal *Run
	back := map[string]*Run{} // environment to its last rollback
	for _, run := range runs {
		at := run.At
		s.Last = &at
		switch run.Kind {
		case KindRehearse:
			rehearsal = run
			if (run.State == StatePassed || run.State == StateUndecided) && (s.State == Draft || s.State == RolledBack) {
				s.State = Rehearsed
			}
		case KindShip:
			if passed(run, "deploy") {
				s.State = Shipped
			}
			switch {
			case passed(run, "rollback"):
				s.State = RolledBack
			case ended(run, StepWatch):
				s.State = Watched
			}
			if run.State == StateRunning {
				s.Remarks = append(s.Remarks, "the ship of "+stamp(run.At)+" is going on or was broken off")
			}
		case KindRollback:
			back[run.Environment] = run
			if run.State == StatePassed && run.Environment != staging {
				s.State = RolledBack
			}
		}
	}
	if rehearsal != nil && rehearsal.State != StatePassed {
		s.Remarks = append(s.Remarks, "the rehearsal of "+stamp(rehearsal.At)+" "+map[string]string{
			StateFailed: "failed", StateRunning: "is going on or was broken off", StateUndecided: "could not decide"}[rehearsal.State])
	}
	for _, environment := range []string{"", staging, production} {
		if run := back[environment]; run != nil && run.State == StateFailed {
			s.Remarks = append(s.Remarks, strings.TrimSpace("the rollback of "+stamp(run.At)+" FAILED "+where(run)))
		}
	}
	final := s.Note != nil && s.Note.Status == NoteFinal
	s.Unfinished = (s.State == Shipped || s.State == Watched) && !final
	if final && (s.State == Shipped || s.State == Watched) {
		s.State = Noted
	}
	if s.Unfinished {
		if s.Note == nil {
			s.Remarks = append(s.Remarks, "shipped without a note")
		} else {
			s.Remarks = append(s.Remarks, "the note is a draft")
		}
	}
	for i := range r.Checklist {
		s.Items = append(s.Items, r.itemStatus(&r.Checklist[i], runs, s.Note))
	}
	return s
}

func passed(run *Run, step string) bool {
	s := run.Step(step)
	return s != nil && s.State == StatePassed
}

// where names the environment of a run.
func where(run *Run) string {
	if run.Environment == "" {
		return ""
	}
	return "on " + run.Environment
}

// ended says whether a step came to its end and did not fail.
func ended(run *Run, step string) bool {
	s := run.Step(step)
	return s != nil && (s.State == StatePassed || s.State == StateUndecided)
}

// stamp writes a time for people, to the minute, UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

// itemStatus tells what became of an item: the newest run that did it.
func (r *Record) itemStatus(item *Item, runs []*Run, note *NoteStatus) ItemStatus {
	s := ItemStatus{ID: item.ID, Item: item.Item, State: ItemOpen}
	for i := len(runs) - 1; i >= 0; i-- {
		run := runs[i]
		var step *Step
		switch {
		case run.Kind == KindItem && run.Item == item.ID:
			step = run.Step(item.ID)
		case item.Step == KindRehearse && run.Kind == KindRehearse, item.Step == KindConfig && run.Kind == KindConfig:
			step = &Step{State: run.State, At: run.At, Duration: run.Duration, Detail: run.Detail, Command: "demarc change " + run.Kind + " " + r.Name()}
			if n := len(run.Steps); n > 0 {
				step.Output = run.Steps[n-1].Output
				if run.State != StatePassed {
					step.ExitCode = run.Steps[n-1].ExitCode
				}
			}
			if run.State == StatePassed {
				step.ExitCode = new(int)
			}
		case item.Step == StepWatch && run.Kind == KindShip:
			step = run.Step(StepWatch)
		case item.Step == "backup" && (run.Kind == KindShip || run.Kind == KindRehearse):
			step = run.Step("backup")
		}
		if step == nil || step.State == StateSkipped {
			continue
		}
		at := step.At
		s.Command, s.ExitCode, s.Duration, s.At = step.Command, step.ExitCode, step.Duration, &at
		s.Output, s.Detail, s.Run = step.Output, step.Detail, run.ID
		switch step.State {
		case StatePassed:
			s.State = ItemDone
		case StateUndecided:
			s.State = ItemDone
			s.Detail = strings.TrimSuffix("too little to decide every check; "+s.Detail, "; ")
		case StateFailed:
			s.State = ItemFailed
		default:
			s.Detail = "it is going on or was broken off"
		}
		break
	}
	switch {
	case s.State == ItemDone && item.Run != nil && s.Command != item.Run.Run:
		s.State, s.Detail = ItemOpen, "its command has changed since it was done"
	case s.State == ItemDone && item.Step == "backup" && !restored(runs):
		s.State, s.Detail = ItemOpen, "the backup was made, but no rehearsal has restored one into a scratch target yet"
	case item.Step == StepNote && note != nil:
		s.Command = "demarc change note " + r.Name()
		if s.State, s.Detail = ItemDone, note.Path; note.Status != NoteFinal {
			s.State, s.Detail = ItemOpen, "the note is a draft"
		}
	case s.State == ItemOpen && s.Detail == "" && item.Run == nil && item.Step == "":
		s.Detail = "the record names no command for it"
	}
	return s
}

// restored says whether a rehearsal has restored a backup.
func restored(runs []*Run) bool {
	for _, run := range runs {
		if run.Kind == KindRehearse && passed(run, "restore") {
			return true
		}
	}
	return false
}

// Missing names what a record does not say yet and a reader, or a step, will ask for.
func (r *Record) Missing() []string {
	missing := []string{}
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"owner", r.Owner != ""},
		{"reason", r.Reason != ""},
		{"baseline.route, or baseline.failing", r.Baseline.Route != "" || r.Baseline.Failing != "" || r.Baseline.SlowQuery != ""},
		{"baseline.noticed", r.Baseline.Noticed != ""},
		{"cause", r.Cause != ""},
		{"change", r.Change != ""},
		{"expected", len(r.Expected) > 0},
		{"commands.deploy", r.command("deploy")},
		{"commands.health", r.healthy("staging") && r.healthy("production")},
		{"commands.rollback", r.command("rollback")},
		{"rollback", r.Rollback != ""},
	} {
		if !f.there {
			missing = append(missing, f.name)
		}
	}
	return missing
}

// command says whether a record has a command on every environment.
func (r *Record) command(name string) bool {
	return r.Command("staging", name) != nil && r.Command("production", name) != nil
}

// healthy says whether a record says how to tell that an environment is healthy: by a command, or an address to be asked.
func (r *Record) healthy(environment string) bool {
	e := r.Environments.Get(environment)
	return r.Command(environment, "health") != nil || e != nil && e.URL != ""
}

// noteStatus reads the head of the record's note; nil where there is none.
func (r *Record) noteStatus() *NoteStatus {
	data, err := readBounded(r.NotePath(), MaxNote)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return &NoteStatus{Path: r.NotePath(), Status: "unreadable: " + err.Error()}
	}
	head, body, err := SplitNote(data)
	if err != nil {
		return &NoteStatus{Path: r.NotePath(), Status: NoteDraft, Edited: true}
	}
	return &NoteStatus{Path: r.NotePath(), Status: finalStatus(head.Revision.Status), Edited: head.ContentHash != ContentHash(body)}
}
