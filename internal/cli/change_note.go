package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/config"
)

// shipMark is the name of the mark that a ship puts into the running capture.
const shipMark = "ship"

// changeNote is what the flags of change note say.
type changeNote struct {
	before, after  string
	draft, rewrite bool
}

func newChangeNoteCommand() *cobra.Command {
	n := &changeNote{}
	cmd := &cobra.Command{
		Use:   "note [RECORD]",
		Short: "Write a change's final note, for a reader who was not there",
		Long: "Writes the note beside the record, as Markdown with a metadata head, and a picture as SVG: what was slow or wrong and where\n" +
			"the user noticed it, the cause, the change, the figures before and after with their confidence, commands, files, the way\n" +
			"back, assumptions, and what it does not claim. Every figure names the command that prints it; secrets are masked.\n\n" +
			"The figures before are those of the record's baseline, the figures after those that production's capture holds since the\n" +
			"change was shipped. A text that a person has changed stays as it is: then only the head is brought up to date.",
		Example: "  demarc change note\n  demarc change note article-list --after .demarc/captures/2026-11-22\n" +
			"  demarc change note article-list --draft",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			path, in, err := n.write(cmd.Context(), cmd.ErrOrStderr(), r)
			if err != nil {
				return named(cmd, err)
			}
			if in.NoFigure != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "demarc: the note has no figures after the change: "+plainText(in.NoFigure))
			}
			if missing := r.Missing(); len(missing) > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "demarc: the record does not say, so neither does the note: "+strings.Join(missing, ", "))
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.before, "before", "", "capture of the state before (default: the record's baseline)")
	f.StringVar(&n.after, "after", "", "capture of the state after (default: production's, since the change was shipped)")
	f.BoolVar(&n.draft, "draft", false, "write a draft: the change stays unfinished")
	f.BoolVar(&n.rewrite, "rewrite", false, "write the text anew although a person has changed it")
	return cmd
}

// draftNote drafts the note of a change that was just shipped and watched.
func draftNote(ctx context.Context, record *change.Record) (string, error) {
	n := changeNote{draft: true}
	path, _, err := n.write(ctx, io.Discard, record)
	return path, err
}

// write collects what a note is written from, and writes it.
func (n *changeNote) write(ctx context.Context, talk io.Writer, r *change.Record) (string, change.NoteInput, error) {
	in := change.NoteInput{Final: !n.draft, Rewrite: n.rewrite, Now: time.Now()}
	var err error
	if in.Runs, err = r.Runs(); err != nil {
		return "", in, err
	}
	if err := n.compared(ctx, talk, r, &in); err != nil {
		if ctx.Err() != nil {
			return "", in, ctx.Err()
		}
		if n.after != "" || n.before != "" {
			return "", in, err // a capture that was asked for by name
		}
		in.NoFigure = err.Error()
	}
	if base, end := r.Span(in.Runs); base != "" {
		if repo, err := change.OpenRepository(ctx, "."); err != nil {
			fmt.Fprintln(talk, "demarc: the files touched are those that the record names: "+err.Error())
		} else if in.Files, in.Security, err = repo.Touched(ctx, base, cmp.Or(end, "HEAD")); err != nil {
			fmt.Fprintln(talk, "demarc: the files touched are those that the record names: "+err.Error())
			in.Files = nil
		}
	}
	path, err := r.WriteNote(in)
	return path, in, err
}

// markedCapture returns the capture of a folder that a ship has put its mark into, if it is still there.
func markedCapture(ship *change.Run, folder string) string {
	step := ship.Step(change.StepMark)
	if step == nil || step.State != change.StatePassed || step.Capture == "" {
		return ""
	}
	dir := filepath.Join(folder, filepath.Base(step.Capture)) // the path was that of the demarc over production
	if found, err := captureIn(dir); err != nil || found != dir {
		return ""
	}
	return dir
}

// shipMarked says of each capture whether it holds the mark of a ship from this one on: what it holds before and after that is
// not the same service.
func shipMarked(ctx context.Context, ship *change.Run, dirs ...string) (marked [2]bool, err error) {
	if ship == nil {
		return marked, nil
	}
	for i, dir := range dirs {
		r, err := capture.Open(dir)
		if err != nil {
			return marked, err
		}
		at, err := markTime(ctx, r, dir, shipMark)
		if ctx.Err() != nil {
			return marked, ctx.Err()
		}
		marked[i] = err == nil && at >= ship.At.UnixNano()
	}
	return marked, nil
}

// compared puts the figures before and after into a note's input. An error says why there are none.
func (n *changeNote) compared(ctx context.Context, talk io.Writer, r *change.Record, in *change.NoteInput) error {
	before := cmp.Or(n.before, r.Baseline.Capture)
	if before == "" {
		return errors.New("the record names no capture of the state before (baseline.capture)")
	}
	ship := change.Last(in.Runs, change.KindShip, "")
	after := n.after
	if after == "" {
		if ship == nil {
			return errors.New("the change has not been shipped, and no capture was named with --after")
		}
		dir := capture.Root
		if e := r.Environments.Get("production"); e != nil && e.Capture != "" {
			dir = e.Capture
		}
		if marked := markedCapture(ship, dir); marked != "" {
			after = marked
		} else if found, err := captureIn(dir); err != nil {
			return err
		} else {
			after = found
		}
	}
	x := &comparison{confidence: 0.95, minEffect: 0.01, stale: staleAuto}
	if r.Baseline.Route != "" {
		x.routes = []string{r.Baseline.Route}
	}
	args := []string{before, after}
	same := sameDir(before, after)
	marked, err := shipMarked(ctx, ship, before, after)
	switch {
	case err != nil:
		return err
	case same && marked[1]:
		x.mark, args = shipMark, []string{after}
	case same:
		return fmt.Errorf("the capture %s is the one of the state before, and holds no mark of the ship", after)
	case marked[0] && marked[1]:
		return fmt.Errorf("both captures, %s and %s, hold the mark of a ship since this change", before, after)
	case marked[0]:
		x.until = shipMark
	case marked[1]:
		x.since = shipMark
	}
	settings, err := config.Load("", "")
	if err != nil {
		return err
	}
	budgets, err := stalenessBudgets(settings.Staleness)
	if err != nil {
		return err
	}
	res, err := x.compared(ctx, talk, args, budgets)
	if err != nil {
		return err
	}
	if res.Before.Requests == 0 || res.After.Requests == 0 {
		return fmt.Errorf("%s holds %d requests before the change, %s holds %d after it", before, res.Before.Requests, after, res.After.Requests)
	}
	in.Compared = res
	words := []string{"demarc", "compare"}
	words = append(words, args...)
	for _, flag := range []struct{ name, value string }{{"--mark", x.mark}, {"--since", x.since}, {"--until", x.until}, {"--route", r.Baseline.Route}} {
		if flag.value != "" {
			words = append(words, flag.name, flag.value)
		}
	}
	for i, w := range words {
		words[i] = change.ShellQuote(w)
	}
	in.Command = strings.Join(words, " ")
	return nil
}
