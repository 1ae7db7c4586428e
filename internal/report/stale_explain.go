package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/stale"
)

// ExplainTerminal writes one finding: its story as a timeline, the code lines, and what helps.
func ExplainTerminal(w io.Writer, f *stale.Finding, opt TerminalOptions) error {
	t := &terminal{width: max(cmp.Or(opt.Width, 100), 60), color: opt.Color}
	style := bold
	if Leak(f) {
		style = red
	}
	parts := []part{{style, causeOf(f)}, {"", verdictOf(f)}, {"", plain(f.Family)}}
	if n := f.StaleReads + f.UnconfirmedReads; n > 0 {
		parts = append(parts, part{"", readsOf(f) + " stale" + one(n, " read", " reads")})
	}
	if f.MaxStalenessMs > 0 {
		parts = append(parts, part{"", "up to " + millis(f.MaxStalenessMs) + " old"})
	}
	if f.Principals > 0 {
		n := int64(f.Principals)
		parts = append(parts, part{"", integer(n) + one(n, " identity", " identities")})
	}
	t.flow(parts)
	if f.Verdict == stale.CannotTell {
		for _, c := range f.Candidates {
			t.wrap("  ", plain(c)+": "+causeTexts[c])
		}
		if f.MissingField != "" {
			t.wrap("", "What is missing to tell them apart: "+plain(f.MissingField)+".")
		}
	} else {
		t.wrap("", causeTexts[f.Cause]+".")
	}
	where := plain(f.Key) + " in " + plain(cmp.Or(f.Store, "an unnamed store"))
	if f.Layer != "" {
		where += " (" + plain(f.Layer) + ")"
	}
	if f.Entries > 1 {
		where += ", the first of " + integer(f.Entries) + " entries"
	}
	t.line("")
	t.wrap("key      ", where)
	t.timeline(f.Witness)
	t.line("")
	if s := writerOf(f); s != unknown {
		t.wrap("writer   ", s)
	}
	if f.Writer.SQL != "" && f.Writer.Route+f.Writer.Code != "" {
		t.wrap("         ", plain(f.Writer.SQL))
	}
	if f.Deleter != "" {
		t.wrap("delete   ", "at "+plain(f.Deleter))
	}
	if f.Uninstrumented {
		t.wrap("         ", "or a process of the service that has no recorder")
	}
	if f.Mark != "" {
		t.wrap("since    ", "after the mark "+plain(f.Mark))
	}
	if f.Advice != "" {
		t.wrap("advice   ", plain(f.Advice))
	}
	if f.Misses > 0 {
		t.wrap("cost     ", "a delete of the whole family makes "+integer(f.Misses)+one(f.Misses, " miss", " misses")+" at once")
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// timeline writes steps with their time, how long after the one before, and where they happened.
func (t *terminal) timeline(steps []stale.Step) {
	if len(steps) == 0 {
		return
	}
	t.line("")
	gap, name := 0, 0
	gaps := make([]string, len(steps))
	for i, s := range steps {
		if i > 0 {
			gaps[i] = "+" + millis(float64(s.At-steps[i-1].At)/1e6)
		}
		gap, name = max(gap, width(gaps[i])), max(name, width(plain(s.What)))
	}
	for i, s := range steps {
		lead := fmt.Sprintf("  %s  %s  %s  ", clockTime(s.At), padLeft(gaps[i], gap), padRight(plain(s.What), name))
		text := plain(s.Detail)
		if s.Code != "" {
			text += " at " + plain(s.Code)
		}
		var from []string
		if s.Trace != "" {
			from = append(from, "trace "+plain(s.Trace))
		}
		if s.Pid != 0 {
			from = append(from, fmt.Sprintf("pid %d", s.Pid))
		}
		if len(from) > 0 {
			text += " (" + strings.Join(from, ", ") + ")"
		}
		t.wrap(lead, text)
	}
}

// DependentsTerminal writes what a statement or a route would make old, and what nobody drops today.
func DependentsTerminal(w io.Writer, d *stale.DryRun, opt TerminalOptions) error {
	t := &terminal{width: max(cmp.Or(opt.Width, 100), 60), color: opt.Color}
	what := "It writes no table that was seen"
	if len(d.Tables) > 0 {
		what = "Writes " + plain(strings.Join(d.Tables, ", "))
	}
	parts := []part{{bold, what}, {"", integer(d.Keys) + one(d.Keys, " live key depends", " live keys depend") + " on it"}}
	if d.Keys > 0 {
		parts = append(parts, part{"", integer(d.Dropped) + " in families that are dropped today"})
		style := ""
		if d.Nobody > 0 {
			style = red
		}
		parts = append(parts, part{style, integer(d.Nobody) + " that nothing drops"})
	}
	t.flow(parts)
	for _, name := range d.Unread {
		if slices.Contains(d.Unseen, name) {
			t.wrap("", "Table "+plain(name)+" was never seen: no statement of the capture names it. Is the name right?")
		} else {
			t.wrap("", "No cached read of table "+plain(name)+" was seen.")
		}
	}
	if d.Retired > 0 {
		t.wrap("", "Left out: "+integer(d.Retired)+one(d.Retired, " key of an old version, which nobody asks", " keys of old versions, which nobody asks")+" for any more.")
	}
	if len(d.List) == 0 {
		_, err := io.WriteString(w, t.b.String())
		return err
	}
	keys, families := width("KEY"), width("FAMILY")
	for _, x := range d.List {
		keys, families = max(keys, min(width(plain(x.Key)), 44)), max(families, min(width(plain(x.Family)), 30))
	}
	t.line("")
	t.line(t.style(dim, padRight("KEY", keys)+"  "+padRight("FAMILY", families)+"  DEPENDS BY  DROPPED TODAY"))
	for _, x := range d.List {
		by := "table"
		if x.Row {
			by = "row"
		}
		dropped, style := "nobody drops it", red
		if x.Dropped != "" {
			dropped, style = "by "+plain(x.Dropped), ""
			if x.Dropped == "version" {
				dropped = "retired by"
			}
			if x.Tag != "" {
				dropped += " " + plain(x.Tag)
			}
			if x.By != "" {
				dropped += ", " + plain(x.By)
			}
		}
		t.line(padRight(fit(plain(x.Key), keys), keys) + "  " + padRight(fit(plain(x.Family), families), families) + "  " + padRight(by, 10) + "  " +
			t.style(style, dropped))
	}
	if n := d.Keys - int64(len(d.List)); n > 0 {
		t.line(t.style(dim, "… and "+integer(n)+" more"))
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}
