package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/forecast"
	"github.com/demarc-dev/demarc/internal/sim"
	"github.com/demarc-dev/demarc/internal/trace"
)

// read hands the requests of the trace, or of a capture's boundary, to emit; again says whether that could be done another time.
func (s *simulation) read(ctx context.Context, l *loaded, opt trace.Options, emit func(trace.Batch) error) (again bool, err error) {
	if s.boundary != "" {
		return true, s.readBoundary(ctx, l, emit)
	}
	f, again, err := s.openTrace()
	if err != nil {
		return false, err
	}
	defer f.Close()
	bar := progress(s.cmd.ErrOrStderr(), []string{s.file})
	defer func() { _ = bar.Finish() }()
	l.info, err = trace.Read(ctx, io.TeeReader(f, bar), opt, emit)
	return again, err
}

// weigh puts in what the batch says beside keys and times, and adds it up.
func (s *simulation) weigh(l *loaded, to *sim.Block, b trace.Batch) error {
	lacks := ""
	switch {
	case s.bytes && b.Sizes == nil:
		lacks = "sizes, which a capacity in bytes needs"
	case s.traceTTL && b.TTL == nil:
		lacks = "lifetimes (a CSV with a column ttl has some)"
	case s.costs && b.Cost == nil && b.Sizes == nil:
		lacks = "costs and no sizes (a CSV with a column cost or size has some)"
	}
	if lacks != "" {
		return &fault.Error{What: "cannot simulate " + s.name(), Cause: errors.New("the trace has no " + lacks),
			Expected: `a CSV with the columns that are asked for, lines "time key size", or oracleGeneral`, Retry: fault.RetryUseless}
	}
	l.sized, l.costly = b.Sizes != nil && s.costs, b.Cost != nil && s.costs
	to.Sizes, to.Cost = b.Sizes, b.Cost
	if s.traceTTL {
		to.TTL = b.TTL
	}
	if b.Sizes != nil {
		l.last = slices.Grow(l.last, to.Known-len(l.last))[:to.Known]
		for i, key := range to.Keys {
			l.bytes += int64(b.Sizes[i]) - int64(l.last[key])
			l.last[key] = b.Sizes[i]
			l.total.Bytes += int64(b.Sizes[i])
		}
	}
	for _, v := range b.Cost {
		l.total.Cost += float64(v)
	}
	return nil
}

// boundaryBatch is how many requests of a boundary are handed on at a time.
const boundaryBatch = 32 << 10

// readBoundary hands on the requests of a boundary of a capture. The cost of a miss is the time that it took, in seconds; the events of the
// capture take at most half of the memory, with the report on them.
func (s *simulation) readBoundary(ctx context.Context, l *loaded, emit func(trace.Batch) error) error {
	var key []string
	if s.declared != "" {
		file, err := boundary.Load(s.cmd.CommandPath(), s.declared)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(file.Boundaries, func(b boundary.Boundary) bool { return b.Name == s.boundary })
		if at < 0 {
			return &fault.Error{What: "cannot take the key from " + s.declared, Cause: fmt.Errorf("it declares no boundary %q", s.boundary),
				Expected: "the name of one that it declares", Retry: fault.RetryUseless}
		}
		key = append([]string{}, file.Boundaries[at].Key...)
	}
	r, err := capture.Open(s.file)
	if err != nil {
		return err
	}
	f := forecast.New(forecast.Options{Names: []string{s.boundary}, Memory: (s.memory - baseMemory) / 3, Parallel: parallel})
	if err := eachBatch(ctx, s.cmd.ErrOrStderr(), r, f.Add); err != nil {
		return err
	}
	list := f.Traces(key)
	if len(list) != 1 {
		var names []string
		for _, t := range list {
			names = append(names, t.Name)
		}
		found := &fault.Error{What: "cannot simulate " + s.file, Cause: fmt.Errorf("it holds no boundary %q", s.boundary), Expected: "the name of a boundary",
			Retry: fault.RetryUseless, Try: "demarc choose " + s.file + ", which lists them"}
		if len(names) > 0 {
			found.Cause = fmt.Errorf("%q may mean %s", s.boundary, strings.Join(names, ", "))
		}
		return found
	}
	return s.emitBoundary(ctx, l, &list[0], emit)
}

func (s *simulation) emitBoundary(ctx context.Context, l *loaded, t *forecast.Trace, emit func(trace.Batch) error) error {
	l.key = t.Key
	warn := func(format string, args ...any) { l.warnings = append(l.warnings, fmt.Sprintf(format, args...)) }
	if s.declared == "" && !t.Found {
		warn("answers cannot be compared in this capture: every part of the address counts as key, and caches look worse than they may be")
	}
	if t.Never != "" {
		warn("never cache this: %s", t.Never)
	}
	if t.Left > 0 {
		warn("%d events did not fit into memory: the requests are the first ones", t.Left)
	}
	l.info = trace.Info{Format: "capture", Times: true}
	sizes := map[uint64]uint32{} // by key: the last that is known
	unknown := 0
	sized := slices.ContainsFunc(t.Requests, func(r forecast.Asked) bool { return r.Bytes > 0 })
	for part := range slices.Chunk(t.Requests, boundaryBatch) {
		var b trace.Batch
		for _, r := range part {
			b.Keys = append(b.Keys, r.Key)
			b.At = append(b.At, r.At)
			b.Cost = append(b.Cost, float32(float64(r.End-r.At)/1e9))
			if sized {
				if r.Bytes > 0 {
					sizes[r.Key] = uint32(min(r.Bytes, math.MaxUint32))
				} else {
					unknown++
				}
				b.Sizes = append(b.Sizes, sizes[r.Key])
			}
		}
		l.info.Requests += int64(len(part))
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := emit(b); err != nil {
			return err
		}
	}
	if unknown > 0 && s.weighs() {
		warn("of %d answers the size is not known: the last one of the same key is taken, and none where there is none", unknown)
	}
	return nil
}
