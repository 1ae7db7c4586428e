package report

import (
	"cmp"
	_ "embed"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/stale"
)

//go:embed stale.html
var staleSection string

// Limits of the section: the JSON has everything.
const (
	maxStaleFindings = 50
	maxStaleFamilies = 50
)

// staleView is the section about stale reads.
type staleView struct {
	Summary    string
	Bad        bool
	Doubts     []string
	Findings   []staleFinding
	Lookalikes []stale.Lookalike
	Families   []stale.Family
	Coverage   string
}

type staleFinding struct {
	Cause, Line, Text, SQL string
	Leak                   bool
	Steps                  []staleStep
	Facts                  []fact
}

type staleStep struct{ At, What, Detail, Code string }

// newStaleView returns nil where no cache was seen.
func newStaleView(st *stale.Report) *staleView {
	if st == nil || len(st.Families) == 0 && len(st.Findings) == 0 {
		return nil
	}
	v := &staleView{Doubts: StaleDoubts(st), Lookalikes: st.Lookalikes[:min(len(st.Lookalikes), maxStaleFindings)],
		Coverage: strings.Join(staleFacts(st), "; ") + "."}
	n := int64(len(st.Findings))
	switch {
	case n > 0:
		v.Bad = true
		v.Summary = integer(n) + one(n, " finding", " findings")
		if st.Leaks > 0 {
			v.Summary += ", " + integer(st.Leaks) + one(st.Leaks, " leak", " leaks")
		}
		v.Summary += ", " + integer(st.StaleReads) + one(st.StaleReads, " stale read", " stale reads") + ofHits(st)
	case st.Coverage.Hits == 0:
		v.Summary = "No cache hit was seen: there was nothing to judge."
	case StaleClean(st):
		v.Summary = "No stale read was found; " + integer(st.Coverage.Hits) + one(st.Coverage.Hits, " hit was", " hits were") + " judged."
	default:
		v.Summary = "No stale read was found, which is not to say that there was none."
	}
	for i := range st.Findings[:min(len(st.Findings), maxStaleFindings)] {
		v.Findings = append(v.Findings, newStaleFinding(&st.Findings[i]))
	}
	v.Families = slices.Clone(st.Families)
	slices.SortStableFunc(v.Families, func(a, b stale.Family) int {
		return cmp.Or(cmp.Compare(b.StaleReads, a.StaleReads), cmp.Compare(b.Hits+b.Misses, a.Hits+a.Misses))
	})
	v.Families = v.Families[:min(len(v.Families), maxStaleFamilies)]
	return v
}

func newStaleFinding(f *stale.Finding) staleFinding {
	x := staleFinding{Cause: causeOf(f), Text: causeTexts[f.Cause], SQL: f.Writer.SQL, Leak: Leak(f)}
	if f.Verdict == stale.CannotTell {
		var texts []string
		for _, c := range f.Candidates {
			texts = append(texts, plain(c)+": "+causeTexts[c])
		}
		x.Text = strings.Join(texts, "; ")
	}
	parts := []string{verdictOf(f), plain(f.Family)}
	if n := f.StaleReads + f.UnconfirmedReads; n > 0 {
		parts = append(parts, readsOf(f)+one(n, " read", " reads"))
	}
	if f.MaxStalenessMs > 0 {
		parts = append(parts, "up to "+millis(f.MaxStalenessMs)+" old")
	}
	x.Line = strings.Join(parts, " · ")
	for _, s := range f.Witness {
		x.Steps = append(x.Steps, staleStep{clockTime(s.At), s.What, s.Detail, s.Code})
	}
	add := func(label, value string) {
		if value != "" && value != unknown {
			x.Facts = append(x.Facts, fact{label, plain(value)})
		}
	}
	add("key", f.Key)
	add("store", strings.TrimSpace(f.Store+" "+f.Layer))
	add("writer", writerOf(f))
	add("delete at", f.Deleter)
	add("since the mark", f.Mark)
	add("advice", f.Advice)
	if f.Misses > 0 {
		add("a delete of the family", integer(f.Misses)+one(f.Misses, " miss", " misses")+" at once")
	}
	add("id", f.ID)
	return x
}
