package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/engine"
	"github.com/demarc-dev/demarc/internal/fault"
)

// target is the running demarc that mark, on and off speak to.
type target struct {
	dir, run string
	json     bool
}

func (t *target) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.dir, "dir", capture.Root, "folder that demarc runs over")
	cmd.Flags().StringVar(&t.run, "run", "", "run file of one demarc, where several run over the folder")
	cmd.Flags().BoolVar(&t.json, "json", false, "print the answer as JSON (demarc.control/1)")
}

// find returns the run file of the demarc to speak to.
func (t *target) find(op string) (engine.RunFile, error) {
	var r engine.RunFile
	var err error
	if t.run != "" {
		r, err = engine.ReadRunFile(t.run)
	} else {
		r, err = engine.FindRun(t.dir)
	}
	if err == nil {
		return r, nil
	}
	f := &fault.Error{Op: op, What: "cannot find a running demarc", Cause: plainCause(err), Expected: "demarc run or demarc collect, started in this folder",
		Retry: fault.RetrySafe, Try: op + " --dir DIR, with the --dir of that demarc"}
	if errors.Is(err, engine.ErrNotRunning) {
		f.Cause = fmt.Errorf("no %s of a living process", filepath.Join(t.dir, "run.json"))
	}
	return r, f
}

// tell prints what the running demarc answered.
func (t *target) tell(cmd *cobra.Command, d engine.Done, what string) error {
	if t.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
			Schema string `json:"schema"`
			engine.Done
		}{"demarc.control/1", d})
	}
	_, err := fmt.Fprintln(cmd.ErrOrStderr(), "demarc: "+what)
	return err
}

func unanswered(op, url string, err error) error {
	f := &fault.Error{Op: op, What: "the demarc at " + url + " did not do it", Cause: err,
		Expected: "the demarc that wrote the run file", Retry: fault.RetrySafe}
	if errors.Is(err, syscall.ECONNREFUSED) {
		f.What, f.Cause = "cannot find a running demarc", errors.New("nothing listens at "+url+", which the run file names")
	}
	return f
}

func newMarkCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:     "mark NAME [TEXT]",
		Short:   "Put a named point in time into the running capture",
		GroupID: groupMore,
		Long: "Puts a named point in time (a deploy, a flush, a step of a rollout) into the capture of the demarc that runs in this\n" +
			"folder. demarc report --since NAME then shows what came after it.",
		Example: "  demarc mark deploy 'shop 1.4.2'",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := t.find(cmd.CommandPath())
			if err != nil {
				return err
			}
			text := ""
			if len(args) > 1 {
				text = args[1]
			}
			d, err := r.Mark(args[0], text)
			if err != nil {
				return unanswered(cmd.CommandPath(), r.URL, err)
			}
			return t.tell(cmd, d, fmt.Sprintf("marked %s at %s in %s", args[0], d.At, d.Capture))
		},
	}
	t.add(cmd)
	return cmd
}
