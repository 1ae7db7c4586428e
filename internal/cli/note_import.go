package cli

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/note"
)

// noteImportSchema names the form of what note import prints with --json.
const noteImportSchema = "demarc.note.import/1"

func newNoteImportCommand() *cobra.Command {
	var asJSON, dryRun, review bool
	cmd := &cobra.Command{
		Use:   "import FILE|FOLDER…",
		Short: "Bring notes in: Markdown, JSON, plain text with a block of metadata at its end",
		Long: "Brings notes into " + note.Folder + "/imported/: Markdown with YAML front matter, JSON (an object, an array, or one a line), and plain text with a block of\n" +
			"post metadata at its end; a file, or a folder with all below it. What is wrong with one of them, or hostile, is refused by name and with\n" +
			"the reason; the rest goes in.\n\n" +
			"A score or a review that a note brings along is kept as a claim. A note that is generated, or says that it needs a human review, waits for\n" +
			"demarc note review. The same notes again change nothing; what was changed or reviewed here is not replaced.",
		Example: "  demarc note import posts/\n  demarc note import blog.jsonl --dry-run\n  demarc note import posts/ --review --json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Many short-lived pieces: let the heap grow to three times what lives before it is swept, up to a bound.
			defer debug.SetGCPercent(debug.SetGCPercent(300))
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(200 << 20))
			bar := notesBar(cmd.ErrOrStderr(), -1, "importing")
			res, err := note.Import(cmd.Context(), args, note.ImportOptions{Folder: note.Folder, Now: time.Now(), Review: review, DryRun: dryRun,
				Progress: func(read int) { _ = bar.Set(read) }})
			_ = bar.Clear()
			if err != nil {
				return named(cmd, err)
			}
			if res.Added+res.Updated > 0 && !dryRun {
				x, err := openNotes(cmd, true)
				if err != nil {
					return err
				}
				x.Close()
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), struct {
					Schema string `json:"schema"`
					DryRun bool   `json:"dry_run"`
					*note.ImportResult
				}{noteImportSchema, dryRun, res})
			}
			talk := cmd.ErrOrStderr()
			for _, r := range res.Refused {
				fmt.Fprintf(talk, "refused %s: %s\n", note.Plain(r.File), note.Plain(r.Reason))
			}
			for _, id := range res.IDs {
				fmt.Fprintln(cmd.OutOrStdout(), id)
			}
			if more := res.Added + res.Updated - len(res.IDs); more > 0 {
				fmt.Fprintf(talk, "and %d more\n", more)
			}
			would := ""
			if dryRun {
				would = "would be "
			}
			fmt.Fprintf(talk, "%d read: %d %sadded, %d updated, %d unchanged, %d refused\n", res.Read, res.Added, would, res.Updated, res.Unchanged, len(res.Refused))
			if res.NeedsReview > 0 {
				fmt.Fprintf(talk, "%d need human review and stay out of search until demarc note review\n", res.NeedsReview)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON ("+noteImportSchema+")")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be brought in and refused; write nothing")
	f.BoolVar(&review, "review", false, "let every note wait for a human review, whatever it says")
	return cmd
}
