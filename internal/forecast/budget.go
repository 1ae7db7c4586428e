package forecast

import (
	"fmt"
	"slices"
)

// budget is that of a candidate.
func (l *log) budget(c *candidate) Budget {
	for name, b := range l.opt.Staleness {
		if name != "" && c.named(name) {
			return b
		}
	}
	return l.opt.Staleness[""]
}

// told says whether a point's hits are known well enough to be chosen. Drops keep entries right by what they rest on, a
// lifetime does not: where writes to it were observed, enough of the lifetime's hits must have been judged.
func (l *log) told(c *candidate, b Budget, p *Point) bool {
	judged := p.Hits - p.Unjudged
	if p.Invalidation != None || p.Unjudged == 0 || b.Age > 0 && p.TTL <= int64(b.Age) {
		return true
	}
	if judged >= min(p.Hits, enoughHits) && float64(judged) >= enoughTold*float64(p.Hits) {
		return true
	}
	return len(c.tables) > 0 && !slices.ContainsFunc(c.tables, func(t uint32) bool { return len(l.byTable[t]) > 0 })
}

// staleReason says why no point keeps the budget.
func (l *log) staleReason(c *candidate) string {
	var least *Point
	for i := range c.grid.Points {
		p := &c.grid.Points[i]
		if p.TTL < int64(l.opt.LeastTTL) {
			continue
		}
		if least == nil || p.Hits > 0 && (least.Hits == 0 || p.Stale-p.Overlapping < least.Stale-least.Overlapping) {
			least = p
		}
	}
	if b := l.budget(c); b.allows(least) {
		return fmt.Sprintf("cannot be judged: of %d hits %d have an answer that is known to be the origin's; record it once without the cache that stands there",
			least.Hits, least.Hits-least.Unjudged)
	}
	why := "every lifetime serves stale answers"
	if l.opt.LeastTTL > 0 {
		why = fmt.Sprintf("every lifetime of %s or more, which is what can be put there, serves stale answers", l.opt.LeastTTL)
	}
	if v, ok := c.cover.share(); ok {
		why += fmt.Sprintf(": observed writes explain %.0f %% of their changes", 100*v)
	}
	return fmt.Sprintf("%s (at best %d in %d hits)", why, least.Stale-least.Overlapping, least.Hits)
}
