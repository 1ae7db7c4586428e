package baseline

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// routeKey is what requests are grouped by.
type routeKey struct {
	job            bool
	method, routed string
}

func (k routeKey) String() string {
	if k.job {
		return k.routed
	}
	return k.method + " " + k.routed
}

// route is the sum over the requests of one route, or the runs of one job.
type route struct {
	key routeKey

	requests, errors, timed, disconnected int64
	classes                               [6]int64 // by first digit of the status, 0 where it is not known
	totalNs, maxNs                        int64
	dur, firstByte, bytes                 sketch
	errorTypes                            map[errorType]int64
	example, exampleError                 example
	http                                  httpCache

	queries, duplicates int64
	dbBusy              int64                 // ns of request time in which a statement was waited for
	statements          map[uint32]*statement // by fingerprint; 0 for those not kept apart
	apart               int                   // statements without that one
	stores              map[uint32]*cacheSum
}

type errorType struct{ name, code string }

// example is the slowest request of its sort, so that it does not depend on the order of events.
type example struct {
	dur    int64
	target string
}

func (x *example) offer(dur int64, target string, keep func(string) string) {
	if target == "" || dur < x.dur || dur == x.dur && x.target != "" && target >= x.target {
		return
	}
	*x = example{dur, keep(target)}
}

// httpCache is what response headers say of caches: Cache-Status (RFC 9211), X-Cache, Age, and status 304.
type httpCache struct{ hits, misses, notModified, maxAge int64 }

func (f *Fold) route(r *event.Request) uint32 {
	k := routeKey{job: r.Kind == "job", method: r.Method, routed: r.Route}
	if k.job {
		k.method = ""
	} else if k.method == "" {
		k.method = "?"
	}
	if k.routed == "" {
		k.routed = NoRoute
	}
	return f.routeID(k)
}

func (f *Fold) routeID(k routeKey) uint32 {
	if id, ok := f.routeIDs[k]; ok {
		return id
	}
	if len(f.routes) >= f.opt.MaxRoutes {
		k = routeKey{job: k.job, method: "*", routed: OtherRoutes}
		if k.job {
			k.method = ""
		}
		if id, ok := f.routeIDs[k]; ok {
			return id
		}
	}
	k.method, k.routed = strings.Clone(k.method), strings.Clone(k.routed)
	id := uint32(len(f.routes))
	f.routes = append(f.routes, newRoute(k))
	f.routeIDs[k] = id
	return id
}

func newRoute(k routeKey) *route {
	return &route{
		key: k, errorTypes: map[errorType]int64{}, statements: map[uint32]*statement{}, stores: map[uint32]*cacheSum{},
	}
}

func (r *route) add(e *event.Event, maxErrors int) {
	q := e.Request
	r.requests++
	class := q.Status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	r.classes[class]++
	dur, timed := duration(e)
	if timed {
		r.timed++
		r.totalNs += dur
		r.maxNs = max(r.maxNs, dur)
		r.dur.add(dur)
	}
	if q.FirstByteDur.Known && q.FirstByteDur.V >= 0 {
		r.firstByte.add(q.FirstByteDur.V)
	}
	if q.BodyBytes.Known && q.BodyBytes.V >= 0 {
		r.bytes.add(q.BodyBytes.V)
	}
	if q.Disconnected.Or(false) {
		r.disconnected++
	}
	if q.Error != "" || q.Status >= 500 {
		r.errors++
		r.exampleError.offer(dur, q.Target, strings.Clone)
		r.addError(parseError(q.Error, q.Status), maxErrors)
	} else {
		r.example.offer(dur, q.Target, strings.Clone)
	}
	r.http.add(q)
}

func (r *route) addError(t errorType, maxErrors int) {
	if _, ok := r.errorTypes[t]; !ok {
		if len(r.errorTypes) >= maxErrors {
			t = errorType{name: OtherErrors}
		}
		t = errorType{strings.Clone(t.name), strings.Clone(t.code)}
	}
	r.errorTypes[t]++
}

// parseError splits "ValueError at shop.app:create:42"; an error without an exception is named by its status.
func parseError(s string, status int64) errorType {
	if s == "" {
		return errorType{name: statusName(status)}
	}
	name, code, _ := strings.Cut(s, " at ")
	return errorType{name, code}
}

func statusName(status int64) string {
	if status < 0 || status > 999 {
		return "HTTP ?"
	}
	return "HTTP " + string([]byte{'0' + byte(status/100), '0' + byte(status/10%10), '0' + byte(status%10)})
}

func (h *httpCache) add(q *event.Request) {
	if q.Status == 304 {
		h.notModified++
	}
	hit, known := false, false
	for i := range q.Headers {
		switch v := q.Headers[i].Value; q.Headers[i].Name {
		case "cache-status": // the last cache in the list is the nearest to the client
			last := v[strings.LastIndexByte(v, ',')+1:]
			hit, known = strings.Contains(last, "hit"), true
		case "x-cache":
			if !known {
				hit = containsFold(v, "hit")
				known = hit || containsFold(v, "miss")
			}
		case "age":
			if age, ok := seconds(v); ok {
				h.maxAge = max(h.maxAge, age)
				if !known && age > 0 {
					hit, known = true, true
				}
			}
		}
	}
	switch {
	case hit:
		h.hits++
	case known:
		h.misses++
	}
}

func containsFold(s, lower string) bool {
	for i := 0; i+len(lower) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(lower)], lower) {
			return true
		}
	}
	return false
}

func seconds(s string) (int64, bool) {
	var n int64
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 10 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// statement is one fingerprint in one route.
type statement struct {
	other   bool // stands for several
	count   int64
	errors  int64
	totalNs int64
	dur     sketch
	codes   []codeCount

	epoch     uint64 // which request inRequest belongs to
	inRequest int64
	nested    bool // a statement of a nested transaction

	many    int64  // requests in which it ran at least Options.NPlusOne times
	perMany sketch // how often, in those
	most    int64
	repeats int64 // executions beyond the first in those of them where parameters were seen
	same    int64 // of these with parameters that the request had already asked with
}

// A statement comes from few places; further ones are not told apart.
const maxCodes = 8

type codeCount struct {
	code uint32
	n    int64
}

// room is how many statements may be kept apart: in a route, and how many more in all.
type room struct{ inRoute, left int }

func (r *route) statement(name uint32, room *room) *statement {
	if s, ok := r.statements[name]; ok {
		return s
	}
	if r.apart >= room.inRoute || room.left <= 0 {
		name = 0
		if s, ok := r.statements[0]; ok {
			return s
		}
	}
	if name != 0 {
		r.apart++
		room.left--
	}
	s := &statement{other: name == 0}
	r.statements[name] = s
	return s
}

func (s *statement) add(it *item) {
	s.count++
	if it.failed {
		s.errors++
	}
	if it.timed {
		s.totalNs += it.end - it.at
		s.dur.add(it.end - it.at)
	}
	s.addCode(it.code, 1)
}

func (s *statement) addCode(code uint32, n int64) {
	if code == 0 {
		return
	}
	for i := range s.codes {
		if s.codes[i].code == code {
			s.codes[i].n += n
			return
		}
	}
	if len(s.codes) < maxCodes {
		s.codes = append(s.codes, codeCount{code, n})
	}
}

func (s *statement) repeated(n, distinct int64, known bool) {
	s.many++
	s.perMany.add(n)
	s.most = max(s.most, n)
	if known {
		s.repeats += n - 1
		s.same += n - distinct
	}
}

// code returns the line from which the statement came most often.
func (s *statement) code(codes *table) string {
	if len(s.codes) == 0 {
		return ""
	}
	best := slices.MinFunc(s.codes, func(a, b codeCount) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(codes.list[a.code], codes.list[b.code]))
	})
	return codes.list[best.code]
}

// cacheSum counts operations on one store.
type cacheSum struct{ hits, misses, unknown, sets, deletes, errors int64 }

func (r *route) store(name uint32) *cacheSum {
	c := r.stores[name]
	if c == nil { // as many as there are stores, which Options.MaxNames bounds
		c = &cacheSum{}
		r.stores[name] = c
	}
	return c
}

func (c *cacheSum) add(it *item) {
	switch it.kind {
	case itemHit:
		c.hits += it.n
	case itemMiss:
		c.misses += it.n
	case itemUnknown:
		c.unknown += it.n
	case itemSet:
		c.sets += it.n
	case itemDelete:
		c.deletes += it.n
	}
	if it.failed {
		c.errors += it.n
	}
}

func (c *cacheSum) merge(o *cacheSum) {
	c.hits += o.hits
	c.misses += o.misses
	c.unknown += o.unknown
	c.sets += o.sets
	c.deletes += o.deletes
	c.errors += o.errors
}

// merge adds another fold's route; names translates that fold's numbers.
func (r *route) merge(o *route, maxErrors int, room *room, names *translation) {
	r.requests += o.requests
	r.errors += o.errors
	r.timed += o.timed
	r.disconnected += o.disconnected
	for i, n := range o.classes {
		r.classes[i] += n
	}
	r.totalNs += o.totalNs
	r.maxNs = max(r.maxNs, o.maxNs)
	r.dur.merge(&o.dur)
	r.firstByte.merge(&o.firstByte)
	r.bytes.merge(&o.bytes)
	for _, t := range slices.SortedFunc(maps.Keys(o.errorTypes), func(a, b errorType) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.code, b.code))
	}) {
		n := o.errorTypes[t]
		if _, ok := r.errorTypes[t]; !ok && len(r.errorTypes) >= maxErrors {
			t = errorType{name: OtherErrors}
		}
		r.errorTypes[t] += n
	}
	same := func(s string) string { return s }
	r.example.offer(o.example.dur, o.example.target, same)
	r.exampleError.offer(o.exampleError.dur, o.exampleError.target, same)
	r.http.hits += o.http.hits
	r.http.misses += o.http.misses
	r.http.notModified += o.http.notModified
	r.http.maxAge = max(r.http.maxAge, o.http.maxAge)

	r.queries += o.queries
	r.duplicates += o.duplicates
	r.dbBusy += o.dbBusy
	for _, id := range slices.Sorted(maps.Keys(o.statements)) {
		r.statement(names.fingerprints[id], room).merge(o.statements[id], names)
	}
	for id, c := range o.stores {
		r.store(names.stores[id]).merge(c)
	}
}

func (s *statement) merge(o *statement, names *translation) {
	s.count += o.count
	s.errors += o.errors
	s.totalNs += o.totalNs
	s.dur.merge(&o.dur)
	for _, c := range o.codes {
		s.addCode(names.codes[c.code], c.n)
	}
	s.many += o.many
	s.perMany.merge(&o.perMany)
	s.most = max(s.most, o.most)
	s.repeats += o.repeats
	s.same += o.same
}
