package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/forecast"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/snippet"
)

func newChooseCommand() *cobra.Command {
	var asJSON, explain bool
	var output, since, memory, library, into string
	var only []string
	var ttls []string
	var levels, routes, staleness []string
	cmd := &cobra.Command{
		Use:     "choose [CAPTURE]",
		Short:   "Say which cache boundaries are worth it, by replaying the observed traffic",
		GroupID: groupMain,
		Args:    cobra.MaximumNArgs(1),
		Long: "Replays what a capture (the newest one under " + capture.Root + " where none is named) holds through caches that are not\n" +
			"there, and says where one is worth it: its key, lifetime, what drops it, what it saves and what it would have\n" +
			"served stale; and for every other candidate why not (docs/choose.md).",
		Example: "  demarc choose\n  demarc choose --explain\n  demarc choose -o boundaries.yaml\n" +
			"  demarc choose --staleness 'GET /tags=30s' --staleness 1% --memory 64MB\n  demarc choose --json | jq '.set'\n" +
			"  demarc choose --snippet cashews --boundary 'GET /tags' --into boundaries/",
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := forecast.Options{Levels: levels, Names: routes, Parallel: parallel}
			if err := chooseOptions(&opt, ttls, staleness, memory); err != nil {
				return usageError(cmd, err.Error())
			}
			if library != "" && !slices.Contains(snippet.Libraries(), library) {
				return usageError(cmd, fmt.Sprintf("there is no snippet %q, only %s", library, strings.Join(snippet.Libraries(), ", ")))
			}
			if library == "" && (into != "" || len(only) > 0) {
				return usageError(cmd, "--into and --boundary belong to --snippet")
			}
			opt.NoRow, opt.LeastTTL, opt.Hook = snippet.NoRow(library), snippet.LeastTTL(library), snippet.Hook(library)
			if library != "" && len(levels) == 0 { // a choice with others in it would foretell what is not put there
				opt.Levels = snippet.Levels(library)
				fmt.Fprintf(cmd.ErrOrStderr(), "choosing among %s, which is what a snippet puts there (--level for others)\n", levelsInWords(opt.Levels))
			}
			dir, err := captureArg(args)
			if err != nil {
				return named(cmd, err)
			}
			rep, err := readForecast(cmd, dir, since, opt)
			if err != nil {
				return named(cmd, err)
			}
			if len(rep.Unknown) > 0 {
				return named(cmd, &fault.Error{What: "nothing is known of " + strings.Join(rep.Unknown, ", "), Cause: errors.New("the capture has no boundary of that name"),
					Expected: "a boundary's name, or its route, as demarc choose lists them", Retry: fault.RetryUseless, Try: "demarc choose " + dir, Code: fault.ExitUsage})
			}
			out, talk := cmd.OutOrStdout(), cmd.ErrOrStderr()
			if len(args) == 0 && !asJSON {
				fmt.Fprintln(talk, "capture "+dir)
			}
			if library != "" {
				file := boundariesOf(rep, chooseCommandLine(dir, cmd))
				if err := writeSnippet(out, talk, file, library, only, into, asJSON, rep); err != nil {
					return named(cmd, err)
				}
			} else if asJSON {
				err = report.ChooseJSON(out, rep)
			} else {
				err = report.ChooseTerminal(out, rep, report.ChooseOptions{TerminalOptions: terminalOptions(out), Explain: explain})
			}
			if err != nil {
				return named(cmd, &fault.Error{What: "cannot write the choice", Cause: err, Expected: "space and permission to write", Retry: fault.RetrySafe})
			}
			if output == "" {
				return nil
			}
			file := boundariesOf(rep, chooseCommandLine(dir, cmd))
			if len(file.Boundaries) == 0 {
				return named(cmd, &fault.Error{What: "cannot write " + output, Cause: errors.New("no boundary is worth a cache"),
					Expected: "a capture in which at least one is", Retry: fault.RetryUseless, Try: "demarc choose " + dir})
			}
			if err := file.Write(output, "Where this service remembers instead of computing. Written by demarc choose; edit it as you like."); err != nil {
				return named(cmd, err)
			}
			fmt.Fprintln(talk, "wrote "+output)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (demarc.choose/1)")
	cmd.Flags().BoolVar(&explain, "explain", false, "answer, for each boundary, what is asked when a cache is chosen")
	cmd.Flags().StringVarP(&output, "output", "o", "", "also write the chosen boundaries into this `file` (boundaries.yaml)")
	cmd.Flags().StringSliceVar(&ttls, "ttl", nil, "lifetimes to replay beside the grid of 100 ms to 24 h: `10s,60s`")
	cmd.Flags().StringVar(&memory, "memory", "", "memory that the chosen caches may take together: `64MB`")
	cmd.Flags().StringArrayVar(&staleness, "staleness", nil, "how stale a boundary may serve: `ROUTE=60s` or ROUTE=1% (of the hits); without a route, all")
	cmd.Flags().StringSliceVar(&levels, "level", nil, "only these `levels`: response, function, query")
	cmd.Flags().StringArrayVar(&routes, "route", nil, "only this boundary, by name or `route`")
	cmd.Flags().StringVar(&library, "snippet", "", "instead print how to put the chosen boundaries there, and a pytest for them: `"+strings.Join(snippet.Libraries(), "|")+"`")
	cmd.Flags().StringVar(&into, "into", "", "with --snippet: write its files into this `folder` instead of printing them")
	cmd.Flags().StringArrayVar(&only, "boundary", nil, "with --snippet: only the boundary of this `name`")
	cmd.Flags().StringVar(&since, "since", "", "only what came after the last mark of this `name`")
	complete := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	for flag, list := range map[string][]string{
		"level": {forecast.LevelResponse, forecast.LevelFunction, forecast.LevelQuery}, "ttl": {"10s", "60s", "5m"}, "memory": {"64MB", "256MB", "1GB"},
		"snippet": snippet.Libraries(),
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete(list...)); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// parallel works on all processors.
func parallel(n int, work func(i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				work(i)
			}
		})
	}
	wait.Wait()
}

// maxChooseTTLs bounds the lifetimes that can be asked for.
const maxChooseTTLs = 100

func chooseOptions(opt *forecast.Options, ttls, staleness []string, memory string) error {
	if len(ttls) > maxChooseTTLs {
		return fmt.Errorf("%d lifetimes are given, at most %d are possible", len(ttls), maxChooseTTLs)
	}
	for _, text := range ttls {
		d, err := config.Age(strings.TrimSpace(text))
		if err != nil || d <= 0 {
			return fmt.Errorf("--ttl %q is not a lifetime such as 10s or 5m", text)
		}
		opt.TTLs = append(opt.TTLs, d)
	}
	for _, level := range opt.Levels {
		if level != forecast.LevelResponse && level != forecast.LevelFunction && level != forecast.LevelQuery {
			return fmt.Errorf("there is no level %q, only response, function and query", level)
		}
	}
	if memory != "" {
		n, err := config.Size(memory)
		if err != nil || n <= 0 {
			return fmt.Errorf("--memory %q is not a size such as 64MB", memory)
		}
		opt.CacheBytes = n
	}
	opt.Staleness = map[string]forecast.Budget{}
	for _, text := range staleness {
		name, value := "", text
		if i := strings.LastIndexByte(text, '='); i >= 0 {
			name, value = strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:])
		}
		var b forecast.Budget
		if share, ok := strings.CutSuffix(value, "%"); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
			if err != nil || !(v >= 0 && v <= 100) || math.IsNaN(v) {
				return fmt.Errorf("--staleness %q: %q is not a share of 0%% to 100%%", text, value)
			}
			b.Ratio = v / 100
		} else if value != "0" {
			d, err := config.Age(value)
			if err != nil || d < 0 {
				return fmt.Errorf("--staleness %q: %q is neither a time such as 60s nor a share such as 1%%", text, value)
			}
			b.Age = d
		}
		opt.Staleness[name] = b
	}
	return nil
}

// leastSample is the smallest share of the keys that is tried.
const leastSample = 1e-5

// readForecast replays a capture, from the last mark named since on, where that is not empty. One that does not fit into
// memory is read again: a share of its keys.
func readForecast(cmd *cobra.Command, dir, since string, opt forecast.Options) (*forecast.Report, error) {
	ctx, talk := cmd.Context(), cmd.ErrOrStderr()
	r, err := capture.Open(dir)
	if err != nil {
		return nil, err
	}
	if since != "" {
		if opt.Since, err = markTime(ctx, r, dir, since); err != nil {
			return nil, err
		}
		opt.SinceName = since
	}
	once := func() (*forecast.Report, error) {
		f := forecast.New(opt)
		if err := eachBatch(ctx, talk, r, f.Add); err != nil {
			return nil, err
		}
		bar := counting(talk, -1)
		bar.Describe("weighing")
		defer func() { _ = bar.Finish() }()
		f.Progress(func(done, of int) {
			bar.ChangeMax(of)
			_ = bar.Set(done)
		})
		return f.Report(), nil
	}
	rep, err := once()
	if err != nil {
		return nil, err
	}
	// A few keys can be most of the traffic: a share of them may still be too much.
	for first, rate := rep, rep.SampleRate(); rep.Evidence.Left > 0 && rate > leastSample; rate /= 2 {
		fmt.Fprintf(talk, "%d of %d events did not fit into memory: reading again, %.3g %% of the keys\n", rep.Evidence.Left, rep.Evidence.Events, 100*rate)
		opt.Sample = forecast.NewSample(first, rate)
		look := func(batch []event.Event) error { opt.Sample.Look(batch); return nil }
		if err := eachBatch(ctx, talk, r, look); err != nil {
			return nil, err
		}
		if rep, err = once(); err != nil {
			return nil, err
		}
	}
	for _, w := range r.Info().Warnings {
		rep.Warnings = append(rep.Warnings, forecast.Warning{Code: "capture", Text: w})
	}
	return rep, nil
}

func eachBatch(ctx context.Context, talk io.Writer, r *capture.Reader, do func([]event.Event) error) error {
	bar := counting(talk, r.Info().Events)
	bar.Describe("reading")
	defer func() { _ = bar.Finish() }()
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if err := do(batch); err != nil {
			return err
		}
		_ = bar.Add(len(batch))
	}
	return nil
}

// boundariesOf declares what a report says to cache.
func boundariesOf(rep *forecast.Report, command string) *boundary.File {
	file := &boundary.File{Version: boundary.Version}
	for i := range rep.Boundaries {
		b := &rep.Boundaries[i]
		if b.Verdict != forecast.Cache {
			continue
		}
		e := boundary.Boundary{
			Name: b.Name, Level: b.Level, Key: b.Key, TTL: boundary.TTL(time.Duration(*b.TTLMs) * time.Millisecond),
			Invalidation: b.How, Command: command, Comment: b.Reason,
			Expected: &boundary.Expected{
				HitRatio: b.Forecast.HitRatio, SavedMs: max(b.Forecast.SavedMs-b.Forecast.LookupMs, 0), SavedQueries: b.Forecast.SavedQueries,
				StaleServes: b.Forecast.StaleServes, Requests: b.Forecast.Requests,
			},
		}
		if slices.Contains(b.Notes, forecast.Unguarded) {
			e.Comment += "; but " + forecast.Unguarded
		}
		for _, d := range b.On {
			drop := boundary.Drop{Table: d.Table, By: d.By}
			for _, set := range d.Columns {
				drop.Columns = append(drop.Columns, strings.Join(set, ","))
			}
			e.InvalidateOn = append(e.InvalidateOn, drop)
		}
		file.Boundaries = append(file.Boundaries, e)
	}
	return file
}

// chooseCommandLine is how the same choice is made again.
func chooseCommandLine(dir string, cmd *cobra.Command) string {
	words := []string{"demarc", "choose", dir}
	for _, name := range []string{"ttl", "memory", "staleness", "level", "route", "since"} {
		f := cmd.Flags().Lookup(name)
		if !f.Changed {
			continue
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(interface{ GetSlice() []string }); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			words = append(words, "--"+name, quoted(v))
		}
	}
	return strings.Join(words, " ")
}

// quoted is a word as a shell wants it.
func quoted(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("-_./:,%@+="), r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
