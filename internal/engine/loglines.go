package engine

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// maxTraces bounds the traces that LogLines counts at a time; the oldest is let go for a new one. Some 10 MB.
const maxTraces = 65536

// LogLines writes one line in logfmt for each request, when it ends:
//
//	time=2026-11-21T10:00:00.123Z method=GET route=/articles/{slug} status=200 ms=12.3 cache=miss hits=1 misses=1 queries=5
//
// cache is what the response's own headers say (Cache-Status, X-Cache), else hit where every lookup hit, miss where one
// did not, and none without lookups. target takes the place of a route that is not known. A request's queries count if they came before it, as those of a recorder do.
type LogLines struct {
	out   *bufio.Writer
	byID  map[string]*traceCount
	order []string // ring of the traces in byID, by first event
	next  int
}

type traceCount struct{ queries, hits, misses int }

// NewLogLines returns a fold that writes to w. A write that fails ends the lines, not the run.
func NewLogLines(w io.Writer) *LogLines {
	return &LogLines{out: bufio.NewWriter(w), byID: map[string]*traceCount{}, order: make([]string, maxTraces)}
}

// Flush writes what Add has put together.
func (l *LogLines) Flush() { _ = l.out.Flush() }

// Add counts an event, or writes the line of a request.
func (l *LogLines) Add(e *event.Event) {
	if e.Trace == "" && e.Type != event.TypeRequest {
		return
	}
	switch e.Type {
	case event.TypeQuery:
		l.count(e.Trace).queries++
	case event.TypeCache:
		if e.Cache.Op == "get" && e.Cache.Hit.Known {
			n := int(e.Cache.Count.Or(1))
			if e.Cache.Hit.V {
				l.count(e.Trace).hits += n
			} else {
				l.count(e.Trace).misses += n
			}
		}
	case event.TypeRequest:
		c := l.byID[e.Trace]
		if c == nil {
			c = &traceCount{}
		}
		l.line(e, c)
		delete(l.byID, e.Trace)
	}
}

func (l *LogLines) count(trace string) *traceCount {
	c := l.byID[trace]
	if c == nil {
		c = &traceCount{}
		trace = strings.Clone(trace)
		l.byID[trace] = c
		// The slot's trace is the oldest; where its request has ended it is gone already.
		delete(l.byID, l.order[l.next])
		l.order[l.next] = trace
		l.next = (l.next + 1) % len(l.order)
	}
	return c
}

func (l *LogLines) line(e *event.Event, c *traceCount) {
	r := e.Request
	b := append(l.out.AvailableBuffer(), "time="...)
	b = time.Unix(0, e.At).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	if r.Kind == "job" {
		b = append(b, " kind=job"...)
	}
	target := ""
	if r.Route == "" {
		target = r.Target // a service without templates has nothing else to tell its requests apart by
	}
	for _, f := range [...]struct{ name, value string }{{" method=", r.Method}, {" route=", r.Route}, {" target=", target}} {
		if f.value != "" {
			b = logfmt(append(b, f.name...), f.value)
		}
	}
	if r.Status != 0 {
		b = strconv.AppendInt(append(b, " status="...), r.Status, 10)
	}
	if e.Dur.Known {
		b = strconv.AppendFloat(append(b, " ms="...), float64(e.Dur.V)/1e6, 'f', 1, 64)
	}
	b = logfmt(append(b, " cache="...), cacheStatus(r, c))
	b = strconv.AppendInt(append(b, " hits="...), int64(c.hits), 10)
	b = strconv.AppendInt(append(b, " misses="...), int64(c.misses), 10)
	b = strconv.AppendInt(append(b, " queries="...), int64(c.queries), 10)
	if r.Error != "" {
		b = logfmt(append(b, " error="...), r.Error)
	}
	_, _ = l.out.Write(append(b, '\n'))
}

func cacheStatus(r *event.Request, c *traceCount) string {
	for _, h := range r.Headers {
		if h.Name == "cache-status" || h.Name == "x-cache" {
			switch v := strings.ToLower(h.Value); {
			case strings.Contains(v, "hit"):
				return "hit"
			case strings.Contains(v, "miss"), strings.Contains(v, "fwd"):
				return "miss"
			}
		}
	}
	switch {
	case c.misses > 0:
		return "miss"
	case c.hits > 0:
		return "hit"
	}
	return "none"
}

// logfmt appends a value, quoted where it needs to be.
func logfmt(b []byte, v string) []byte {
	if v != "" && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r == 0x7f || r == 0xfffd }) {
		return append(b, v...)
	}
	return strconv.AppendQuote(b, v)
}
