package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/engine"
)

// changeRunSchema names the form of what a run prints with --json.
const changeRunSchema = "demarc.change.run/1"

// changeRun are the flags of the commands that run a record's commands.
type changeRun struct {
	dir             string
	json            bool
	dryRun, verbose bool

	plan []change.Step
}

func (f *changeRun) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", capture.Root, "folder of demarc's journals, logs and backups")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the run as JSON ("+changeRunSchema+")")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be run; run and write nothing")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show what the commands print")
}

// options are what package change needs of this process.
func (f *changeRun) options(cmd *cobra.Command) change.Options {
	o := change.Options{
		Op: cmd.CommandPath(), State: f.dir, Talk: cmd.ErrOrStderr(), DryRun: f.dryRun, Now: time.Now,
		Check: answerChecks, Mark: markCapture,
	}
	if f.dryRun {
		o.Talk = cmd.OutOrStdout()
	}
	if f.dryRun && f.json {
		f.plan = []change.Step{}
		o.Plan = &f.plan
	}
	if f.verbose {
		o.Output = cmd.ErrOrStderr()
	}
	return o
}

// tell prints a run that ended, well or not, and returns the error that belongs to it.
func (f *changeRun) tell(cmd *cobra.Command, record *change.Record, run *change.Run, err error) error {
	if f.json && run != nil {
		jerr := writeJSON(cmd.OutOrStdout(), struct {
			Schema string `json:"schema"`
			Record string `json:"record"`
			*change.Run
		}{changeRunSchema, record.Path(), run})
		err = errors.Join(err, jerr)
	}
	if f.plan != nil && err == nil {
		type planned struct {
			Name    string `json:"name"`
			Command string `json:"command"`
		}
		steps := []planned{}
		for _, s := range f.plan {
			steps = append(steps, planned{s.Name, s.Command})
		}
		err = writeJSON(cmd.OutOrStdout(), struct {
			Schema string    `json:"schema"`
			Record string    `json:"record"`
			Plan   []planned `json:"plan"`
		}{changeRunSchema, record.Path(), steps})
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(cmd.ErrOrStderr(), "demarc: broken off; the journal knows where\n  go on:     %s %s\n  take back: demarc change rollback %s\n",
			cmd.CommandPath(), record.Name(), record.Name())
	}
	return named(cmd, err)
}

// markCapture puts a mark into the capture of the demarc that runs over an environment, and tells when, and the capture's folder.
func markCapture(environment *change.Environment, name, text string) (said, folder string, err error) {
	dir := capture.Root
	if environment != nil && environment.Capture != "" {
		dir = environment.Capture
	}
	r, err := engine.FindRun(dir)
	if errors.Is(err, engine.ErrNotRunning) {
		return "", "", change.ErrNoCapture
	}
	if err != nil {
		return "", "", err
	}
	d, err := r.Mark(name, text)
	if err != nil {
		return "", "", err
	}
	return fmt.Sprintf("%s at %s in %s", name, d.At, d.Capture), d.Capture, nil
}

func newChangeRehearseCommand() *cobra.Command {
	f := &changeRun{}
	cmd := &cobra.Command{
		Use:   "rehearse [RECORD]",
		Short: "Do a change on staging for real, and take it back",
		Long: "Runs a change on staging: health, verify and checks as they are; a backup, and its restore into a scratch target; the deploy,\n" +
			"health, verify, checks; the rollback, health, verify, and checks that must give what they gave before. Every command's output is\n" +
			"kept under --dir. A rehearsal that was broken off, by kill -9 too, is gone on with; one that was broken off while it deployed is\n" +
			"rolled back and begun anew.\n\n" +
			"Commands get DEMARC_ENVIRONMENT, DEMARC_STEP, DEMARC_CHANGE, DEMARC_RUN and DEMARC_URL; backup, restore, deploy and rollback DEMARC_BACKUP too;\n" +
			"restore also DEMARC_SCRATCH (an empty folder) and DEMARC_SCRATCH_NAME (a name for a database).\n\n" +
			"Exit code 1: it does not work or cannot be taken back; 10: it works, but a check fails; 11: too little to decide a check.",
		Example: "  demarc change rehearse                     # the newest record\n" +
			"  demarc change rehearse article-list -v\n" +
			"  demarc change rehearse article-list --dry-run",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			run, err := change.Rehearse(cmd.Context(), record, f.options(cmd))
			return f.tell(cmd, record, run, err)
		},
	}
	f.add(cmd)
	return cmd
}

// sayUnfinished says, at the start of every change command, which runs were broken off: production or staging may be in doubt.
func sayUnfinished(cmd *cobra.Command, _ []string) {
	dir := capture.Root
	if flag := cmd.Flags().Lookup("dir"); flag != nil {
		dir = flag.Value.String()
	}
	found, err := change.Unfinished(dir)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "demarc: %v\n", err)
	}
	if len(found) == 0 {
		return
	}
	if busy := change.Busy(dir); busy != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "demarc: %s is running\n", busy)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		p := found[name]
		back := "demarc change rollback " + name
		if p.Run.Environment == "staging" {
			back += " --on staging"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "demarc: %s of %s on %s was broken off %s\n  go on:     demarc change %s %s\n  take back: %s\n",
			p.Run.Kind, name, p.Run.Environment, p.Where(), p.Run.Kind, name, back)
	}
}
