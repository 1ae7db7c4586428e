package stale

import (
	"slices"
	"strings"
)

// The causes, in the words of the report.
const (
	Forgot     = "forgot"
	Bypass     = "bypass"
	External   = "external"
	Dependency = "dependency"
	KeyDrift   = "key-drift"
	Order      = "order"
	StaleSet   = "stale-set"
	Rollback   = "rollback"
	Peer       = "peer"
	Lost       = "lost"
	Index      = "index"
	Replica    = "replica"
	Vary       = "vary"
	Negative   = "negative"
	Version    = "version"
	TTL        = "ttl"
	Alias      = "alias"
	Outer      = "outer"
	// Look-alikes.
	Stampede    = "stampede"
	UnstableKey = "unstable-key"
	NotACache   = "not-a-cache"
)

// causes are those that a write can have, in the order in which they are asked for.
var causes = []string{Negative, Rollback, Replica, NotACache, Order, StaleSet, External, Bypass, Dependency, TTL, Forgot, Lost, Index, KeyDrift, Peer}

// missingRows is the field that would tell which of several writers changed a row that was read.
const missingRows = "pks"

// answer is what is decided of a story.
type answer struct {
	cause      string // "" for none: nothing is claimed
	missing    string
	candidates []string
	inferred   bool   // not every event of it was seen: likely at most
	del        *del   // the delete that did not help
	task       *job   // the job that should have
	under      string // of negative: the cause without it
}

func (a answer) open() bool { return len(a.candidates) > 0 }

func cannotTell(missing string, candidates ...string) answer {
	var out []string
	for _, c := range candidates {
		if c != "" && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return answer{missing: missing, candidates: out}
}

// decide asks the questions in their order.
func (d *Detector) decide(s *story, ask func(*family) *family) answer {
	log := d.cov.ChangeLog
	if s.k.stamp == stampSure && s.about != aboutVary && s.about != aboutAlias && s.about != aboutVersion {
		return answer{}
	}
	switch s.about {
	case aboutVary:
		if s.inputName != "" {
			return answer{cause: Vary}
		}
		missing := s.lacks
		if missing == "fill" {
			if missing = "change"; log {
				missing = ""
			}
		}
		return cannotTell(missing, Vary, External, Forgot)
	case aboutVersion:
		return answer{cause: Version}
	case aboutAlias:
		if s.lacks != "" {
			return cannotTell(s.lacks, Alias, External)
		}
		return answer{cause: Alias}
	case aboutError:
		return answer{cause: Negative}
	case aboutUnseen:
		if unversioned(d.sourceOf(s.e.src), d.sourceOf(s.refill.src)) {
			return cannotTell("version", Version, External, Forgot)
		}
		if log {
			return answer{}
		}
		return cannotTell("change", External, Forgot)
	case aboutGhost:
		return cannotTell("pid", Peer, Lost)
	case aboutInside:
		if s.hit.guessed && s.hit.txn.state != txnCommitted {
			return cannotTell("txn", Rollback, External, Forgot)
		}
		switch s.hit.txn.state {
		case txnRolledBack:
			return answer{cause: Rollback, inferred: s.hit.level != levelRow && s.e.reads != nil && !s.e.inherit}
		case txnOpen:
			return cannotTell("txn", Rollback, External, Forgot)
		}
		return answer{}
	case aboutOld:
		return s.old()
	}
	if s.st.http() {
		if s.lacks == "hit" {
			return cannotTell("hit", Outer, Forgot)
		}
		return answer{cause: Outer}
	}
	if len(s.others) > 0 {
		all := []string{}
		for _, o := range append(slices.Clone(s.others), s.hit) {
			a := d.blamed(s, o.w, o.stood, ask)
			if a.open() {
				all = append(all, a.candidates...)
			} else {
				all = append(all, a.cause)
			}
		}
		if a := cannotTell("columns", all...); len(a.candidates) > 1 {
			return a
		}
	}
	a := d.blamed(s, s.hit.w, s.hit.stood, ask)
	if s.hit.level != levelRow && s.confirmed && s.severalWriters() {
		// Any of them may have touched a row that was read.
		all := []string{}
		for _, x := range append([]suspect{s.hit}, s.also...) {
			if b := d.blamed(s, x.w, x.stood, ask); b.open() {
				all = append(all, b.candidates...)
			} else {
				all = append(all, b.cause)
			}
		}
		return cannotTell(missingRows, all...)
	}
	if s.apart && a.cause != "" {
		// Only one fill of each: whether the value follows who asks, or what was written, is not known.
		if from, to := s.e.who, s.refill.who; from != nil && to != nil && from.principal != 0 && to.principal != 0 && from.principal != to.principal {
			return cannotTell("", Vary, a.cause)
		}
		a.inferred = true
	}
	switch s.e.kind {
	case valueNone, valueEmpty, valueError:
		return answer{cause: Negative, del: a.del, under: a.cause, inferred: a.inferred}
	case valueUnknown:
		if s.hit.w.op == opInsert && a.cause != "" {
			return cannotTell("value_kind", Negative, a.cause)
		}
	}
	return a
}

// old decides an entry that holds what was there before a write that its reads followed.
func (s *story) old() answer {
	switch s.role {
	case roleReplica:
		a := answer{cause: Replica}
		for _, x := range s.dels {
			if !x.failed && x.at >= s.hit.w.at && x.end <= s.e.at {
				a.del = x
			}
		}
		return a
	case rolePrimary:
		return answer{cause: NotACache}
	}
	return cannotTell("role", Replica, NotACache)
}

// blamed decides an entry that a write made old.
func (d *Detector) blamed(s *story, w *write, stood int, ask func(*family) *family) answer {
	if stood != readUnknown {
		return d.byWrite(s, w, s.e.pos, ask)
	}
	// Where the reads stood is not known: every place is tried that could make a difference.
	before := d.byWrite(s, w, 1, ask)
	justBefore := d.byWrite(s, w, max(w.at-1, 1), ask)
	after := s.old()
	var all []string
	for _, a := range []answer{before, justBefore, after} {
		if a.open() {
			all = append(all, a.candidates...)
		} else {
			all = append(all, a.cause)
		}
	}
	if c := cannotTell("fill_start", all...); len(c.candidates) > 1 {
		return c
	}
	return before
}

// byWrite decides where reads that stood at pos, before a write, went stale.
func (d *Detector) byWrite(s *story, w *write, pos int64, ask func(*family) *family) answer {
	if pos == 0 {
		pos = s.e.at
	}
	if d.isLag(s, w) {
		return answer{}
	}
	var last *del
	for _, x := range s.dels {
		if !x.failed && x.end <= pos {
			last = x
		}
	}
	if last != nil && w.inside(last) {
		return answer{cause: Order, del: last}
	}
	for _, x := range s.dels {
		if x.failed {
			continue
		}
		if x.at >= w.end && x.end <= s.e.at {
			return answer{cause: StaleSet, del: x}
		}
		if x.at >= w.at && x.at < s.e.end && x.end > s.e.at {
			return answer{} // the delete and the set overlap: which came first is not known
		}
	}
	if s.confirmed && s.refill.tr != nil && w.tr.traced() && s.refill.tr.startedBy(w.tr) && s.refill.at >= w.end {
		return answer{cause: Order} // the writer stored the new value itself, and too late
	}
	belong := belonging(w)
	for _, x := range belong {
		if !x.failed && x.st == s.st && (s.proc == nil || s.proc == x.src.proc) && x.names(s.k, s.tags) && x.at >= s.hit.last && x.at >= s.e.end &&
			x.end-w.end > int64(d.opt.Grace) && x.removed != 0 && !s.e.again {
			return answer{cause: Order, del: x}
		}
	}
	if s.proc != nil && s.proc.pid == 0 && s.e.again {
		return cannotTell("pid", Peer, Lost)
	}
	without := d.byDeletes(s, w, belong, ask)
	maybe := d.maybe(w)
	if len(maybe) == 0 {
		return without
	}
	with := d.byDeletes(s, w, append(slices.Clone(belong), maybe...), ask)
	if without.cause != with.cause && !with.open() {
		c := []string{with.cause, without.cause}
		if without.open() {
			c = append([]string{with.cause}, without.candidates...)
		}
		return cannotTell("trace", c...)
	}
	return without
}

// isLag says whether all reads of a story came before the writer, or a job of it, dropped the key or stored the new value,
// and that was soon enough.
func (d *Detector) isLag(s *story, w *write) bool {
	if !w.tr.traced() {
		return false
	}
	grace := int64(d.opt.Grace)
	if t := s.refill.tr; s.confirmed && t != nil && t.startedBy(w.tr) && s.refill.at >= w.at && s.refill.end-w.end <= grace {
		return true
	}
	for _, x := range belonging(w) {
		if !x.failed && x.st == s.st && (s.proc == nil || s.proc == x.src.proc) && x.names(s.k, s.tags) && x.at >= w.at && x.at >= s.e.end &&
			x.end-w.end <= grace && s.hit.last <= x.end {
			return true
		}
	}
	return false
}

// inside says whether a delete was made while the transaction of a write was open, or by its trace before that.
func (w *write) inside(x *del) bool {
	if w.external {
		return false
	}
	if w.txn != nil {
		if x.txn == w.txn {
			return true
		}
		if x.txn == nil && x.tr.traced() && x.tr == w.tr && x.at >= w.open && x.end <= w.at {
			return true
		}
	}
	if !x.tr.traced() || x.tr != w.tr {
		return false
	}
	from, to := w.early()
	return x.at >= from && x.end <= to
}

// belonging are the deletes of the trace of a write, those before it included that can only be meant for it, and of the
// jobs that it enqueued.
func belonging(w *write) []*del {
	if !w.tr.traced() {
		return nil
	}
	var out []*del
	from, to := w.early()
	var walk func(t *trace, depth int)
	walk = func(t *trace, depth int) {
		for _, x := range t.dels {
			if x.end >= w.open || t == w.tr && x.at >= from && x.end <= to {
				out = append(out, x)
			}
		}
		if depth < 4 {
			for _, j := range t.tasks {
				if j.tr != nil && j.tr != t {
					walk(j.tr, depth+1)
				}
			}
		}
	}
	walk(w.tr, 0)
	slices.SortStableFunc(out, func(a, b *del) int {
		if a.end < b.end {
			return -1
		}
		return 1
	})
	return out
}

// maybe are the deletes that a write's process made in no trace while it wrote or soon after: whether they belong to it
// is not known.
func (d *Detector) maybe(w *write) []*del {
	if w.external || w.src == nil || w.src.proc.alone == nil {
		return nil
	}
	var out []*del
	for _, x := range w.src.proc.alone.dels {
		if x.at >= w.open && x.end <= w.end+int64(d.opt.Grace) {
			out = append(out, x)
		}
	}
	return out
}

// byDeletes asks what became of the deletes of a write.
func (d *Detector) byDeletes(s *story, w *write, dels []*del, ask func(*family) *family) answer {
	fam := ask(s.fam)
	if a := d.attempted(s, w, dels, fam, ask); a.cause != "" || a.open() {
		if a.missing == "tags" {
			a.candidates = append(a.candidates, d.unattempted(s, w, dels, fam, ask).cause)
		}
		return a
	}
	return d.unattempted(s, w, dels, fam, ask)
}

// attempted decides where the write's own deletes, or jobs, could have covered the entry. Of several the first of:
// failed, found no keys under its tag, named another key, was made in another process.
func (d *Detector) attempted(s *story, w *write, dels []*del, fam *family, ask func(*family) *family) answer {
	var best answer
	rank := 100
	offer := func(r int, a answer) {
		if r < rank {
			rank, best = r, a
		}
	}
	parts, words := []string(nil), []string(nil)
	for _, x := range dels {
		names := x.names(s.k, s.tags)
		if !names && s.proc == nil && x.st.local && !s.st.local {
			continue
		}
		switch {
		case names && x.failed:
			offer(0, answer{cause: Lost, del: x})
		case names && x.by == byTag && x.removed == 0:
			offer(2, answer{cause: Index, del: x})
		case names && x.by == byTag && x.removed < 0 && s.e.again:
			offer(3, cannotTell("removed", Index, Lost))
		case names && s.proc != nil && x.src.proc != s.proc:
			if s.proc.pid == 0 || x.src.proc.pid == 0 {
				offer(5, cannotTell("pid", Peer, Lost))
			} else {
				offer(6, answer{cause: Peer, del: x})
			}
		case names && s.e.again && x.removed < 0: // it removed nothing, or it did and an unseen fill brought the value back
			offer(7, cannotTell("removed", Lost, StaleSet))
		case names && s.e.again:
			offer(7, answer{cause: Lost, del: x, inferred: true})
		case names && x.end <= w.at && x.at < s.e.end:
			offer(8, answer{cause: Order, del: x, inferred: true})
		case names:
		case x.failed && x.by == byKey && x.fam != nil && ask(x.fam) == fam && sameParts(d, s, x, &parts, &words):
			offer(0, answer{cause: Lost, del: x})
		case x.by == byKey && x.removed <= 0 && !x.failed && !d.wasSet(x.keyID) && sameParts(d, s, x, &parts, &words):
			if x.removed < 0 {
				offer(4, cannotTell("removed", KeyDrift, Lost))
			} else {
				offer(3, answer{cause: KeyDrift, del: x})
			}
		case x.by == byKey && x.removed == 0 && !x.failed && ask(x.fam) == fam && d.allDrift(w, dels, fam, ask):
			offer(10, answer{cause: KeyDrift, del: x, inferred: true}) // other parts, or the same ones in another order
		case x.by == byTag && x.st == s.st && len(s.tags) == 0 && !s.st.tagged && x.removed <= 0:
			offer(9, answer{missing: "tags", candidates: []string{Index}})
		}
	}
	if w.tr.traced() && rank > 1 {
		for _, j := range w.tr.tasks {
			if (j.errored || !j.began || j.failed) && !j.ended {
				if fam.jobs[j.name] {
					offer(1, answer{cause: Lost, task: j})
				} else if soundsLikeDrop(j.name) {
					offer(1, answer{cause: Lost, task: j, inferred: true})
				}
			}
		}
	}
	return best
}

// soundsLikeDrop says whether a job's name promises an invalidation.
func soundsLikeDrop(name string) bool {
	name = strings.ToLower(name)
	for _, w := range []string{"invalidat", "purge", "evict", "flush", "clear_cache", "cache_clear", "drop_cache", "bust", "uncache", "expire_cache"} {
		if strings.Contains(name, w) {
			return true
		}
	}
	return false
}

// unattempted decides where nothing that the write did could have dropped the entry.
func (d *Detector) unattempted(s *story, w *write, dels []*del, fam *family, ask func(*family) *family) answer {
	if w.external {
		return answer{cause: External}
	}
	if w.trigger {
		return answer{cause: Bypass}
	}
	if !w.oneRow {
		if how := fam.drops[w.table.name]; how != nil && how.oneRow {
			return answer{cause: Bypass}
		}
	}
	rest := answer{cause: Forgot}
	if !fam.covered {
		rest.cause = TTL
	}
	counted := true
	for _, x := range dels {
		if x.failed || x.removed == 0 {
			continue
		}
		for _, f := range x.fams {
			f := ask(f)
			meant := f.tables[w.table.name] || len(f.tables) == 0 && x.end >= w.open // what was dropped before may be a lock
			if f != fam && meant || f == fam && x.by == byKey {
				if x.removed > 0 {
					return answer{cause: Dependency, del: x}
				}
				counted = false
			}
		}
	}
	if !counted {
		return cannotTell("removed", Dependency, rest.cause)
	}
	if how := s.st.blind[w.table.name]; how != nil && !s.st.tagged && len(s.tags) == 0 && rest.cause == TTL {
		// Writers of the table drop tags of this store, and which keys these had is not known.
		other := Forgot
		if !w.oneRow && how.oneRow {
			other = Bypass
		}
		return cannotTell("tags", other, TTL)
	}
	return rest
}
