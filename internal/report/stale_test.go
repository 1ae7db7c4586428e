package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/stale"
)

func known(v float64) *float64 { return &v }

// sampleStale has one finding of each kind that is shown in a way of its own, with texts that a client could choose.
func sampleStale() *stale.Report {
	const at = 1_790_000_000_000_000_000
	return &stale.Report{
		Schema: stale.Schema, From: at, To: at + 120e9, StaleReads: 41, Leaks: 1, Unjudged: 3,
		Coverage: stale.Coverage{FillsWithReads: known(1), WritesWithRequest: known(1), HitsJudged: known(0.98), Processes: 2, Events: 5000, Hits: 1200,
			Fills: 90, Writes: 12},
		Findings: []stale.Finding{
			{ID: "aa01", Cause: "vary", Verdict: stale.Proven, Confirmed: true, Family: "feed:{}", Key: "feed:1<script>\x1b[31m", Store: "redis:6379/0", Layer: "shared",
				StaleReads: 0, Principals: 2, Entries: 1, Advice: "put the identity into the key"},
			{ID: "bb02", Cause: "forgot", Verdict: stale.Proven, Confirmed: true, Family: "article:{}", Key: "article:7", Store: "redis:6379/0", Layer: "shared",
				StaleReads: 41, Principals: 17, Entries: 2, MaxStalenessMs: 58_100, FirstAt: at + 2e9, LastAt: at + 60e9, Mark: "deploy",
				Writer:  stale.Writer{Route: "PATCH /articles/{slug}", Code: "shop.views:patch:44", SQL: "UPDATE articles SET title = ? WHERE id = ?", Table: "articles"},
				Deleter: "shop.views:put:31", Misses: 120,
				Witness: []stale.Step{
					{At: at, What: "fill", Trace: "r1", Pid: 4242, Detail: "article:7 filled by GET /articles/{slug}"},
					{At: at + 300e6, What: "commit", Trace: "w1", Pid: 4242, Detail: "row of articles", Code: "shop.views:patch:44"},
					{At: at + 58_400e6, What: "refill", Trace: "r9", Pid: 4243, Detail: "hash differs"},
				},
				Advice: "delete article:{} after the commit"},
			{ID: "cc03", Cause: "", Verdict: stale.CannotTell, Candidates: []string{"key-drift", "lost"}, MissingField: "removed", Confirmed: true,
				Family: "user:{}", Key: "user:3", Store: "redis:6379/0", StaleReads: 2, Entries: 1},
			{ID: "dd04", Cause: "ttl", Verdict: stale.Likely, Family: "tags", Key: "tags", Store: "lru", Layer: "local", UnconfirmedReads: 3, Entries: 1},
		},
		Lookalikes: []stale.Lookalike{{Cause: "stampede", Family: "front", Key: "front", Count: 7}},
		Families: []stale.Family{
			{Family: "article:{}", Hits: 1000, Misses: 80, HitRatio: known(0.926), StaleReads: 41, StaleRatio: known(0.041), P50StalenessMs: known(20_000),
				MaxStalenessMs: known(58_100), Deletes: 9, DeletesRemoved: 1, LagP99Ms: known(12), Writes: 12},
			{Family: "feed:{}", Hits: 200, Misses: 10, HitRatio: known(0.952), Leaks: 1},
		},
		Routes: []stale.Route{{Route: "GET /articles/{slug}", StaleReads: 41}},
		Marks:  []stale.Mark{{Name: "deploy", At: at + 1e9}},
	}
}

func staleAsText(t *testing.T, rep *stale.Report, opt TerminalOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := StaleTerminal(&b, rep, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestStaleTerminal(t *testing.T) {
	golden(t, "stale.txt", []byte(staleAsText(t, sampleStale(), TerminalOptions{Width: 120})))
	colored := staleAsText(t, sampleStale(), TerminalOptions{Width: 120, Color: true})
	if !strings.Contains(colored, "\x1b[31maa01") {
		t.Errorf("the leak is not red:\n%s", colored)
	}
	plain := staleAsText(t, sampleStale(), TerminalOptions{Width: 120})
	if strings.Contains(plain, "\x1b") || strings.Contains(colored, "feed:1<script>\x1b[31m") {
		t.Error("a client's text moves the terminal")
	}
	if strings.Index(plain, "aa01") > strings.Index(plain, "bb02") {
		t.Error("the leak does not stand first")
	}
	for _, w := range []int{60, 80, 100} {
		for line := range strings.Lines(staleAsText(t, sampleStale(), TerminalOptions{Width: w})) {
			if width(strings.TrimRight(line, "\n")) > w && w >= 80 {
				t.Errorf("a line of %d columns on a terminal of %d: %s", width(line), w, line)
			}
		}
	}
}

// Nothing found reads as "clean" only where there was enough to judge.
func TestNothingFound(t *testing.T) {
	full := stale.Coverage{FillsWithReads: known(1), WritesWithRequest: known(1), HitsJudged: known(1), Hits: 500, Fills: 10, Writes: 4, Events: 900, Processes: 1}
	for name, c := range map[string]struct {
		change func(*stale.Coverage)
		clean  bool
		say    string
	}{
		"all judged":      {func(*stale.Coverage) {}, true, "No stale read was found · 500 hits judged"},
		"no hit":          {func(c *stale.Coverage) { c.Hits, c.HitsJudged = 0, nil }, false, "No cache hit was seen: there was nothing to judge"},
		"few judged":      {func(c *stale.Coverage) { c.HitsJudged = known(0.4) }, false, "40% of 500 hits could be judged"},
		"reads not known": {func(c *stale.Coverage) { c.FillsWithReads = known(0) }, false, "of 0% of 10 fills the database reads are known"},
		"writes apart":    {func(c *stale.Coverage) { c.WritesWithRequest = known(0.5) }, false, "50% of 4 writes belong to a request"},
		"dropped":         {func(c *stale.Coverage) { c.Dropped = 12 }, false, "12 events were dropped"},
		"late":            {func(c *stale.Coverage) { c.Late = 1 }, false, "1 event came later"},
		"clocks":          {func(c *stale.Coverage) { c.Skewed = 9 }, false, "clocks are out of step"},
		"a bound":         {func(c *stale.Coverage) { c.Reached = []string{"tables"} }, false, "bounds were reached (tables)"},
		"evicted":         {func(c *stale.Coverage) { c.Evicted = 9 }, false, "9 keys were forgotten"},
		"silent":          {func(c *stale.Coverage) { c.Silent = []string{"h1:7"} }, false, "fell silent without an end: h1:7"},
	} {
		rep := &stale.Report{Schema: stale.Schema, Coverage: full, Findings: []stale.Finding{}}
		c.change(&rep.Coverage)
		text := staleAsText(t, rep, TerminalOptions{Width: 160})
		if !strings.Contains(text, c.say) || StaleClean(rep) != c.clean {
			t.Errorf("%s: clean is %v, no %q in\n%s", name, StaleClean(rep), c.say, text)
		}
		if !c.clean && rep.Coverage.Hits > 0 && !strings.Contains(text, "which is not to say that there was none") {
			t.Errorf("%s reads as clean:\n%s", name, text)
		}
	}
}

func TestStaleShort(t *testing.T) {
	var b bytes.Buffer
	if err := StaleShort(&b, &stale.Report{}, TerminalOptions{}); err != nil || b.Len() > 0 {
		t.Errorf("a service without caches is told of stale reads: %v %q", err, b.String())
	}
	if err := StaleShort(&b, sampleStale(), TerminalOptions{Width: 120}); err != nil || !strings.Contains(b.String(), "bb02  forgot") {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestExplainTerminal(t *testing.T) {
	rep := sampleStale()
	var b bytes.Buffer
	for i := range rep.Findings {
		if err := ExplainTerminal(&b, &rep.Findings[i], TerminalOptions{Width: 110}); err != nil {
			t.Fatal(err)
		}
		b.WriteString("----\n")
	}
	golden(t, "explain.txt", b.Bytes())
}

func TestExplainJSON(t *testing.T) {
	var b bytes.Buffer
	if err := ExplainJSON(&b, &sampleStale().Findings[1]); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema, ID, Cause string
		Witness           []map[string]any
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got.Schema != ExplainSchema || got.ID != "bb02" || len(got.Witness) != 3 {
		t.Errorf("%v: %s", err, b.String())
	}
	if !strings.HasPrefix(strings.TrimSpace(b.String()), "{\n  \"schema\"") {
		t.Errorf("the schema is not the first member:\n%s", b.String())
	}
}

func TestStaleLine(t *testing.T) {
	rep := sampleStale()
	for i, want := range []string{
		"LEAK: vary, proven · feed:{} · demarc explain aa01",
		"stale read: forgot, proven · article:{} · 41 reads over 58.1 s · written by PATCH /articles/{slug} at shop.views:patch:44 · demarc explain bb02",
		"stale read: key-drift or lost, cannot tell: removed · user:{} · 2 reads · demarc explain cc03",
		"stale read: ttl, likely, unconfirmed · tags · 3? reads · demarc explain dd04",
	} {
		if got := StaleLine(&rep.Findings[i]); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestDependentsTerminal(t *testing.T) {
	var b bytes.Buffer
	d := &stale.DryRun{Dependents: stale.Dependents{Schema: "demarc.would-delete/1", SQL: "UPDATE articles SET title = ? WHERE id = ?", Tables: []string{"articles"}, Keys: 3, Dropped: 2, Nobody: 1,
		List: []stale.Dependent{
			{Key: "articles:list", Family: "articles:list", Store: "redis:6379/0", Table: "articles"},
			{Key: "article:7", Family: "article:{}", Store: "redis:6379/0", Table: "articles", Row: true, Dropped: "key", By: "PUT /articles/{id}"},
			{Key: "page:7", Family: "page:{}", Store: "redis:6379/0", Table: "articles", Row: true, Dropped: "tag", Tag: "articles"},
		}}}
	if err := DependentsTerminal(&b, d, TerminalOptions{Width: 120}); err != nil {
		t.Fatal(err)
	}
	const want = `Writes articles · 3 live keys depend on it · 2 in families that are dropped today · 1 that nothing drops

KEY            FAMILY         DEPENDS BY  DROPPED TODAY
articles:list  articles:list  table       nobody drops it
article:7      article:{}     row         by key, PUT /articles/{id}
page:7         page:{}        row         by tag articles
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
	b.Reset()
	if err := DependentsTerminal(&b, &stale.DryRun{}, TerminalOptions{}); err != nil || !strings.HasPrefix(b.String(), "It writes no table that was seen · 0 live keys") {
		t.Errorf("%v: %s", err, b.String())
	}
}

// What a dry run leaves out, and what it may have asked about by mistake, is said.
func TestDryRunTerminal(t *testing.T) {
	var b bytes.Buffer
	d := &stale.DryRun{Dependents: stale.Dependents{Tables: []string{"articles", "authors", "nosuch"}, Keys: 1, Dropped: 1, List: []stale.Dependent{
		{Key: "articles:v72:page:2", Family: "articles:v72:page:{}", Table: "articles", Dropped: "version", Tag: "ver:articles", By: "PATCH /articles/{id}"},
	}}, Retired: 101, Unread: []string{"authors", "nosuch"}, Unseen: []string{"nosuch"}}
	if err := DependentsTerminal(&b, d, TerminalOptions{Width: 140}); err != nil {
		t.Fatal(err)
	}
	const want = `Writes articles, authors, nosuch · 1 live key depends on it · 1 in families that are dropped today · 0 that nothing drops
No cached read of table authors was seen.
Table nosuch was never seen: no statement of the capture names it. Is the name right?
Left out: 101 keys of old versions, which nobody asks for any more.

KEY                  FAMILY                DEPENDS BY  DROPPED TODAY
articles:v72:page:2  articles:v72:page:{}  table       retired by ver:articles, PATCH /articles/{id}
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestStaleHTML(t *testing.T) {
	rep := sample()
	var b bytes.Buffer
	if err := HTML(&b, &rep, sampleStale()); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{`<section id="stale">`, "4 findings, 1 leak, 41 stale reads of 1,200 hits", `<h3 class="bad">vary</h3>`, "delete article:{} after the commit",
		"feed:1&lt;script&gt;", "key-drift or lost", "<time>"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(text, "feed:1<script>") || strings.Contains(text, "\x1b") {
		t.Error("a client's text is on the page as it came")
	}
	b.Reset()
	if err := HTML(&b, &rep, &stale.Report{}); err != nil || strings.Contains(b.String(), `id="stale"`) {
		t.Errorf("a service without caches has the section: %v", err)
	}
}
