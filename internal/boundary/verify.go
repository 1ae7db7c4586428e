package boundary

import (
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/sqlread"
)

// What a lifetime and a drop may be off by, and how much is remembered.
const (
	ttlShare = 0.10            // of the declared lifetime, for those that are spread on purpose
	ttlLeast = time.Second     // but at least
	ttlRight = 0.99            // of the sets must be within
	dropTime = 5 * time.Second // after the commit, for drops by another process; in the same request they may come at any time

	maxTraces = 8192  // requests whose cache operations wait for the request's end
	maxOps    = 64    // operations kept of one request and boundary
	maxKeys   = 20000 // keys and combinations of inputs kept for one boundary
	maxWrites = 65536 // writes that wait for a drop

	maxFamilies = 64 // that may be one boundary's, while its own is looked for
)

// Verifier holds the caches that the events of a capture show to an array of boundaries: whether keys are made of the
// declared inputs, entries are given the declared lifetime, and writes to the declared tables are followed by drops. Events
// come in the order of arrival; give them all to Learn first where Learns says so, then all to Add.
//
// Memory: about 80 MB with every bound reached, and 6 MB more for each boundary.
type Verifier struct {
	list   []*verified
	words  map[string]*verified // by Words
	traces map[string]*trace
	order  []string // ring of the traces
	next   int
	sql    *sqlread.Cache
	writes []write
	now    int64
	users  map[event.Hash]uint64 // the principal that the framework knew by a cookie; at most maxKeys
}

// verified is what was seen of one boundary.
type verified struct {
	Boundary
	pattern []string // segments of the key family; nil: not known
	why     string   // not known

	named  map[string][]string  // of Learn: families whose keys bear the boundary's word
	groups map[group]*groupSeen // of Learn
	asked  int64                // requests or calls that Learn saw

	keys    map[string][]uint64 // hash of each declared input, as the key was first seen with it; 0: not there
	combos  map[uint64]string   // the key that a combination of inputs was first seen with
	values  []map[uint64]bool   // of each declared input, two at most
	lacks   []int64             // keys that served two values of an input
	example []string            // one of them
	samples int64
	several int64 // requests with several keys of the family, which tell nothing
	splits  int64
	marks   int // that a table was written: an entry's key may hold which write was the last

	sets, within, without, expires int64
	least, most                    int64 // lifetime asked, ms
	firstSet                       int64
	tags                           map[string]bool
	store                          string
	drops                          map[string]*dropped // by table
}

type dropped struct {
	byRow     bool
	n, missed int64
	example   string
}

// group is a shape of keys that may be the family of a boundary.
type group struct {
	store, first string
	segments     int
}

type groupSeen struct {
	n       int64
	pattern []string
	got     bool // some operation asked for a key
}

// trace is what one request did so far.
type trace struct {
	route string
	ops   []op
	txns  map[string][]int // writes by transaction that is open, as places in open
	open  []write
	wrote map[int]bool // boundaries whose tables it wrote
}

// op is an operation on one key of a boundary's family.
type op struct {
	boundary int // place in list; -1 while learning
	key      string
	store    string
	at       int64
	get      bool
}

// write is one that should be followed by a drop.
type write struct {
	boundary int
	table    string
	began    int64
	commit   int64
	trace    string
	route    string
	done     bool
}

// NewVerifier returns a Verifier for the boundaries of a file.
func NewVerifier(f *File) *Verifier {
	v := &Verifier{
		users: map[event.Hash]uint64{}, words: map[string]*verified{}, traces: map[string]*trace{}, order: make([]string, maxTraces), sql: sqlread.NewCache(16 << 20),
	}
	words := Words(f.Boundaries)
	for n, b := range f.Boundaries {
		x := &verified{
			Boundary: b, keys: map[string][]uint64{}, combos: map[uint64]string{}, values: make([]map[uint64]bool, len(b.Key)),
			lacks: make([]int64, len(b.Key)), example: make([]string, len(b.Key)), tags: map[string]bool{}, drops: map[string]*dropped{},
			groups: map[group]*groupSeen{}, named: map[string][]string{},
		}
		v.words[words[n]] = x
		for i := range x.values {
			x.values[i] = map[uint64]bool{}
		}
		for _, d := range b.InvalidateOn {
			x.drops[tableOf(d.Table)] = &dropped{byRow: d.By == Row}
		}
		if b.Family != "" {
			x.pattern = segments(b.Family)
		}
		v.list = append(v.list, x)
	}
	return v
}

// Learns says whether a boundary names no key family, so that Learn must see the events first.
func (v *Verifier) Learns() bool {
	return slices.ContainsFunc(v.list, func(x *verified) bool { return x.pattern == nil })
}

// segments splits a key as families are split, each with the sign before it.
func segments(key string) []string {
	var list []string
	for {
		i := -1
		if len(key) > 0 {
			i = strings.IndexAny(key[1:], ":/|") + 1
		}
		if i <= 0 || len(list) >= 31 {
			return append(list, key)
		}
		list = append(list, key[:i])
		key = key[i:]
	}
}

// matches says whether a key has the shape of a family, in which {} stands for any one segment.
func matches(pattern []string, key string) bool {
	list := segments(key)
	if len(list) != len(pattern) {
		return false
	}
	for i, p := range pattern {
		sign, rest, open := strings.Cut(p, "{}")
		if !open && p != list[i] || open && (!strings.HasPrefix(list[i], sign) || !strings.HasSuffix(list[i], rest)) {
			return false
		}
	}
	return true
}

// Learn finds the families of boundaries that name none: the keys that bear the boundary's word, as those of printed code do
// (Words), else the keys of which their requests use exactly one.
func (v *Verifier) Learn(batch []event.Event) {
	for i := range batch {
		e := &batch[i]
		switch {
		case e.Cache != nil && e.Cache.Key != "" && (e.Cache.Op == "get" || e.Cache.Op == "set"):
			v.learnName(e.Cache.Key)
			if t := v.trace(e.Trace); t != nil && len(t.ops) < maxOps {
				t.ops = append(t.ops, op{-1, e.Cache.Key, e.Cache.Store, e.At, e.Cache.Op == "get"})
			}
		case e.Request != nil:
			if t := v.traces[e.Trace]; t != nil {
				v.learn(Response, requestName(e.Request), t.ops, nil)
				t.ops = nil
			}
		case e.Call != nil:
			if t := v.traces[e.Trace]; t != nil {
				v.learn(Function, functionOf(e.Call.Code), t.ops, func(o op) bool { return o.at >= e.At && o.at <= e.End() })
			}
		}
	}
}

// learnName notes a key such as demarc:get_articles_slug:HASH for the boundary whose word stands before its last segment.
func (v *Verifier) learnName(key string) {
	parts := segments(key)
	if len(parts) < 2 {
		return
	}
	at := len(parts) - 2
	x := v.words[strings.TrimLeft(parts[at], ":/|")]
	if x == nil || x.pattern != nil || len(x.named) >= maxFamilies {
		return
	}
	if family := key[:len(key)-len(parts[at+1])+1] + "{}"; x.named[family] == nil {
		x.named[family] = segments(family)
	}
}

func (v *Verifier) learn(level, name string, ops []op, during func(op) bool) {
	for _, x := range v.list {
		if x.pattern != nil || x.Level != level || x.Name != name {
			continue
		}
		one, got := map[group]string{}, map[group]bool{} // "" where there were several
		for _, o := range ops {
			if during != nil && !during(o) {
				continue
			}
			parts := segments(o.key)
			g := group{o.store, parts[0], len(parts)}
			if before, ok := one[g]; ok && before != o.key {
				one[g] = ""
			} else if !ok {
				one[g] = o.key
			}
			got[g] = got[g] || o.get
		}
		if len(one) > 0 {
			x.asked++
		}
		for g, key := range one {
			if key == "" || len(x.groups) >= maxFamilies && x.groups[g] == nil {
				continue
			}
			parts := segments(key)
			seen := x.groups[g]
			if seen == nil {
				seen = &groupSeen{pattern: parts}
				x.groups[g] = seen
			}
			seen.n++
			seen.got = seen.got || got[g]
			for i, p := range parts {
				if i > 0 && seen.pattern[i] != p {
					seen.pattern[i] = p[:1] + "{}"
				}
			}
		}
	}
}

// Learned ends Learn and begins Add.
func (v *Verifier) Learned() {
	v.traces, v.order, v.next = map[string]*trace{}, make([]string, maxTraces), 0
	for _, x := range v.list {
		if x.pattern != nil {
			continue
		}
		var found []*groupSeen
		var names []string
		for family, pattern := range x.named {
			found = append(found, &groupSeen{pattern: pattern})
			names = append(names, family)
		}
		asked := false // what is only stored, where something is asked for, holds no answers
		for _, s := range x.groups {
			asked = asked || s.got && s.n*10 >= x.asked*9
		}
		for _, s := range x.groups {
			if len(x.named) == 0 && s.got == asked && s.n*10 >= x.asked*9 {
				found = append(found, s)
				names = append(names, strings.Join(s.pattern, ""))
			}
		}
		slices.Sort(names)
		switch {
		case len(found) == 1:
			x.pattern = found[0].pattern
		case len(found) > 1:
			x.why = "several key families could be it (" + strings.Join(names, ", ") + "): name one with family:"
		case x.Level == Query:
			x.why = "no key family is declared: name it with family:"
		default:
			x.why = "no cache key was seen that its requests use one of: name it with family:"
		}
		x.groups, x.named = nil, nil
	}
}

// trace returns what a request did so far; nil for no request. The oldest gives way beyond maxTraces.
func (v *Verifier) trace(id string) *trace {
	if id == "" {
		return nil
	}
	t := v.traces[id]
	if t == nil {
		delete(v.traces, v.order[v.next])
		t = &trace{}
		v.traces[id], v.order[v.next] = t, id
		v.next = (v.next + 1) % len(v.order)
	}
	return t
}

// Add takes events in the order of arrival. The batch is only read, and only during the call.
func (v *Verifier) Add(batch []event.Event) {
	for i := range batch {
		e := &batch[i]
		v.now = max(v.now, e.At)
		switch {
		case e.Cache != nil:
			v.cache(e)
		case e.Query != nil:
			v.query(e)
		case e.Txn != nil:
			v.txn(e)
		case e.Call != nil:
			if t := v.traces[e.Trace]; t != nil {
				v.sample(Function, functionOf(e.Call.Code), t.ops, func(o op) bool { return o.at >= e.At && o.at <= e.End() },
					func(part string) uint64 { return callInput(e.Call, part) })
			}
		case e.Request != nil:
			if t := v.traces[e.Trace]; t != nil {
				t.route = requestName(e.Request)
				inputs := requestInputs(e.Request)
				v.knowUser(e.Request, inputs)
				v.sample(Response, t.route, t.ops, nil, func(part string) uint64 { return inputs[part] })
				t.ops = nil
			}
		}
	}
	v.settle(false)
}

func requestName(r *event.Request) string {
	if r.Kind == "job" {
		return r.Route
	}
	return r.Method + " " + r.Route
}

// functionOf returns module:function of a code line module:function:line.
func functionOf(code string) string {
	if parts := strings.Split(code, ":"); len(parts) > 2 {
		return parts[0] + ":" + parts[1]
	}
	return code
}

func (v *Verifier) cache(e *event.Event) {
	c := e.Cache
	for i, x := range v.list {
		if x.pattern == nil {
			continue
		}
		if table := x.written(c); table != "" {
			x.marks++
			v.drop(i, e, table)
			continue
		}
		in := c.Key != "" && matches(x.pattern, c.Key)
		switch c.Op {
		case "get", "set":
			if !in {
				continue
			}
			if t := v.trace(e.Trace); t != nil && len(t.ops) < maxOps {
				t.ops = append(t.ops, op{i, c.Key, c.Store, e.At, c.Op == "get"})
			}
			x.store = c.Store
			if c.Op == "set" && c.Error == "" {
				x.set(e)
				v.drop(i, e, "")
			}
		case "expire":
			if in && c.TTLMs.Known {
				x.expires++
				x.lifetime(c.TTLMs.V)
			}
		case "delete":
			if in || c.Pattern != "" && patternCovers(c.Pattern, x.pattern) {
				v.drop(i, e, "")
			}
		case "delete-tag":
			if x.tags[c.Tag] {
				v.drop(i, e, "")
			}
		case "clear":
			if c.Store == x.store {
				v.drop(i, e, "")
			}
		}
	}
}

// patternCovers says whether a pattern such as article:* may name keys of a family: what stands before the first wild sign
// of both is the same.
func patternCovers(pattern string, family []string) bool {
	fixed, _, _ := strings.Cut(pattern, "*")
	fixed, _, _ = strings.Cut(fixed, "?")
	name, _, _ := strings.Cut(strings.Join(family, ""), "{}")
	return strings.HasPrefix(name, fixed) || strings.HasPrefix(fixed, name)
}

func (x *verified) set(e *event.Event) {
	if x.sets == 0 {
		x.firstSet = e.At
	}
	x.sets++
	for _, tag := range e.Cache.Tags {
		if len(x.tags) < maxKeys {
			x.tags[tag] = true
		}
	}
	if e.Cache.TTLMs.Known {
		x.lifetime(e.Cache.TTLMs.V)
	} else {
		x.without++
	}
}

func (x *verified) lifetime(ms int64) {
	if x.least == 0 || ms < x.least {
		x.least = ms
	}
	x.most = max(x.most, ms)
	declared := time.Duration(x.TTL)
	off := time.Duration(ms)*time.Millisecond - declared
	if declared > 0 && max(off, -off) <= max(ttlLeast, time.Duration(ttlShare*float64(declared))) {
		x.within++
	}
}
