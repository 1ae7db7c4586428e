// Package doctor says what demarc sees of a service, what it does not, and why, each with what to do about it.
package doctor

import (
	"context"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/engine"
	"github.com/demarc-dev/demarc/internal/otlp/evidence"
)

// Schema names the JSON form of Report; docs/doctor.md describes it.
const Schema = "demarc.doctor/1"

// State is what a finding comes to.
type State string

// The states of a finding. Only Wrong asks for something to be done.
const (
	OK    State = "ok"
	Note  State = "note"  // worth knowing
	Open  State = "open"  // a question that what was seen cannot answer
	Wrong State = "wrong" // needs attention
)

// Finding is one thing that was looked at.
type Finding struct {
	ID     string `json:"id"` // stable
	State  State  `json:"state"`
	Says   string `json:"says"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is everything that was found. Lists are never nil.
type Report struct {
	Schema      string             `json:"schema"`
	OK          bool               `json:"ok"` // nothing is wrong
	Findings    []Finding          `json:"findings"`
	Running     *engine.Health     `json:"running"` // of the demarc that runs here; null where none answers
	Capture     string             `json:"capture"` // that was read; "" for none
	Processes   []baseline.Process `json:"processes"`
	Hooks       []HookState        `json:"hooks"`
	Missing     []evidence.Gap     `json:"missing"`
	HealthRoute HealthRoute        `json:"health_route"`
}

// HookState is a hook of this demarc's recorder, with what the capture says of it.
type HookState struct {
	Hook
	States   map[string]int64 `json:"states"` // state to number of processes; empty where no capture says
	Failures int64            `json:"failures"`
}

// HealthRoute is the service's own.
type HealthRoute struct {
	Known bool    `json:"known"` // whether requests were seen, so that something can be said
	Route string  `json:"route"` // "" where there is none
	Add   []Lines `json:"add"`   // what adds one, where there is none
}

// Options say what to look at.
type Options struct {
	Op       string // the command's name, for errors
	Dir      string // folder of captures
	Config   string // configuration; empty: demarc.yaml, if it is there
	Capture  string // empty: the newest in Dir
	Environ  []string
	Baseline baseline.Options
}

// Examine looks at everything. It changes nothing but for a small file in Dir, written and removed, and run files of
// demarcs that are gone, which are removed.
func Examine(ctx context.Context, o Options) Report {
	r := Report{Schema: Schema, Findings: []Finding{}, Processes: []baseline.Process{}, Missing: []evidence.Gap{},
		HealthRoute: HealthRoute{Add: []Lines{}}}
	for _, h := range Hooks() {
		r.Hooks = append(r.Hooks, HookState{Hook: h, States: map[string]int64{}})
	}
	x := &examination{Options: o, Report: &r}
	cfg := x.configuration()
	usable := x.folder(cfg)
	if usable {
		x.secrets()
	}
	x.environment()
	x.python(ctx)
	if usable {
		x.running(ctx)
	}
	x.capture(ctx)
	r.OK = true
	for _, f := range r.Findings {
		r.OK = r.OK && f.State != Wrong
	}
	return r
}

type examination struct {
	Options
	*Report
}

func (x *examination) add(id string, state State, says, remedy string) {
	x.Findings = append(x.Findings, Finding{ID: id, State: state, Says: says, Remedy: remedy})
}
