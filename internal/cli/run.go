package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder"
)

const (
	// silence is how long a service may be without a recorder before demarc says why.
	silence = 5 * time.Second
	// grace is how long the recorders of processes that outlive the service's first one may take to finish.
	grace = 2 * time.Second
)

func newRunCommand() *cobra.Command {
	flags := &observeFlags{}
	cmd := &cobra.Command{
		Use:     "run [flags] -- CMD [ARG...]",
		Short:   "Start a service under observation",
		GroupID: groupMain,
		Long: "Starts CMD with demarc's recorder put in front of every Python process in it, keeps what the recorder sees in a\n" +
			"capture, and prints the baseline when CMD has ended. The service's output, input and exit code are its own;\n" +
			"nothing is installed into its environment and nothing is changed in its code. docs/run.md tells more.",
		Example: "  demarc run -- uvicorn shop:app --workers 2\n  demarc run --log-lines=requests.log -- gunicorn shop.wsgi\n  demarc run -- pytest",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "no command to run was given")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, flags, args) },
	}
	// What follows the command's name belongs to the command, even without "--".
	cmd.Flags().SetInterspersed(false)
	flags.add(cmd)
	cmd.Flags().Float64Var(&flags.rate, "rate", 0, "events a second and process above which sampling by key begins, 0: never (default 5000)")
	return cmd
}

func run(cmd *cobra.Command, flags *observeFlags, argv []string) error {
	if err := recorder.CheckCommand(cmd.CommandPath(), argv); err != nil {
		return err
	}
	o, err := observe(cmd, flags, "clear", "demarc run --listen 127.0.0.1:0 -- "+shellWords(argv))
	if err != nil {
		return err
	}
	code, err := o.child(cmd.Context(), argv)
	if err != nil {
		o.abandon()
		return err
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

// child runs the service to its end and returns its exit code.
func (o *observation) child(ctx context.Context, argv []string) (int, error) {
	ws, err := recorder.NewWorkspace()
	if err != nil {
		return 0, &fault.Error{Op: o.op, What: "cannot make a folder for the recorder's socket in " + os.TempDir(), Cause: plainCause(err),
			Expected: "a folder for temporary files that can be written to", Retry: fault.RetryUseless, Try: "TMPDIR=DIR " + o.op + " …"}
	}
	defer ws.Remove()
	token := recorder.NewToken()
	server := recorder.NewServer(recorder.Options{Token: token, Refused: o.refused}, o.engine)
	o.engine.Recorders(server)
	l, err := recorder.Listen(ws.Address())
	if err != nil {
		return 0, cannotListen(o.op, ws.Address(), "a path for a Unix socket", err, "TMPDIR=DIR "+o.op+" …, with a shorter path")
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	defer serving.Wait()
	defer server.Close(0)
	env, err := ws.Env(os.Environ(), o.settings(ws.Address(), token))
	if err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	sampling := "no sampling"
	if r := *o.cfg.Security.Limits.MaxRate; r > 0 {
		sampling = fmt.Sprintf("sampling above %g events/s a process", r)
	}
	o.announce("", sampling)
	child, err := recorder.StartChild(o.op, argv, env)
	if err != nil {
		return 0, err
	}
	o.startLive()
	said := make(chan bool, 1)
	timer := time.AfterFunc(silence, func() {
		quiet := server.Stats().Processes == 0
		if quiet {
			fmt.Fprintln(o.stderr, fault.Text(recorder.Silent(o.op, argv, env, ws.Notes(), child.Pid)))
		}
		said <- quiet
	})
	code := child.Wait()
	server.Close(grace)
	alreadySaid := false
	if !timer.Stop() {
		alreadySaid = <-said
	}
	o.finish()
	if server.Stats().Processes == 0 && !alreadySaid {
		fmt.Fprintln(o.stderr, fault.Text(recorder.Silent(o.op, argv, env, ws.Notes(), 0)))
	} else if notes := ws.Notes(); len(notes) > 0 && !alreadySaid {
		fmt.Fprintf(o.stderr, "demarc: some processes were not recorded: %s\n", strings.Join(notes, "; "))
	}
	return code, nil
}

// settings are what the recorder is told.
func (o *observation) settings(address, token string) recorder.Settings {
	s := recorder.Settings{
		Address: address, Token: token, KeyFile: absolute(o.keyFile), Service: o.cfg.Service, Keys: o.cfg.Privacy.Keys,
		MaxRate: o.cfg.Security.Limits.MaxRate, Functions: o.cfg.Observe.Functions,
	}
	switch p := o.cfg.Observe.Principal; {
	case p.Header != "":
		s.Principal = map[string]string{"header": p.Header}
	case p.Cookie != "":
		s.Principal = map[string]string{"cookie": p.Cookie}
	}
	return s
}

// shellWords writes a command so that a shell reads the same words.
func shellWords(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = a
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return !strings.ContainsRune(plainRunes, r) }) {
			words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

const plainRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+"
