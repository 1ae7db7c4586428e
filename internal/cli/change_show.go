package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
)

func newChangeShowCommand() *cobra.Command {
	var asJSON, asRunbook, asMake bool
	cmd := &cobra.Command{
		Use:   "show [RECORD]",
		Short: "Show a record and what was run for it, or its commands as a runbook or make targets",
		Long: "Shows a record, its checklist with what did each item, and its runs. --runbook prints the commands as Markdown and --make as\n" +
			"targets of GNU make, for the next machine: neither needs demarc there.",
		Example: "  demarc change show\n  demarc change show article-list --json\n" +
			"  demarc change show article-list --runbook > RUNBOOK.md\n" +
			"  demarc change show article-list --make > change.mk && make -f change.mk -n change ENVIRONMENT=staging",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case asRunbook:
				return r.Runbook(out)
			case asMake:
				return r.Makefile(out)
			}
			runs, err := r.Runs()
			if err != nil {
				return named(cmd, err)
			}
			if asJSON {
				return showJSON(out, r, runs)
			}
			v := change.NewView(r, runs)
			return v.Text(out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON ("+change.ViewSchema+")")
	cmd.Flags().BoolVar(&asRunbook, "runbook", false, "print the commands as a runbook in Markdown")
	cmd.Flags().BoolVar(&asMake, "make", false, "print the commands as targets of make")
	cmd.MarkFlagsMutuallyExclusive("json", "runbook", "make")
	return cmd
}

// showJSON prints a record with its runs.
func showJSON(w io.Writer, r *change.Record, runs []*change.Run) error {
	return writeJSON(w, change.NewView(r, runs))
}

func newChangeFilesCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "files [RECORD]",
		Short: "Bring the files and security settings that a record names up to date, from git",
		Long: "Reads from git which files differ between the record's base and what is checked out, and which security settings stand in\n" +
			"the lines that differ, and writes both into the record. The rest of the record stays as it is, comments too. Values of\n" +
			"settings are never written down.",
		Example:           "  demarc change files\n  demarc change files article-list --dry-run",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			repo, err := change.OpenRepository(cmd.Context(), ".")
			if err != nil {
				return named(cmd, err)
			}
			base := r.Base
			if base == "" {
				base = repo.Base(cmd.Context())
			}
			files, security, err := repo.Touched(cmd.Context(), base, "")
			if err != nil {
				return named(cmd, err)
			}
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			for _, s := range security {
				fmt.Fprintln(cmd.ErrOrStderr(), "security setting touched: "+plainText(s.String()))
			}
			if _, dirty, err := repo.Head(cmd.Context()); err == nil && dirty {
				fmt.Fprintln(cmd.ErrOrStderr(), "demarc: git has changes that are not committed; they are counted")
			}
			if dryRun {
				return nil
			}
			return named(cmd, r.SetFiles(files, security))
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print them and write nothing")
	return cmd
}
