package forecast

import (
	"math"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// Sample is a part of the traffic, for captures that do not fit into memory: all requests of some keys, and none of the
// others, with everything inside them; and all writes. So reuse and invalidation of the keys stay as they are. The same
// key of a function or statement can be asked for from requests of other keys, so that their reuse is a lower bound.
//
// Memory: about 40 bytes for each request that is kept.
type Sample struct {
	rate   float64
	parts  map[string][]string // inputs in the key, by boundary
	traces map[uint64]struct{}
	names  names
	inputs []input
}

// NewSample makes a sample of a share of the keys, which are those that a report on the first part of the traffic found.
// Look must see the traffic before a forecast with it does.
func NewSample(first *Report, rate float64) *Sample {
	s := &Sample{rate: rate, parts: map[string][]string{}, traces: map[uint64]struct{}{}}
	for i := range first.Boundaries {
		if b := &first.Boundaries[i]; b.Level == LevelResponse && len(b.Inputs) > 0 {
			s.parts[b.Name] = b.Key
		}
	}
	return s
}

// SampleRate is the share of the keys that fits into memory where a report says that not all events did; 1 where they did.
func (r *Report) SampleRate() float64 {
	if r.Evidence.Left == 0 || r.Evidence.Events == 0 {
		return 1
	}
	return 0.8 * float64(r.Evidence.Events-r.Evidence.Left) / float64(r.Evidence.Events)
}

// Look decides on the requests of a batch.
func (s *Sample) Look(batch []event.Event) {
	for i := range batch {
		e := &batch[i]
		if e.Request == nil || e.Trace == "" || float64(s.key(e.Request)) >= s.rate*math.MaxUint64 {
			continue
		}
		s.traces[id(e.Trace)] = struct{}{}
	}
}

// key hashes a request's key; all that it asks for, where nothing is known of its boundary.
func (s *Sample) key(r *event.Request) uint64 {
	name := strings.TrimSpace(r.Method + " " + r.Route)
	parts, ok := s.parts[name]
	if !ok {
		return mix(fnv(name, r.Target), 1)
	}
	if s.names.bytes > 1<<20 { // of hostile traffic
		s.names = names{}
	}
	if s.names.ids == nil {
		s.names.ids = map[string]uint32{}
	}
	s.inputs = appendTarget(s.inputs[:0], &s.names, r.Route, r.Target)
	h := fnv(name)
	for _, part := range parts {
		v := uint64(0)
		switch {
		case part == principalName:
			v = fnv(r.Principal)
		case strings.HasPrefix(part, "header."), strings.HasPrefix(part, "cookie."):
			for _, in := range r.Vary {
				if in.Name == part || "header."+in.Name == part {
					v = uint64(in.Hash)
				}
			}
		default:
			for _, in := range s.inputs {
				if s.names.text(in.name) == part {
					v = in.hash
				}
			}
		}
		h = mix(h, v)
	}
	return mix(h, 1)
}

// has says whether an event is of the sample: writes and transactions always are.
func (s *Sample) has(e *event.Event) bool {
	if e.Request == nil && e.Call == nil && e.Cache == nil && e.Query == nil {
		return true
	}
	_, ok := s.traces[id(e.Trace)]
	return ok
}
