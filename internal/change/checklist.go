package change

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/fault"
)

// ItemOptions say how an item of the checklist is done.
type ItemOptions struct {
	Environment string    // whose command is meant, where the item is a step of the record
	State       string    // folder of logs and backups: .demarc
	Output      io.Writer // gets what the command prints, secrets masked; nil: nobody
	Now         func() time.Time
}

// Do runs the command of an item and keeps what came of it, also where it fails. The run is nil where nothing was started.
func (r *Record) Do(ctx context.Context, item *Item, o ItemOptions) (*Run, error) {
	c := item.Run
	if c == nil && item.Step != "" {
		c = r.Command(o.Environment, item.Step)
	}
	if c == nil {
		return nil, &fault.Error{
			What: fmt.Sprintf("%s of %s has no command", item.ID, r.Name()), Retry: fault.RetryUseless, Code: fault.ExitUsage,
			Expected: "run: under the item, or commands." + item.Step + " in the record", Try: "edit " + r.Path(),
		}
	}
	spec, err := c.Spec()
	if err != nil {
		return nil, err
	}
	run := NewRun(KindItem, o.Now())
	run.Item = item.ID
	if item.Run == nil {
		run.Environment = o.Environment
	}
	run.By, run.Commit = whoAndWhere(ctx)
	logs := filepath.Join(o.State, "changes", r.Name(), run.ID)
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, &fault.Error{What: "cannot make a folder for the log", Cause: err, Retry: fault.RetrySafe, Expected: "permission to write below " + o.State}
	}
	spec.Log = filepath.Join(logs, item.ID+".log")
	spec.Output = o.Output
	env := map[string]string{"DEMARC_CHANGE": r.Name(), "DEMARC_RUN": run.ID, "DEMARC_ENVIRONMENT": o.Environment}
	if e := r.Environments.Get(o.Environment); e != nil && e.URL != "" {
		env["DEMARC_URL"] = e.URL
	}
	if abs, err := filepath.Abs(logs); err == nil && item.Step == "backup" {
		env["DEMARC_BACKUP"] = filepath.Join(abs, "backup")
	}
	spec.Env = merged(env, spec.Env)

	step := Step{Name: item.ID, Command: c.Run, State: StateFailed, At: run.At, Log: relative(r.Dir(), spec.Log)}
	res, err := command.Run(ctx, spec)
	if err == nil || ctx.Err() != nil {
		step.At = res.Start
		step.Duration = (time.Duration(res.DurationMS) * time.Millisecond).String()
		if step.Output = res.Tail; res.Bytes > command.DefaultTail {
			_, step.Output, _ = strings.Cut(res.Tail, "\n") // the first line may be cut
			step.Output = "…\n" + step.Output
		}
	}
	switch {
	case ctx.Err() != nil:
		step.Detail = "broken off"
	case err != nil:
		step.Detail = err.Error()
	case res.OK():
		step.State, step.ExitCode = StatePassed, &res.Exit
		if item.Step == "backup" {
			path := artefact(c, env)
			size, err := contentOf(path, step.At)
			if step.Detail = fmt.Sprintf("%d bytes in %s", size, path); err != nil {
				step.State, step.Detail = StateFailed, "the command ended well, but "+err.Error()
			}
		}
	default:
		step.Detail = res.Outcome()
		if res.Signal == "" && !res.TimedOut {
			step.ExitCode = &res.Exit
		}
	}
	run.State, run.Steps = step.State, []Step{step}
	run.Duration = o.Now().UTC().Sub(run.At).Round(time.Millisecond).String()
	if step.State != StatePassed {
		run.Detail = step.Detail
	}
	if err := r.SaveRun(run); err != nil {
		return run, err
	}
	if ctx.Err() != nil {
		return run, ctx.Err()
	}
	if step.State != StatePassed {
		return run, &fault.Error{
			What: fmt.Sprintf("%s failed: %s", item.ID, step.Detail), Cause: lastWords(step.Output), Retry: fault.RetrySafe,
			Expected: "exit 0 of " + firstLine(c.Run), Try: "see " + spec.Log,
		}
	}
	return run, nil
}

// words is what a command said last, as the cause of an error.
type words string

func (w words) Error() string { return string(w) }

func lastWords(output string) error {
	if text := strings.TrimSpace(lastLines(strings.TrimSpace(output), 3)); text != "" {
		return words(text)
	}
	return nil
}
