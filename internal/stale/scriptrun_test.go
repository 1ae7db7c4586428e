package stale_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// report is what demarc.stale/1 says, read back from the JSON, so that the scripts hold the schema too.
type report struct {
	Schema     string             `json:"schema"`
	Coverage   map[string]float64 `json:"-"`
	Findings   []finding          `json:"findings"`
	Lookalikes []lookalike        `json:"lookalikes"`
	Families   []family           `json:"families"`
}

type finding struct {
	ID               string    `json:"id"`
	Cause            string    `json:"cause"`
	Verdict          string    `json:"verdict"`
	Candidates       []string  `json:"candidates"`
	MissingField     string    `json:"missing_field"`
	Confirmed        *bool     `json:"confirmed"`
	Family           string    `json:"family"`
	Key              string    `json:"key"`
	Store            string    `json:"store"`
	Layer            string    `json:"layer"`
	StaleReads       int64     `json:"stale_reads"`
	UnconfirmedReads int64     `json:"unconfirmed_reads"`
	Principals       int64     `json:"principals"`
	MaxStalenessMs   float64   `json:"max_staleness_ms"`
	Writer           *writer   `json:"writer"`
	Witness          []witness `json:"witness"`
	Advice           string    `json:"advice"`
}

type writer struct {
	Route string `json:"route"`
	Code  string `json:"code"`
	SQL   string `json:"sql"`
}

type witness struct {
	At     int64           `json:"at"`
	What   string          `json:"what"`
	Trace  string          `json:"trace"`
	Pid    int64           `json:"pid"`
	Detail json.RawMessage `json:"detail"`
}

type lookalike struct {
	Cause  string `json:"cause"`
	Family string `json:"family"`
	Key    string `json:"key"`
	Count  int64  `json:"count"`
}

type family struct {
	Family          string  `json:"family"`
	Hits            int64   `json:"hits"`
	Misses          int64   `json:"misses"`
	HitRatio        float64 `json:"hit_ratio"`
	StaleReads      int64   `json:"stale_reads"`
	StaleRatio      float64 `json:"stale_ratio"`
	Deletes         int64   `json:"deletes"`
	DeletesRemoved0 int64   `json:"deletes_removed_0"`
	LagP99Ms        float64 `json:"lag_p99_ms"`
}

// asReport reads the report that a detector gives.
func asReport(t testing.TB, rep *stale.Report) report {
	t.Helper()
	text, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var c struct{ Coverage map[string]json.RawMessage }
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	r.Coverage = map[string]float64{}
	for name, raw := range c.Coverage {
		if v, err := strconv.ParseFloat(string(raw), 64); err == nil {
			r.Coverage[name] = v
		}
	}
	if r.Schema != "demarc.stale/1" {
		t.Fatalf("the schema is %q", r.Schema)
	}
	return r
}

// options are the detector's options for a script.
func (s *script) options() stale.Options {
	return stale.Options{Grace: s.grace, Budgets: s.budgets, Late: s.late}
}

// detect gives events to a new detector in batches of the size and returns its final report.
func detect(t testing.TB, opt stale.Options, events []event.Event, size int) *stale.Report {
	t.Helper()
	d := stale.New(opt)
	for batch := range slices.Chunk(events, size) {
		if err := d.Add(batch); err != nil {
			t.Fatal(err)
		}
	}
	d.Finish()
	return d.Report()
}

// allScripts reads every script of testdata, by file.
func allScripts(t testing.TB) map[string][]*script {
	t.Helper()
	files, err := filepath.Glob("testdata/*.stale")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	all := map[string][]*script{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scripts, err := parseScripts(file, string(text))
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".stale")] = scripts
	}
	return all
}

func TestScripts(t *testing.T) {
	for file, scripts := range allScripts(t) {
		t.Run(file, func(t *testing.T) {
			for _, s := range scripts {
				t.Run(s.name, func(t *testing.T) {
					rep := asReport(t, detect(t, s.options(), s.events(), 100))
					for _, e := range s.check(rep) {
						t.Error(e)
					}
					if t.Failed() {
						t.Logf("found:\n%s", rep)
					}
				})
			}
		})
	}
}

// TestScriptsPerCause holds the corpus to its promise: at least six scripts for each cause and look-alike, among them
// one that finds it and one that finds nothing, and for each cause one that cannot tell.
func TestScriptsPerCause(t *testing.T) {
	all := allScripts(t)
	for _, cause := range append(slices.Clone(causes), "stampede", "unstable-key", "not-a-cache") {
		scripts := all[cause]
		var found, none, open int
		for _, s := range scripts {
			for _, x := range s.expect {
				switch {
				case x.cause == cause:
					found++
				case x.kind == "none":
					none++
				case x.values["verdict"] == "cannot-tell":
					open++
				}
			}
		}
		lookalike := !slices.Contains(causes, cause)
		if len(scripts) < 6 || found == 0 || none == 0 || open == 0 && !lookalike {
			t.Errorf("testdata/%s.stale has %d scripts; %d find it, %d find nothing, %d cannot tell", cause, len(scripts), found, none, open)
		}
	}
}

func (r report) String() string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  %s %s family=%s key=%s", f.Cause, f.Verdict, f.Family, f.Key)
		if f.MissingField != "" || len(f.Candidates) > 0 {
			fmt.Fprintf(&b, " missing=%s candidates=%s", f.MissingField, strings.Join(f.Candidates, ","))
		}
		fmt.Fprintf(&b, " stale_reads=%d unconfirmed_reads=%d principals=%d max_staleness=%v", f.StaleReads, f.UnconfirmedReads, f.Principals,
			time.Duration(f.MaxStalenessMs*1e6))
		if f.Writer != nil {
			fmt.Fprintf(&b, " writer=%+v", *f.Writer)
		}
		b.WriteByte('\n')
		for _, w := range f.Witness {
			fmt.Fprintf(&b, "      %s %s trace=%s pid=%d %s\n", clock(w.At), w.What, w.Trace, w.Pid, w.Detail)
		}
	}
	for _, l := range r.Lookalikes {
		fmt.Fprintf(&b, "  lookalike %s family=%s key=%s count=%d\n", l.Cause, l.Family, l.Key, l.Count)
	}
	for _, f := range r.Families {
		fmt.Fprintf(&b, "  family %+v\n", f)
	}
	fmt.Fprintf(&b, "  coverage %v\n", r.Coverage)
	return b.String()
}

func clock(at int64) string { return time.Unix(0, at).UTC().Format("15:04:05.000") }

// check compares a report with what the script expects, one error for each difference.
func (s *script) check(rep report) []error {
	var errs []error
	say := func(line int, format string, args ...any) {
		errs = append(errs, &scriptError{s.file, line, fmt.Sprintf(format, args...)})
	}
	findings, lookalikes := slices.Clone(rep.Findings), slices.Clone(rep.Lookalikes)
	for _, f := range findings {
		if len(f.Witness) > 8 {
			say(s.line, "the witness of %s has %d events, eight are allowed", f.Cause, len(f.Witness))
		}
		if !slices.IsSortedFunc(f.Witness, func(a, b witness) int { return int(max(min(a.At-b.At, 1), -1)) }) {
			say(s.line, "the witness of %s is not in order", f.Cause)
		}
		if f.ID == "" || f.Advice == "" && f.Verdict != "cannot-tell" {
			say(s.line, "%s lacks its id or advice", f.Cause)
		}
	}
	for _, x := range s.expect {
		switch x.kind {
		case "finding":
			best, why := -1, []string(nil)
			for i, f := range findings {
				if w := x.finding(s, f); best < 0 || len(w) < len(why) {
					best, why = i, w
				}
			}
			switch {
			case best < 0:
				say(x.line, "not found: %s", x.text)
			case len(why) > 0:
				say(x.line, "not found: %s: %s", x.text, strings.Join(why, "; "))
			default:
				findings = slices.Delete(findings, best, best+1)
			}
		case "lookalike":
			i := slices.IndexFunc(lookalikes, func(l lookalike) bool {
				return l.Cause == x.cause && x.is("family", l.Family) && x.is("key", l.Key) && x.is("count", strconv.FormatInt(l.Count, 10))
			})
			if i < 0 {
				say(x.line, "not found: %s", x.text)
				continue
			}
			lookalikes = slices.Delete(lookalikes, i, i+1)
		case "coverage":
			for name, want := range x.values {
				if got, known := rep.Coverage[name]; !known || !x.near(got, want, 0.005) {
					say(x.line, "coverage %s is %v, not %s", name, got, want)
				}
			}
		case "family":
			i := slices.IndexFunc(rep.Families, func(f family) bool { return f.Family == x.cause })
			if i < 0 {
				say(x.line, "the report has no family %s", x.cause)
				continue
			}
			f := rep.Families[i]
			for name, got := range map[string]float64{"hits": float64(f.Hits), "misses": float64(f.Misses), "hit_ratio": f.HitRatio,
				"stale_reads": float64(f.StaleReads), "stale_ratio": f.StaleRatio, "deletes": float64(f.Deletes),
				"deletes_removed_0": float64(f.DeletesRemoved0)} {
				if want, asked := x.values[name]; asked && !x.near(got, want, 0.005) {
					say(x.line, "%s of %s is %v, not %s", name, x.cause, got, want)
				}
			}
			if want, asked := x.values["lag_p99"]; asked && !x.nearTime(f.LagP99Ms, want) {
				say(x.line, "lag_p99 of %s is %v ms, not %s", x.cause, f.LagP99Ms, want)
			}
		}
	}
	for _, f := range findings {
		say(s.line, "found and not expected: %s %s of %s, %d stale reads", f.Cause, f.Verdict, f.Key, f.StaleReads)
	}
	for _, l := range lookalikes {
		say(s.line, "found and not expected: lookalike %s of %s", l.Cause, l.Family)
	}
	return errs
}

// is says whether a text is what the expectation wants, or it wants nothing of it.
func (x *expectation) is(name, got string) bool {
	want, asked := x.values[name]
	return !asked || got == want
}

func (x *expectation) near(got float64, want string, within float64) bool {
	w, err := strconv.ParseFloat(want, 64)
	return err == nil && math.Abs(got-w) <= within
}

// nearTime compares a time in ms with a duration: 50 ms and 2 % may lie between.
func (x *expectation) nearTime(gotMs float64, want string) bool {
	d, err := time.ParseDuration(want)
	ms := float64(d) / 1e6
	return err == nil && math.Abs(gotMs-ms) <= 50+ms/50
}

// finding says in what a finding is not the expected one.
func (x *expectation) finding(s *script, f finding) (why []string) {
	differ := func(name, got string) { why = append(why, fmt.Sprintf("%s is %s", name, got)) }
	if verdict := x.values["verdict"]; verdict == "cannot-tell" {
		if f.Verdict != verdict {
			differ("verdict", f.Cause+" "+f.Verdict)
		}
	} else if f.Cause != x.cause || verdict != "any" && f.Verdict != verdict || verdict == "any" && f.Verdict == "cannot-tell" {
		differ("cause", f.Cause+" "+f.Verdict)
	}
	var w writer
	if f.Writer != nil {
		w = *f.Writer
	}
	for name, got := range map[string]string{"missing": f.MissingField, "family": f.Family, "key": f.Key, "store": f.Store, "layer": f.Layer,
		"code":        w.Code,
		"stale_reads": strconv.FormatInt(f.StaleReads, 10), "unconfirmed_reads": strconv.FormatInt(f.UnconfirmedReads, 10),
		"principals": strconv.FormatInt(f.Principals, 10)} {
		if !x.is(name, got) {
			differ(name, got)
		}
	}
	if want, asked := x.values["confirmed"]; asked && (f.Confirmed == nil || strconv.FormatBool(*f.Confirmed) != want) {
		differ("confirmed", fmt.Sprint(f.Confirmed))
	}
	if want, asked := x.values["max_staleness"]; asked && !x.nearTime(f.MaxStalenessMs, want) {
		differ("max_staleness", fmt.Sprint(f.MaxStalenessMs, " ms"))
	}
	if want, asked := x.values["writer"]; asked && !strings.HasSuffix(w.Route, want) {
		differ("writer", w.Route)
	}
	if want, asked := x.values["sql"]; asked && !strings.Contains(w.SQL, want) {
		differ("sql", w.SQL)
	}
	if want, asked := x.values["advice"]; asked && !strings.Contains(f.Advice, want) {
		differ("advice", f.Advice)
	}
	if want, asked := x.values["candidates"]; asked {
		for _, c := range strings.Split(want, ",") {
			if !slices.Contains(f.Candidates, c) {
				differ("candidates", strings.Join(f.Candidates, ","))
				break
			}
		}
	}
	if want, asked := x.values["witness"]; asked {
		if label := s.missingInWitness(strings.Split(want, ","), f.Witness); label != "" {
			differ("witness", "without "+label)
		}
	}
	return why
}

// missingInWitness returns the first label none of whose events the witness has, in the order of the labels.
func (s *script) missingInWitness(labels []string, ws []witness) string {
	for _, label := range labels {
		i := slices.IndexFunc(ws, func(w witness) bool {
			return slices.ContainsFunc(s.lines, func(t *told) bool {
				return t.label == label && w.At >= t.ev.At && w.At <= t.ev.End() && (t.ev.Trace == "" || w.Trace == t.ev.Trace)
			})
		})
		if i < 0 {
			return label
		}
		ws = ws[i+1:]
	}
	return ""
}
