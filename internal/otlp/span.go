package otlp

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kinds of spans and the status of a failed one, as OTLP numbers them.
const (
	kindServer   = 2
	kindProducer = 4
	kindConsumer = 5
	statusError  = 2
	// flagHasRemote and flagRemote of a span's flags say that the parent lies in another process.
	flagHasRemote = 0x100
	flagRemote    = 0x200
)

// span is what both decoders fill. Its texts alias the message.
type span struct {
	trace, id, parent uint64 // trace is the two halves of the trace id, folded
	hasTrace          bool
	kind              int32
	flags             uint32
	start, end        uint64
	status            int32
	name              string
	excType, excStack string
	attrs             attrs
}

func (s *span) reset() {
	s.trace, s.id, s.parent, s.hasTrace = 0, 0, 0, false
	s.kind, s.flags, s.status, s.start, s.end = 0, 0, 0, 0, 0
	s.name, s.excType, s.excStack = "", "", ""
	s.attrs.reset()
}

// value is an attribute's value. A list of texts is one text, its elements joined by ", " (at most maxElements of them);
// maps and bytes are none.
type value struct {
	kind valueKind
	n    int64 // of an int or bool, and the number of elements of a list
	str  string
}

type valueKind uint8

const (
	none valueKind = iota
	text
	integer
	list
)

const maxElements = 16

func (v *value) element(s string) {
	if v.n++; v.n == 1 {
		v.str = s
	} else if v.n <= maxElements {
		v.str += ", " + s
	}
}

// slot is one thing that attributes can say; the old and the new name of one thing share a slot.
type slot uint8

const (
	noSlot slot = iota
	httpMethod
	httpMethodOriginal
	httpRoute
	httpStatus
	httpTarget // path and query
	httpURL    // whole
	urlPath
	urlQuery
	hostHeader // as sent by the client
	hostName   // as the server sees itself
	userAgent
	requestSize
	responseSize
	userID
	errorType
	dbSystem
	dbText
	dbOperation
	dbIndex
	dbRows
	dbBatch
	pipelineLength
	codeFunction
	codeNamespace
	codeFile
	codeLine
	msgSystem
	msgOperation
	msgDestination
	msgID
	celeryTask
	celeryAction
	celeryState
	serviceName
	serviceVersion
	resourceHost
	processPid
	excTypeSlot
	excStackSlot
	numSlots
)

// slotOf names the slot of an attribute. Where two names share one, the first of a span wins: senders that write both
// write the same in both.
func slotOf(key string) slot {
	switch key {
	case "http.request.method", "http.method":
		return httpMethod
	case "http.request.method_original":
		return httpMethodOriginal
	case "http.route":
		return httpRoute
	case "http.response.status_code", "http.status_code":
		return httpStatus
	case "http.target":
		return httpTarget
	case "url.full", "http.url":
		return httpURL
	case "url.path":
		return urlPath
	case "url.query":
		return urlQuery
	case "http.server_name":
		return hostHeader
	case "server.address", "net.host.name", "http.host":
		return hostName
	case "user_agent.original", "http.user_agent":
		return userAgent
	case "http.request.body.size", "http.request_content_length":
		return requestSize
	case "http.response.body.size", "http.response_content_length":
		return responseSize
	case "user.id", "enduser.id":
		return userID
	case "error.type":
		return errorType
	case "db.system.name", "db.system":
		return dbSystem
	case "db.query.text", "db.statement":
		return dbText
	case "db.operation.name", "db.operation":
		return dbOperation
	case "db.redis.database_index", "db.namespace":
		return dbIndex
	case "db.response.returned_rows", "db.rows_affected":
		return dbRows
	case "db.operation.batch.size":
		return dbBatch
	case "db.redis.pipeline_length":
		return pipelineLength
	case "code.function.name", "code.function":
		return codeFunction
	case "code.namespace":
		return codeNamespace
	case "code.file.path", "code.filepath":
		return codeFile
	case "code.line.number", "code.lineno":
		return codeLine
	case "messaging.system":
		return msgSystem
	case "messaging.operation.type", "messaging.operation":
		return msgOperation
	case "messaging.destination.name", "messaging.destination":
		return msgDestination
	case "messaging.message.id", "messaging.message_id":
		return msgID
	case "celery.task_name":
		return celeryTask
	case "celery.action":
		return celeryAction
	case "celery.state":
		return celeryState
	case "service.name":
		return serviceName
	case "service.version":
		return serviceVersion
	case "host.name":
		return resourceHost
	case "process.pid":
		return processPid
	case "exception.type":
		return excTypeSlot
	case "exception.stacktrace":
		return excStackSlot
	}
	return noSlot
}

// Captured headers, each under its name in the attribute: "-" was written as "_" before.
const (
	requestHeader  = "http.request.header."
	responseHeader = "http.response.header."
	maxHeaders     = 32
)

type header struct{ name, value string }

// attrs are the attributes of one span, resource or exception that an event can say.
type attrs struct {
	seen     uint64 // bit n: slot n holds a value of this span, not of an earlier one
	slots    [numSlots]value
	request  []header // at most maxHeaders each
	response []header
}

func (a *attrs) reset() {
	a.seen = 0
	a.request, a.response = a.request[:0], a.response[:0]
}

func (a *attrs) set(key string, v *value) {
	if v.kind == none {
		return
	}
	if s := slotOf(key); s != noSlot {
		if a.seen&(1<<s) == 0 {
			a.seen |= 1 << s
			a.slots[s] = *v
		}
		return
	}
	if len(key) > len(requestHeader) && key[:5] == "http." && v.kind != integer {
		if name, ok := strings.CutPrefix(key, requestHeader); ok && len(a.request) < maxHeaders {
			a.request = append(a.request, header{name, v.str})
		} else if name, ok := strings.CutPrefix(key, responseHeader); ok && len(a.response) < maxHeaders {
			a.response = append(a.response, header{name, v.str})
		}
	}
}

func (a *attrs) has(s slot) bool { return a.seen&(1<<s) != 0 }

// text returns a slot's text, "" where it holds none. Invalid UTF-8 is replaced, what is longer than MaxText left out.
func (a *attrs) text(s slot) string {
	if a.seen&(1<<s) == 0 || a.slots[s].kind == integer {
		return ""
	}
	return valid(a.slots[s].str)
}

// number returns a slot's integer, also one written as text.
func (a *attrs) number(s slot) (int64, bool) {
	if a.seen&(1<<s) == 0 {
		return 0, false
	}
	v := &a.slots[s]
	if v.kind == integer {
		return v.n, true
	}
	if len(v.str) == 0 || len(v.str) > 19 {
		return 0, false
	}
	n, err := strconv.ParseInt(v.str, 10, 64)
	return n, err == nil
}

// label returns a slot's text, or its integer as text.
func (a *attrs) label(s slot) string {
	if a.seen&(1<<s) != 0 && a.slots[s].kind == integer {
		return strconv.FormatInt(a.slots[s].n, 10)
	}
	return a.text(s)
}

func valid(s string) string {
	if len(s) > MaxText {
		return ""
	}
	if !utf8.ValidString(s) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

func clone(s string) string { return strings.Clone(valid(s)) }
