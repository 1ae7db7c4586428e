package change

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

const (
	staging    = "staging"
	production = "production"
)

// Rehearse does a change on staging for real: deploy, health, checks, and all of it back again. A backup is made before
// and restored into a scratch target. Passed means that each of these worked, and that after the rollback the checks gave
// what they had given before the deploy.
//
// A rehearsal that was broken off is gone on with; one that was broken off while it deployed is rolled back first, and
// begun anew. The returned run is nil for a dry run, and where nothing could be begun.
func Rehearse(ctx context.Context, record *Record, o Options) (*Run, error) {
	if err := needed(record, staging, o.Op, "deploy", "rollback"); err != nil {
		return nil, err
	}
	r, before, err := begin(record, staging, KindRehearse, o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if before.Unfinished() && (before.Run.Kind == KindShip || before.Run.Kind == KindRollback) && before.Run.Environment == production {
		return nil, r.unfinished(before)
	}
	if before.Unfinished() {
		changed := differing(before.Run.Commands, fingerprints(record, before.Run.Environment), CommandNames...)
		switch {
		case before.Run.Kind == KindRehearse && (before.Begun("deploy") || len(changed) == 0):
			r.resume(before)
			if len(changed) > 0 {
				r.sayf("demarc: %s changed since; staging is rolled back with the commands as they are now", strings.Join(changed, ", "))
			}
			run, err := r.rehearsal(ctx, len(changed) > 0)
			if run == nil || run.State != StateFailed || !interrupted(run) || run.Step("rollback") == nil || run.Step("rollback").State != StatePassed {
				return run, err
			}
			r.sayf("demarc: staging is as it was; the rehearsal begins anew")
		case before.Run.Kind == KindRehearse:
			r.abandon(before, "broken off before anything was deployed; then "+strings.Join(changed, ", ")+" changed")
		default:
			r.abandon(before, "broken off")
		}
	}
	r.start(ctx, KindRehearse, nil)
	return r.rehearsal(ctx, false)
}

// interrupted says whether a run could not do its work because demarc was killed while it deployed, or the commands were
// changed before it went on.
func interrupted(run *Run) bool {
	s := run.Step("deploy")
	return s != nil && (s.Detail == doubt || strings.HasPrefix(run.Detail, given))
}

// given begins the detail of a run that was given up on purpose.
const given = "given up: "

// rehearsal goes through the steps. With giveUp, what was deployed is only taken back.
func (r *runner) rehearsal(ctx context.Context, giveUp bool) (*Run, error) {
	if !giveUp {
		if s := r.health(ctx, "health-before"); s.State == StateFailed {
			return r.failed("staging is not healthy before anything was deployed: "+s.Detail, "health-before", fault.ExitFailed)
		}
		r.verify(ctx, "verify-before")
		r.expected(ctx, "checks-before", time.Time{})
		if key := r.backupAndRestore(ctx); key != "" {
			return r.failed("the "+key+" failed, so nothing was deployed", key, fault.ExitFailed)
		}
		r.gap()
	}
	var wrong, undecided string // what of the change did not work, in words
	var wrongKey string
	code := fault.ExitFailed
	note := func(s Step, what string) {
		if wrong == "" && s.State == StateFailed {
			wrong, wrongKey = what+": "+s.Detail, s.Name
		}
		if undecided == "" && s.State == StateUndecided {
			undecided = s.Name + " after the deploy: " + s.Detail
		}
	}
	if giveUp {
		wrong = given + "its commands were changed while it was broken off"
	} else {
		note(r.run(ctx, "deploy", "deploy", oneTime), "the deploy failed")
		since := r.Now()
		if wrong == "" {
			note(r.health(ctx, "health"), "not healthy after the deploy")
		}
		if wrong == "" {
			note(r.verify(ctx, "verify"), "verify failed after the deploy")
			checks := r.expected(ctx, "checks", since)
			if wrong == "" && checks.State == StateFailed {
				code = fault.ExitCheck
			}
			note(checks, "a check failed after the deploy")
		}
		r.gap()
	}
	back := r.run(ctx, "rollback", "rollback", repeatable)
	since := r.Now()
	if back.State == StateFailed {
		return r.rollbackFailed("staging", "the rollback failed on staging: "+back.Detail, "rollback")
	}
	if s := r.health(ctx, "health-after"); s.State == StateFailed {
		return r.rollbackFailed("staging", "staging is not healthy after the rollback: "+s.Detail, "health-after")
	}
	r.verify(ctx, "verify-after")
	r.expected(ctx, "checks-after", since)
	if r.err != nil || r.DryRun {
		return nil, r.err
	}
	if different := r.unequal(); different != "" && !giveUp {
		return r.rollbackFailed("staging", "after the rollback the checks are not what they were before the deploy: "+different, "checks-after")
	}
	switch {
	case wrong != "":
		return r.failed(wrong, wrongKey, code)
	case undecided != "":
		run := r.finish(StateUndecided, undecided)
		return run, r.orFault(&fault.Error{Op: r.Op, What: "deploy and rollback of " + r.record.Name() + " work, but too little is known to decide a check",
			Cause: errors.New(undecided), Retry: fault.RetrySafe, Try: "more traffic on staging, such as from a verify command", Code: fault.ExitTooFew})
	}
	run := r.finish(StatePassed, "")
	if r.err == nil {
		r.sayf("\ndemarc: rehearsed: it works on staging, and it can be taken back\n  next: demarc change ship %s", r.record.Name())
		r.dropScratch()
	}
	return run, r.err
}

// orFault returns what stopped the run, if anything did, else f.
func (r *runner) orFault(f *fault.Error) error {
	if r.err != nil {
		return r.err
	}
	return f
}

// nouns are what runs are called.
var nouns = map[string]string{KindRehearse: "rehearsal", KindShip: "ship", KindRollback: "rollback", KindVerify: "verification"}

// failed finishes the run because of the step called key.
func (r *runner) failed(why, key string, code int) (*Run, error) {
	if r.err != nil || r.DryRun {
		return nil, r.err
	}
	run := r.finish(StateFailed, why)
	f := &fault.Error{Op: r.Op, What: fmt.Sprintf("the %s of %s failed", nouns[r.j.Run.Kind], r.record.Name()), Cause: errors.New(why),
		Retry: fault.RetrySafe, Code: code}
	if s := run.Step(key); s != nil && s.Log != "" {
		f.Try = "read " + filepath.Join(r.record.Dir(), s.Log)
	}
	return run, r.orFault(f)
}

// rollbackFailed finishes the run with the loudest message: there is no way back.
func (r *runner) rollbackFailed(where, why, key string) (*Run, error) {
	if r.err != nil || r.DryRun {
		return nil, r.err
	}
	next := "Do not ship this change. Put staging right by hand, correct the rollback, and rehearse again."
	if where == production {
		next = "Production is in an unknown state. Put it right by hand now."
	}
	command := ""
	if c := r.record.Command(r.environment, "rollback"); c != nil {
		command = c.Run
	}
	r.banner("THE ROLLBACK FAILED", "", why, "rollback command: "+oneLine(command), "", next)
	run := r.finish(StateFailed, "ROLLBACK FAILED: "+why)
	f := &fault.Error{Op: r.Op, What: "the rollback of " + r.record.Name() + " does not bring back what was there", Cause: errors.New(why),
		Expected: "after the rollback, a healthy " + where + " on which the checks give what they gave before the deploy", Retry: fault.RetryUnsafe,
		Try: "put " + where + " right by hand, or correct the command: demarc change rollback " + r.record.Name()}
	if where == staging {
		f.Try += " --on staging"
	}
	if s := run.Step(key); s != nil && s.Log != "" {
		f.Try = "read " + filepath.Join(r.record.Dir(), s.Log) + "\n" + f.Try
	}
	return run, r.orFault(f)
}

// unequal says in which checks the round after the rollback differs from the round before the deploy; empty: in none. What
// could not be decided in one of the rounds is no difference.
func (r *runner) unequal() string {
	var found []string
	for _, name := range []string{"checks", "verify"} {
		before, after := r.j.Ended(name+"-before"), r.j.Ended(name+"-after")
		if before == nil || after == nil {
			continue
		}
		if len(before.Checks) == 0 && len(after.Checks) == 0 && before.State != after.State {
			found = append(found, fmt.Sprintf("%s: %s before, %s after (%s%s)", name, before.State, after.State, before.Detail, after.Detail))
		}
		for _, b := range before.Checks {
			for _, a := range after.Checks {
				if a.Check == b.Check && a.State != b.State && a.State != StateUndecided && b.State != StateUndecided {
					found = append(found, fmt.Sprintf("%s: %s before%s, %s after%s", b.Check, b.State, worded(b), a.State, worded(a)))
				}
			}
		}
	}
	return strings.Join(found, "; ")
}

// verify runs the record's verify command, where there is one.
func (r *runner) verify(ctx context.Context, key string) Step {
	if r.record.Command(r.environment, "verify") == nil {
		return Step{Name: key, State: StateSkipped}
	}
	return r.run(ctx, key, "verify", repeatable)
}

// backupAndRestore makes a backup and restores it into a scratch target. It returns the step that failed, or nothing.
func (r *runner) backupAndRestore(ctx context.Context) string {
	if r.record.Command(r.environment, "backup") == nil {
		r.skip(ctx, "backup", "the record has no backup command")
		return ""
	}
	if s := r.backup(ctx); s.State == StateFailed {
		return "backup"
	}
	if r.record.Command(r.environment, "restore") == nil {
		if r.DryRun || r.err != nil {
			return ""
		}
		s := r.step(ctx, "restore", repeatable, "", func(s *Step, _ int) {
			s.State, s.Detail = StateFailed, "the record has no restore command, and a backup that was never restored is none"
		})
		if s.State == StateFailed {
			return "restore"
		}
		return ""
	}
	c := r.record.Command(r.environment, "restore")
	s := r.step(ctx, "restore", repeatable, c.Run, func(s *Step, attempt int) {
		vars, err := r.scratchVars(attempt)
		if err != nil {
			s.State, s.Detail = StateFailed, err.Error()
			return
		}
		r.exec(ctx, "restore", c, attempt, false, vars, s)
	})
	if s.State == StateFailed {
		return "restore"
	}
	return ""
}

// backup runs the backup command and looks at what it left. Every attempt has a place of its own, DEMARC_BACKUP, so that
// the half of one that was broken off is never taken for a whole.
func (r *runner) backup(ctx context.Context) Step {
	c := r.record.Command(r.environment, "backup")
	return r.step(ctx, "backup", repeatable, c.Run, func(s *Step, attempt int) {
		vars := r.backupVars()
		if err := os.MkdirAll(filepath.Dir(vars["DEMARC_BACKUP"]), 0o700); err != nil {
			s.State, s.Detail = StateFailed, err.Error()
			return
		}
		r.exec(ctx, "backup", c, attempt, false, vars, s)
		if s.State != StatePassed || ctx.Err() != nil || r.err != nil {
			return
		}
		path := artefact(c, vars)
		size, err := contentOf(path, s.At)
		if err != nil {
			s.State, s.Detail = StateFailed, "the command ended well, but "+err.Error()
			return
		}
		s.Detail = fmt.Sprintf("%d bytes in %s", size, relative(".", path))
	})
}

// artefact is where a backup command leaves its backup.
func artefact(c *Command, vars map[string]string) string {
	if c.Artifact == "" {
		return vars["DEMARC_BACKUP"]
	}
	path := os.Expand(c.Artifact, func(name string) string { return vars[name] })
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	return path
}

// contentOf returns the bytes in a file, or in the files of a folder. Nothing, or only what is older than began, is an
// error: then the backup is none.
func contentOf(path string, began time.Time) (size int64, err error) {
	newest := time.Time{}
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("%s is not there: the backup is written to $DEMARC_BACKUP, or to what artifact names", path)
	case err != nil:
		return 0, err
	case size == 0:
		return 0, fmt.Errorf("%s is empty", path)
	case newest.Before(began.Add(-2 * time.Second)): // file systems keep times in steps of up to two seconds
		return 0, fmt.Errorf("%s is from %s and was not written by it", path, newest.Local().Format(time.DateTime))
	}
	return size, nil
}

// backupVars name the place of the run's backup: of the attempt that is being made, or that was made last.
func (r *runner) backupVars() map[string]string {
	if r.j == nil {
		return nil
	}
	dir, err := filepath.Abs(filepath.Join(journals(r.State, r.record.Name()), "backups"))
	if err != nil {
		r.err = err
	}
	return map[string]string{"DEMARC_BACKUP": filepath.Join(dir, fmt.Sprintf("%s-%d", r.j.Run.ID, max(1, r.j.begun["backup"])))}
}

// scratchVars name the backup, and a target that nothing else uses: an empty folder, and a name for a database.
func (r *runner) scratchVars(attempt int) (map[string]string, error) {
	vars := r.backupVars()
	dir, err := filepath.Abs(filepath.Join(r.j.Dir, fmt.Sprintf("scratch-%d", attempt)))
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	id := r.j.Run.ID
	vars["DEMARC_SCRATCH"] = dir
	vars["DEMARC_SCRATCH_NAME"] = fmt.Sprintf("demarc_scratch_%s_%d", id[len(id)-4:], attempt)
	return vars, err
}

// dropScratch removes what a rehearsal that passed restored, and the backup of staging. Backups of production stay.
func (r *runner) dropScratch() {
	found, _ := filepath.Glob(filepath.Join(r.j.Dir, "scratch-*"))
	backups, _ := filepath.Glob(filepath.Join(journals(r.State, r.record.Name()), "backups", r.j.Run.ID+"-*"))
	for _, path := range append(found, backups...) {
		_ = os.RemoveAll(path) // what cannot be removed is only in the way
	}
}

// needed says what a record lacks before anything is begun.
func needed(record *Record, environment, op string, names ...string) error {
	var missing []string
	for _, name := range names {
		if record.Command(environment, name) == nil {
			missing = append(missing, "commands."+name)
		}
	}
	e := record.Environments.Get(environment)
	if record.Command(environment, "health") == nil && (e == nil || e.URL == "") {
		missing = append(missing, "commands.health (or environments."+environment+".url)")
	}
	if len(missing) == 0 {
		return nil
	}
	return &fault.Error{Op: op, What: "the record " + record.Path() + " is not complete", Cause: errors.New(strings.Join(missing, ", ") + ": not there"),
		Expected: "commands that deploy, tell the health and roll back", Retry: fault.RetryUseless, Try: "add them to " + record.Path(), Code: fault.ExitUsage}
}

// unfinished refuses to do anything while production is in doubt.
func (r *runner) unfinished(p *Progress) error {
	return &fault.Error{Op: r.Op, What: fmt.Sprintf("the %s of %s was broken off %s", nouns[p.Run.Kind], r.record.Name(), p.Where()),
		Expected: "nothing of production in doubt", Retry: fault.RetryUseless,
		Try: fmt.Sprintf("demarc change %s %s   to go on\ndemarc change rollback %s   to take it back", p.Run.Kind, r.record.Name(), r.record.Name())}
}
