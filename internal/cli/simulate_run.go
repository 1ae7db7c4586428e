package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/demarc-dev/demarc/internal/sim"
)

// simulation reads a trace once, counts the whole LRU curve while doing so, and keeps the requests (as numbers, in memory) only
// if other policies are to be replayed, as many of them at a time as there are processors. What does not fit into the memory is sampled: a file is
// read again for that; of a stream, which cannot be, a sample is kept beside from the beginning.
type simulation struct {
	cmd      *cobra.Command
	file     string
	format   string
	policies []sim.Definition
	sizes    []simulateSize
	ttl      time.Duration
	traceTTL bool    // lifetimes are those of the trace
	bytes    bool    // sizes are bytes
	costs    bool    // losses are wanted
	boundary string  // of a capture
	declared string  // file of boundaries
	exact    bool    // or nothing
	rate     float64 // share of the keys that is replayed
	reason   string  // why that is less than all
	memory   int64   // bytes
}

// groups is how many groups of keys the error bars of a sample are found by.
const groups = 8

func (s *simulation) run(ctx context.Context) (*sim.Result, error) {
	// The collector of garbage works harder when the bound comes near.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(s.memory - programMemory))
	for {
		l, again, err := s.load(ctx)
		switch {
		case err == nil:
			return s.result(ctx, l)
		case !errors.Is(err, errTooLarge):
			return nil, err
		case !again || s.rate < 1 || s.exact || s.weighs():
			return nil, s.tooLarge()
		}
		s.rate, s.reason = s.rate/sampleStep, s.needsMore()
		fmt.Fprintf(s.cmd.ErrOrStderr(), "%s does not fit into %d MB: reading again, as a sample\n", s.name(), s.memory/1_000_000)
		debug.FreeOSMemory() // of what was read so far
	}
}

// weighs says whether more than keys and times is needed.
func (s *simulation) weighs() bool { return s.bytes || s.traceTTL || s.costs || s.boundary != "" }

// weighted says whether a policy is replayed in its weighted form.
func (s *simulation) weighted(d sim.Definition) bool {
	return d.Weighted() && (s.bytes || s.traceTTL || s.ttl > 0)
}

// fromCurve says whether the curve of LRU is enough for a policy.
func (s *simulation) fromCurve(d sim.Definition) bool {
	return d.Name == "lru" && !s.weighted(d) && !s.costs
}

// needsTrace says whether anything but the LRU curve is wanted.
func (s *simulation) needsTrace() bool {
	return s.rate < 1 || slices.ContainsFunc(s.policies, func(d sim.Definition) bool { return !s.fromCurve(d) })
}

// name is the trace's, for people.
func (s *simulation) name() string {
	if s.file == "-" {
		return "standard input"
	}
	return s.file
}

func workers() int { return runtime.GOMAXPROCS(0) }

// result replays what is wanted and puts it together.
func (s *simulation) result(ctx context.Context, l *loaded) (*sim.Result, error) {
	replayed, requests := l.ids.Keys(), l.requests()
	curve := l.curve
	if s.rate < 1 {
		l.ids = nil // the memory is wanted for the curve
		var err error
		if curve, err = s.curveOf(ctx, l.trace); err != nil {
			return nil, err
		}
	}
	keys := int64(math.Round(float64(replayed) / s.rate))
	sizes := objects(s.sizes, keys)
	if s.bytes {
		sizes = objects(s.sizes, l.bytes)
	}
	r := &sim.Result{Schema: sim.Schema, Warnings: append([]string{}, l.warnings...),
		Trace: sim.TraceSummary{Requests: l.info.Requests, Keys: keys, Name: s.file, Format: l.info.Format, Key: l.key}}
	if s.boundary != "" {
		r.Trace.Name = s.boundary + " of " + s.file
	}
	if s.bytes {
		r.Unit, r.Trace.Bytes = "bytes", l.bytes
	}
	counts, losses, err := s.replay(ctx, curve, l.trace, scaled(sizes, s.rate), replayed)
	if err != nil {
		return nil, err
	}
	// Requests of a sample differ from its share of all by the luck with a few hot keys. Those hit whatever the size, so that the
	// misses are set against the share, not against what happened to be sampled.
	share := float64(l.info.Requests) * s.rate
	for i, def := range s.policies {
		c := sim.PolicyCurve{Policy: def.Name}
		for j, size := range sizes {
			ratio := min(float64(counts[i][j])/share, 1)
			p := sim.Point{Size: size, Misses: int64(math.Round(ratio * float64(l.info.Requests))), MissRatio: ratio}
			if l.costly && l.total.Cost > 0 {
				v := losses[i][j].Cost / l.total.Cost
				p.CostRatio = &v
			}
			if l.sized && l.total.Bytes > 0 {
				v := float64(losses[i][j].Bytes) / float64(l.total.Bytes)
				p.ByteRatio = &v
			}
			c.Points = append(c.Points, p)
		}
		r.Curves = append(r.Curves, c)
	}
	if s.rate < 1 {
		r.Sample = &sim.Sample{Rate: s.rate, Requests: requests, Keys: int64(replayed), Reason: s.reason}
		if err := s.bars(ctx, l, sizes, replayed, r); err != nil {
			return nil, err
		}
		if few := int64(math.Ceil(100 / s.rate)); sizes[0] < few {
			r.Warnings = append(r.Warnings, fmt.Sprintf("a sample says little of small caches: at less than %d objects of capacity, the caches replayed hold fewer than 100", few))
		}
	}
	for i := range r.Curves {
		r.Curves[i].Knee = sim.Knee(r.Curves[i].Points)
	}
	if s.ttl > 0 || s.traceTTL {
		var without []string
		for _, d := range s.policies {
			if !d.Weighted() && !d.Times {
				without = append(without, d.Name)
			}
		}
		if len(without) > 0 {
			r.Warnings = append(r.Warnings, "replayed without lifetimes: "+strings.Join(without, ", "))
		}
	}
	if slices.ContainsFunc(s.policies, func(d sim.Definition) bool { return d.Name == "redis-lru" }) && !l.info.Times {
		r.Warnings = append(r.Warnings, "redis-lru: the trace has no times; its clock is taken to tick with every request, real ones tick once a second")
	}
	return r, nil
}

// scaled returns the sizes of caches for a share of the keys.
func scaled(sizes []int64, rate float64) []int {
	out := make([]int, len(sizes))
	for i, size := range sizes {
		out[i] = max(int(math.Round(float64(size)*rate)), 1)
	}
	return out
}

// bars finds the 95 % intervals of a sample by leaving out one group of its keys after the other (jackknife).
func (s *simulation) bars(ctx context.Context, l *loaded, sizes []int64, keys int, r *sim.Result) error {
	const kept = float64(groups-1) / groups
	share := float64(l.info.Requests) * s.rate * kept
	var ratios [groups][][]float64
	for g := range groups {
		part := l.trace.Without(g, groups)
		curve, err := s.curveOf(ctx, part)
		if err != nil {
			return err
		}
		counts, _, err := s.replay(ctx, curve, part, scaled(sizes, s.rate*kept), keys)
		if err != nil {
			return err
		}
		for i := range counts {
			ratios[g] = append(ratios[g], nil)
			for _, misses := range counts[i] {
				ratios[g][i] = append(ratios[g][i], float64(misses)/share)
			}
		}
	}
	for i := range r.Curves {
		for j := range sizes {
			mean, spread := 0.0, 0.0
			for g := range groups {
				mean += ratios[g][i][j] / groups
			}
			for g := range groups {
				spread += (ratios[g][i][j] - mean) * (ratios[g][i][j] - mean)
			}
			const student = 2.365 // 97.5 % quantile, seven degrees of freedom
			bar := student * math.Sqrt(spread*kept)
			r.Curves[i].Points[j].Error = &bar
		}
	}
	return nil
}

// curveOf counts the LRU curve of a trace where it is wanted, else it is nil.
func (s *simulation) curveOf(ctx context.Context, tr *sim.Trace) (*sim.Curve, error) {
	if !slices.ContainsFunc(s.policies, s.fromCurve) {
		return nil, nil
	}
	bar := counting(s.cmd.ErrOrStderr(), int64(tr.Requests()))
	defer func() { _ = bar.Finish() }()
	c := sim.NewCurve(sim.NewInterner(simulateSeed()))
	for b := range tr.Blocks() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.AddBlock(b)
		_ = bar.Add(len(b.Keys))
	}
	return c, nil
}

// replay returns the misses by policy and size, and what they cost, where that is wanted.
func (s *simulation) replay(ctx context.Context, curve *sim.Curve, tr *sim.Trace, sizes []int, keys int) ([][]int64, [][]sim.Loss, error) {
	counts, losses := make([][]int64, len(s.policies)), make([][]sim.Loss, len(s.policies))
	type job struct{ policy, size int }
	var jobs []job
	for i, def := range s.policies {
		losses[i] = make([]sim.Loss, len(sizes))
		if s.fromCurve(def) {
			counts[i] = curve.Misses(sizes)
			continue
		}
		counts[i] = make([]int64, len(sizes))
		for j := range sizes {
			jobs = append(jobs, job{i, j})
		}
	}
	if len(jobs) == 0 {
		return counts, losses, nil
	}
	bar := counting(s.cmd.ErrOrStderr(), int64(len(jobs))*int64(tr.Requests()))
	defer func() { _ = bar.Finish() }()
	var wait sync.WaitGroup
	queue := make(chan job)
	for range min(workers(), len(jobs)) {
		wait.Go(func() {
			for j := range queue {
				def := s.policies[j.policy]
				opt, loss := sim.Options{TTL: int64(s.ttl)}, &losses[j.policy][j.size]
				var p sim.Policy
				if s.weighted(def) {
					p = def.NewWeighted(int64(sizes[j.size]), opt)
				} else { // more room than keys changes nothing
					p = def.New(min(sizes[j.size], 2*keys+100), opt)
				}
				for b := range tr.Blocks() {
					if ctx.Err() != nil {
						break
					}
					bytes := b.Sizes
					if !s.bytes { // objects are counted
						b.Sizes = nil
					}
					if s.costs {
						sim.AddWith(p, b, bytes, loss)
					} else {
						p.Add(b)
					}
					_ = bar.Add(len(b.Keys))
				}
				counts[j.policy][j.size] = p.Misses()
			}
		})
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	wait.Wait()
	return counts, losses, ctx.Err()
}

// counting returns a bar over requests, which only shows on a terminal.
func counting(stderr io.Writer, total int64) *progressbar.ProgressBar {
	f, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return progressbar.NewOptions64(total, progressbar.OptionSetVisibility(false))
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription("replaying"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(20))
}
