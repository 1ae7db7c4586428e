package check

import (
	"cmp"
	"slices"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// Figures are what checks of a capture are held against. Report is always there; the others may be nil.
type Figures struct {
	Report        *baseline.Report
	Stale         *Stale
	Baseline      *baseline.Report
	BaselineStale *Stale
	// Change gives the 95 % limits of the relative change (after/before - 1) of a percentile of a route, "" for all, from the
	// baseline to Report; false where they are not known.
	Change func(route, metric string) (lo, hi float64, ok bool)
}

// Stale are the figures of the analysis of stale reads.
type Stale struct {
	Judged   int64  // hits of which it could be told whether they were stale
	Why      string // why none could be, where Judged is 0
	Total    StaleCount
	Routes   map[string]StaleCount
	Families map[string]FamilyCount
	Leaks    map[string]map[string]int64 // leaked reads by route and family; stale_reads has none of them
}

// StaleCount counts reads that were stale, and answers that reached somebody they were not for.
type StaleCount struct{ StaleReads, Leaks int64 }

// FamilyCount are the figures of one family of cache keys.
type FamilyCount struct {
	StaleCount
	Hits, Misses int64
}

// sample is one figure of one side.
type sample struct {
	value float64
	known bool
	why   string // not known
	n     int64  // what it rests on
	hits  int64  // of n, for a share
}

func unknown(why string) sample { return sample{why: why} }

func some(v float64, n int64) sample { return sample{value: v, known: true, n: n} }

func maybe(v *float64, n int64, why string) sample {
	if v == nil {
		return unknown(why)
	}
	return some(*v, n)
}

func of(k, n int64, why string) sample {
	if n == 0 {
		return unknown(why)
	}
	return sample{value: float64(k) / float64(n), known: true, n: n, hits: k}
}

// side is the report and the stale reads of one capture.
type side struct {
	report *baseline.Report
	stale  *Stale
}

func (s side) route(name string) *baseline.Route {
	for _, list := range [][]baseline.Route{s.report.Routes, s.report.Jobs} {
		if i := slices.IndexFunc(list, func(r baseline.Route) bool { return r.Route == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// timed is the number of requests whose duration is known.
func timed(routes ...baseline.Route) int64 {
	var n int64
	for _, r := range routes {
		for _, b := range r.Latency {
			n += b.Count
		}
	}
	return n
}

const (
	noRequest = "no request was seen"
	noTime    = "no request with a duration was seen"
	noQuery   = "no query was seen in the whole capture: the service asks no database, or through a driver that is not hooked"
	noCache   = "no cache operation was seen in the whole capture"
	noLookup  = "no lookup was seen"
)

// figure returns a metric of one side.
func (s side) figure(c Check, name string) sample {
	m := metricNamed(c.Metric)
	if m.stale {
		return s.staleFigure(c, name)
	}
	if c.Scope == Family {
		if s.stale == nil {
			return unknown(noCache)
		}
		f := s.stale.Families[name]
		return of(f.Hits, f.Hits+f.Misses, noLookup)
	}
	if why := s.blind(c.Metric); why != "" {
		return unknown(why)
	}
	if c.Scope == Total {
		return s.total(c.Metric)
	}
	r := s.route(name)
	if r == nil || r.Requests == 0 {
		return unknown(noRequest)
	}
	n := timed(*r)
	switch c.Metric {
	case "p50_ms":
		return maybe(r.P50Ms, n, noTime)
	case "p95_ms":
		return maybe(r.P95Ms, n, noTime)
	case "p99_ms":
		return maybe(r.P99Ms, n, noTime)
	case "error_rate":
		return of(r.Errors, r.Requests, noRequest)
	case "rate":
		return maybe(r.Rate, r.Requests, "there is no length of time to speak of")
	case "requests":
		return some(float64(r.Requests), r.Requests)
	case "queries_per_request":
		return some(r.QueriesPerRequest, r.Requests)
	case "duplicate_queries_per_request":
		return some(r.DuplicateQueriesPerRequest, r.Requests)
	case "db_time_share":
		return maybe(r.DBTimeShare, n, noTime)
	case "bytes_p50":
		return maybe(r.BytesP50, r.Requests, "no size of an answer was recorded")
	case "misses_per_request":
		return some(r.Cache.MissesPerRequest, r.Requests)
	case "hit_ratio":
		return of(r.Cache.Hits, r.Cache.Hits+r.Cache.Misses, noLookup)
	}
	return unknown("the metric " + c.Metric + " is not known")
}

func (s side) total(metric string) sample {
	t := &s.report.Totals
	if t.Requests == 0 && metric != "hit_ratio" && metric != "requests" {
		return unknown(noRequest)
	}
	n := timed(s.report.Routes...)
	switch metric {
	case "p50_ms":
		return maybe(t.P50Ms, n, noTime)
	case "p95_ms":
		return maybe(t.P95Ms, n, noTime)
	case "p99_ms":
		return maybe(t.P99Ms, n, noTime)
	case "error_rate":
		return of(t.Errors, t.Requests, noRequest)
	case "rate":
		return maybe(t.Rate, t.Requests, "there is no length of time to speak of")
	case "requests":
		return some(float64(t.Requests), t.Requests)
	case "queries_per_request":
		return maybe(t.QueriesPerRequest, t.Requests, noRequest)
	case "duplicate_queries_per_request":
		var sum float64
		for _, r := range s.report.Routes {
			sum += r.DuplicateQueriesPerRequest * float64(r.Requests)
		}
		return some(sum/float64(t.Requests), t.Requests)
	case "db_time_share":
		return maybe(t.DBTimeShare, n, noTime)
	case "misses_per_request":
		return maybe(t.MissesPerRequest, t.Requests, noRequest)
	case "hit_ratio":
		return of(t.CacheHits, t.CacheHits+t.CacheMisses, noLookup)
	}
	return unknown("the metric " + metric + " is not known")
}

// blind says why a whole kind of event is missing, so that a count of zero tells nothing.
func (s side) blind(metric string) string {
	seen := s.report.Coverage.EventsByType
	switch metric {
	case "queries_per_request", "duplicate_queries_per_request", "db_time_share":
		if seen["query"] == 0 {
			return noQuery
		}
	case "misses_per_request", "hit_ratio":
		if seen["cache"] == 0 {
			return noCache
		}
	}
	return ""
}

func (s side) staleFigure(c Check, name string) sample {
	if s.stale == nil {
		return unknown("stale reads were not looked for")
	}
	var n StaleCount
	switch c.Scope {
	case Total:
		n = s.stale.Total
	case Family:
		n = s.stale.Families[name].StaleCount
	default:
		n = s.stale.Routes[name]
	}
	v := n.StaleReads
	if c.Metric == "leaks" {
		v = n.Leaks
	}
	if v == 0 && s.stale.Judged == 0 {
		return unknown(cmp.Or(s.stale.Why, "no hit could be judged"))
	}
	return some(float64(v), s.stale.Judged)
}

// cut says whether routes were put together because there were too many, so that one that is not found may be among
// them.
func (f Figures) cut() bool {
	return slices.Contains(f.Report.Coverage.Limits, "routes")
}

// names lists the routes and key families of both captures, in order.
func (f Figures) names() (routes, families []string) {
	for _, r := range []*baseline.Report{f.Report, f.Baseline} {
		if r == nil {
			continue
		}
		for _, x := range slices.Concat(r.Routes, r.Jobs) {
			routes = append(routes, x.Route)
		}
	}
	for _, s := range []*Stale{f.Stale, f.BaselineStale} {
		if s != nil {
			for name := range s.Families {
				families = append(families, name)
			}
		}
	}
	slices.Sort(routes)
	slices.Sort(families)
	return slices.Compact(routes), slices.Compact(families)
}
