package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
)

func newNoteReviewCommand() *cobra.Command {
	var by, remark string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "review ID --by NAME",
		Short: "Say that a person has read a note and stands behind it",
		Long: "Writes who reviewed a note and when into its head, together with the hash of the text that was read: a later change of the text shows. A note that\n" +
			"waited for a review is found from then on.",
		Example:           "  demarc note review article-list --by 'Ada Lovelace'\n  demarc note review tags-2 --by Ada --remark 'figures repeated on staging'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNotes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if by = note.Plain(by); by == "" || len(by) > note.MaxTopic {
				return usageError(cmd, "--by: the name of the person who read it was expected")
			}
			x, err := openNotes(cmd, false)
			if err != nil {
				return err
			}
			n, err := loadNote(cmd, x, args[0])
			x.Close()
			if err != nil {
				return err
			}
			now := time.Now().UTC().Format(time.DateOnly)
			h := &n.head
			waited := h.Flags.NeedsHumanReview
			h.Revision.Status, h.Revision.LastReviewed, h.Revision.ReviewedBy, h.Revision.ReviewedHash = note.Reviewed, now, by, note.Hash(n.body)
			h.Flags.NeedsHumanReview = false
			if remark = strings.TrimSpace(note.Plain(remark)); remark != "" {
				h.Notes = append(h.Notes, now+" "+by+": "+remark)
			}
			if err := note.Save(n.path, h, n.body); err != nil {
				return named(cmd, &fault.Error{What: "cannot write the note " + n.path, Cause: err, Expected: "permission to write there", Retry: fault.RetrySafe})
			}
			if x, err = openNotes(cmd, false); err != nil {
				return err
			}
			x.Close()
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), note.NewView(n.id, n.path, h, n.body, note.Evidence{Now: time.Now()}, nil))
			}
			fmt.Fprintln(cmd.OutOrStdout(), n.path)
			if waited {
				fmt.Fprintln(cmd.ErrOrStderr(), n.id+" is found from now on")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "", "the `name` of the person who read it")
	f.StringVar(&remark, "remark", "", "a `text` that is added to the note's remarks")
	f.BoolVar(&asJSON, "json", false, "print the note as JSON ("+note.ViewSchema+")")
	_ = cmd.MarkFlagRequired("by")
	return cmd
}
