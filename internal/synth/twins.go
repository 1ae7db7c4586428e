package synth

import (
	"strconv"

	"github.com/demarc-dev/demarc/event"
)

// The harmless twins: what looks like a stale read and is none.

// twinColumn: a write to a column that was not read.
func twinColumn(s *teller) {
	s.rule(0, 1)
	s.fill(s.home, 300, 2, s.val(1))
	v := s.visit(s.home, 500)
	v.query(1500, "UPDATE "+s.p.noun.many+" SET views = views + 1 WHERE id = $1", 1, []event.Hash{s.row(2)}).answer("POST", s.path()+"/seen", s.target(2)+"/seen", 200)
	for _, ms := range s.times(600, 4200) {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(1))
	s.fine("twin-column", s.family())
}

// twinLag: reads between the commit and a delete that comes soon.
func twinLag(s *teller) {
	s.fill(s.home, 300, 2, s.val(1))
	v, _ := s.write(s.home, 500, 2, s.code("put", 31), 0)
	for _, ms := range s.times(510, 790) {
		s.read(s.away, ms, 2, s.val(1))
	}
	v.drop(300_000, s.key(2), 1).answer("PUT", s.path(), s.target(2), 200)
	s.fill(s.away, 900, 2, s.val(2))
	s.fine("twin-lag", s.family())
}

// twinFreshFill: the fill overlaps the delete, but read after the commit.
func twinFreshFill(s *teller) {
	v, _ := s.write(s.home, 500, 2, s.code("put", 31), 0)
	s.fill(s.away, 510, 2, s.val(2))
	for _, ms := range s.times(520, 590) {
		s.read(s.away, ms, 2, s.val(2))
	}
	v.drop(100_000, s.key(2), 1).answer("PUT", s.path(), s.target(2), 200)
	s.fill(s.away, 700, 2, s.val(2))
	s.fine("twin-fresh-fill", s.family())
}

// twinSameValue: the write left what is shown as it was.
func twinSameValue(s *teller) {
	s.rule(0, 1)
	s.fill(s.home, 300, 2, s.val(1))
	v, _ := s.write(s.home, 500, 2, s.code("patch", 44), 0)
	v.answer("PATCH", s.path(), s.target(2), 200)
	for _, ms := range s.times(600, 4200) {
		s.read(s.away, ms, 2, s.val(1))
	}
	s.fill(s.away, 4400, 2, s.val(1))
	s.fine("twin-same-value", s.family())
}

// twinTag: dropped by a tag that knows the key.
func twinTag(s *teller) {
	tag := s.p.noun.one + "-" + strconv.FormatInt(s.id(2), 10)
	tags := func(c *event.Cache) {
		if c.Op == "set" {
			c.Tags = []string{tag}
		}
	}
	s.fill(s.home, 300, 2, s.val(1), tags)
	v, _ := s.write(s.home, 500, 2, s.code("patch", 44), 0)
	v.dropTag(5000, tag, 1).answer("PATCH", s.path(), s.target(2), 200)
	s.fill(s.away, 600, 2, s.val(2), tags)
	for _, ms := range s.times(700, 4200) {
		s.read(s.away, ms, 2, s.val(2))
	}
	s.fine("twin-tag", s.family())
}

// twinPeer: every process drops its own copy.
func twinPeer(s *teller) {
	s.fill(s.home, 200, 2, s.val(1), local)
	s.fill(s.away, 300, 2, s.val(1), local)
	v, _ := s.write(s.home, 500, 2, s.code("put", 31), 0)
	id := "drop-" + s.key(2)
	name := s.t.opt.Service + ".jobs.drop"
	task := func(op string) event.Event {
		return event.Event{Type: event.TypeTask, Task: &event.Task{Op: op, ID: id, Name: name, Queue: "broadcast"}}
	}
	v.drop(5000, s.key(2), 1, local).put(6000, 200, task("enqueue")).answer("PUT", s.path(), s.target(2), 200)
	j := s.visit(s.away, 520)
	j.put(0, 100, task("start")).drop(1000, s.key(2), 1, local).put(2000, 100, task("end"))
	for i, p := range []*process{s.home, s.away} {
		s.fill(p, 600+int64(i)*20, 2, s.val(2), local)
	}
	for _, ms := range s.times(700, 4200) {
		s.read(s.away, ms, 2, s.val(2), local)
	}
	s.fine("twin-peer", s.family())
}

// twinVary: each identity has a key of its own.
func twinVary(s *teller) {
	text := "SELECT id, title FROM " + s.p.noun.many + " WHERE user_id = $1"
	path := "/" + s.p.noun.many + "/feed"
	for round := range int64(2) {
		for who := range int64(2) {
			key := s.p.noun.one + ":feed:" + strconv.FormatInt(s.id(who), 10)
			v := s.visit(s.home, 100+4300*round+20*who)
			v.who = hashOf(s.t.opt.Seed, 18, uint64(s.p.n), uint64(who)).String()
			v.miss(200, key).query(1000, text, 5, []event.Hash{s.row(who)}).set(4000, 200, key, s.val(who)).answer("GET", path, path, 200)
			for _, ms := range s.times(200+4300*round, 4000+4300*round) {
				h := s.visit(s.away, ms)
				h.who = v.who
				h.hit(200, key, s.val(who)).answer("GET", path, path, 200)
			}
		}
	}
	s.fine("twin-vary", s.p.noun.one+":feed:{}")
}

// twinNegative: who creates drops the cached absence.
func twinNegative(s *teller) {
	s.fillNone(300, 2)
	v, _, _ := s.create(500, 2, s.code("post", 20))
	v.drop(5000, s.key(2), 1).answer("POST", "/"+s.p.noun.many, "/"+s.p.noun.many, 201)
	s.fill(s.away, 600, 2, s.val(2))
	for _, ms := range s.times(700, 4200) {
		s.read(s.away, ms, 2, s.val(2))
	}
	s.fine("twin-negative", s.family())
}

// twinCommit: stored inside a transaction that commits.
func twinCommit(s *teller) {
	v := s.visit(s.home, 500)
	v.txn(200, "begin", 0)
	v.query(1500, s.updateSQL(), 1, []event.Hash{s.val(90), s.row(2)}, v.queryTx)
	v.miss(3000, s.key(2), v.inTxn).query(4000, s.selectSQL(), 1, []event.Hash{s.row(2)}, v.queryTx)
	v.set(6000, 3000, s.key(2), s.val(2), v.inTxn)
	v.txn(20_000, "commit", 0).answer("PATCH", s.path(), s.target(2), 200)
	for _, ms := range s.times(600, 4400) {
		s.read(s.away, ms, 2, s.val(2))
	}
	s.fill(s.away, 4600, 2, s.val(2))
	s.fine("twin-commit", s.family())
}

// twinLateDelete: dropped seconds after the commit, with no read between.
func twinLateDelete(s *teller) {
	s.fill(s.home, 300, 2, s.val(1))
	s.read(s.away, 400, 2, s.val(1))
	v, _ := s.write(s.home, 500, 2, s.code("put", 31), 0)
	v.drop(2_900_000, s.key(2), 1).answer("PUT", s.path(), s.target(2), 200)
	s.fill(s.away, 3600, 2, s.val(2))
	s.fine("twin-late-delete", s.family())
}
