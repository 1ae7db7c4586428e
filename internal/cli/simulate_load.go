package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/sim"
	"github.com/demarc-dev/demarc/internal/trace"
)

// loaded is a trace in memory.
type loaded struct {
	info  trace.Info
	ids   *sim.Interner
	curve *sim.Curve // over ids; nil where it is not wanted, or of a sample
	trace *sim.Trace // nil where the curve is enough
	spare *spare     // nil where the trace can be read again, or is kept

	bytes    int64    // last sizes of all keys
	last     []uint32 // size by key
	total    sim.Loss // of all requests
	costly   bool     // costs are known and wanted
	sized    bool     // sizes are known and wanted
	key      []string // of a boundary
	warnings []string
}

// requests is how many are replayed.
func (l *loaded) requests() int64 {
	if l.curve != nil {
		return l.curve.Requests()
	}
	return int64(l.trace.Requests())
}

// spare is a sample that is kept beside exact counts, for when these outgrow the memory.
type spare struct {
	rate    float64
	ids     *sim.Interner
	trace   *sim.Trace
	keys    []uint64
	numbers []uint32
}

// spareRate is that of a spare at first.
const spareRate = 1.0 / 8

func (p *spare) add(keys []uint64) {
	p.keys, _ = sim.Sampled(append(p.keys[:0], keys...), nil, p.rate)
	p.numbers = slices.Grow(p.numbers[:0], len(p.keys))[:len(p.keys)]
	p.ids.Add(p.keys, p.numbers)
	p.trace.Add(sim.Block{Keys: p.numbers, Known: p.ids.Keys()})
}

func (p *spare) needs() int64 { return p.ids.Bytes() + p.ids.Growing() + p.trace.Bytes() }

// errTooLarge ends reading when the memory does not suffice.
var errTooLarge = errors.New("the trace needs more memory than --memory allows")

// sampleStep is by how much a sample shrinks when it does not fit.
const sampleStep = 2

func (s *simulation) needsMore() string {
	return fmt.Sprintf("the trace needs more than %d MB", s.memory/1_000_000)
}

// tooLarge is the refusal of a trace that does not fit and may not, or cannot, be sampled.
func (s *simulation) tooLarge() error {
	f := &fault.Error{What: "cannot simulate " + s.name(), Cause: errTooLarge, Expected: "a trace of which a sample fits",
		Retry: fault.RetryUseless, Try: fmt.Sprintf("more than --memory %d", s.memory/1_000_000)}
	switch {
	case s.weighs():
		f.Expected = "a trace that fits: sizes in bytes, lifetimes of the trace, costs and boundaries are not sampled"
	case s.exact:
		f.Expected = "a trace that fits, since --sample 1 asks for exact counts"
		f.Try += ", or leave out --sample"
	}
	return f
}

// load reads the trace, all of it or, from a rate below 1 on, as large a sample as fits. The error is errTooLarge where it takes another reading to
// have a sample, or none can be had; again says whether the trace can be read another time.
func (s *simulation) load(ctx context.Context) (l *loaded, again bool, err error) {
	l = &loaded{ids: sim.NewInterner(simulateSeed())}
	needs := func(what func(sim.Definition) bool) bool { return slices.ContainsFunc(s.policies, what) }
	live := func(d sim.Definition) bool { return d.Times || d.Weighted() && (s.ttl > 0 || s.traceTTL) }
	times := needs(func(d sim.Definition) bool { return live(d) || d.Name == "redis-lru" })
	if s.rate == 1 && needs(s.fromCurve) {
		l.curve = sim.NewCurve(l.ids)
	}
	if s.needsTrace() {
		l.trace = sim.NewTrace(needs(func(d sim.Definition) bool { return d.Next }))
	} else if s.streams() && !s.exact {
		l.spare = &spare{rate: spareRate, ids: sim.NewInterner(simulateSeed()), trace: sim.NewTrace(false)}
	}
	var numbers []uint32
	opt := trace.Options{Name: s.name(), Format: s.format, Times: needs(live), Weights: s.weighs(), Window: max(s.window(), 8<<20)}
	again, err = s.read(ctx, l, opt, func(b trace.Batch) error {
		if l.spare != nil {
			if err := s.keepSpare(l.spare, b.Keys); err != nil {
				return err
			}
		}
		keys, at := sim.Sampled(b.Keys, b.At, s.rate)
		for l.ids.Full(len(keys)) || l.requests()+int64(len(keys)) >= int64(sim.Never) {
			sampled := l.spare == nil // a spare has these requests already
			if err := s.shrink(l); err != nil {
				return err
			}
			if !sampled {
				return nil
			}
			keys, at = sim.Sampled(keys, at, s.rate)
		}
		numbers = slices.Grow(numbers[:0], len(keys))[:len(keys)]
		if l.curve != nil {
			l.curve.Add(keys, numbers)
		} else {
			l.ids.Add(keys, numbers)
		}
		block := sim.Block{Keys: numbers, Known: l.ids.Keys()}
		if times {
			block.At = at
		}
		if s.weighs() {
			if err := s.weigh(l, &block, b); err != nil {
				return err
			}
		}
		if l.trace != nil {
			l.trace.Add(block)
		}
		for s.needs(l) > s.memory {
			if err := s.shrink(l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, again, err
	}
	if l.requests() == 0 {
		return nil, false, &fault.Error{What: "cannot simulate " + s.name(), Cause: fmt.Errorf("of its %d requests the sample holds none", l.info.Requests),
			Expected: "a larger sample", Retry: fault.RetryUseless, Try: fmt.Sprintf("demarc simulate --sample %g", min(s.rate*10, 1))}
	}
	return l, again, nil
}

// simulateSeed is one that a trace cannot foresee.
func simulateSeed() uint64 { return maphash.Bytes(maphash.MakeSeed(), nil) }

// streams says whether what is read may come only once.
func (s *simulation) streams() bool {
	if s.boundary != "" {
		return false
	}
	st, err := os.Stat(s.file)
	return s.file == "-" || err == nil && !st.Mode().IsRegular()
}

// keepSpare adds requests to the spare, which takes up to a quarter of what the memory has room for.
func (s *simulation) keepSpare(p *spare, keys []uint64) error {
	p.add(keys)
	for p.needs() > (s.memory-baseMemory-int64(s.window()))/4 {
		if p.rate /= sampleStep; p.rate < smallestSimulated {
			return errTooLarge
		}
		p.ids, p.trace = sim.Thin(p.ids, p.trace, p.rate)
	}
	return nil
}

// shrink makes a smaller sample of what was read so far.
func (s *simulation) shrink(l *loaded) error {
	switch next := s.rate / sampleStep; {
	case s.weighs() || s.exact:
		return errTooLarge
	case l.spare != nil:
		l.ids, l.trace, l.curve, s.rate = l.spare.ids, l.spare.trace, nil, l.spare.rate
		l.spare = nil
	case l.trace == nil || next < smallestSimulated:
		return errTooLarge
	default:
		l.curve = nil
		l.ids, l.trace = sim.Thin(l.ids, l.trace, next)
		s.rate = next
	}
	s.reason = s.needsMore()
	fmt.Fprintf(s.cmd.ErrOrStderr(), "%s does not fit into %d MB: going on with a sample of %s%% of the keys\n", s.name(), s.memory/1_000_000,
		strconv.FormatFloat(s.rate*100, 'g', 3, 64))
	debug.FreeOSMemory() // of what is not in the sample
	return nil
}

// What is not the trace's: the program with its buffers, and within it what the Go runtime does not count.
const (
	baseMemory    = 32_000_000
	programMemory = 24_000_000
)

// window is how much of the memory is left to the window of a compressed stream.
func (s *simulation) window() int { return int(min(s.memory/8, 128<<20)) }

// needs is the memory, in bytes, that it takes at most until the largest table has grown once more, or to replay what was read. The curve of
// a sample is counted when it is replayed; and leaving groups of it out, for the error bars, takes its requests another time.
func (s *simulation) needs(l *loaded) int64 {
	tables, growing := l.ids.Bytes(), l.ids.Growing()
	if l.curve != nil {
		tables, growing = l.curve.Bytes(), l.curve.Growing()
	}
	if sizes := int64(cap(l.last)) * 4; sizes > 0 {
		tables, growing = tables+sizes, max(growing, 2*sizes)
	}
	if l.spare != nil {
		tables, growing = tables+l.spare.ids.Bytes()+l.spare.trace.Bytes(), growing+l.spare.ids.Growing()
	}
	reading, replaying, keys := tables+growing, tables, int64(l.ids.Keys())
	if l.trace != nil {
		reading += l.trace.Bytes()
		replaying += l.trace.Bytes()
		if s.rate < 1 {
			replaying = 2 * l.trace.Bytes()
			if slices.ContainsFunc(s.policies, s.fromCurve) {
				replaying += keys * sim.CurvePerKey
			}
		}
	}
	perKey := int64(0)
	for _, d := range s.policies {
		switch {
		case s.weighted(d):
			perKey = max(perKey, int64(d.WeightedPerKey()))
		case !s.fromCurve(d):
			perKey = max(perKey, int64(d.PerKey+d.PerEntry))
		}
	}
	replaying += keys * perKey * int64(workers())
	return baseMemory + int64(s.window()) + max(reading, replaying)
}
