package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/otlp/evidence"
)

// capture reads the capture, in one pass, and says what is in it and what is not.
func (x *examination) capture(ctx context.Context) {
	dir := x.Options.Capture
	if dir == "" {
		newest, err := capture.Newest(x.Dir)
		if err != nil {
			x.add("capture", Note, "there is no capture under "+x.Dir+" yet", "demarc run -- uvicorn shop:app")
			return
		}
		dir = newest
	}
	fail := func(err error) {
		says, remedy := err.Error(), ""
		var f *fault.Error
		if errors.As(err, &f) {
			remedy = f.Try
			if f.Expected != "" {
				says += "; expected: " + f.Expected
			}
		}
		x.add("capture", Wrong, says, remedy)
	}
	r, err := capture.Open(dir)
	if err != nil {
		fail(err)
		return
	}
	x.Report.Capture = dir
	fold := baseline.New(x.Baseline)
	var seen evidence.Evidence
	var caches int64
	for batch, err := range r.Batches() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			fail(err)
			return
		}
		for i := range batch {
			fold.Add(&batch[i])
			seen.Add(&batch[i])
			if batch[i].Type == event.TypeCache {
				caches++
			}
		}
	}
	rep := fold.Report()
	x.container(r.Info(), dir)
	x.processes(&rep)
	x.hooks(&rep)
	x.warnings(&rep)
	x.missing(&seen, &rep, caches)
	x.healthRoute(&rep)
}

func (x *examination) container(info capture.Info, dir string) {
	x.add("capture", OK, fmt.Sprintf("%s: %d events of %s, %s", dir, info.Events, info.Service, bytesText(float64(info.Bytes))), "")
	for _, w := range info.Warnings {
		if strings.HasPrefix(w, "retention dropped") {
			x.add("capture", Note, w, "keep.size and keep.age in demarc.yaml say how much is kept")
		} else {
			x.add("capture", Wrong, w, "what is there can be used; record again, if what is gone matters")
		}
	}
}

func (x *examination) processes(rep *baseline.Report) {
	x.Processes = append(x.Processes, rep.Coverage.Processes...)
	runtimes := map[string]int{}
	for _, p := range rep.Coverage.Processes {
		name := p.Runtime
		if name == "" {
			name = "an unknown runtime"
		}
		runtimes[name]++
	}
	var list []string
	for name, n := range runtimes {
		list = append(list, fmt.Sprintf("%d on %s", n, name))
	}
	slices.Sort(list)
	if len(list) > 0 {
		x.add("processes", OK, fmt.Sprintf("%s of the service seen: %s", many(int64(rep.Coverage.ProcessCount), "process", "processes"), strings.Join(list, ", ")), "")
	}
}

// hooks puts what the recorders said of their hooks beside the list.
func (x *examination) hooks(rep *baseline.Report) {
	by := map[string][]string{}
	for _, h := range rep.Coverage.Hooks {
		if h.States["unobserved"] > 0 {
			continue // no hook: a library without one, of which the report's warnings tell
		}
		at := slices.IndexFunc(x.Hooks, func(s HookState) bool { return s.Name == h.Name })
		if at < 0 { // of another version of the recorder
			at = len(x.Hooks)
			x.Hooks = append(x.Hooks, HookState{Hook: Hook{Name: h.Name, Modules: []string{}}, States: map[string]int64{}})
		}
		x.Hooks[at].States, x.Hooks[at].Failures = h.States, h.Failures
		state := Strongest(h.States)
		by[state] = append(by[state], h.Name)
		if h.Failures > 0 || h.States["failed"] > 0 {
			x.add("hooks", Wrong, fmt.Sprintf("hook %s failed %s: what it sees may be missing", h.Name, many(max(h.Failures, 1), "time", "times")),
				"DEMARC_HOOKS=-"+h.Name+" leaves it out; a note of the library's version to demarc's maintainers helps")
		}
	}
	if len(rep.Coverage.Hooks) == 0 {
		if rep.Coverage.Events > 0 {
			x.add("hooks", Note, "no recorder was at work: what was seen came as spans or was imported", "")
		}
		return
	}
	var list []string
	for _, state := range []string{"on", "off"} {
		if len(by[state]) > 0 {
			list = append(list, state+": "+strings.Join(by[state], ", "))
		}
	}
	list = append(list, fmt.Sprintf("waiting for a module that the service did not import: %d", len(by["waiting"])))
	x.add("hooks", OK, "hooks "+strings.Join(list, "; "), "demarc doctor --hooks lists them all")
	for _, name := range by["off"] {
		x.add("hooks", Note, "hook "+name+" was switched off by DEMARC_HOOKS", "unset DEMARC_HOOKS")
	}
}

func many(n int64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// Strongest is the state that says most about a hook which is in several.
func Strongest(states map[string]int64) string {
	for _, s := range []string{"failed", "on", "off", "waiting"} {
		if states[s] > 0 {
			return s
		}
	}
	return ""
}

// remedies for the report's warnings. Those that are not here are doubts about figures, which demarc report shows.
var remedies = map[string]string{
	"no-events":   "ask the service something while it is observed",
	"no-requests": "ask the service something while it is observed; demarc doctor --hooks says which servers and frameworks are known",
	"no-queries":  "demarc doctor --hooks says which drivers are known",
	"dropped":     "a lower rate of events: --rate, or fewer functions under observe",
	"sampled":     "--rate 0 records everything, at its cost",
	"unobserved":  "observe.functions in demarc.yaml records calls of the functions around such a cache; demarc doctor --hooks says which libraries are known",
	"unjoined":    "work in threads of its own has no request; see docs/report.md",
}

func (x *examination) warnings(rep *baseline.Report) {
	for _, w := range rep.Warnings {
		remedy, ok := remedies[w.Code]
		if !ok {
			continue
		}
		state := Note
		switch w.Code {
		case "no-events", "no-requests":
			if x.Running == nil || x.Running.Capture != x.Report.Capture { // else they may still come
				state = Wrong
			}
		case "dropped":
			state = Wrong
		}
		x.add(w.Code, state, w.Text, remedy)
	}
}

// missing lists the questions that stay open.
func (x *examination) missing(seen *evidence.Evidence, rep *baseline.Report, caches int64) {
	x.Missing = append(x.Missing, seen.Missing()...)
	for _, g := range x.Missing {
		x.add("missing."+g.ID, Open, fmt.Sprintf("cannot tell: %s (%s: absent from %d of %d)", g.Question, g.Missing, g.Of, g.Total), g.Remedy)
	}
	if caches == 0 && rep.Coverage.Events > 0 {
		x.add("missing.cache", Open, "cannot tell: hit ratio, stale reads (no cache operation was seen: the service uses no cache, or one that is not hooked)",
			"demarc doctor --hooks says which caches are known; observe.functions in demarc.yaml records calls of any function")
	}
}
