package stale_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// event reads the line of one event (or of a verb that stands for several).
func (p *scriptParser) event(s *script, words []string) {
	b := builder{p: p, s: s}
	if label, ok := strings.CutSuffix(words[0], ":"); ok && !isDigit(label[0]) {
		b.label, words = label, words[1:]
	}
	if len(words) < 3 || !isDigit(words[0][0]) {
		p.fail("expected: [LABEL:] TIME [+DUR] ACTOR VERB …, or one of sql, process, ==, like, option, without, late, expect")
	}
	b.at = p.time(words[0])
	words = words[1:]
	if d, ok := strings.CutPrefix(words[0], "+"); ok {
		b.dur, b.hasDur, words = p.duration(d), true, words[1:]
	}
	if len(words) < 2 {
		p.fail("an actor and a verb are missing")
	}
	process, trace, _ := strings.Cut(words[0], "/")
	if process != "-" {
		if b.src = p.local.processes[process]; b.src == nil {
			p.fail("there is no process %q", process)
		}
	}
	b.actor, b.trace, b.verb = process, trace, words[1]
	b.args(words[2:])
	b.build()
	for _, name := range sortedKeys(b.kv) {
		if !b.used[name] {
			p.fail("%s knows no %s=", b.verb, name)
		}
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// builder makes the events of one line.
type builder struct {
	p       *scriptParser
	s       *script
	label   string
	at, dur int64
	hasDur  bool
	actor   string
	src     *event.Source
	trace   string
	verb    string
	plain   []string // words without "="
	value   string   // of =A
	kv      map[string]string
	used    map[string]bool
}

func (b *builder) args(words []string) {
	b.kv, b.used = map[string]string{}, map[string]bool{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case strings.HasPrefix(w, `"`) || !ok:
			b.plain = append(b.plain, w)
		case name == "":
			b.value = value
		default:
			if _, twice := b.kv[name]; twice {
				b.p.fail("%s= stands twice", name)
			}
			b.kv[name] = strings.Trim(value, `"`)
		}
	}
}

func (b *builder) get(name string) string {
	b.used[name] = true
	return b.kv[name]
}

// word takes the next plain word.
func (b *builder) word(what string) string {
	if len(b.plain) == 0 {
		b.p.fail("%s: %s is missing", b.verb, what)
	}
	w := b.plain[0]
	b.plain = b.plain[1:]
	return strings.Trim(w, `"`)
}

func (b *builder) optional() string {
	if len(b.plain) == 0 {
		return ""
	}
	return b.word("")
}

func (b *builder) int(name string) event.Opt[int64] {
	if v := b.get(name); v != "" {
		return event.Some(b.p.number(v))
	}
	return event.Opt[int64]{}
}

func (b *builder) millis(name string) event.Opt[int64] {
	if v := b.get(name); v != "" {
		return event.Some(b.p.duration(v) / 1e6)
	}
	return event.Opt[int64]{}
}

func (b *builder) list(name string) []string {
	if v := b.get(name); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

func (b *builder) hashes(name string) []event.Hash {
	var hs []event.Hash
	for _, v := range b.list(name) {
		hs = append(hs, hashOf(v))
	}
	return hs
}

// sql takes a statement and its parameters, which end at ";" or with the words.
func (b *builder) sql() (text string, params []event.Hash) {
	w := b.word("a statement")
	text = w
	if name, ok := strings.CutPrefix(w, "@"); ok {
		if text = b.p.local.sql[name]; text == "" {
			b.p.fail("there is no sql %q", name)
		}
	} else if !strings.Contains(w, " ") {
		b.p.fail("%q is neither @NAME nor a quoted statement", w)
	}
	for len(b.plain) > 0 && b.plain[0] != ";" {
		params = append(params, hashOf(b.word("")))
	}
	if len(b.plain) > 0 {
		b.plain = b.plain[1:]
	}
	return text, params
}

func (b *builder) emit(at, dur int64, e event.Event) {
	e.At, e.Trace, e.Source = at, b.trace, b.src
	if dur > 0 || b.hasDur {
		e.Dur = event.Some(dur)
	}
	times, every := int64(1), int64(0)
	if v := b.get("times"); v != "" {
		times, every = b.p.number(v), b.p.duration(b.get("every"))
	}
	for i := range times {
		again := copyEvent(e)
		again.At += i * every
		if times > 1 && e.Trace != "" {
			again.Trace = fmt.Sprintf("%s.%d", e.Trace, i+1)
		}
		b.s.lines = append(b.s.lines, &told{line: b.p.line, label: b.label, ev: again, actor: b.actor})
	}
}

func (b *builder) build() {
	p := b.p
	switch b.verb {
	case "request":
		r := &event.Request{Kind: "http", Method: b.word("the method"), Route: b.word("the route")}
		r.Target = b.optional()
		if r.Target == "" {
			r.Target = r.Route
		}
		if s := b.optional(); s != "" {
			r.Status = p.number(s)
		}
		r.Principal = b.get("principal")
		r.Error = b.get("error")
		if b.value != "" {
			r.BodyHash = hashOf(b.value)
		}
		for _, name := range b.list("vary") {
			k, v, _ := strings.Cut(name, ":")
			r.Vary = append(r.Vary, event.NamedHash{Name: k, Hash: hashOf(v)})
		}
		for _, name := range b.list("headers") {
			k, v, _ := strings.Cut(name, ":")
			r.Headers = append(r.Headers, event.Pair{Name: k, Value: v})
		}
		b.emit(b.at, b.dur, event.Event{Type: event.TypeRequest, Request: r})
	case "job":
		b.emit(b.at, b.dur, event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "job", Route: b.word("the job's name")}})
	case "get", "set", "delete", "clear", "delete-tag", "expire", "evict":
		b.emit(b.at, b.dur, event.Event{Type: event.TypeCache, Cache: b.cache(b.verb)})
	case "query":
		text, params := b.sql()
		b.emit(b.at, b.dur, event.Event{Type: event.TypeQuery, Query: b.query(text, params)})
	case "begin", "commit", "rollback":
		b.emit(b.at, b.dur, event.Event{Type: event.TypeTxn, Txn: b.txn(b.verb, b.word("the transaction"))})
	case "change":
		c := &event.Change{DB: "postgresql", Op: b.word("the operation"), Table: b.word("the table"), PK: b.hashes("pk"), Columns: b.list("columns")}
		c.Xid, c.Lsn = uint64(b.int("xid").V), uint64(b.int("lsn").V)
		b.emit(b.at, b.dur, event.Event{Type: event.TypeChange, Change: c})
	case "task":
		b.emit(b.at, b.dur, event.Event{Type: event.TypeTask, Task: &event.Task{Op: b.word("the step"), Name: b.word("the name"),
			ID: b.get("id"), Queue: b.get("queue"), Error: b.get("error")}})
	case "start", "fork", "exit":
		b.emit(b.at, b.dur, event.Event{Type: event.TypeProcess, Process: &event.Process{Op: b.verb, Ppid: b.int("ppid").V}})
	case "mark":
		b.emit(b.at, b.dur, event.Event{Type: event.TypeMark, Mark: &event.Mark{Name: b.word("the name"), Text: b.optional()}})
	case "recorder":
		r := &event.Recorder{Dropped: b.int("dropped"), Sampled: b.int("sampled")}
		if on := b.get("recording"); on != "" {
			r.Recording = event.Some(on == "on")
		}
		b.emit(b.at, b.dur, event.Event{Type: event.TypeRecorder, Recorder: r})
	case "fill":
		b.fill()
	case "tx":
		b.tx()
	default:
		p.fail("there is no verb %q", b.verb)
	}
	if len(b.plain) > 0 {
		p.fail("%s: %q is too much", b.verb, b.plain[0])
	}
}

func (b *builder) cache(op string) *event.Cache {
	c := &event.Cache{Op: op, Layer: "shared", Store: "redis:6379/0", ValueForm: "canonical"}
	b.place(c)
	switch op {
	case "get":
		c.Key = b.word("the key")
		switch w := b.optional(); w {
		case "hit", "miss":
			c.Hit = event.Some(w == "hit")
		case "":
		default:
			b.p.fail("get KEY is a hit or a miss, not %q", w)
		}
	case "delete":
		c.Pattern = b.get("pattern")
		if c.Pattern == "" {
			c.Key = b.word("the key")
		}
	case "delete-tag":
		c.Tag = b.word("the tag")
	case "clear":
	default:
		c.Key = b.word("the key")
	}
	if (op == "set" || op == "get" && c.Hit.V) && b.value != "" {
		c.ValueHash, c.ValueKind = hashOf(b.value), "value"
	} else {
		c.ValueForm = ""
	}
	if kind := b.get("kind"); kind != "" {
		c.ValueKind = kind
	}
	if form := b.get("form"); form != "" {
		c.ValueForm = form
	}
	if field := b.get("field"); field != "" {
		c.KeyParts = []event.Pair{{Name: "field", Value: field}}
	}
	if f := b.get("fill"); f != "" {
		c.FillStart = b.p.time(f)
	}
	c.TTLMs, c.TTLEffectiveMs = b.millis("ttl"), b.millis("ttl_effective")
	c.Tags = b.list("tags")
	c.Removed, c.Count = b.int("removed"), b.int("count")
	c.Error, c.Txn, c.Code = b.get("error"), b.get("txn"), b.get("code")
	return c
}

// place takes the words that say in which cache the operation happened.
func (b *builder) place(c *event.Cache) {
	b.plain = slices.DeleteFunc(b.plain, func(w string) bool {
		switch w {
		case "local":
			c.Layer, c.Store = "local", "lru"
		case "http":
			c.Layer, c.Store = "http", "cdn"
		default:
			return false
		}
		return true
	})
	if v := b.get("layer"); v != "" {
		c.Layer = v
	}
	if v := b.get("store"); v != "" {
		c.Store = v
	}
}

func (b *builder) query(text string, params []event.Hash) *event.Query {
	q := &event.Query{DB: "postgresql", Text: text, Params: params, Rows: b.int("rows"), PKs: b.hashes("pks"), Many: b.int("many"),
		Txn: b.get("txn"), Role: b.get("role"), Code: b.get("code"), Error: b.get("error")}
	if b.value != "" {
		q.ResultHash = hashOf(b.value)
	}
	if db := b.get("db"); db != "" {
		q.DB = db
	}
	return q
}

func (b *builder) txn(op, id string) *event.Txn {
	return &event.Txn{Op: op, DB: "postgresql", Txn: id, Isolation: strings.ReplaceAll(b.get("isolation"), "_", " "),
		Xid: uint64(b.int("xid").V), Lsn: uint64(b.int("lsn").V), Error: b.get("error")}
}

// fill is a miss, the read behind it and the set: the miss begins the line's time, the set ends with it.
func (b *builder) fill() {
	key := b.word("the key")
	probe := &event.Cache{Layer: "shared", Store: "redis:6379/0"}
	b.place(probe)
	end := b.at + b.dur
	if b.dur < 4e6 {
		b.p.fail("a fill takes 4 ms at least, write for example +10ms")
	}
	label := b.label
	b.label = ""
	b.emit(b.at, 100e3, event.Event{Type: event.TypeCache, Cache: &event.Cache{Op: "get", Layer: probe.Layer, Store: probe.Store, Key: key,
		Hit: event.Some(false)}})
	if label != "" {
		b.label = label + ".read"
	}
	for len(b.plain) > 0 {
		text, params := b.sql()
		q := b.query(text, params)
		q.Code, q.ResultHash = "", 0
		b.emit(b.at+1e6, 1e6, event.Event{Type: event.TypeQuery, Query: q})
	}
	b.label = label
	b.plain = []string{key}
	c := b.cache("set")
	c.Layer, c.Store = probe.Layer, probe.Store
	c.FillStart = b.at
	b.emit(end-500e3, 500e3, event.Event{Type: event.TypeCache, Cache: c})
}

// tx is one transaction: begin, statements, and a commit that ends with the line's time.
func (b *builder) tx() {
	id := b.word("the transaction")
	if b.dur < 5e6 {
		b.p.fail("a transaction takes 5 ms at least, write for example +10ms")
	}
	label := b.label
	b.label = ""
	begin := b.txn("begin", id)
	b.emit(b.at, 500e3, event.Event{Type: event.TypeTxn, Txn: begin})
	b.label = label
	for n := int64(0); len(b.plain) > 0; n++ {
		text, params := b.sql()
		q := b.query(text, params)
		q.Txn = id
		b.emit(b.at+1e6+n*100e3, 100e3, event.Event{Type: event.TypeQuery, Query: q})
	}
	if label != "" {
		b.label = label + ".commit"
	}
	commit := *begin
	commit.Op = "commit"
	b.emit(b.at+b.dur-2e6, 2e6, event.Event{Type: event.TypeTxn, Txn: &commit})
}

// events returns the history as it arrives.
func (s *script) events() []event.Event {
	told := slices.Clone(s.lines)
	number(told)
	// A late event comes after all that arrive by its time; the others keep the order of the lines.
	var late []int
	for i, t := range told {
		if t.arrive != 0 {
			late = append(late, i)
		}
	}
	var out []event.Event
	for i, t := range told {
		if !slices.Contains(late, i) {
			out = append(out, t.ev)
		}
	}
	slices.SortStableFunc(late, func(a, b int) int { return int(told[a].arrive - told[b].arrive) })
	for _, i := range late {
		at := len(out)
		for at > 0 && out[at-1].End() > told[i].arrive {
			at--
		}
		out = slices.Insert(out, at, told[i].ev)
	}
	return out
}

// number gives the events of each process their seq, in the order in which they ended.
func number(lines []*told) {
	byEnd := slices.Clone(lines)
	slices.SortStableFunc(byEnd, func(a, b *told) int {
		switch x, y := a.ev.End(), b.ev.End(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	next := map[string]uint64{}
	for _, t := range byEnd {
		if t.ev.Source == nil || t.ev.Source.Pid == 0 || t.noSeq || t.ev.Type == event.TypeMark {
			continue
		}
		next[t.actor]++
		t.ev.Seq = next[t.actor]
	}
}
