package otlp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/demarc-dev/demarc/event"
)

var (
	limitSpans  = fmt.Sprintf("more than %d spans in one message", MaxSpans)
	limitEvents = fmt.Sprintf("spans that become more than %d events in one message", MaxEvents)
	limitDepth  = fmt.Sprintf("an attribute nested deeper than %d", MaxDepth)
)

// decodePdataProto reads the same messages as decodeProto through the reference decoder. The tests compare the two.
func decodePdataProto(b *batch, msg []byte) *DataError {
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(msg); err != nil {
		return &DataError{At: -1, Reason: err.Error()}
	}
	return b.traces(req.Traces())
}

// maxJSONDepth bounds the nesting of objects and lists in a JSON message: what MaxDepth needs, and what lies around it.
const maxJSONDepth = 16 + 4*MaxDepth

// decodeJSON reads a message in OTLP's JSON form.
func decodeJSON(b *batch, msg []byte) *DataError {
	if err := checkJSON(msg); err != nil {
		return err
	}
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalJSON(msg); err != nil {
		// The rest of the text repeats a part of the message.
		reason, _, _ := strings.Cut(err.Error(), ", error found in")
		return &DataError{At: -1, Reason: reason}
	}
	return b.traces(req.Traces())
}

// checkJSON refuses what is no JSON object, with the position, and what is nested too deeply, before a decoder recurses
// into it.
func checkJSON(msg []byte) *DataError {
	depth, quoted := 0, false
	for i := 0; i < len(msg); i++ {
		switch c := msg[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxJSONDepth {
				return &DataError{At: i, Reason: limitDepth, limit: true}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	var raw json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(msg, &raw); errors.As(err, &syntax) {
		return &DataError{At: int(syntax.Offset), Reason: "not JSON: " + syntax.Error()}
	} else if err != nil {
		return &DataError{At: -1, Reason: "not JSON: " + err.Error()}
	}
	if trimmed := bytes.TrimSpace(msg); len(trimmed) == 0 || trimmed[0] != '{' {
		return &DataError{At: 0, Reason: "not a JSON object"}
	}
	return nil
}

func (b *batch) traces(traces ptrace.Traces) *DataError {
	for _, rs := range traces.ResourceSpans().All() {
		b.res.reset()
		if !b.res.fill(rs.Resource().Attributes()) {
			return &DataError{At: -1, Reason: limitDepth, limit: true}
		}
		source := b.source()
		for _, ss := range rs.ScopeSpans().All() {
			if !shallow(ss.Scope().Attributes(), 0) {
				return &DataError{At: -1, Reason: limitDepth, limit: true}
			}
			for _, s := range ss.Spans().All() {
				if !b.span.fill(s, &b.exc) {
					return &DataError{At: -1, Reason: limitDepth, limit: true}
				}
				if b.count++; b.count > MaxSpans {
					return &DataError{At: -1, Reason: limitSpans, limit: true}
				}
				if b.add(source); b.over {
					return &DataError{At: -1, Reason: limitEvents, limit: true}
				}
			}
		}
	}
	return nil
}

// source returns the process that the resource just read stands for.
func (b *batch) source() *event.Source {
	a := &b.res
	s := event.Source{Service: a.text(serviceName), Version: a.text(serviceVersion), Host: a.text(resourceHost)}
	if pid, ok := a.number(processPid); ok && pid > 0 {
		s.Pid = pid
	}
	return b.sources.of(s)
}

func (s *span) setTrace(high, low uint64) {
	s.hasTrace = high|low != 0
	s.trace = high ^ low
}

// exception takes an event of the span, if it is one; the last counts.
func (s *span) exception(name string, a *attrs) {
	if name == "exception" {
		s.excType, s.excStack = a.raw(excTypeSlot), a.raw(excStackSlot)
	}
}

func (a *attrs) raw(s slot) string {
	if a.has(s) && a.slots[s].kind != integer {
		return a.slots[s].str
	}
	return ""
}

// fill takes a span from pdata; false where an attribute is nested too deeply.
func (s *span) fill(from ptrace.Span, exc *attrs) bool {
	s.reset()
	trace, id, parent := from.TraceID(), from.SpanID(), from.ParentSpanID()
	s.setTrace(binary.BigEndian.Uint64(trace[:8]), binary.BigEndian.Uint64(trace[8:]))
	s.id, s.parent = binary.BigEndian.Uint64(id[:]), binary.BigEndian.Uint64(parent[:])
	s.kind, s.flags, s.status = int32(from.Kind()), from.Flags(), int32(from.Status().Code())
	s.start, s.end = uint64(from.StartTimestamp()), uint64(from.EndTimestamp())
	s.name = from.Name()
	if !s.attrs.fill(from.Attributes()) {
		return false
	}
	for _, e := range from.Events().All() {
		exc.reset()
		if !exc.fill(e.Attributes()) {
			return false
		}
		s.exception(e.Name(), exc)
	}
	for _, l := range from.Links().All() {
		if !shallow(l.Attributes(), 0) {
			return false
		}
	}
	return true
}

func (a *attrs) fill(m pcommon.Map) bool {
	for key, from := range m.All() {
		var v value
		switch from.Type() {
		case pcommon.ValueTypeStr:
			v = value{kind: text, str: from.Str()}
		case pcommon.ValueTypeInt:
			v = value{kind: integer, n: from.Int()}
		case pcommon.ValueTypeBool:
			if v.kind = integer; from.Bool() {
				v.n = 1
			}
		case pcommon.ValueTypeSlice:
			v.kind = list
			for _, element := range from.Slice().All() {
				if element.Type() == pcommon.ValueTypeStr {
					v.element(element.Str())
				}
			}
		}
		a.set(key, &v)
	}
	return shallow(m, 0)
}

// shallow tells whether nothing in a map, which lies in depth lists and maps, is nested deeper than MaxDepth.
func shallow(m pcommon.Map, depth int) bool {
	for _, v := range m.All() {
		if !shallowValue(v, depth) {
			return false
		}
	}
	return true
}

func shallowValue(v pcommon.Value, depth int) bool {
	switch v.Type() {
	case pcommon.ValueTypeMap:
		return depth < MaxDepth && shallow(v.Map(), depth+1)
	case pcommon.ValueTypeSlice:
		if depth >= MaxDepth {
			return false
		}
		for _, element := range v.Slice().All() {
			if !shallowValue(element, depth+1) {
				return false
			}
		}
	}
	return true
}
