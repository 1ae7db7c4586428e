package forecast

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Schema of the report.
const Schema = "demarc.choose/1"

// Verdicts.
const (
	Cache = "cache"
	Leave = "leave"
)

// Report says of every candidate whether a cache there is worth it. In JSON, null is "not known".
type Report struct {
	Schema     string     `json:"schema"`
	Window     Window     `json:"window"`
	Boundaries []Boundary `json:"boundaries"` // those to cache first, the best first; then the others by the time they take
	Set        Set        `json:"set"`
	Start      string     `json:"start"` // one line: with which to start, and why
	Evidence   Evidence   `json:"evidence"`
	Warnings   []Warning  `json:"warnings"`
	// Hooks are those of the recorder, by whether one of the service's processes had the library that it is for; empty
	// where no recorder said.
	Hooks map[string]bool `json:"-"`
	// Unknown are names in Options.Names and Options.Staleness of boundaries that nothing was seen of.
	Unknown []string `json:"-"`
}

// Window is the time that was observed.
type Window struct {
	From    string  `json:"from"` // RFC 3339, UTC; "" where nothing was
	To      string  `json:"to"`
	Seconds float64 `json:"seconds"`
	Since   string  `json:"since,omitempty"`
}

// Boundary is one candidate.
type Boundary struct {
	Name        string       `json:"name"`
	Level       string       `json:"level"`
	Code        string       `json:"code"` // of a query: the line of the service that runs it most often; "" where not known
	Verdict     string       `json:"verdict"`
	Reason      string       `json:"reason"`
	Key         []string     `json:"key"`
	Ignored     []string     `json:"ignored"`
	Inputs      []KeyInput   `json:"inputs"`
	Unstable    *float64     `json:"unstable_share"` // of pairs with the same inputs and no write between, those that differ
	TTLMs       *int64       `json:"ttl_ms"`
	How         string       `json:"invalidation"`
	On          []Dependency `json:"invalidate_on"`
	Coverage    *float64     `json:"invalidation_coverage"`
	Over        *float64     `json:"over_invalidation"` // share of the drops that changed nothing
	Unexplained string       `json:"unexplained"`
	Standing    *Standing    `json:"standing"`     // the cache that answers it already; null for none
	Judged      *float64     `json:"judged_share"` // of the requests, those whose answer is known to be the origin's
	Requests    int64        `json:"requests"`
	TotalMs     float64      `json:"total_ms"`
	TimeShare   float64      `json:"time_share"` // of the time of all requests; of nested ones beside those around them
	Forecast    *Figures     `json:"forecast"`
	Curve       []CurvePoint `json:"curve"`
	Notes       []string     `json:"notes"`
	Levels      []string     `json:"levels"` // how it stands beside boundaries around it and inside it
}

// Standing is a cache that answers a boundary already.
type Standing struct {
	Family   string  `json:"family"`    // shape of its keys; "" where only the answers' headers tell of it
	Requests int64   `json:"requests"`  // that asked it
	HitRatio float64 `json:"hit_ratio"` // of these
	Adds     int64   `json:"adds"`      // hits that another cache at the boundary would add
}

// Dependency is a table behind a boundary, and whether its rows are known.
type Dependency struct {
	Table string `json:"table"`
	By    string `json:"by"` // row or table
	// Columns are, with row, the sets of columns whose values tell which rows an answer rests on; a statement that ties none of
	// them rests on the table.
	Columns [][]string `json:"columns,omitempty"`
	// Unheard says that writes to the table were not shown to go through the library of Options.Hook.
	Unheard bool `json:"-"`
}

// Figures are those of one lifetime and way to invalidate.
type Figures struct {
	Requests          int64   `json:"requests"`
	Hits              int64   `json:"hits"`
	HitRatio          float64 `json:"hit_ratio"`
	StaleServes       int64   `json:"stale_serves"`
	Overlapping       int64   `json:"overlapping"` // stale serves whose observed request overlapped the write
	StaleRatio        float64 `json:"stale_ratio"` // stale serves of the hits
	MaxStalenessMs    float64 `json:"max_staleness_ms"`
	MedianStalenessMs float64 `json:"median_staleness_ms"`
	HitsLow           int64   `json:"hits_low"` // least and most under jitter: each request 50 ms earlier or later, at random
	HitsHigh          int64   `json:"hits_high"`
	StaleLow          int64   `json:"stale_serves_low"`
	StaleHigh         int64   `json:"stale_serves_high"`
	Unjudged          int64   `json:"unjudged"` // hits whose answer could not be compared
	ConcurrentMisses  int64   `json:"concurrent_misses"`
	SavedMs           float64 `json:"saved_ms"`  // the time that the hits took
	LookupMs          float64 `json:"lookup_ms"` // what the look-ups would take: to be taken off
	SavedQueries      int64   `json:"saved_queries"`
	PeakKeys          int64   `json:"peak_keys"`
	PeakBytes         int64   `json:"peak_bytes"`
}

// CurvePoint is one point of the grid.
type CurvePoint struct {
	TTLMs       float64 `json:"ttl_ms"`
	How         string  `json:"invalidation"`
	Hits        int64   `json:"hits"`
	StaleServes int64   `json:"stale_serves"`
	Overlapping int64   `json:"overlapping"`
}

// Set is what the boundaries to cache do together, nothing counted twice.
type Set struct {
	Names        []string `json:"names"`
	SavedMs      float64  `json:"saved_ms"`  // the time that the hits took
	LookupMs     float64  `json:"lookup_ms"` // what the look-ups would take: to be taken off
	SavedQueries int64    `json:"saved_queries"`
	ShareOfTime  float64  `json:"share_of_time"` // of the time of all requests: what is left
	StaleServes  int64    `json:"stale_serves"`
	Overlapping  int64    `json:"overlapping"`
	Evicted      int64    `json:"evicted"` // entries that the memory budget had no room for
	PeakKeys     int64    `json:"peak_keys"`
	PeakBytes    int64    `json:"peak_bytes"`
}

// Evidence is what the figures rest on.
type Evidence struct {
	Events   int64 `json:"events"`
	Requests int64 `json:"requests"`
	Hashed   int64 `json:"hashed"`  // requests whose answer was hashed
	Queries  int64 `json:"queries"` // statements
	Writes   int64 `json:"writes"`  // committed writes, of one table each
	Calls    int64 `json:"calls"`
	Doubled  int64 `json:"doubled"` // events that came twice, counted once
	Loose    int64 `json:"loose"`   // statements of no request that was seen
	Left     int64 `json:"left"`    // events beyond the memory bound
	// SampleRate is the share of the keys that the figures are of; 1 for all.
	SampleRate float64 `json:"sample_rate"`
	Candidates int     `json:"candidates"`
}

// Warning is a doubt: Code is stable, Text is for people.
type Warning struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

func ms(ns int64) float64 { return math.Round(float64(ns)/1e3) / 1e3 }

func round(v float64) *float64 {
	v = math.Round(v*1e4) / 1e4
	return &v
}

func stamp(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}

// figures puts a point into a report.
func (p *Point) figures(peaks Peaks) *Figures {
	f := &Figures{
		Requests: p.Requests, Hits: p.Hits, StaleServes: p.Stale, Overlapping: p.Overlapping, Unjudged: p.Unjudged,
		MaxStalenessMs: ms(p.MaxStaleNs), MedianStalenessMs: ms(p.MedianStaleNs()), ConcurrentMisses: p.Concurrent,
		SavedMs: ms(p.SavedNs), SavedQueries: p.SavedQueries, PeakKeys: peaks.Keys, PeakBytes: peaks.Bytes,
	}
	if p.Requests > 0 {
		f.HitRatio = *round(float64(p.Hits) / float64(p.Requests))
	}
	if p.Hits > 0 {
		f.StaleRatio = *round(float64(p.Stale) / float64(p.Hits))
	}
	return f
}

// boundary puts a candidate into the report.
func (l *log) boundary(c *candidate, all int64) Boundary {
	b := Boundary{
		Name: c.name, Level: levelNames[c.level], Verdict: c.verdict, Reason: c.reason, Key: []string{}, Ignored: []string{},
		Inputs: []KeyInput{}, On: []Dependency{}, Curve: []CurvePoint{}, Notes: c.notes(l), Levels: append([]string{}, c.levels...), Requests: int64(len(c.units)),
		TotalMs: ms(c.total), How: None.String(),
	}
	if all > 0 {
		b.TimeShare = *round(float64(c.total) / float64(all))
	}
	if c.grid == nil {
		return b
	}
	b.Code, _ = c.code(l)
	b.Inputs = c.parts.inputs
	for _, in := range c.parts.inputs {
		switch in.Use {
		case useKey, useKept:
			b.Key = append(b.Key, in.Name)
		case useIgnored:
			b.Ignored = append(b.Ignored, in.Name)
		}
	}
	if c.parts.same > 0 {
		b.Unstable = round(float64(c.parts.unstable) / float64(c.parts.same))
	}
	if v, ok := c.cover.share(); ok {
		b.Coverage = round(v)
		if v < 0.995 {
			b.Unexplained = "answers also change without an observed write: time, another service, or a write nobody observed"
		}
	}
	if v, ok := c.cover.over(); ok {
		b.Over = round(v)
	}
	b.Judged = round(c.judged)
	if s := c.standing; s != nil {
		b.Standing = &Standing{Family: s.family, Requests: s.requests, HitRatio: *round(s.ratio()), Adds: s.adds}
	}
	if c.chosen != nil {
		b.How = c.chosen.Invalidation.String()
		t := c.chosen.TTL / 1e6
		b.TTLMs = &t
		b.Forecast = c.chosen.figures(c.peaks)
		b.Forecast.LookupMs = ms(c.chosen.Requests * l.lookup(c))
		b.Forecast.HitsLow, b.Forecast.HitsHigh = c.spread.hitsLow, c.spread.hitsHigh
		b.Forecast.StaleLow, b.Forecast.StaleHigh = c.spread.staleLow, c.spread.staleHigh
		if c.chosen.Invalidation != None {
			b.On = c.dependencies(l, c.chosen.Invalidation)
		}
	}
	for i := range c.grid.Points {
		p := &c.grid.Points[i]
		b.Curve = append(b.Curve, CurvePoint{ms(p.TTL), p.Invalidation.String(), p.Hits, p.Stale, p.Overlapping})
	}
	return b
}

func (c *candidate) dependencies(l *log, v Invalidation) []Dependency {
	list := []Dependency{}
	for _, t := range c.tables {
		d := Dependency{Table: l.names.text(t), By: "table", Unheard: l.heard.unheard(t)}
		if sets := c.byRow[t]; len(sets) > 0 && v == RowFenced {
			d.By = "row"
			for _, cols := range sets {
				d.Columns = append(d.Columns, splitColumns(l.names.text(cols)))
			}
			slices.SortFunc(d.Columns, slices.Compare[[]string])
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Dependency) int { return cmp.Compare(a.Table, b.Table) })
	return list
}
