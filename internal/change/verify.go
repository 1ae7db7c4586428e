package change

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Held is one check of a verify beside what it was after the release.
type Held struct {
	Check string
	Then  *CheckResult // nil: it was not asked then, or not decided
	At    time.Time    // of Then
	Now   CheckResult
}

// Verify asks whether a change still does what it was made for: health, the record's verify command and its checks, on an
// environment, however long after the release. The run is added to the record's results. Figures count from since on; zero
// stands for all that the environment's capture holds.
func Verify(ctx context.Context, record *Record, environment string, since time.Time, o Options) (*Run, []Held, error) {
	if len(record.Expected) == 0 && record.Command(environment, "verify") == nil {
		return nil, nil, &fault.Error{Op: o.Op, What: "nothing of " + record.Name() + " can be verified", Cause: errors.New("it expects nothing and has no verify command"),
			Expected: "checks under expected:, or commands.verify", Retry: fault.RetryUseless, Try: "add them to " + record.Path(), Code: fault.ExitUsage}
	}
	r, before, err := begin(record, environment, KindVerify, o)
	if err != nil {
		return nil, nil, err
	}
	defer r.close()
	if before.Unfinished() {
		if before.Run.Kind != KindVerify {
			return nil, nil, r.unfinished(before)
		}
		r.abandon(before, "broken off; begun anew")
	}
	earlier, err := record.Runs()
	if err != nil {
		return nil, nil, err
	}
	r.start(ctx, KindVerify, nil)
	var steps []Step
	if e := record.Environments.Get(environment); record.Command(environment, "health") != nil || e != nil && e.URL != "" {
		steps = append(steps, r.health(ctx, "health"))
	}
	steps = append(steps, r.verify(ctx, "verify"))
	checks := r.expected(ctx, StepChecks, since)
	steps = append(steps, checks)
	if r.err != nil || o.DryRun {
		return nil, nil, r.err
	}
	held := compared(earlier, checks.Checks)
	for _, state := range []string{StateFailed, StateUndecided} {
		i := slices.IndexFunc(steps, func(s Step) bool { return s.State == state })
		if i < 0 {
			continue
		}
		why := steps[i].Name + ": " + steps[i].Detail
		run := r.finish(state, why)
		f := &fault.Error{Op: o.Op, What: record.Name() + " no longer holds", Cause: errors.New(why),
			Expected: "what the record expects", Retry: fault.RetrySafe, Try: "demarc change show " + record.Name(), Code: fault.ExitCheck}
		if state == StateUndecided {
			f.What, f.Expected, f.Try, f.Code = "whether "+record.Name()+" still holds cannot be said", "enough requests in the capture", "the same again after more traffic", fault.ExitTooFew
		}
		return run, held, r.orFault(f)
	}
	run := r.finish(StatePassed, "")
	return run, held, r.err
}

// compared puts each check beside its newest answer from a watch, or else from another verify or a rehearsal.
func compared(earlier []*Run, now []CheckResult) []Held {
	list := make([]Held, 0, len(now))
	for _, c := range now {
		h := Held{Check: c.Check, Now: c}
		for _, at := range []struct{ kind, step string }{{KindShip, StepWatch}, {KindVerify, StepChecks}, {KindRehearse, StepChecks}} {
			h.Then, h.At = answered(earlier, at.kind, at.step, c.Check)
			if h.Then != nil {
				break
			}
		}
		list = append(list, h)
	}
	return list
}

func answered(runs []*Run, kind, step, check string) (*CheckResult, time.Time) {
	for _, run := range slices.Backward(runs) {
		if run.Kind != kind || run.Step(step) == nil {
			continue
		}
		s := run.Step(step)
		if i := slices.IndexFunc(s.Checks, func(c CheckResult) bool { return c.Check == check && c.State != StateUndecided }); i >= 0 {
			return &s.Checks[i], s.At
		}
	}
	return nil, time.Time{}
}

// String says what was, what is, and what must be.
func (h Held) String() string {
	then := ""
	if h.Then != nil {
		then = fmt.Sprintf("; %s on %s%s", h.Then.State, h.At.UTC().Format(time.DateOnly), worded(*h.Then))
	}
	return h.Check + ": " + h.Now.State + worded(h.Now) + then
}
