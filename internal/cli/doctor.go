package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/doctor"
	"github.com/demarc-dev/demarc/internal/fault"
)

func newDoctorCommand() *cobra.Command {
	var asJSON, hooks bool
	o := doctor.Options{}
	cmd := &cobra.Command{
		Use:     "doctor [CAPTURE]",
		Short:   "Say what is seen, what is not, and why",
		GroupID: groupMore,
		Long: "Looks at this folder, the Python here, the demarc that runs over the folder, and a capture (the newest where none is\n" +
			"named), and says of each what is well, what is not, which questions stay open, and what to do. The exit code is 1\n" +
			"where something needs attention. docs/doctor.md explains every finding.",
		Example: "  demarc doctor\n  demarc doctor --hooks\n  demarc doctor --json | jq '.findings[] | select(.state == \"wrong\")'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Capture = args[0]
			}
			o.Op, o.Environ, o.Baseline = cmd.CommandPath(), os.Environ(), baselineOptions()
			r := doctor.Examine(cmd.Context(), o)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			var err error
			switch {
			case asJSON:
				enc := json.NewEncoder(out)
				enc.SetEscapeHTML(false)
				enc.SetIndent("", "  ")
				err = enc.Encode(r)
			case hooks:
				err = printHooks(out, r)
			default:
				err = printFindings(out, r)
			}
			if err != nil {
				return named(cmd, &fault.Error{What: "cannot write the findings", Cause: err, Retry: fault.RetrySafe})
			}
			if !r.OK && !hooks {
				return exitStatus(fault.ExitFailed)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", capture.Root, "folder that demarc runs over")
	f.StringVar(&o.Config, "config", "", "configuration (default "+config.File+", if it is there)")
	f.BoolVar(&asJSON, "json", false, "print JSON (demarc.doctor/1)")
	f.BoolVar(&hooks, "hooks", false, "list every hook, what it waits for, and its state in the capture; the exit code is 0")
	return cmd
}

// printFindings writes one line a finding, and its remedy below; colour only on a terminal.
func printFindings(w io.Writer, r doctor.Report) error {
	color := terminalOptions(w).Color
	marks := map[doctor.State][2]string{
		doctor.OK: {"ok   ", "32"}, doctor.Note: {"note ", "36"}, doctor.Open: {"open ", "33"}, doctor.Wrong: {"WRONG", "31"},
	}
	var b strings.Builder
	count := map[doctor.State]int{}
	for _, f := range r.Findings {
		count[f.State]++
		mark := marks[f.State][0]
		if color {
			mark = "\x1b[" + marks[f.State][1] + "m" + mark + "\x1b[0m"
		}
		b.WriteString(mark + "  " + plainText(f.Says) + "\n")
		if f.Remedy != "" {
			b.WriteString("         " + strings.ReplaceAll(plainText(f.Remedy), "\n", "\n         ") + "\n")
		}
	}
	wrong := "nothing is wrong"
	if n := count[doctor.Wrong]; n > 0 {
		wrong = fmt.Sprintf("%d of these need attention (WRONG)", n)
	}
	fmt.Fprintf(&b, "\n%s; open questions: %d; notes: %d\n", wrong, count[doctor.Open], count[doctor.Note])
	_, err := io.WriteString(w, b.String())
	return err
}

// plainText takes control characters out of texts that come from the service: they could move a terminal's cursor.
func plainText(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, s)
}

func printHooks(out io.Writer, r doctor.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOOK\tSTATE\tFAILURES\tWAITS FOR")
	for _, h := range r.Hooks {
		state := doctor.Strongest(h.States)
		if n := h.States[state]; n > 0 {
			state = fmt.Sprintf("%s in %d", state, n)
		} else {
			state = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", plainText(h.Name), plainText(state), h.Failures, strings.Join(h.Modules, ", "))
	}
	return w.Flush()
}
