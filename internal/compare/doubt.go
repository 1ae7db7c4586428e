package compare

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// doubtSides says what makes the two sides hard to compare as a whole, and which metrics cannot be compared at all.
func (c *comparer) doubtSides() {
	c.incomparable = map[string]string{}
	counted := []string{QueriesPerRequest, MissesPerRequest, HitRatio, StaleReads, LeakedReads}
	names := []string{"before", "after"}
	var rates [2]float64
	var hooks [2]map[string]string
	for i, s := range c.sides {
		var dropped int64
		dropped, _, rates[i], hooks[i] = s.recorders()
		switch {
		case s.requests == 0:
			c.doubt("empty", "", "%s: no request was seen", names[i])
		case s.requests < 100:
			c.doubt("few-requests", "", "%s: only %d requests", names[i], s.requests)
		}
		if share := float64(dropped) / float64(max(s.events+dropped, 1)); share > 0.001 {
			c.doubt("dropped", "", "%s: the recorder dropped %d events (%s): counts by request are too low", names[i], dropped, percent(share))
		}
		if _, ok := s.routes[routeKey{method: "*", route: OtherRoutes}]; ok {
			c.doubt("limit-routes", "", "%s: more than %d routes; the rest is one route here, and which ones it holds may differ between the sides", names[i], s.opt.MaxRoutes)
		}
		if s.join.evicted > 0 || s.join.cut > 0 {
			c.doubt("early-joins", "", "%s: %d traces were closed early and %d events left out for want of room: counts by request may be too low",
				names[i], s.join.evicted, s.join.cut)
		}
	}
	if rates[0] < 1 || rates[1] < 1 {
		if math.Abs(rates[0]-rates[1]) > 0.01*max(rates[0], rates[1]) {
			c.doubt("sample-rate", "", "the recorders kept different shares of the keys (%s before, %s after): queries, misses, hit ratio and stale reads cannot be compared",
				percent(rates[0]), percent(rates[1]))
			for _, m := range counted {
				c.incomparable[m] = "sample-rate"
			}
		} else {
			c.doubt("sampled", "", "the recorders kept %s of the keys on both sides: queries and misses by request are too low by as much", percent(rates[0]))
		}
	}
	var differ []string
	for _, name := range slices.Sorted(maps.Keys(hooks[0])) {
		if was, is := hooks[0][name], hooks[1][name]; is != "" && was != "" && was != is {
			differ = append(differ, name+" ("+was+" before, "+is+" after)")
		}
	}
	if len(differ) > 0 {
		c.doubt("hooks", "", "the recorders saw different things: hook %s; queries and cache figures may differ for that reason alone", strings.Join(differ, ", "))
	}
	if s := c.sides; s[0].seen.queries != s[1].seen.queries && s[0].requests > 0 && s[1].requests > 0 {
		c.doubt("queries-one-side", "", "only the side %s has queries: a hook may have been missing", map[bool]string{true: "before", false: "after"}[s[0].seen.queries])
	}
}

// leftOut lists the metrics that no row is about.
func (c *comparer) leftOut() {
	seen := map[string]bool{}
	for _, r := range c.out.Routes {
		seen[r.Metric] = true
	}
	known := c.sides[0].staleKnown && c.sides[1].staleKnown
	for _, m := range Metrics() {
		if !seen[m] && (m != LeakedReads || !known) { // no leak is an answer
			c.out.Unasked = append(c.out.Unasked, m)
		}
	}
}
