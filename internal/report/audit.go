package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/demarc-dev/demarc/internal/audit"
)

// AuditJSON writes an audit as one indented JSON object (schema audit.Schema), members in a fixed order.
func AuditJSON(w io.Writer, rep *audit.Report) error { return indented(w, rep) }

// auditHeads say in words what the heads of a checklist are.
var auditHeads = map[string]string{
	"permissions": "PERMISSIONS  who may read what is kept",
	"secrets":     "SECRETS  where they stand",
	"headers":     "HEADERS AND KEYS  what is stored for whom",
	"uploads":     "UPLOAD LIMITS",
	"logging":     "LOGGING  what the log carries",
	"input":       "INPUT  how bad input and overload are answered",
	"settings":    "SETTINGS",
}

// auditPlaces is how many places of one item the table shows.
const auditPlaces = 10

// AuditTerminal writes an audit as text: one line an item, below a failed one its evidence, the fix and how to verify it, and
// below one that was not seen what is missing.
func AuditTerminal(w io.Writer, rep *audit.Report, opt TerminalOptions) error {
	t := &terminal{width: max(cmp.Or(opt.Width, 100), 60), color: opt.Color}
	t.auditSummary(rep)
	head := ""
	for i := range rep.Items {
		x := &rep.Items[i]
		if x.Head != head {
			head = x.Head
			title, note, _ := strings.Cut(auditHeads[head], "  ")
			t.head(title, note)
		}
		t.auditItem(x)
	}
	t.auditSettings(rep.Settings)
	if len(rep.Warnings) > 0 {
		t.line("")
		for _, text := range rep.Warnings {
			t.wrapped("warning  ", yellow, plain(text))
		}
	}
	c := rep.Counts
	t.line("")
	if c.Fail > 0 {
		t.line(t.style(red, fmt.Sprintf("%d failed", c.Fail)) + fmt.Sprintf(" (%d high, %d medium, %d low), %d passed, %d not seen", c.High, c.Medium, c.Low, c.Pass, c.NotSeen))
	} else {
		t.line(fmt.Sprintf("none failed, %d passed, %d not seen", c.Pass, c.NotSeen))
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

func (t *terminal) auditSummary(rep *audit.Report) {
	l := rep.Looked
	parts := []part{{bold, "audit of " + plain(rep.Project)}}
	if rep.Capture != "" {
		parts = append(parts, part{"", fmt.Sprintf("%s%s in %s", integer(l.Requests), one(l.Requests, " request", " requests"), plain(rep.Capture))})
	}
	parts = append(parts, part{"", integer(int64(l.Files)) + one(int64(l.Files), " file", " files")})
	for _, x := range []struct {
		n         int64
		one, many string
	}{{l.LogLines, " line of logs", " lines of logs"}, {int64(l.Notes), " note", " notes"}, {int64(l.Servers), " cache server", " cache servers"}} {
		if x.n > 0 {
			parts = append(parts, part{"", integer(x.n) + one(x.n, x.one, x.many)})
		}
	}
	if rep.Probed != "" {
		parts = append(parts, part{"", "probed " + plain(rep.Probed)})
	}
	t.flow(parts)
}

// wrapped writes a text behind a label, continued below itself.
func (t *terminal) wrapped(label, style, text string) {
	indent := strings.Repeat(" ", width(label))
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && width(indent)+width(line)+1+width(word) > t.width {
			t.line(t.style(style, label) + line)
			label, style, line = indent, "", ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	t.line(t.style(style, label) + line)
}

func (t *terminal) auditItem(x *audit.Item) {
	switch x.State {
	case audit.Pass:
		t.wrapped("pass         ", "32", plain(x.Title)+" ("+x.ID+"): "+plain(x.Says))
	case audit.NotSeen:
		t.wrapped("not seen     ", yellow, plain(x.Title)+" ("+x.ID+")")
		t.wrapped("               missing ", dim, plain(x.Missing))
	default:
		t.wrapped(fmt.Sprintf("%-13s", "FAIL "+string(x.Severity)), red, plain(x.Title)+" ("+x.ID+")")
		more := x.More
		for i, p := range x.Places {
			if i >= auditPlaces {
				more += int64(len(x.Places) - i)
				break
			}
			says := plain(p.Says)
			if p.Count > 1 {
				says += fmt.Sprintf(" (%s times)", integer(p.Count))
			}
			if p.Hash != "" {
				says += ", hash " + p.Hash
			}
			t.wrapped("               ", "", plain(p.Where)+"  "+says)
		}
		if more > 0 {
			t.line("               … and " + integer(more) + " more (--json lists up to 50)")
		}
		t.wrapped("               fix     ", dim, plain(x.Fix))
		t.wrapped("               verify  ", dim, plain(x.Verify))
	}
}

func (t *terminal) auditSettings(list []audit.Setting) {
	if len(list) == 0 {
		return
	}
	t.head("WHERE THEY STAND", "settings that were recognised; secrets are not shown")
	for i, s := range list {
		if i >= 100 {
			t.line(fmt.Sprintf("… and %s more (--json lists all)", integer(int64(len(list)-i))))
			break
		}
		text := fmt.Sprintf("%-9s %s:%d  %s", s.Kind, plain(s.File), s.Line, plain(s.Name))
		if s.Value != "" {
			text += " = " + plain(s.Value)
		}
		if s.Hidden {
			text += "  " + t.style(yellow, "hidden")
		}
		t.line(clip(text, t.width+20))
	}
}
