package baseline

// Schema names the JSON form of Report; docs/json.md describes it. Members are added under the same version, none is
// renamed or removed.
const Schema = "demarc.report/1"

// Report is what the events said. Times are milliseconds, shares and rates of one kind to another fractions of 1, and
// Rate is requests a second. A nil pointer (null in JSON) is "not known", never zero. Lists are never nil.
type Report struct {
	Schema   string    `json:"schema"`
	Window   Window    `json:"window"`
	Coverage Coverage  `json:"coverage"`
	Totals   Totals    `json:"totals"`
	Routes   []Route   `json:"routes"` // HTTP, by total time, greatest first
	Jobs     []Route   `json:"jobs"`   // background jobs, the same
	Stores   []Store   `json:"stores"` // caches, over requests, jobs and everything outside
	Marks    []Mark    `json:"marks"`
	Warnings []Warning `json:"warnings"`
}

// Window is the time between the start of the first request and the end of the last.
type Window struct {
	From    string  `json:"from"` // RFC 3339, UTC; "" where there was no request
	To      string  `json:"to"`
	Seconds float64 `json:"seconds"`
	Since   string  `json:"since,omitempty"` // the mark that the report begins at
}

// Mark is a point in time that someone named.
type Mark struct {
	Name string `json:"name"`
	At   string `json:"at"` // RFC 3339, UTC
	Text string `json:"text,omitempty"`
	ns   int64
}

// Warning is a doubt about the figures: Code is stable, Text is for people.
type Warning struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Coverage says what the figures rest on.
type Coverage struct {
	Events           int64            `json:"events"`
	EventsByType     map[string]int64 `json:"events_by_type"`
	EventsBefore     int64            `json:"events_before_since"`
	Dropped          int64            `json:"dropped"`     // by recorders, since the mark or the start
	Sampled          int64            `json:"sampled"`     // left out by sampling
	SampleRate       *float64         `json:"sample_rate"` // the least share of keys that a recorder kept
	QueriesJoined    *float64         `json:"queries_joined"`
	QueriesUnjoined  int64            `json:"queries_unjoined"` // outside requests, or of a request that was not seen
	CacheJoined      *float64         `json:"cache_joined"`
	CutItems         int64            `json:"cut_items"`      // events left out of one over-long trace
	EarlyJoins       int64            `json:"early_joins"`    // traces joined before JoinAge for want of room
	OpenTraces       int              `json:"open_traces"`    // traces whose request has not been seen yet
	RelativeError    float64          `json:"relative_error"` // of percentiles and medians
	CostNsPerEvent   *float64         `json:"cost_ns_per_event"`
	CostNs           *int64           `json:"cost_ns"`            // of the recorders' own threads in all, their waking while nothing happened included
	CostSeconds      float64          `json:"cost_seconds"`       // over which they took it, of all processes together
	StampedeKeyShare float64          `json:"stampede_key_share"` // share of keys looked at for stampedes
	Limits           []string         `json:"limits_reached"`     // which of "routes", "statements", "names", "processes"
	Hooks            []Hook           `json:"hooks"`
	MissingEvidence  []Gap            `json:"missing_evidence"` // the gravest first; filled by whoever looked for it
	ProcessCount     int              `json:"process_count"`
	Processes        []Process        `json:"processes"` // at most 50, most events first

	costEvents int64 // that CostNs was taken for
}

// idleBelow is the number of events a second and process below which a recorder's thread takes more for waking than for events:
// it takes some 0.5 ms a second for that, as long as for a hundred events.
const idleBelow = 100

// MostlyIdle says that what the recorders' threads took was for the most part not for events, so that the figure by event tells
// nothing of what an event takes.
func (c *Coverage) MostlyIdle() bool {
	return c.CostNs != nil && float64(c.costEvents) < idleBelow*c.CostSeconds
}

// Gap is something that the events seen do not tell.
type Gap struct {
	// ID names the gap for programs; it stays the same between versions.
	ID string `json:"id"`
	// Question is what cannot be answered, or not fully, without it.
	Question string `json:"question"`
	// Missing is what the events lack, in the words of docs/events.md.
	Missing string `json:"missing"`
	// Of says on how many events of Total it was looked for and not found.
	Of    int64 `json:"of"`
	Total int64 `json:"total"`
	// Remedy is what to do.
	Remedy string `json:"remedy"`
}

// Hook is one hook of the recorder: its state by number of processes, and the failures it caught.
type Hook struct {
	Name     string           `json:"name"`
	States   map[string]int64 `json:"states"`
	Failures int64            `json:"failures"`
}

// Process is one process of the service.
type Process struct {
	Service     string `json:"service"`
	Version     string `json:"version"`
	VersionFrom string `json:"version_from"`
	Host        string `json:"host"`
	Pid         int64  `json:"pid"`
	Runtime     string `json:"runtime"`
	Events      int64  `json:"events"`
	Dropped     int64  `json:"dropped"`
}

// Totals are sums over all HTTP routes, except where they say all.
type Totals struct {
	Requests          int64    `json:"requests"`
	Rate              *float64 `json:"rate"`
	Errors            int64    `json:"errors"`
	ErrorRate         *float64 `json:"error_rate"`
	TotalMs           float64  `json:"total_ms"`
	P50Ms             *float64 `json:"p50_ms"`
	P95Ms             *float64 `json:"p95_ms"`
	P99Ms             *float64 `json:"p99_ms"`
	Jobs              int64    `json:"jobs"`
	Queries           int64    `json:"queries"`      // all
	QueryErrors       int64    `json:"query_errors"` // all
	QueriesPerRequest *float64 `json:"queries_per_request"`
	DBTimeShare       *float64 `json:"db_time_share"`
	CacheHits         int64    `json:"cache_hits"` // all
	CacheMisses       int64    `json:"cache_misses"`
	HitRatio          *float64 `json:"hit_ratio"`
	MissesPerRequest  *float64 `json:"misses_per_request"`
}

// Route is one HTTP route ("GET /articles/{slug}") or one job (its name).
type Route struct {
	Route                      string      `json:"route"`
	Requests                   int64       `json:"requests"`
	Rate                       *float64    `json:"rate"`
	Errors                     int64       `json:"errors"` // status 500 or more, or an exception
	ErrorRate                  float64     `json:"error_rate"`
	P50Ms                      *float64    `json:"p50_ms"` // to the end of the response
	P95Ms                      *float64    `json:"p95_ms"`
	P99Ms                      *float64    `json:"p99_ms"`
	MaxMs                      *float64    `json:"max_ms"`
	MeanMs                     *float64    `json:"mean_ms"`
	TotalMs                    float64     `json:"total_ms"`
	TimeShare                  *float64    `json:"time_share"`        // of the time of all routes (or jobs)
	FirstByteP50Ms             *float64    `json:"first_byte_p50_ms"` // null where not recorded
	FirstByteP95Ms             *float64    `json:"first_byte_p95_ms"`
	TooFewFor                  []string    `json:"too_few_for"` // which of p95_ms and p99_ms rest on too few requests
	QueriesPerRequest          float64     `json:"queries_per_request"`
	DuplicateQueriesPerRequest float64     `json:"duplicate_queries_per_request"`
	DBTimeShare                *float64    `json:"db_time_share"` // of the request's time, waiting for at least one statement
	BytesP50                   *float64    `json:"bytes_p50"`
	ExampleTarget              string      `json:"example_target"` // the slowest request that was no error
	ExampleErrorTarget         string      `json:"example_error_target,omitempty"`
	Status                     StatusCount `json:"status"`
	Disconnected               int64       `json:"disconnected"`
	Latency                    []Bucket    `json:"latency"`
	NPlusOne                   []NPlusOne  `json:"n_plus_one"`
	SlowQueries                []SlowQuery `json:"slow_queries"` // by total time, greatest first
	ErrorTypes                 []ErrorType `json:"error_types"`
	Cache                      Cache       `json:"cache"`
}

// StatusCount counts responses by the first digit of their status.
type StatusCount struct {
	C1xx    int64 `json:"1xx"`
	C2xx    int64 `json:"2xx"`
	C3xx    int64 `json:"3xx"`
	C4xx    int64 `json:"4xx"`
	C5xx    int64 `json:"5xx"`
	Unknown int64 `json:"unknown"`
}

// Bucket counts requests that took at most LeMs and more than the bucket before; LeMs is null in the last.
type Bucket struct {
	LeMs  *float64 `json:"le_ms"`
	Count int64    `json:"count"`
}

// NPlusOne is a statement that ran again and again within single requests.
type NPlusOne struct {
	Fingerprint    string   `json:"fingerprint"`
	Code           string   `json:"code"`
	Requests       int64    `json:"requests"` // in which it did
	Share          float64  `json:"share"`    // of the route's requests
	MedianCount    float64  `json:"median_count"`
	MaxCount       int64    `json:"max_count"`
	SameParameters *float64 `json:"same_parameters"` // share of the repeats with parameters already asked with
	TotalMs        float64  `json:"total_ms"`
}

// SlowQuery is one statement of a route. Count includes background work of its requests.
type SlowQuery struct {
	Fingerprint string   `json:"fingerprint"`
	Count       int64    `json:"count"`
	P50Ms       *float64 `json:"p50_ms"`
	P95Ms       *float64 `json:"p95_ms"`
	TotalMs     float64  `json:"total_ms"`
	Errors      int64    `json:"errors"`
	Code        string   `json:"code"`
}

// ErrorType is an exception with its code line, or "HTTP 503" where no exception was seen.
type ErrorType struct {
	Type  string `json:"type"`
	Code  string `json:"code"`
	Count int64  `json:"count"`
}

// Cache is a route's cache status.
type Cache struct {
	Hits             int64     `json:"hits"`
	Misses           int64     `json:"misses"`
	HitRatio         *float64  `json:"hit_ratio"`
	MissesPerRequest float64   `json:"misses_per_request"`
	ByStore          []Store   `json:"by_store"`
	Stampedes        Stampedes `json:"stampedes"`
	HTTP             HTTPCache `json:"http"`
}

// Store is one cache.
type Store struct {
	Layer            string   `json:"layer"` // local, shared, http
	Store            string   `json:"store"`
	Hits             int64    `json:"hits"`
	Misses           int64    `json:"misses"`
	Unknown          int64    `json:"unknown"` // gets whose outcome was not seen
	HitRatio         *float64 `json:"hit_ratio"`
	MissesPerRequest *float64 `json:"misses_per_request"` // null in the list over everything
	Sets             int64    `json:"sets"`
	Deletes          int64    `json:"deletes"`
	Errors           int64    `json:"errors"`
}

// Stampedes are computations of one cache entry by several requests at once.
type Stampedes struct {
	Count  int64 `json:"count"`  // that began in this route
	Wasted int64 `json:"wasted"` // computations of this route that another one was already making
	Worst  int64 `json:"worst"`  // most requests in one
}

// HTTPCache is what response headers said (Cache-Status, X-Cache, Age) and how many answers were 304.
type HTTPCache struct {
	Hits        int64 `json:"hits"`
	Misses      int64 `json:"misses"`
	NotModified int64 `json:"not_modified"`
	MaxAgeS     int64 `json:"max_age_s"`
}
