package check

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Schema names the JSON form of Report; docs/json.md describes it. Members are added under the same version, none is
// renamed or removed.
const Schema = "demarc.check/1"

// Report is what came of a list of checks. Lists are never nil.
type Report struct {
	Schema     string     `json:"schema"`
	Verdict    Verdict    `json:"verdict"`  // fail where any failed, else undecided where any was, else pass
	Capture    string     `json:"capture"`  // "" where none was looked at
	Baseline   string     `json:"baseline"` // "" where there was none
	Start      string     `json:"start"`    // RFC 3339, UTC
	DurationMS int64      `json:"duration_ms"`
	Counts     Counts     `json:"counts"`
	Checks     []Result   `json:"checks"`
	Boundaries []Declared `json:"boundaries"` // what --boundaries found
	Watch      *Watched   `json:"watch"`      // what --watch saw; null without it
	Warnings   []string   `json:"warnings"`   // doubts about the figures
}

// Counts counts results by verdict, those of boundaries and of the watch with them.
type Counts struct {
	Pass      int `json:"pass"`
	Fail      int `json:"fail"`
	Undecided int `json:"undecided"`
}

// Declared is what the running caches show of one boundary's key, lifetime or drops.
type Declared struct {
	Boundary string  `json:"boundary"`
	Family   string  `json:"family"` // "" where none was found
	What     string  `json:"what"`   // key, ttl or drops
	Verdict  Verdict `json:"verdict"`
	Declared string  `json:"declared"`
	Seen     string  `json:"seen"` // "not seen" where there was nothing to judge
}

// Watched is what a watch of the live service saw.
type Watched struct {
	Seconds float64  `json:"seconds"` // asked
	Watched float64  `json:"watched"` // done
	Lines   int64    `json:"lines"`   // of the log
	Errors  int64    `json:"errors"`  // lines that tell of an error
	New     []Shape  `json:"new"`     // shapes of error lines that the baseline did not have, most frequent first
	Known   []Shape  `json:"known"`   // those that it had
	Polls   int64    `json:"polls"`   // questions to health addresses
	Failed  int64    `json:"failed"`  // of these
	Notes   []string `json:"notes"`
}

// Shape is an error line without what differs from one to the next.
type Shape struct {
	Shape string `json:"shape"`
	Count int64  `json:"count"`
	First string `json:"first"` // RFC 3339, UTC: when the watch read it
	Last  string `json:"last"`
}

// Finish counts the results and gives the whole its verdict.
func (r *Report) Finish() {
	r.Schema = Schema
	r.Counts = Counts{}
	add := func(v Verdict) {
		switch v {
		case Pass:
			r.Counts.Pass++
		case Fail:
			r.Counts.Fail++
		default:
			r.Counts.Undecided++
		}
	}
	for _, c := range r.Checks {
		add(c.Verdict)
	}
	for _, d := range r.Boundaries {
		add(d.Verdict)
	}
	if r.Checks == nil {
		r.Checks = []Result{}
	}
	if r.Boundaries == nil {
		r.Boundaries = []Declared{}
	}
	if r.Warnings == nil {
		r.Warnings = []string{}
	}
	if w := r.Watch; w != nil {
		for _, list := range []*[]Shape{&w.New, &w.Known} {
			if *list == nil {
				*list = []Shape{}
			}
		}
		if w.Notes == nil {
			w.Notes = []string{}
		}
	}
	switch {
	case r.Counts.Fail > 0:
		r.Verdict = Fail
	case r.Counts.Undecided > 0:
		r.Verdict = Undecided
	default:
		r.Verdict = Pass
	}
}

// ExitCode is the exit code of the verdict: a failure beats a doubt.
func (r *Report) ExitCode() int {
	switch r.Verdict {
	case Fail:
		return fault.ExitCheck
	case Undecided:
		return fault.ExitTooFew
	}
	return fault.ExitOK
}

// JSON writes the report.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// Text says how the report is drawn.
type Text struct {
	Width int // columns; 0: 100
	Color bool
}

var verdictColor = map[Verdict]string{Pass: "32", Fail: "31", Undecided: "33"}

func (t Text) style(code, s string) string {
	if !t.Color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Table writes the report as text, one line a check.
func (r *Report) Table(w io.Writer, opt Text) error {
	width := max(opt.Width, 60)
	if opt.Width == 0 {
		width = 100
	}
	var b strings.Builder
	line := func(v Verdict, title, says string) {
		label := fmt.Sprintf("%-10s", v)
		one := title + "  " + says
		b.WriteString(opt.style(verdictColor[v], label))
		if says == "" || uniseg.StringWidth(one) <= width-10 {
			b.WriteString(strings.TrimRight(one, " ") + "\n")
			return
		}
		b.WriteString(title + "\n" + strings.Repeat(" ", 12) + says + "\n")
	}
	for _, c := range r.Checks {
		line(c.Verdict, c.Title(), plainText(c.Says()))
		if c.Verdict != Pass && c.Tail != "" {
			for _, l := range lastLines(c.Tail, 10) {
				b.WriteString("            | " + plainText(l) + "\n")
			}
		}
	}
	for _, d := range r.Boundaries {
		line(d.Verdict, plainText(d.Boundary)+", "+d.What, plainText("declared "+d.Declared+"; "+d.Seen))
	}
	if r.Watch != nil {
		r.Watch.text(&b, opt)
	}
	for _, text := range r.Warnings {
		b.WriteString(opt.style("33", "warning   ") + plainText(text) + "\n")
	}
	fmt.Fprintf(&b, "%s: %d passed, %d failed, %d undecided\n", opt.style(verdictColor[r.Verdict], string(r.Verdict)), r.Counts.Pass, r.Counts.Fail,
		r.Counts.Undecided)
	_, err := io.WriteString(w, b.String())
	return err
}

func (w *Watched) text(b *strings.Builder, opt Text) {
	for _, s := range w.New {
		fmt.Fprintf(b, "%s%s: %s\n", opt.style("31", "new error "), times(s.Count), plainText(s.Shape))
	}
	for _, n := range w.Notes {
		b.WriteString("note      " + plainText(n) + "\n")
	}
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return count(n) + " times"
}

func lastLines(s string, n int) []string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}

// Failures says on one line each what failed, with value and bound side by side.
func (r *Report) Failures() []string {
	var list []string
	for _, c := range r.Checks {
		if c.Verdict == Fail {
			list = append(list, strings.TrimSuffix("failed: "+c.Title()+": "+plainText(c.Says()), ": "))
		}
	}
	for _, d := range r.Boundaries {
		if d.Verdict == Fail {
			list = append(list, plainText(fmt.Sprintf("failed: %s of %s: declared %s; %s", d.What, d.Boundary, d.Declared, d.Seen)))
		}
	}
	return list
}

// The form of JUnit that CI systems read.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Stamp    string      `xml:"timestamp,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
	}
)

// JUnit writes the report as JUnit XML. What is undecided is an error there, since CI systems count "skipped" as well.
func (r *Report) JUnit(w io.Writer) error {
	s := junitSuite{
		Name: "demarc check", Tests: r.Counts.Pass + r.Counts.Fail + r.Counts.Undecided, Failures: r.Counts.Fail,
		Errors: r.Counts.Undecided, Time: seconds(r.DurationMS), Stamp: strings.TrimSuffix(r.Start, "Z"),
	}
	add := func(class, name string, v Verdict, says, out string, ms int64) {
		c := junitCase{Class: class, Name: name, Time: seconds(ms), Out: xmlText(out)}
		switch v {
		case Fail:
			c.Failure = &junitMessage{says, "fail"}
		case Undecided:
			c.Error = &junitMessage{says, "undecided"}
		}
		s.Cases = append(s.Cases, c)
	}
	for _, c := range r.Checks {
		var ms int64
		if c.DurationMS != nil {
			ms = *c.DurationMS
		}
		add("demarc."+string(c.Kind), c.Title(), c.Verdict, plainText(c.Says()), c.Tail, ms)
	}
	for _, d := range r.Boundaries {
		add("demarc.boundary", plainText(d.Boundary)+", "+d.What, d.Verdict, plainText("declared "+d.Declared+"; "+d.Seen), "", 0)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(ms int64) string { return fmt.Sprintf("%.3f", float64(ms)/1000) }

// xmlText leaves out what XML cannot hold.
func xmlText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= 0x20 && r != utf8.RuneError && r != 0xfffe && r != 0xffff {
			return r
		}
		return -1
	}, s)
}
