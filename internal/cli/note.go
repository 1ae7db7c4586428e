package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
	"github.com/demarc-dev/demarc/internal/noteindex"
)

func newNoteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "note",
		Short:   "The library of notes: find what was learned, bring notes in, review them, write a site",
		GroupID: groupMore,
		Long: "Notes are Markdown files with a metadata head: those of change records in " + change.Folder + "/, all others in " + note.Folder + "/. The files are the\n" +
			"whole truth; the index that makes searching quick lies in " + capture.Root + "/notes and is made from them (docs/notes.md).\n\n" +
			"ID is the name of a note's file without .md, the beginning of one, or its end; or a path.",
		Example: "  demarc note search 'stale article'\n  demarc note show article-list\n  demarc note import posts/\n" +
			"  demarc note review article-list --by 'Ada Lovelace'\n  demarc note render --site site",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNoteListCommand(), newNoteSearchCommand(), newNoteShowCommand(), newNoteImportCommand(), newNoteReviewCommand(),
		newNoteRenderCommand(), newNoteVerifyCommand())
	return cmd
}

// noteSources are the folders with notes.
var noteSources = []noteindex.Source{{Dir: note.Folder}, {Dir: change.Folder, Records: true}}

// noteIndexDir is where the index of the notes lies.
var noteIndexDir = filepath.Join(capture.Root, "notes")

// openNotes opens the index, brought up to date; full compares every file.
func openNotes(cmd *cobra.Command, full bool) (*noteindex.Index, error) {
	stderr := cmd.ErrOrStderr()
	var bar *progressbar.ProgressBar
	x, err := noteindex.Open(noteIndexDir, noteSources, full, func(read, of int) {
		if bar == nil {
			bar = notesBar(stderr, int64(of), "reading notes")
		}
		_ = bar.Set(read)
	})
	if bar != nil {
		_ = bar.Clear()
	}
	if err != nil {
		return nil, named(cmd, err)
	}
	if x.Rebuilt != "" {
		fmt.Fprintln(stderr, "demarc: the index of notes was made anew: "+x.Rebuilt)
	}
	return x, nil
}

// notesBar returns a bar over notes, which only shows on a terminal and after two seconds.
func notesBar(stderr io.Writer, total int64, what string) *progressbar.ProgressBar {
	f, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return progressbar.NewOptions64(total, progressbar.OptionSetVisibility(false))
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(), progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(20))
}

// findNote returns the id and path of the note that arg names.
func findNote(x *noteindex.Index, arg string) (string, string, error) {
	if strings.ContainsRune(arg, os.PathSeparator) || strings.HasSuffix(arg, ".md") {
		return strings.TrimSuffix(filepath.Base(arg), ".md"), arg, nil
	}
	fail := func(what, expected string) error {
		return &fault.Error{What: what, Expected: expected, Retry: fault.RetryUseless, Try: "demarc note list\ndemarc note search WORD", Code: fault.ExitUsage}
	}
	found, err := x.Find(arg)
	if err != nil {
		return "", "", err
	}
	if len(found) == 0 {
		if err := x.All(func(d *noteindex.Doc) error {
			if len(found) < 20 && (strings.HasPrefix(d.ID, arg) || strings.HasSuffix(d.ID, "-"+arg)) {
				found = append(found, *d)
			}
			return nil
		}); err != nil {
			return "", "", err
		}
	}
	switch len(found) {
	case 1:
		return found[0].ID, found[0].Path, nil
	case 0:
		return "", "", fail(fmt.Sprintf("there is no note %q", arg), "the id of a note: the name of its file without .md, or its beginning or end")
	}
	paths := make([]string, len(found))
	for i, d := range found {
		paths[i] = d.Path
	}
	slices.Sort(paths)
	return "", "", fail(fmt.Sprintf("%q may be any of several notes", arg), "one of: "+strings.Join(paths, ", "))
}

// loadedNote is a note with what is known of it.
type loadedNote struct {
	id, path string
	head     note.Head
	body     []byte
}

func loadNote(cmd *cobra.Command, x *noteindex.Index, arg string) (*loadedNote, error) {
	id, path, err := findNote(x, arg)
	if err != nil {
		return nil, named(cmd, err)
	}
	n := &loadedNote{id: id, path: path}
	if n.head, n.body, err = note.Load(path); err != nil {
		return nil, named(cmd, &fault.Error{What: "cannot read the note " + path, Cause: err, Expected: "Markdown with a head as docs/notes.md describes it",
			Retry: fault.RetryUseless, Try: "correct the file, or restore it: git checkout -- " + change.ShellQuote(path), Code: fault.ExitUsage})
	}
	return n, nil
}

// noteRecord returns the change record beside a note, nil where there is none. The reference in the head is never followed: it may
// have come from anywhere, and a record holds commands.
func noteRecord(path string) (*change.Record, error) {
	if filepath.Clean(filepath.Dir(path)) != change.Folder {
		return nil, nil
	}
	record := strings.TrimSuffix(path, ".md") + ".yaml"
	if _, err := os.Lstat(record); err != nil {
		return nil, nil
	}
	return change.Load(record)
}

// gitBudget is for how many notes of one command git is asked what has changed.
const gitBudget = 200

// noteFacts finds what is known of notes beside their files.
type noteFacts struct {
	now   time.Time
	repo  *change.Repository // nil: there is no git
	asked int
}

func newNoteFacts(ctx context.Context) *noteFacts {
	f := &noteFacts{now: time.Now()}
	f.repo, _ = change.OpenRepository(ctx, ".") // without git, the items that need it say so
	return f
}

// of returns the evidence for a note; what cannot be had of it is missing there, and the items say so.
func (f *noteFacts) of(ctx context.Context, n *loadedNote) (note.Evidence, error) {
	e := note.Evidence{Now: f.now}
	if r, err := noteRecord(n.path); err == nil && r != nil {
		if runs, err := r.Runs(); err == nil {
			e = r.Evidence(runs, f.now)
		}
	}
	asks := slices.ContainsFunc(n.head.Entities, func(e note.Entity) bool { return e.Type == "file" || e.Type == "route" })
	if f.repo == nil || !asks || f.asked >= gitBudget || note.Since(&n.head).IsZero() {
		return e, ctx.Err()
	}
	f.asked++
	changed, err := f.repo.ChangedSince(ctx, n.head.Entities, note.Since(&n.head))
	if ctx.Err() != nil {
		return e, ctx.Err()
	}
	e.Git, e.Changed = err == nil, changed
	return e, nil
}

// similarNotes are the notes that share something with one.
func similarNotes(x *noteindex.Index, n *loadedNote) ([]note.Similar, error) {
	related, err := x.Similar(n.id, n.head.Entities)
	if err != nil {
		return nil, err
	}
	similar := make([]note.Similar, len(related))
	for i, r := range related {
		similar[i] = note.Similar{ID: r.ID, Path: r.Path, Topic: r.Topic, Reasons: r.Reasons}
	}
	return similar, nil
}

// completeNotes offers the ids of notes; of a large library only those that an id begins with.
func completeNotes(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	x, err := noteindex.Open(noteIndexDir, noteSources, false, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer x.Close()
	var ids []string
	enough := errors.New("enough")
	_ = x.All(func(d *noteindex.Doc) error {
		if strings.HasPrefix(d.ID, toComplete) {
			ids = append(ids, d.ID)
		}
		if len(ids) >= 200 {
			return enough
		}
		return nil
	})
	slices.Sort(ids)
	return ids, cobra.ShellCompDirectiveNoFileComp
}
