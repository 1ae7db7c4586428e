package synth

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of notes.
const (
	MaxNotes    = 10_000_000
	MaxLongLine = 1 << 30
)

// Forms of notes.
const (
	FormMarkdown = "md"    // front matter above the text, one file a note
	FormJSONL    = "jsonl" // one object a line
	FormText     = "text"  // a block of post metadata below the text, one file a note
)

// Forms returns the forms of notes.
func Forms() []string { return []string{FormMarkdown, FormJSONL, FormText} }

// NoteOptions say what notes are to be made.
type NoteOptions struct {
	Seed     uint64
	Count    int
	Topic    string // of Topics; "": all in turn of chance
	Scenario string // of Scenarios; "": all
	Form     string // of Forms
	// Hostile puts in the place of every sixteenth note, from the eighth on, one that must be refused: the kinds of
	// HostileKinds in turn.
	Hostile bool
	// LongLine is the length of an over-long line of a hostile note, bytes; an import takes notes up to 1 MiB.
	LongLine int
}

// DefaultNotes returns the options of `demarc synth notes` without any flags.
func DefaultNotes() NoteOptions {
	return NoteOptions{Seed: 1, Count: 100, Form: FormMarkdown, LongLine: 2 << 20}
}

// NoteFile is one note.
type NoteFile struct {
	Name    string // path of its file, with slashes; of FormJSONL the number of its line
	Data    []byte // valid until the next one is made; of FormJSONL with its line end
	Hostile string // kind of hostility; "" for a note that must go in
}

// Notes makes notes, one after the other. It is not safe for concurrent use. Memory: one note, and what is said of each
// hostile one.
type Notes struct {
	opt       NoteOptions
	topics    []*topic
	scenarios []*scenario
	n         int
	data      []byte
	body      []byte
	truth     NotesTruth
}

// NotesTruthSchema names the JSON form of NotesTruth; docs/json.md describes it.
const NotesTruthSchema = "demarc.truth.notes/1"

// NotesTruth says what an import must do with generated notes.
type NotesTruth struct {
	Schema  string        `json:"schema"`
	Seed    uint64        `json:"seed"`
	Format  string        `json:"format"`
	SHA256  string        `json:"sha256"`
	Count   int           `json:"count"`
	Good    int           `json:"good"`    // that must go in
	Hostile []HostileNote `json:"hostile"` // that must be refused, by name
}

// HostileNote is one note that must be refused.
type HostileNote struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// NewNotes prepares notes. Its error is an *OptionError.
func NewNotes(opt NoteOptions) (*Notes, error) {
	n := &Notes{opt: opt, truth: NotesTruth{Schema: NotesTruthSchema, Seed: opt.Seed, Format: opt.Form, Count: opt.Count, Hostile: []HostileNote{}}}
	switch {
	case opt.Count < 1 || opt.Count > MaxNotes:
		return nil, bad("count", fmt.Sprintf("1 to %d", MaxNotes), "%d", opt.Count)
	case opt.Topic != "" && !slices.Contains(Topics(), opt.Topic):
		return nil, bad("topic", strings.Join(Topics(), ", "), "there is no topic %q", opt.Topic)
	case opt.Scenario != "" && !slices.Contains(Scenarios(), opt.Scenario):
		return nil, bad("scenario", strings.Join(Scenarios(), ", "), "there is no scenario %q", opt.Scenario)
	case !slices.Contains(Forms(), opt.Form):
		return nil, bad("format", strings.Join(Forms(), ", "), "there is no format %q", opt.Form)
	case opt.Hostile && (opt.LongLine < 2<<20 || opt.LongLine > MaxLongLine):
		return nil, bad("long-line", fmt.Sprintf("%d to %d bytes", 2<<20, MaxLongLine), "%d", opt.LongLine)
	}
	for i := range topics {
		if opt.Topic == "" || topics[i].name == opt.Topic {
			n.topics = append(n.topics, &topics[i])
		}
	}
	for i := range scenarios {
		if opt.Scenario == "" || scenarios[i].name == opt.Scenario {
			n.scenarios = append(n.scenarios, &scenarios[i])
		}
	}
	return n, nil
}

// Truth is what an import must do with the notes made so far. sum is their hash.
func (n *Notes) Truth(sum string) *NotesTruth {
	n.truth.SHA256 = sum
	return &n.truth
}

// Next makes the next note; false means that all are made.
func (n *Notes) Next() (NoteFile, bool) {
	if n.n >= n.opt.Count {
		return NoteFile{}, false
	}
	i := n.n
	n.n++
	r := newRNG(n.opt.Seed, 20, uint64(i))
	d := n.draw(&r, i)
	f := NoteFile{Name: n.name(i)}
	if n.opt.Hostile && i%16 == 7 {
		kinds := hostileKinds(n.opt.Form)
		k := kinds[i/16%len(kinds)]
		f.Hostile = k.name
		n.hostile(d, k, &f, i)
		n.truth.Hostile = append(n.truth.Hostile, HostileNote{f.Name, k.name})
		return f, true
	}
	n.truth.Good++
	f.Data = n.render(d)
	return f, true
}

// name is where a note lies: a thousand in each folder, or the number of its line.
func (n *Notes) name(i int) string {
	if n.opt.Form == FormJSONL {
		return strconv.Itoa(i + 1)
	}
	ext := ".md"
	if n.opt.Form == FormText {
		ext = ".txt"
	}
	return fmt.Sprintf("%04d/note-%07d%s", i/1000, i, ext)
}

// draft is one note before it takes a form.
type draft struct {
	id, topic, summary, brief, difficulty, language, date, scenario, seed string
	context, problem, cause, change                                       string
	stack, tools, checklist, remarks                                      []string
	entities                                                              [][2]string // name, type
	image                                                                 [3]string   // source, address, caption
	views                                                                 int64
	readingTime                                                           int64
	body                                                                  []byte
}

// sentence writes a phrase as a sentence of its own: with a capital letter, unless it begins with a name of the code.
func sentence(p *phrase, s *subject) string {
	t := p.text(s)
	if p.lit[0] == "" && len(p.slot) > 0 {
		switch slots[p.slot[0]] {
		case "table", "key", "file", "lib", "column":
			return t
		}
	}
	if c := t[0]; c >= 'a' && c <= 'z' && !strings.HasPrefix(t, "demarc ") {
		return string(c-'a'+'A') + t[1:]
	}
	return t
}

// draw makes up a note.
func (n *Notes) draw(r *rng, i int) *draft {
	tp, sc := choose(r, n.topics), choose(r, n.scenarios)
	s := subjectOf(r, sc)
	say := func(list []phrase) string { return sentence(&list[r.below(int64(len(list)))], s) }
	some := func(list []phrase, k int64) []string {
		var out []string
		from, size := r.below(int64(len(list))), int64(len(list))
		for j := range min(k, size) {
			out = append(out, sentence(&list[(from+j)%size], s))
		}
		return out
	}
	d := &draft{id: fmt.Sprintf("synth-%d-%07d", n.opt.Seed, i), topic: say(tp.titles), difficulty: tp.difficulty, scenario: sc.name,
		seed: strconv.FormatUint(n.opt.Seed, 10), views: r.between(0, 20_000), readingTime: r.between(1, 12), language: "python"}
	if code := tp.code.lit[0]; strings.HasPrefix(code, "SELECT") || strings.HasPrefix(code, "CREATE") {
		d.language = "sql"
	}
	d.context, d.problem, d.cause, d.change = say(contexts), say(tp.problems), say(tp.causes), say(tp.changes)
	result := say(results)
	d.summary = d.change + " " + result
	d.brief = cutAtWord(d.change, 150)
	d.date = fmt.Sprintf("2026-%02d-%02d", r.between(1, 10), r.between(1, 28))
	d.stack = pickSome(r, stacks, r.between(2, 4))
	d.tools = pickSome(r, tools, r.between(1, 4))
	for j, c := range pickSome(r, checks, r.between(2, int64(len(checks)))) {
		d.checklist = append(d.checklist, []string{"done: ", "done: ", "open: "}[(j+i)%3]+c)
	}
	d.remarks = some(remarks, r.between(0, 2))
	d.entities = [][2]string{{s[slotNumber("route")], "route"}, {s[slotNumber("table")], "table"}, {s[slotNumber("file")], "file"}}
	if tp.cause != "" {
		d.entities = append(d.entities, [2]string{tp.cause, "cause"})
	}
	if r.one(3) {
		d.entities = append(d.entities, [2]string{s[slotNumber("key")], "boundary"})
	}
	if r.one(4) {
		d.image = [3]string{"drawn by demarc synth", "figures/" + d.id + ".svg", s[slotNumber("route")] + " before and after the change"}
	}

	b := append(n.body[:0], "# "...)
	b = append(append(b, d.topic...), "\n\n"...)
	para := func(list ...string) {
		b = append(append(b, strings.Join(list, " ")...), "\n\n"...)
	}
	head := func(t string) { b = append(append(append(b, "## "...), t...), "\n\n"...) }
	para(d.summary)
	head("What was slow or wrong")
	para(append([]string{d.context, d.problem}, some(contexts, r.between(0, 2))...)...)
	para(some(findings, r.between(1, 3))...)
	head("The cause")
	para(d.cause, say(findings))
	if r.one(2) {
		para(say(tp.causes))
	}
	head("The change")
	para(d.change)
	b = append(append(append(b, "```"...), d.language...), '\n')
	b = tp.code.append(b, s)
	b = append(b, "\n```\n\n"...)
	if r.one(2) {
		para(say(tp.changes))
	}
	head("Figures before and after")
	b = append(b, "| metric | before | after |\n|---|---:|---:|\n| p95_ms | "...)
	b = append(append(append(append(b, s[slotNumber("before")]...), " | "...), s[slotNumber("after")]...), " |\n| queries_per_request | "...)
	b = append(append(append(append(b, s[slotNumber("n")]...), " | "...), s[slotNumber("small")]...), " |\n\n"...)
	para(append([]string{result}, some(results, r.between(0, 2))...)...)
	if d.image[0] != "" {
		b = append(append(append(append(append(b, "!["...), d.image[2]...), "]("...), d.image[1]...), ")\n\n"...)
	}
	head("Taking it back")
	para(say(backs))
	head("What this note does not claim")
	for _, c := range some(cautions, r.between(1, 3)) {
		b = append(append(append(b, "- "...), c...), '\n')
	}
	n.body, d.body = b, b
	return d
}

// pickSome takes k of a list, in its order.
func pickSome(r *rng, list []string, k int64) []string {
	var out []string
	left := k
	for i, s := range list {
		if r.below(int64(len(list)-i)) < left {
			out = append(out, s)
			left--
		}
	}
	return out
}

func cutAtWord(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && (s[limit] != ' ' || !utf8.RuneStart(s[limit])) {
		limit--
	}
	return strings.TrimRight(s[:limit], " ,.;:") + " …"
}

func (n *Notes) render(d *draft) []byte {
	switch n.opt.Form {
	case FormJSONL:
		n.data = append(d.appendJSON(n.data[:0]), '\n')
	case FormText:
		n.data = d.appendText(n.data[:0])
	default:
		n.data = d.appendMarkdown(n.data[:0])
	}
	return n.data
}
