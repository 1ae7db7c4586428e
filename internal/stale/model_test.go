package stale_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// The model is slow and knows the truth: it has a database, caches, readers and writers, lets them run against each
// other at times drawn from a seed, and writes down both what a recorder would have seen and what was really so. Every
// step takes a while, and takes effect at one point inside it that the events do not tell.
//
// In some histories an article's readers ask for its page first, an entry of the same store that is made of the article's
// own entry or, where that is gone, of what the database says.
//
// Each article has a key that is a family of its own (no segment of it varies), so that a report's figures of families
// are figures of keys.

// discipline is how the writers of one article treat its key.
type discipline int

const (
	dropAfter    discipline = iota // after the commit
	dropInside                     // inside the open transaction
	dropBefore                     // before the transaction begins
	dropBoth                       // on both sides
	dropNothing                    // never
	dropSometime                   // every other time
	dropWrong                      // another key
	dropFails                      // the delete errors
	dropByJob                      // a job, some time after the commit
	writeThrough                   // stores the new value after the commit
	outsider                       // the writer is no process of the service; only the log shows it
	disciplines
)

// causesOf are what may be said of a key with that discipline and nothing else: what a fill in flight, or several
// writers at a time, can add included.
var causesOf = [disciplines][]string{
	dropAfter:    {"stale-set", "order"},
	dropInside:   {"order", "stale-set"},
	dropBefore:   {"order", "stale-set"},
	dropBoth:     {"order", "stale-set"},
	dropNothing:  {"forgot", "ttl"},
	dropSometime: {"forgot", "ttl", "stale-set", "order"},
	dropWrong:    {"key-drift"},
	dropFails:    {"lost"},
	dropByJob:    {"stale-set", "order", "lost"},
	writeThrough: {"stale-set", "order", "forgot", "ttl", "not-a-cache"},
	outsider:     {"external"},
}

// causesOfPages are what may be said of a page besides, for it is not the key that the writers know of.
var causesOfPages = []string{"dependency", "forgot", "ttl", "stale-set", "order"}

// modelOptions say what a history may contain.
type modelOptions struct {
	articles, processes int
	steps               int // reads and writes begun
	local               bool
	replica             bool
	changes             bool // the database's log is read
	pages               bool
	spread              int64
}

// history is what happened and what was so.
type history struct {
	events []event.Event // as they ended
	keys   map[string]*keyTruth
}

type keyTruth struct {
	discipline discipline
	page       bool
	dropped    bool // of a page: its writers drop it too, where they drop the article's key after the commit
	hits       int64
	stale      int64 // hits on a value that had been replaced before the hit began
	lag        int64 // of those, hits that the writer's own delete ended within the grace
	must       int64 // of stale, those that the events decide
}

type modelEntry struct {
	value              string
	key                string
	setAt              int64
	set                modelHit
	fillStart          int64
	readStart, readEnd int64
	replica, through   bool
	inner              *modelEntry // that it was made of
	innerHit           modelHit
	expires            int64
	hits               []modelHit
	next               string // value of the next fill, "" for none
}

type modelHit struct{ at, end int64 }

type modelCommit struct {
	start, end, effect int64
	value, trace       string
	deleted            []ownDelete
	outside            bool
}

type ownDelete struct {
	end   int64
	store *modelStore // that it was made in
	key   string
}

type modelStore struct {
	live    map[string]*modelEntry
	all     map[string][]*modelEntry
	deletes map[string][]modelHit
}

type world struct {
	opt      modelOptions
	rng      *rand.Rand
	queue    []*step
	order    int
	now      int64
	h        *history
	commits  map[string][]*modelCommit // by article, in order of effect
	shared   modelStore
	locals   []modelStore
	busy     map[string]bool // rows with an open transaction
	sources  []*event.Source
	versions int
	traces   int
	xid      uint64
	sometime map[string]bool
}

type step struct {
	effect int64
	order  int
	do     func()
}

const (
	modelGrace = int64(1e9)
	ms         = int64(1e6)
)

func newStore() modelStore {
	return modelStore{live: map[string]*modelEntry{}, all: map[string][]*modelEntry{}, deletes: map[string][]modelHit{}}
}

// simulate runs a world to its end. Equal seeds give equal histories.
func simulate(seed uint64, opt modelOptions) *history {
	w := &world{
		opt: opt, rng: rand.New(rand.NewPCG(seed, 42)), now: epoch, h: &history{keys: map[string]*keyTruth{}},
		commits: map[string][]*modelCommit{}, shared: newStore(), busy: map[string]bool{}, sometime: map[string]bool{}, xid: 100,
	}
	for p := range opt.processes {
		w.sources = append(w.sources, &event.Source{Service: "shop", Host: "h1", Pid: int64(p + 1)})
		w.locals = append(w.locals, newStore())
	}
	var names []string
	for i := range opt.articles {
		name := "article-" + letters(i)
		d := discipline(w.rng.IntN(int(disciplines)))
		if d == outsider && !opt.changes {
			d = dropNothing
		}
		if opt.local && (d == dropByJob || d == writeThrough) {
			d = dropAfter
		}
		names = append(names, name)
		w.h.keys[name] = &keyTruth{discipline: d}
		if opt.pages {
			w.h.keys[pageOf+name] = &keyTruth{discipline: d, page: true, dropped: w.rng.IntN(2) == 0}
		}
		w.commits[name] = []*modelCommit{{effect: 0, value: name + "/0"}}
	}
	at := epoch + 1000*ms
	for range opt.steps {
		at += w.between(ms, w.opt.spread)
		name := names[w.rng.IntN(len(names))]
		if w.rng.IntN(5) == 0 {
			w.at(at, func() { w.write(name) })
		} else {
			w.at(at, func() { w.read(name) })
		}
	}
	// At the end everything has expired, and nearly everything is filled once more.
	at += 300_000 * ms
	for p := range opt.processes {
		for _, name := range names {
			if p > 0 && !opt.local || w.rng.IntN(8) == 0 {
				continue
			}
			w.at(at, func() { w.readIn(name, p) })
			at += 200 * ms
		}
	}
	for len(w.queue) > 0 {
		s := w.queue[0]
		w.queue = w.queue[1:]
		w.now = s.effect
		s.do()
	}
	slices.SortStableFunc(w.h.events, func(a, b event.Event) int { return cmp.Compare(a.End(), b.End()) })
	next := map[int64]uint64{}
	for i := range w.h.events {
		if src := w.h.events[i].Source; src != nil {
			next[src.Pid]++
			w.h.events[i].Seq = next[src.Pid]
		}
	}
	w.judge()
	return w.h
}

func letters(i int) string { return string(rune('a'+i/26)) + string(rune('a'+i%26)) }

func (w *world) between(lo, hi int64) int64 { return lo + w.rng.Int64N(hi-lo+1) }

func (w *world) at(effect int64, do func()) {
	w.order++
	s := &step{effect, w.order, do}
	i, _ := slices.BinarySearchFunc(w.queue, s, func(a, b *step) int { return cmp.Or(cmp.Compare(a.effect, b.effect), cmp.Compare(a.order, b.order)) })
	w.queue = slices.Insert(w.queue, i, s)
}

// span draws an interval that begins at start, its effect somewhere inside it.
func (w *world) span(start, shortest, longest int64) (end, effect int64) {
	end = start + w.between(shortest, longest)
	return end, w.between(start, end)
}

func (w *world) emit(p int, trace string, start, end int64, e event.Event) {
	e.At, e.Dur, e.Trace = start, event.Some(end-start), trace
	if p >= 0 {
		e.Source = w.sources[p]
	}
	w.h.events = append(w.h.events, e)
}

func (w *world) trace(kind string) string {
	w.traces++
	return fmt.Sprintf("%s%d", kind, w.traces)
}

func (w *world) value(name string) string {
	c := w.commits[name]
	return c[len(c)-1].value
}

// valueAt is what was committed at a time.
func (w *world) valueAt(name string, at int64) string {
	for _, c := range slices.Backward(w.commits[name]) {
		if c.effect <= at {
			return c.value
		}
	}
	return ""
}

func (w *world) store(p int) *modelStore {
	if w.opt.local {
		return &w.locals[p]
	}
	return &w.shared
}

func (w *world) cacheEvent(op, key string) *event.Cache {
	if w.opt.local {
		return &event.Cache{Op: op, Layer: "local", Store: "lru", Key: key}
	}
	return &event.Cache{Op: op, Layer: "shared", Store: "redis:6379/0", Key: key}
}

func (w *world) read(name string) { w.readIn(name, w.rng.IntN(w.opt.processes)) }

// pageOf begins the name of a page's key.
const pageOf = "page-"

// readIn is a request for an article, or for its page.
func (w *world) readIn(name string, p int) {
	begin, trace := w.now, w.trace("r")
	finish := func(end int64) {
		w.emit(p, trace, begin, end+w.between(10e3, 100e3), event.Event{Type: event.TypeRequest, Request: &event.Request{
			Kind: "http", Method: "GET", Route: "/articles/{slug}", Target: "/articles/" + name, Status: 200, Principal: "-"}})
	}
	if !w.opt.pages {
		w.ask(name, p, trace, begin, finish, func(missed int64) {
			w.fill(name, p, trace, missed, func(end int64, _ *modelEntry) { finish(end) })
		}, nil)
		return
	}
	w.ask(pageOf+name, p, trace, begin, finish, func(missed int64) {
		w.ask(name, p, trace, missed, nil, func(innerMissed int64) {
			w.fill(name, p, trace, innerMissed, func(end int64, e *modelEntry) {
				page := &modelEntry{value: e.value, fillStart: missed, readStart: e.readStart, readEnd: e.readEnd, replica: e.replica}
				w.keepPage(name, p, trace, end, page, finish)
			})
		}, func(e *modelEntry, hit modelHit) {
			page := &modelEntry{value: e.value, fillStart: missed, inner: e, innerHit: hit}
			w.keepPage(name, p, trace, hit.end, page, finish)
		})
	}, nil)
}

// keepPage stores a page after a time.
func (w *world) keepPage(name string, p int, trace string, after int64, page *modelEntry, finish func(int64)) {
	start := after + w.between(10e3, 60*ms)
	end, effect := w.span(start, 50e3, ms)
	ttl := w.between(5, 100) * 1000
	w.at(effect, func() {
		set := w.cacheEvent("set", pageOf+name)
		set.ValueHash, set.ValueForm, set.ValueKind = hashOf(page.value), "canonical", "value"
		set.FillStart, set.TTLMs = page.fillStart, event.Some(ttl)
		w.emit(p, trace, start, end, event.Event{Type: event.TypeCache, Cache: set})
		page.expires, page.set = w.now+ttl*ms, modelHit{start, end}
		w.put(w.store(p), pageOf+name, page)
		finish(end)
	})
}

// ask asks a cache for a key; onHit may be nil where a hit ends the request.
func (w *world) ask(key string, p int, trace string, begin int64, finish func(int64), onMiss func(int64), onHit func(*modelEntry, modelHit)) {
	name := strings.TrimPrefix(key, pageOf)
	getStart := begin + w.between(10e3, 200e3)
	getEnd, effect := w.span(getStart, 50e3, 2*ms)
	w.at(effect, func() {
		st := w.store(p)
		e := st.live[key]
		if e != nil && e.expires <= w.now {
			delete(st.live, key)
			e = nil
		}
		get := w.cacheEvent("get", key)
		get.Hit = event.Some(e != nil)
		if e != nil {
			get.ValueHash, get.ValueForm, get.ValueKind = hashOf(e.value), "canonical", "value"
			w.emit(p, trace, getStart, getEnd, event.Event{Type: event.TypeCache, Cache: get})
			e.hits = append(e.hits, modelHit{getStart, getEnd})
			w.h.keys[key].hits++
			if w.valueAt(name, getStart) != e.value && !w.later(name, e.value, getStart) {
				w.h.keys[key].stale++
			}
			if onHit != nil {
				onHit(e, modelHit{getStart, getEnd})
			} else {
				finish(getEnd)
			}
			return
		}
		w.emit(p, trace, getStart, getEnd, event.Event{Type: event.TypeCache, Cache: get})
		onMiss(getEnd)
	})
}

// later says whether the value was committed only after a time: a hit that began before may have it all the same.
func (w *world) later(name, value string, at int64) bool {
	return slices.ContainsFunc(w.commits[name], func(c *modelCommit) bool { return c.value == value && c.effect > at })
}

func (w *world) fill(name string, p int, trace string, missed int64, finish func(int64, *modelEntry)) {
	e := &modelEntry{fillStart: missed}
	e.readStart = missed + w.between(10e3, 30*ms)
	e.replica = w.opt.replica && w.rng.IntN(3) == 0
	var readEffect int64
	e.readEnd, readEffect = w.span(e.readStart, 100e3, 5*ms)
	w.at(readEffect, func() {
		role := "primary"
		e.value = w.value(name)
		if e.replica {
			role = "replica"
			e.value = w.valueAt(name, w.now-w.between(0, 300*ms))
		}
		w.emit(p, trace, e.readStart, e.readEnd, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql",
			Text: "SELECT id, title FROM articles WHERE id = $1", Params: []event.Hash{hashOf(name)}, Rows: event.Some[int64](1), Role: role}})
		slow := 2 * ms
		if w.rng.IntN(3) == 0 {
			slow = 120 * ms
		}
		setStart := e.readEnd + w.between(10e3, slow)
		setEnd, setEffect := w.span(setStart, 50e3, ms)
		ttl := w.between(5, 100) * 1000
		w.at(setEffect, func() {
			set := w.cacheEvent("set", name)
			set.ValueHash, set.ValueForm, set.ValueKind = hashOf(e.value), "canonical", "value"
			set.FillStart, set.TTLMs = e.fillStart, event.Some(ttl)
			w.emit(p, trace, setStart, setEnd, event.Event{Type: event.TypeCache, Cache: set})
			e.expires, e.set = w.now+ttl*ms, modelHit{setStart, setEnd}
			w.put(w.store(p), name, e)
			finish(setEnd, e)
		})
	})
}

func (w *world) put(st *modelStore, key string, e *modelEntry) {
	e.key, e.setAt = key, w.now
	all := st.all[key]
	if n := len(all); n > 0 {
		all[n-1].next = e.value
	}
	st.all[key] = append(all, e)
	st.live[key] = e
}

// write is a request (or somebody outside) that changes the article and treats its key as the discipline says.
func (w *world) write(name string) {
	if w.busy[name] {
		return
	}
	w.busy[name] = true
	w.versions++
	k := w.h.keys[name]
	value := fmt.Sprintf("%s/%d", name, w.versions)
	p, trace, begin := w.rng.IntN(w.opt.processes), w.trace("w"), w.now
	w.xid++
	xid := w.xid
	d := k.discipline
	if d == dropSometime {
		w.sometime[name] = !w.sometime[name]
		d = dropAfter
		if w.sometime[name] {
			d = dropNothing
		}
	}
	c := &modelCommit{value: value, trace: trace, outside: d == outsider}
	commitStart := begin + w.between(2*ms, 40*ms)
	opened := begin
	if d == dropBefore {
		opened = w.drop(name, p, trace, begin+10e3, begin+ms, c, name, "") + w.between(10e3, 3*ms)
		commitStart = opened + w.between(2*ms, 40*ms)
	}
	w.logged(name, d, p, trace, xid, opened, commitStart)
	var effect int64
	c.end, effect = w.span(commitStart, 200e3, 5*ms)
	c.start = commitStart
	if d == dropInside || d == dropBoth {
		w.drop(name, p, trace, begin+ms, commitStart, c, name, trace+"t")
	}
	w.at(effect, func() {
		w.commits[name] = append(w.commits[name], c)
		c.effect = w.now
		w.busy[name] = false
		if w.opt.changes || d == outsider {
			if d == outsider {
				c.start, c.end = w.now, w.now
			}
			w.emit(-1, "", w.now, w.now, event.Event{Type: event.TypeChange, Change: &event.Change{DB: "postgresql", Xid: xid,
				Table: "articles", Op: "update", PK: []event.Hash{hashOf(name)}, Columns: []string{"title"}}})
		}
		if d != outsider {
			w.emit(p, trace, commitStart, c.end, event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "commit", DB: "postgresql", Txn: trace + "t", Xid: xid}})
		}
	})
	done := c.end
	after := c.end + w.between(10e3, 8*ms)
	switch d {
	case dropAfter, dropBoth, dropWrong, dropFails:
		key := name
		if d == dropWrong {
			key = "stale-" + name
		}
		if d == dropFails {
			w.emit(p, trace, after, after+20*ms, event.Event{Type: event.TypeCache, Cache: failed(w.cacheEvent("delete", key))})
			done = after + 20*ms
		} else {
			done = w.drop(name, p, trace, after, after+5*ms, c, key, "")
			if page := w.h.keys[pageOf+name]; page != nil && page.dropped && d != dropWrong {
				done = w.drop(name, p, trace, done+10e3, done+5*ms, c, pageOf+name, "")
			}
		}
	case dropByJob:
		job := w.trace("j")
		w.emit(p, trace, after, after+ms, event.Event{Type: event.TypeTask, Task: &event.Task{Op: "enqueue", ID: job, Name: "shop.drop"}})
		done = after + ms
		started := done + w.between(ms, 700*ms)
		w.emit(p, job, started, started+10e3, event.Event{Type: event.TypeTask, Task: &event.Task{Op: "start", ID: job, Name: "shop.drop"}})
		ended := w.drop(name, p, job, started+20e3, started+5*ms, c, name, "")
		w.emit(p, job, ended+10e3, ended+20e3, event.Event{Type: event.TypeTask, Task: &event.Task{Op: "end", ID: job, Name: "shop.drop"}})
	case writeThrough:
		end, effect := w.span(after, 50e3, ms)
		done = end
		w.at(effect, func() {
			set := w.cacheEvent("set", name)
			set.ValueHash, set.ValueForm, set.ValueKind, set.TTLMs = hashOf(value), "canonical", "value", event.Some[int64](60_000)
			w.emit(p, trace, after, end, event.Event{Type: event.TypeCache, Cache: set})
			w.put(w.store(p), name, &modelEntry{value: value, through: true, expires: w.now + 60_000*ms, set: modelHit{after, end}})
			c.deleted = append(c.deleted, ownDelete{end, w.store(p), name}) // a set of the new value by the writer ends the lag like a delete
		})
	}
	if d != outsider {
		w.emit(p, trace, begin, done+50e3, event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "http", Method: "PATCH",
			Route: "/" + name, Target: "/" + name, Status: 200, Principal: "-"}})
	}
}

func failed(c *event.Cache) *event.Cache {
	c.Error = "ConnectionError at shop.cache:drop:12"
	return c
}

// logged writes the statements of a transaction.
func (w *world) logged(name string, d discipline, p int, trace string, xid uint64, begin, commit int64) {
	if d == outsider {
		return
	}
	w.emit(p, trace, begin, begin+50e3, event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "begin", DB: "postgresql", Txn: trace + "t", Xid: xid}})
	w.emit(p, trace, begin+100e3, begin+500e3, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql",
		Text: "UPDATE articles SET title = $1 WHERE id = $2", Params: []event.Hash{hashOf(trace), hashOf(name)}, Rows: event.Some[int64](1),
		Txn: trace + "t", Role: "primary", Code: "shop.views:patch:40"}})
}

// drop deletes a key between two times and returns when it ended.
func (w *world) drop(name string, p int, trace string, from, to int64, c *modelCommit, key, txn string) int64 {
	start := w.between(from, max(from, to-ms/2))
	end, effect := w.span(start, 50e3, max(60e3, to-start))
	if txn != "" {
		end = min(end, to)
		effect = min(effect, end)
	}
	w.at(effect, func() {
		st := w.store(p)
		e := st.live[key]
		if e != nil && e.expires <= w.now {
			delete(st.live, key)
			e = nil
		}
		del := w.cacheEvent("delete", key)
		del.Removed, del.Txn = event.Some[int64](0), txn
		if e != nil {
			del.Removed.V = 1
			delete(st.live, key)
		}
		w.emit(p, trace, start, end, event.Event{Type: event.TypeCache, Cache: del})
		st.deletes[key] = append(st.deletes[key], modelHit{start, end})
		if w.h.keys[key] != nil {
			c.deleted = append(c.deleted, ownDelete{end, st, key})
		}
	})
	return end
}

// judge says which hits the events decide.
func (w *world) judge() {
	stores := []*modelStore{&w.shared}
	for p := range w.locals {
		stores = append(stores, &w.locals[p])
	}
	for _, st := range stores {
		for name, entries := range st.all {
			for _, e := range entries {
				// Where set and delete overlap, nobody can say which came first.
				unordered := slices.ContainsFunc(st.deletes[name], func(d modelHit) bool { return d.at < e.set.end && e.set.at < d.end })
				if e.inner != nil {
					unordered = unordered || !e.madeOf(st.all[e.inner.key])
				}
				w.judgeEntry(w.h.keys[name], w.commits[strings.TrimPrefix(name, pageOf)][1:], e, st, unordered)
			}
		}
	}
}

// madeOf says whether the events tell that a page was made of its inner entry: one that was read from the database, stored before
// the hit began, and not stored again until the page was.
func (e *modelEntry) madeOf(all []*modelEntry) bool {
	in := e.inner
	return !in.through && !in.replica && in.set.end <= e.innerHit.at && !slices.ContainsFunc(all, func(o *modelEntry) bool {
		return o != in && o.set.end >= in.set.end && o.set.at < e.set.at
	})
}

func (w *world) judgeEntry(k *keyTruth, commits []*modelCommit, e *modelEntry, st *modelStore, unordered bool) {
	after := slices.DeleteFunc(slices.Clone(commits), func(c *modelCommit) bool { return c.end <= e.fillStart || e.through && c.effect <= e.setAt })
	for _, h := range e.hits {
		// A write that the read certainly preceded, the hit certainly followed, and none before it that is uncertain.
		var blamed *modelCommit
		followed := 0
		certain := !unordered && !e.replica && !e.through && e.next != "" && e.next != e.value
		for i, c := range after {
			if c.end > h.at {
				break
			}
			followed++
			if i == 0 {
				blamed = c
				certain = certain && e.fillStart <= c.start && e.readEnd <= c.start && e.innerHit.end <= c.start
			}
		}
		if blamed == nil {
			continue
		}
		// Its own delete within the grace makes it lag.
		lag := slices.ContainsFunc(blamed.deleted, func(d ownDelete) bool {
			return d.store == st && d.key == e.key && d.end > h.at && d.end-blamed.end <= modelGrace
		})
		overlaps := func(d modelHit) bool { return d.at < h.end && h.at < d.end }
		if h.at < e.set.end || slices.ContainsFunc(st.deletes[e.key], overlaps) {
			certain = false // it may have been the entry before, or nobody's
		}
		if lag && followed == 1 && certain {
			k.lag++
		}
		if certain && !lag {
			k.must++
		}
	}
}
