package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/synth"
)

func newSynthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "synth",
		Short:   "Make traffic and notes of which the truth is known",
		GroupID: groupMore,
		Long: "Makes events and notes from a seed, for tests of what demarc claims and of how much it bears. The same seed gives the\n" +
			"same bytes on every machine; their SHA-256 is printed (docs/synth.md).",
		Example: "  demarc synth traffic --seed 7 --requests 20000 -o traffic.jsonl\n  demarc synth notes --seed 7 --count 1000 -o notes/",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSynthTrafficCommand(), newSynthNotesCommand())
	return cmd
}

// synthUsage makes an error of the command line of an option that cannot be met.
func synthUsage(cmd *cobra.Command, err error) error {
	var bad *synth.OptionError
	if !errors.As(err, &bad) {
		return named(cmd, err)
	}
	f := usageError(cmd, "--"+bad.Option+": "+bad.Problem)
	f.Expected = bad.Expected
	return f
}

// synthBar returns a bar over what is made. It shows on a terminal only, and not in the first two seconds.
func synthBar(stderr io.Writer, total int64, what string) *progressbar.ProgressBar {
	f, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return progressbar.NewOptions64(total, progressbar.OptionSetVisibility(false))
	}
	begun := time.Now()
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(patient{f, begun}), progressbar.OptionSetDescription("making "+what),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(20))
}

// patient drops what is written in the first two seconds: what is done by then needs no bar.
type patient struct {
	to    io.Writer
	since time.Time
}

func (p patient) Write(b []byte) (int, error) {
	if time.Since(p.since) < 2*time.Second {
		return len(b), nil
	}
	return p.to.Write(b)
}

// cannotWrite is the fault of an output that cannot be written.
func cannotWrite(path string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return &fault.Error{What: "cannot write " + path, Cause: plainCause(err), Expected: "a path in a folder that is there, space, and permission to write",
		Retry: fault.RetrySafe}
}

// isTaken refuses a path that is there already.
func isTaken(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return &fault.Error{What: "cannot create " + path, Cause: errors.New("it is there already"), Expected: "a name that is not taken",
			Retry: fault.RetryUseless, Try: "another name after -o"}
	}
	return nil
}

// beside is a hidden path in the folder of another, for what is not complete.
func beside(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".partial")
}
