package change

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/fault"
)

// ShipOptions are what ship is told beside Options.
type ShipOptions struct {
	Unrehearsed  bool          // ship although the very commands were not rehearsed
	Unchecked    bool          // ship although items of the checklist are open
	KeepOnFailed bool          // do not roll back when deploy or health fails
	Watch        time.Duration // how long to watch; 0: not at all
	Log          string        // file, or command behind "run:", whose lines are watched; empty: none

	logSize int64 // of Log when the ship began; -1: it is no file

	// Watcher follows the live service for that long.
	Watcher func(ctx context.Context, q WatchRequest) (WatchResult, error)
	// Note drafts the final note and returns its path.
	Note func(ctx context.Context, record *Record) (string, error)
}

// WatchRequest is a watch after a release.
type WatchRequest struct {
	CheckRequest
	For     time.Duration
	Log     string
	LogSize int64     // bytes that Log had before the deploy, where it is a file; else -1
	Talk    io.Writer // for progress
}

// WatchResult is what a watch saw.
type WatchResult struct {
	Checks []CheckResult
	Detail string // what is worth a line beside the checks
	Output string // the same at length
}

// A ship's options in its journal.
const (
	optWatch       = "watch"
	optLog         = "log"
	optKeep        = "keep"
	optLogSize     = "log-size"
	optUnrehearsed = "unrehearsed"
)

// Ship does a change on production: backup, deploy, health, a mark in the running capture, the watch, and the draft of the
// final note. It refuses where the commands are not those that the newest rehearsal has tried, or the checklist is open.
// When deploy or health fails, production is rolled back.
//
// A ship that was broken off is gone on with; one that was broken off while it deployed is rolled back, because what was
// deployed may be half of it, and ends there.
func Ship(ctx context.Context, record *Record, o Options, s ShipOptions) (*Run, error) {
	if err := needed(record, production, o.Op, "deploy", "rollback"); err != nil {
		return nil, err
	}
	r, before, err := begin(record, production, KindShip, o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if before.Unfinished() {
		switch {
		case before.Run.Kind == KindShip && (before.Begun("deploy") || len(differing(before.Run.Commands, fingerprints(record, production), CommandNames...)) == 0):
			r.resume(before)
			return r.shipping(ctx, s.kept(before.Options))
		case before.Run.Kind == KindShip:
			r.abandon(before, "broken off before anything was deployed; then its commands changed")
		case before.Run.Kind == KindRollback || before.Run.Kind == KindRehearse:
			return nil, r.unfinished(before)
		default:
			r.abandon(before, "broken off")
		}
	}
	if err := r.gates(ctx, s); err != nil {
		return nil, err
	}
	s.logSize = -1
	if info, err := os.Stat(s.Log); err == nil && info.Mode().IsRegular() {
		s.logSize = info.Size()
	}
	r.start(ctx, KindShip, s.journaled())
	return r.shipping(ctx, s)
}

// journaled are the options that a resumed ship goes on with.
func (s ShipOptions) journaled() map[string]string {
	return map[string]string{optWatch: s.Watch.String(), optLog: s.Log, optLogSize: strconv.FormatInt(s.logSize, 10),
		optKeep: strconv.FormatBool(s.KeepOnFailed), optUnrehearsed: strconv.FormatBool(s.Unrehearsed)}
}

func (s ShipOptions) kept(options map[string]string) ShipOptions {
	s.Watch, _ = time.ParseDuration(options[optWatch])
	s.Log = options[optLog]
	s.logSize, _ = strconv.ParseInt(options[optLogSize], 10, 64)
	s.KeepOnFailed = options[optKeep] == "true"
	s.Unrehearsed = options[optUnrehearsed] == "true"
	return s
}

// gates says why the change must not be shipped now.
func (r *runner) gates(ctx context.Context, s ShipOptions) error {
	runs, err := r.record.Runs()
	if err != nil {
		return err
	}
	why, try := r.unrehearsed(runs)
	switch {
	case why == "":
	case s.Unrehearsed:
		r.banner("NOT REHEARSED", "", why, "", "What is deployed now, and the way back, have not been tried in this form.")
	default:
		return &fault.Error{Op: r.Op, What: "will not ship " + r.record.Name(), Cause: errors.New(why),
			Expected: "deploy and rollback as they were rehearsed on staging", Retry: fault.RetryUseless, Try: try + "\n" +
				r.Op + " --unrehearsed, if it must be"}
	}
	r.sayMoved(ctx, Last(runs, KindRehearse, ""))
	var open []string
	status := r.record.Status(runs)
	for i, item := range status.Items {
		of := r.record.Checklist[i]
		gate := of.Run != nil || slices.Contains([]string{KindConfig, "verify", "health"}, of.Step)
		if gate && item.State != ItemDone {
			open = append(open, fmt.Sprintf("%s (%s: %s)", item.Item, item.ID, strings.TrimSuffix(item.State+", "+item.Detail, ", ")))
		}
	}
	switch {
	case len(open) == 0:
	case s.Unchecked:
		r.banner(append([]string{"THE CHECKLIST IS OPEN", ""}, open...)...)
	default:
		return &fault.Error{Op: r.Op, What: "will not ship " + r.record.Name(), Cause: fmt.Errorf("%d of the checklist's items are not done:\n    %s",
			len(open), strings.Join(open, "\n    ")), Expected: "a checklist that is done up to the release", Retry: fault.RetryUseless,
			Try: "demarc change do " + r.record.Name() + " ITEM\n" + r.Op + " --unchecked, if it must be"}
	}
	return nil
}

// unrehearsed says in which way the commands were not rehearsed, and what to try; empty: they were.
func (r *runner) unrehearsed(runs []*Run) (why, try string) {
	try = "demarc change rehearse " + r.record.Name()
	last := Last(runs, KindRehearse, "")
	switch {
	case last == nil:
		return "nothing of it was rehearsed", try
	case last.State == StateRunning:
		return "the rehearsal of " + stamp(last.At) + " was broken off", try
	case last.State != StatePassed && last.State != StateUndecided:
		return "the rehearsal of " + stamp(last.At) + " failed: " + last.Detail, try
	}
	if names := differing(last.Commands, fingerprints(r.record, staging), "deploy", "rollback"); len(names) > 0 {
		return "changed since the rehearsal of " + stamp(last.At) + ": " + strings.Join(names, ", ") + r.texts(last, staging, names), try
	}
	if names := differing(last.Commands, fingerprints(r.record, production), "deploy", "rollback"); len(names) > 0 {
		return "not the same on production as rehearsed on staging: " + strings.Join(names, ", ") + r.texts(last, production, names),
			"one command for both, with what differs in environments.….env\n" + try
	}
	if last.State == StateUndecided {
		r.sayf("demarc: the rehearsal of %s could not decide: %s", stamp(last.At), last.Detail)
	}
	return "", ""
}

// sayMoved says which files are not as they were when the change was rehearsed. Whether they are part of what is deployed
// only the deploy command knows, so this is no reason to refuse.
func (r *runner) sayMoved(ctx context.Context, last *Run) {
	if last == nil || last.Commit == "" {
		return
	}
	revision, dirty := strings.CutSuffix(last.Commit, "+dirty")
	if dirty {
		r.sayf("demarc: the rehearsal of %s was done with files that were not committed", stamp(last.At))
	}
	repository, err := OpenRepository(ctx, ".")
	if err != nil {
		return
	}
	files, _, err := repository.Touched(ctx, revision, "")
	switch {
	case err != nil:
		r.sayf("demarc: which files have changed since the rehearsal cannot be told: %v", err)
	case len(files) > 0:
		shown := files[:min(len(files), 5)]
		r.sayf("demarc: changed since the rehearsal: %s%s", strings.Join(shown, ", "), map[bool]string{true: ", …"}[len(files) > len(shown)])
	}
}

// texts shows what was rehearsed beside what would be run.
func (r *runner) texts(last *Run, environment string, names []string) string {
	var b strings.Builder
	for _, name := range names {
		was := last.Step(name)
		is := r.record.Command(environment, name)
		if was != nil && is != nil && was.Command != is.Run {
			fmt.Fprintf(&b, "\n    rehearsed: %s\n    now:       %s", oneLine(was.Command), oneLine(is.Run))
		}
	}
	return b.String()
}

// shipping goes through the steps.
func (r *runner) shipping(ctx context.Context, s ShipOptions) (*Run, error) {
	if r.record.Command(production, "backup") != nil {
		if b := r.backup(ctx); b.State == StateFailed {
			return r.failed("the backup failed, so nothing was deployed: "+b.Detail, "backup", fault.ExitFailed)
		}
	} else {
		r.skip(ctx, "backup", "the record has no backup command")
	}
	deploy := r.run(ctx, "deploy", "deploy", oneTime)
	if deploy.State == StateFailed {
		return r.takeBack(ctx, s, "the deploy failed: "+deploy.Detail, "deploy")
	}
	if h := r.health(ctx, "health"); h.State == StateFailed {
		return r.takeBack(ctx, s, "production is not healthy after the deploy: "+h.Detail, "health")
	}
	mark := r.mark(ctx, "ship "+r.record.Name())
	watch := r.watch(ctx, s, mark.At)
	note := r.note(ctx, s)
	if r.err != nil || r.DryRun {
		return nil, r.err
	}
	back := "demarc change rollback " + r.record.Name()
	switch watch.State {
	case StateFailed:
		run := r.finish(StateFailed, "shipped, but the watch found: "+watch.Detail)
		return run, r.orFault(&fault.Error{Op: r.Op, What: r.record.Name() + " was shipped, and the watch found what must not be", Cause: errors.New(watch.Detail),
			Expected: "healthy, with the expected figures, and no new errors in the log", Retry: fault.RetryUseless, Try: back, Code: fault.ExitCheck})
	case StateUndecided:
		run := r.finish(StateUndecided, "shipped; the watch could not decide: "+watch.Detail)
		return run, r.orFault(&fault.Error{Op: r.Op, What: r.record.Name() + " was shipped, but the watch saw too little to decide", Cause: errors.New(watch.Detail),
			Retry: fault.RetrySafe, Try: "demarc change verify " + r.record.Name() + ", later\n" + back + ", in doubt", Code: fault.ExitTooFew})
	}
	run := r.finish(StatePassed, "")
	if r.err == nil {
		r.sayf("\ndemarc: shipped\n  take back: %s\n  later:     demarc change verify %s", back, r.record.Name())
		if note.State == StatePassed {
			r.sayf("  note:      %s is a draft; read it, correct it, sign it", r.record.NotePath())
		}
	}
	return run, r.err
}

// takeBack rolls production back in the middle of a ship.
func (r *runner) takeBack(ctx context.Context, s ShipOptions, why, key string) (*Run, error) {
	if r.err != nil || r.DryRun {
		return nil, r.err
	}
	if s.KeepOnFailed {
		r.banner("PRODUCTION IS LEFT AS IT IS", "", why, "", "take it back: demarc change rollback "+r.record.Name())
		return r.failed(why+"; not rolled back, as asked", key, fault.ExitFailed)
	}
	r.sayf("\ndemarc: %s\ndemarc: rolling production back", why)
	if b := r.run(ctx, "rollback", "rollback", repeatable); b.State == StateFailed {
		return r.rollbackFailed(production, why+"; and the rollback failed: "+b.Detail, "rollback")
	}
	if h := r.health(ctx, "health-after"); h.State == StateFailed {
		return r.rollbackFailed(production, why+"; and production is not healthy after the rollback: "+h.Detail, "health-after")
	}
	return r.failed(why+"; production was rolled back and is healthy", key, fault.ExitFailed)
}

// mark puts a point in time into the capture that runs over the environment.
func (r *runner) mark(ctx context.Context, text string) Step {
	return r.step(ctx, StepMark, repeatable, "demarc mark "+text, func(s *Step, _ int) {
		name, about, _ := strings.Cut(text, " ")
		said, capture, err := r.Mark(r.record.Environments.Get(r.environment), name, about)
		switch {
		case errors.Is(err, ErrNoCapture):
			s.State, s.Detail = StateSkipped, "no demarc is running over "+r.environment
		case err != nil:
			s.State, s.Detail = StateSkipped, "the running demarc did not take it: "+err.Error() // what is shipped is not less shipped
		default:
			s.Detail, s.Capture = said, capture
		}
	})
}

// watch follows the service after the deploy.
func (r *runner) watch(ctx context.Context, s ShipOptions, since time.Time) Step {
	if s.Watch <= 0 {
		return r.skip(ctx, StepWatch, "not asked for")
	}
	shown := "demarc check --watch " + s.Watch.String()
	if s.Log != "" {
		shown += " --log " + s.Log
	}
	return r.step(ctx, StepWatch, repeatable, shown, func(step *Step, attempt int) {
		list := slices.Clone(r.record.Expected)
		if healthy := r.healthCheck(); healthy.Run != "" || healthy.URL != "" {
			list = append(list, healthy)
		}
		w, err := s.Watcher(ctx, WatchRequest{CheckRequest: r.request(StepWatch, list, since), For: s.Watch, Log: s.Log, LogSize: s.logSize, Talk: r.Talk})
		if ctx.Err() != nil {
			return
		}
		step.Checks, step.Output = w.Checks, w.Output
		step.State, step.Detail = verdict(w.Checks)
		if err != nil {
			step.State, step.Detail = StateFailed, err.Error()
		}
		if w.Detail != "" {
			step.Detail = strings.TrimPrefix(step.Detail+"; "+w.Detail, "; ")
		}
		if attempt > 1 {
			step.Detail = strings.TrimPrefix(step.Detail+"; it was broken off and begun again", "; ")
		}
	})
}

// healthCheck is how the environment is asked whether it is healthy: as the step health does it.
func (r *runner) healthCheck() check.Check {
	out := check.Check{Kind: check.Health}
	if c := r.record.Command(r.environment, "health"); c != nil {
		out.Run, out.Dir, out.Env, out.Pass, out.Secrets = c.Run, c.Dir, c.Env, c.Pass, c.Secrets
	} else if e := r.record.Environments.Get(r.environment); e != nil {
		out.URL = e.URL
	}
	return out
}

// note drafts the final note.
func (r *runner) note(ctx context.Context, s ShipOptions) Step {
	if s.Note == nil {
		return r.skip(ctx, StepNote, "not asked for")
	}
	return r.step(ctx, StepNote, repeatable, "demarc change note "+r.record.Name(), func(step *Step, _ int) {
		path, err := s.Note(ctx, r.record)
		if ctx.Err() != nil {
			return
		}
		step.Detail = path
		if err != nil {
			step.State, step.Detail = StateSkipped, "no draft: "+err.Error()
		}
	})
}
