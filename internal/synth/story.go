package synth

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/demarc-dev/demarc/event"
)

// A story is planted traffic of some seconds around one key. Its times are milliseconds after its start; the lifetime of
// what it caches ends at storyTTL, and it is over at storySpan.
const (
	storyTTL  = 4000
	storySpan = 10_000
	maxReads  = 12 // that are stale, of one entry
)

// tale is a kind of story.
type tale struct {
	processes int    // that it needs
	canary    bool   // it needs the process with the next version
	why       string // of a harmless twin: why nothing is wrong
	tell      func(*teller)
}

// plot is one story to be told.
type plot struct {
	at   int64
	kind int // number in Plants
	n    int64
	tale *tale
	noun noun
	// tag is a second thing, for stories about two.
	tag noun
}

// teller tells one story. Where count is set nothing is put anywhere, and only requests are counted.
type teller struct {
	t        *Traffic
	p        *plot
	rng      rng
	count    bool
	requests int64
	home     *process // in which most of it happens
	away     *process // another one
}

// plan draws when which story is told, and how many ordinary requests remain.
func (t *Traffic) plan(nouns []noun) error {
	names := Plants()
	var counts [64]int
	for _, p := range t.opt.Plant {
		counts[slices.Index(names, p.Cause)] += p.N
	}
	span := t.opt.span()
	r := newRNG(t.opt.Seed, 12)
	for kind, name := range names {
		for n := range counts[kind] {
			room := span - storySpan*1_000_000
			if room < 0 {
				return bad("requests", "more requests, a lower --rate, or --stale 0", "%d at %d a second are %.1f s of traffic; a planted story takes %d s",
					t.opt.Requests, t.opt.Rate, float64(span)/1e9, storySpan/1000)
			}
			t.plots = append(t.plots, plot{at: t.opt.Start + r.below(room+1), kind: kind, n: int64(n), tale: tales[name],
				noun: nouns[2*kind], tag: nouns[2*kind+1]})
		}
	}
	slices.SortFunc(t.plots, func(a, b plot) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.n, b.n))
	})
	requests := int64(0)
	for i := range t.plots {
		requests += t.runStory(&t.plots[i], true)
	}
	t.ordinary = t.opt.Requests - requests
	if t.ordinary < 0 {
		return bad("requests", "more requests, or fewer stories", "%d planted stories take %d requests, and %d are to be made", len(t.plots), requests, t.opt.Requests)
	}
	t.step = max(span/max(t.ordinary, 1), 1)
	return nil
}

func (t *Traffic) tell(p *plot) { t.runStory(p, false) }

func (t *Traffic) runStory(p *plot, count bool) int64 {
	s := &teller{t: t, p: p, rng: newRNG(t.opt.Seed, 13, uint64(p.kind), uint64(p.n)), count: count}
	n := int64(len(t.processes))
	i := s.rng.below(n)
	s.home = t.processes[i]
	s.away = t.processes[(i+1+s.rng.below(max(n-1, 1)))%n]
	if n == 1 {
		s.away = s.home
	}
	p.tale.tell(s)
	return s.requests
}

// at is a moment of the story, Unix nanoseconds.
func (s *teller) at(ms int64) int64 { return s.p.at + ms*1_000_000 }

// id is the number of the story's k-th row; no other story of the kind has it.
func (s *teller) id(k int64) int64 { return 100 + 10*s.p.n + k }

func (s *teller) key(k int64) string { return s.p.noun.one + ":" + strconv.FormatInt(s.id(k), 10) }

func (s *teller) family() string { return s.p.noun.one + ":{}" }

func (s *teller) code(name string, line int) string {
	return s.t.opt.Service + "." + s.p.noun.many + ":" + name + ":" + strconv.Itoa(line)
}

// val is a value of the story by number.
func (s *teller) val(k int64) event.Hash {
	return hashOf(s.t.opt.Seed, 14, uint64(s.p.kind), uint64(s.p.n), uint64(k))
}

func (s *teller) row(k int64) event.Hash { return s.t.value(s.id(k)) }

func (s *teller) selectSQL() string {
	return "SELECT id, title, body FROM " + s.p.noun.many + " WHERE id = $1"
}
func (s *teller) updateSQL() string {
	return "UPDATE " + s.p.noun.many + " SET title = $1 WHERE id = $2"
}

func (s *teller) path() string { return "/" + s.p.noun.many + "/{id}" }

func (s *teller) target(k int64) string {
	return "/" + s.p.noun.many + "/" + strconv.FormatInt(s.id(k), 10)
}

// times are up to maxReads moments between two, and the last of them.
func (s *teller) times(from, to int64) []int64 {
	n := s.rng.between(1, maxReads)
	list := make([]int64, n)
	for i := range list {
		list[i] = from + (to-from)*int64(i)/n
	}
	return list
}

// visit is one request of the story, or another piece of work with a trace.
type visit struct {
	s     *teller
	p     *process
	trace string
	at    int64
	end   int64
	who   string
	vary  []event.NamedHash
	heads []event.Pair
	body  event.Hash
}

// visit begins a request at a moment; end ends it.
func (s *teller) visit(p *process, ms int64) *visit {
	v := &visit{s: s, p: p, at: s.at(ms)}
	v.end = v.at
	if !s.count {
		v.trace = s.t.trace()
	}
	v.who = s.t.who[s.rng.below(int64(len(s.t.who)))]
	return v
}

// put adds an event that begins after microseconds since the visit's start.
func (v *visit) put(afterUs, durUs int64, e event.Event) *visit {
	e.At, e.Dur = v.at+afterUs*1000, event.Some(durUs*1000)
	v.end = max(v.end, e.End())
	e.Trace, e.Parent = v.trace, v.trace
	v.s.put(v.p, e)
	return v
}

func (s *teller) put(p *process, e event.Event) {
	if s.count {
		return
	}
	slot := s.t.queue.take()
	slot.e, slot.proc = e, p
	s.t.queue.put(slot)
}

func cacheOf(op, key string) *event.Cache {
	return &event.Cache{Op: op, Layer: "shared", Store: store, Key: key}
}

// hit is a get that finds a value.
func (v *visit) hit(afterUs int64, key string, value event.Hash, change ...func(*event.Cache)) *visit {
	c := cacheOf("get", key)
	c.Hit, c.ValueHash, c.ValueForm, c.ValueKind = event.Some(true), value, "canonical", "value"
	v.body = value
	return v.cache(afterUs, c, change)
}

func (v *visit) cache(afterUs int64, c *event.Cache, change []func(*event.Cache)) *visit {
	for _, f := range change {
		f(c)
	}
	return v.put(afterUs, 300, event.Event{Type: event.TypeCache, Cache: c})
}

func (v *visit) miss(afterUs int64, key string, change ...func(*event.Cache)) *visit {
	c := cacheOf("get", key)
	c.Hit = event.Some(false)
	return v.cache(afterUs, c, change)
}

// set stores a value that was looked for at fillUs.
func (v *visit) set(afterUs, fillUs int64, key string, value event.Hash, change ...func(*event.Cache)) *visit {
	c := cacheOf("set", key)
	c.ValueHash, c.ValueForm, c.ValueKind = value, "canonical", "value"
	c.TTLMs, c.FillStart = event.Some(int64(storyTTL)), v.at+fillUs*1000
	c.Bytes = event.Some(int64(600))
	v.body = value
	return v.cache(afterUs, c, change)
}

func (v *visit) drop(afterUs int64, key string, removed int64, change ...func(*event.Cache)) *visit {
	c := cacheOf("delete", key)
	c.Removed = event.Some(removed)
	return v.cache(afterUs, c, change)
}

// query is a statement of the visit.
func (v *visit) query(afterUs int64, text string, rows int64, params []event.Hash, change ...func(*event.Query)) *visit {
	q := &event.Query{DB: "postgresql", Text: text, Params: params, Rows: event.Some(rows)}
	for _, f := range change {
		f(q)
	}
	return v.put(afterUs, 700, event.Event{Type: event.TypeQuery, Query: q})
}

func (v *visit) txn(afterUs int64, op string, xid uint64) *visit {
	return v.put(afterUs, 1000, event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: op, DB: "postgresql", Txn: v.trace, Xid: xid, Isolation: "READ COMMITTED"}})
}

// inTxn puts a statement or an operation into the visit's transaction.
func (v *visit) inTxn(c *event.Cache)   { c.Txn = v.trace }
func (v *visit) queryTx(q *event.Query) { q.Txn = v.trace }

// answer ends the visit as a request.
func (v *visit) answer(method, route, target string, status int64) {
	v.s.requests++
	end := v.end + 500_000
	if v.body == 0 {
		v.body = hashOf(v.s.t.opt.Seed, 15, uint64(status))
	}
	r := &event.Request{Kind: "http", Method: method, Route: route, Target: target, Status: status, Principal: v.who, Vary: v.vary, Headers: v.heads,
		BodyHash: v.body, BodyBytes: event.Some(int64(900))}
	v.s.put(v.p, event.Event{Type: event.TypeRequest, At: v.at, Dur: event.Some(end - v.at), Trace: v.trace, Span: v.trace, Request: r})
}

// show ends the visit as a GET of the story's k-th thing.
func (v *visit) show(k int64) { v.answer("GET", v.s.path(), v.s.target(k), 200) }

// read is a request that finds the k-th key.
func (s *teller) read(p *process, ms, k int64, value event.Hash, change ...func(*event.Cache)) {
	s.visit(p, ms).hit(200, s.key(k), value, change...).show(k)
}

// fill is a request that misses the k-th key, reads its row and stores a value: stored 4.3 ms after its start.
func (s *teller) fill(p *process, ms, k int64, value event.Hash, change ...func(*event.Cache)) *visit {
	v := s.visit(p, ms)
	v.miss(200, s.key(k), change...).query(1000, s.selectSQL(), 1, []event.Hash{s.row(k)})
	v.set(4000, 200, s.key(k), value, change...).show(k)
	return v
}

// write begins a request that changes the k-th row in a transaction; it is committed when the result's committed says.
func (s *teller) write(p *process, ms, k int64, code string, xid uint64) (v *visit, committed int64) {
	v = s.visit(p, ms)
	v.txn(200, "begin", xid)
	v.query(1500, s.updateSQL(), 1, []event.Hash{s.val(90), s.row(k)}, v.queryTx, func(q *event.Query) { q.Code = code })
	v.txn(3000, "commit", xid)
	return v, v.at + 4_000_000
}

// rule is a writer that drops what it changes, of another row of the family: so that dropping is known to be the rule.
func (s *teller) rule(ms int64, k int64) {
	s.fill(s.home, ms, k, s.val(70))
	v, _ := s.write(s.home, ms+100, k, s.code("put", 31), 0)
	v.drop(5000, s.key(k), 1).answer("PUT", s.path(), s.target(k), 200)
}

// tellKey is what findings have in common that are one.
type tellKey struct{ cause, family, route, code string }

// stale notes what the story planted: reads of one entry at some moments, after a commit (0 for none).
func (s *teller) stale(cause, family, layer, key string, w Writer, committed int64, reads ...int64) {
	if s.count {
		return
	}
	k := tellKey{cause, family, w.Route, w.Code}
	f := s.t.telling[k]
	if f == nil {
		f = &Finding{Cause: cause, Verdict: "proven", Family: family, Layer: layer, Writer: w}
		s.t.telling[k] = f
		s.t.tellOrder = append(s.t.tellOrder, k)
	}
	f.Keys = append(f.Keys, key)
	f.Entries++
	f.StaleReads += int64(len(reads))
	if committed != 0 && len(reads) > 0 {
		f.MaxStalenessNs = max(f.MaxStalenessNs, s.at(reads[len(reads)-1])+200_000-committed)
	}
}

// writer is who made the story's write.
func (s *teller) writer(route, code string) Writer {
	return Writer{Route: route, SQL: s.updateSQL(), Table: s.p.noun.many, Code: code}
}

// looks notes a look-alike.
func (s *teller) looks(cause, family string, n int64) {
	if s.count {
		return
	}
	for i := range s.t.looks {
		if l := &s.t.looks[i]; l.Cause == cause && l.Family == family {
			l.Count += n
			return
		}
	}
	s.t.looks = append(s.t.looks, Looks{cause, family, n})
}

// fine notes a harmless twin.
func (s *teller) fine(twin, family string) {
	if s.count {
		return
	}
	for i := range s.t.harmless {
		if h := &s.t.harmless[i]; h.Twin == twin {
			h.Count++
			return
		}
	}
	s.t.harmless = append(s.t.harmless, Harmless{twin, family, s.p.tale.why, 1})
}
