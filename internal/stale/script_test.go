package stale_test

import (
	"bufio"
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// The language of testdata/*.stale. A file holds scripts; a script tells a history and what must be found in it.
//
//	# A comment. It tells the story.
//	sql NAME TEXT                a statement, later @NAME (before the first script: for all of the file)
//	process NAME pid=1 host=a version=v1 service=shop
//	== NAME                      begins a script
//	like NAME                    begins with the lines of an earlier script of the file, without what it expects
//	option grace=1s budget=0s    Options (and late, 3s); budget:FAMILY=60s for one family
//	without FIELD [LABEL…]       takes a field from all events, or from the labelled ones; "without LABEL:" takes events
//	late LABEL 3s                the event arrives that much later than it ended
//	[LABEL:] TIME [+DUR] ACTOR VERB …
//	expect …
//
// Events arrive in the order of the lines. TIME is hours:minutes:seconds or seconds after 10:00:00. ACTOR is
// process/trace, process alone (no trace), or "-" (no process). In one process events are numbered (seq) as they end.
// The verbs:
//
//	request GET /articles/{id} /articles/7 200 principal=ann    job NAME
//	get KEY hit =A       get KEY miss       set KEY =A fill=TIME ttl=60s tags=a,b
//	delete KEY removed=1   delete pattern=article:* removed=3   delete-tag TAG   clear   expire KEY   evict KEY
//	query SQL PARAM… rows=1 pks=7,8    SQL is @NAME or "quoted"
//	begin T   commit T   rollback T
//	change update articles pk=7 columns=title
//	task enqueue NAME id=1   start/fork/exit   mark NAME   recorder dropped=3 recording=off
//
// =A is a value by name: equal names have equal hashes; the same holds for params, pks and principals. "local" after a
// cache verb stands for layer=local store=lru, "http" for layer=http store=cdn. times=5 every=100ms repeats the event,
// each in a trace of its own. Two verbs stand for several events:
//
//	fill KEY =A @SQL PARAM… k=v…   a miss, the statement, a set at the end of DUR (k=v belong to the set, role and txn to both)
//	tx T @SQL PARAM… [; @SQL …]    begin, the statements, and a commit that ends with DUR
//
// Expectations name all findings of the report and all look-alikes, no more and no fewer:
//
//	expect none
//	expect forgot proven family=article:{} key=article:7 stale_reads=2 max_staleness=3s writer=/articles/{id} witness=fill,write
//	expect cannot-tell missing=fill_start candidates=stale-set,order
//	expect lookalike stampede family=article:{} count=3
//	expect coverage hits_judged=0.5
//	expect family article:{} hits=3 stale_reads=2      a name with blanks stands in quotes
//
// candidates and witness (labels of events, in order) name what must be among those of the finding.

// script is one history with what it expects.
type script struct {
	file, name string
	line       int // of its "=="
	grace      time.Duration
	late       time.Duration
	budgets    map[string]time.Duration // "default" and families
	lines      []*told
	expect     []expectation
}

// told is one event of a script.
type told struct {
	line   int
	label  string
	ev     event.Event
	actor  string
	arrive int64 // time at which it arrives where it is late, else 0
	noSeq  bool
}

type expectation struct {
	line   int
	text   string
	kind   string // finding, none, lookalike, coverage, family
	cause  string
	values map[string]string
}

type scriptError struct {
	file string
	line int
	what string
}

func (e *scriptError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.what) }

// epoch is 10:00:00 of the day on which all scripts play.
var epoch = time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC).UnixNano()

func hashOf(text string) event.Hash {
	h := fnv.New64a()
	h.Write([]byte(text))
	return event.Hash(max(h.Sum64(), 1))
}

type scriptParser struct {
	file    string
	line    int
	common  scope
	local   scope
	scripts []*script
	byName  map[string]*script
}

type scope struct {
	sql       map[string]string
	processes map[string]*event.Source
	first     string
}

func newScope() scope {
	return scope{sql: map[string]string{}, processes: map[string]*event.Source{}}
}

func (s scope) clone() scope {
	return scope{sql: maps.Clone(s.sql), processes: maps.Clone(s.processes), first: s.first}
}

// parseScripts reads one file. Its error names the file and the line.
func parseScripts(file, text string) (scripts []*script, err error) {
	p := &scriptParser{file: file, common: newScope(), byName: map[string]*script{}}
	defer func() {
		if r := recover(); r != nil {
			bad, ok := r.(*scriptError)
			if !ok {
				panic(r)
			}
			scripts, err = nil, bad
		}
	}()
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line++
		p.statement(strings.TrimSpace(lines.Text()))
	}
	if err := lines.Err(); err != nil {
		p.fail("%v", err)
	}
	for _, s := range p.scripts {
		for _, x := range s.expect {
			p.line = x.line
			for label := range strings.SplitSeq(x.values["witness"], ",") {
				if label != "" && !slices.ContainsFunc(s.lines, func(t *told) bool { return t.label == label }) {
					p.fail("no event has the label %q", label)
				}
			}
		}
		if len(s.expect) == 0 {
			p.line = s.line
			p.fail("script %q expects nothing; where nothing may be found: expect none", s.name)
		}
	}
	return p.scripts, nil
}

func (p *scriptParser) fail(format string, args ...any) {
	panic(&scriptError{p.file, p.line, fmt.Sprintf(format, args...)})
}

// words splits a line at blanks; a quoted part does not end a word, and a # after a blank begins a comment.
func (p *scriptParser) words(line string) []string {
	var words []string
	for rest := strings.TrimLeft(line, " \t"); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if rest[0] == '#' {
			break
		}
		end, quoted := 0, false
		for end < len(rest) && (quoted || rest[end] != ' ' && rest[end] != '\t') {
			quoted = quoted != (rest[end] == '"')
			end++
		}
		if quoted {
			p.fail("a quote is not closed: %s", rest)
		}
		words = append(words, rest[:end])
		rest = rest[end:]
	}
	return words
}

func (p *scriptParser) statement(line string) {
	if line == "" || line[0] == '#' {
		return
	}
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	sc := &p.common
	if len(p.scripts) > 0 {
		sc = &p.local
	}
	switch word {
	case "sql":
		name, text, ok := strings.Cut(rest, " ")
		if !ok {
			p.fail("expected: sql NAME TEXT")
		}
		sc.sql[name] = strings.TrimSpace(text)
		return
	case "process":
		p.process(sc, p.words(rest))
		return
	case "==":
		if rest == "" || p.byName[rest] != nil {
			p.fail("a script needs a name of its own, not %q", rest)
		}
		s := &script{file: p.file, name: rest, line: p.line, grace: time.Second, late: 3 * time.Second, budgets: map[string]time.Duration{}}
		p.scripts = append(p.scripts, s)
		p.byName[rest] = s
		p.local = p.common.clone()
		return
	}
	if len(p.scripts) == 0 {
		p.fail("%q before the first script (== NAME)", word)
	}
	s := p.scripts[len(p.scripts)-1]
	switch word {
	case "like":
		p.like(s, rest)
	case "option":
		p.option(s, p.words(rest))
	case "without":
		p.without(s, p.words(rest))
	case "late":
		p.arriveLate(s, p.words(rest))
	case "expect":
		p.expectation(s, rest)
	default:
		p.event(s, p.words(line))
	}
}

func (p *scriptParser) process(sc *scope, words []string) {
	if len(words) == 0 {
		p.fail("expected: process NAME pid=1 …")
	}
	src := &event.Source{Service: "shop", Host: "h1"}
	for _, w := range words[1:] {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			p.fail("expected name=value, not %q", w)
		}
		switch name {
		case "pid":
			src.Pid = p.number(value)
		case "host":
			src.Host = value
		case "version":
			src.Version, src.VersionFrom = value, "git"
		case "service":
			src.Service = value
		default:
			p.fail("a process has no %q", name)
		}
	}
	sc.processes[words[0]] = src
}

func (p *scriptParser) like(s *script, name string) {
	from := p.byName[name]
	if from == nil || from == s {
		p.fail("there is no script %q before this one", name)
	}
	s.grace, s.late = from.grace, from.late
	maps.Copy(s.budgets, from.budgets)
	for _, t := range from.lines {
		copied := *t
		copied.ev = copyEvent(t.ev)
		s.lines = append(s.lines, &copied)
	}
}

// copyEvent copies an event with its payload, so that a field can be taken from one script and not from another.
func copyEvent(e event.Event) event.Event {
	again := func(p any) {
		switch v := p.(type) {
		case **event.Request:
			if *v != nil {
				c := **v
				*v = &c
			}
		case **event.Query:
			if *v != nil {
				c := **v
				*v = &c
			}
		case **event.Txn:
			if *v != nil {
				c := **v
				*v = &c
			}
		case **event.Cache:
			if *v != nil {
				c := **v
				*v = &c
			}
		case **event.Change:
			if *v != nil {
				c := **v
				*v = &c
			}
		case **event.Task:
			if *v != nil {
				c := **v
				*v = &c
			}
		}
	}
	again(&e.Request)
	again(&e.Query)
	again(&e.Txn)
	again(&e.Cache)
	again(&e.Change)
	again(&e.Task)
	return e
}

func (p *scriptParser) option(s *script, words []string) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		d, err := time.ParseDuration(value)
		if err != nil {
			p.fail("%s: %v", w, err)
		}
		family, isBudget := strings.CutPrefix(name, "budget")
		switch {
		case name == "grace":
			s.grace = d
		case name == "late":
			s.late = d
		case isBudget:
			s.budgets[cmp.Or(strings.TrimPrefix(family, ":"), "default")] = d
		default:
			p.fail("there is no option %q; there are grace, late, budget and budget:FAMILY", name)
		}
	}
}

func (p *scriptParser) without(s *script, words []string) {
	if len(words) == 0 {
		p.fail("expected: without FIELD [LABEL…]")
	}
	if label, ok := strings.CutSuffix(words[0], ":"); ok {
		n := len(s.lines)
		s.lines = slices.DeleteFunc(s.lines, func(t *told) bool { return t.label == label })
		if n == len(s.lines) {
			p.fail("no event has the label %q", label)
		}
		return
	}
	found := false
	for _, t := range s.lines {
		if len(words) > 1 && !slices.Contains(words[1:], t.label) {
			continue
		}
		known, gone := withhold(&t.ev, words[0])
		if words[0] == "seq" {
			known, gone, t.noSeq = true, true, true
		}
		if !known {
			p.fail("the field %q cannot be withheld", words[0])
		}
		found = found || gone
	}
	if words[0] == "change" {
		s.lines = slices.DeleteFunc(s.lines, func(t *told) bool { return t.ev.Type == event.TypeChange })
	}
	if !found {
		p.fail("no event has the field %q", words[0])
	}
}

// withhold makes one field unknown. It says whether it knows the field and whether the event had it.
func withhold(e *event.Event, field string) (known, gone bool) {
	c, q := e.Cache, e.Query
	text := func(has bool, s *string) {
		if has && *s != "" {
			*s, gone = "", true
		}
	}
	known = true
	switch field {
	case "trace":
		text(true, &e.Trace)
	case "dur":
		gone = e.Dur.Known
		e.Dur = event.Opt[int64]{}
	case "pid", "host", "version":
		if e.Source != nil {
			src := *e.Source
			switch field {
			case "pid":
				gone = src.Pid != 0
				src.Pid = 0
			case "host":
				text(true, &src.Host)
			default:
				text(true, &src.Version)
				src.VersionFrom = ""
			}
			e.Source = &src
		}
	case "fill_start":
		if c != nil && c.FillStart != 0 {
			c.FillStart, gone = 0, true
		}
	case "removed":
		if c != nil && c.Removed.Known {
			c.Removed, gone = event.Opt[int64]{}, true
		}
	case "hit":
		if c != nil && c.Hit.Known {
			c.Hit, gone = event.Opt[bool]{}, true
		}
	case "value_kind":
		if c != nil {
			text(true, &c.ValueKind)
		}
	case "value_form":
		if c != nil {
			text(true, &c.ValueForm)
		}
	case "value_hash":
		if c != nil && c.ValueHash != 0 {
			c.ValueHash, gone = 0, true
		}
	case "layer":
		if c != nil {
			text(true, &c.Layer)
		}
	case "tags":
		if c != nil && c.Tags != nil {
			c.Tags, gone = nil, true
		}
	case "ttl_ms":
		if c != nil && c.TTLMs.Known {
			c.TTLMs, gone = event.Opt[int64]{}, true
		}
	case "txn":
		if c != nil {
			text(true, &c.Txn)
		}
		if q != nil {
			text(true, &q.Txn)
		}
	case "error":
		if c != nil {
			text(true, &c.Error)
		}
	case "role":
		if q != nil {
			text(true, &q.Role)
		}
	case "pks":
		if q != nil && q.PKs != nil {
			q.PKs, gone = nil, true
		}
	case "params":
		if q != nil && q.Params != nil {
			q.Params, gone = nil, true
		}
	case "principal":
		if e.Request != nil {
			text(true, &e.Request.Principal)
		}
	case "columns":
		if e.Change != nil && e.Change.Columns != nil {
			e.Change.Columns, gone = nil, true
		}
	case "isolation":
		if e.Txn != nil {
			text(true, &e.Txn.Isolation)
		}
	case "change":
		gone = e.Type == event.TypeChange
	default:
		known = false
	}
	return known, gone
}

func (p *scriptParser) arriveLate(s *script, words []string) {
	if len(words) != 2 {
		p.fail("expected: late LABEL 3s")
	}
	d, err := time.ParseDuration(words[1])
	if err != nil {
		p.fail("%v", err)
	}
	found := false
	for _, t := range s.lines {
		if t.label == words[0] {
			t.arrive, found = t.ev.End()+int64(d), true
		}
	}
	if !found {
		p.fail("no event has the label %q", words[0])
	}
}

func (p *scriptParser) expectation(s *script, text string) {
	words := p.words(text)
	if len(words) == 0 {
		p.fail("expected: expect none, expect CAUSE VERDICT …, expect lookalike …, expect coverage … or expect family …")
	}
	x := expectation{line: p.line, text: text, values: map[string]string{}}
	rest := words[1:]
	take := func() string {
		if len(rest) == 0 || strings.Contains(rest[0], "=") {
			p.fail("expect %s: a word is missing", words[0])
		}
		w := strings.Trim(rest[0], `"`)
		rest = rest[1:]
		return w
	}
	switch words[0] {
	case "none", "coverage":
		x.kind = words[0]
	case "lookalike", "family":
		x.kind, x.cause = words[0], take()
	case "cannot-tell":
		x.kind = "finding"
		x.values["verdict"] = "cannot-tell"
	default:
		if !slices.Contains(causes, words[0]) {
			p.fail("there is no cause %q", words[0])
		}
		x.kind, x.cause = "finding", words[0]
		x.values["verdict"] = take()
		if v := x.values["verdict"]; v != "proven" && v != "likely" && v != "any" {
			p.fail("a verdict is proven, likely or any, not %q", v)
		}
	}
	for _, w := range rest {
		name, value, ok := strings.Cut(w, "=")
		if !ok || !slices.Contains(expectable[x.kind], name) {
			p.fail("expect %s cannot say %q; it can say: %s", words[0], w, strings.Join(expectable[x.kind], ", "))
		}
		x.values[name] = strings.Trim(value, `"`)
	}
	s.expect = append(s.expect, x)
}

// causes are the codes of a finding.
var causes = []string{
	"forgot", "bypass", "external", "dependency", "key-drift", "order", "stale-set", "rollback", "peer", "lost", "index", "replica",
	"vary", "negative", "version", "ttl", "alias", "outer",
}

// expectable is what an expectation of each kind can say.
var expectable = map[string][]string{
	"none": {},
	"finding": {"missing", "candidates", "confirmed", "family", "key", "store", "layer", "stale_reads", "unconfirmed_reads",
		"principals", "max_staleness", "writer", "code", "sql", "witness", "advice"},
	"lookalike": {"family", "key", "count"},
	"coverage":  {"fills_with_reads", "writes_with_request", "hits_judged", "processes", "dropped", "off_ms"},
	"family":    {"hits", "misses", "hit_ratio", "stale_reads", "stale_ratio", "deletes", "deletes_removed_0", "lag_p99"},
}

func (p *scriptParser) number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.fail("%q is no number", s)
	}
	return n
}

func (p *scriptParser) duration(s string) int64 {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.fail("%v", err)
	}
	return int64(d)
}

// time reads 10:00:01.200, or 1.2: seconds after 10:00:00.
func (p *scriptParser) time(s string) int64 {
	if strings.Contains(s, ":") {
		t, err := time.Parse("15:04:05", s)
		if err != nil {
			p.fail("%q is no time such as 10:00:01.200 or 1.2", s)
		}
		day := time.Date(2026, 1, 2, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
		return day.UnixNano()
	}
	whole, part, _ := strings.Cut(s, ".")
	seconds := p.number(whole)
	if len(part) > 9 {
		p.fail("%q is finer than nanoseconds", s)
	}
	nanos := int64(0)
	if part != "" {
		nanos = p.number(part + strings.Repeat("0", 9-len(part)))
	}
	return epoch + seconds*1e9 + nanos
}
