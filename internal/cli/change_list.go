package cli

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
)

// changeList is what change list --json prints.
type changeList struct {
	Schema  string          `json:"schema"`
	Changes []changeListing `json:"changes"`
}

type changeListing struct {
	Name       string     `json:"name"`
	Path       string     `json:"path"`
	Topic      string     `json:"topic"`
	Owner      string     `json:"owner"`
	State      string     `json:"state"` // empty for a record that cannot be read
	Unfinished bool       `json:"unfinished"`
	ItemsDone  int        `json:"items_done"`
	Items      int        `json:"items"`
	LastRunAt  *time.Time `json:"last_run_at"`
	Note       string     `json:"note"` // path; empty: there is none
	Remarks    []string   `json:"remarks"`
	Error      string     `json:"error,omitempty"` // why it cannot be read
}

func newChangeListCommand() *cobra.Command {
	var asJSON, unfinished bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the change records and how far each has come",
		Long: "Lists the records under " + change.Folder + "/, newest first: draft, rehearsed, shipped, watched, noted, rolled back. A change that\n" +
			"was shipped and has no final note is unfinished.",
		Example: "  demarc change list\n  demarc change list --unfinished\n  demarc change list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := change.Names(change.Folder)
			if err != nil {
				return named(cmd, err)
			}
			list := changeList{Schema: "demarc.changes/1", Changes: []changeListing{}}
			for i := len(names) - 1; i >= 0; i-- {
				if l := listing(names[i]); !unfinished || l.Unfinished {
					list.Changes = append(list.Changes, l)
				}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), list)
			}
			if len(list.Changes) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no change records in "+change.Folder+"; demarc change new makes one")
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "STATE\tRECORD\tITEMS\tTOPIC")
			for _, l := range list.Changes {
				state := l.State
				switch {
				case l.Error != "":
					state = "unreadable"
				case l.Unfinished:
					state += ", unfinished"
				}
				items := "-"
				if l.Items > 0 {
					items = fmt.Sprintf("%d/%d", l.ItemsDone, l.Items)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", state, l.Name, items, plainText(l.Topic))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			for _, l := range list.Changes {
				if l.Error != "" {
					l.Remarks = append(l.Remarks, l.Error)
				}
				for _, r := range l.Remarks {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", l.Name, plainText(r))
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (demarc.changes/1)")
	cmd.Flags().BoolVar(&unfinished, "unfinished", false, "only those that were shipped without a final note")
	return cmd
}

// listing reads one record for the list; one that cannot be read stands there with the reason.
func listing(name string) changeListing {
	l := changeListing{Name: name, Path: filepath.Join(change.Folder, name+".yaml"), Remarks: []string{}}
	r, err := change.Load(l.Path)
	if err != nil {
		l.Error = err.Error()
		return l
	}
	l.Topic, l.Owner = r.Topic, r.Owner
	runs, err := r.Runs()
	if err != nil {
		l.Error = err.Error()
		return l
	}
	s := r.Status(runs)
	l.State, l.Unfinished, l.Remarks, l.LastRunAt = s.State, s.Unfinished, s.Remarks, s.Last
	l.ItemsDone, l.Items = s.Done(), len(s.Items)
	if s.Note != nil {
		l.Note = s.Note.Path
	}
	return l
}
