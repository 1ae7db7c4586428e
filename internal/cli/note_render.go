package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/note"
	"github.com/demarc-dev/demarc/internal/noteindex"
	"github.com/demarc-dev/demarc/internal/notesite"
)

func newNoteRenderCommand() *cobra.Command {
	var site, title string
	cmd := &cobra.Command{
		Use:   "render --site FOLDER",
		Short: "Write the notes as a static site",
		Long: "Writes a page for each note, with its figures, what it has and lacks, and notes like it, and an index. The pages have no script and load nothing from\n" +
			"outside: a picture elsewhere is a link. Notes that wait for a review are on a list of their own, and their pages tell search engines so.\n\n" +
			"The folder is replaced as a whole, at once; one that demarc has not written is refused.",
		Example: "  demarc note render --site site\n  demarc note render --site public/notes --title 'What the shop learned'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			x, err := openNotes(cmd, true)
			if err != nil {
				return err
			}
			defer x.Close()
			if title = note.Plain(title); title == "" {
				folder, _ := os.Getwd()
				title = "Notes of " + cmp.Or(filepath.Base(folder), "the service")
			}
			s, err := notesite.New(site, title)
			if err != nil {
				return named(cmd, err)
			}
			defer s.Abandon()
			type listed struct{ id, path string }
			list := make([]listed, 0, x.Notes())
			if err := x.All(func(d *noteindex.Doc) error {
				if d.Error != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "left out %s: %s\n", note.Plain(d.Path), plainText(d.Error))
					return nil
				}
				list = append(list, listed{d.ID, d.Path})
				return nil
			}); err != nil {
				return named(cmd, err)
			}
			slices.SortFunc(list, func(a, b listed) int { return cmp.Compare(a.path, b.path) })
			facts := newNoteFacts(cmd.Context())
			bar := notesBar(cmd.ErrOrStderr(), int64(len(list)), "writing pages")
			defer func() { _ = bar.Clear() }()
			for _, l := range list {
				n, err := loadNote(cmd, x, l.path)
				if err != nil {
					return err
				}
				e, err := facts.of(cmd.Context(), n)
				if err != nil {
					return err
				}
				similar, err := similarNotes(x, n)
				if err != nil {
					return named(cmd, err)
				}
				if err := s.Add(note.NewView(n.id, n.path, &n.head, n.body, e, similar), filepath.Dir(n.path)); err != nil {
					return named(cmd, err)
				}
				_ = bar.Add(1)
			}
			if err := s.Finish(); err != nil {
				return named(cmd, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(site, "index.html"))
			return nil
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the `folder` of the site")
	cmd.Flags().StringVar(&title, "title", "", "the site's title (default: of the folder that demarc is called in)")
	_ = cmd.MarkFlagRequired("site")
	_ = cmd.MarkFlagDirname("site")
	return cmd
}
