package forecast

import (
	"slices"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// A look-up in a cache that a snippet puts there asks the server twice: whether the entry is still right, and for the entry. A
// round trip takes what the service's own look-ups in shared caches took, where there were enough, else RoundTripNs. What an
// answer from a cache costs beside that is what the framework takes for any request: as much as the fastest other route that asks
// nobody for anything, such as a health check, where that is not half of it.
const (
	RoundTripNs = int64(400 * time.Microsecond)
	roundTrips  = 2
	// enoughGets and enoughPlain are how many look-ups, and requests of one route, it takes to measure either.
	enoughGets  = 100
	enoughPlain = 20
	// keptGets bounds the look-ups that are measured, keptPlain the requests of one route: the first.
	keptGets  = 10_000
	keptPlain = 1_000
	// leastTrip and mostTrip bound what a round trip is taken for.
	leastTrip = int64(50 * time.Microsecond)
	mostTrip  = int64(5 * time.Millisecond)
	// mostPlain is what no framework takes by itself: a route that takes more computes something.
	mostPlain = int64(2 * time.Millisecond)
)

// gets are durations of look-ups in shared caches.
type gets []int64

func (g *gets) note(e *event.Event) {
	if c := e.Cache; c.Op == "get" && c.Layer == "shared" && e.Dur.Known && e.Dur.V > 0 && len(*g) < keptGets {
		*g = append(*g, e.Dur.V)
	}
}

// costs are what look-ups take.
type costs struct {
	inside int64            // at any boundary
	plain  map[uint32]int64 // by route that asks nobody: the median time of a request
}

// lookup is what one costs at a boundary of a level and name, of which a request takes mean.
func (c *costs) lookup(level uint8, name uint32, mean int64) int64 {
	least := int64(0)
	for route, took := range c.plain {
		if route != name && (least == 0 || took < least) {
			least = took
		}
	}
	if level != response || least > mean/2 {
		return c.inside
	}
	return c.inside + least
}

// lookup is what one costs at a candidate.
func (l *log) lookup(c *candidate) int64 {
	if len(c.units) == 0 {
		return l.lookups.inside
	}
	return l.lookups.lookup(c.level, l.units[c.units[0]].name, c.total/int64(len(c.units)))
}

// lookupCosts measures what look-ups take.
func (l *log) lookupCosts() costs {
	trip := RoundTripNs
	if len(l.gets) >= enoughGets {
		trip = min(max(middle(l.gets), leastTrip), mostTrip)
	}
	took := map[uint32][]int64{}
	for i := range l.units {
		u := &l.units[i]
		if u.level != response {
			continue
		}
		if u.queries > 0 || u.runs.to > u.runs.from || u.flags&(fromCache|failed) != 0 || u.status >= 400 {
			took[u.name] = nil // it asks somebody, at times
			continue
		}
		if list, seen := took[u.name]; (!seen || list != nil) && len(list) < keptPlain {
			took[u.name] = append(list, u.end-u.at)
		}
	}
	c := costs{inside: roundTrips * trip, plain: map[uint32]int64{}}
	for route, list := range took {
		if len(list) >= enoughPlain {
			if m := middle(list); m <= mostPlain {
				c.plain[route] = m
			}
		}
	}
	return c
}

func middle(list []int64) int64 {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}
