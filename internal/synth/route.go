package synth

import (
	"strconv"

	"github.com/demarc-dev/demarc/event"
)

// kind is what a route of ordinary traffic is like. Those up to kindFeed are worth a cache; the others are not, each for
// another reason.
type kind uint8

const (
	kindItem   kind = iota // one row
	kindOwn                // rows of whoever asks
	kindList               // a page of a table that another route's items are in
	kindLocale             // one row in the language of the Accept-Language header
	kindCached             // one row, behind a shared cache whose every writer drops the key
	kindLogin              // sets a cookie
	kindClock              // has the time in its body
	kindReport             // shows what a job that nobody observes writes
	kindSecret             // says no-store
	kindFlaky              // fails more often than not
	kindPing               // takes 0.3 ms
)

// order is in which kinds routes are made. What is worth a cache comes first and more often.
var order = []kind{kindItem, kindCached, kindList, kindOwn, kindLocale, kindLogin, kindClock, kindReport, kindSecret, kindFlaky, kindPing, kindItem}

const (
	pages     = 12 // of a list
	languages = 3
	cachedTTL = 30_000 // ms
	// Reads see what was committed before they began; they begin and end before any later request can commit.
	readAfter   = 200_000   // ns from a request's start to its statement
	readDur     = 500_000   // at most
	commitAfter = 2_500_000 // ns from a writer's start to its commit
	commitDur   = 1_000_000
	dropAfter   = 500_000 // ns from a commit to the delete of a key
	// A session lasts so long, or a tenth of the traffic where that is less.
	sessionNs = 120_000_000_000
)

// table is a table of the service's database and what is committed in it.
type table struct {
	number  uint64
	name    string
	rows    []row
	pending []commit // of writers under way, few
	commits int64
	dropped int64 // end of the last commit
}

type row struct {
	version uint32
	dropped int64 // end of the last commit to it
}

// commit is one that will have happened at a time.
type commit struct {
	row int64
	end int64
}

// advance does the commits that ended by now.
func (t *table) advance(now int64) {
	for i := 0; i < len(t.pending); {
		c := t.pending[i]
		if c.end > now {
			i++
			continue
		}
		t.commits++
		t.dropped = max(t.dropped, c.end)
		r := &t.rows[c.row]
		r.version++
		r.dropped = max(r.dropped, c.end)
		t.pending[i] = t.pending[len(t.pending)-1]
		t.pending = t.pending[:len(t.pending)-1]
	}
}

// versionAt is how often a row was written by a moment that is not far ahead; of row -1, how often the table was.
func (t *table) versionAt(r, moment int64) uint64 {
	n := uint64(t.commits)
	if r >= 0 {
		n = uint64(t.rows[r].version)
	}
	for _, c := range t.pending {
		if c.end <= moment && (r < 0 || c.row == r) {
			n++
		}
	}
	return n
}

// route is one route of ordinary traffic with its writer, if it has one.
type route struct {
	kind     kind
	name     string // of the thing
	path     string // template
	read     string // statement
	readCode string
	write    string // statement
	method   string // of the writer
	wpath    string
	wcode    string
	table    *table
	base     int64 // ns that it takes at least
	spread   int64 // and at most more
	number   uint64
	targets  []string
	cacheKey []string
	held     []held // of kindCached, by row
	watch    *watch // of what is worth caching
	requests int64
	writes   int64
}

// held is what the shared cache holds of one row.
type held struct {
	value   event.Hash
	from    int64 // end of the set
	until   int64 // expiry
	filling int64 // until then somebody fills it
	writing int64 // until then somebody writes the row
}

func (k kind) worth() bool { return k <= kindLocale }

// makeRoutes makes the routes of ordinary traffic.
func (t *Traffic) makeRoutes(nouns []noun) {
	var items *route
	for i := range t.opt.Routes {
		k := order[i%len(order)]
		n := nouns[i%len(nouns)]
		if i >= len(nouns) {
			suffix := strconv.Itoa(i/len(nouns) + 1)
			n = noun{n.one + suffix, n.many + suffix}
		}
		r := &route{kind: k, name: n.one, number: uint64(i + 1), base: 12e6 + t.rng.below(10)*1e6, spread: 12e6}
		code := t.opt.Service + "." + n.many
		one, many := "/"+n.many+"/{id}", "/"+n.many
		r.path, r.readCode, r.wcode = one, code+":show:"+strconv.FormatInt(t.rng.between(10, 60), 10), code+":change:"+strconv.FormatInt(t.rng.between(61, 120), 10)
		tb := &table{number: uint64(i + 1), name: n.many}
		switch k {
		case kindItem, kindCached, kindLocale:
			tb.rows = make([]row, t.opt.Keys)
			r.read = "SELECT id, title, body FROM " + n.many + " WHERE id = $1"
			r.write, r.method, r.wpath = "UPDATE "+n.many+" SET title = $1 WHERE id = $2", "PUT", one
			if k == kindItem {
				items = r
			}
			if k == kindCached {
				r.held = make([]held, t.opt.Keys)
				r.cacheKey = make([]string, t.opt.Keys)
			}
		case kindOwn:
			tb.rows = make([]row, t.opt.Users)
			r.path = "/my/" + n.many
			r.read = "SELECT id, amount FROM " + n.many + " WHERE user_id = $1"
			r.write, r.method, r.wpath = "INSERT INTO "+n.many+" (user_id, amount) VALUES ($1, $2)", "POST", many
		case kindList:
			r.path = "/browse/" + items.table.name
			r.read = "SELECT id, title FROM " + items.table.name + " ORDER BY title LIMIT $1 OFFSET $2"
			r.readCode = t.opt.Service + "." + items.table.name + ":browse:" + strconv.FormatInt(t.rng.between(130, 160), 10)
			tb = items.table
		case kindLogin:
			r.path, r.read, r.base = "/sessions/"+n.many, "SELECT id FROM users WHERE name = $1", 60e6
		case kindClock:
			r.path, r.read = "/"+n.many+"/status", "SELECT count(id) FROM "+n.many
		case kindReport:
			r.path, r.read = "/"+n.many+"/report", "SELECT day, total FROM "+n.many+"_daily"
		case kindSecret:
			r.path, r.read = "/my/"+n.many+"/secret", "SELECT code FROM "+n.many+" WHERE user_id = $1"
		case kindFlaky:
			r.path, r.read = "/"+n.many+"/stock", "SELECT amount FROM "+n.many+" WHERE id = $1"
		case kindPing:
			r.path, r.base, r.spread = "/"+n.many+"/ping", 250_000, 100_000
		}
		r.table = tb
		if k.worth() {
			size := map[kind]int{kindItem: t.opt.Keys, kindOwn: t.opt.Users, kindList: pages, kindLocale: t.opt.Keys * languages}[k]
			r.watch = newWatch(size, t.opt.Lifetimes)
		}
		if k == kindItem || k == kindLocale || k == kindCached {
			r.targets = make([]string, t.opt.Keys)
		}
		t.routes = append(t.routes, r)
	}
	// A route that is worth a cache is asked for three times as often as one that is not.
	for _, r := range t.routes {
		n := 1
		if r.kind.worth() || r.kind == kindCached {
			n = 3
		}
		for range n {
			t.readers = append(t.readers, r)
		}
	}
}

// ordinaryRequest makes the events of one request that starts at a time. All that started before has been made.
func (t *Traffic) ordinaryRequest(at int64) {
	r := t.readers[t.rng.below(int64(len(t.readers)))]
	if t.rng.below(1_000_000) < t.opt.WriteRate {
		if w := t.writerBeside(r); w != nil && t.writeRequest(w, at) {
			return
		}
	}
	r.requests++
	if r.kind == kindCached {
		t.cachedRequest(r, at)
		return
	}
	t.readRequest(r, at)
}

// writerBeside is the route whose writer writes what a route reads; some other's where that has none.
func (t *Traffic) writerBeside(r *route) *route {
	for i := range t.routes {
		w := t.routes[(int(r.number)-1+i)%len(t.routes)]
		if w.write != "" {
			return w
		}
	}
	return nil
}

// pick draws the row, and the user who asks.
func (t *Traffic) pick(r *route) (row, user int64) {
	user = t.rng.below(int64(t.opt.Users))
	switch r.kind {
	case kindOwn:
		return user, user
	case kindList:
		return t.pickPage.draw(&t.rng), user
	}
	return t.pickKey.draw(&t.rng), user
}

func (r *route) target(row int64) string {
	switch {
	case r.targets != nil:
		if r.targets[row] == "" {
			r.targets[row] = r.path[:len(r.path)-len("{id}")] + strconv.FormatInt(row+1, 10)
		}
		return r.targets[row]
	case r.kind == kindList:
		return r.path + "?page=" + strconv.FormatInt(row+1, 10)
	}
	return r.path
}

// tracked puts a parameter behind a target that changes nothing.
func (t *Traffic) tracked(target string, list bool) string {
	if !t.rng.one(4) {
		return target
	}
	sep := "?"
	if list {
		sep = "&"
	}
	if t.rng.one(2) {
		return target + sep + "utm_source=mail"
	}
	var b [80]byte
	out := append(append(append(b[:0], target...), sep...), "fbclid="...)
	return string(strconv.AppendUint(out, t.rng.next()>>24, 36))
}

// request puts the event of a request: with what was asked for, and what was answered.
func (t *Traffic) request(p *process, trace string, at, dur int64, user int64) *slot {
	s := t.queue.take()
	s.proc = p
	s.req = event.Request{Kind: "http", Method: "GET", Status: 200, Principal: t.who[user], BodyBytes: event.Some(t.rng.between(300, 4000))}
	n := 0
	if user > 0 {
		session := uint64(at/t.session + user)
		s.vary[n] = event.NamedHash{Name: "cookie.session", Hash: hashOf(t.opt.Seed, 19, uint64(user), session)}
		s.req.RequestCookie = event.Some(true)
		n++
	}
	s.vary[n] = event.NamedHash{Name: "user-agent", Hash: t.agents[t.rng.below(int64(len(t.agents)))]}
	s.req.Vary = s.vary[:n+1]
	s.e = event.Event{Type: event.TypeRequest, At: at, Dur: event.Some(dur), Trace: trace, Span: trace, Request: &s.req}
	return s
}

// statement puts a query; its parameters follow.
func (t *Traffic) statement(p *process, trace string, at, dur int64, text, code string, rows int64, params ...event.Hash) *slot {
	s := t.queue.take()
	s.proc = p
	s.query = event.Query{DB: "postgresql", Text: text, Rows: event.Some(rows), Code: code}
	if len(params) > 0 {
		s.query.Params = s.params[:copy(s.params[:], params)]
	}
	s.e = event.Event{Type: event.TypeQuery, At: at, Dur: event.Some(dur), Trace: trace, Parent: trace, Query: &s.query}
	return s
}

func (t *Traffic) transaction(p *process, trace, op string, at, dur int64) *slot {
	s := t.queue.take()
	s.proc = p
	s.txn = event.Txn{Op: op, DB: "postgresql", Txn: trace, Isolation: "READ COMMITTED"}
	s.e = event.Event{Type: event.TypeTxn, At: at, Dur: event.Some(dur), Trace: trace, Parent: trace, Txn: &s.txn}
	return s
}

func (t *Traffic) process() *process { return t.processes[t.rng.below(int64(len(t.processes)))] }

// value is the hash of a parameter, or of a primary key: equal numbers have equal hashes.
func (t *Traffic) value(n int64) event.Hash { return hashOf(t.opt.Seed, 5, uint64(n)) }

// readRequest makes a request that no cache answers.
func (t *Traffic) readRequest(r *route, at int64) {
	row, user := t.pick(r)
	r.table.advance(at)
	p, trace := t.process(), t.trace()
	dur := r.base + t.rng.below(r.spread)
	began := at + readAfter
	s := t.request(p, trace, at, dur, user)
	s.req.Route, s.req.Target = r.path, r.target(row)
	key, version := row, uint64(0)
	var params [2]event.Hash
	n := 1
	switch r.kind {
	case kindItem:
		version = r.table.versionAt(row, began)
		s.req.Target = t.tracked(s.req.Target, false)
		params[0] = t.value(row + 1)
	case kindOwn:
		version = r.table.versionAt(row, began)
		s.req.Target = t.tracked(s.req.Target, false)
		params[0] = t.value(user)
	case kindList:
		version = r.table.versionAt(-1, began)
		s.req.Target = t.tracked(s.req.Target, true)
		params[0], params[1], n = t.value(20), t.value(20*row), 2
	case kindLocale:
		language := t.rng.below(languages)
		key = row*languages + language
		version = r.table.versionAt(row, began)
		copy(s.vary[1:], s.req.Vary)
		s.vary[0] = event.NamedHash{Name: "accept-language", Hash: hashOf(t.opt.Seed, 6, uint64(language))}
		s.req.Vary = s.vary[:len(s.req.Vary)+1]
		s.req.Target = t.tracked(s.req.Target, false)
		params[0] = t.value(row + 1)
	case kindLogin:
		key, version = int64(t.traces), 1
		s.head[0] = event.Pair{Name: "set-cookie", Value: "true"}
		s.req.Headers = s.head[:]
		params[0] = t.value(user)
	case kindClock:
		key, n = int64(t.traces), 0
	case kindReport:
		key, n = at/2_000_000_000, 0
	case kindSecret:
		key = user
		s.head[0] = event.Pair{Name: "cache-control", Value: "no-store"}
		s.req.Headers = s.head[:]
		params[0] = t.value(user)
	case kindFlaky:
		params[0] = t.value(row + 1)
		if !t.rng.one(3) {
			s.req.Status, s.req.Error, key = 503, "TimeoutError at "+r.readCode, 0
		}
	case kindPing:
		key, n = 0, 0
	}
	s.req.BodyHash = hashOf(t.opt.Seed, 7, r.number, uint64(key), version)
	if r.watch != nil {
		last := &r.table.dropped
		if r.kind != kindList {
			last = &r.table.rows[row].dropped
		}
		r.watch.ask(key, at, at+dur, s.req.BodyHash, *last, r.table.dropped)
	}
	if r.read != "" {
		t.queue.put(t.statement(p, trace, began, t.rng.between(readDur/2, readDur), r.read, r.readCode, 1, params[:n]...))
	}
	t.queue.put(s)
}

// writeRequest makes a request that writes one row in a transaction, and says whether it could: no row is written twice at
// one time, and none that somebody is just filling a cache from.
func (t *Traffic) writeRequest(r *route, at int64) bool {
	row, user := t.pick(r)
	r.table.advance(at)
	for _, c := range r.table.pending {
		if c.row == row {
			return false
		}
	}
	if r.held != nil && (r.held[row].filling > at || r.held[row].writing > at) {
		return false
	}
	t.summary.writes++
	r.writes++
	p, trace := t.process(), t.trace()
	committing := at + commitAfter + t.rng.below(2_000_000)
	end := committing + commitDur
	r.table.pending = append(r.table.pending, commit{row, end})
	text := hashOf(t.opt.Seed, 8, t.traces)
	params := [2]event.Hash{text, t.value(row + 1)}
	if r.kind == kindOwn {
		params = [2]event.Hash{t.value(user), text}
	}
	t.queue.put(t.transaction(p, trace, "begin", at+300_000, 200_000))
	s := t.statement(p, trace, at+700_000, 600_000, r.write, r.wcode, 1, params[:]...)
	s.query.Txn = trace
	t.queue.put(s)
	t.queue.put(t.transaction(p, trace, "commit", committing, commitDur))
	done := end + t.rng.between(1_000_000, 4_000_000)
	if r.held != nil {
		h := &r.held[row]
		gone := end + dropAfter
		removed := int64(0)
		if h.until > gone && h.value != 0 {
			removed = 1
		}
		*h = held{writing: gone + 400_000, value: h.value, from: h.from, until: min(h.until, gone)}
		d := t.cacheEvent(p, trace, "delete", r, row, gone, 300_000)
		d.cache.Removed = event.Some(removed)
		d.cache.Code = r.wcode
		t.queue.put(d)
	}
	s = t.request(p, trace, at, done-at, user)
	s.req.Method, s.req.Route, s.req.Target = r.method, r.wpath, r.wpath
	if r.targets != nil {
		s.req.Target = r.target(row)
	}
	if r.method == "POST" {
		s.req.Status = 201
	}
	s.req.BodyHash = hashOf(t.opt.Seed, 9, r.number)
	t.queue.put(s)
	return true
}

func (t *Traffic) cacheEvent(p *process, trace, op string, r *route, row, at, dur int64) *slot {
	if r.cacheKey[row] == "" {
		r.cacheKey[row] = r.name + ":" + strconv.FormatInt(row+1, 10)
	}
	s := t.queue.take()
	s.proc = p
	s.cache = event.Cache{Op: op, Layer: "shared", Store: store, Key: r.cacheKey[row], Code: r.readCode}
	s.e = event.Event{Type: event.TypeCache, At: at, Dur: event.Some(dur), Trace: trace, Parent: trace, Cache: &s.cache}
	return s
}

const store = "redis:6379/0"

// cachedRequest makes a request to a route that a shared cache stands before. Who finds nothing fills it; who comes
// meanwhile waits, so that there is no stampede; and whose row is being written asks for another one, so that no fill
// overtakes a delete.
func (t *Traffic) cachedRequest(r *route, at int64) {
	row, user := t.pick(r)
	r.table.advance(at)
	p, trace := t.process(), t.trace()
	h := &r.held[row]
	for range len(r.held) {
		if h.writing <= at {
			break
		}
		row = (row + 1) % int64(len(r.held))
		h = &r.held[row]
	}
	asked := max(at+readAfter, h.filling+50_000)
	hit := h.value != 0 && asked < h.until && asked >= h.from
	g := t.cacheEvent(p, trace, "get", r, row, asked, 150_000)
	g.cache.Hit = event.Some(hit)
	end := asked + 150_000 + t.rng.between(500_000, 2_000_000)
	if hit {
		g.cache.ValueHash, g.cache.ValueForm, g.cache.ValueKind = h.value, "canonical", "value"
		t.queue.put(g)
	} else {
		t.queue.put(g)
		began := asked + 200_000
		t.queue.put(t.statement(p, trace, began, t.rng.between(readDur/2, readDur), r.read, r.readCode, 1, t.value(row+1)))
		h.value = hashOf(t.opt.Seed, 10, r.number, uint64(row), r.table.versionAt(row, began))
		set := began + 1_000_000 + t.rng.below(1_000_000)
		c := t.cacheEvent(p, trace, "set", r, row, set, 300_000)
		c.cache.ValueHash, c.cache.ValueForm, c.cache.ValueKind = h.value, "canonical", "value"
		c.cache.TTLMs, c.cache.FillStart = event.Some(int64(cachedTTL)), asked
		c.cache.Bytes = event.Some(int64(700))
		t.queue.put(c)
		h.from = set + 300_000
		h.until = h.from + cachedTTL*1_000_000
		h.filling = h.from
		end = h.from + t.rng.between(500_000, 2_000_000)
	}
	s := t.request(p, trace, at, end-at, user)
	s.req.Route, s.req.Target = r.path, r.target(row)
	s.req.BodyHash = h.value
	t.queue.put(s)
}
