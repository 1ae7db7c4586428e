package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
	"github.com/demarc-dev/demarc/internal/noteindex"
)

// noteVerifySchema names the form of what note verify prints with --json.
const noteVerifySchema = "demarc.note.verify/1"

// noteVerified is what came of the verification of one note.
type noteVerified struct {
	ID     string   `json:"id"`
	Path   string   `json:"path"`
	Record string   `json:"record"`
	State  string   `json:"state"` // passed, failed, undecided
	Detail string   `json:"detail"`
	Checks []string `json:"checks"` // each with what it was and what it is
	Run    string   `json:"run,omitempty"`
}

func newNoteVerifyCommand() *cobra.Command {
	f := &changeRun{}
	var on, last string
	cmd := &cobra.Command{
		Use:   "verify [ID…]",
		Short: "Ask whether what notes claim still holds, by the checks of their change records",
		Long: "Runs the checks of the notes' change records again, as demarc change verify does, and adds each run to its record's results. Without an ID: of all\n" +
			"notes that have a record with checks. A note whose figures no longer hold loses freshness until they do.\n\n" +
			"Only the record that lies beside a note is run; a reference in a note that was brought in is never followed.\n\n" +
			"Exit code 10: one no longer holds; 11: of one it cannot be said.",
		Example:           "  demarc note verify article-list\n  demarc note verify --last 24h",
		ValidArgsFunction: completeNotes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkEnvironment(cmd, on); err != nil {
				return err
			}
			since := time.Time{}
			if last != "" {
				age, err := config.Age(last)
				if err != nil {
					return usageError(cmd, "--last: "+err.Error())
				}
				since = time.Now().Add(-age)
			}
			x, err := openNotes(cmd, false)
			if err != nil {
				return err
			}
			defer x.Close()
			type todo struct {
				id, path string
				record   *change.Record
			}
			var list []todo
			add := func(id, path string, must bool) error {
				r, err := noteRecord(path)
				switch {
				case err != nil:
					return named(cmd, err)
				case r != nil && (must || len(r.Expected) > 0 || r.Command(on, "verify") != nil):
					list = append(list, todo{id, path, r})
				case must:
					return named(cmd, &fault.Error{What: "the note " + id + " cannot be verified", Cause: errors.New("it has no change record beside it"),
						Expected: "a note in " + change.Folder + "/ with the record of the same name", Retry: fault.RetryUseless, Code: fault.ExitUsage})
				}
				return nil
			}
			for _, arg := range args {
				id, path, err := findNote(x, arg)
				if err != nil {
					return named(cmd, err)
				}
				if err := add(id, path, true); err != nil {
					return err
				}
			}
			if len(args) == 0 {
				if err := x.All(func(d *noteindex.Doc) error { return add(d.ID, d.Path, false) }); err != nil {
					return err
				}
			}
			if len(list) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no note has a change record with checks")
			}
			results := []noteVerified{}
			var worst *fault.Error
			for _, n := range list {
				run, held, err := change.Verify(cmd.Context(), n.record, on, since, f.options(cmd))
				var wrong *fault.Error
				if err != nil && (run == nil || !errors.As(err, &wrong)) {
					return named(cmd, err)
				}
				if run == nil { // with --dry-run
					continue
				}
				v := noteVerified{ID: n.id, Path: n.path, Record: n.record.Path(), State: run.State, Detail: run.Detail, Checks: []string{}, Run: run.ID}
				for _, h := range held {
					v.Checks = append(v.Checks, h.String())
				}
				results = append(results, v)
				if wrong != nil && (worst == nil || worst.Code != fault.ExitCheck) {
					worst = wrong
				}
				if !f.json {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", note.Plain(n.id), heldText(n.record, run))
					for _, c := range v.Checks {
						fmt.Fprintf(cmd.OutOrStdout(), "  - %s\n", note.Plain(c))
					}
				}
			}
			if f.json && !f.dryRun {
				if err := writeJSON(cmd.OutOrStdout(), struct {
					Schema string         `json:"schema"`
					Notes  []noteVerified `json:"notes"`
				}{noteVerifySchema, results}); err != nil {
					return err
				}
			}
			if worst != nil {
				return named(cmd, worst)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flag("json").Usage = "print JSON (" + noteVerifySchema + ")"
	onEnvironment(cmd, &on)
	cmd.Flags().StringVar(&last, "last", "", "only figures of the last `time`: 1h, 7d (all that the capture holds)")
	return cmd
}
