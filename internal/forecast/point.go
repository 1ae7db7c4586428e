package forecast

import (
	"fmt"
	"slices"
	"strings"
	"time"
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

// shaky is a lifetime alone that keeps the budget as observed, and does not where requests come a little earlier or later, or by
// the chance alone that nobody asked while its entries were old.
type shaky struct {
	p       *Point
	spread  spread
	exposed float64 // entries that would have been kept beyond a change, where that is why
}

// point chooses the point, and replays it with other timing. Where nothing but a lifetime ends an entry, that no hit was stale may
// be due to the exact times of requests and writes alone; such a point is left for the next best. Drops and fences act at the
// commit, whenever that is.
func (l *log) point(c *candidate) *Point {
	b := l.budget(c)
	for {
		p := l.bestPoint(c, b)
		var keeps func(*Point) bool
		if p == nil {
			return nil
		} else if p.Invalidation == None {
			keeps = func(q *Point) bool { return b.Age > 0 && p.TTL <= int64(b.Age) || b.allows(q) }
		}
		if p.Invalidation == None && b == (Budget{}) {
			if n := exposed(c.keys, p.TTL); n >= 1 {
				c.shaky = append(c.shaky, shaky{p: p, exposed: n})
				continue
			}
		}
		s := jittered(c.keys, p, keeps)
		if !s.broke {
			c.spread = s
			return p
		}
		c.shaky = append(c.shaky, shaky{p: p, spread: s})
	}
}

// shook says whether a point was found to be shaky.
func (c *candidate) shook(p *Point) bool {
	return slices.ContainsFunc(c.shaky, func(s shaky) bool { return s.p == p })
}

// bestPoint chooses among the points that keep the budget: the preferred way to invalidate of those that are hit nearly as often as
// the best, and with it the shortest lifetime that does; at least leastDropped where it need not be shorter.
func (l *log) bestPoint(c *candidate, b Budget) *Point {
	keeps := func(p *Point) bool { return b.allows(p) && l.told(c, b, p) && !c.shook(p) }
	can := func(p *Point) bool { return p.TTL >= int64(l.opt.LeastTTL) && keeps(p) }
	var ways []Invalidation
	for _, v := range preferred {
		if v == None || len(c.tables) > 0 && (v != RowFenced || c.noRow == "" && len(c.byRow) > 0) {
			ways = append(ways, v)
		}
	}
	most := func(points []Point) (saved, hits int64) {
		saved = -1
		for i := range points {
			if p := &points[i]; can(p) {
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
			if !can(p) || float64(p.SavedNs) < near*float64(own) || p.Hits == 0 && own != 0 {
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
	if len(c.shaky) > 0 {
		s := &c.shaky[len(c.shaky)-1]
		return fmt.Sprintf("every lifetime serves stale answers, or does not by chance: %s", s)
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

// String tells what other timing does to a lifetime.
func (s *shaky) String() string {
	if s.exposed > 0 {
		return fmt.Sprintf("a lifetime of %s alone would keep about %.0f answers beyond a change, and that hardly anybody asked for them then is chance", time.Duration(s.p.TTL), s.exposed)
	}
	return fmt.Sprintf("a lifetime of %s alone has %d stale in %d hits as observed, and %d with other timing", time.Duration(s.p.TTL),
		s.p.Stale-s.p.Overlapping, s.p.Hits, s.spread.staleHigh)
}

// lost says, of a point that is hit hardly or never, that drops are why, and why it is not a lifetime alone: "" where drops are
// not, since hardly anything is asked for twice.
func (l *log) lost(c *candidate, p *Point) string {
	if p.Invalidation == None {
		return ""
	}
	b := l.budget(c)
	var best, most *Point // of lifetimes alone: the most hits within the budget, and of all
	for i := range c.grid.At(None) {
		q := &c.grid.At(None)[i]
		if most == nil || q.Hits > most.Hits {
			most = q
		}
		if b.allows(q) && (best == nil || q.Hits > best.Hits) {
			best = q
		}
	}
	if most.Hits == 0 || most.Hits < 2*p.Hits {
		return ""
	}
	var written []string
	for _, t := range c.tables {
		if len(l.byTable[t]) > 0 {
			written = append(written, l.names.text(t))
		}
	}
	slices.Sort(written)
	what := "entries before they are asked for again"
	if p.Hits == 0 {
		what = "every entry before it is asked for again"
	}
	text := fmt.Sprintf("writes to %s drop %s", strings.Join(written, ", "), what)
	switch {
	case best == nil || best.Hits < 2*p.Hits || best.Hits == 0:
		return text + fmt.Sprintf("; a lifetime alone serves stale answers (%s: %d in %d hits)", time.Duration(most.TTL), most.Stale-most.Overlapping, most.Hits)
	case c.shook(best):
		i := slices.IndexFunc(c.shaky, func(s shaky) bool { return s.p == best })
		return text + "; " + c.shaky[i].String()
	case !l.told(c, b, best):
		return text + fmt.Sprintf("; a lifetime alone (%s) would have %d hits, of which only %d could be judged", time.Duration(best.TTL), best.Hits, best.Hits-best.Unjudged)
	}
	return text
}
