package change

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/fault"
)

// The journal of a run tells demarc what to do after a crash; the run's file beside the record (see Run) tells people what
// came of it. Every execution of rehearse, ship, rollback or verify has a folder of its own,
//
//	.demarc/changes/<record>/<number>-<kind>/
//
// with the log of every step and journal.jsonl: what was begun and what has ended, one JSON object a line, each on disk
// (fsync) before the next thing happens. A run whose last line is no "finish" was broken off. What demarc does next rests
// on the journal alone, so that kill -9 at any moment leaves a known state.
//
// Only the last line can be torn, because a line is written at once and nothing follows before it is on disk; it tells of
// something that did not happen yet and is cut.
const (
	journalFile    = "journal.jsonl"
	journalVersion = 1
	maxJournal     = 32 << 20  // bytes of one journal; a longer one was not written by demarc
	maxLine        = 256 << 10 // bytes of one line
	keptJournals   = 50        // of one record; older ones are removed with their logs when a new one begins
)

// The events of a journal.
const (
	eventRun    = "run"    // the first line: which command, by whom, on what
	eventBegin  = "begin"  // a step begins
	eventChild  = "child"  // the process that does it has started
	eventEnd    = "end"    // a step has ended
	eventFinish = "finish" // the last line
)

// entry is one line of a journal.
type entry struct {
	Version int               `json:"v,omitempty"` // in the first line only
	At      time.Time         `json:"at"`
	Event   string            `json:"event"`
	Run     *Run              `json:"run,omitempty"`     // of run: as it begins
	Pid     int               `json:"pid,omitempty"`     // of run
	Options map[string]string `json:"options,omitempty"` // of run: a resumed run goes on with these, not with those of the command line
	Key     string            `json:"step,omitempty"`    // of begin, child and end
	Child   *command.Process  `json:"child,omitempty"`
	End     *Step             `json:"end,omitempty"`
	State   string            `json:"state,omitempty"` // of finish
	Detail  string            `json:"detail,omitempty"`
}

// Progress is what a journal tells of a run.
type Progress struct {
	Run     Run // with the steps that have ended; State is StateRunning until the run finishes
	Dir     string
	Pid     int
	Options map[string]string
	Open    string // key of the step that was begun and has not ended; empty between steps

	child  *command.Process // that does the open step
	begun  map[string]int   // how often each step was begun
	ended  map[string]int   // index in Run.Steps
	number int
	size   int64 // bytes of the journal that are whole
}

// Unfinished says whether the run was broken off, or is still going on: the lock tells which.
func (p *Progress) Unfinished() bool { return p != nil && p.Run.State == StateRunning }

// Where says where the run stands, for a sentence: "in the step deploy".
func (p *Progress) Where() string {
	if p.Open == "" {
		return "between two steps"
	}
	return "in the step " + p.Open
}

// Ended returns what became of the step with a key, or nil.
func (p *Progress) Ended(key string) *Step {
	if i, ok := p.ended[key]; ok {
		return &p.Run.Steps[i]
	}
	return nil
}

// Begun says whether a step was begun, whether or not it has ended.
func (p *Progress) Begun(key string) bool { return p.begun[key] > 0 }

// journal is a run that is being written.
type journal struct {
	Progress
	file *os.File
	now  func() time.Time
}

// journals is where the journals of a record are kept.
func journals(state, name string) string { return filepath.Join(state, "changes", name) }

// newJournal makes the folder of a new run of the record called name, and writes the first line. It removes the oldest
// journals beyond keptJournals.
func newJournal(state, name string, run *Run, options map[string]string, now func() time.Time) (*journal, error) {
	parent := journals(state, name)
	fail := func(cause error) (*journal, error) {
		return nil, &fault.Error{What: "cannot begin a journal under " + parent, Cause: bare(cause),
			Expected: "a folder that can be written to, with room on the disk", Retry: fault.RetrySafe, Try: "--dir DIR, with a folder of yours"}
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fail(err)
	}
	numbers, err := folders(parent)
	if err != nil {
		return fail(err)
	}
	number := 1
	if len(numbers) > 0 {
		number = folderNumber(numbers[len(numbers)-1]) + 1
	}
	for len(numbers) >= keptJournals {
		if err := os.RemoveAll(filepath.Join(parent, numbers[0])); err != nil {
			return fail(err)
		}
		numbers = numbers[1:]
	}
	j := &journal{now: now}
	j.Dir = filepath.Join(parent, fmt.Sprintf("%04d-%s", number, run.Kind))
	if err := os.Mkdir(j.Dir, 0o700); err != nil {
		return fail(err)
	}
	if j.file, err = os.OpenFile(filepath.Join(j.Dir, journalFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600); err != nil {
		return fail(err)
	}
	if err := j.write(entry{Version: journalVersion, Event: eventRun, Run: run, Pid: os.Getpid(), Options: options}); err != nil {
		return nil, err
	}
	for _, dir := range []string{j.Dir, parent, filepath.Dir(parent), state} {
		if err := syncDir(dir); err != nil {
			return fail(err)
		}
	}
	return j, nil
}

// reopen goes on writing the journal of a run that was broken off.
func reopen(p *Progress, now func() time.Time) (*journal, error) {
	j := &journal{Progress: *p, now: now}
	var err error
	if j.file, err = os.OpenFile(filepath.Join(p.Dir, journalFile), os.O_WRONLY|os.O_APPEND, 0); err == nil {
		if err = j.file.Truncate(p.size); err == nil {
			return j, nil
		}
		_ = j.file.Close()
	}
	return nil, &fault.Error{What: "cannot go on writing the journal in " + p.Dir, Cause: bare(err), Retry: fault.RetrySafe}
}

// write puts one entry on disk and takes it into the run. It returns only when the entry would survive a crash.
func (j *journal) write(e entry) error {
	e.At = j.now().UTC()
	line, err := json.Marshal(e)
	if err == nil {
		err = j.take(e) // before it is on disk: what cannot stand there must not get there
	}
	if err == nil && len(line) >= maxLine {
		err = fmt.Errorf("a line of %d bytes is longer than %d", len(line), maxLine)
	}
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return &fault.Error{What: "cannot write the journal " + j.file.Name(), Cause: bare(err), Expected: "room on the disk",
			Retry: fault.RetrySafe, Try: "the same command again: it goes on where the journal ends"}
	}
	j.size += int64(len(line)) + 1
	return nil
}

// finish writes the last line. Nothing may be written afterwards.
func (j *journal) finish(state, detail string) error {
	return errors.Join(j.write(entry{Event: eventFinish, State: state, Detail: detail}), j.file.Close())
}

// take folds one entry into the run. An entry that cannot stand there is an error.
func (p *Progress) take(e entry) error {
	switch {
	case p.begun == nil:
		if e.Event != eventRun || e.Run == nil || e.Run.State != StateRunning {
			break
		}
		p.Run, p.Pid, p.Options = *e.Run, e.Pid, e.Options
		p.Run.Version = Version
		p.begun, p.ended = map[string]int{}, map[string]int{}
		return nil
	case p.Run.State != StateRunning:
	case e.Event == eventBegin && e.Key != "" && p.Ended(e.Key) == nil && (p.Open == "" || p.Open == e.Key):
		p.Open, p.child = e.Key, nil
		p.begun[e.Key]++
		return nil
	case e.Event == eventChild && e.Key == p.Open && e.Child != nil:
		p.child = e.Child
		return nil
	case e.Event == eventEnd && e.End != nil && e.Key != "" && e.Key == p.Open:
		p.ended[e.Key] = len(p.Run.Steps)
		p.Run.Steps = append(p.Run.Steps, *e.End)
		p.Open, p.child = "", nil
		return nil
	case e.Event == eventFinish && e.State != "" && e.State != StateRunning && p.Open == "":
		p.Run.State, p.Run.Detail = e.State, e.Detail
		return nil
	}
	return fmt.Errorf("%q cannot stand there", e.Event)
}

// readJournal reads the journal in a folder. A torn last line is left out.
func readJournal(dir string) (*Progress, error) {
	path := filepath.Join(dir, journalFile)
	data, err := readBounded(path, maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var p *Progress
	if err == nil {
		p, err = parseJournal(data)
	}
	if err != nil {
		return nil, &fault.Error{What: "cannot read the journal " + path, Cause: err, Expected: "what demarc wrote there",
			Retry: fault.RetryUseless, Try: "demarc change rollback, which does not need it and puts it aside"}
	}
	p.Dir, p.number = dir, folderNumber(filepath.Base(dir))
	return p, nil
}

// parseJournal folds a journal. It fails on what demarc cannot have written.
func parseJournal(data []byte) (*Progress, error) {
	p := &Progress{}
	for number := 1; len(data) > 0; number++ {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole || len(rest) == 0 && !json.Valid(line) {
			return p, nil // torn
		}
		var e entry
		err := json.Unmarshal(line, &e)
		if err == nil && number == 1 && e.Version != journalVersion {
			err = fmt.Errorf("version %d, this demarc reads version %d", e.Version, journalVersion)
		}
		if err == nil {
			err = p.take(e)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		p.size += int64(len(line)) + 1
		data = rest
	}
	return p, nil
}

// LastProgress returns what the newest journal of the record called name tells, or nil where there is none. A folder in
// which nothing was begun, because demarc was killed before the first line, does not count.
func LastProgress(state, name string) (*Progress, error) {
	parent := journals(state, name)
	ids, err := folders(parent)
	if err != nil {
		return nil, &fault.Error{What: "cannot list the journals in " + parent, Cause: bare(err), Retry: fault.RetrySafe}
	}
	for _, id := range slices.Backward(ids) {
		p, err := readJournal(filepath.Join(parent, id))
		if errors.Is(err, fs.ErrNotExist) || err == nil && p.begun == nil {
			continue
		}
		return p, err
	}
	return nil, nil
}

// Unfinished returns the runs of all records under state that were broken off or are going on, by the name of the record.
func Unfinished(state string) (map[string]*Progress, error) {
	names, err := os.ReadDir(filepath.Join(state, "changes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found := map[string]*Progress{}
	for _, n := range names {
		if !n.IsDir() {
			continue
		}
		p, err := LastProgress(state, n.Name())
		if err != nil {
			return found, err
		}
		if p.Unfinished() {
			found[n.Name()] = p
		}
	}
	return found, nil
}

// folders lists the folders of runs, oldest first; none where the folder is not there.
func folders(parent string) ([]string, error) {
	files, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if f.IsDir() && folderNumber(f.Name()) > 0 {
			names = append(names, f.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return folderNumber(a) - folderNumber(b) })
	return names, nil
}

func folderNumber(name string) int {
	number, _, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > 1<<30 {
		return 0
	}
	return n
}

// bare leaves out the path that a message names already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
