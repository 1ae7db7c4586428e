package doctor

import (
	"slices"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
)

// A cache library without a hook is no hook, and named with what to do about it.
func TestLibrariesThatNoHookIsFor(t *testing.T) {
	fold := baseline.New(baseline.Options{})
	for _, e := range []event.Event{
		{Type: event.TypeRequest, At: 1, Request: &event.Request{}},
		{Type: event.TypeRecorder, At: 2, Recorder: &event.Recorder{Hooks: []event.Pair{{Name: "asgi", Value: "on"}, {Name: "diskcache", Value: "unobserved"}}}},
	} {
		e.Source = &event.Source{Service: "shop", Pid: 1}
		fold.Add(&e)
	}
	rep := fold.Report()
	x := &examination{Report: &Report{}}
	x.hooks(&rep)
	x.warnings(&rep)
	if slices.ContainsFunc(x.Hooks, func(h HookState) bool { return h.Name == "diskcache" }) {
		t.Errorf("diskcache is among the hooks: %v", x.Hooks)
	}
	at := slices.IndexFunc(x.Findings, func(f Finding) bool { return f.ID == "unobserved" })
	if at < 0 {
		t.Fatalf("not told: %v", x.Findings)
	}
	if f := x.Findings[at]; f.State != Note || !strings.HasPrefix(f.Says, "imported, not observed: diskcache: ") || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
}
