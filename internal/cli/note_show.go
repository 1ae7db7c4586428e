package cli

import (
	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/note"
)

func newNoteShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a note: its head, its scores item by item, its text, and notes like it",
		Long: "Shows a note. Reading time, flags and scores are computed now: an item of freshness is lost with age, when a file or route that the note names\n" +
			"has changed in git since, and when demarc note verify found that its figures no longer hold.\n\n" +
			"At the end stand up to five notes that share its cause, boundary, route or other entities, each with what is shared.",
		Example:           "  demarc note show article-list\n  demarc note show article-list --json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNotes,
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := openNotes(cmd, false)
			if err != nil {
				return err
			}
			defer x.Close()
			n, err := loadNote(cmd, x, args[0])
			if err != nil {
				return err
			}
			e, err := newNoteFacts(cmd.Context()).of(cmd.Context(), n)
			if err != nil {
				return err
			}
			similar, err := similarNotes(x, n)
			if err != nil {
				return named(cmd, err)
			}
			v := note.NewView(n.id, n.path, &n.head, n.body, e, similar)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			return v.WriteText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON ("+note.ViewSchema+")")
	return cmd
}
