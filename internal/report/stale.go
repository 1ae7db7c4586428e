package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/stale"
)

// StaleJSON writes stale reads as one indented JSON object (schema stale.Schema), members in a fixed order.
func StaleJSON(w io.Writer, rep *stale.Report) error { return indented(w, rep) }

// ExplainSchema names the JSON form of one finding.
const ExplainSchema = "demarc.explain/1"

// ExplainJSON writes one finding as one indented JSON object (schema ExplainSchema): the members of a finding of
// demarc.stale/1 behind the schema.
func ExplainJSON(w io.Writer, f *stale.Finding) error {
	return indented(w, struct {
		Schema string `json:"schema"`
		*stale.Finding
	}{ExplainSchema, f})
}

// DependentsJSON writes the answer to a dry run (schema demarc.would-delete/1).
func DependentsJSON(w io.Writer, d *stale.DryRun) error { return indented(w, d) }

func indented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// causeTexts say in a line what each cause means; docs/stale.md says more.
var causeTexts = map[string]string{
	"forgot":       "the writer drops nothing of this family, although others do",
	"bypass":       "this kind of write does not fire the invalidation that one-row writes do",
	"external":     "something outside the service wrote the row",
	"dependency":   "the written entity's own keys were dropped; this entry read the row too",
	"key-drift":    "the delete names another key than the set",
	"order":        "the delete stands on the wrong side of the commit",
	"stale-set":    "a fill in flight read before the write and stored after the delete",
	"rollback":     "the cached value comes from a transaction that never committed",
	"peer":         "dropped in one process, alive in another one's own cache",
	"lost":         "the invalidation was attempted and did not take effect",
	"index":        "the tag no longer knew the key that was set under it",
	"replica":      "filled after the invalidation from a replica that lagged behind",
	"vary":         "one key serves several people or inputs, whose values differ",
	"negative":     "\"none\", empty or an error was cached, and there is a value since",
	"version":      "another version of the code filled the entry, under the same key",
	"ttl":          "nothing but its lifetime ends an entry of this family",
	"alias":        "a caller changed the object that the in-process cache handed out",
	"outer":        "a layer above the service (browser, CDN, page cache) kept the old answer",
	"stampede":     "several readers computed one key at the same time: slow, not stale",
	"unstable-key": "the key differs each time for the same question: never hit, and no delete meets it",
	"not-a-cache":  "an old value that no cache held: a prefetch, an identity map, a long transaction",
}

// Leak says whether a finding is one key that serves several people.
func Leak(f *stale.Finding) bool { return f.Cause == "vary" }

// causeOf is the cause, or those that are possible.
func causeOf(f *stale.Finding) string {
	if f.Verdict == stale.CannotTell {
		if len(f.Candidates) == 0 {
			return "unknown"
		}
		return plain(strings.Join(f.Candidates, " or "))
	}
	return plain(f.Cause)
}

// verdictOf is the verdict with what it lacks.
func verdictOf(f *stale.Finding) string {
	switch {
	case f.Verdict == stale.CannotTell && f.MissingField != "":
		return "cannot tell: " + plain(f.MissingField)
	case f.Verdict == stale.CannotTell:
		return "cannot tell"
	case !f.Confirmed:
		return f.Verdict + ", unconfirmed"
	}
	return f.Verdict
}

// readsOf is how many reads a finding is about; those that no later fill confirms have a question mark.
func readsOf(f *stale.Finding) string {
	switch {
	case f.StaleReads == 0 && f.UnconfirmedReads > 0:
		return integer(f.UnconfirmedReads) + "?"
	case f.UnconfirmedReads > 0:
		return integer(f.StaleReads) + "+" + integer(f.UnconfirmedReads) + "?"
	}
	return integer(f.StaleReads)
}

func writerOf(f *stale.Finding) string {
	w := &f.Writer
	switch {
	case w.Route != "" && w.Code != "":
		return plain(w.Route + " at " + w.Code)
	case w.Route+w.Code != "":
		return plain(w.Route + w.Code)
	case w.SQL != "":
		return plain(w.SQL)
	case w.Table != "":
		return "table " + plain(w.Table)
	}
	return unknown
}

// StaleLine is one line about a finding, for a running service's terminal.
func StaleLine(f *stale.Finding) string {
	head := "stale read"
	if Leak(f) {
		head = "LEAK"
	}
	parts := []string{fmt.Sprintf("%s: %s, %s", head, causeOf(f), verdictOf(f)), clip(plain(f.Family), 60)}
	if n := f.StaleReads + f.UnconfirmedReads; n > 0 {
		reads := readsOf(f) + one(n, " read", " reads")
		if f.MaxStalenessMs > 0 {
			reads += " over " + millis(f.MaxStalenessMs)
		}
		parts = append(parts, reads)
	}
	if s := writerOf(f); s != unknown {
		parts = append(parts, "written by "+clip(s, 80))
	}
	return strings.Join(parts, " · ") + " · demarc explain " + plain(f.ID)
}

// StaleTerminal writes stale reads as text: leaks first, then findings by their reads, what only looks like it, the
// families, and what all that rests on. Nothing found at low coverage is said to be just that.
func StaleTerminal(w io.Writer, rep *stale.Report, opt TerminalOptions) error {
	t := &staleTerminal{terminal: terminal{width: max(cmp.Or(opt.Width, 100), 60), color: opt.Color, rows: cmp.Or(opt.Rows, 30)}, st: rep}
	t.staleSummary()
	t.staleFindings()
	t.lookalikes()
	t.families()
	t.marks()
	t.staleCoverage()
	_, err := io.WriteString(w, t.b.String())
	return err
}

// StaleShort writes the findings alone, as they stand at the end of a run: nothing where there are none and every hit
// that counts was judged, or where no cache was used.
func StaleShort(w io.Writer, rep *stale.Report, opt TerminalOptions) error {
	t := &staleTerminal{terminal: terminal{width: max(cmp.Or(opt.Width, 100), 60), color: opt.Color, rows: 8}, st: rep}
	if rep.Coverage.Hits == 0 && len(rep.Findings) == 0 {
		return nil
	}
	t.head("STALE READS", "")
	t.staleSummary()
	t.staleFindings()
	_, err := io.WriteString(w, t.b.String())
	return err
}

type staleTerminal struct {
	terminal
	st *stale.Report
}

func (t *staleTerminal) staleSummary() {
	st := t.st
	var parts []part
	switch {
	case len(st.Findings) > 0:
		n := int64(len(st.Findings))
		parts = append(parts, part{bold, integer(n) + one(n, " finding", " findings")})
		if st.Leaks > 0 {
			parts = append(parts, part{red, integer(st.Leaks) + one(st.Leaks, " leak", " leaks")})
		}
		if st.StaleReads > 0 {
			parts = append(parts, part{red, integer(st.StaleReads) + one(st.StaleReads, " stale read", " stale reads") + ofHits(st)})
		}
		if st.Unjudged > 0 {
			parts = append(parts, part{yellow, integer(st.Unjudged) + " more that no later fill confirms"})
		}
	case st.Coverage.Hits == 0:
		parts = append(parts, part{yellow, "No cache hit was seen: there was nothing to judge"})
	case StaleClean(st):
		parts = append(parts, part{bold, "No stale read was found"}, part{"", integer(st.Coverage.Hits) + one(st.Coverage.Hits, " hit", " hits") + " judged"})
	default:
		parts = append(parts, part{yellow, "No stale read was found, which is not to say that there was none"})
	}
	if st.From > 0 && st.To > st.From {
		parts = append(parts, part{"", "in " + millis(float64(st.To-st.From)/1e6) + " of events"})
	}
	t.flow(parts)
	for _, d := range StaleDoubts(st) {
		t.wrap(t.style(yellow, "!")+" ", plain(d))
	}
}

func ofHits(st *stale.Report) string {
	if st.Coverage.Hits < st.StaleReads || st.Coverage.Hits == 0 {
		return ""
	}
	return " of " + integer(st.Coverage.Hits) + " hits (" + percent(float64(st.StaleReads)/float64(st.Coverage.Hits)) + ")"
}

// enoughCoverage is the share above which what could not be seen is not pointed out beside the results.
const enoughCoverage = 0.95

// StaleClean says whether "nothing found" can be read as "nothing there": there were hits, nearly all of them were
// judged, the reads behind nearly all fills are known, and nothing of what was seen had to be left out.
func StaleClean(st *stale.Report) bool {
	return len(st.Findings) == 0 && st.Coverage.Hits > 0 && len(StaleDoubts(st)) == 0
}

// leastOpen is how many hits that no known value followed are worth a doubt.
const leastOpen = 20

// StaleDoubts are the reasons for which stale reads may have been missed, for people.
func StaleDoubts(st *stale.Report) []string {
	c := &st.Coverage
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	low := func(v *float64) bool { return v != nil && *v < enoughCoverage }
	if low(c.HitsJudged) {
		say("%s of %s hits could be judged; the entries behind the others were filled before the first event, or their reads are not known",
			percent(*c.HitsJudged), integer(c.Hits))
	}
	if low(c.FillsWithReads) {
		say("of %s of %s fills the database reads are known; what the others depend on is not", percent(*c.FillsWithReads), integer(c.Fills))
	}
	if low(c.WritesWithRequest) {
		say("%s of %s writes belong to a request or job that was seen; the others' deletes cannot be told from anybody's", percent(*c.WritesWithRequest),
			integer(c.Writes))
	}
	if c.LeftOpen >= leastOpen && float64(c.LeftOpen) >= (1-enoughCoverage)*float64(c.Hits) {
		say("%s of %s hits came after a write that may have changed what they are made of, and the value that was stored next is not known",
			integer(c.LeftOpen), integer(c.Hits))
	}
	for _, x := range []struct {
		n    int64
		text string
	}{
		{c.Dropped, "were dropped by recorders"},
		{c.Late, "came later than the bound, and what they concern was not judged"},
		{c.Skewed, "came from hosts whose clocks are out of step, and were not judged"},
	} {
		if x.n > 0 {
			say("%s %s %s", integer(x.n), one(x.n, "event", "events"), x.text)
		}
	}
	if c.Schemas {
		say("the service chooses schemas (SET search_path or the like): tables of one name in several of them are taken for one")
	}
	if c.OffMs > 0 {
		say("recording was switched off for %s (of all processes together); no entry from before is judged after it", millis(c.OffMs))
	}
	if len(c.Reached) > 0 {
		say("bounds were reached (%s): what came after them was left out", strings.Join(c.Reached, ", "))
	}
	if c.Evicted > 0 {
		say("%s keys were forgotten for want of room; later hits on them could not be judged", integer(c.Evicted))
	}
	if len(c.Silent) > 0 {
		say("fell silent without an end: %s", strings.Join(c.Silent[:min(len(c.Silent), 5)], ", "))
	}
	return out
}

func (t *staleTerminal) staleCoverage() {
	t.head("COVERAGE", "")
	t.wrap("", strings.Join(staleFacts(t.st), "; ")+".")
}

// staleFacts say what the findings rest on.
func staleFacts(st *stale.Report) []string {
	c := &st.Coverage
	facts := []string{
		integer(c.Events) + one(c.Events, " event", " events") + " from " + integer(c.Processes) + one(c.Processes, " process", " processes"),
		"hits judged: " + percentOr(c.HitsJudged) + " of " + integer(c.Hits),
		"fills with their reads: " + percentOr(c.FillsWithReads) + " of " + integer(c.Fills),
		"writes joined to a request: " + percentOr(c.WritesWithRequest) + " of " + integer(c.Writes),
		integer(c.Dropped) + " events dropped",
	}
	if c.Unconfirmed > 0 {
		facts = append(facts, integer(c.Unconfirmed)+" hits after a write that may have been meant, which no later fill confirms")
	}
	if c.Overflow > 0 {
		facts = append(facts, integer(c.Overflow)+" writes that may have touched an entry were not compared with it, for there were many before them")
	}
	if c.Doubled > 0 {
		facts = append(facts, integer(c.Doubled)+" events came twice")
	}
	if !c.ChangeLog {
		facts = append(facts, "the database's log was not read, so writes from outside the service were not seen")
	}
	return facts
}

func clockTime(at int64) string { return time.Unix(0, at).UTC().Format("15:04:05.000") }
