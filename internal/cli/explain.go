package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/stale"
)

func newExplainCommand() *cobra.Command {
	var configFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "explain ID [CAPTURE]",
		Short:   "Tell the events behind one stale read in order, and what helps",
		GroupID: groupMore,
		Args:    cobra.RangeArgs(1, 2),
		Long: "Shows one finding of demarc stale: its events as a timeline, the code lines of the writer and of the delete, and\n" +
			"advice. ID is the finding's id, or as much of its beginning as tells it from the others; CAPTURE is the newest one\n" +
			"under " + capture.Root + " where none is named.",
		Example: "  demarc explain 3f9a2c\n  demarc explain 3f9a2c .demarc/20261121T101500Z-shop\n  demarc explain 3f9a2c --json | jq '.witness'",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return completeOneCapture(cmd, args[1:], typed)
			}
			return findingIDs(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := captureArg(args[1:])
			if err != nil {
				return named(cmd, err)
			}
			budgets, err := configuredBudgets(cmd, configFile)
			if err != nil {
				return err
			}
			rep, err := readStale(cmd.Context(), cmd.ErrOrStderr(), dir, "", budgets)
			if err != nil {
				return named(cmd, err)
			}
			f, err := findingOf(rep, args[0], dir)
			if err != nil {
				return named(cmd, err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = report.ExplainJSON(out, f)
			} else {
				err = report.ExplainTerminal(out, f, terminalOptions(out))
			}
			if err != nil {
				return named(cmd, &fault.Error{What: "cannot write the finding", Cause: err, Expected: "space and permission to write", Retry: fault.RetrySafe})
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON ("+report.ExplainSchema+")")
	cmd.Flags().StringVar(&configFile, "config", "", "configuration `file`, for the budgets in staleness (default "+config.File+", if it is there)")
	return cmd
}

// findingOf returns the finding whose id begins so.
func findingOf(rep *stale.Report, id, dir string) (*stale.Finding, error) {
	var found []*stale.Finding
	var all []string
	for i := range rep.Findings {
		f := &rep.Findings[i]
		if f.ID == id {
			return f, nil
		}
		if strings.HasPrefix(f.ID, id) {
			found = append(found, f)
		}
		if len(all) < maxFindingIDs {
			all = append(all, f.ID)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	e := &fault.Error{What: fmt.Sprintf("cannot explain %q", id), Cause: errors.New("no finding of " + dir + " has an id that begins so (one that was told while the service ran may have been revised)"),
		Expected: "one of its findings: " + strings.Join(all, ", "), Retry: fault.RetryUseless, Try: "demarc stale " + dir, Code: fault.ExitUsage}
	switch {
	case len(found) > 1:
		e.Cause = fmt.Errorf("%d findings begin so", len(found))
		e.Expected = found[0].ID + " or " + found[1].ID
	case len(all) == 0:
		e.Expected = "the id of a finding; there is none in this capture"
	}
	return nil, e
}

// maxFindingIDs is how many ids an error names.
const maxFindingIDs = 10

// findingIDs proposes the findings of the newest capture, as far as they are found in the time that one waits for a
// completion.
func findingIDs(ctx context.Context) []string {
	dir, err := capture.Newest(capture.Root)
	if err != nil {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	rep, err := readStale(ctx, io.Discard, dir, "", nil)
	if err != nil {
		return nil
	}
	var ids []string
	for i := range rep.Findings {
		ids = append(ids, rep.Findings[i].ID+"\t"+report.StaleLine(&rep.Findings[i]))
	}
	return ids
}
