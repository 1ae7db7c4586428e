package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/demarc-dev/demarc/internal/compare"
)

// CompareMarkdown writes a comparison as Markdown for a pull request: the totals and what changed, the rest folded away.
func CompareMarkdown(w io.Writer, res *compare.Result) error {
	m := &markdown{}
	m.line("## " + markdownVerdict(res))
	m.line("")
	m.line("| | |")
	m.line("|---|---|")
	m.line("| before | " + escapeMarkdown(compareSide(res.Before)) + " |")
	m.line("| after | " + escapeMarkdown(compareSide(res.After)) + " |")
	m.line("")
	m.line(escapeMarkdown(compareSummary(res)))
	m.section("Over all routes", pick(res.Totals, nil), res)
	m.section("Changed", pick(res.Routes, func(r *compare.Row) bool {
		return r.Verdict == compare.Better || r.Verdict == compare.Worse
	}), res)
	if rest := pick(res.Routes, func(r *compare.Row) bool {
		return r.Verdict != compare.Better && r.Verdict != compare.Worse
	}); len(rest) > 0 {
		m.line("")
		m.line(fmt.Sprintf("<details><summary>%s figures without a claim</summary>", integer(int64(len(rest)))))
		m.table(rest, res)
		m.line("")
		m.line("</details>")
	}
	for i, list := range [][]compare.Only{res.New, res.Gone} {
		if len(list) == 0 {
			continue
		}
		m.line("")
		m.line("### " + []string{"New routes", "Gone routes"}[i])
		m.line("")
		for _, o := range list {
			m.line(fmt.Sprintf("- %s: %s %s, p50 %s", escapeMarkdown(plain(o.Route)), integer(o.Requests),
				one(o.Requests, "request", "requests"), millisOr(o.P50Ms)))
		}
	}
	if len(res.Warnings) > 0 {
		m.line("")
		m.line("### Doubts")
		m.line("")
		for i, d := range res.Warnings {
			m.line(fmt.Sprintf("%d. %s", i+1, escapeMarkdown(compareDoubt(d))))
		}
	}
	_, err := io.WriteString(w, m.b.String())
	return err
}

func pick(rows []compare.Row, want func(*compare.Row) bool) []*compare.Row {
	var out []*compare.Row
	for i := range rows {
		if want == nil || want(&rows[i]) {
			out = append(out, &rows[i])
		}
	}
	return out
}

func markdownVerdict(res *compare.Result) string {
	switch res.Verdict {
	case compare.Better:
		return "Better than before"
	case compare.Worse:
		return "Worse than before"
	case compare.Mixed:
		return "Some better, some worse than before"
	case compare.TooFew:
		return "Too few requests to compare"
	}
	return "No difference can be claimed"
}

type markdown struct{ b strings.Builder }

func (m *markdown) line(s string) { m.b.WriteString(s + "\n") }

func (m *markdown) section(title string, rows []*compare.Row, res *compare.Result) {
	if len(rows) == 0 {
		return
	}
	m.line("")
	m.line("### " + title)
	m.table(rows, res)
}

func (m *markdown) table(rows []*compare.Row, res *compare.Result) {
	m.line("")
	m.line("| route | metric | before | after | change | " + percent(res.Confidence) + " interval | p | requests | |")
	m.line("|---|---|--:|--:|--:|--:|--:|--:|---|")
	for _, r := range rows {
		verdict := compareVerdict(r)
		if r.Verdict == compare.Better || r.Verdict == compare.Worse {
			verdict = "**" + verdict + "**"
		}
		change := ""
		if r.Change != nil {
			change = compareChange(r, r.Change)
		}
		cells := []string{plain(r.Route), compareMetric(r.Metric), compareFigure(r.Metric, r.Before), compareFigure(r.Metric, r.After),
			change, compareInterval(r), compareP(r), compareN(r)}
		for i := range cells {
			cells[i] = escapeMarkdown(cells[i])
		}
		note := ""
		if f := footnote(res, r); f != "" {
			note = " " + escapeMarkdown(f)
		}
		if r.Verdict == compare.Nothing {
			verdict = `\~`
		}
		m.line("| " + strings.Join(cells, " | ") + " | " + verdict + note + " |")
	}
}

// escapeMarkdown keeps recorded text from being read as Markdown or HTML.
func escapeMarkdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '&':
			b.WriteString("&amp;")
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '@': // would call somebody
			b.WriteString("&#64;")
		case '\\', '`', '*', '_', '[', ']', '|', '~', '!', '#':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.ReplaceAll(b.String(), "://", ":&#8203;//")
}
