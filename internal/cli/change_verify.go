package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/config"
)

func newChangeVerifyCommand() *cobra.Command {
	f := &changeRun{}
	var on, last string
	cmd := &cobra.Command{
		Use:   "verify [RECORD]",
		Short: "Ask whether a change still does what it was made for",
		Long: "Asks for the health, runs the record's verify command and its checks, puts each beside what it was after the release, and adds\n" +
			"the run to the record's results. Months later is fine: figures are read from the newest capture of the environment.\n\n" +
			"Exit code 10: it no longer holds; 11: too little to decide.",
		Example: "  demarc change verify article-list\n" +
			"  demarc change verify article-list --last 24h --json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkEnvironment(cmd, on); err != nil {
				return err
			}
			record, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			since := time.Time{}
			if last != "" {
				age, err := config.Age(last)
				if err != nil {
					return usageError(cmd, "--last: "+err.Error())
				}
				since = time.Now().Add(-age)
			}
			run, held, err := change.Verify(cmd.Context(), record, on, since, f.options(cmd))
			if run != nil && !f.json {
				for _, h := range held {
					fmt.Fprintln(cmd.OutOrStdout(), h)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", record.Name(), heldText(record, run))
			}
			return f.tell(cmd, record, run, err)
		},
	}
	f.add(cmd)
	onEnvironment(cmd, &on)
	cmd.Flags().StringVar(&last, "last", "", "only figures of the last `time`: 1h, 7d (all that the capture holds)")
	return cmd
}

// heldText says in words what a verify found. Of a change that was taken back, what passes does so without it.
func heldText(record *change.Record, run *change.Run) string {
	if runs, err := record.Runs(); err == nil && run.State == change.StatePassed && record.Status(runs).State == change.RolledBack {
		return "was rolled back; what it expects holds without it"
	}
	return map[string]string{
		change.StatePassed: "still holds", change.StateFailed: "no longer holds", change.StateUndecided: "cannot be said"}[run.State]
}
