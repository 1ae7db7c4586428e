package change

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/fault"
)

// Options are what rehearse, ship, rollback and verify need beside the record.
type Options struct {
	Op     string           // name of the command, for errors: demarc change rehearse
	State  string           // folder of demarc's own state: .demarc
	Talk   io.Writer        // progress; standard error
	Output io.Writer        // gets the masked output of commands as it comes; nil: nobody
	DryRun bool             // say what would be run, run and write nothing
	Plan   *[]Step          // with DryRun: gets the steps instead of Talk; nil: Talk gets them
	Now    func() time.Time // time.Now

	// Check answers checks of a record on an environment. Since is the time from which figures count: zero for all that
	// the environment's capture holds. It fails only where ctx ended or nothing could be asked at all.
	Check func(ctx context.Context, q CheckRequest) ([]CheckResult, error)
	// Mark puts a named point in time into a running capture and tells what it did, and the capture's folder; ErrNoCapture
	// where none is running.
	Mark func(environment *Environment, name, text string) (said, capture string, err error)
}

// ErrNoCapture says that no demarc is running over an environment.
var ErrNoCapture = errors.New("no demarc is running there")

// CheckRequest is a round of checks.
type CheckRequest struct {
	Checks      check.List
	Record      *Record
	Environment string
	Since       time.Time
	Vars        map[string]string           // variables for the commands among the checks
	LogDir      string                      // for their output
	Output      io.Writer                   // as in Options
	Started     func(command.Process) error // is called before each of them runs
}

// How a step may be treated that demarc did not see the end of.
type nature bool

const (
	repeatable nature = false // it may be done again: health, checks, a backup into a fresh place, a rollback
	oneTime    nature = true  // it may be half done, and is not done again: a deployment
)

// doubt is what is said of a oneTime step after a crash.
const doubt = "demarc was killed while it ran, so it may be half done"

// healthPatience is how long a service may take to become healthy where its health command does not say.
const healthPatience = time.Minute

// runner does the steps of one run. The functions that describe a run are written as if nothing ever broke off: after a
// crash they are gone through again, and a step whose end the journal holds gives the answer that it gave then.
//
// When the journal or the run's file cannot be written, or the context ends, err is set; from then on no step does
// anything.
type runner struct {
	Options
	record      *Record
	environment string
	j           *journal // nil for a dry run
	lock        *lock
	err         error
}

// begin takes the lock of the project. Whatever was broken off is in before.
func begin(record *Record, environment, kind string, o Options) (r *runner, before *Progress, err error) {
	talk := &sync.Mutex{}
	o.Talk = locked{talk, o.Talk}
	if o.Output != nil {
		o.Output = locked{talk, o.Output}
	}
	r = &runner{Options: o, record: record, environment: environment}
	if o.DryRun {
		return r, nil, nil
	}
	h := holder{Pid: os.Getpid(), Command: kind, Record: record.Name(), At: o.Now().UTC()}
	if r.lock, err = takeLock(o.State, h); err != nil {
		return nil, nil, err
	}
	if before, err = LastProgress(o.State, record.Name()); err != nil {
		r.close()
		return nil, nil, err
	}
	return r, before, nil
}

func (r *runner) close() {
	if r.lock != nil {
		r.lock.release()
	}
}

// start begins a new run.
func (r *runner) start(ctx context.Context, kind string, options map[string]string) {
	if r.DryRun || r.err != nil {
		return
	}
	run := NewRun(kind, r.Now())
	run.Environment = r.environment
	run.By, run.Commit = whoAndWhere(ctx)
	run.Commands = fingerprints(r.record, r.environment)
	if r.err = r.record.SaveRun(run); r.err != nil {
		return
	}
	if r.j, r.err = newJournal(r.State, r.record.Name(), run, options, r.Now); r.err == nil {
		r.err = WriteFile(filepath.Join(r.j.Dir, recordCopy), r.record.data)
	}
}

// recordCopy is the record as it was when a run began, beside the run's journal.
const recordCopy = "record.yaml"

// resume goes on with a run that was broken off.
func (r *runner) resume(p *Progress) {
	if r.err != nil {
		return
	}
	r.sayf("demarc: the %s of %s was broken off %s; going on", nouns[p.Run.Kind], p.Run.At.Local().Format(time.DateTime), p.Where())
	r.j, r.err = reopen(p, r.Now)
}

// finish writes how the run ended, beside the record first: a crash between the two repeats only this.
func (r *runner) finish(state, detail string) *Run {
	if r.DryRun || r.err != nil {
		return nil
	}
	run := r.j.Run
	run.State, run.Detail = state, detail
	run.Duration = duration(r.Now().Sub(run.At))
	if r.err = r.record.SaveRun(&run); r.err == nil {
		r.err = r.j.finish(state, detail)
	}
	return &run
}

// abandon closes a run that is not gone on with.
func (r *runner) abandon(p *Progress, detail string) {
	if r.err != nil {
		return
	}
	if r.err = r.endChild(p); r.err != nil {
		return
	}
	if r.j, r.err = reopen(p, r.Now); r.err != nil {
		return
	}
	if key := r.j.Open; key != "" {
		r.end(key, Step{Name: key, State: StateFailed, At: r.Now().UTC(), Detail: doubt})
	}
	r.finish(StateFailed, detail)
	r.j = nil
}

// step does one step, unless the journal holds its end. do fills in what came of it; its State is StatePassed if do leaves
// it alone. Without do, the step only stands for something that a dry run shows.
func (r *runner) step(ctx context.Context, key string, n nature, shown string, do func(s *Step, attempt int)) Step {
	s := Step{Name: key, Command: shown, State: StatePassed}
	if r.err != nil {
		return Step{Name: key, State: StateSkipped}
	}
	if r.DryRun {
		if r.Plan != nil {
			*r.Plan = append(*r.Plan, s)
		} else {
			r.sayf("%-14s %s", key, oneLine(shown))
		}
		return s
	}
	if was := r.j.Ended(key); was != nil {
		r.sayf("%-14s %s before it was broken off", key, was.State)
		return *was
	}
	if r.j.Open == key {
		if r.err = r.endChild(&r.j.Progress); r.err != nil {
			return s
		}
		if n == oneTime {
			s.State, s.Detail, s.At = StateFailed, doubt, r.Now().UTC()
			r.end(key, s)
			return s
		}
	}
	if r.err = ctx.Err(); r.err != nil {
		return s
	}
	began := r.Now()
	s.At = began.UTC()
	if r.err = r.j.write(entry{Event: eventBegin, Key: key}); r.err != nil {
		return s
	}
	stop := r.announce(key, shown)
	do(&s, r.j.begun[key])
	stop()
	if r.err == nil {
		r.err = ctx.Err() // what was cancelled has no end: it is treated as after a crash
	}
	if r.err != nil {
		return s
	}
	s.Duration = duration(r.Now().Sub(began))
	r.end(key, s)
	return s
}

// end puts the end of a step into the journal, and into the run's file.
func (r *runner) end(key string, s Step) {
	r.told(key, s)
	s.Output = Tail(s.Output)
	if r.err = r.j.write(entry{Event: eventEnd, Key: key, End: &s}); r.err == nil {
		r.err = r.record.SaveRun(&r.j.Run)
	}
}

// skip notes that a step was not done, and why.
func (r *runner) skip(ctx context.Context, key, why string) Step {
	if r.DryRun {
		return Step{Name: key, State: StateSkipped, Detail: why}
	}
	return r.step(ctx, key, repeatable, "", func(s *Step, _ int) { s.State, s.Detail = StateSkipped, why })
}

// endChild ends what is left of the command that the open step of a broken-off run had started.
func (r *runner) endChild(p *Progress) error {
	if p.child == nil || !p.child.Running() {
		return nil
	}
	r.sayf("demarc: ending what is left of %s (process %d)", p.Open, p.child.PID)
	if !p.child.End(0) {
		return &fault.Error{Op: r.Op, What: fmt.Sprintf("cannot end process %d, which the step %s had started", p.child.PID, p.Open),
			Cause: errors.New("it does not end on SIGKILL, or belongs to another user"), Expected: "nothing of an interrupted step still at work",
			Retry: fault.RetrySafe, Try: fmt.Sprintf("end process %d, then the same command again", p.child.PID)}
	}
	return nil
}

// run runs one of the record's commands as a step. leave: it may leave processes behind, as a deployment does.
func (r *runner) run(ctx context.Context, key, name string, n nature) Step {
	c := r.record.Command(r.environment, name)
	leave := name == "deploy" || name == "rollback"
	return r.step(ctx, key, n, c.Run, func(s *Step, attempt int) {
		r.exec(ctx, key, c, attempt, leave, r.backupVars(), s)
	})
}

// exec runs a command and fills in what came of it. A context that ended is left to the caller.
func (r *runner) exec(ctx context.Context, key string, c *Command, attempt int, leave bool, vars map[string]string, s *Step) {
	log := filepath.Join(r.j.Dir, fmt.Sprintf("%02d-%s.log", len(r.j.Run.Steps)+1, key))
	if attempt > 1 {
		log = strings.TrimSuffix(log, ".log") + fmt.Sprintf("-%d.log", attempt)
	}
	spec, err := r.spec(key, c, vars)
	if err == nil {
		spec.MayLeave, spec.Log = leave, log
		spec.Started = func(p command.Process) error {
			return r.j.write(entry{Event: eventChild, Key: key, Child: &p})
		}
		var res command.Result
		res, err = command.Run(ctx, spec)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.Output, s.Log = res.Tail, relative(r.record.Dir(), log)
			if !res.TimedOut && res.Signal == "" {
				s.ExitCode = &res.Exit
			}
			if res.OK() {
				return
			}
			err = errors.New(res.Outcome() + explained(res))
		}
	}
	s.State, s.Detail = StateFailed, err.Error()
}

// explained says what the exit codes mean that shells give, and those of programs which reach other machines.
func explained(res command.Result) string {
	switch {
	case res.TimedOut:
		return ", its time limit; it gets no terminal and no input"
	case res.Exit == 126:
		return ": the command was found, but cannot be run"
	case res.Exit == 127:
		return ": a command was not found"
	case res.Exit == 255:
		return ": where it reaches another host, that host did not answer or refused"
	}
	return ""
}

// spec is a command of the record as it is run, with the variables that every command of a run gets.
func (r *runner) spec(key string, c *Command, vars map[string]string) (command.Spec, error) {
	s, err := c.Spec()
	s.Output, s.Tail, s.Env = r.Output, MaxTail, merged(r.vars(key), s.Env)
	if len(vars) > 0 {
		s.Env = merged(s.Env, vars)
	}
	return s, err
}

// vars are the variables that every command gets which the step called key runs.
func (r *runner) vars(key string) map[string]string {
	v := map[string]string{"DEMARC_CHANGE": r.record.Name(), "DEMARC_ENVIRONMENT": r.environment, "DEMARC_STEP": key}
	if e := r.record.Environments.Get(r.environment); e != nil && e.URL != "" {
		v["DEMARC_URL"] = e.URL
	}
	if r.j != nil {
		v["DEMARC_RUN"] = r.j.Run.ID
	}
	return v
}

// health asks until the service is healthy, for as long as the command's time limit says, or healthPatience.
func (r *runner) health(ctx context.Context, key string) Step {
	c := r.record.Command(r.environment, "health")
	url := ""
	if e := r.record.Environments.Get(r.environment); e != nil {
		url = e.URL
	}
	shown := "GET " + url
	if c != nil {
		shown = c.Run
	}
	return r.step(ctx, key, repeatable, shown, func(s *Step, attempt int) {
		patience := healthPatience
		if c != nil && c.Timeout != "" {
			if spec, err := c.Spec(); err == nil {
				patience = spec.Timeout
			}
		}
		for began := r.Now(); ; {
			s.State, s.Detail = StatePassed, ""
			if c != nil {
				one := *c
				one.Timeout = patience.String()
				r.exec(ctx, key, &one, attempt, false, nil, s)
			} else {
				r.checks(ctx, key, s, check.List{{Kind: check.Health, URL: url, Timeout: patience}}, time.Time{})
			}
			left := patience - r.Now().Sub(began)
			if s.State == StatePassed || ctx.Err() != nil || left <= 0 {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(min(left, 500*time.Millisecond)):
			}
		}
	})
}

// checks answers checks as a step's work.
func (r *runner) checks(ctx context.Context, key string, s *Step, list check.List, since time.Time) {
	results, err := r.Check(ctx, r.request(key, list, since))
	if ctx.Err() != nil {
		return
	}
	s.Checks = results
	if err != nil {
		s.State, s.Detail = StateFailed, err.Error()
		return
	}
	s.State, s.Detail = verdict(results)
}

// request is a round of checks as the work of the step called key.
func (r *runner) request(key string, list check.List, since time.Time) CheckRequest {
	return CheckRequest{
		Checks: list, Record: r.record, Environment: r.environment, Since: since, Vars: r.vars(key), LogDir: r.j.Dir, Output: r.Output,
		Started: func(p command.Process) error { return r.j.write(entry{Event: eventChild, Key: key, Child: &p}) },
	}
}

// verdict sums up a round of checks: failed beats undecided.
func verdict(results []CheckResult) (state, detail string) {
	state = StatePassed
	var failed, undecided []string
	for _, c := range results {
		switch c.State {
		case StateFailed:
			failed = append(failed, c.Check+worded(c))
		case StateUndecided:
			undecided = append(undecided, c.Check+worded(c))
		}
	}
	if len(failed) > 0 {
		return StateFailed, strings.Join(failed, "; ")
	}
	if len(undecided) > 0 {
		return StateUndecided, strings.Join(undecided, "; ")
	}
	return state, ""
}

// worded says why a check came out as it did: value and bound side by side.
func worded(c CheckResult) string {
	if c.Detail != "" {
		return " (" + c.Detail + ")"
	}
	return ""
}

// expected answers the record's checks as the step called key.
func (r *runner) expected(ctx context.Context, key string, since time.Time) Step {
	if len(r.record.Expected) == 0 {
		return r.skip(ctx, key, "the record expects nothing that can be checked")
	}
	return r.step(ctx, key, repeatable, strings.Join(r.record.ExpectedLines(), "\n"), func(s *Step, _ int) {
		s.Command = ""
		r.checks(ctx, key, s, r.record.Expected, since)
	})
}

// locked is a writer that several goroutines use: the commands' output, what is said of them, and how long they take.
type locked struct {
	mu *sync.Mutex
	to io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}
