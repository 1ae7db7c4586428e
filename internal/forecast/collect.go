package forecast

import (
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// span is a part of one of the forecast's long lists.
type span struct{ from, to uint32 }

// input is one thing that an answer may depend on.
type input struct {
	name uint32
	hash uint64 // of its value
}

// unit is one thing that a cache could have answered: a response, a call, a statement.
type unit struct {
	at, end             int64
	trace, span, parent uint64
	hash                uint64 // of the answer; 0: not known
	who                 uint64 // principal; 0: not known
	seq                 uint64 // identity of the event, for doubled ones; 0: none
	name                uint32 // boundary
	code                uint32 // line of the service that ran a statement; 0: not known
	own, vary           span   // inputs
	tags                span   // in Forecast.refs
	asks                span   // in log.asks
	runs                span   // in log.runs: what ran inside it
	queries             int32
	bytes               int32
	inside              int32 // the unit around it, -1 for none
	status              int16
	level               uint8
	flags               uint16
}

const (
	response uint8 = iota
	function
	query
)

var levelNames = [...]string{LevelResponse, LevelFunction, LevelQuery}

// What is known of a unit.
const (
	setsCookie uint16 = 1 << iota
	noStore
	private
	failed
	streamed
	fromCache // a standing cache answered it, or a part of it
	writesRow // it wrote to the database
	races     // a write to what it read was committed meanwhile
	untimed   // its duration is not known
	noHash    // its answer was not hashed
	late      // began in its trace after the request had ended
	said      // its headers say that a cache answered it
)

// read is a statement as the requests around it see it.
type read struct {
	at, end       int64
	trace, parent uint64
	seq           uint64
	result        uint64 // hash; 0: not known
	tags, params  span
	text          uint32 // name; 0 where it has no parameters
	writes        bool
}

func (f *Forecast) unit(e *event.Event, level uint8, name string) unit {
	u := unit{
		at: e.At, end: max(e.End(), e.At), trace: id(e.Trace), span: id(e.Span), parent: id(e.Parent), seq: identity(e),
		name: f.names.id(name), level: level, inside: -1,
	}
	if !e.Dur.Known {
		u.flags |= untimed
	}
	return u
}

// identity is the same for an event that came twice, and for no two others.
func identity(e *event.Event) uint64 {
	switch {
	case e.Seq != 0 && e.Source != nil:
		return mix(mix(fnv(e.Source.Host, e.Source.Service), uint64(e.Source.Pid)), e.Seq)
	case e.Span != "":
		return mix(fnv(e.Trace, e.Span), uint64(e.At))
	}
	return 0
}

func (f *Forecast) request(e *event.Event) {
	r := e.Request
	if r.Kind == "job" || r.Method == "" && r.Route == "" {
		return
	}
	route := r.Route
	if route == "" {
		route = "(no route)"
	}
	u := f.unit(e, response, strings.TrimSpace(r.Method+" "+route))
	u.status = int16(min(max(r.Status, 0), 999))
	u.who = principal(r.Principal)
	if r.BodyHash != 0 {
		u.hash = mix(uint64(r.BodyHash), uint64(r.Status))
	} else {
		u.flags |= noHash
	}
	u.bytes = int32(min(max(r.BodyBytes.Or(0), 0), 1<<30))
	for _, h := range r.Headers {
		u.flags |= headerFlags(h)
	}
	if r.Error != "" || r.Status >= 500 || r.Disconnected.Or(false) {
		u.flags |= failed
	}
	from := len(f.inputs)
	f.inputs = appendTarget(f.inputs, &f.names, r.Route, r.Target)
	u.own = f.kept(from)
	from = len(f.inputs)
	for _, v := range r.Vary {
		name := v.Name
		if !strings.HasPrefix(name, "cookie.") {
			name = "header." + name
		}
		f.inputs = append(f.inputs, input{f.names.id(name), uint64(v.Hash)})
	}
	u.vary = f.shared(from)
	f.units = append(f.units, u)
}

func headerFlags(h event.Pair) uint16 {
	var flags uint16
	switch h.Name {
	case "set-cookie":
		flags |= setsCookie
	case "cache-control":
		v := strings.ToLower(h.Value)
		if strings.Contains(v, "no-store") {
			flags |= noStore
		}
		if strings.Contains(v, "private") {
			flags |= private
		}
	case "content-type":
		if strings.HasPrefix(h.Value, "text/event-stream") || strings.HasPrefix(h.Value, "application/x-ndjson") ||
			strings.HasPrefix(h.Value, "multipart/x-mixed-replace") {
			flags |= streamed
		}
	case "x-cache", "cache-status":
		if v := strings.ToLower(h.Value); strings.Contains(v, "hit") && !strings.Contains(v, "miss") {
			flags |= fromCache | said
		}
	case "age":
		if h.Value != "" && h.Value != "0" {
			flags |= fromCache | said
		}
	}
	return flags
}

func principal(s string) uint64 { return id(s) }

func (f *Forecast) call(e *event.Event) {
	c := e.Call
	if c.Code == "" {
		return
	}
	name := c.Code
	if i := strings.LastIndexByte(name, ':'); i > 0 && strings.Trim(name[i+1:], "0123456789") == "" {
		name = name[:i]
	}
	u := f.unit(e, function, name)
	u.who = principal(c.Principal)
	u.hash = uint64(c.ResultHash)
	u.bytes = int32(min(max(c.Bytes.Or(0), 0), 1<<30))
	if c.Error != "" {
		u.flags |= failed
		u.hash = 0
	} else if u.hash == 0 {
		u.flags |= noHash
	}
	from := len(f.inputs)
	for _, a := range c.Args {
		f.inputs = append(f.inputs, input{f.names.id("arg." + a.Name), uint64(a.Hash)})
	}
	if len(c.Args) == 0 && c.ArgsHash != 0 {
		f.inputs = append(f.inputs, input{f.names.id("arg.*"), uint64(c.ArgsHash)})
	}
	u.own = f.kept(from)
	f.units = append(f.units, u)
}

func (f *Forecast) kept(from int) span { return span{uint32(from), uint32(len(f.inputs))} }

// shared keeps the inputs from from on once for all units that have the same.
func (f *Forecast) shared(from int) span {
	h := uint64(len(f.inputs) - from)
	for _, in := range f.inputs[from:] {
		h = mix(mix(h, uint64(in.name)), in.hash)
	}
	if old, ok := f.sets[h]; ok {
		f.inputs = f.inputs[:from]
		return old
	}
	s := f.kept(from)
	f.sets[h] = s
	return s
}
