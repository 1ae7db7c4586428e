package compare

import "math"

// correct corrects the p-values for their number and gives the verdicts.
func (c *comparer) correct() {
	var p []*float64
	lists := [][]Row{c.out.Routes, c.out.Totals}
	for _, list := range lists {
		for i := range list {
			if list[i].counted {
				p = append(p, list[i].P)
			}
		}
	}
	c.out.Tests = len(p)
	holm(p)
	for _, list := range lists {
		for i := range list {
			c.judge(&list[i])
		}
	}
	for _, r := range c.out.Routes {
		switch r.Verdict {
		case Better:
			c.out.Counts.Better++
		case Worse:
			c.out.Counts.Worse++
		case TooFew:
			c.out.Counts.TooFew++
		default:
			c.out.Counts.Nothing++
		}
	}
	better, worse, few, all := 0, 0, 0, 0
	for _, list := range lists {
		for _, r := range list {
			all++
			switch r.Verdict {
			case Better:
				better++
			case Worse:
				worse++
			case TooFew:
				few++
			}
		}
	}
	switch {
	case better > 0 && worse > 0:
		c.out.Verdict = Mixed
	case better > 0:
		c.out.Verdict = Better
	case worse > 0:
		c.out.Verdict = Worse
	case few == all:
		c.out.Verdict = TooFew
	default:
		c.out.Verdict = Nothing
	}
}

// judge claims a difference where the corrected p-value, the interval and the size of the change all say so.
func (c *comparer) judge(r *Row) {
	if r.P == nil || r.Change == nil || *r.P > 1-c.opt.Confidence || *r.Change == 0 {
		return
	}
	change := *r.Change
	if r.CI != nil {
		if lo, hi := r.CI[0], r.CI[1]; change > 0 && lo != nil && *lo <= 0 || change < 0 && hi != nil && *hi >= 0 {
			return
		}
	}
	if *r.Before > 0 && math.Abs(*r.After-*r.Before) < c.opt.MinEffect**r.Before {
		return
	}
	if (change > 0) == (r.Metric == HitRatio) {
		r.Verdict = Better
	} else {
		r.Verdict = Worse
	}
}
