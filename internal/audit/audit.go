// Package audit is a security checklist of a service's caches: who may read what demarc and the caches keep, where secrets stand,
// which answers are stored for whom, how much a request may send, what the log carries, and how bad input is answered.
//
// It judges evidence that others have gathered (package auditscan looks at files, servers and the live service) and never looks
// itself: the same evidence gives the same report. Each item is passed, failed or not seen; not seen names what is missing, and
// is never taken for passed.
//
// Memory: every table has a bound that stands beside its declaration; what exceeds one is counted and said.
package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Schema names the JSON form of Report; docs/json.md describes it. Members are added under the same version, none is renamed or
// removed.
const Schema = "demarc.audit/1"

// State is what came of an item.
type State string

// The states of an item.
const (
	Pass    State = "pass"
	Fail    State = "fail"
	NotSeen State = "not seen" // the evidence that it needs is not there; Missing names it
)

// Severity says how bad a failure is.
type Severity string

// The severities, worst first.
const (
	High   Severity = "high"
	Medium Severity = "medium"
	Low    Severity = "low"
)

// Severities are all of them, worst first.
var Severities = []Severity{High, Medium, Low}

// rank orders severities: 0 is the worst.
func (s Severity) rank() int { return slices.Index(Severities, s) }

// MaxPlaces is how many places of one item are listed; the rest is counted.
const MaxPlaces = 50

// Report is what came of an audit. Lists are never nil.
type Report struct {
	Schema   string    `json:"schema"`
	Capture  string    `json:"capture"` // "" where there was none
	Project  string    `json:"project"` // folder whose files were read
	Probed   string    `json:"probed"`  // address that was asked, "" without --probe
	Counts   Counts    `json:"counts"`
	Items    []Item    `json:"items"`    // in the order of the heads
	Settings []Setting `json:"settings"` // every cache and security setting that was recognised, by file and line
	Looked   Looked    `json:"looked"`
	Warnings []string  `json:"warnings"` // what was not looked at, and why
}

// Counts counts items by state, and failed ones by severity.
type Counts struct {
	Pass    int `json:"pass"`
	Fail    int `json:"fail"`
	NotSeen int `json:"not_seen"`
	High    int `json:"high"`
	Medium  int `json:"medium"`
	Low     int `json:"low"`
}

// Looked says what the report rests on.
type Looked struct {
	Requests int64 `json:"requests"` // of the capture
	Events   int64 `json:"events"`
	Files    int   `json:"files"`     // of the project, read
	LogLines int64 `json:"log_lines"` // read
	Notes    int   `json:"notes"`     // change records, their runs and notes, read
	Servers  int   `json:"servers"`   // cache servers that answered
}

// Item is one line of the checklist.
type Item struct {
	ID       string   `json:"id"`   // stable
	Head     string   `json:"head"` // permissions, secrets, headers, uploads, logging, input, settings
	Title    string   `json:"title"`
	State    State    `json:"state"`
	Severity Severity `json:"severity"` // of a failure of this item
	Says     string   `json:"says"`     // what was looked at, or why it is not seen
	Missing  string   `json:"missing"`  // of not seen: the evidence that would be needed
	Places   []Place  `json:"places"`   // evidence of a failure, at most MaxPlaces
	More     int64    `json:"more"`     // places that are not listed
	Fix      string   `json:"fix"`
	Verify   string   `json:"verify"`
}

// Place is one piece of evidence. A secret itself never stands in it.
type Place struct {
	Where string `json:"where"`          // file:line, route, address or path
	File  string `json:"file,omitempty"` // relative to the project, with slashes
	Line  int    `json:"line,omitempty"`
	Route string `json:"route,omitempty"`
	Says  string `json:"says"`
	Count int64  `json:"count,omitempty"` // times that it was seen, where it is counted
	Hash  string `json:"hash,omitempty"`  // keyed hash of a secret, so that two places compare
}

// at is a place in a file.
func at(file string, line int, says string) Place {
	return Place{Where: fmt.Sprintf("%s:%d", file, line), File: file, Line: line, Says: says}
}

// onRoute is a place that requests of a route have shown.
func onRoute(route, says string, n int64) Place {
	return Place{Where: route, Route: route, Says: says, Count: n}
}

// places collects evidence by item, at most MaxPlaces of each.
type places struct {
	list map[string][]Place
	more map[string]int64
}

func (p *places) add(item string, x Place) {
	if p.list == nil {
		p.list, p.more = map[string][]Place{}, map[string]int64{}
	}
	if len(p.list[item]) >= MaxPlaces {
		p.more[item]++
		return
	}
	p.list[item] = append(p.list[item], x)
}

func (p *places) merge(o *places) {
	for item, list := range o.list {
		for _, x := range list {
			p.add(item, x)
		}
	}
	for item, n := range o.more {
		if p.more == nil {
			p.list, p.more = map[string][]Place{}, map[string]int64{}
		}
		p.more[item] += n
	}
}

// finish counts the items and puts empty lists where there are none.
func (r *Report) finish() {
	r.Schema = Schema
	r.Counts = Counts{}
	for i := range r.Items {
		x := &r.Items[i]
		if x.Places == nil {
			x.Places = []Place{}
		}
		switch x.State {
		case Pass:
			r.Counts.Pass++
		case NotSeen:
			r.Counts.NotSeen++
		case Fail:
			r.Counts.Fail++
			switch x.Severity {
			case High:
				r.Counts.High++
			case Medium:
				r.Counts.Medium++
			default:
				r.Counts.Low++
			}
		}
	}
	if r.Settings == nil {
		r.Settings = []Setting{}
	}
	if r.Warnings == nil {
		r.Warnings = []string{}
	}
	slices.SortStableFunc(r.Settings, func(a, b Setting) int { return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line) })
}

// Failed returns the failed items of at least a severity, in the order of the report.
func (r *Report) Failed(least Severity) []Item {
	var list []Item
	for _, x := range r.Items {
		if x.State == Fail && x.Severity.rank() <= least.rank() {
			list = append(list, x)
		}
	}
	return list
}

// Item returns an item by its id, or nil.
func (r *Report) Item(id string) *Item {
	for i := range r.Items {
		if r.Items[i].ID == id {
			return &r.Items[i]
		}
	}
	return nil
}
