package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/stale"
)

func (t *staleTerminal) staleFindings() {
	shown := t.st.Findings[:min(len(t.st.Findings), t.rows)]
	if len(shown) == 0 {
		return
	}
	cols := []struct {
		title string
		cell  func(*stale.Finding) string
		right bool
		most  int
	}{
		{"ID", func(f *stale.Finding) string { return plain(f.ID) }, false, 20},
		{"CAUSE", causeOf, false, 28},
		{"VERDICT", verdictOf, false, 26},
		{"FAMILY", func(f *stale.Finding) string { return plain(f.Family) }, false, 30},
		{"READS", readsOf, true, 14},
		{"LONGEST", func(f *stale.Finding) string {
			if f.MaxStalenessMs == 0 {
				return "·"
			}
			return millis(f.MaxStalenessMs)
		}, true, 12},
		{"WRITER", writerOf, false, 60},
	}
	widths := make([]int, len(cols))
	rest := t.width
	for i, c := range cols {
		widths[i] = width(c.title)
		for k := range shown {
			widths[i] = max(widths[i], min(width(c.cell(&shown[k])), c.most))
		}
		rest -= widths[i] + 2
	}
	// The widest give way on narrow terminals: the writer, the family, the causes.
	for _, i := range []int{6, 3, 1, 2} {
		if rest < -2 {
			give := min(-2-rest, max(widths[i]-10, 0))
			widths[i] -= give
			rest += give
		}
	}
	row := func(cell func(i int) string, style string) {
		var b strings.Builder
		for i, c := range cols {
			s := fit(cell(i), widths[i])
			if c.right {
				s = padLeft(s, widths[i])
			} else {
				s = padRight(s, widths[i])
			}
			b.WriteString(s + "  ")
		}
		t.line(t.style(style, strings.TrimRight(b.String(), " ")))
	}
	t.line("")
	row(func(i int) string { return cols[i].title }, dim)
	for k := range shown {
		f := &shown[k]
		style := ""
		switch {
		case Leak(f):
			style = red
		case f.Verdict == stale.CannotTell:
			style = yellow
		}
		row(func(i int) string { return cols[i].cell(f) }, style)
	}
	if n := len(t.st.Findings) - len(shown); n > 0 {
		t.line(t.style(dim, fmt.Sprintf("… and %d more (--json has them all)", n)))
	}
	t.line("")
	t.wrap("", "demarc explain "+plain(shown[0].ID)+" tells the events of a finding in order, and what helps.")
}

func (t *staleTerminal) lookalikes() {
	if len(t.st.Lookalikes) == 0 {
		return
	}
	t.head("LOOK-ALIKES", "not stale, but worth knowing")
	for _, l := range t.st.Lookalikes[:min(len(t.st.Lookalikes), t.rows)] {
		t.wrap("  ", fmt.Sprintf("%s %s, %s times, such as %s: %s", plain(l.Cause), clip(plain(l.Family), 50), integer(l.Count),
			clip(plain(l.Key), 60), causeTexts[l.Cause]))
	}
}

func (t *staleTerminal) families() {
	list := slices.Clone(t.st.Families)
	slices.SortStableFunc(list, func(a, b stale.Family) int {
		return cmp.Or(cmp.Compare(b.StaleReads+b.Leaks, a.StaleReads+a.Leaks), cmp.Compare(b.Hits+b.Misses, a.Hits+a.Misses))
	})
	if len(list) == 0 {
		return
	}
	seconds := float64(t.st.To-t.st.From) / 1e9
	type col struct {
		title string
		cell  func(*stale.Family) string
	}
	cols := []col{
		{"HITS", func(f *stale.Family) string { return integer(f.Hits) }},
		{"RATIO", func(f *stale.Family) string { return percentOr(f.HitRatio) }},
		{"STALE", func(f *stale.Family) string { return integer(f.StaleReads) }},
		{"P50", func(f *stale.Family) string { return millisOr(f.P50StalenessMs) }},
		{"LONGEST", func(f *stale.Family) string { return millisOr(f.MaxStalenessMs) }},
		{"DELETES", func(f *stale.Family) string { return integer(f.Deletes) }},
		{"OF NONE", func(f *stale.Family) string { return integer(f.DeletesRemoved) }},
		{"LAG P99", func(f *stale.Family) string { return millisOr(f.LagP99Ms) }},
	}
	if seconds > 0 {
		cols = append(cols, col{"WRITES", func(f *stale.Family) string {
			if f.Writes == 0 {
				return "·"
			}
			rate := float64(f.Writes) / seconds
			return perSecond(&rate)
		}})
	}
	shown := list[:min(len(list), t.rows)]
	t.head("FAMILIES", "of keys, by their shape; WRITES to what their fills read")
	longest := width("FAMILY")
	for k := range shown {
		longest = max(longest, width(plain(shown[k].Family)))
	}
	var widths []int
	var name int
	for {
		widths = widths[:0]
		rest := t.width
		for _, c := range cols {
			w := width(c.title)
			for k := range shown {
				w = max(w, width(c.cell(&shown[k])))
			}
			widths = append(widths, w)
			rest -= w + 2
		}
		name = max(min(longest, rest), 12)
		// Narrow terminals lose what matters least.
		drop := slices.IndexFunc(cols, func(c col) bool { return slices.Contains([]string{"OF NONE", "P50"}, c.title) })
		if drop < 0 {
			drop = slices.IndexFunc(cols, func(c col) bool { return slices.Contains([]string{"LAG P99", "RATIO", "WRITES"}, c.title) })
		}
		if rest >= min(longest, 20) || drop < 0 {
			break
		}
		cols = slices.Delete(cols, drop, drop+1)
	}
	b := padRight("FAMILY", name)
	for i, c := range cols {
		b += "  " + padLeft(c.title, widths[i])
	}
	t.line(t.style(dim, b))
	for k := range shown {
		f := &shown[k]
		b := padRight(fit(plain(f.Family), name), name)
		for i, c := range cols {
			s := padLeft(c.cell(f), widths[i])
			if c.title == "STALE" && f.StaleReads > 0 {
				s = t.style(red, s)
			}
			b += "  " + s
		}
		t.line(b)
	}
	if n := len(list) - len(shown); n > 0 {
		t.line(t.style(dim, fmt.Sprintf("… and %d more (--json has them all)", n)))
	}
}

// marks says how many findings and stale reads first showed after each mark: what a deploy brought.
func (t *staleTerminal) marks() {
	if len(t.st.Marks) == 0 || len(t.st.Findings) == 0 {
		return
	}
	t.head("BY MARK", "where a finding's first stale read lies")
	say := func(name string, at int64) {
		findings, reads := int64(0), int64(0)
		for i := range t.st.Findings {
			if f := &t.st.Findings[i]; f.Mark == name {
				findings++
				reads += f.StaleReads
			}
		}
		text := "before the first mark"
		if name != "" {
			text = "after " + plain(name)
			if at > 0 {
				text += " (" + clockTime(at) + ")"
			}
		}
		t.line(fmt.Sprintf("  %s: %s %s, %s stale %s", text, integer(findings), one(findings, "finding", "findings"), integer(reads), one(reads, "read", "reads")))
	}
	if slices.ContainsFunc(t.st.Findings, func(f stale.Finding) bool { return f.Mark == "" }) {
		say("", 0)
	}
	seen := map[string]bool{}
	for _, m := range t.st.Marks {
		if !seen[m.Name] {
			seen[m.Name] = true
			say(m.Name, m.At)
		}
	}
}
