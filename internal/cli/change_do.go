package cli

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/fault"
)

func newChangeDoCommand() *cobra.Command {
	var environment string
	var asJSON, verbose, all bool
	cmd := &cobra.Command{
		Use:     "do [RECORD] ITEM",
		Aliases: []string{"check-item"},
		Short:   "Do an item of a record's checklist and keep what came of it",
		Long: "Runs the command of an item and keeps the command, exit code, duration, time and the end of the output beside the record.\n" +
			"An item that is a step of its own (rehearse, config, note) runs that command of demarc.\n\n" +
			"A backup passes only if the file or folder that it names as artifact is not empty, and is done only when a rehearsal has\n" +
			"restored one into a scratch target.",
		Example:           "  demarc change do lint\n  demarc change do article-list backup --on production\n  demarc change do --all",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeItems,
		RunE: func(cmd *cobra.Command, args []string) error {
			id := ""
			if !all {
				if len(args) == 0 {
					return usageError(cmd, "the item is missing")
				}
				id, args = args[len(args)-1], args[:len(args)-1]
			}
			if len(args) > 1 {
				return usageError(cmd, "--all does every item; none is to be named")
			}
			r, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			items := r.Checklist
			if !all {
				item := r.Item(id)
				if item == nil {
					return noItem(cmd, r, id)
				}
				items = []change.Item{*item}
			}
			for i := range items {
				if all && !doable(r, &items[i]) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: left out, %s\n", items[i].ID, cmp.Or(items[i].Step, "it has no command"))
					continue
				}
				if err := doItem(cmd, r, &items[i], environment, asJSON, verbose); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&environment, "on", "staging", "`environment` whose command is meant: staging or production")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the run as JSON ("+changeRunSchema+")")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show what the command prints")
	cmd.Flags().BoolVar(&all, "all", false, "every item that has a command, in their order, up to the first that fails")
	completeWith(cmd, "on", []string{"staging", "production"})
	return cmd
}

// completeItems offers the items of the newest record, and the records.
func completeItems(cmd *cobra.Command, args []string, part string) ([]string, cobra.ShellCompDirective) {
	var words []string
	if len(args) == 0 {
		words, _ = completeRecords(cmd, nil, part)
		args = []string{""}
	}
	if r, err := change.Load(args[0]); err == nil && len(args) == 1 {
		for _, i := range r.Checklist {
			words = append(words, i.ID)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func noItem(cmd *cobra.Command, r *change.Record, id string) error {
	var ids []string
	for _, i := range r.Checklist {
		ids = append(ids, i.ID)
	}
	f := &fault.Error{
		Op: cmd.CommandPath(), What: fmt.Sprintf("the checklist of %s has no item %q", r.Name(), id), Retry: fault.RetryUseless,
		Expected: "one of " + strings.Join(ids, ", "), Try: "demarc change show " + r.Name(), Code: fault.ExitUsage,
	}
	if len(ids) == 0 {
		f.What, f.Expected = r.Name()+" has no checklist", "checklist: in "+r.Path()+", with items that have id:, item: and run: or step:"
	}
	return f
}

// doable says whether an item is one command that can be run by itself.
func doable(r *change.Record, item *change.Item) bool {
	return item.Run != nil || slices.Contains(change.CommandNames, item.Step) && (r.Command("staging", item.Step) != nil || r.Command("production", item.Step) != nil)
}

// doItem runs an item and says what came of it.
func doItem(cmd *cobra.Command, r *change.Record, item *change.Item, environment string, asJSON, verbose bool) error {
	switch item.Step {
	case "rehearse", "config", "note":
		return again(cmd, "change", item.Step, r.Path())
	case "watch":
		return &fault.Error{
			Op: cmd.CommandPath(), What: "the watch is part of the release", Retry: fault.RetryUseless, Code: fault.ExitUsage,
			Expected: "demarc change ship, which watches after the deployment and keeps what it saw", Try: "demarc change ship " + r.Name(),
		}
	}
	o := change.ItemOptions{Environment: environment, State: filepath.Join(".demarc"), Now: time.Now}
	if verbose {
		o.Output = cmd.ErrOrStderr()
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", item.ID, plainText(item.Item))
	run, err := r.Do(cmd.Context(), item, o)
	if run != nil {
		if asJSON {
			if jerr := writeJSON(cmd.OutOrStdout(), struct {
				Schema string `json:"schema"`
				Record string `json:"record"`
				*change.Run
			}{changeRunSchema, r.Path(), run}); jerr != nil {
				return jerr
			}
		} else if s := run.Step(item.ID); s != nil && s.State == change.StatePassed {
			fmt.Fprintf(cmd.OutOrStdout(), "passed  %s  %s\n", item.ID, s.Duration)
		}
	}
	return named(cmd, err)
}

// again runs another command of demarc in this process, as if it had been given.
func again(cmd *cobra.Command, args ...string) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "demarc "+strings.Join(args, " "))
	started := true
	root := newRoot(&started)
	root.SetArgs(args)
	root.SetIn(cmd.InOrStdin())
	root.SetOut(cmd.OutOrStdout())
	root.SetErr(cmd.ErrOrStderr())
	return root.ExecuteContext(cmd.Context())
}
