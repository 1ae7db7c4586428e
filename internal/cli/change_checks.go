package cli

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/config"
)

// answerChecks answers the checks of a change record: first commands and addresses, in their order, because they may make
// the traffic that the figures are about; then the figures, from the capture that belongs to the environment.
func answerChecks(ctx context.Context, q change.CheckRequest) ([]change.CheckResult, error) {
	answers := make([][]change.CheckResult, len(q.Checks))
	environment := q.Record.Environments.Get(q.Environment)
	runner := runnerOf(q, environment)
	figures := false
	for i, c := range q.Checks {
		if c.Kind == check.Figure {
			figures = true
			continue
		}
		r, err := runner.Run(ctx, within(c, environment), i+1)
		if err != nil {
			return nil, err
		}
		answers[i] = []change.CheckResult{checkResult(r)}
	}
	if figures {
		if err := answerFigures(ctx, q, environment, answers); err != nil {
			return nil, err
		}
	}
	var all []change.CheckResult
	for _, a := range answers {
		all = append(all, a...)
	}
	return all, nil
}

// answerFigures answers the checks of figures. Where there is no capture, they are undecided, with the reason.
func answerFigures(ctx context.Context, q change.CheckRequest, environment *change.Environment, answers [][]change.CheckResult) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(flushTime):
	}
	f, why := readFigures(ctx, q, environment)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, c := range q.Checks {
		if c.Kind != check.Figure {
			continue
		}
		var results []check.Result
		reason := why
		if reason == nil {
			results, reason = f.Evaluate(c)
		}
		if reason != nil {
			results = []check.Result{{Check: c.String(), Verdict: check.Undecided, Reason: reason.Error()}}
		}
		for _, r := range results {
			answers[i] = append(answers[i], checkResult(r))
		}
	}
	return nil
}

// readFigures reads the capture of an environment, and that of the record's baseline where it is named.
func readFigures(ctx context.Context, q change.CheckRequest, environment *change.Environment) (check.Figures, error) {
	round, err := roundOf(q, environment)
	if err != nil {
		return check.Figures{}, err
	}
	f, _, err := round.read(ctx, &check.Report{})
	return f, err
}

// roundOf is a round of a record's checks over the capture of an environment.
func roundOf(q change.CheckRequest, environment *change.Environment) (*checkRound, error) {
	const op = "demarc change"
	dir := capture.Root
	if environment != nil && environment.Capture != "" {
		dir = environment.Capture
	}
	conf, err := config.Load(op, "")
	if err != nil {
		return nil, err
	}
	r := &checkRound{op: op, list: q.Checks, staleness: conf.Staleness, runner: runnerOf(q, environment)}
	if !q.Since.IsZero() {
		r.since = q.Since.UnixNano()
	}
	if figures, _ := r.figures(); !figures {
		return r, nil
	}
	path, err := captureIn(dir)
	if err != nil {
		return nil, err
	}
	r.captures = []string{path}
	if before := q.Record.Baseline.Capture; before != "" {
		r.baseline, err = captureIn(before)
	}
	return r, err
}

// within is a check whose command gets the secrets of an environment and what it hands on.
func within(c check.Check, environment *change.Environment) check.Check {
	if environment == nil || c.Kind != check.Command {
		return c
	}
	c.Pass = slices.Concat(environment.Pass, c.Pass)
	secrets := maps.Clone(environment.Secrets)
	if secrets == nil {
		secrets = map[string]string{}
	}
	maps.Copy(secrets, c.Secrets)
	c.Secrets = secrets
	return c
}

// runnerOf runs the commands among checks with the variables of an environment.
func runnerOf(q change.CheckRequest, environment *change.Environment) check.Runner {
	r := check.Runner{Env: maps.Clone(q.Vars), LogDir: q.LogDir, Output: q.Output, Started: q.Started}
	if environment != nil {
		maps.Copy(r.Env, environment.Env)
	}
	return r
}

// captureIn returns dir, or the newest capture in it where it is a folder of captures.
func captureIn(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err == nil {
		return dir, nil
	}
	return capture.Newest(dir)
}

// checkResult is an answer as records keep it.
func checkResult(r check.Result) change.CheckResult {
	states := map[check.Verdict]string{check.Pass: change.StatePassed, check.Fail: change.StateFailed, check.Undecided: change.StateUndecided}
	return change.CheckResult{Check: r.Title(), State: states[r.Verdict], Value: r.Value, Bound: r.Bound, Detail: r.Says()}
}
