package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/stale"
)

const (
	// findingsEvery is how often a running demarc asks for new findings: with the second that it waits for late events,
	// a finding is told within two of the event that proves it.
	findingsEvery = 250 * time.Millisecond
	// lateOfRun is how late events of recorders on this machine may come, lateOfSpans those of OpenTelemetry's exporters,
	// which send every five seconds unless told otherwise.
	lateOfRun, lateOfSpans = time.Second, 10 * time.Second
	// lateOfCapture is the same for a capture, where nobody waits.
	lateOfCapture = 10 * time.Second
	// liveStaleKeys bounds the keys followed while a service runs, some 50 MB; demarc stale on the capture follows more.
	liveStaleKeys = 100_000
	// maxLiveFindings is how many findings are told while a service runs; the rest is in the table at the end.
	maxLiveFindings = 100
)

// liveFindings tells of stale reads while the service runs.
type liveFindings struct {
	stop, done chan struct{}
	told       map[string]string // by id: the surest verdict that was said
	stories    map[uint64]string // by the story that a line told: its id then
}

// liveStale are the options of the detector beside a running service.
func (o *observation) liveStale(budgets map[string]time.Duration) stale.Options {
	opt := stale.Options{Budgets: budgets, Late: lateOfRun, MaxKeys: liveStaleKeys}
	if strings.HasSuffix(o.op, "collect") {
		opt.Late = lateOfSpans
	}
	return opt
}

func (o *observation) startFindings() {
	f := &o.findings
	f.stop, f.done, f.told, f.stories = make(chan struct{}), make(chan struct{}), map[string]string{}, map[uint64]string{}
	go func() {
		defer close(f.done)
		tick := time.NewTicker(findingsEvery)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case now := <-tick.C:
				o.tellFindings(now)
			}
		}
	}()
}

// tellFindings prints a line for each finding that is new, or has become surer, or whose cause was revised; its further
// reads are in the table at the end. A screen that is drawn anew each second has no room for lines: the table has all.
func (o *observation) tellFindings(now time.Time) {
	for _, f := range o.engine.NewFindings(now) {
		before, known := o.findings.told[f.ID]
		if known && (before == f.Verdict || f.Verdict != stale.Proven) || o.flags.live || !known && len(o.findings.told) >= maxLiveFindings {
			continue
		}
		o.findings.told[f.ID] = f.Verdict
		line := "demarc: " + report.StaleLine(&f)
		switch was := o.findings.stories[f.Story]; {
		case known:
			line += " (surer now)"
		case was != "":
			line += " (revised; it was " + was + ")"
		}
		o.findings.stories[f.Story] = f.ID
		if terminalOptions(o.stderr).Color && report.Leak(&f) {
			line = "\x1b[31m" + line + "\x1b[0m"
		}
		fmt.Fprintln(o.stderr, line)
		if len(o.findings.told) == maxLiveFindings && !known {
			fmt.Fprintln(o.stderr, "demarc: further findings are not told here; the table at the end has them")
		}
	}
}

// stopFindings ends the lines. Sources have ended: what was held back for late events is judged.
func (o *observation) stopFindings() {
	if o.findings.stop == nil {
		return
	}
	close(o.findings.stop)
	<-o.findings.done
	o.findings.stop = nil
	o.engine.SettleStale()
}

// tellStale writes what was found, below the baseline.
func (o *observation) tellStale() {
	if rep := o.engine.Stale(); rep != nil {
		_ = report.StaleShort(o.stderr, rep, terminalOptions(o.stderr))
	}
}
