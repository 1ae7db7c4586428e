package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/compare"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/stale"
)

// checkRound is one round of checks, whoever asks for it: demarc check, a rehearsal, a watch.
type checkRound struct {
	op        string // name of the command, for errors
	list      check.List
	captures  []string // folders, read as one; none: the newest, if a check needs one
	baseline  string   // folder; empty: none
	since     int64    // Unix nanoseconds: leaves out what the capture holds from before; 0: nothing
	sinceMark string   // the same as the name of a mark
	staleness map[string]string
	runner    check.Runner
	talk      io.Writer // gets a line before each command; nil: nobody
}

// figures says whether a check needs a capture, and whether it needs the analysis of stale reads.
func (r *checkRound) figures() (any, stale bool) {
	for _, c := range r.list {
		if c.Kind == check.Figure {
			any = true
			stale = stale || c.Scope == check.Family || slices.Contains([]string{"stale_reads", "leaks"}, c.Metric)
		}
	}
	return any, stale
}

// run answers the checks; the report has them in their order. First the captures are read, so that checks which cannot be
// decided as they are written stop everything before a command runs; a capture that is still being written is read once
// more when the commands have run, as they may have made the traffic that the figures are about.
//
// An error means that there is no report: such a check, a capture that cannot be read, or the end of the context.
func (r *checkRound) run(ctx context.Context) (*check.Report, error) {
	start := time.Now()
	rep := &check.Report{Start: checkStamp(start)}
	f, live, err := r.read(ctx, rep)
	if err == nil {
		err = f.Validate(r.op, r.list)
	}
	if err != nil {
		return nil, err
	}
	answers := make([][]check.Result, len(r.list))
	ran := false
	for i, c := range r.list {
		if c.Kind == check.Figure {
			continue
		}
		ran = true
		if r.talk != nil {
			fmt.Fprintln(r.talk, c.Title())
		}
		result, err := r.runner.Run(ctx, c, i+1)
		if err != nil {
			return nil, err
		}
		answers[i] = []check.Result{result}
	}
	if ran && live {
		select {
		case <-time.After(flushTime):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if f, _, err = r.read(ctx, rep); err != nil {
			return nil, err
		}
	}
	for i, c := range r.list {
		if c.Kind == check.Figure {
			if answers[i], err = f.Evaluate(c); err != nil {
				return nil, err
			}
		}
		rep.Checks = append(rep.Checks, answers[i]...)
	}
	rep.DurationMS = time.Since(start).Milliseconds()
	rep.Finish()
	return rep, nil
}

// flushTime is how long it takes until what a service did stands in its capture.
const flushTime = 1500 * time.Millisecond

// read reads the captures, as far as the checks need them, and says whether the one that is checked is still being written.
func (r *checkRound) read(ctx context.Context, rep *check.Report) (f check.Figures, live bool, err error) {
	any, needStale := r.figures()
	if !any {
		return f, false, nil
	}
	if len(r.captures) == 0 {
		newest, err := capture.Newest(capture.Root)
		if err != nil {
			return f, false, err
		}
		r.captures = []string{newest}
	}
	var readers []*capture.Reader
	for _, dir := range r.captures {
		reader, err := capture.Open(dir)
		if err != nil {
			return f, false, err
		}
		readers = append(readers, reader)
	}
	newest := len(readers) - 1
	rep.Capture, rep.Warnings = r.captures[newest], nil
	since := r.since
	if r.sinceMark != "" {
		if since, err = markTime(ctx, readers[newest], r.captures[newest], r.sinceMark); err != nil {
			return f, false, err
		}
	}
	budgets, err := stalenessBudgets(r.staleness)
	if err != nil {
		return f, false, err
	}
	after, before := r.samples(since), r.samples(0)
	if f.Report, f.Stale, err = foldFigures(ctx, readers, since, needStale, budgets, after); err != nil {
		return f, false, err
	}
	for _, w := range f.Report.Warnings {
		// The others speak of figures that a check says itself to be too few.
		if slices.Contains([]string{"capture", "dropped", "sampled", "hook-failed", "cut-items", "early-joins"}, w.Code) {
			rep.Warnings = append(rep.Warnings, w.Text)
		}
	}
	if r.baseline != "" {
		rep.Baseline = r.baseline
		reader, err := capture.Open(r.baseline)
		if err != nil {
			return f, false, err
		}
		f.Baseline, f.BaselineStale, err = foldFigures(ctx, []*capture.Reader{reader}, 0, needStale, budgets, before)
		if err != nil {
			return f, false, err
		}
		if after != nil {
			f.Change = changes(before, after)
		}
	}
	return f, readers[newest].Info().Active, nil
}

// stalenessBudgets reads the budgets of the configuration.
func stalenessBudgets(text map[string]string) (map[string]time.Duration, error) {
	budgets := map[string]time.Duration{}
	for family, s := range text {
		d, err := config.Age(s)
		if err != nil {
			return nil, err
		}
		budgets[family] = d
	}
	return budgets, nil
}

// samples returns a place for what is needed to tell a change of a percentile from chance; nil where no check asks.
func (r *checkRound) samples(since int64) *compare.Samples {
	for _, c := range r.list {
		if c.Kind == check.Figure && c.Bound.Relative && slices.Contains([]string{compare.P50, compare.P95, compare.P99}, c.Metric) {
			return compare.New(compare.SampleOptions{From: since})
		}
	}
	return nil
}

// changes compares both sides once.
func changes(before, after *compare.Samples) func(route, metric string) (lo, hi float64, ok bool) {
	res := compare.Compare(before, after, compare.Options{})
	return func(route, metric string) (lo, hi float64, ok bool) {
		rows := res.Routes
		if route == "" {
			rows, route = res.Totals, compare.TotalRoute
		}
		for _, x := range rows {
			if x.Route == route && x.Metric == metric && x.ChangeIs == compare.Relative && x.CI != nil && x.CI[0] != nil && x.CI[1] != nil {
				return *x.CI[0], *x.CI[1], true
			}
		}
		return 0, 0, false
	}
}

// foldFigures folds captures that follow each other as if they were one; into samples, too, where that is not nil.
func foldFigures(ctx context.Context, readers []*capture.Reader, since int64, withStale bool, budgets map[string]time.Duration, samples *compare.Samples) (*baseline.Report, *check.Stale, error) {
	opt := baselineOptions()
	opt.Since = since
	fold := baseline.New(opt)
	detector := stale.New(stale.Options{Budgets: budgets, Late: lateOfCapture, Since: since})
	var warnings []baseline.Warning
	for _, reader := range readers {
		for batch, err := range reader.Batches() {
			if err = cmp.Or(err, ctx.Err()); err != nil {
				return nil, nil, err
			}
			for i := range batch {
				fold.Add(&batch[i])
			}
			if withStale {
				if err := detector.Add(batch); err != nil {
					return nil, nil, err
				}
			}
			if samples != nil {
				if err := samples.Add(batch); err != nil {
					return nil, nil, err
				}
			}
		}
		for _, w := range reader.Info().Warnings {
			warnings = append(warnings, baseline.Warning{Code: "capture", Text: w})
		}
	}
	rep := fold.Report()
	rep.Warnings = append(rep.Warnings, warnings...)
	if !withStale {
		return &rep, nil, nil
	}
	detector.Finish()
	return &rep, check.FromStale(detector.Report()), nil
}
