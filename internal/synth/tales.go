package synth

import (
	"strconv"

	"github.com/demarc-dev/demarc/event"
)

// Plants returns the names of all that can be planted: causes of stale reads, look-alikes, and harmless twins.
func Plants() []string {
	return []string{
		"forgot", "bypass", "external", "dependency", "key-drift", "order", "stale-set", "rollback", "peer", "lost", "index", "replica",
		"vary", "negative", "version", "ttl", "alias", "outer",
		"stampede", "unstable-key", "not-a-cache",
		"twin-column", "twin-lag", "twin-fresh-fill", "twin-same-value", "twin-tag", "twin-peer", "twin-vary", "twin-negative", "twin-commit",
		"twin-late-delete",
	}
}

// Causes returns those of Plants that are causes of stale reads.
func Causes() []string { return Plants()[:18] }

// tales are looked up by name and never walked through.
var tales map[string]*tale

func init() {
	tales = map[string]*tale{
		"forgot":     {tell: forgot},
		"bypass":     {tell: bypass},
		"external":   {tell: external},
		"dependency": {tell: dependency},
		"key-drift":  {tell: keyDrift},
		"order":      {tell: misordered},
		"stale-set":  {tell: staleSet},
		"rollback":   {tell: rollback},
		"peer":       {tell: peer, processes: 2},
		"lost":       {tell: lost},
		"index":      {tell: index},
		"replica":    {tell: replica},
		"vary":       {tell: vary},
		"negative":   {tell: negative},
		"version":    {tell: version, canary: true},
		"ttl":        {tell: lifetime},
		"alias":      {tell: alias},
		"outer":      {tell: outer},

		"stampede":     {tell: stampede},
		"unstable-key": {tell: unstableKey},
		"not-a-cache":  {tell: notACache},

		"twin-column":      {tell: twinColumn, why: "the writer changed a column that the cached answer does not show"},
		"twin-lag":         {tell: twinLag, why: "the reads came in the milliseconds between the commit and the delete that belongs to it"},
		"twin-fresh-fill":  {tell: twinFreshFill, why: "the fill began after the commit, and only its delete came later"},
		"twin-same-value":  {tell: twinSameValue, why: "the write changed nothing that the next fill shows"},
		"twin-tag":         {tell: twinTag, why: "the tag that the writer dropped knew the key"},
		"twin-peer":        {tell: twinPeer, processes: 2, why: "every process dropped its own copy, told by a job of the writer"},
		"twin-vary":        {tell: twinVary, why: "the identity is part of the key"},
		"twin-negative":    {tell: twinNegative, why: "who created the thing dropped the cached absence"},
		"twin-commit":      {tell: twinCommit, why: "the value was stored inside a transaction that committed"},
		"twin-late-delete": {tell: twinLateDelete, why: "the delete came late, and nobody had read meanwhile"},
	}
}

// forgot: PUT drops the key, PATCH does not.
func forgot(s *teller) {
	s.rule(0, 1)
	s.fill(s.home, 300, 2, s.val(1))
	s.read(s.away, 400, 2, s.val(1))
	code := s.code("patch", 44)
	v, committed := s.write(s.home, 500, 2, code, 0)
	v.answer("PATCH", s.path(), s.target(2), 200)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(2))
	s.stale("forgot", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

// change is a row in the database's log.
func (s *teller) change(at int64, table, op string, xid uint64, pk event.Hash, columns ...string) {
	s.put(nil, event.Event{Type: event.TypeChange, At: at, Change: &event.Change{DB: "postgresql", Xid: xid, Table: table, Op: op,
		PK: []event.Hash{pk}, Columns: columns}})
}

func (s *teller) xid(k int64) uint64 {
	return uint64(10_000_000 + 1_000_000*int64(s.p.kind) + 10*s.p.n + k)
}

// bypass: one-row writes drop the key, a bulk statement does not. The database's log says which rows it touched.
func bypass(s *teller) {
	table := s.p.noun.many
	s.fill(s.home, 0, 1, s.val(70))
	v, committed := s.write(s.home, 100, 1, s.code("put", 31), s.xid(1))
	s.change(committed-200_000, table, "update", s.xid(1), s.row(1), "title")
	v.drop(5000, s.key(1), 1).answer("PUT", s.path(), s.target(1), 200)
	s.fill(s.home, 300, 2, s.val(1))
	code := s.code("publish", 77)
	w := Writer{Route: "POST /publish/" + table, SQL: "UPDATE " + table + " SET title = upper(title) WHERE owner_id = $1", Table: table, Code: code}
	v = s.visit(s.home, 500)
	v.txn(200, "begin", s.xid(2))
	v.query(1500, w.SQL, 3, []event.Hash{s.row(9)}, v.queryTx, func(q *event.Query) { q.Code = code })
	v.txn(3000, "commit", s.xid(2))
	committed = v.at + 4_000_000
	for _, k := range []int64{2, 3, 4} {
		s.change(committed-200_000, table, "update", s.xid(2), s.row(k), "title")
	}
	v.answer("POST", "/publish/"+table, "/publish/"+table, 200)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(2))
	s.stale("bypass", s.family(), "shared", s.key(2), w, committed, reads...)
}

// external: the log shows a change that no statement of the service made.
func external(s *teller) {
	table := s.p.noun.many
	s.fill(s.home, 300, 2, s.val(1))
	committed := s.at(500)
	s.change(committed, table, "update", s.xid(1), s.row(2), "title")
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(2))
	s.stale("external", s.family(), "shared", s.key(2), Writer{Table: table}, committed, reads...)
}

// dependency: the thing's own key is dropped, a list that shows it is not.
func dependency(s *teller) {
	one := s.p.noun.one
	list := one + ":list:" + strconv.FormatInt(s.id(0), 10)
	text := "SELECT id, title FROM " + s.p.noun.many + " ORDER BY title LIMIT 20"
	path := "/" + s.p.noun.many
	fillList := func(ms int64, value event.Hash) {
		v := s.visit(s.home, ms)
		v.miss(200, list).query(1000, text, 3, nil, func(q *event.Query) { q.PKs = []event.Hash{s.row(1), s.row(2), s.row(3)} })
		v.set(4000, 200, list, value).answer("GET", path, path, 200)
	}
	fillList(200, s.val(1))
	s.fill(s.home, 300, 2, s.val(11))
	code := s.code("patch", 44)
	v, committed := s.write(s.home, 500, 2, code, 0)
	v.drop(5000, s.key(2), 1).answer("PATCH", s.path(), s.target(2), 200)
	reads := s.times(600, 4100)
	for _, ms := range reads {
		s.visit(s.away, ms).hit(200, list, s.val(1)).answer("GET", path, path, 200)
	}
	s.fill(s.away, 700, 2, s.val(12))
	fillList(4400, s.val(2))
	s.stale("dependency", one+":list:{}", "shared", list, s.writer("PATCH "+s.path(), code), committed, reads...)
}

// keyDrift: the delete names another key than the set.
func keyDrift(s *teller) {
	s.fill(s.home, 300, 2, s.val(1))
	code := s.code("patch", 44)
	v, committed := s.write(s.home, 500, 2, code, 0)
	v.drop(5000, s.p.noun.many+":"+strconv.FormatInt(s.id(2), 10), 0).answer("PATCH", s.path(), s.target(2), 200)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(2))
	s.stale("key-drift", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

// misordered: every other story drops inside the transaction, so that a reader fills again before the commit; the others drop
// some seconds after it.
func misordered(s *teller) {
	s.fill(s.home, 300, 2, s.val(1))
	if s.p.n%2 == 1 {
		code := s.code("put", 61)
		v, committed := s.write(s.home, 500, 2, code, 0)
		reads := s.times(600, 3000)
		for _, ms := range reads {
			s.read(s.away, ms, 2, s.val(1))
		}
		v.drop(2_900_000, s.key(2), 1).answer("PUT", s.path(), s.target(2), 200)
		s.fill(s.away, 3600, 2, s.val(2))
		s.stale("order", s.family(), "shared", s.key(2), s.writer("PUT "+s.path(), code), committed, reads...)
		return
	}
	code := s.code("patch", 44)
	v := s.visit(s.home, 500)
	v.txn(200, "begin", 0)
	v.query(1500, s.updateSQL(), 1, []event.Hash{s.val(90), s.row(2)}, v.queryTx, func(q *event.Query) { q.Code = code })
	v.drop(3000, s.key(2), 1, v.inTxn)
	s.fill(s.away, 505, 2, s.val(1))
	v.txn(30_000, "commit", 0).answer("PATCH", s.path(), s.target(2), 200)
	committed := v.at + 31_000_000
	reads := s.times(600, 4400)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4600, 2, s.val(2))
	s.stale("order", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

// staleSet: a fill in flight read before the commit and stores after the delete.
func staleSet(s *teller) {
	code := s.code("patch", 44)
	v := s.visit(s.away, 495)
	v.miss(200, s.key(2)).query(1000, s.selectSQL(), 1, []event.Hash{s.row(2)})
	w, committed := s.write(s.home, 500, 2, code, 0)
	w.drop(5000, s.key(2), 0).answer("PATCH", s.path(), s.target(2), 200)
	v.set(20_000, 200, s.key(2), s.val(1)).show(2)
	reads := s.times(600, 4300)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4600, 2, s.val(2))
	s.stale("stale-set", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

// rollback: a value is stored inside a transaction that is rolled back.
func rollback(s *teller) {
	code := s.code("patch", 44)
	v := s.visit(s.home, 500)
	v.txn(200, "begin", 0)
	v.query(1500, s.updateSQL(), 1, []event.Hash{s.val(90), s.row(2)}, v.queryTx, func(q *event.Query) { q.Code = code })
	v.miss(3000, s.key(2), v.inTxn).query(4000, s.selectSQL(), 1, []event.Hash{s.row(2)}, v.queryTx)
	v.set(6000, 3000, s.key(2), s.val(2), v.inTxn)
	v.txn(20_000, "rollback", 0).answer("PATCH", s.path(), s.target(2), 500)
	ended := v.at + 21_000_000
	reads := s.times(600, 4400)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(2))
	}
	s.fill(s.away, 4600, 2, s.val(1))
	s.stale("rollback", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), ended, reads...)
}

func local(c *event.Cache) { c.Layer, c.Store = "local", "lru" }

// peer: each process has a copy; the writer's drops its own.
func peer(s *teller) {
	code := s.code("put", 31)
	s.fill(s.home, 200, 2, s.val(1), local)
	s.fill(s.away, 300, 2, s.val(1), local)
	v, committed := s.write(s.home, 500, 2, code, 0)
	v.drop(5000, s.key(2), 1, local).answer("PUT", s.path(), s.target(2), 200)
	s.fill(s.home, 550, 2, s.val(2), local)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1), local)
		s.read(s.home, ms+5, 2, s.val(2), local)
	}
	s.fill(s.away, 4400, 2, s.val(2), local)
	s.stale("peer", s.family(), "local", s.key(2), s.writer("PUT "+s.path(), code), committed, reads...)
}

// lost: the delete failed.
func lost(s *teller) {
	s.fill(s.home, 300, 2, s.val(1))
	code := s.code("patch", 44)
	v, committed := s.write(s.home, 500, 2, code, 0)
	c := cacheOf("delete", s.key(2))
	c.Error, c.Code = "ConnectionError at "+s.code("drop", 12), s.code("drop", 12)
	v.put(5000, 40_000, event.Event{Type: event.TypeCache, Cache: c}).answer("PATCH", s.path(), s.target(2), 200)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(2))
	s.stale("lost", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

// index: the tag that is dropped no longer knows the key.
func index(s *teller) {
	tag := s.p.noun.one + "-" + strconv.FormatInt(s.id(2), 10)
	tags := func(c *event.Cache) {
		if c.Op == "set" {
			c.Tags = []string{tag}
		}
	}
	s.fill(s.home, 300, 2, s.val(1), tags)
	code := s.code("patch", 44)
	v, committed := s.write(s.home, 500, 2, code, 0)
	v.dropTag(5000, tag, 0).answer("PATCH", s.path(), s.target(2), 200)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(2), tags)
	s.stale("index", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

func (v *visit) dropTag(afterUs int64, tag string, removed int64) *visit {
	c := cacheOf("delete-tag", "")
	c.Tag, c.Removed = tag, event.Some(removed)
	return v.cache(afterUs, c, nil)
}

// fillFrom is a fill that says from which database it read.
func (s *teller) fillFrom(p *process, ms, k int64, value event.Hash, role string) {
	v := s.visit(p, ms)
	v.miss(200, s.key(k)).query(1000, s.selectSQL(), 1, []event.Hash{s.row(k)}, func(q *event.Query) { q.Role = role })
	v.set(4000, 200, s.key(k), value).show(k)
}

// replica: filled after the delete, from a replica that lags behind.
func replica(s *teller) { s.lagging("replica") }

// notACache: the same from the primary: something in the process kept the old value.
func notACache(s *teller) { s.lagging("primary") }

func (s *teller) lagging(role string) {
	s.fillFrom(s.home, 300, 2, s.val(1), role)
	code := s.code("patch", 44)
	v, committed := s.write(s.home, 500, 2, code, 0)
	v.drop(5000, s.key(2), 1).answer("PATCH", s.path(), s.target(2), 200)
	s.fillFrom(s.away, 520, 2, s.val(1), role)
	reads := s.times(600, 4300)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fillFrom(s.away, 4600, 2, s.val(2), role)
	if role == "primary" {
		s.looks("not-a-cache", s.family(), int64(len(reads)))
		return
	}
	s.stale("replica", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

// vary: one key for all, and the answer is that of whoever filled it.
func vary(s *teller) {
	ann, bob := hashOf(s.t.opt.Seed, 16, uint64(s.p.n)).String(), hashOf(s.t.opt.Seed, 17, uint64(s.p.n)).String()
	feed := s.p.noun.one + ":feed:" + strconv.FormatInt(s.id(0), 10)
	text := "SELECT id, title FROM " + s.p.noun.many + " WHERE topic_id = $1 ORDER BY title LIMIT 20"
	path := "/" + s.p.noun.many + "/feed/{id}"
	target := "/" + s.p.noun.many + "/feed/" + strconv.FormatInt(s.id(0), 10)
	fill := func(ms int64, who string, value event.Hash) {
		v := s.visit(s.home, ms)
		v.who = who
		v.miss(200, feed).query(1000, text, 5, []event.Hash{s.row(0)}).set(4000, 200, feed, value).answer("GET", path, target, 200)
	}
	var reads []int64
	look := func(who string, value event.Hash, times []int64) {
		for _, ms := range times {
			v := s.visit(s.away, ms)
			v.who = who
			v.hit(200, feed, value).answer("GET", path, target, 200)
			reads = append(reads, ms)
		}
	}
	fill(0, ann, s.val(1))
	look(bob, s.val(1), s.times(100, 3900))
	fill(4100, bob, s.val(2))
	look(ann, s.val(2), s.times(4200, 8000))
	fill(8300, ann, s.val(1))
	s.stale("vary", s.p.noun.one+":feed:{}", "shared", feed, Writer{}, 0, reads...)
}

func asNone(c *event.Cache) {
	if c.Op == "set" || c.Hit.V {
		c.ValueKind = "none"
	}
}

func (s *teller) fillNone(ms, k int64) {
	v := s.visit(s.home, ms)
	v.miss(200, s.key(k)).query(1000, s.selectSQL(), 0, []event.Hash{s.row(k)})
	v.set(4000, 200, s.key(k), s.val(1), asNone).answer("GET", s.path(), s.target(k), 404)
}

func (s *teller) create(ms, k int64, code string) (v *visit, committed int64, w Writer) {
	path := "/" + s.p.noun.many
	w = Writer{Route: "POST " + path, SQL: "INSERT INTO " + s.p.noun.many + " (id, title, body) VALUES ($1, $2, $3)", Table: s.p.noun.many, Code: code}
	v = s.visit(s.home, ms)
	v.txn(200, "begin", 0)
	v.query(1500, w.SQL, 1, []event.Hash{s.row(k), s.val(91), s.val(92)}, v.queryTx, func(q *event.Query) { q.Code = code })
	v.txn(3000, "commit", 0)
	return v, v.at + 4_000_000, w
}

// negative: "there is none" was cached, and there is one since.
func negative(s *teller) {
	s.fillNone(300, 2)
	v, committed, w := s.create(500, 2, s.code("post", 20))
	v.answer("POST", "/"+s.p.noun.many, "/"+s.p.noun.many, 201)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.visit(s.away, ms).hit(200, s.key(2), s.val(1), asNone).answer("GET", s.path(), s.target(2), 404)
	}
	s.fill(s.away, 4400, 2, s.val(2))
	s.stale("negative", s.family(), "shared", s.key(2), w, committed, reads...)
}

// version: filled by one version of the code, read and written otherwise by the next.
func version(s *teller) {
	s.fill(s.home, 300, 2, s.val(1))
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.t.canary, ms, 2, s.val(1))
	}
	s.fill(s.t.canary, 4400, 2, s.val(2))
	s.stale("version", s.family(), "shared", s.key(2), Writer{}, 0, reads...)
}

// lifetime: nobody ever drops the family.
func lifetime(s *teller) {
	s.fill(s.home, 300, 2, s.val(1))
	code := s.code("patch", 44)
	v, committed := s.write(s.home, 500, 2, code, 0)
	v.answer("PATCH", s.path(), s.target(2), 200)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(2))
	s.stale("ttl", s.family(), "shared", s.key(2), s.writer("PATCH "+s.path(), code), committed, reads...)
}

// alias: a caller changed the object that a cache in the process handed out.
func alias(s *teller) {
	s.fill(s.home, 300, 2, s.val(1), local)
	s.read(s.home, 400, 2, s.val(1), local)
	reads := s.times(600, 4200)
	for _, ms := range reads {
		s.read(s.home, ms, 2, s.val(3), local)
	}
	s.stale("alias", s.family(), "local", s.key(2), Writer{}, 0, reads...)
}

// outer: a cache above the service kept the page, while the service's own was right.
func outer(s *teller) {
	page := s.target(2)
	edge := func(c *event.Cache) { c.Layer, c.Store = "http", "cdn" }
	keep := func(v *visit, value event.Hash) {
		c := cacheOf("set", page)
		c.ValueHash, c.ValueForm, c.ValueKind, c.TTLMs, c.FillStart = value, "canonical", "value", event.Some(int64(storyTTL)), v.at
		edge(c)
		v.put(8000, 300, event.Event{Type: event.TypeCache, Cache: c})
	}
	v := s.fill(s.home, 300, 2, s.val(1))
	keep(v, s.val(1))
	code := s.code("patch", 44)
	w, committed := s.write(s.home, 500, 2, code, 0)
	w.drop(5000, s.key(2), 1).answer("PATCH", s.path(), s.target(2), 200)
	s.fill(s.away, 550, 2, s.val(2))
	reads := s.times(600, 4200)
	for _, ms := range reads {
		c := cacheOf("get", page)
		c.Hit, c.ValueHash, c.ValueForm, c.ValueKind = event.Some(true), s.val(1), "canonical", "value"
		edge(c)
		s.put(nil, event.Event{Type: event.TypeCache, At: s.at(ms) + 200_000, Dur: event.Some(int64(300_000)), Cache: c})
	}
	c := cacheOf("get", page)
	c.Hit = event.Some(false)
	edge(c)
	s.put(nil, event.Event{Type: event.TypeCache, At: s.at(4500), Dur: event.Some(int64(300_000)), Cache: c})
	v = s.visit(s.away, 4501)
	v.hit(200, s.key(2), s.val(2)).show(2)
	keep(v, s.val(2))
	s.stale("outer", "/"+s.p.noun.many+"/{}", "http", page, s.writer("PATCH "+s.path(), code), committed, reads...)
}

// stampede: the key is gone, and three to six readers compute it at the same time.
func stampede(s *teller) {
	n := s.rng.between(3, 6)
	for i := range n {
		v := s.visit(s.t.processes[int(i)%len(s.t.processes)], 300+2*i)
		v.miss(200, s.key(2)).query(1000, s.selectSQL(), 1, []event.Hash{s.row(2)})
		v.set(40_000, 200, s.key(2), s.val(1)).show(2)
	}
	s.looks("stampede", s.family(), n)
}

// unstableKey: what is asked for is the same, and the key another each time.
func unstableKey(s *teller) {
	for i := range int64(24) {
		key := s.p.noun.one + ":" + strconv.FormatInt(s.id(2), 10) + ":0x" + s.val(20+i).String()
		v := s.visit(s.home, 300+i*150)
		v.miss(200, key).query(1000, s.selectSQL(), 1, []event.Hash{s.row(2)}).set(4000, 200, key, s.val(1)).show(2)
	}
	s.looks("unstable-key", s.family()+":{}", 24)
}
