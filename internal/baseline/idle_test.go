package baseline

import (
	"fmt"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

// A recorder's thread that had next to nothing to send took its time for waking: the figure by event says nothing then.
func TestMostlyIdle(t *testing.T) {
	for _, c := range []struct {
		requests int
		seconds  int64
		idle     bool
	}{{10, 20, true}, {5000, 20, false}, {5000, 3600, true}, {1, 0, false}} {
		src := &event.Source{Service: "shop", Host: "h", Pid: 7}
		f := New(Options{})
		at := int64(1_700_000_000e9)
		for i := range c.requests { // all in the first second
			f.Add(&event.Event{At: at + int64(i)*1e5, Dur: event.Some(int64(1e4)), Trace: fmt.Sprint(i), Source: src, Type: event.TypeRequest,
				Request: &event.Request{Kind: "http", Method: "GET", Route: "/", Status: 200}})
		}
		f.Add(&event.Event{At: at + c.seconds*1e9, Source: src, Type: event.TypeRecorder, Recorder: &event.Recorder{CostNs: event.Some(int64(16e6))}})
		rep := f.Report()
		if got := rep.Coverage.MostlyIdle(); got != c.idle || rep.Coverage.CostNs == nil || *rep.Coverage.CostNs != 16e6 || rep.Coverage.CostSeconds != float64(c.seconds) {
			t.Errorf("%d requests in %d s: idle %v, %+v", c.requests, c.seconds, got, rep.Coverage)
		}
	}
	f := New(Options{})
	if rep := f.Report(); rep.Coverage.MostlyIdle() {
		t.Error("nothing is known of a recorder that was not there")
	}
}
