package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/note"
	"github.com/demarc-dev/demarc/internal/noteindex"
)

// notesSchema names the form of what note list and note search print with --json.
const notesSchema = "demarc.notes/1"

// noteListing is what note list and note search print with --json.
type noteListing struct {
	Schema  string      `json:"schema"`
	Query   string      `json:"query"`   // of a search
	Partial bool        `json:"partial"` // of a search: no note has all words
	Total   int         `json:"total"`   // of which Notes are the first
	Hidden  int         `json:"hidden"`  // that wait for a review and were left out
	Notes   []noteEntry `json:"notes"`
}

type noteEntry struct {
	ID          string        `json:"id"`
	Path        string        `json:"path"`
	Topic       string        `json:"topic"`
	Brief       string        `json:"brief"`
	Date        string        `json:"date"`
	Status      string        `json:"status"`
	Difficulty  string        `json:"difficulty"`
	Owner       string        `json:"owner"`
	ReviewedBy  string        `json:"reviewed_by"`
	Reviewed    string        `json:"last_reviewed"`
	Entities    []note.Entity `json:"entities"`
	Generated   bool          `json:"generated"`
	NeedsReview bool          `json:"needs_human_review"`
	Words       []string      `json:"words,omitempty"` // of a partial search: those that the note has
	Error       string        `json:"error,omitempty"` // why it cannot be read
}

func newNoteEntry(d *noteindex.Doc) noteEntry {
	return noteEntry{ID: d.ID, Path: d.Path, Topic: d.Topic, Brief: d.Brief, Date: d.Date, Status: d.Status, Difficulty: d.Difficulty, Owner: d.Owner,
		ReviewedBy: d.ReviewedBy, Reviewed: d.LastReviewed, Entities: d.Entities, Generated: d.Generated, NeedsReview: d.Hidden, Error: d.Error}
}

func newNoteListCommand() *cobra.Command {
	var asJSON, unreviewed bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the notes, newest first",
		Long: "Lists the notes of " + note.Folder + "/ and of the change records, newest first, with those that wait for a review. A note that cannot be read stands\n" +
			"there with the reason.",
		Example: "  demarc note list\n  demarc note list --unreviewed\n  demarc note list --limit 0 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usageError(cmd, "--limit: a number that is not negative was expected")
			}
			x, err := openNotes(cmd, true)
			if err != nil {
				return err
			}
			defer x.Close()
			l := noteListing{Schema: notesSchema, Notes: []noteEntry{}}
			keep := limit
			if keep == 0 {
				keep = x.Notes()
			}
			newest := func(a, b noteEntry) int { return cmp.Or(strings.Compare(b.Date, a.Date), strings.Compare(a.ID, b.ID)) }
			err = x.All(func(d *noteindex.Doc) error {
				if unreviewed && !d.Hidden {
					return nil
				}
				if d.Hidden {
					l.Hidden++
				}
				l.Total++
				if l.Notes = append(l.Notes, newNoteEntry(d)); len(l.Notes) > 2*keep+100 {
					slices.SortFunc(l.Notes, newest)
					l.Notes = slices.Clone(l.Notes[:keep])
				}
				return nil
			})
			if err != nil {
				return named(cmd, err)
			}
			slices.SortFunc(l.Notes, newest)
			l.Notes = l.Notes[:min(len(l.Notes), keep)]
			if unreviewed {
				l.Hidden = 0
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), l)
			}
			if l.Total == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no notes; demarc change note writes one, demarc note import brings some in")
				return nil
			}
			if err := printNotes(cmd.OutOrStdout(), l.Notes); err != nil {
				return err
			}
			for _, n := range l.Notes {
				if n.Error != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", n.Path, plainText(n.Error))
				}
			}
			if more := l.Total - len(l.Notes); more > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "and %d more; --limit 0 shows all\n", more)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON ("+notesSchema+")")
	f.BoolVar(&unreviewed, "unreviewed", false, "only those that wait for a review")
	f.IntVar(&limit, "limit", 100, "how many are shown; 0: all")
	return cmd
}

func printNotes(out io.Writer, notes []noteEntry) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DATE\tSTATE\tNOTE\tTOPIC")
	for _, n := range notes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", cmp.Or(note.Plain(n.Date), "-"), n.state(), note.Plain(n.ID), note.Plain(n.Topic))
	}
	return w.Flush()
}

func (n *noteEntry) state() string {
	switch {
	case n.Error != "":
		return "unreadable"
	case n.NeedsReview:
		return "needs review"
	case n.Status == "":
		return "-"
	}
	return note.Plain(n.Status)
}
