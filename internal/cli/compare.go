package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/compare"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/stale"
)

// comparison is the command line of demarc compare.
type comparison struct {
	mark, since, until    string
	stale, config         string
	routes                []string
	confidence, minEffect float64
	json, markdown, html  bool
	output                string
	failOnWorse, all      bool
}

func newCompareCommand() *cobra.Command {
	x := &comparison{}
	cmd := &cobra.Command{
		Use:     "compare BEFORE AFTER | --mark NAME [CAPTURE]",
		Short:   "Show what changed between two captures, and what cannot be said",
		GroupID: groupMore,
		Args:    cobra.MaximumNArgs(2),
		Long: "Compares two captures, or what one capture holds before and after a mark: per route and in total response times, error\n" +
			"rate, queries and cache misses a request, hit ratio, stale reads and bytes, each with an interval and a p-value that is\n" +
			"corrected for the number of comparisons. Where nothing can be claimed it says ~, where there are too few requests it says\n" +
			"how many are needed, and where other things were asked for it compares like with like (docs/compare.md).",
		Example: "  demarc compare .demarc/before .demarc/after\n  demarc compare --mark deploy\n" +
			"  demarc compare .demarc/before .demarc/after --route 'GET /articles'\n" +
			"  demarc compare .demarc/before .demarc/after --markdown >>\"$GITHUB_STEP_SUMMARY\"\n" +
			"  demarc compare .demarc/before .demarc/after --json | jq '.routes[] | select(.verdict == \"worse\")'",
		ValidArgsFunction: completeCaptures,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := x.check(cmd, args); err != nil {
				return err
			}
			return named(cmd, x.run(cmd, args))
		},
	}
	f := cmd.Flags()
	f.StringVar(&x.mark, "mark", "", "compare what came before with what came after the last mark of this `name` in one capture")
	f.StringVar(&x.since, "since", "", "of each capture only what came after the last mark of this `name`")
	f.StringVar(&x.until, "until", "", "of each capture only what came before the last mark of this `name`")
	f.StringArrayVar(&x.routes, "route", nil, "compare only this `route` (\"GET /articles\", or a path for all its methods); may be given again")
	f.Float64Var(&x.confidence, "confidence", 0.95, "of each interval, and of the report as a whole")
	f.Float64Var(&x.minEffect, "min-effect", 0.01, "least relative change that is called better or worse")
	f.StringVar(&x.stale, "stale", staleAuto, "find stale reads: always, never, or auto, which leaves them out of captures of over 2,000,000 events together")
	f.StringVar(&x.config, "config", "", "configuration `file`, for the budgets in staleness (default "+config.File+", if it is there)")
	f.BoolVar(&x.all, "all", false, "print every figure of every route")
	f.BoolVar(&x.json, "json", false, "print JSON (demarc.compare/1)")
	f.BoolVar(&x.markdown, "markdown", false, "print Markdown, as for a pull request")
	f.BoolVar(&x.html, "html", false, "write one self-contained HTML page")
	f.StringVarP(&x.output, "output", "o", "", "`file` to write instead of standard output")
	f.BoolVar(&x.failOnWorse, "fail-on-worse", false, "exit with 10 where anything is worse")
	_ = cmd.RegisterFlagCompletionFunc("stale", cobra.FixedCompletions([]string{staleAuto, staleAlways, staleNever}, cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagsMutuallyExclusive("json", "html", "markdown")
	cmd.MarkFlagsMutuallyExclusive("mark", "since")
	cmd.MarkFlagsMutuallyExclusive("mark", "until")
	return cmd
}

// completeCaptures offers the captures under .demarc, newest first.
func completeCaptures(_ *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	entries, err := os.ReadDir(capture.Root)
	if err != nil || len(args) >= 2 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, e := range slices.Backward(entries) {
		name := filepath.Join(capture.Root, e.Name())
		if e.IsDir() && strings.HasPrefix(name, begin) && !slices.Contains(args, name) {
			if _, err := os.Stat(filepath.Join(name, "manifest.json")); err == nil {
				names = append(names, name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}

// check refuses command lines that do not say what to compare.
func (x *comparison) check(cmd *cobra.Command, args []string) error {
	switch {
	case x.mark != "" && len(args) > 1:
		return usageError(cmd, "--mark compares within one capture, but two were named")
	case x.mark == "" && len(args) < 2:
		err := usageError(cmd, fmt.Sprintf("two captures are compared, %d named", len(args)))
		err.Expected = "BEFORE and AFTER, or --mark NAME for one capture"
		return err
	case x.stale != staleAuto && x.stale != staleAlways && x.stale != staleNever:
		return usageError(cmd, fmt.Sprintf("--stale %s: auto, always or never was expected", x.stale))
	case !(x.confidence > 0.5 && x.confidence < 1):
		return usageError(cmd, fmt.Sprintf("--confidence %g: a number above 0.5 and below 1 was expected", x.confidence))
	case !(x.minEffect >= 0) || math.IsInf(x.minEffect, 0):
		return usageError(cmd, fmt.Sprintf("--min-effect %g: a share such as 0.05 was expected", x.minEffect))
	case x.html && x.output == "" && onTerminal(cmd.OutOrStdout()):
		err := usageError(cmd, "--html would fill the terminal with the page's source")
		err.Try = cmd.CommandPath() + " " + strings.Join(args, " ") + " --html -o compare.html"
		return err
	}
	return nil
}

func (x *comparison) run(cmd *cobra.Command, args []string) error {
	out := cmd.OutOrStdout()
	budgets, err := configuredBudgets(cmd, x.config)
	if err != nil {
		return err
	}
	res, err := x.compared(cmd.Context(), cmd.ErrOrStderr(), args, budgets)
	if err != nil {
		return err
	}
	write := func(w io.Writer) error {
		switch {
		case x.json:
			return report.CompareJSON(w, res)
		case x.html:
			return report.CompareHTML(w, res)
		case x.markdown:
			return report.CompareMarkdown(w, res)
		}
		return report.CompareTerminal(w, res, terminalOptions(w), x.all || len(x.routes) > 0)
	}
	if x.output == "" {
		err = write(out)
	} else {
		err = capture.WriteFile(x.output, write)
	}
	if err != nil {
		return &fault.Error{What: "cannot write " + cmp.Or(x.output, "the comparison"), Cause: err,
			Expected: "space and permission to write", Retry: fault.RetrySafe}
	}
	if x.output != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "wrote "+x.output)
	}
	return x.status(res)
}

// compared reads both sides and compares them. Two calls with the same captures and settings give the same result.
func (x *comparison) compared(ctx context.Context, stderr io.Writer, args []string, budgets map[string]time.Duration) (*compare.Result, error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(compareMemory))
	sides, err := x.sides(ctx, args)
	if err != nil {
		return nil, err
	}
	if x.mark != "" && len(args) == 0 {
		fmt.Fprintln(stderr, "capture "+sides[0].dir)
	}
	if x.findsStale(sides) {
		debug.SetMemoryLimit(staleMemory)
	}
	for i := range sides {
		if x.findsStale(sides) {
			sides[i].detector = stale.New(stale.Options{Budgets: budgets, Late: lateOfCapture, Since: sides[i].from})
		}
	}
	if err := readSides(ctx, stderr, &sides); err != nil {
		return nil, err
	}
	if err := x.knownRoutes(sides); err != nil {
		return nil, err
	}
	opt := compare.Options{Confidence: x.confidence, MinEffect: x.minEffect, Routes: x.routes,
		BeforeName: sides[0].dir, AfterName: sides[1].dir, Parallel: parallel}
	if opt.MinEffect == 0 {
		opt.MinEffect = -1
	}
	res := compare.Compare(sides[0].samples, sides[1].samples, opt)
	res.Before.Window, res.After.Window = sides[0].window, sides[1].window
	res.Warnings = append(res.Warnings, x.staleDoubts(sides)...)
	for i, s := range sides {
		for _, name := range s.whole {
			res.Warnings = append(res.Warnings, compare.Doubt{Code: "no-mark", Text: fmt.Sprintf("%s: the capture has no mark %s, so it was taken whole",
				[]string{"before", "after"}[i], name)})
		}
		for _, w := range s.reader.Info().Warnings {
			res.Warnings = append(res.Warnings, compare.Doubt{Code: "capture", Text: []string{"before: ", "after: "}[i] + w})
		}
		if x.mark != "" {
			break
		}
	}
	if x.mark == "" && sameDir(sides[0].dir, sides[1].dir) {
		res.Warnings = append(res.Warnings, compare.Doubt{Code: "same-capture", Text: "both sides are the same capture"})
	}
	return res, nil
}

// status is the exit code: 11 where nothing at all could be decided, 10 with --fail-on-worse where something is worse.
func (x *comparison) status(res *compare.Result) error {
	if x.failOnWorse && (res.Verdict == compare.Worse || res.Verdict == compare.Mixed) {
		var worse []string
		for _, list := range [][]compare.Row{res.Totals, res.Routes} {
			for _, r := range list {
				if r.Verdict == compare.Worse && len(worse) < maxWorse {
					worse = append(worse, fmt.Sprintf("%s of %s %.4g → %.4g", r.Metric, r.Route, *r.Before, *r.After))
				}
			}
		}
		return &fault.Error{What: "worse than before", Cause: errors.New(strings.Join(worse, "; ")), Expected: "nothing worse (--fail-on-worse)",
			Retry: fault.RetryUseless, Code: fault.ExitCheck}
	}
	if res.Verdict == compare.TooFew {
		return &fault.Error{What: "nothing can be decided", Cause: errors.New("no figure of any route has enough requests on both sides"),
			Expected: "10 requests of a route on each side for a median, 100 for a p95, 500 for a p99", Retry: fault.RetrySafe,
			Try: "record for longer, or send more traffic", Code: fault.ExitTooFew}
	}
	return nil
}

// The figures that the message of --fail-on-worse names; the report has them all.
const maxWorse = 5

// comparedSide is one side while it is read.
type comparedSide struct {
	dir     string
	window  string   // in words
	whole   []string // names of marks that this capture does not have
	reader  *capture.Reader
	samples *compare.Samples

	from, to int64           // bounds of time, Unix nanoseconds, zero for none
	detector *stale.Detector // nil where stale reads are not looked for
	judged   *float64        // share of the hits whose staleness could be judged, nil without any
}

// Values of --stale.
const (
	staleAuto   = "auto"
	staleAlways = "always"
	staleNever  = "never"
)

const (
	// staleEvents is up to how many events of both sides together auto looks for stale reads: finding them takes several times
	// as long as everything else.
	staleEvents = 2_000_000
	// compareMemory is where the garbage collector begins to work harder, and staleMemory the same where stale reads are
	// found: two detectors hold more than compareMemory, so that the collector would do nothing else.
	compareMemory = 240 << 20
	staleMemory   = 600 << 20
	// judgedLeast is the share of judged hits under which the count of stale reads is doubtful.
	judgedLeast = 0.5
)

func (x *comparison) findsStale(sides [2]comparedSide) bool {
	return x.stale == staleAlways || x.stale == staleAuto && sides[0].reader.Info().Events+sides[1].reader.Info().Events <= staleEvents
}

// staleDoubts says how far the numbers of stale reads can be relied on.
func (x *comparison) staleDoubts(sides [2]comparedSide) (list []compare.Doubt) {
	doubt := func(format string, args ...any) {
		list = append(list, compare.Doubt{Code: "stale-reads", Text: fmt.Sprintf(format, args...)})
	}
	if x.stale == staleAuto && sides[0].detector == nil {
		doubt("stale reads were not looked for, since the captures are large; --stale always does")
	}
	for i, s := range sides {
		name := []string{"before", "after"}[i]
		switch {
		case s.detector == nil:
		case s.judged == nil || *s.judged == 0:
			doubt("%s: of no cache hit could it be judged whether it was stale", name)
		case *s.judged < judgedLeast:
			doubt("%s: only %.0f%% of the cache hits could be judged; stale reads are too low", name, *s.judged*100)
		}
	}
	return list
}

// sides opens what is to be compared and finds the bounds that marks give.
func (x *comparison) sides(ctx context.Context, args []string) (sides [2]comparedSide, err error) {
	if x.mark != "" {
		return x.aroundMark(ctx, args)
	}
	found := map[string]bool{}
	var missing error
	for i, dir := range args {
		s := &sides[i]
		s.dir = dir
		if s.reader, err = capture.Open(dir); err != nil {
			return sides, err
		}
		var opt compare.SampleOptions
		var words []string
		for _, m := range []struct {
			name, word string
			at         *int64
		}{{x.since, "since", &opt.From}, {x.until, "until", &opt.To}} {
			if m.name == "" {
				continue
			}
			switch at, err := markTime(ctx, s.reader, dir, m.name); {
			case err == nil:
				*m.at, found[m.name] = at, true
				words = append(words, m.word+" "+m.name)
			case ctx.Err() != nil:
				return sides, err
			default: // the other capture may have it
				missing = err
				s.whole = append(s.whole, m.name)
			}
		}
		s.window = strings.Join(words, ", ")
		s.samples, s.from, s.to = compare.New(opt), opt.From, opt.To
	}
	for _, name := range []string{x.since, x.until} {
		if name != "" && !found[name] {
			return sides, compareMark(missing)
		}
	}
	return sides, nil
}

// aroundMark are the two sides of the last mark of a name; the side before begins at the mark of that name before it.
func (x *comparison) aroundMark(ctx context.Context, args []string) (sides [2]comparedSide, err error) {
	dir, err := captureArg(args)
	if err != nil {
		return sides, err
	}
	r, err := capture.Open(dir)
	if err != nil {
		return sides, err
	}
	at, err := markTime(ctx, r, dir, x.mark)
	if err != nil {
		return sides, compareMark(err)
	}
	previous := int64(0)
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return sides, err
		}
		for i := range batch {
			if m := batch[i].Mark; batch[i].Type == event.TypeMark && m != nil && m.Name == x.mark && batch[i].At < at {
				previous = max(previous, batch[i].At)
			}
		}
	}
	sides[0] = comparedSide{dir: dir, window: "before " + x.mark, reader: r, from: previous, to: at,
		samples: compare.New(compare.SampleOptions{From: previous, To: at})}
	if previous != 0 {
		sides[0].window = "between the last two marks " + x.mark
	}
	sides[1] = comparedSide{dir: dir, window: "since " + x.mark, reader: r, from: at, samples: compare.New(compare.SampleOptions{From: at})}
	return sides, nil
}

// compareMark words the error of a mark that is not there for this command.
func compareMark(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		f.What = strings.Replace(f.What, "cannot report since", "cannot compare at the mark", 1)
		f.Try = strings.Replace(f.Try, "demarc report --since", "demarc compare --mark", 1)
	}
	return err
}

// readSides reads both sides at the same time.
func readSides(ctx context.Context, stderr io.Writer, sides *[2]comparedSide) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bar := counting(stderr, sides[0].reader.Info().Events+sides[1].reader.Info().Events)
	bar.Describe("reading")
	var done sync.WaitGroup
	var errs [2]error
	for i := range sides {
		done.Go(func() {
			if errs[i] = sides[i].read(ctx, bar); errs[i] != nil {
				cancel()
			}
		})
	}
	done.Wait()
	_ = bar.Finish()
	for i, err := range errs {
		if err != nil && (!errors.Is(err, context.Canceled) || errs[1-i] == nil) {
			return err
		}
	}
	return nil
}

func (s *comparedSide) read(ctx context.Context, bar *progressbar.ProgressBar) error {
	batches := s.reader.BatchesOf(compare.Needs())
	if s.detector != nil { // which looks at everything
		batches = s.reader.Batches()
	}
	for batch, err := range batches {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if err := s.samples.Add(batch); err != nil {
			return err
		}
		n := len(batch)
		if s.detector != nil {
			if s.to != 0 {
				batch = slices.DeleteFunc(batch, func(e event.Event) bool { return e.At >= s.to })
			}
			if err := s.detector.Add(batch); err != nil {
				return err
			}
		}
		_ = bar.Add(n)
	}
	if s.detector == nil {
		return nil
	}
	s.detector.Finish()
	rep := s.detector.Report()
	if s.judged = rep.Coverage.HitsJudged; s.judged == nil || *s.judged == 0 {
		return nil
	}
	byRoute := map[string]int64{}
	for _, r := range rep.Routes {
		byRoute[r.Route] = r.StaleReads
	}
	s.samples.AddStale(byRoute)
	s.samples.AddLeaks(rep.LeakReads())
	return nil
}

// knownRoutes refuses a --route that neither side has.
func (x *comparison) knownRoutes(sides [2]comparedSide) error {
	if len(x.routes) == 0 {
		return nil
	}
	names := sides[0].samples.RouteNames()
	for _, n := range sides[1].samples.RouteNames() {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, want := range x.routes {
		if !slices.ContainsFunc(names, func(n string) bool {
			_, path, _ := strings.Cut(n, " ")
			return n == want || path == want
		}) {
			listed := names[:min(len(names), maxMarkNames)]
			if len(listed) == 0 {
				return &fault.Error{What: fmt.Sprintf("no requests of the route %q", want), Cause: errors.New("neither side has any request"),
					Expected: "captures of a service that was asked something", Retry: fault.RetryUseless, Code: fault.ExitUsage}
			}
			return &fault.Error{What: fmt.Sprintf("no requests of the route %q", want), Cause: errors.New("neither side has any"),
				Expected: "one of: " + strings.Join(listed, ", "), Retry: fault.RetryUseless, Try: "demarc compare BEFORE AFTER --route '" + listed[0] + "'", Code: fault.ExitUsage}
		}
	}
	return nil
}

func sameDir(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
