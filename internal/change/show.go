package change

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
)

// View is a record with what was run for it, as `demarc change show --json` prints it.
type View struct {
	Schema string   `json:"schema"`
	Name   string   `json:"name"`
	Path   string   `json:"path"`
	Record *Content `json:"record"`
	Status Status   `json:"status"`
	Runs   []*Run   `json:"runs"` // oldest first
}

// Content is a record as JSON: the fields that its file has, under the same names; a command is a text or an object, as in
// the file.
type Content struct{ r *Record }

// MarshalJSON writes what the file says.
func (c *Content) MarshalJSON() ([]byte, error) { return yaml.YAMLToJSON(c.r.data) }

// ViewSchema names the form of View.
const ViewSchema = "demarc.change/1"

// NewView joins a record with its runs.
func NewView(r *Record, runs []*Run) View {
	if runs == nil {
		runs = []*Run{}
	}
	return View{Schema: ViewSchema, Name: r.Name(), Path: r.Path(), Record: &Content{r}, Status: r.Status(runs), Runs: runs}
}

// Text writes a view for a terminal. Texts of the record may hold anything but control characters (see Parse).
func (v *View) Text(w io.Writer) error {
	var b strings.Builder
	r := v.Record.r
	state := v.Status.State
	if v.Status.Unfinished {
		state += ", unfinished"
	}
	fmt.Fprintf(&b, "%s\n%s · %s\n", r.Topic, v.Name, state)
	for _, remark := range v.Status.Remarks {
		fmt.Fprintf(&b, "! %s\n", remark)
	}
	field := func(name, text string) {
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, strings.ReplaceAll(text, "\n", "\n             "))
		}
	}
	b.WriteByte('\n')
	field("owner", r.Owner)
	field("reason", r.Reason)
	field("context", r.Context)
	field("stack", strings.Join(r.Stack, ", "))
	field("route", r.Baseline.Route)
	field("input", r.Baseline.Input)
	field("slow query", r.Baseline.SlowQuery)
	field("failing", r.Baseline.Failing)
	field("noticed", r.Baseline.Noticed)
	field("capture", r.Baseline.Capture)
	for _, f := range r.Baseline.Figures {
		field("before", FormatFigure(f))
	}
	field("finding", r.Finding)
	field("boundary", r.Boundary)
	field("cause", r.Cause)
	field("change", r.Change)
	for _, line := range r.ExpectedLines() {
		field("expected", line)
	}
	for _, a := range r.Assumptions {
		field("assumption", a)
	}
	field("rollback", r.Rollback)
	for _, name := range CommandNames {
		field(name, commandText(r.Commands.Get(name)))
		for _, env := range []string{"staging", "production"} {
			if e := r.Environments.Get(env); e != nil && e.Commands.Get(name) != nil {
				field("  "+env, commandText(e.Commands.Get(name)))
			}
		}
	}
	field("base", r.Base)
	field("files", strings.Join(r.Files, "\n"))
	for _, s := range r.Security {
		field("security", s.String())
	}
	if len(v.Status.Items) > 0 {
		b.WriteString("\nCHECKLIST\n")
	}
	for _, i := range v.Status.Items {
		fmt.Fprintf(&b, "%-7s %s (%s)\n", i.State, i.Item, i.ID)
		if i.Command != "" {
			fmt.Fprintf(&b, "        %s%s\n", firstLine(i.Command), i.outcome())
		}
		if i.Detail != "" && (i.ExitCode == nil || i.Detail != fmt.Sprintf("exit %d", *i.ExitCode)) {
			fmt.Fprintf(&b, "        %s\n", firstLine(i.Detail))
		}
		if i.State == ItemFailed {
			for line := range strings.SplitSeq(strings.TrimSpace(lastLines(i.Output, 5)), "\n") {
				fmt.Fprintf(&b, "        | %s\n", line)
			}
		}
	}
	if len(v.Runs) > 0 {
		b.WriteString("\nRUNS\n")
	}
	for _, run := range v.Runs {
		kind := strings.TrimSpace(run.Kind + " " + run.Item)
		fmt.Fprintf(&b, "%s  %-9s  %-20s %s\n", stamp(run.At), run.State, kind, strings.TrimSpace(run.Duration+"  "+firstLine(run.Detail)))
	}
	if len(v.Status.Missing) > 0 {
		fmt.Fprintf(&b, "\nstill open: %s\n", strings.Join(v.Status.Missing, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// outcome says how the command of an item ended.
func (i *ItemStatus) outcome() string {
	var parts []string
	if i.ExitCode != nil {
		parts = append(parts, fmt.Sprintf("exit %d", *i.ExitCode))
	}
	if i.Duration != "" {
		parts = append(parts, i.Duration)
	}
	if i.At != nil {
		parts = append(parts, stamp(*i.At))
	}
	if len(parts) == 0 {
		return ""
	}
	return " → " + strings.Join(parts, ", ")
}

// String names the setting and where it stands.
func (s SecuritySetting) String() string {
	text := s.File
	if s.Line > 0 {
		text += fmt.Sprintf(":%d", s.Line)
	}
	text += " " + s.Setting
	if s.Note != "" {
		text += " (" + s.Note + ")"
	}
	return text
}

// FormatFigure writes a figure with its unit, what it is of, and what it rests on.
func FormatFigure(f Figure) string {
	text := f.Metric + " "
	if f.Of != "" {
		text += "of " + f.Of + " "
	}
	text += formatValue(f.Metric, f.Value)
	if f.N > 0 {
		text += fmt.Sprintf(" (n = %d)", f.N)
	}
	return text
}

func formatValue(metric string, v float64) string {
	switch {
	case strings.HasSuffix(metric, "_ms"):
		return fmt.Sprintf("%.4g ms", v)
	case metric == "error_rate" || metric == "hit_ratio":
		return fmt.Sprintf("%.4g %%", 100*v)
	}
	return fmt.Sprintf("%.4g", v)
}

func commandText(c *Command) string {
	if c == nil {
		return ""
	}
	return strings.TrimSpace(c.Run)
}

func firstLine(text string) string {
	line, more, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if strings.TrimSpace(more) != "" {
		line += " …"
	}
	return line
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// code writes a text as code within a line of Markdown.
func code(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 || text == "" {
		return fence + " " + text + " " + fence
	}
	return fence + text + fence
}

// fenced writes a text as a block of code in Markdown, with lines around it.
func fenced(language, text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return "\n" + fence + language + "\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

var mdSpecial = regexp.MustCompile("[\\\\`*_\\[\\]<>|#]")

// mdText writes one line so that Markdown shows it as it is.
func mdText(text string) string {
	return mdSpecial.ReplaceAllString(strings.Join(strings.Fields(text), " "), `\$0`)
}
