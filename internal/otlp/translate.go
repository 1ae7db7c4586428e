package otlp

import (
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// translate appends the events of the span that was read and says whether a job begins with it. A span that none of the
// vocabulary's types can say becomes no event.
func (b *batch) translate(n *node) (job bool) {
	s := &b.span
	switch s.kind {
	case kindServer:
		if s.attrs.has(httpMethod) {
			b.request(n)
		}
		return false
	case kindConsumer:
		return b.job(n)
	case kindProducer:
		b.enqueue(n)
		return false
	}
	if s.attrs.has(dbSystem) {
		b.database(n)
	}
	return false
}

func (b *batch) request(n *node) {
	s := &b.span
	a := &s.attrs
	e := b.event(n, event.TypeRequest)
	r := b.requests.next()
	e.Request = r
	r.Kind = "http"
	r.Method = a.text(httpMethod)
	if r.Method == "_OTHER" {
		r.Method = a.text(httpMethodOriginal)
	}
	r.Method = strings.ToUpper(r.Method)
	r.Route = a.text(httpRoute)
	if status, ok := a.number(httpStatus); ok && status > 0 && status < 1000 {
		r.Status = status
	}
	if target := target(a); target != "" {
		r.Target = b.seen.get("target", target, b.target)
	}
	r.RequestBytes = optional(a, requestSize)
	r.BodyBytes = optional(a, responseSize)
	r.Error = s.failure(r.Status >= 400)
	if b.opts.Hash != nil {
		if id := a.label(userID); id != "" {
			r.Principal = b.hash(id).String()
		}
		r.Vary = b.vary(a)
	}
	r.Headers = kept(a.response)
}

// target puts the path and query together. The older convention has two attributes for them, of which some senders
// fill one without the query.
func target(a *attrs) string {
	if path := a.text(urlPath); path != "" {
		if query := a.text(urlQuery); query != "" {
			return path + "?" + query
		}
		return path
	}
	target := a.text(httpTarget)
	if target != "" && strings.IndexByte(target, '?') >= 0 {
		return target
	}
	url := a.text(httpURL)
	if _, rest, ok := strings.Cut(url, "://"); ok {
		if slash := strings.IndexAny(rest, "/?"); slash >= 0 && (target == "" || strings.IndexByte(rest, '?') >= 0) {
			target = rest[slash:]
		}
	}
	if cut := strings.IndexByte(target, '#'); cut >= 0 {
		target = target[:cut]
	}
	return target
}

func optional(a *attrs, s slot) event.Opt[int64] {
	if v, ok := a.number(s); ok && v >= 0 {
		return event.Some(v)
	}
	return event.Opt[int64]{}
}

// vary returns the hashes of the request headers that an answer may depend on, sorted by name.
func (b *batch) vary(a *attrs) []event.NamedHash {
	host, agent := a.label(hostHeader), a.label(userAgent)
	if host == "" {
		host = a.label(hostName)
	}
	first := len(b.inputs)
	for _, h := range a.request {
		switch name := headerName(h.name); {
		case name == "host":
			host = h.value
		case name == "user-agent":
			agent = h.value
		case varies(name):
			b.inputs = append(b.inputs, event.NamedHash{Name: name, Hash: b.hash(h.value)})
		}
	}
	if host != "" {
		b.inputs = append(b.inputs, event.NamedHash{Name: "host", Hash: b.hash(host)})
	}
	if agent != "" {
		b.inputs = append(b.inputs, event.NamedHash{Name: "user-agent", Hash: b.hash(agent)})
	}
	list := b.inputs[first:len(b.inputs):len(b.inputs)]
	if len(list) == 0 {
		return nil
	}
	if len(a.request) > 0 {
		slices.SortStableFunc(list, func(x, y event.NamedHash) int { return strings.Compare(x.Name, y.Name) })
		list = slices.CompactFunc(list, func(x, y event.NamedHash) bool { return x.Name == y.Name })
	}
	return list
}

// headerName returns a captured header's name as it stands in a message; instrumentations wrote "_" for "-" before.
func headerName(name string) string {
	return strings.ReplaceAll(strings.ToLower(valid(name)), "_", "-")
}

// varies says whether a request header is an input that is worth a guess, the same ones as the recorder keeps: not
// those that are another one on every request, nor credentials.
func varies(name string) bool {
	switch name {
	case "accept", "accept-encoding", "accept-language", "origin", "range":
		return true
	}
	if !strings.HasPrefix(name, "x-") {
		return false
	}
	for _, noise := range []string{
		"x-request-id", "x-correlation-id", "x-forwarded-for", "x-real-ip", "x-amzn-trace-id", "x-trace-id", "x-b3-",
		"x-datadog-", "x-cloud-trace", "x-request-start", "x-api-key", "x-auth", "x-csrf",
	} {
		if strings.HasPrefix(name, noise) {
			return false
		}
	}
	return true
}

// kept returns those response headers that an event may hold, sorted by name.
func kept(headers []header) []event.Pair {
	var list []event.Pair
	for _, h := range headers {
		name := headerName(h.name)
		switch name {
		case "cache-control", "vary", "age", "etag", "cache-status", "x-cache", "retry-after", "expires",
			"surrogate-key", "surrogate-control", "cdn-cache-control", "content-type", "last-modified", "x-fastapi-cache":
			list = append(list, event.Pair{Name: name, Value: valid(h.value)})
		case "set-cookie":
			list = append(list, event.Pair{Name: name, Value: "true"})
		}
	}
	slices.SortStableFunc(list, func(x, y event.Pair) int { return strings.Compare(x.Name, y.Name) })
	return slices.CompactFunc(list, func(x, y event.Pair) bool { return x.Name == y.Name })
}

// failure returns the exception and its place of a failed span, or what else the span says of it. An exception that was
// recorded without failing the span was handled, and is none. told says that the failure shows elsewhere in the event.
func (s *span) failure(told bool) string {
	if s.status != statusError {
		return ""
	}
	if s.excType != "" {
		name := valid(s.excType)
		if at := raisedAt(valid(s.excStack)); at != "" {
			return name + " at " + at
		}
		return name
	}
	if kind := s.attrs.text(errorType); kind != "" && (kind[0] < '0' || kind[0] > '9') {
		return kind
	}
	if told {
		return ""
	}
	return "unknown error"
}

// job makes the events of a span that runs a message: the job as a request, and the steps of its task. A span that only
// fetched messages is none.
func (b *batch) job(n *node) bool {
	s := &b.span
	a := &s.attrs
	if op := a.text(msgOperation); op == "receive" || op == "settle" {
		return false
	}
	name := a.text(celeryTask)
	if name == "" {
		name = a.text(msgDestination)
	}
	if name == "" {
		name = valid(s.name)
	}
	failure := s.failure(false)
	e := b.event(n, event.TypeRequest)
	e.Request = b.requests.next()
	e.Request.Kind, e.Request.Route, e.Request.Error = "job", name, failure
	dur := e.Dur

	step := func(op string) (*event.Event, *event.Task) {
		e := b.event(n, event.TypeTask)
		e.Span, e.Parent, e.Dur = "", n.name, event.Opt[int64]{}
		e.Task = b.tasks.next()
		e.Task.Op, e.Task.ID, e.Task.Name, e.Task.Queue = op, a.label(msgID), name, a.text(msgDestination)
		return e, e.Task
	}
	step("start")
	if dur.Known {
		op := "end"
		if failure != "" {
			op = "fail"
		}
		end, task := step(op)
		end.At, task.Error = int64(s.end), failure
	}
	return true
}

func (b *batch) enqueue(n *node) {
	a := &b.span.attrs
	name := a.text(celeryTask)
	if name == "" {
		name = a.text(msgDestination)
	}
	if name == "" {
		return
	}
	e := b.event(n, event.TypeTask)
	e.Task = b.tasks.next()
	*e.Task = event.Task{
		Op: "enqueue", ID: a.label(msgID), Name: name, Queue: a.text(msgDestination), Error: b.span.failure(false),
	}
}

// sqlSystems are the databases whose statements are SQL, by the names that the old and the new convention give them,
// with their name in events.
func sqlSystem(system string) string {
	switch system {
	case "postgresql", "sqlite", "mysql", "mariadb", "cockroachdb", "clickhouse", "other_sql", "db2", "hive", "trino", "presto":
		return system
	case "redshift", "aws.redshift":
		return "redshift"
	case "oracle", "oracle.db":
		return "oracle"
	case "mssql", "microsoft.sql_server":
		return "mssql"
	case "ibm.db2":
		return "db2"
	}
	return ""
}

func (b *batch) database(n *node) {
	s := &b.span
	a := &s.attrs
	system := a.text(dbSystem)
	switch system {
	case "redis", "valkey", "memcached":
		b.cache(n, system)
		return
	}
	db, text := sqlSystem(system), a.text(dbText)
	if db == "" || text == "" {
		return
	}
	if op := transaction(text); op != "" {
		e := b.event(n, event.TypeTxn)
		e.Txn = b.txns.next()
		e.Txn.Op, e.Txn.DB, e.Txn.Error = op, db, s.failure(false)
		return
	}
	e := b.event(n, event.TypeQuery)
	q := b.queries.next()
	e.Query = q
	q.DB = db
	q.Text = b.seen.get(db, text, b.opts.Redact)
	q.Rows = optional(a, dbRows)
	q.Many = optional(a, dbBatch)
	q.Error = s.failure(false)
	q.Code = b.code()
}

// transaction returns begin, commit or rollback for a statement that is just that. Savepoints are not.
func transaction(text string) string {
	if len(text) > 64 {
		return ""
	}
	words := strings.Fields(strings.TrimRight(text, "; \t\r\n"))
	if len(words) == 0 {
		return ""
	}
	op := ""
	switch w := words[0]; {
	case strings.EqualFold(w, "begin"), strings.EqualFold(w, "start") && len(words) > 1 && strings.EqualFold(words[1], "transaction"):
		return "begin"
	case strings.EqualFold(w, "commit"), strings.EqualFold(w, "end"):
		op = "commit"
	case strings.EqualFold(w, "rollback"), strings.EqualFold(w, "abort"):
		op = "rollback"
	}
	if len(words) > 2 || len(words) == 2 && !strings.EqualFold(words[1], "transaction") && !strings.EqualFold(words[1], "work") {
		return ""
	}
	return op
}
