package forecast

import (
	"fmt"

	"github.com/demarc-dev/demarc/event"
)

// seen counts what the evidence is like.
type seen struct {
	events          [12]int64 // by event.Type
	left            int64     // not kept for want of memory
	cut             int       // boundaries beyond the limit
	requests        int64
	unhashed        int64 // requests without body_hash
	unhashedQueries int64
	askers          askers
	dropped         int64
	rate            float64
	changed         map[uint32]bool // tables that the database's log speaks of
	hooks           map[string]bool // what recorders said to watch: whether one of them does; empty where none said
	from, to        int64
	hosts           map[[2]string]*apart
	lastHost        string
	lastEnd         int64
}

// apart is how far the clocks of two hosts are from each other, by events that arrived one after the other.
type apart struct {
	n, far int64 // neighbours; those hours apart
	diff   int64 // the last great one
}

// maxHosts bounds the pairs of hosts compared, maxHooks what recorders may say to watch.
const (
	maxHosts = 100
	maxHooks = 200
)

// farApart is what is no delay any more.
const farApart = int64(10 * 60e9)

// watched notes what a recorder says that it watches.
func (s *seen) watched(hooks []event.Pair) {
	for _, h := range hooks {
		if _, known := s.hooks[h.Name]; known || len(s.hooks) < maxHooks {
			s.hooks[h.Name] = s.hooks[h.Name] || h.Value == "on"
		}
	}
}

func (s *seen) look(e *event.Event) {
	if int(e.Type) < len(s.events) {
		s.events[e.Type]++
	}
	if e.Type != event.TypeMark && e.Type != event.Other {
		if s.from == 0 || e.At < s.from {
			s.from = e.At
		}
		s.to = max(s.to, e.End())
	}
	if e.Request != nil && e.Request.Kind != "job" {
		s.requests++
		if e.Request.BodyHash == 0 {
			s.unhashed++
		}
	}
	if r := e.Recorder; r != nil {
		s.dropped = max(s.dropped, r.Dropped.Or(0))
		if r.Rate.Known && (s.rate == 0 || r.Rate.V < s.rate) {
			s.rate = r.Rate.V
		}
	}
	if e.Source == nil || e.Source.Host == "" {
		return
	}
	host := e.Source.Host
	if s.lastHost != "" && s.lastHost != host {
		k := [2]string{min(s.lastHost, host), max(s.lastHost, host)}
		a := s.hosts[k]
		if a == nil && len(s.hosts) < maxHosts {
			a = &apart{}
			s.hosts[k] = a
		}
		if a != nil {
			a.n++
			if d := e.End() - s.lastEnd; d > farApart || d < -farApart {
				a.far++
				a.diff = max(d, -d)
			}
		}
	}
	s.lastHost, s.lastEnd = host, e.End()
}

// apartness names two hosts whose clocks are hours apart; "" where none are.
func (s *seen) apartness() string {
	worst, text := int64(0), ""
	for k, a := range s.hosts {
		if 2*a.far > a.n && a.diff > worst {
			worst = a.diff
			text = fmt.Sprintf("the clocks of hosts %s and %s are %s apart: what was before what cannot be told", k[0], k[1], about(a.diff))
		}
	}
	return text
}

// about writes a duration in minutes or hours.
func about(ns int64) string {
	if m := ns / 60e9; m < 120 {
		return fmt.Sprintf("%d minutes", m)
	}
	return fmt.Sprintf("%.1f hours", float64(ns)/3600e9)
}
