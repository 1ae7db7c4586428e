package change

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/safeyaml"
)

// Limits of a record's results.
const (
	MaxRun  = 1 << 20 // bytes of the file of one run
	MaxRuns = 2000    // runs of one record that are read; the newest
	MaxTail = 4 << 10 // bytes that are kept of a command's output; the whole is in the step's log
)

// The kinds of runs.
const (
	KindItem     = "item"     // one item of the checklist: demarc change do
	KindRehearse = "rehearse" // a rehearsal on staging
	KindShip     = "ship"     // the change on production, and the watch after it
	KindRollback = "rollback" // the change taken back on production
	KindVerify   = "verify"   // the checks again, later
	KindConfig   = "config"   // the comparison of the configurations
)

// The states of runs, steps and checks.
const (
	StateRunning   = "running" // or broken off: whoever resumes a run finds it in this state
	StatePassed    = "passed"
	StateFailed    = "failed"
	StateUndecided = "undecided" // too little to decide
	StateSkipped   = "skipped"   // was not run, Detail says why
)

// The names of steps beside CommandNames.
const (
	StepChecks = "checks"
	StepWatch  = "watch"
	StepMark   = "mark"
	StepNote   = "note"
)

// Run is one run of a step of a record: what was done, when, by whom, and what came out. It is one file, so that the
// runs of two people never meet in a merge.
type Run struct {
	Version     int               `yaml:"version" json:"-"`
	ID          string            `yaml:"id" json:"id"` // sorts by time: 20261122T022000Z-rehearse-1f3a
	Kind        string            `yaml:"kind" json:"kind"`
	Item        string            `yaml:"item,omitempty" json:"item,omitempty"` // of KindItem: the item's id
	Environment string            `yaml:"environment,omitempty" json:"environment,omitempty"`
	At          time.Time         `yaml:"at" json:"at"`                                 // start, UTC
	Duration    string            `yaml:"duration,omitempty" json:"duration,omitempty"` // of the whole, as Go writes it: 1m2.5s
	By          string            `yaml:"by,omitempty" json:"by,omitempty"`             // who ran it, as git names them
	Commit      string            `yaml:"commit,omitempty" json:"commit,omitempty"`     // git revision that was checked out; "+dirty" behind it where files differed
	Capture     string            `yaml:"capture,omitempty" json:"capture,omitempty"`   // that its checks read
	Commands    map[string]string `yaml:"commands,omitempty" json:"commands,omitempty"` // name to fingerprint of the commands as they were run
	State       string            `yaml:"state" json:"state"`
	Detail      string            `yaml:"detail,omitempty" json:"detail,omitempty"` // why it ended so, one or a few lines
	Steps       []Step            `yaml:"steps,omitempty" json:"steps,omitempty"`
}

// Step is one command, or one round of checks, within a run.
type Step struct {
	Name     string        `yaml:"name" json:"name"` // of CommandNames, or StepChecks, …; of an item: its id
	Command  string        `yaml:"command,omitempty" json:"command,omitempty"`
	State    string        `yaml:"state" json:"state"`
	ExitCode *int          `yaml:"exit_code,omitempty" json:"exit_code,omitempty"` // absent where nothing was started or a signal ended it
	At       time.Time     `yaml:"at" json:"at"`
	Duration string        `yaml:"duration,omitempty" json:"duration,omitempty"`
	Detail   string        `yaml:"detail,omitempty" json:"detail,omitempty"`
	Output   string        `yaml:"output,omitempty" json:"output,omitempty"`   // the end of it, secrets masked, at most MaxTail bytes
	Capture  string        `yaml:"capture,omitempty" json:"capture,omitempty"` // of StepMark: the folder of the capture that took the mark
	Log      string        `yaml:"log,omitempty" json:"log,omitempty"`         // file of the whole output, relative to the record's folder of results
	Checks   []CheckResult `yaml:"checks,omitempty" json:"checks,omitempty"`
}

// CheckResult is what came of one check.
type CheckResult struct {
	Check  string   `yaml:"check" json:"check"` // as the record has it
	State  string   `yaml:"state" json:"state"` // passed, failed, undecided
	Value  *float64 `yaml:"value,omitempty" json:"value,omitempty"`
	Bound  *float64 `yaml:"bound,omitempty" json:"bound,omitempty"`
	Detail string   `yaml:"detail,omitempty" json:"detail,omitempty"`
}

// Ended returns when the run ended, as far as it is known.
func (r *Run) Ended() time.Time {
	d, _ := time.ParseDuration(r.Duration)
	return r.At.Add(d)
}

// Step returns the last step of a name, or nil.
func (r *Run) Step(name string) *Step {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if r.Steps[i].Name == name {
			return &r.Steps[i]
		}
	}
	return nil
}

// NewRun returns a run of a kind with a new id, in StateRunning.
func NewRun(kind string, at time.Time) *Run {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	at = at.UTC().Truncate(time.Millisecond)
	return &Run{
		Version: Version, Kind: kind, At: at, State: StateRunning,
		ID: at.Format("20060102T150405Z") + "-" + kind + "-" + hex.EncodeToString(b[:]),
	}
}

var runFile = regexp.MustCompile(`^\d{8}T\d{6}Z-[a-z]+-[0-9a-f]{4}\.yaml$`)

// SaveRun writes a run into the record's folder of results; the file is either the old or the new one, whatever
// happens meanwhile. Only the run's own file is ever written.
func (r *Record) SaveRun(run *Run) error {
	if !runFile.MatchString(run.ID + ".yaml") {
		return fmt.Errorf("a run cannot have the id %q", run.ID)
	}
	data, err := marshalRun(run)
	if err == nil {
		err = os.MkdirAll(r.Dir(), 0o755)
	}
	if err == nil {
		err = WriteFile(filepath.Join(r.Dir(), run.ID+".yaml"), data)
	}
	if err != nil {
		return &fault.Error{What: "cannot write the result of " + run.ID, Cause: err,
			Expected: "space and permission to write below " + r.Dir(), Retry: fault.RetrySafe}
	}
	return nil
}

// marshalRun writes a run as YAML: texts of several lines as blocks where they come back as they were, else quoted.
func marshalRun(run *Run) ([]byte, error) {
	form := []yaml.EncodeOption{yaml.Indent(2), yaml.IndentSequence(true)}
	tidy := *run
	tidy.Steps = slices.Clone(run.Steps)
	for i := range tidy.Steps {
		tidy.Steps[i].Output = Tail(tidy.Steps[i].Output)
	}
	run = &tidy
	quoted, err := yaml.MarshalWithOptions(run, form...)
	if err != nil {
		return nil, err
	}
	blocks, err := yaml.MarshalWithOptions(run, append(form, yaml.UseLiteralStyleIfMultiline(true))...)
	if err != nil {
		return nil, err
	}
	var back Run
	if yaml.Unmarshal(blocks, &back) == nil {
		if again, err := yaml.MarshalWithOptions(&back, form...); err == nil && bytes.Equal(again, quoted) {
			return blocks, nil
		}
	}
	return quoted, yaml.Unmarshal(quoted, &back)
}

// Runs returns the record's runs, oldest first; at most the newest MaxRuns. A file that cannot be read is an error that
// names it.
func (r *Record) Runs() ([]*Run, error) {
	entries, err := os.ReadDir(r.Dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &fault.Error{What: "cannot list the results of " + r.Name(), Cause: err, Retry: fault.RetrySafe}
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && runFile.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	names = names[max(0, len(names)-MaxRuns):]
	runs := make([]*Run, 0, len(names))
	for _, n := range names {
		path := filepath.Join(r.Dir(), n)
		run, err := loadRun(path)
		if err != nil {
			return nil, &fault.Error{What: "cannot read the result " + path, Cause: err,
				Expected: "the file as demarc wrote it", Retry: fault.RetryUseless,
				Try: "git checkout -- " + path + "\nor move it away: a result that is missing counts as not done"}
		}
		runs = append(runs, run)
	}
	slices.SortStableFunc(runs, func(a, b *Run) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID)) })
	return runs, nil
}

func loadRun(path string) (*Run, error) {
	data, err := readBounded(path, MaxRun)
	if err != nil {
		return nil, err
	}
	var run Run
	// Not strict: a newer demarc may have added what this one does not know.
	if err := safeyaml.Unmarshal(data, &run); err != nil {
		return nil, err
	}
	if run.Version != Version {
		return nil, fmt.Errorf("it has version %d, this demarc reads %d", run.Version, Version)
	}
	if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); run.ID != want {
		return nil, fmt.Errorf("it has the id %q", run.ID)
	}
	return &run, nil
}

// Last returns the newest run of a kind that ended in a state; an empty state stands for any. It returns nil where
// there is none.
func Last(runs []*Run, kind, state string) *Run {
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Kind == kind && (state == "" || runs[i].State == state) {
			return runs[i]
		}
	}
	return nil
}

var ansi = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(\x07|\x1b\\\\)?")

// Tail returns the end of an output that a Step keeps: at most MaxTail bytes, from the start of a line where one is
// near, without colours and other control characters, and without white space around it. SaveRun does so with every step.
func Tail(output string) string {
	output = ansi.ReplaceAllString(strings.ToValidUTF8(output, "\uFFFD"), "")
	output = strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			return -1
		}
		return c
	}, output)
	output = strings.TrimSpace(output)
	if len(output) <= MaxTail {
		return output
	}
	const mark = "…\n"
	output = output[len(output)-MaxTail+len(mark):]
	if i := strings.IndexByte(output, '\n'); i >= 0 && i < 512 {
		output = output[i+1:]
	}
	return mark + strings.ToValidUTF8(output, "")
}
