package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/otlp/evidence"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/sqlread"
	"github.com/demarc-dev/demarc/internal/stale"
)

func newReportCommand() *cobra.Command {
	var asJSON, asHTML bool
	var output, since string
	cmd := &cobra.Command{
		Use:     "report [CAPTURE]",
		Short:   "Show per route what the service does: time, errors, queries, caches",
		GroupID: groupMain,
		Args:    cobra.MaximumNArgs(1),
		Long: "Shows what a capture (the newest one under " + capture.Root + " where none is named) says of each route: response\n" +
			"time, errors, database calls, N+1 queries, cache status, and what these figures rest on (docs/report.md).",
		Example: "  demarc report\n  demarc report --since deploy\n  demarc report --html -o report.html\n" +
			"  demarc report --json | jq '.routes[0]'",
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if asHTML && output == "" && onTerminal(out) {
				err := usageError(cmd, "--html would fill the terminal with the page's source")
				err.Try = "demarc report --html -o report.html"
				return err
			}
			dir, err := captureArg(args)
			if err != nil {
				return named(cmd, err)
			}
			rep, err := readBaseline(cmd.Context(), dir, since)
			if err != nil {
				return named(cmd, err)
			}
			var st *stale.Report
			if asHTML {
				budgets, err := configuredBudgets(cmd, "")
				if err != nil {
					return err
				}
				if st, err = readStale(cmd.Context(), cmd.ErrOrStderr(), dir, since, budgets); err != nil {
					return named(cmd, err)
				}
			}
			if len(args) == 0 && !asJSON && !asHTML {
				fmt.Fprintln(cmd.ErrOrStderr(), "capture "+dir)
			}
			write := func(w io.Writer) error {
				switch {
				case asJSON:
					return report.JSON(w, &rep)
				case asHTML:
					return report.HTML(w, &rep, st)
				}
				return report.Terminal(w, &rep, terminalOptions(w))
			}
			if output == "" {
				err = write(out)
			} else {
				err = capture.WriteFile(output, write)
			}
			if err != nil {
				return named(cmd, &fault.Error{What: "cannot write " + cmp.Or(output, "the report"), Cause: err,
					Expected: "space and permission to write", Retry: fault.RetrySafe})
			}
			if output != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "wrote "+output)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (demarc.report/1)")
	cmd.Flags().BoolVar(&asHTML, "html", false, "write one self-contained HTML page")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write instead of standard output")
	cmd.Flags().StringVar(&since, "since", "", "only what came after the last mark of this `name`")
	cmd.MarkFlagsMutuallyExclusive("json", "html")
	return cmd
}

// baselineOptions are how every command folds events: with the fingerprints of sqlread.
func baselineOptions() baseline.Options {
	return baseline.Options{
		Fingerprint: func(db, text string) string { return sqlread.Fingerprint(sqlread.DialectOf(db), text) },
	}
}

// readBaseline folds a capture, from the last mark named since on, where that is not empty.
func readBaseline(ctx context.Context, dir, since string) (baseline.Report, error) {
	r, err := capture.Open(dir)
	if err != nil {
		return baseline.Report{}, err
	}
	opt := baselineOptions()
	if since != "" {
		if opt.Since, err = markTime(ctx, r, dir, since); err != nil {
			return baseline.Report{}, err
		}
		opt.SinceName = since
	}
	fold := baseline.New(opt)
	var seen evidence.Evidence
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return baseline.Report{}, err
		}
		for i := range batch {
			fold.Add(&batch[i])
			if batch[i].At >= opt.Since || batch[i].Type == event.TypeRecorder {
				seen.Add(&batch[i])
			}
		}
	}
	rep := fold.Report()
	rep.Coverage.MissingEvidence = append(rep.Coverage.MissingEvidence, seen.Missing()...)
	for _, w := range r.Info().Warnings {
		rep.Warnings = append(rep.Warnings, baseline.Warning{Code: "capture", Text: w})
	}
	return rep, nil
}

// markTime returns when the last mark of a name was put, Unix nanoseconds. A name that is not there is an error that
// lists those that are.
func markTime(ctx context.Context, r *capture.Reader, dir, name string) (int64, error) {
	var at int64
	var names []string
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return 0, err
		}
		for i := range batch {
			m := batch[i].Mark
			if batch[i].Type != event.TypeMark || m == nil {
				continue
			}
			if m.Name == name {
				at = max(at, batch[i].At)
			} else if !slices.Contains(names, m.Name) && len(names) < maxMarkNames {
				names = append(names, m.Name)
			}
		}
	}
	if at != 0 {
		return at, nil
	}
	f := &fault.Error{
		What: fmt.Sprintf("cannot report since %q", name), Cause: errors.New("capture " + dir + " has no mark of that name"),
		Expected: "one of its marks: " + strings.Join(names, ", "), Retry: fault.RetryUseless,
		Try: "demarc report", Code: fault.ExitUsage,
	}
	if len(names) == 0 {
		f.Expected = "a mark put while the capture was recorded; this one has none"
		f.Try = "demarc mark " + name + " (while the service runs)"
	} else {
		f.Try = "demarc report --since " + names[len(names)-1]
	}
	return 0, f
}

// The names of marks that an error lists; more would not be read.
const maxMarkNames = 20

func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalOptions fit the table to a terminal: its width, and colours unless NO_COLOR is set or TERM is dumb. A pipe
// or file gets 100 columns without colour.
func terminalOptions(w io.Writer) report.TerminalOptions {
	var opt report.TerminalOptions
	if !onTerminal(w) {
		return opt
	}
	opt.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if columns, _, err := term.GetSize(int(w.(*os.File).Fd())); err == nil && columns > 0 {
		opt.Width = min(columns, 160)
	}
	return opt
}
