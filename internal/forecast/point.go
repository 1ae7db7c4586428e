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

// point chooses among the points that keep the budget: the preferred way to invalidate of those that are hit nearly as often as
// the best, and with it the shortest lifetime that does; at least leastDropped where it need not be shorter.
func (l *log) point(c *candidate) *Point {
	b := l.budget(c)
	keeps := func(p *Point) bool { return b.allows(p) && l.told(c, b, p) }
	var ways []Invalidation
	for _, v := range preferred {
		if v == None || len(c.tables) > 0 && (v != RowFenced || c.noRow == "" && len(c.byRow) > 0) {
			ways = append(ways, v)
		}
	}
	most := func(points []Point) (saved, hits int64) {
		saved = -1
		for i := range points {
			if p := &points[i]; keeps(p) {
				saved, hits = max(saved, p.SavedNs), max(hits, p.Hits)
			}
		}
		return saved, hits
	}
	var best int64
	for _, v := range ways {
		_, hits := most(c.grid.At(v))
		best = max(best, hits)
	}
	for _, v := range ways {
		points := c.grid.At(v)
		// Ways are compared by their hits: how long just those requests took that one of them saves more is chance.
		own, hits := most(points)
		if own < 0 || float64(hits) < nearWay*float64(best) {
			continue
		}
		right := v != None && !slices.ContainsFunc(points, func(p Point) bool { return !keeps(&p) })
		var first *Point
		for i := range points {
			p := &points[i]
			if !keeps(p) || float64(p.SavedNs) < near*float64(own) || p.Hits == 0 && own != 0 {
				continue
			}
			if !right || p.TTL >= leastDropped {
				return p
			}
			if first == nil {
				first = p
			}
		}
		if first != nil {
			return first
		}
	}
	return nil
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
	least := &c.grid.Points[0]
	for i := range c.grid.Points {
		p := &c.grid.Points[i]
		if p.Hits > 0 && (least.Hits == 0 || p.Stale-p.Overlapping < least.Stale-least.Overlapping) {
			least = p
		}
	}
	if b := l.budget(c); b.allows(least) {
		return fmt.Sprintf("cannot be judged: of %d hits %d have an answer that is known to be the origin's; record it once without the cache that stands there",
			least.Hits, least.Hits-least.Unjudged)
	}
	why := "every lifetime serves stale answers"
	if v, ok := c.cover.share(); ok {
		why += fmt.Sprintf(": observed writes explain %.0f %% of their changes", 100*v)
	}
	return fmt.Sprintf("%s (at best %d in %d hits)", why, least.Stale-least.Overlapping, least.Hits)
}
