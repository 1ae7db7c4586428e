package cli

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
)

func newChangeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "change",
		Short:   "Take a change from its baseline to its final note: record, rehearse, ship, take back",
		GroupID: groupMain,
		Long: "A change record says what was slow or wrong, what is changed, what is expected, and with which commands it is\n" +
			"deployed, checked and taken back. It is a YAML file under " + change.Folder + "/ that people edit; what demarc ran for it lies\n" +
			"beside it, one file for each run, so that the work of two people merges in git (docs/change.md).\n\n" +
			"RECORD is a path, a record's name or the end of one; without it, the newest record is meant.",
		Example: "  demarc change new --from 'GET /articles' --checklist boundary\n" +
			"  demarc change rehearse\n  demarc change ship\n  demarc change note\n  demarc change list",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRun: sayUnfinished,
	}
	cmd.AddCommand(
		newChangeNewCommand(),
		newChangeListCommand(),
		newChangeShowCommand(),
		newChangeDoCommand(),
		newChangeFilesCommand(),
		newChangeRehearseCommand(),
		newChangeConfigCommand(),
		newChangeShipCommand(),
		newChangeRollbackCommand(),
		newChangeVerifyCommand(),
		newChangeNoteCommand(),
	)
	return cmd
}

// recordArg reads the record that the arguments name.
func recordArg(cmd *cobra.Command, args []string) (*change.Record, error) {
	arg := ""
	if len(args) > 0 {
		arg = args[0]
	}
	r, err := change.Load(arg)
	if err != nil {
		return nil, named(cmd, err)
	}
	return r, nil
}

// completeRecords offers the names of the records, newest first.
func completeRecords(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := change.Names(change.Folder)
	for i, j := 0, len(names)-1; i < j; i, j = i+1, j-1 {
		names[i], names[j] = names[j], names[i]
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// writeJSON prints a value as JSON for programs and people.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
