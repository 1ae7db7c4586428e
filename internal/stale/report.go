package stale

import "github.com/demarc-dev/demarc/event"

// Schema names the JSON form of Report; docs/json.md describes it. Members are added under the same version, none is
// renamed or removed.
const Schema = "demarc.stale/1"

// Verdicts of a finding.
const (
	// Proven: every event is present and the order is certain.
	Proven = "proven"
	// Likely: the order rests on the clocks of different hosts, or a dependency was inferred.
	Likely = "likely"
	// CannotTell: events lack a field whose possible values lead to different causes.
	CannotTell = "cannot-tell"
)

// Report is what the events said so far. Times are Unix nanoseconds as in the events, durations milliseconds, shares fractions of 1. A
// member that is not known is left out of the JSON. Lists are never nil.
type Report struct {
	Schema     string      `json:"schema"`
	From       int64       `json:"from,omitempty"` // of the first event and the last, Unix nanoseconds
	To         int64       `json:"to,omitempty"`
	StaleReads int64       `json:"stale_reads"` // of all findings, without those of vary
	Leaks      int64       `json:"leaks"`       // findings of vary that are proven or likely
	Unjudged   int64       `json:"unconfirmed_reads"`
	Coverage   Coverage    `json:"coverage"`
	Findings   []Finding   `json:"findings"` // leaks first, then proven, likely, cannot-tell, each by stale reads
	Lookalikes []Lookalike `json:"lookalikes"`
	Families   []Family    `json:"families"` // by name
	Routes     []Route     `json:"routes"`   // those that served stale reads, by name
	Marks      []Mark      `json:"marks"`    // the last ones, in order

	raw *partial
}

// Finding is one cause, writer and family; its reads are added up. Key and Witness are those of the earliest story.
type Finding struct {
	ID           string   `json:"id"`              // from cause, writer and family: the same while the service runs, afterwards, and the next time
	Cause        string   `json:"cause,omitempty"` // none where the verdict is cannot-tell
	Verdict      string   `json:"verdict"`
	Candidates   []string `json:"candidates,omitempty"`    // of cannot-tell, in the order of the questions
	MissingField string   `json:"missing_field,omitempty"` // of cannot-tell
	Confirmed    bool     `json:"confirmed"`               // a later fill gave another value
	Family       string   `json:"family"`
	Key          string   `json:"key"`
	Store        string   `json:"store"`
	Layer        string   `json:"layer,omitempty"`

	StaleReads       int64   `json:"stale_reads"`
	UnconfirmedReads int64   `json:"unconfirmed_reads"`
	Entries          int64   `json:"entries"`    // stories added up
	Principals       int     `json:"principals"` // distinct identities that read it, of those known; at most 64 an entry are told apart
	MaxStalenessMs   float64 `json:"max_staleness_ms"`
	FirstAt          int64   `json:"first_at,omitempty"` // of the stale reads, Unix nanoseconds
	LastAt           int64   `json:"last_at,omitempty"`
	Mark             string  `json:"mark,omitempty"` // the last mark before first_at

	Writer  Writer `json:"writer"`
	Deleter string `json:"deleter,omitempty"` // code line of the delete that did not help
	Witness []Step `json:"witness"`           // at most MaxWitness, in order
	Advice  string `json:"advice"`
	// Misses says how many misses a delete of the whole family would cause at once: its live keys.
	Misses int64 `json:"misses,omitempty"`
	// Story is the one that Key and Witness tell: the same although its cause is revised; not part of the JSON.
	Story uint64 `json:"-"`
	// Input is the input that a value of vary follows: principal, or the name of another; not part of the JSON, where the advice names it.
	Input string `json:"-"`
	// Uninstrumented says that the writer of an external change may be a process of the service without a recorder.
	Uninstrumented bool `json:"uninstrumented,omitempty"`
}

// MaxWitness is the greatest number of steps of a story.
const MaxWitness = 8

// Writer is who made the change that the readers did not see.
type Writer struct {
	Route string `json:"route,omitempty"` // with its method: "PATCH /articles/{id}"; a job's name
	Code  string `json:"code,omitempty"`
	SQL   string `json:"sql,omitempty"` // fingerprint of the statement
	Table string `json:"table,omitempty"`
	Trace string `json:"trace,omitempty"`
}

// Step is one event of a story.
type Step struct {
	At     int64  `json:"at"`   // Unix nanoseconds, as in the event
	What   string `json:"what"` // fill, write, commit, rollback, change, delete, set, hit, hits, refill, miss, enqueue, …
	Trace  string `json:"trace,omitempty"`
	Pid    int64  `json:"pid,omitempty"`
	Detail string `json:"detail"`
	Code   string `json:"code,omitempty"`
}

// Lookalike is something that looks like staleness and is none.
type Lookalike struct {
	Cause  string `json:"cause"` // stampede, unstable-key, not-a-cache
	Family string `json:"family"`
	Key    string `json:"key"`   // an example
	Count  int64  `json:"count"` // fills that overlapped, fills without a hit, answers that were old
}

// Family is what happened to the keys of one shape.
type Family struct {
	Family         string   `json:"family"`
	Hits           int64    `json:"hits"`
	Misses         int64    `json:"misses"`
	HitRatio       *float64 `json:"hit_ratio,omitempty"`
	StaleReads     int64    `json:"stale_reads"`
	StaleRatio     *float64 `json:"stale_ratio,omitempty"` // of the hits
	P50StalenessMs *float64 `json:"p50_staleness_ms,omitempty"`
	MaxStalenessMs *float64 `json:"max_staleness_ms,omitempty"`
	Deletes        int64    `json:"deletes"`
	DeletesRemoved int64    `json:"deletes_removed_0"` // deletes that removed nothing
	LagP99Ms       *float64 `json:"lag_p99_ms,omitempty"`
	Fills          int64    `json:"fills"`
	Keys           int64    `json:"keys"`   // live now
	Leaks          int64    `json:"leaks"`  // findings of vary
	Writes         int64    `json:"writes"` // to tables that its fills read
	BudgetMs       float64  `json:"budget_ms"`
}

// Route is a route that served stale reads.
type Route struct {
	Route      string `json:"route"`
	StaleReads int64  `json:"stale_reads"`
}

// Mark is a named point in time.
type Mark struct {
	Name string `json:"name"`
	At   int64  `json:"at"` // Unix nanoseconds
	Text string `json:"text,omitempty"`
}

// Coverage says what the findings rest on. Zero findings at low coverage is not "clean". A share is left out where
// there was nothing to have a share of.
type Coverage struct {
	FillsWithReads    *float64 `json:"fills_with_reads,omitempty"`    // share of fills whose reads are known
	WritesWithRequest *float64 `json:"writes_with_request,omitempty"` // share of writes joined to a request
	HitsJudged        *float64 `json:"hits_judged,omitempty"`         // share of hits on entries whose set and reads were seen
	Processes         int64    `json:"processes"`
	Dropped           int64    `json:"dropped"` // by recorders
	Events            int64    `json:"events"`
	Doubled           int64    `json:"doubled"`  // seen before and left out
	Late              int64    `json:"late"`     // later than Options.Late; what they concern is not judged
	Skewed            int64    `json:"skewed"`   // of hosts whose clocks are out of step; the same
	Schemas           bool     `json:"schemas"`  // statements choose schemas (SET search_path): a table's name alone does not tell it apart
	OffMs             float64  `json:"off_ms"`   // for which recorders were switched off, of all processes together
	Evicted           int64    `json:"evicted"`  // keys forgotten for want of room
	Overflow          int64    `json:"overflow"` // other things left out at a bound
	Fills             int64    `json:"fills"`
	Writes            int64    `json:"writes"`
	Hits              int64    `json:"hits"`
	LiveKeys          int64    `json:"live_keys"`
	Unconfirmed       int64    `json:"unconfirmed"`       // hits after a possible write, never refilled, too uncertain for a finding
	LeftOpen          int64    `json:"left_open"`         // of these, those whose entry was followed by a value that is not known
	ChangeLog         bool     `json:"change_log"`        // changes from a database's log were seen
	Silent            []string `json:"silent,omitempty"`  // processes (host:pid) that fell silent without an exit
	Reached           []string `json:"reached,omitempty"` // bounds that were reached
}

// Dependents is the answer to a dry run: what a statement would make stale.
type Dependents struct {
	Schema  string      `json:"schema"` // demarc.would-delete/1
	SQL     string      `json:"sql,omitempty"`
	Route   string      `json:"route,omitempty"`
	Tables  []string    `json:"tables"`
	Keys    int64       `json:"keys"`    // live keys that depend on what is written
	Dropped int64       `json:"dropped"` // of those, in families that a writer of these tables drops today
	Nobody  int64       `json:"nobody"`  // of those, in families that nothing drops
	List    []Dependent `json:"list"`    // at most MaxDependents, those that nothing drops first
}

// MaxDependents is the greatest number of keys listed in Dependents.
const MaxDependents = 200

// Dependent is one live key that depends on what a statement writes.
type Dependent struct {
	Key     string `json:"key"`
	Family  string `json:"family"`
	Store   string `json:"store"`
	Layer   string `json:"layer,omitempty"`
	Table   string `json:"table"`
	Row     bool   `json:"row"`           // the very row, not just the table
	Dropped string `json:"dropped"`       // by: "key", "tag", "pattern", "clear"; "" for nobody
	By      string `json:"by,omitempty"`  // route or code line that drops the family
	Tag     string `json:"tag,omitempty"` // for "tag"
}

// Write is a change to ask WouldDelete about. Columns empty means all, Where empty means every row.
type Write struct {
	Table   string
	Columns []string
	Where   []Bound
	Op      string // insert, update, delete; update where empty
}

// Bound is a column with the keyed hash of the value that it must have.
type Bound struct {
	Column string
	Value  event.Hash
}
