package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/note"
	"github.com/demarc-dev/demarc/internal/noteindex"
)

func newNoteSearchCommand() *cobra.Command {
	var asJSON, all, refresh bool
	var limit int
	var entities []string
	cmd := &cobra.Command{
		Use:   "search WORD…",
		Short: "Find notes by their words",
		Long: "Finds the notes that have all words, those that are most about them first: a word counts more in the topic, the summary and the entities than\n" +
			"in the text, and a rare word more than a common one. WORD* stands for all words that begin so. Where no note has all words, those that\n" +
			"have most of them are shown, and it is said.\n\n" +
			"Notes that wait for a review are left out, and their number is said; --all shows them, too.",
		Example: "  demarc note search stale article list\n  demarc note search 'invalidat*' --entity 'GET /articles'\n" +
			"  demarc note search redis --all --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			words := strings.Join(args, " ")
			if strings.TrimSpace(words) == "" && len(entities) == 0 {
				return usageError(cmd, "nothing to search for")
			}
			if limit < 1 || limit > 1000 {
				return usageError(cmd, "--limit: a number from 1 to 1000 was expected")
			}
			if len(entities) > 8 {
				return usageError(cmd, "--entity: at most 8 were expected")
			}
			x, err := openNotes(cmd, refresh)
			if err != nil {
				return err
			}
			defer x.Close()
			a, err := x.Search(noteindex.Query{Words: words, Entity: entities, All: all, Limit: limit})
			if err != nil {
				return named(cmd, err)
			}
			l := noteListing{Schema: notesSchema, Query: words, Partial: a.Partial, Total: a.Total, Hidden: a.Hidden, Notes: []noteEntry{}}
			for i := range a.Hits {
				n := newNoteEntry(&a.Hits[i].Doc)
				n.Words = a.Hits[i].Words
				l.Notes = append(l.Notes, n)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), l)
			}
			out, talk := cmd.OutOrStdout(), cmd.ErrOrStderr()
			if l.Partial && len(l.Notes) > 0 {
				fmt.Fprintln(talk, "no note has all of these words; those that have most:")
			}
			for _, n := range l.Notes {
				fmt.Fprintf(out, "%s\n  %s (%s)\n", note.Plain(n.Topic), note.Plain(n.ID), n.state())
				if n.Brief != "" {
					fmt.Fprintf(out, "  %s\n", note.Plain(n.Brief))
				}
				if len(n.Words) > 0 {
					fmt.Fprintf(out, "  has: %s\n", strings.Join(n.Words, ", "))
				}
			}
			switch more := l.Total - len(l.Notes); {
			case l.Total == 0 && l.Hidden == 0:
				fmt.Fprintf(talk, "none of %d notes\n", x.Notes())
			case more > 0:
				fmt.Fprintf(talk, "and %d more; --limit N shows N\n", more)
			}
			if l.Hidden > 0 {
				fmt.Fprintf(talk, "%d more need human review and are left out; --all shows them, demarc note review lets them in\n", l.Hidden)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON ("+notesSchema+")")
	f.BoolVar(&all, "all", false, "also notes that wait for a review")
	f.BoolVar(&all, "unreviewed", false, "the same as --all")
	f.BoolVar(&refresh, "refresh", false, "compare every file with the index first, also in a library of more than 1,000")
	f.IntVar(&limit, "limit", 10, "how many are shown, at most 1000")
	f.StringArrayVar(&entities, "entity", nil, "only notes about this `name`: a route, boundary, cause, table or file (may be repeated)")
	return cmd
}
