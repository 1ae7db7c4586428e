package change

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// stopPatience is how long a ship that is told to stop may take to end its command.
const stopPatience = 30 * time.Second

// Rollback takes a change back on an environment. It needs nothing but the record: whatever state an earlier run was left
// in, and also while a ship of the same record is running, which it stops.
func Rollback(ctx context.Context, record *Record, environment string, o Options) (*Run, error) {
	if err := needed(record, environment, o.Op, "rollback"); err != nil {
		return nil, err
	}
	if !o.DryRun {
		if err := stopOthers(ctx, record, o); err != nil {
			return nil, err
		}
		if err := putAside(record, o); err != nil {
			return nil, err
		}
	}
	r, before, err := begin(record, environment, KindRollback, o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if before.Unfinished() && before.Run.Environment == environment {
		at := before.Where()
		r.sayf("demarc: the %s of %s was broken off %s; taking it back", nouns[before.Run.Kind], before.Run.At.Local().Format(time.DateTime), at)
		r.abandon(before, "broken off "+at+"; taken back by demarc change rollback")
	}
	runs, err := record.Runs()
	if err != nil {
		r.sayf("demarc: the earlier results cannot be read, going on without them: %v", err)
	}
	if Last(runs, KindShip, "") == nil && environment == production {
		r.sayf("demarc: no ship of %s is recorded here; rolling back all the same", record.Name())
	}
	r.start(ctx, KindRollback, nil)
	if r.err != nil {
		return nil, r.err
	}
	vars := lastBackup(o.State, record.Name(), runs, environment)
	c := record.Command(environment, "rollback")
	s := r.step(ctx, "rollback", repeatable, c.Run, func(s *Step, attempt int) {
		r.exec(ctx, "rollback", c, attempt, true, vars, s)
	})
	if s.State == StateFailed {
		return r.rollbackFailed(environment, "the rollback failed: "+s.Detail, "rollback")
	}
	if h := r.health(ctx, "health-after"); h.State == StateFailed {
		return r.rollbackFailed(environment, environment+" is not healthy after the rollback: "+h.Detail, "health-after")
	}
	r.mark(ctx, "rollback "+record.Name())
	if r.err != nil || o.DryRun {
		return nil, r.err
	}
	run := r.finish(StatePassed, "")
	if r.err == nil {
		r.sayf("\ndemarc: rolled back; %s is healthy", environment)
	}
	return run, r.err
}

// LoadShipped reads a record as it was when it was shipped last. It is the way back where the record itself was damaged
// since.
func LoadShipped(state, arg string) (*Record, error) {
	path, err := find(Folder, arg)
	if err != nil {
		return nil, err
	}
	parent := journals(state, strings.TrimSuffix(filepath.Base(path), ".yaml"))
	runs, err := folders(parent)
	if err != nil {
		return nil, err
	}
	for _, run := range slices.Backward(runs) {
		if !strings.HasSuffix(run, "-"+KindShip) {
			continue
		}
		data, err := readBounded(filepath.Join(parent, run, recordCopy), MaxRecord)
		if err != nil {
			continue
		}
		r, err := Parse(data)
		if err != nil {
			return nil, err
		}
		r.path = path
		return r, nil
	}
	return nil, fmt.Errorf("%s holds no copy of a record that was shipped", parent)
}

// lastBackup names the backup that the newest ship made, where it is still there.
func lastBackup(state, name string, runs []*Run, environment string) map[string]string {
	for _, run := range slices.Backward(runs) {
		if run.Environment != environment || run.Step("backup") == nil || run.Step("backup").State != StatePassed {
			continue
		}
		found, _ := filepath.Glob(filepath.Join(journals(state, name), "backups", run.ID+"-*"))
		if len(found) == 0 {
			continue
		}
		if path, err := filepath.Abs(found[len(found)-1]); err == nil {
			return map[string]string{"DEMARC_BACKUP": path}
		}
	}
	return nil
}

// stopOthers stops a run of the same record that is going on.
func stopOthers(ctx context.Context, record *Record, o Options) error {
	h := holder{Pid: os.Getpid(), Command: KindRollback, Record: record.Name(), At: o.Now().UTC()}
	told := false
	for began := time.Now(); ; {
		l, err := takeLock(o.State, h)
		if err == nil {
			l.release()
			return nil
		}
		var busy *heldError
		if !errors.As(err, &busy) || busy.by.Record != record.Name() || busy.by.Pid <= 1 || busy.by.Pid == os.Getpid() {
			return err
		}
		if !told {
			told = true
			fmt.Fprintf(o.Talk, "demarc: stopping demarc change %s (process %d)\n", busy.by.Command, busy.by.Pid)
			if kerr := syscall.Kill(busy.by.Pid, syscall.SIGTERM); kerr != nil && !errors.Is(kerr, syscall.ESRCH) {
				return &fault.Error{Op: o.Op, What: fmt.Sprintf("cannot stop process %d", busy.by.Pid), Cause: kerr, Retry: fault.RetrySafe,
					Try: "end it, then the same command again"}
			}
		}
		if time.Since(began) > stopPatience {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second / 2):
		}
	}
}

// putAside moves a journal away that cannot be read: the way back must not hang on it.
func putAside(record *Record, o Options) error {
	_, err := LastProgress(o.State, record.Name())
	if err == nil {
		return nil
	}
	parent := journals(o.State, record.Name())
	ids, lerr := folders(parent)
	if lerr != nil || len(ids) == 0 {
		return err
	}
	from := filepath.Join(parent, ids[len(ids)-1])
	to := filepath.Join(parent, "damaged-"+filepath.Base(from))
	if rerr := os.Rename(from, to); rerr != nil {
		return err
	}
	fmt.Fprintf(o.Talk, "demarc: %v\ndemarc: put aside as %s\n", err, to)
	return nil
}
