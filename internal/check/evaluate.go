package check

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/fault"
)

// Verdict is what came of a check.
type Verdict string

// The verdicts. Undecided is not a pass: there is too little to tell.
const (
	Pass      Verdict = "pass"
	Fail      Verdict = "fail"
	Undecided Verdict = "undecided"
)

// Result is one check of one thing; a check of every route gives one for each. Nil pointers (null in JSON) are "not
// known" or "does not belong to this kind".
type Result struct {
	Check      string      `json:"check"` // as String writes it
	Kind       Kind        `json:"kind"`
	Name       string      `json:"name"` // "" where it has none
	Line       int         `json:"line"` // in the file, from 1; 0 where it stands in none
	Verdict    Verdict     `json:"verdict"`
	Reason     string      `json:"reason"` // for people; "" where value and bound say all
	Metric     string      `json:"metric"`
	Of         string      `json:"of"` // route or family; "" for the whole service
	Op         string      `json:"op"`
	Value      *float64    `json:"value"` // in Unit
	Bound      *float64    `json:"bound"`
	Baseline   *float64    `json:"baseline"` // of the baseline, where the bound is relative
	Unit       string      `json:"unit"`     // ms, share (a fraction of 1), 1/s, bytes, or "" for a plain number
	N          int64       `json:"n"`        // samples behind Value
	Needed     *int64      `json:"needed"`   // samples that would tell, where they are too few
	Interval   *[2]float64 `json:"interval"` // in which the true share lies with 95 % confidence
	Exit       *int        `json:"exit"`     // of a command
	DurationMS *int64      `json:"duration_ms"`
	Tail       string      `json:"tail"` // end of a command's output, or of what a health question heard
	Log        string      `json:"log"`  // file with a command's output
}

// Validate says which check names a route or family that neither the capture nor the baseline has, before anything is
// evaluated. op names the command for the error.
func (f Figures) Validate(op string, list []Check) error {
	if f.Report == nil {
		return nil // no check of a figure is among them
	}
	routes, families := f.names()
	for _, c := range list {
		var known []string
		var what string
		switch c.Scope {
		case Route:
			known, what = routes, "route"
		case Family:
			known, what = families, "key family"
		default:
			continue
		}
		if c.Kind != Figure || slices.Contains(known, c.Of) || c.Scope == Route && f.cut() {
			continue
		}
		e := &fault.Error{
			Op: op, What: "cannot decide the check " + c.where() + c.String(), Cause: fmt.Errorf("the capture has no %s %s", what, quote(c.Of)),
			Expected: "one that was seen", Retry: fault.RetryUseless, Code: fault.ExitUsage,
		}
		switch near := Near(c.Of, known, 3); {
		case len(known) == 0:
			e.Expected = "a capture in which a " + what + " was seen; this one has none"
		case len(near) > 0:
			e.Try = "did you mean " + strings.Join(quoteAll(near), " or ") + "?"
		default:
			e.Try = "one of " + strings.Join(quoteAll(known[:min(len(known), 8)]), ", ")
		}
		return e
	}
	return nil
}

func (c Check) where() string {
	if c.Line == 0 {
		return ""
	}
	return fmt.Sprintf("in line %d: ", c.Line)
}

func quoteAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quote(s)
	}
	return out
}

// Evaluate holds one check of a figure against the figures. A check of every route gives one result for each.
func (f Figures) Evaluate(c Check) ([]Result, error) {
	if c.Kind != Figure || f.Report == nil {
		return nil, errors.New("only checks of figures are evaluated against a capture")
	}
	if c.Scope != Every {
		return []Result{f.one(c, c.Of)}, nil
	}
	var list []Result
	for _, r := range f.Report.Routes {
		list = append(list, f.one(c, r.Route))
	}
	if len(list) == 0 {
		r := c.result("")
		r.Verdict, r.Reason = Undecided, noRequest
		list = append(list, r)
	}
	return list, nil
}

func (c Check) result(name string) Result {
	return Result{
		Check: c.String(), Kind: c.Kind, Name: c.Name, Line: c.Line, Metric: c.Metric, Of: name, Op: c.Op,
		Unit: metricNamed(c.Metric).unit.name,
	}
}

func (f Figures) one(c Check, name string) Result {
	r := c.result(name)
	m := metricNamed(c.Metric)
	r.Verdict = Undecided
	now := side{f.Report, f.Stale}.figure(c, name)
	r.N = now.n
	if now.known {
		r.Value = &now.value
	}
	bound := c.Bound.Value
	var before sample
	if c.Bound.Relative {
		if f.Baseline == nil {
			r.Reason = "there is no baseline to compare with: --baseline CAPTURE"
			return r
		}
		before = side{f.Baseline, f.BaselineStale}.figure(c, name)
		if !before.known {
			r.Reason = "in the baseline: " + before.why
			return r
		}
		r.Baseline = &before.value
		bound += c.Bound.Factor * before.value
	}
	r.Bound = &bound
	if !now.known {
		r.Reason = now.why
		return r
	}
	if m.quantile > 0 {
		need := neededFor(m.quantile)
		switch {
		case now.n < need:
			r.Needed, r.Reason = &need, fmt.Sprintf("too few samples: %d, %d are needed", now.n, need)
			return r
		case c.Bound.Relative && before.n < need:
			r.Needed, r.Reason = &need, fmt.Sprintf("too few samples in the baseline: %d, %d are needed", before.n, need)
			return r
		}
	}
	if m.binomial {
		f.share(&r, c, now, before, bound)
		return r
	}
	if c.Bound.Relative && leakMoved(f.Stale, f.BaselineStale, c, name) {
		r.Reason = "keys leaked in one of the two captures only, and of a key that leaks no stale reads are counted"
		return r
	}
	r.Verdict = Fail
	if holds(c.Op, now.value, bound) {
		r.Verdict = Pass
	} else if m.quantile > 0 && c.Bound.Relative && f.byChance(&r, before.value, bound) {
		return r
	}
	if m.quantile > 0 && math.Abs(now.value-bound) <= baseline.RelativeError*bound && now.value != bound {
		r.Reason = fmt.Sprintf("closer to the bound than percentiles are known (±%.1f %%)", baseline.RelativeError*100)
	}
	return r
}

// byChance says that a percentile is beyond a relative bound, but that its change may be chance: the limits of the change
// hold the bound, too. Equal traffic would fail every other time without it.
func (f Figures) byChance(r *Result, before, bound float64) bool {
	if f.Change == nil || before <= 0 {
		return false
	}
	lo, hi, ok := f.Change(r.Of, r.Metric)
	if asked := bound/before - 1; !ok || asked < lo || asked > hi {
		return false
	}
	r.Verdict = Undecided
	r.Reason = fmt.Sprintf("beyond the bound, but within chance: the change is between %+.1f %% and %+.1f %%; more samples are needed", lo*100, hi*100)
	return true
}

// share decides about a share. Against a number, the exact interval must lie on one side of it. Against the baseline, what
// meets the bound passes, and it fails only if the intervals of both sides say so: else the same traffic seen twice would
// fail every other time.
func (f Figures) share(r *Result, c Check, now, before sample, bound float64) {
	lo, hi := interval(float64(now.hits), float64(now.n))
	r.Interval = &[2]float64{lo, hi}
	meets := holds(c.Op, now.value, bound)
	verdict := func(ok bool) Verdict {
		if ok {
			return Pass
		}
		return Fail
	}
	// What is asked of the sample itself, not of what it stands for.
	if c.Op == "==" || c.Op == "!=" || c.Op == "<=" && bound <= 0 || c.Op == ">=" && bound >= 1 {
		r.Verdict = verdict(meets)
		return
	}
	if c.Bound.Relative {
		blo, bhi := interval(float64(before.hits), float64(before.n))
		least, most := c.Bound.Value+c.Bound.Factor*blo, c.Bound.Value+c.Bound.Factor*bhi
		switch {
		case meets:
			r.Verdict = Pass
		case lo > most || hi < least:
			r.Verdict = Fail
		default:
			r.Reason = fmt.Sprintf("beyond the bound, but within what chance gives with %d and %d samples", now.n, before.n)
		}
		return
	}
	if lo > bound || hi < bound || lo == bound && c.Op == ">=" || hi == bound && c.Op == "<=" {
		r.Verdict = verdict(meets)
		return
	}
	need := needed(now.hits, now.n, bound)
	r.Reason = fmt.Sprintf("too few samples: %d of %d, so it is between %s and %s", now.hits, now.n, metricNamed(c.Metric).unit.show(lo),
		metricNamed(c.Metric).unit.show(hi))
	if need > 0 {
		r.Needed = &need
		r.Reason += fmt.Sprintf("; about %s are needed", count(need))
	}
}

func holds(op string, v, bound float64) bool {
	near := math.Abs(v-bound) <= 1e-9*max(1, math.Abs(bound)) // what differs by the rounding of the arithmetic only is equal
	switch op {
	case "<":
		return v < bound && !near
	case "<=":
		return v <= bound || near
	case ">":
		return v > bound && !near
	case ">=":
		return v >= bound || near
	case "==":
		return near
	}
	return !near
}

// Undecided is the result of a check that could not be answered.
func (c Check) Undecided(why string) Result {
	r := c.result(c.Of)
	r.Verdict, r.Reason = Undecided, why
	return r
}
