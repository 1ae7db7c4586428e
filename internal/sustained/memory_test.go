package sustained

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/capture"
)

// most is what demarc may take under sustained load, bytes.
const most = 250e6

// TestMemory watches demarc run for a quarter of a minute: long enough to fill its queues and tables, too short to tell
// a slow leak, which TestSoakMemory is for.
func TestMemory(t *testing.T) {
	underRun(t, 15)
}

// load is what was seen of one run.
type load struct {
	samples []float64 // memory each second, MB
	sent    int64
	rate    float64 // events a second
}

// underRun starts demarc run with the generator as its service.
func underRun(t *testing.T, seconds int) load {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, t.TempDir(), []string{fmt.Sprintf("%s=%d", asGenerator, seconds)}, "run", "--", self)
	p.says("demarc: watching ")
	return watch(t, p, p.runFile().Capture, func() string {
		if code := p.wait(); code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, p.out.String(), p.err.String())
		}
		return p.out.String()
	})
}

// watch takes samples of a demarc's memory until its standard error says that it ended, and holds what is in the capture
// against what was sent.
func watch(t *testing.T, p *process, dir string, end func() (told string)) load {
	t.Helper()
	var l load
	told := make(chan string, 1)
	go func() { told <- end() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	said := ""
	for said == "" {
		select {
		case said = <-told:
		case <-tick.C:
			n, err := resident(p.cmd.Process.Pid)
			if err != nil {
				continue // it has just ended
			}
			l.samples = append(l.samples, float64(n)/1e6)
		}
	}
	var seconds float64
	if _, err := fmt.Sscanf(said, "%d events in %f seconds", &l.sent, &seconds); err != nil {
		t.Fatalf("the generator said %q", said)
	}
	l.rate = float64(l.sent) / seconds
	highest := 0.0
	for _, mb := range l.samples {
		highest = max(highest, mb)
	}
	t.Logf("%d events, %.0f a second; resident memory at most %.1f MB", l.sent, l.rate, highest)
	if len(l.samples) == 0 || highest > most/1e6 {
		t.Errorf("resident memory %.1f MB, at most %.0f MB are allowed: %.0f", highest, most/1e6, l.samples)
	}
	r, err := capture.Open(filepath.Join(p.dir, dir))
	if err != nil {
		t.Fatal(err)
	}
	// Each process is an event as well.
	if info := r.Info(); info.Events != l.sent+processes || !info.Closed || strings.Contains(p.err.String(), "not in the capture") {
		t.Errorf("%d events were sent by %d processes; the capture: %+v\n%s", l.sent, processes, info, p.err.String())
	}
	return l
}
