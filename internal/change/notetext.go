package change

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/compare"
)

// body writes the text of a note, section by section.
func (n *noteWriter) body(caption string) {
	r := n.r
	n.f("\n# %s\n", mdText(r.Topic))
	n.f("\n%s\n", mdText(n.summary()))

	n.section("What was slow or wrong")
	n.para(r.Reason)
	n.WriteByte('\n')
	if r.Baseline.Noticed == "" {
		n.f("- where the user noticed it: *the record does not say*\n")
	}
	n.named("where the user noticed it", r.Baseline.Noticed)
	n.named("route", codeIf(r.Baseline.Route))
	n.named("input", codeIf(r.Baseline.Input))
	n.named("the command that failed", codeIf(r.Baseline.Failing))
	n.named("finding", codeIf(r.Finding))
	if r.Baseline.SlowQuery != "" {
		n.f("\nThe statement that was slow:\n%s", fenced("sql", r.Baseline.SlowQuery))
	}
	if r.Context != "" {
		n.f("\nWhat one must know to understand it:\n")
		n.para(r.Context)
	}

	n.section("The cause")
	if r.Cause == "" {
		n.open("why it was slow or wrong")
	}
	n.para(r.Cause)

	n.section("The change")
	if r.Change == "" {
		n.open("what was changed")
	}
	n.para(r.Change)
	if r.Boundary != "" {
		n.f("\nIt introduces the boundary %s, as `boundaries.yaml` declares it.\n", code(r.Boundary))
	}

	n.figures(caption)
	n.checks()
	n.commands()
	n.touched()

	n.section("Taking it back")
	if r.Rollback == "" && r.Command("production", "rollback") == nil {
		n.open("how it is taken back")
	}
	n.para(r.Rollback)
	if c := r.Command("production", "rollback"); c != nil {
		n.WriteString(fenced("sh", c.Run))
		n.f("\n`demarc change rollback %s` runs it. %s\n", r.Name(), n.rehearsed())
	}

	n.section("Assumptions")
	n.list(r.Assumptions, "what must stay true for the change to be right")

	n.section("What this note does not claim")
	n.list(slices.Concat(r.NotClaimed, n.limits()), "")

	n.checklist()
	n.f("\n---\n\nWritten by `demarc change note` from %s and what was run for it, which lies in `%s/`. Times are UTC.\n", code(filepath.Base(r.path)), r.Name())
}

func codeIf(text string) string {
	if text == "" {
		return ""
	}
	return code(text)
}

func (n *noteWriter) list(items []string, what string) {
	if len(items) == 0 {
		n.open(what)
		return
	}
	n.WriteByte('\n')
	for _, i := range items {
		n.f("- %s\n", strings.ReplaceAll(strings.TrimSpace(i), "\n", "\n  "))
	}
}

// figures writes the figures before and after, or before alone, and the picture.
func (n *noteWriter) figures(caption string) {
	n.section("Figures before and after")
	c := n.in.Compared
	if c == nil {
		n.f("\nThere is no comparison with figures after the change: %s\n", cmp.Or(n.in.NoFigure, "no capture was named."))
		if len(n.r.Baseline.Figures) == 0 {
			return
		}
		n.f("\nBefore:\n\n| metric | of | value | n | command |\n|---|---|---:|---:|---|\n")
		for _, f := range n.r.Baseline.Figures {
			count := "not known"
			if f.N > 0 {
				count = fmt.Sprint(f.N)
			}
			n.f("| %s | %s | %s | %s | %s |\n", cell(f.Metric), cell(cmp.Or(f.Of, "all routes")), formatValue(f.Metric, f.Value), count, cell(code(f.Command)))
		}
		return
	}
	n.f("\n%s, from `%s`:\n\n", mdText(cmp.Or(n.r.Baseline.Route, "All routes")), strings.ReplaceAll(n.in.Command, "`", "'"))
	n.f("| metric | before | after | change | %g %% interval | p | n before, after | verdict |\n|---|---:|---:|---:|---|---:|---|---|\n", 100*c.Confidence)
	for _, row := range n.rows {
		n.f("| %s | %s | %s | %s | %s | %s | %d, %d | %s |\n", row.Metric, optional(row.Metric, row.Before), optional(row.Metric, row.After),
			cmp.Or(formatChange(row), "–"), formatInterval(row), formatP(row.P), row.N[0], row.N[1], verdictText(row))
	}
	n.f("\nBefore: %s. After: %s. p is corrected for %d tests (%s). `~` means that no difference can be claimed.\n", sideText(&c.Before), sideText(&c.After), c.Tests, c.Correction)
	if n.picture {
		n.f("\n![%s](%s)\n\n*%s Source: %s.*\n", mdText(caption), filepath.Base(n.r.figurePath()), mdText(caption), code(n.in.Command))
	}
	if len(c.Warnings) > 0 {
		n.f("\nDoubts about these figures:\n\n")
		for _, w := range c.Warnings {
			where := ""
			if w.Route != "" {
				where = mdText(w.Route) + ": "
			}
			n.f("- %s%s\n", where, mdText(w.Text))
		}
	}
	if w := worseElsewhere(c, n.r.Baseline.Route); len(w) > 0 {
		n.f("\n**Worse elsewhere:** %s\n", strings.Join(w, "; "))
	}
}

// worseElsewhere names the other routes for which the comparison found something worse.
func worseElsewhere(c *compare.Result, route string) []string {
	var worse []string
	for _, r := range c.Routes {
		if r.Route != route && r.Verdict == compare.Worse && len(worse) < 20 {
			worse = append(worse, fmt.Sprintf("%s of %s %s → %s", r.Metric, mdText(r.Route), optional(r.Metric, r.Before), optional(r.Metric, r.After)))
		}
	}
	return worse
}

func optional(metric string, v *float64) string {
	if v == nil {
		return "not known"
	}
	return formatValue(metric, *v)
}

func formatInterval(r compare.Row) string {
	if r.CI == nil {
		return "–"
	}
	limit := func(v *float64) string {
		if v == nil {
			return "…"
		}
		return formatDelta(r, *v)
	}
	return limit(r.CI[0]) + " to " + limit(r.CI[1])
}

func formatP(p *float64) string {
	switch {
	case p == nil:
		return "–"
	case *p < 0.0001:
		return "< 0.0001"
	}
	return fmt.Sprintf("%.2g", *p)
}

func verdictText(r compare.Row) string {
	if r.Verdict == compare.TooFew && r.Needs > 0 {
		return fmt.Sprintf("too few: %d needed on each side", r.Needs)
	}
	return string(r.Verdict)
}

func sideText(s *compare.Side) string {
	text := fmt.Sprintf("%d requests in %.0f s of %s", s.Requests, s.Seconds, code(s.Name))
	if s.Window != "" {
		text += ", " + s.Window
	}
	if len(s.Services) > 0 {
		text += " (" + mdText(strings.Join(s.Services, ", ")) + ")"
	}
	return text
}

// checks writes what was expected and what came of it, from the newest run on production that checked it, else on staging.
func (n *noteWriter) checks() {
	if len(n.r.Expected) == 0 {
		return
	}
	n.section("What was expected")
	results, where := n.checked()
	if results == nil {
		n.WriteByte('\n')
		for _, l := range n.r.ExpectedLines() {
			n.f("- %s: *not checked*\n", code(l))
		}
		return
	}
	n.f("\n| check | result | value | bound | |\n|---|---|---:|---:|---|\n")
	for _, c := range results {
		n.f("| %s | %s | %s | %s | %s |\n", cell(code(c.Check)), c.State, plainNumber(c.Value), plainNumber(c.Bound), cell(mdText(firstLine(c.Detail))))
	}
	n.f("\n%s\n", where)
}

func plainNumber(v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.6g", *v)
}

// checked returns the newest answers to the record's checks after the change, and says where they come from.
func (n *noteWriter) checked() ([]CheckResult, string) {
	for _, kind := range []string{KindVerify, KindShip, KindRehearse} {
		for i := len(n.in.Runs) - 1; i >= 0; i-- {
			run := n.in.Runs[i]
			if run.Kind != kind {
				continue
			}
			var found *Step
			for k := range run.Steps {
				s := &run.Steps[k]
				// Of a rehearsal, those with the change in place: before its rollback.
				if s.Name == "rollback" {
					break
				}
				if len(s.Checks) > 0 {
					found = s
				}
			}
			if found == nil {
				continue
			}
			command := cmp.Or(map[string]string{KindShip: "demarc change ship", KindVerify: "demarc change verify", KindRehearse: "demarc change rehearse"}[kind])
			return found.Checks, fmt.Sprintf("Checked at %s on %s by `%s %s`.", stamp(found.At), cmp.Or(run.Environment, "production"), command, n.r.Name())
		}
	}
	return nil, ""
}

// commands writes the commands of the change and what was run of it.
func (n *noteWriter) commands() {
	n.section("Commands")
	there := false
	for _, name := range CommandNames {
		general := n.r.Commands.Get(name)
		if general != nil {
			n.f("\n%s%s\n%s", name, (&runbookStep{command: general}).needs(), fenced("sh", general.Run))
			there = true
		}
		for _, environment := range []string{"staging", "production"} {
			if e := n.r.Environments.Get(environment); e != nil && e.Commands.Get(name) != nil {
				c := n.r.Command(environment, name)
				n.f("\n%s on %s%s\n%s", name, environment, (&runbookStep{command: c}).needs(), fenced("sh", c.Run))
				there = true
			}
		}
	}
	if !there {
		n.open("with which commands it was done")
	}
	var runs []*Run
	for _, run := range n.in.Runs {
		if run.Kind != KindItem {
			runs = append(runs, run)
		}
	}
	if len(runs) == 0 {
		return
	}
	n.f("\nWhat was run:\n\n| when | what | on | by | revision | took | outcome |\n|---|---|---|---|---|---:|---|\n")
	for _, run := range runs[max(0, len(runs)-50):] {
		outcome := run.State
		if run.Detail != "" {
			outcome += ": " + firstLine(run.Detail)
		}
		n.f("| %s | %s | %s | %s | %s | %s | %s |\n", stamp(run.At), run.Kind, cell(run.Environment), cell(mdText(run.By)), cell(codeIf(run.Commit)), run.Duration, cell(mdText(outcome)))
	}
}

// touched writes files, security settings and what must be equal.
func (n *noteWriter) touched() {
	n.section("Files touched")
	if files := n.files(); len(files) == 0 {
		n.open("which files it touches")
	} else {
		n.WriteByte('\n')
		for _, f := range files {
			n.f("- %s\n", code(f))
		}
	}
	if n.in.Files != nil {
		n.f("\nFrom `git diff --name-only %s`.\n", n.span())
	}
	security := n.r.Security
	if n.in.Files != nil {
		security = n.in.Security
	}
	if len(security) > 0 {
		n.f("\nSecurity settings in the lines that differ (their values are not written down):\n\n")
		for _, s := range security {
			n.f("- %s\n", code(s.String()))
		}
	}
	if len(n.r.Config) > 0 {
		n.f("\nWhat must be equal on staging and production:\n\n")
		for _, c := range n.r.Config {
			n.f("- %s\n", c.String())
		}
	}
}

// span is the range of revisions of the change.
func (n *noteWriter) span() string {
	return n.r.Base + ".." + cmp.Or(n.r.shippedRevision(n.in.Runs), "HEAD")
}

// shippedRevision is what was checked out when the change was last shipped, empty where that is not known or files differed
// from it.
func (r *Record) shippedRevision(runs []*Run) string {
	ship := Last(runs, KindShip, "")
	if ship == nil || strings.HasSuffix(ship.Commit, "+dirty") {
		return ""
	}
	return ship.Commit
}

// Span returns the revisions between which the change lies: the record's base, and what was shipped (empty: what lies there
// now).
func (r *Record) Span(runs []*Run) (base, end string) { return r.Base, r.shippedRevision(runs) }

// rehearsed says whether the way back has been tried.
func (n *noteWriter) rehearsed() string {
	for i := len(n.in.Runs) - 1; i >= 0; i-- {
		run := n.in.Runs[i]
		if run.Kind != KindRehearse {
			continue
		}
		s := run.Step("rollback")
		switch {
		case s == nil:
			return fmt.Sprintf("The rehearsal of %s did not get as far as the rollback.", stamp(run.At))
		case s.State == StatePassed:
			return fmt.Sprintf("It was rehearsed on %s at %s and took %s.", cmp.Or(run.Environment, "staging"), stamp(s.At), cmp.Or(s.Duration, "a time that was not measured"))
		default:
			return fmt.Sprintf("**Its rehearsal at %s failed:** %s.", stamp(s.At), mdText(firstLine(cmp.Or(s.Detail, s.State))))
		}
	}
	return "**It has never been rehearsed.**"
}

// limits are the claims that this note cannot make, from what was and what was not run.
func (n *noteWriter) limits() []string {
	var l []string
	c := n.in.Compared
	if c == nil {
		l = append(l, "that anything became faster or more correct: no figures before and after were compared")
	} else {
		var none, few []string
		for _, r := range n.rows {
			switch r.Verdict {
			case compare.Nothing:
				none = append(none, r.Metric)
			case compare.TooFew:
				few = append(few, r.Metric)
			}
		}
		if len(none) > 0 {
			l = append(l, "any difference, or that there is none, in "+strings.Join(none, ", "))
		}
		if len(few) > 0 {
			l = append(l, "anything about "+strings.Join(few, ", ")+": there were too few requests")
		}
		if len(c.Unasked) > 0 {
			l = append(l, "anything about "+strings.Join(c.Unasked, ", ")+": neither capture holds evidence")
		}
		if n.r.Baseline.Route != "" {
			l = append(l, "anything about routes other than "+code(n.r.Baseline.Route))
		}
		l = append(l, fmt.Sprintf("that the figures hold for other traffic than the %d requests before and %d after that were compared", c.Before.Requests, c.After.Requests))
	}
	results, _ := n.checked()
	for _, r := range results {
		if r.State == StateUndecided {
			l = append(l, "that "+code(r.Check)+" holds: there was too little to decide")
		}
	}
	switch n.status.State {
	case Draft, Rehearsed:
		l = append(l, "anything about production: the change was not shipped")
	case Shipped:
		if n.ship.Step(StepWatch) == nil || n.ship.Step(StepWatch).State == StateSkipped {
			l = append(l, "that no new errors came up after the release: it was not watched")
		}
	}
	if Last(n.in.Runs, KindRehearse, "") == nil {
		l = append(l, "that it can be taken back: nothing was rehearsed")
	}
	return l
}

func (n *noteWriter) checklist() {
	if len(n.status.Items) == 0 {
		return
	}
	n.section("Checklist")
	n.f("\n| state | item | command | exit | took | when |\n|---|---|---|---:|---:|---|\n")
	for _, i := range n.status.Items {
		exit, at := "–", "–"
		if i.ExitCode != nil {
			exit = fmt.Sprint(*i.ExitCode)
		}
		if i.At != nil {
			at = stamp(*i.At)
		}
		n.f("| %s | %s | %s | %s | %s | %s |\n", i.State, cell(mdText(i.Item)), cell(codeIf(firstLine(i.Command))), exit, cmp.Or(i.Duration, "–"), at)
	}
}

// cell writes a text that is Markdown already into a cell of a table.
func cell(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), `\|`, "|")
	return strings.ReplaceAll(text, "|", `\|`)
}
