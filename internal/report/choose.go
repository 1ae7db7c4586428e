package report

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/forecast"
)

// ChooseJSON writes the report of a forecast as JSON (demarc.choose/1).
func ChooseJSON(w io.Writer, rep *forecast.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(rep)
}

// ChooseOptions say what ChooseTerminal shows.
type ChooseOptions struct {
	TerminalOptions
	Explain bool // the ten questions, answered for the first boundaries
	All     bool // all candidates, not only the first 30
}

// ChooseTerminal writes the ranked candidates as text: those worth having with their figures, then why not the others, what
// the figures rest on, and with which to start.
func ChooseTerminal(w io.Writer, rep *forecast.Report, opt ChooseOptions) error {
	t := &choosing{terminal: terminal{width: max(opt.Width, 60), color: opt.Color}, rep: rep, opt: opt}
	if opt.Width == 0 {
		t.width = 100
	}
	t.write()
	_, err := io.WriteString(w, t.b.String())
	return err
}

type choosing struct {
	terminal
	rep *forecast.Report
	opt ChooseOptions
}

const shownLeft = 30

func (t *choosing) write() {
	rep := t.rep
	parts := []part{{"", integer(rep.Evidence.Requests) + one(rep.Evidence.Requests, " request", " requests")}}
	if rep.Window.Seconds > 0 {
		parts = append(parts, part{"", "over " + millis(rep.Window.Seconds*1e3) + " of events"})
	}
	parts = append(parts, part{"", integer(rep.Evidence.Queries) + " statements"}, part{"", integer(rep.Evidence.Writes) + " writes"},
		part{"", integer(int64(rep.Evidence.Candidates)) + " candidates"})
	t.flow(parts)
	cached := 0
	for i := range rep.Boundaries {
		if rep.Boundaries[i].Verdict == forecast.Cache {
			cached++
		}
	}
	if cached > 0 {
		t.head("WORTH A CACHE", "the best first")
		for i := range cached {
			t.boundary(&rep.Boundaries[i])
		}
		s := &rep.Set
		t.line("")
		t.flow([]part{{bold, "together"}, {"", "save " + millis(s.SavedMs-s.LookupMs) + " (" + percent(s.ShareOfTime) + " of the time of all requests)"},
			{"", integer(s.SavedQueries) + " statements"}, {"", peaks(s.PeakKeys, s.PeakBytes)}})
	}
	if left := rep.Boundaries[cached:]; len(left) > 0 {
		t.head("LEAVE", "by the time they take")
		for i := range left {
			if i == shownLeft && !t.opt.All {
				t.line("  … " + integer(int64(len(left)-i)) + " more; --json lists all")
				break
			}
			t.left(&left[i])
		}
	}
	if len(rep.Warnings) > 0 {
		t.head("WHAT THE EVIDENCE LACKS", "")
		for _, w := range rep.Warnings {
			t.wrap("  "+plain(w.Text), "  ")
		}
	}
	t.line("")
	t.wrap(t.style(bold, plain(rep.Start)), "")
}

func (t *choosing) boundary(b *forecast.Boundary) {
	f := b.Forecast
	t.line("")
	t.line("  " + t.style(bold, fit(plain(b.Name), t.width-14)) + "  " + t.style(dim, b.Level))
	t.wrap("    "+plain(b.Reason), "    ")
	t.wrap("    key "+plain(listed(b.Key, "none: one entry for all"))+ignored(b.Ignored), "        ")
	t.wrap("    lifetime "+lifetime(b.TTLMs)+", "+invalidation(b), "        ")
	t.flowIn("    ", []part{
		{"", integer(f.Requests) + " requests"}, {"", integer(f.Hits) + " hits (" + percent(f.HitRatio) + ")"},
		{"", "saves " + millis(f.SavedMs-f.LookupMs)}, {"", staleText(f)}, {"", peaks(f.PeakKeys, f.PeakBytes)},
	})
	for _, n := range b.Notes {
		t.wrap("    "+t.style(dim, "note: "+plain(n)), "          ")
	}
	if t.opt.Explain {
		t.explain(b)
	}
}

func (t *choosing) left(b *forecast.Boundary) {
	name := fit(plain(b.Name), max(t.width/2-8, 24))
	t.wrap("  "+padRight(name, max(t.width/2-8, 24))+padLeft(percent(b.TimeShare), 7)+"  "+t.style(dim, plain(b.Reason)),
		strings.Repeat(" ", max(t.width/2-8, 24)+11))
}

// peaks says how much is kept at most. Without bytes, the size of the answers is not known.
func peaks(keys, bytes int64) string {
	text := "at most " + integer(keys) + one(keys, " entry", " entries")
	if bytes > 0 {
		text += ", " + size(float64(bytes))
	}
	return text
}

// flowIn is flow behind an indent.
func (t *choosing) flowIn(indent string, parts []part) {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.text
	}
	t.wrap(indent+strings.Join(texts, " · "), indent)
}

// wrap writes words in as many lines as they need, those after the first one behind an indent.
func (t *choosing) wrap(text, indent string) {
	lead := text[:len(text)-len(strings.TrimLeft(text, " "))]
	line, at, first := lead, len(lead), true
	for i, word := range strings.Split(text[len(lead):], " ") {
		w := width(stripped(word))
		if i > 0 && at+1+w > t.width && !first {
			t.line(line)
			line, at = indent, len(indent)
		} else if i > 0 {
			line += " "
			at++
		}
		line += word
		at += w
		first = false
	}
	t.line(line)
}

// stripped is a text without the colours that style put around it.
func stripped(s string) string {
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			return s
		}
		j := strings.IndexByte(s[i:], 'm')
		if j < 0 {
			return s
		}
		s = s[:i] + s[i+j+1:]
	}
}

func listed(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ", ")
}

func ignored(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "; not " + plain(strings.Join(list, ", "))
}

// lifetime writes a lifetime in its longest whole unit: 90s, 5m, 24h.
func lifetime(ms *int64) string {
	if ms == nil {
		return unknown
	}
	d := time.Duration(*ms) * time.Millisecond
	switch {
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(*ms, 10) + "ms"
}

func invalidation(b *forecast.Boundary) string {
	if b.How == "none" {
		return "dropped by nothing else"
	}
	var on []string
	for _, d := range b.On {
		on = append(on, plain(d.Table)+" (by "+d.By+")")
	}
	how := "dropped by writes to " + strings.Join(on, ", ")
	if strings.HasSuffix(b.How, "-fenced") {
		how += "; a fill that began before such a write does not store"
	}
	return how
}

func staleText(f *forecast.Figures) string {
	switch stale := f.StaleServes - f.Overlapping; {
	case f.Unjudged > 0 && f.Unjudged == f.Hits:
		return "stale serves not known"
	case f.StaleServes == 0:
		return "no stale serve"
	case stale == 0:
		return "no stale serve (" + integer(f.Overlapping) + " while a write was under way)"
	default:
		return integer(stale) + " stale serves, at most " + millis(f.MaxStalenessMs) + " old, half under " + millis(f.MedianStalenessMs)
	}
}
