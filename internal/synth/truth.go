package synth

import (
	"cmp"
	"slices"
)

// TruthSchema names the JSON form of Truth; docs/json.md describes it.
const TruthSchema = "demarc.truth/1"

// Truth is what traffic holds, known from how it was made and from no analysis. Times are Unix nanoseconds.
type Truth struct {
	Schema    string     `json:"schema"`
	Seed      uint64     `json:"seed"`
	SHA256    string     `json:"sha256"` // of the events as JSON Lines, before any compression
	From      int64      `json:"from"`
	To        int64      `json:"to"` // end of the last event
	Totals    Totals     `json:"totals"`
	Findings  []Finding  `json:"findings"` // what `demarc stale` must find, leaks first, then by cause and family
	Lookalike []Looks    `json:"lookalikes"`
	Harmless  []Harmless `json:"harmless"` // what looks alike and is nothing
	Routes    []Route    `json:"routes"`   // of ordinary traffic, by name
}

// Totals are sums over everything.
type Totals struct {
	Events     int64 `json:"events"`
	Requests   int64 `json:"requests"`
	Writes     int64 `json:"writes"` // of ordinary traffic
	Queries    int64 `json:"queries"`
	Cache      int64 `json:"cache"` // operations
	Stories    int64 `json:"stories"`
	StaleReads int64 `json:"stale_reads"` // of all findings but leaks
	Leaks      int64 `json:"leaks"`       // findings
}

// Finding is one cause, writer and family of planted stale reads.
type Finding struct {
	Cause          string   `json:"cause"`
	Verdict        string   `json:"verdict"`
	Family         string   `json:"family"`
	Layer          string   `json:"layer"`
	Keys           []string `json:"keys"`
	StaleReads     int64    `json:"stale_reads"`      // of a leak: reads by another identity than that of who filled
	Entries        int64    `json:"entries"`          // stories
	MaxStalenessNs int64    `json:"max_staleness_ns"` // the greatest time from a commit to a stale read of it
	Writer         Writer   `json:"writer"`
}

// Writer is who made the change that the readers did not see; empty where there is none.
type Writer struct {
	Route string `json:"route,omitempty"`
	SQL   string `json:"sql,omitempty"`
	Table string `json:"table,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Looks is a planted look-alike.
type Looks struct {
	Cause  string `json:"cause"`
	Family string `json:"family"`
	Count  int64  `json:"count"` // as `demarc stale` counts: fills that overlapped, fills without a hit, old answers
}

// Harmless is a planted twin: nothing must be found in its family.
type Harmless struct {
	Twin   string `json:"twin"`
	Family string `json:"family"`
	Why    string `json:"why"`
	Count  int64  `json:"count"` // stories
}

// Route is one route of ordinary traffic.
type Route struct {
	Route    string `json:"route"` // "GET /articles/{id}"
	Requests int64  `json:"requests"`
	// Verdict is what `demarc choose` must say: cache or leave; "either" where it may say both.
	Verdict string `json:"verdict"`
	// Why it is to be left: sets-cookie, time-in-body, unseen-writer, no-store, fails, cheap, unsafe-method; of either:
	// standing-cache.
	Why     string   `json:"why,omitempty"`
	Key     []string `json:"key"`     // inputs that the answer depends on
	Ignored []string `json:"ignored"` // inputs that vary and change nothing
	On      []Drop   `json:"invalidate_on"`
	Keys    int64    `json:"keys"` // different ones asked for; 0 unless the verdict is cache
	Points  []Point  `json:"points"`
}

// Drop is a table whose writes change the answer, by row where the rows behind it are known.
type Drop struct {
	Table string `json:"table"`
	By    string `json:"by"`
}

// Point is what a cache with the right key would have done.
type Point struct {
	TTLMs        int64  `json:"ttl_ms"`
	Invalidation string `json:"invalidation"`
	Hits         int64  `json:"hits"`
	StaleServes  int64  `json:"stale_serves"`
}

// Truth returns the truth, which is whole when Next has returned no more events. sum is the hash of the events' lines.
func (t *Traffic) Truth(sum string) *Truth {
	out := &t.truth
	out.Schema, out.Seed, out.SHA256, out.From, out.To = TruthSchema, t.opt.Seed, sum, t.opt.Start, t.summary.to
	out.Totals = Totals{Events: t.summary.events, Requests: t.summary.requests, Writes: t.summary.writes, Queries: t.summary.queries,
		Cache: t.summary.cache, Stories: int64(len(t.plots))}
	out.Findings, out.Routes = []Finding{}, []Route{}
	for _, key := range t.tellOrder {
		f := *t.telling[key]
		slices.Sort(f.Keys)
		f.Keys = slices.Compact(f.Keys)
		out.Findings = append(out.Findings, f)
	}
	slices.SortFunc(out.Findings, func(a, b Finding) int {
		return cmp.Or(leakFirst(a.Cause)-leakFirst(b.Cause), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Family, b.Family))
	})
	for _, f := range out.Findings {
		if f.Cause == "vary" {
			out.Totals.Leaks++
		} else {
			out.Totals.StaleReads += f.StaleReads
		}
	}
	out.Lookalike = slices.Clone(t.looks)
	if out.Lookalike == nil {
		out.Lookalike = []Looks{}
	}
	out.Harmless = slices.Clone(t.harmless)
	if out.Harmless == nil {
		out.Harmless = []Harmless{}
	}
	for _, r := range t.routes {
		out.Routes = append(out.Routes, r.truth())
		if r.write != "" {
			out.Routes = append(out.Routes, Route{Route: r.method + " " + r.wpath, Requests: r.writes, Verdict: "leave", Why: "unsafe-method",
				Key: []string{}, Ignored: []string{}, On: []Drop{}, Points: []Point{}})
		}
	}
	slices.SortFunc(out.Routes, func(a, b Route) int { return cmp.Compare(a.Route, b.Route) })
	return out
}

func leakFirst(cause string) int {
	if cause == "vary" {
		return 0
	}
	return 1
}

// whyNot says why routes of a kind are not to be cached.
var whyNot = map[kind]string{
	kindCached: "standing-cache", kindLogin: "sets-cookie", kindClock: "time-in-body", kindReport: "unseen-writer", kindSecret: "no-store",
	kindFlaky: "fails", kindPing: "cheap",
}

func (r *route) truth() Route {
	out := Route{Route: "GET " + r.path, Requests: r.requests, Why: whyNot[r.kind], Verdict: "leave", Key: []string{}, Ignored: []string{},
		On: []Drop{}, Points: []Point{}}
	switch {
	case r.kind == kindCached:
		out.Verdict = "either"
		return out
	case !r.kind.worth():
		return out
	}
	out.Verdict = "cache"
	out.Keys, out.Points = r.watch.reused, r.watch.points()
	by := "row"
	out.Ignored = []string{"cookie.session", "header.user-agent", "principal", "query.fbclid", "query.utm_source"}
	switch r.kind {
	case kindItem:
		out.Key = []string{"path.id"}
	case kindOwn:
		out.Key, by = []string{"principal"}, "row"
		out.Ignored = []string{"cookie.session", "header.user-agent", "query.fbclid", "query.utm_source"}
	case kindList:
		out.Key, by = []string{"query.page"}, "table"
	case kindLocale:
		out.Key = []string{"header.accept-language", "path.id"}
	}
	out.On = []Drop{{r.table.name, by}}
	return out
}
