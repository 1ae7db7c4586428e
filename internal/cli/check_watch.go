package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/check"
	shell "github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/logwatch"
)

// How a watch looks.
const (
	healthPoll      = 10 * time.Second // between two questions to one address
	figuresPoll     = 15 * time.Second // between two readings of the capture, or twenty times as long as one takes
	outageAt        = 2                // questions in a row that fail
	maxBaselineLog  = 256 << 20        // bytes of the end of a baseline's log that are read
	baselineLogTime = 2 * time.Minute  // for a command that prints one
	maxLiveErrors   = 20               // new errors that are told while the watch goes on
)

// checkWatch follows a live service for a while: its capture, its log and its health addresses.
type checkWatch struct {
	checkRound
	length      time.Duration
	log         string // file, "run: COMMAND" or a command with blanks, "-" for standard input; empty: none
	baselineLog string // the same of before; empty: what stands in the file of log when the watch begins
	failFast    bool
	named       bool // the captures were named, so none is looked for
	stdin       io.Reader
	told        io.Writer // gets new errors and the progress
	terminal    bool      // whether told is one

	mu      sync.Mutex
	finder  *logwatch.Finder
	known   logwatch.Set
	fresh   logwatch.Set
	again   logwatch.Set // errors that the baseline had
	logEnd  string       // why the log cannot be followed any more
	polls   []polled     // by place in list
	liveErr int
	failed  chan string // says why a watch that fails fast is over
}

// polled is what one address answered.
type polled struct {
	n, failed   int64
	inRow, most int
	last        string
}

// run watches until the time is over, a failure ends it, or the context does. It returns a report in each of these cases; in
// the last one with the context's error.
func (w *checkWatch) run(ctx context.Context) (*check.Report, error) {
	w.failed = make(chan string, 1)
	w.polls = make([]polled, len(w.list))
	watched := &check.Watched{Seconds: w.length.Seconds()}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	stopLog, err := w.startLog(inner, &work, watched)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	w.since = start.UnixNano()
	for i, c := range w.list {
		if c.Kind == check.Health {
			work.Go(func() { w.poll(ctx, inner, i, c) })
		}
	}
	why := w.wait(ctx, start)
	cancel()
	work.Wait()
	stopLog(watched)
	watched.Watched = time.Since(start).Seconds()
	if why != "" {
		watched.Notes = append(watched.Notes, "ended early: "+why)
	}
	rep := &check.Report{Start: checkStamp(start), Watch: watched}
	w.finish(ctx, rep)
	rep.DurationMS = time.Since(start).Milliseconds()
	rep.Finish()
	return rep, ctx.Err()
}

// wait returns when the watch is over; with the reason, where that is a failure.
func (w *checkWatch) wait(ctx context.Context, start time.Time) string {
	end := time.NewTimer(w.length)
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	anyFigures, _ := w.figures()
	next := start.Add(figuresPoll)
	state := ""
	defer w.progress("", true)
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-end.C:
			return ""
		case why := <-w.failed:
			return why
		case now := <-tick.C:
			if anyFigures && now.After(next) {
				var failing string
				state, failing = w.look(ctx)
				next = time.Now().Add(max(figuresPoll, 20*time.Since(now)))
				if failing != "" && w.failFast {
					return failing
				}
			}
			w.tellProgress(time.Since(start), state)
		}
	}
}

// look reads the capture once, and says how its checks stand and which fails.
func (w *checkWatch) look(ctx context.Context) (state, failing string) {
	results, err := w.answers(ctx, &check.Report{})
	if err != nil {
		return "no figures: " + err.Error(), ""
	}
	counts := map[check.Verdict]int{}
	for _, list := range results {
		for _, r := range list {
			counts[r.Verdict]++
			if r.Verdict == check.Fail && failing == "" {
				failing = r.Title() + ": " + r.Says()
			}
		}
	}
	return fmt.Sprintf("figures: %d pass, %d fail, %d undecided", counts[check.Pass], counts[check.Fail], counts[check.Undecided]), failing
}

// answers evaluates the checks of figures, by place in list, over every capture that was the newest one during the watch.
func (w *checkWatch) answers(ctx context.Context, rep *check.Report) (map[int][]check.Result, error) {
	if newest, err := capture.Newest(capture.Root); err == nil && !w.named && !slices.Contains(w.captures, newest) {
		w.captures = append(w.captures, newest)
	}
	f, _, err := w.read(ctx, rep)
	if err != nil {
		return nil, err
	}
	out := map[int][]check.Result{}
	for i, c := range w.list {
		if c.Kind == check.Figure {
			if out[i], err = f.Evaluate(c); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// finish answers what is left: the figures of the whole watch, the commands, what addresses and log said.
func (w *checkWatch) finish(ctx context.Context, rep *check.Report) {
	var figures map[int][]check.Result
	var why error
	if any, _ := w.figures(); any && ctx.Err() == nil {
		select {
		case <-time.After(flushTime):
		case <-ctx.Done():
		}
		figures, why = w.answers(ctx, rep)
	}
	for i, c := range w.list {
		switch {
		case c.Kind == check.Health:
			rep.Checks = append(rep.Checks, w.healthResult(c, w.polls[i]))
			rep.Watch.Polls += w.polls[i].n
			rep.Watch.Failed += w.polls[i].failed
		case ctx.Err() != nil:
			rep.Checks = append(rep.Checks, c.Undecided("the watch was interrupted"))
		case c.Kind == check.Command:
			r, err := w.runner.Run(ctx, c, i+1)
			if err != nil {
				r = c.Undecided("the watch was interrupted")
			}
			rep.Checks = append(rep.Checks, r)
		case why != nil:
			rep.Checks = append(rep.Checks, c.Undecided(why.Error()))
		default:
			rep.Checks = append(rep.Checks, figures[i]...)
		}
	}
	if w.log != "" {
		rep.Checks = append(rep.Checks, w.logResult(rep.Watch))
	}
}

func (w *checkWatch) healthResult(c check.Check, p polled) check.Result {
	r := c.Undecided("it was never asked")
	if p.n == 0 {
		return r
	}
	r.Verdict = check.Pass
	r.Reason = fmt.Sprintf("%d of %d questions failed", p.failed, p.n)
	if p.most >= outageAt || p.inRow > 0 {
		r.Verdict = check.Fail
		r.Reason += fmt.Sprintf(", %d in a row", p.most)
	}
	if p.last != "" {
		r.Reason += "; the last of them: " + p.last
	}
	return r
}

func (w *checkWatch) logResult(watched *check.Watched) check.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := check.Result{Check: "log: no error that the baseline did not have", Kind: check.Log, Of: w.log, Verdict: check.Pass}
	shapes := func(s *logwatch.Set) ([]check.Shape, int64) {
		list, n := []check.Shape{}, int64(0)
		for _, c := range s.List() {
			n += c.N
			list = append(list, check.Shape{Shape: c.Shape, Count: c.N, First: checkStamp(time.Unix(0, c.First)), Last: checkStamp(time.Unix(0, c.Last))})
		}
		slices.SortStableFunc(list, func(a, b check.Shape) int { return int(min(1, max(-1, b.Count-a.Count))) })
		return list, n
	}
	var fresh, again int64
	watched.New, fresh = shapes(&w.fresh)
	watched.Known, again = shapes(&w.again)
	watched.Lines, watched.Errors = w.finder.Lines, fresh+again
	r.N = watched.Lines
	r.Reason = fmt.Sprintf("lines: %d; errors that were known: %d", watched.Lines, again)
	if fresh > 0 {
		r.Verdict = check.Fail
		r.Reason = fmt.Sprintf("lines: %d; new errors: %d, of which different: %d", watched.Lines, fresh, len(watched.New))
	}
	if w.logEnd != "" {
		r.Reason += "; " + w.logEnd
		if r.Verdict == check.Pass {
			r.Verdict = check.Undecided
		}
	}
	return r
}

// fail ends a watch that fails fast.
func (w *checkWatch) fail(why string) {
	if w.failFast {
		select {
		case w.failed <- why:
		default:
		}
	}
}

// poll asks one address, or runs one command, until the watch ends. The first question is answered in any case but whole's end, so
// that no watch is too short to have asked.
func (w *checkWatch) poll(whole, ctx context.Context, i int, c check.Check) {
	for asking := whole; ; asking = ctx {
		r, err := w.runner.Ask(asking, c)
		if err != nil {
			return
		}
		w.mu.Lock()
		p := &w.polls[i]
		p.n++
		if r.Verdict == check.Pass {
			p.inRow = 0
		} else {
			p.failed++
			p.inRow++
			p.most = max(p.most, p.inRow)
			p.last = r.Reason
		}
		outage := p.inRow >= outageAt
		w.mu.Unlock()
		if outage {
			w.fail(c.Title() + ": " + r.Reason)
		}
		pause := healthPoll
		if r.Verdict != check.Pass || w.length < 10*healthPoll {
			pause = time.Second // sooner, to tell a blink from an outage
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// logSource says what a text names: a command, standard input, or a file.
func logSource(text string) (line string, stdin bool) {
	if rest, ok := strings.CutPrefix(text, "run:"); ok {
		return strings.TrimSpace(rest), false
	}
	if text == "-" {
		return "", true
	}
	if _, err := os.Stat(text); err != nil && strings.ContainsAny(strings.TrimSpace(text), " \t") {
		return text, false
	}
	return "", false
}

// startLog reads the baseline's log and begins to follow the live one. What it returns is called when nothing follows any
// more.
func (w *checkWatch) startLog(ctx context.Context, work *sync.WaitGroup, watched *check.Watched) (func(*check.Watched), error) {
	w.finder = logwatch.NewFinder()
	if w.log == "" {
		return func(*check.Watched) {}, nil
	}
	note := func(format string, args ...any) { watched.Notes = append(watched.Notes, fmt.Sprintf(format, args...)) }
	known := func() *logwatch.Lines {
		find := logwatch.NewFinder()
		return &logwatch.Lines{Each: func(line string) {
			if shape, ok := find.Add(line); ok {
				w.known.Add(shape, 0)
			}
		}}
	}
	if w.baselineLog != "" {
		if err := w.readBaselineLog(ctx, known(), note); err != nil {
			return nil, err
		}
	}
	lines := &logwatch.Lines{Each: w.line}
	line, stdin := logSource(w.log)
	if line != "" || stdin {
		if w.baselineLog == "" {
			note("there is no baseline's log: every error counts as new")
		}
		if stdin {
			// A read of standard input cannot be broken off: what it waits for when the watch ends is left to it.
			go func() {
				_, err := io.Copy(lines, w.stdin)
				w.ended(ctx, "standard input ended", err)
			}()
			return func(*check.Watched) {}, nil
		}
		work.Go(func() {
			res, err := shell.Run(ctx, shell.Spec{Line: line, Dir: w.runner.Dir, Timeout: shell.MaxTimeout, Grace: 2 * time.Second, Output: lines})
			w.ended(ctx, "the command that shows the log ended: "+res.Outcome()+" "+res.Tail, err)
		})
		return func(*check.Watched) { lines.Flush() }, nil
	}
	file, err := logwatch.Open(w.log)
	if err != nil {
		return nil, w.cannotFollow(w.log, err)
	}
	if w.baselineLog == "" {
		before := known()
		left, err := file.Before(ctx, before, maxBaselineLog)
		before.Flush()
		if err != nil {
			return nil, w.cannotFollow(w.log, err)
		}
		text := "the baseline is what stood in " + w.log + " before"
		if left > 0 {
			text += fmt.Sprintf(", without its first %d bytes", left)
		}
		note("%s", text)
	}
	work.Go(func() { w.ended(ctx, "the log cannot be read any more", file.Follow(ctx, lines)) })
	return func(watched *check.Watched) {
		lines.Flush()
		watched.Notes = append(watched.Notes, file.Notes()...)
		file.Close()
	}, nil
}

func (w *checkWatch) cannotFollow(path string, err error) error {
	return &fault.Error{
		Op: w.op, What: "cannot follow the log " + path, Cause: plainCause(err),
		Expected: "a log file, \"run: COMMAND\" for a command that shows the log as it grows, or - for standard input",
		Retry:    fault.RetrySafe, Try: w.op + " --log 'run: docker compose logs --follow --tail 0'", Code: fault.ExitUsage,
	}
}

// readBaselineLog reads the errors that were there before.
func (w *checkWatch) readBaselineLog(ctx context.Context, to *logwatch.Lines, note func(string, ...any)) error {
	line, stdin := logSource(w.baselineLog)
	switch {
	case stdin:
		return &fault.Error{Op: w.op, What: "cannot read the baseline's log from standard input", Expected: "a file or a command", Code: fault.ExitUsage}
	case line != "":
		res, err := shell.Run(ctx, shell.Spec{Line: line, Dir: w.runner.Dir, Timeout: baselineLogTime, Output: to})
		if err == nil && !res.OK() {
			err = errors.New(res.Outcome() + ": " + res.Tail)
		}
		to.Flush()
		if err != nil && ctx.Err() == nil {
			return w.cannotFollow(w.baselineLog, err)
		}
		return ctx.Err()
	}
	file, err := logwatch.Open(w.baselineLog)
	if err != nil {
		return w.cannotFollow(w.baselineLog, err)
	}
	defer file.Close()
	left, err := file.Before(ctx, to, maxBaselineLog)
	to.Flush()
	if left > 0 {
		note("the first %d bytes of %s were left out", left, w.baselineLog)
	}
	return err
}

// ended notes that the log cannot be followed any more, unless the watch is over.
func (w *checkWatch) ended(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		what += ": " + err.Error()
	}
	w.mu.Lock()
	w.logEnd = strings.TrimSpace(what)
	w.mu.Unlock()
}

// line takes one line of the live log.
func (w *checkWatch) line(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	shape, ok := w.finder.Add(text)
	if !ok {
		return
	}
	now := time.Now().UnixNano()
	if w.known.Has(shape) {
		w.again.Add(shape, now)
		return
	}
	if !w.fresh.Add(shape, now) {
		return
	}
	if w.liveErr++; w.liveErr <= maxLiveErrors && w.told != nil {
		w.clearLine()
		fmt.Fprintln(w.told, "new error: "+shape)
	}
	w.fail("new error in the log: " + shape)
}

// tellProgress says how far the watch is: each second on a terminal, each minute elsewhere.
func (w *checkWatch) tellProgress(done time.Duration, figures string) {
	w.mu.Lock()
	parts := []string{fmt.Sprintf("watching: %s of %s", done.Round(time.Second), w.length)}
	if w.log != "" {
		parts = append(parts, fmt.Sprintf("%d lines, %d new errors", w.finder.Lines, len(w.fresh.List())))
	}
	var asked, failed int64
	for _, p := range w.polls {
		asked += p.n
		failed += p.failed
	}
	if asked > 0 {
		parts = append(parts, fmt.Sprintf("health: %d of %d failed", failed, asked))
	}
	w.mu.Unlock()
	if figures != "" {
		parts = append(parts, figures)
	}
	seconds := int(done.Round(time.Second) / time.Second)
	if w.terminal || seconds%60 == 0 {
		w.progress(strings.Join(parts, " · "), false)
	}
}

func (w *checkWatch) progress(text string, end bool) {
	if w.told == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clearLine()
	switch {
	case end:
	case w.terminal:
		fmt.Fprint(w.told, text)
	default:
		fmt.Fprintln(w.told, text)
	}
}

// clearLine empties the line in which the progress stands.
func (w *checkWatch) clearLine() {
	if w.terminal {
		fmt.Fprint(w.told, "\r\x1b[K")
	}
}
