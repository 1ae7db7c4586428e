package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/stale"
)

// staleFlags are the command line of demarc stale.
type staleFlags struct {
	config, since, wouldDelete, key string
	json, failOnFindings            bool
}

func newStaleCommand() *cobra.Command {
	x := &staleFlags{}
	cmd := &cobra.Command{
		Use:     "stale [CAPTURE]",
		Short:   "Say which cached reads were stale, and why",
		GroupID: groupMain,
		Args:    cobra.MaximumNArgs(1),
		Long: "Finds in a capture (the newest one under " + capture.Root + " where none is named) the reads of caches that were stale, and keys\n" +
			"that serve several people: one cause each, the writer, how many reads and for how long; or what is missing to tell.\n" +
			"demarc explain ID shows the events behind a finding. docs/stale.md describes the causes. Exit code 12 with\n" +
			"--fail-on-findings: something was found; 11: not one hit could be judged.",
		Example: "  demarc stale\n  demarc stale --since deploy --fail-on-findings\n" +
			"  demarc stale --json | jq '.findings[] | {cause, family, stale_reads, writer}'\n" +
			"  demarc stale --would-delete \"UPDATE articles SET title = 'x' WHERE id = 7\"\n  demarc stale --would-delete 'PATCH /articles/{id}'",
		ValidArgsFunction: completeOneCapture,
		RunE:              func(cmd *cobra.Command, args []string) error { return named(cmd, x.run(cmd, args)) },
	}
	f := cmd.Flags()
	f.BoolVar(&x.json, "json", false, "print JSON ("+stale.Schema+"; with --would-delete "+stale.DependentsSchema+")")
	f.BoolVar(&x.failOnFindings, "fail-on-findings", false, "exit with 12 where anything was found, with 11 where no hit could be judged")
	f.StringVar(&x.since, "since", "", "only stale reads after the last mark of this `name`")
	f.StringVar(&x.wouldDelete, "would-delete", "", "which live keys depend on what this `statement` (or the writes of this route) writes, and which nothing drops today")
	f.StringVar(&x.config, "config", "", "configuration `file`, for the budgets in staleness (default "+config.File+", if it is there)")
	f.StringVar(&x.key, "key", "", "hashing key `file` for the values in --would-delete (default the one beside the capture)")
	cmd.MarkFlagsMutuallyExclusive("would-delete", "since")
	cmd.MarkFlagsMutuallyExclusive("would-delete", "fail-on-findings")
	return cmd
}

func (x *staleFlags) run(cmd *cobra.Command, args []string) error {
	dir, err := captureArg(args)
	if err != nil {
		return err
	}
	budgets, err := configuredBudgets(cmd, x.config)
	if err != nil {
		return err
	}
	if len(args) == 0 && !x.json {
		fmt.Fprintln(cmd.ErrOrStderr(), "capture "+dir)
	}
	if x.wouldDelete != "" {
		return x.dryRun(cmd, dir, budgets)
	}
	rep, err := readStale(cmd.Context(), cmd.ErrOrStderr(), dir, x.since, budgets)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if x.json {
		err = report.StaleJSON(out, rep)
	} else {
		err = report.StaleTerminal(out, rep, terminalOptions(out))
	}
	if err != nil {
		return &fault.Error{What: "cannot write the findings", Cause: err, Expected: "space and permission to write", Retry: fault.RetrySafe}
	}
	if x.failOnFindings {
		return staleStatus(rep)
	}
	return nil
}

// staleStatus is what --fail-on-findings makes of a report: 12 where something is stale or leaks, whether its cause can be
// told or not; 11 where nothing was found because nothing could be judged.
func staleStatus(rep *stale.Report) error {
	findings := 0
	for i := range rep.Findings {
		if f := &rep.Findings[i]; f.Verdict != stale.CannotTell || f.StaleReads > 0 {
			findings++
		}
	}
	switch {
	case findings > 0:
		first := &rep.Findings[0]
		return &fault.Error{What: fmt.Sprintf("%d findings, %d stale reads, %d leaks", findings, rep.StaleReads, rep.Leaks),
			Expected: "none (--fail-on-findings)", Retry: fault.RetryUseless, Try: "demarc explain " + first.ID, Code: fault.ExitFindings}
	case rep.Coverage.HitsJudged == nil || *rep.Coverage.HitsJudged == 0:
		return &fault.Error{What: "nothing can be decided", Cause: errors.New("of no cache hit both the fill and the reads behind it were seen"),
			Expected: "a capture that begins before the caches are filled", Retry: fault.RetrySafe, Try: "record from the start of the service, for longer",
			Code: fault.ExitTooFew}
	}
	return nil
}

// configuredBudgets reads for how long families may be stale.
func configuredBudgets(cmd *cobra.Command, path string) (map[string]time.Duration, error) {
	cfg, err := config.Load(cmd.CommandPath(), path)
	if err != nil {
		return nil, err
	}
	return stalenessBudgets(cfg.Staleness)
}

// detect runs a capture through a detector; since names a mark, "" for all of it. With alive, processes do not end: what
// their own caches held at the end of the capture is held still.
func detect(ctx context.Context, stderr io.Writer, r *capture.Reader, dir, since string, budgets map[string]time.Duration, alive bool) (*stale.Detector, error) {
	opt := stale.Options{Budgets: budgets, Late: lateOfCapture}
	if since != "" {
		var err error
		if opt.Since, err = markTime(ctx, r, dir, since); err != nil {
			return nil, staleMark(err)
		}
	}
	bar := counting(stderr, r.Info().Events)
	bar.Describe("reading")
	defer func() { _ = bar.Finish() }()
	d, pace := stale.New(opt), letGarbageLie()
	defer pace.end()
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		pace.batch()
		from := 0
		for i := range batch {
			if p := batch[i].Process; alive && p != nil && p.Op == "exit" {
				if err := d.Add(batch[from:i]); err != nil {
					return nil, err
				}
				from = i + 1
			}
		}
		if err := d.Add(batch[from:]); err != nil {
			return nil, err
		}
		_ = bar.Add(len(batch))
	}
	d.Finish()
	return d, nil
}

// readStale returns the stale reads of a capture.
func readStale(ctx context.Context, stderr io.Writer, dir, since string, budgets map[string]time.Duration) (*stale.Report, error) {
	r, err := capture.Open(dir)
	if err != nil {
		return nil, err
	}
	d, err := detect(ctx, stderr, r, dir, since, budgets, false)
	if err != nil {
		return nil, err
	}
	rep := d.Report()
	for _, w := range r.Info().Warnings {
		fmt.Fprintln(stderr, "demarc: capture: "+w)
	}
	return rep, nil
}

// staleMark words the error of a mark that is not there for this command.
func staleMark(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		f.What = strings.Replace(f.What, "cannot report since", "cannot look for stale reads since", 1)
		f.Try = strings.Replace(f.Try, "demarc report", "demarc stale", 1)
	}
	return err
}

// keyBeside is the hashing key that a capture was made with: in the folder that holds the capture, as demarc run leaves it.
func keyBeside(dir string) string { return filepath.Join(filepath.Dir(filepath.Clean(dir)), "key") }
