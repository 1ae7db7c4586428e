// Package cli holds the commands of demarc, one file each.
//
// To add a command: write newXCommand() *cobra.Command in x.go, put it into the list in newRoot (its place there is
// its place in the help), and give it GroupID groupMain or groupMore. Inside RunE:
//
//   - results go to cmd.OutOrStdout(), talk to cmd.ErrOrStderr(); never to os.Stdout, so that tests can run the command
//     in-process through Main;
//   - cmd.Context() is cancelled by Ctrl-C and SIGTERM; return when it is, Main makes 130 of it;
//   - a failure is a *fault.Error, whose Code is the exit code (zero: 1); any other error is printed after the command's
//     name and exits with 1; an error from Args or from a flag is a usage error and exits with 2;
//   - a usage error found only inside RunE is made with usageError.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Version is the version of the binary, set by the linker in releases.
var Version = "dev"

// The groups of the help: six commands first, the rest under "more".
const (
	groupMain = "main"
	groupMore = "more"
)

// exitStatus ends demarc with a code and without a message: the code of a child, which has said itself what was wrong.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// Main runs one command line (without the program's name) and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := interruptible(context.Background())
	defer stop()
	started := false
	root := newRoot(&started)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return finish(ctx, cmd, err, started, stderr)
}

// finish prints what is to be said about an error and returns the exit code. An error before the command's own code
// began (started is false) is about the command line.
func finish(ctx context.Context, cmd *cobra.Command, err error, started bool, stderr io.Writer) int {
	if err == nil {
		return fault.ExitOK
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, cmd.CommandPath()+": interrupted")
		return fault.ExitInterrupted
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		f = &fault.Error{Op: cmd.CommandPath(), What: err.Error()}
		if !started {
			f = usageError(cmd, err.Error())
		}
	}
	fmt.Fprintln(stderr, f.Text())
	return fault.ExitCode(f)
}

// usageError says that the command line is wrong, and where its help is.
func usageError(cmd *cobra.Command, what string) *fault.Error {
	// cobra adds its own suggestions on further lines; the first line names the fault.
	what, more, _ := strings.Cut(what, "\n")
	try := cmd.CommandPath() + " --help"
	if s := strings.Fields(strings.TrimPrefix(strings.TrimSpace(more), "Did you mean this?")); len(s) > 0 {
		try = cmd.Root().Name() + " " + s[0] + "\n" + try
	}
	return &fault.Error{
		Op: cmd.CommandPath(), What: what, Expected: strings.TrimSpace(cmd.UseLine()),
		Retry: fault.RetryUseless, Try: try, Code: fault.ExitUsage,
	}
}

// interruptible returns a context that the first SIGINT or SIGTERM cancels, also where it was ignored at the start: a script's
// "demarc collect &" is to end when the script says kill -INT. The second has its usual effect, so that a command that does not
// look at its context can still be ended.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-c:
			signal.Stop(c)
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(c)
		cancel()
	}
}

// The help lists commands in the order of newRoot, not of the alphabet.
func init() { cobra.EnableCommandSorting = false }

// newRoot builds the tree of commands. *started becomes true when a command's own code begins.
func newRoot(started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "demarc",
		Short: "See what a Python web service does, and where a cache belongs",
		Long: "demarc watches a Python web service without a change in its code, and answers from what it saw: what the\n" +
			"service does now, where a cache belongs, why a cached read was stale, and whether a change did what it should.\n\n" +
			"  demarc run -- uvicorn shop:app     start a service under observation\n" +
			"  demarc report                      show what it does now\n" +
			"  demarc choose                      say where a cache belongs, and where not\n" +
			"  demarc stale                       say which cached reads were stale, and why\n" +
			"  demarc check                       hold it to the checks of demarc.yaml\n" +
			"  demarc change new --from ROUTE     begin a change that can be taken back",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetVersionTemplate("demarc {{.Version}}\n")
	root.AddGroup(&cobra.Group{ID: groupMain, Title: "Commands:"}, &cobra.Group{ID: groupMore, Title: "More:"})
	root.SetHelpCommandGroupID(groupMore)
	root.SetCompletionCommandGroupID(groupMore)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err.Error()) })
	root.AddCommand(
		// groupMain, in the order: run, report, choose, stale, check, change
		newRunCommand(),
		newReportCommand(),
		newChooseCommand(),
		newStaleCommand(),
		newCheckCommand(),
		newChangeCommand(),

		// groupMore
		newNoteCommand(),
		newExplainCommand(),
		newCompareCommand(),
		newAuditCommand(),
		newCollectCommand(),
		newInjectCommand(),
		newDoctorCommand(),
		newMarkCommand(),
		newOnCommand(),
		newOffCommand(),
		newImportCommand(),
		newExportCommand(),
		newSimulateCommand(),
		newSynthCommand(),
	)
	markStart(root, started)
	return root
}

// markStart wraps every command's code so that errors of the command line can be told from the command's own.
func markStart(cmd *cobra.Command, started *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		markStart(c, started)
	}
}

// version is Version, and for a development build the commit that it was built from, where Go noted it.
func version() string {
	if Version != "dev" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return Version + " (" + s.Value[:12] + ")"
			}
		}
	}
	return Version
}
