// Package synth makes traffic and notes of which the truth is known: for tests of what demarc claims, and of how much it
// bears.
//
// It is pure and deterministic: the same options give the same events and texts, byte for byte, on every machine. There is
// no clock, no order of a map and no floating-point number in it.
package synth

import (
	"fmt"
	"slices"
	"strings"
)

// Limits of traffic.
const (
	MaxRequests  = 1_000_000_000
	MaxRoutes    = 240
	MaxKeys      = 1 << 18
	MaxUsers     = 1 << 20
	MaxProcesses = 1000
	MaxRate      = 1_000_000
	MaxPlanted   = 100_000
	MaxSkew      = 5000 // thousandths
	maxLifetimes = 8
)

// DefaultStart is the first moment of traffic where no other is asked for: 2026-03-02 09:00:00 UTC, Unix nanoseconds.
const DefaultStart = int64(1_772_442_000_000_000_000)

// TrafficOptions say what traffic is to be made. DefaultTraffic gives all that are not asked for.
type TrafficOptions struct {
	Seed      uint64
	Requests  int64 // in all, with those of planted stories
	Routes    int   // routes of ordinary traffic that read; their writers come beside them
	Keys      int   // rows of each table
	Skew      int64 // Zipf's exponent in thousandths: 0 for evenly spread keys, 1000 for k-th in proportion to 1/k
	WriteRate int64 // share of the ordinary requests that write, in millionths
	Users     int
	Processes int
	Rate      int64 // requests a second of simulated time
	Start     int64 // Unix nanoseconds
	Service   string
	Plant     []Plant
	// Lifetimes are those for which the truth says how often a cache would have been hit, milliseconds.
	Lifetimes []int64
}

// Plant is how many stories of one cause, look-alike or harmless twin are to be told.
type Plant struct {
	Cause string
	N     int
}

// DefaultTraffic returns the options of `demarc synth traffic` without any flags.
func DefaultTraffic() TrafficOptions {
	o := TrafficOptions{
		Seed: 1, Requests: 10_000, Routes: 12, Keys: 200, Skew: 1000, WriteRate: 50_000, Users: 50, Processes: 4, Rate: 50,
		Start: DefaultStart, Service: "shop", Lifetimes: []int64{1000, 10_000, 60_000},
	}
	o.Plant = Spread(len(Causes()), o.Processes)
	return o
}

// An OptionError says which option cannot be met and what would be. It is the caller's mistake.
type OptionError struct{ Option, Problem, Expected string }

func (e *OptionError) Error() string { return e.Option + ": " + e.Problem }

func bad(option, expected, format string, args ...any) error {
	return &OptionError{option, fmt.Sprintf(format, args...), expected}
}

// check refuses what cannot be made.
func (o *TrafficOptions) check() error {
	for _, x := range []struct {
		name        string
		v, min, max int64
	}{
		{"requests", o.Requests, 1, MaxRequests},
		{"routes", int64(o.Routes), 1, MaxRoutes},
		{"keys", int64(o.Keys), 1, MaxKeys},
		{"users", int64(o.Users), 1, MaxUsers},
		{"processes", int64(o.Processes), 1, MaxProcesses},
		{"rate", o.Rate, 1, MaxRate},
		{"start", o.Start, 1, 1 << 62},
	} {
		if x.v < x.min || x.v > x.max {
			return bad(x.name, fmt.Sprintf("%d to %d", x.min, x.max), "%d", x.v)
		}
	}
	switch {
	case o.Skew < 0 || o.Skew > MaxSkew:
		return bad("skew", "0 to 5", "%d thousandths", o.Skew)
	case o.WriteRate < 0 || o.WriteRate > 900_000:
		return bad("write-rate", "0 to 0.9", "%d millionths", o.WriteRate)
	case len(o.Lifetimes) > maxLifetimes:
		return bad("lifetimes", fmt.Sprintf("at most %d", maxLifetimes), "%d", len(o.Lifetimes))
	case len(o.Service) > 100:
		return bad("service", "at most 100 bytes", "%d bytes", len(o.Service))
	}
	for _, ms := range o.Lifetimes {
		if ms < 1 || ms > 86_400_000 {
			return bad("lifetimes", "1 ms to 24 h", "%d ms", ms)
		}
	}
	total := 0
	for _, p := range o.Plant {
		if !slices.Contains(Plants(), p.Cause) {
			return bad("plant", strings.Join(Plants(), ", "), "there is no cause %q", p.Cause)
		}
		if p.N < 0 || p.N > MaxPlanted {
			return bad("plant", fmt.Sprintf("0 to %d", MaxPlanted), "%s=%d", p.Cause, p.N)
		}
		if p.N > 0 && o.Processes < 2 && tales[p.Cause].processes > 1 {
			return bad("plant", "--processes 2 or more", "%s is about two processes", p.Cause)
		}
		total += p.N
	}
	if total > MaxPlanted {
		return bad("plant", fmt.Sprintf("at most %d stories in all", MaxPlanted), "%d", total)
	}
	return nil
}

// span is how long the traffic lasts, nanoseconds.
func (o *TrafficOptions) span() int64 {
	whole, rest := o.Requests/o.Rate, o.Requests%o.Rate
	return whole*1e9 + rest*1e9/o.Rate
}

// Spread plants n stories of stale reads, the causes in turn, and with any of them one of each look-alike and harmless twin.
// What needs more processes than there are is left out.
func Spread(n, processes int) []Plant {
	var list []Plant
	var causes []int // in list
	for i, name := range Plants() {
		if processes < tales[name].processes || n <= 0 {
			continue
		}
		if i < len(Causes()) {
			causes = append(causes, len(list))
			list = append(list, Plant{name, 0})
		} else {
			list = append(list, Plant{name, 1})
		}
	}
	for k := range max(n, 0) {
		list[causes[k%len(causes)]].N++
	}
	return list
}
