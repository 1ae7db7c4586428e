// Package evidence tells which of demarc's questions the events of a service cannot answer, because what produced them
// does not carry what is needed, and how to get it. It is a pure fold over events: spans of OpenTelemetry carry less
// than the recorder, some of it depends on their settings, and only the events themselves say what came.
package evidence

import (
	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
)

// Gap is something that the events seen do not tell.
type Gap = baseline.Gap

// Evidence counts what events carry. The zero Evidence has seen none; its size does not depend on how many it sees.
type Evidence struct {
	http, queries, gets, sets, deletes, cache, failed, total int64

	route, body, principal, vary, cacheHeaders   int64
	params, rows, code, commits                  int64
	key, hit, valueHash, ttl, fillStart, removed int64
	errorPlace, source, trace                    int64
	recorders                                    int64 // events that a recorder says of itself
}

// Add counts one event.
func (v *Evidence) Add(e *event.Event) {
	v.total++
	count(&v.source, e.Source != nil && e.Source.Pid != 0 && e.Source.Version != "")
	switch {
	case e.Request != nil && e.Request.Kind == "http":
		r := e.Request
		v.http++
		count(&v.route, r.Route != "")
		count(&v.body, r.BodyHash != 0 || r.BodyHashNone != "")
		count(&v.principal, r.Principal != "")
		count(&v.vary, len(r.Vary) > 2) // the host and the user agent alone say little
		for _, h := range r.Headers {
			if h.Name != "content-type" {
				v.cacheHeaders++
				break
			}
		}
		v.fault(r.Error)
	case e.Query != nil:
		v.queries++
		count(&v.params, len(e.Query.Params) > 0)
		count(&v.rows, e.Query.Rows.Known)
		count(&v.code, e.Query.Code != "")
		count(&v.trace, e.Trace != "")
	case e.Txn != nil:
		count(&v.commits, e.Txn.Op == "commit")
	case e.Cache != nil:
		v.addCache(e.Cache)
	case e.Recorder != nil:
		v.recorders++
	}
}

func count(n *int64, yes bool) {
	if yes {
		*n++
	}
}

func (v *Evidence) fault(text string) {
	if text == "" {
		return
	}
	v.failed++
	for i := 0; i+4 <= len(text); i++ {
		if text[i:i+4] == " at " {
			v.errorPlace++
			return
		}
	}
}

func (v *Evidence) addCache(c *event.Cache) {
	v.cache++
	count(&v.key, c.Key != "" || c.Op == "clear" || c.Tag != "" || c.Pattern != "")
	switch c.Op {
	case "get":
		v.gets++
		count(&v.hit, c.Hit.Known)
	case "set":
		v.sets++
		count(&v.valueHash, c.ValueHash != 0)
		count(&v.ttl, c.TTLMs.Known || c.TTLEffectiveMs.Known)
		count(&v.fillStart, c.FillStart != 0)
	case "delete", "clear", "delete-tag":
		v.deletes++
		count(&v.removed, c.Removed.Known)
	}
}

const useRecorder = "observe with the recorder: demarc run -- COMMAND, or demarc inject for a container"

// Missing lists what the events added so far lack altogether, or on more than half of those that could carry it; the
// gravest first. It is empty where nothing was added. Where a recorder was at work, the remedies are its own.
func (v *Evidence) Missing() []Gap {
	list := v.missing()
	for i := range list {
		if v.recorders > 0 {
			list[i].Remedy = recorderRemedy(list[i].ID)
		}
	}
	return list
}

func (v *Evidence) missing() []Gap {
	var list []Gap
	add := func(id string, have, of int64, question, missing, remedy string) {
		if of > 0 && 2*have < of {
			list = append(list, Gap{ID: id, Question: question, Missing: missing, Of: of - have, Total: of, Remedy: remedy})
		}
	}
	add("cache.key", v.key, v.cache, "why a read was stale, which keys a write should drop, miss-ratio curves",
		"key of cache operations", "spans of Redis carry the command with its arguments removed; "+useRecorder)
	add("cache.hit", v.hit, v.gets, "hit ratio, misses per request", "hit of cache gets", "no span says whether a get found something; "+useRecorder)
	add("request.body_hash", v.body, v.http, "whether a response may be cached, and for how long", "body_hash of requests",
		"spans carry no body; "+useRecorder)
	add("query.params", v.params, v.queries, "which row a query read or wrote, which cached query a write changes", "params of queries",
		"spans carry parameters in clear text or not at all, and demarc keeps neither; "+useRecorder)
	if v.queries > 0 && v.commits == 0 {
		list = append(list, Gap{ID: "txn.commit", Question: "in which order a commit and a cache write happened", Missing: "txn events of commits",
			Of: v.queries, Total: v.queries, Remedy: "no instrumentation of SQLAlchemy, Django or psycopg makes a span of a commit; " + useRecorder})
	}
	add("request.principal", v.principal, v.http, "whether answers differ between users, whether one user was served another's",
		"principal of requests", "set the attribute user.id on the request's span in the service, or "+useRecorder)
	add("cache.value_hash", v.valueHash, v.sets, "whether a cached value was stale when it was read", "value_hash of cache sets",
		"spans carry no values; "+useRecorder)
	add("cache.fill_start", v.fillStart, v.sets, "whether a slow fill overwrote a newer value", "fill_start of cache sets", useRecorder)
	add("cache.removed", v.removed, v.deletes, "whether a delete found its key", "removed of cache deletes", useRecorder)
	add("cache.ttl_ms", v.ttl, v.sets, "whether a lifetime is too long or too short", "ttl_ms of cache sets",
		"spans of Redis carry the command with its arguments removed; "+useRecorder)
	add("request.vary", v.vary, v.http, "which request headers an answer depends on", "vary of requests",
		"set OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST=accept-language,accept,origin in the service's environment")
	add("request.headers", v.cacheHeaders, v.http, "cache status by layer, what a shared cache would do", "cache-control and the like among headers of requests",
		"set OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE=cache-control,vary,age,etag,cache-status,x-cache,set-cookie "+
			"in the service's environment; a service that sends none of them has nothing to show")
	add("request.route", v.route, v.http, "figures by route", "route of requests",
		"the service's framework has no instrumentation that knows routes; install opentelemetry-instrumentation-fastapi, -django or -flask, or "+useRecorder)
	add("query.trace", v.trace, v.queries, "queries per request", "trace of queries",
		"instrument the web framework as well as the database in the same process, or "+useRecorder)
	add("query.code", v.code, v.queries, "the code line of a slow or repeated query", "code of queries", useRecorder)
	add("query.rows", v.rows, v.queries, "how much a query returns", "rows of queries", useRecorder)
	add("error.place", v.errorPlace, v.failed, "the code line of an error", "place in error of requests",
		"have the exception recorded on the request's span with its stack trace, or "+useRecorder)
	add("source", v.source, v.total, "which process, and which version of the code, did something", "pid and version",
		"set OTEL_RESOURCE_ATTRIBUTES=service.version=… and OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=process,host in the service's environment")
	return list
}

// recorderRemedy is what helps where the recorder, which is the remedy for spans, is there already.
func recorderRemedy(id string) string {
	switch id {
	case "request.principal":
		return "observe.principal in demarc.yaml names the header or cookie that tells who asks"
	case "request.headers":
		return "nothing, if the service sends no cache headers"
	case "txn.commit":
		return "nothing, if the service only reads"
	case "query.rows":
		return "nothing: most drivers do not know the number of rows of a SELECT before they are fetched"
	case "query.params":
		return "nothing, if the statements have no parameters"
	case "cache.fill_start":
		return "nothing, if values are set without a miss before (warm-up, write-through)"
	case "cache.ttl_ms":
		return "nothing, if values are set without a lifetime"
	case "source":
		return "DEMARC_VERSION names the version of the code, where the service runs outside its checkout"
	}
	return "the recorder could not see it; demarc doctor --hooks shows which hooks were on"
}
