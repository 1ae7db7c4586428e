package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/fault"
)

// onEnvironment adds the flag that names one of a record's environments.
func onEnvironment(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "on", "production", "`environment`: production or staging")
	_ = cmd.RegisterFlagCompletionFunc("on", cobra.FixedCompletions([]string{"production", "staging"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkEnvironment(cmd *cobra.Command, name string) error {
	if name != "production" && name != "staging" {
		return usageError(cmd, "--on: production or staging was expected, not "+name)
	}
	return nil
}

func newChangeRollbackCommand() *cobra.Command {
	f := &changeRun{}
	var on string
	cmd := &cobra.Command{
		Use:   "rollback [RECORD]",
		Short: "Take a change back",
		Long: "Runs the record's rollback command on production and asks for the health. It needs nothing else, and works from every state: after\n" +
			"a crash, with a damaged journal or record, and while a ship of the same record is running, which it stops. The command gets DEMARC_BACKUP,\n" +
			"the newest ship's backup, where that is still there.\n\n" +
			"Exit code 1: the rollback failed, or the service is not healthy after it.",
		Example: "  demarc change rollback                  # the newest record\n" +
			"  demarc change rollback article-list --on staging",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkEnvironment(cmd, on); err != nil {
				return err
			}
			record, err := recordArg(cmd, args)
			if err != nil {
				arg := ""
				if len(args) > 0 {
					arg = args[0]
				}
				shipped, serr := change.LoadShipped(f.dir, arg)
				if serr != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s\ndemarc: going on with the record as it was when it was shipped\n", fault.Text(err))
				record = shipped
			}
			run, err := change.Rollback(cmd.Context(), record, on, f.options(cmd))
			return f.tell(cmd, record, run, err)
		},
	}
	f.add(cmd)
	onEnvironment(cmd, &on)
	return cmd
}
