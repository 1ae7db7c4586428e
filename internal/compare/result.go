package compare

// Schema names the JSON form of Result; docs/json.md describes it. Members are added under the same version, none is
// renamed or removed.
const Schema = "demarc.compare/1"

// Verdict says what can be claimed of one figure.
type Verdict string

// The verdicts. Nothing means that no difference can be claimed, which is not that there is none.
const (
	Better  Verdict = "better"
	Worse   Verdict = "worse"
	Nothing Verdict = "~"
	TooFew  Verdict = "too-few"
	Mixed   Verdict = "mixed" // of a whole comparison: some better, some worse
)

// Result is what changed between two sides. Times are milliseconds, shares fractions of 1. A nil pointer (null in JSON) is
// "not known", never zero. Lists are never nil.
type Result struct {
	Schema     string   `json:"schema"`
	Verdict    Verdict  `json:"verdict"` // of all rows together
	Before     Side     `json:"before"`
	After      Side     `json:"after"`
	Confidence float64  `json:"confidence"`
	MinEffect  float64  `json:"min_effect"` // least relative change that is called one
	Correction string   `json:"correction"` // "holm"
	Tests      int      `json:"tests"`      // how many p-values were corrected together
	Counts     Counts   `json:"counts"`
	Totals     []Row    `json:"totals"` // over the HTTP routes that both sides have
	Routes     []Row    `json:"routes"` // by route and metric; routes in the order of what they cost before
	New        []Only   `json:"new"`    // routes that only the side after has
	Gone       []Only   `json:"gone"`
	Warnings   []Doubt  `json:"warnings"`
	Unasked    []string `json:"left_out"` // metrics for which neither side has any evidence
}

// Side is one side's traffic.
type Side struct {
	Name       string   `json:"capture"`
	Window     string   `json:"window,omitempty"` // in words, where a mark bounds it
	From       string   `json:"from"`             // RFC 3339, UTC; "" without a request
	To         string   `json:"to"`
	Seconds    float64  `json:"seconds"`
	Requests   int64    `json:"requests"` // HTTP requests and jobs
	Kept       int      `json:"kept"`     // of these in memory for the comparison
	Services   []string `json:"services"` // names with versions
	Dropped    int64    `json:"dropped"`
	Sampled    int64    `json:"sampled"`
	SampleRate float64  `json:"sample_rate"`
}

// Counts is how many rows of Routes have each verdict.
type Counts struct {
	Better  int `json:"better"`
	Worse   int `json:"worse"`
	Nothing int `json:"no_claim"`
	TooFew  int `json:"too_few"`
}

// Row is one metric of one route.
type Row struct {
	Route  string `json:"route"`
	Metric string `json:"metric"`
	// Before and After are the figures; After is weighed to the mix before where Notes has "mix".
	Before *float64 `json:"before"`
	After  *float64 `json:"after"`
	// Change is relative (after/before - 1) or a difference (after - before), as ChangeIs says; CI holds its limits, of
	// which one is null where there is none.
	Change   *float64     `json:"change"`
	CI       *[2]*float64 `json:"ci"`
	P        *float64     `json:"p"` // corrected for the number of tests
	PSingle  *float64     `json:"p_single"`
	N        [2]int64     `json:"n"`               // requests; of hit_ratio lookups
	Needs    int64        `json:"needs,omitempty"` // with verdict too-few: how many each side must have
	Verdict  Verdict      `json:"verdict"`
	ChangeIs string       `json:"change_is"`
	Job      bool         `json:"job,omitempty"`
	Notes    []string     `json:"notes"` // codes of the warnings that concern this row

	counted bool // whether the test is one of those corrected
	nothing bool // no evidence on either side
}

// Only is a route that one side lacks.
type Only struct {
	Route    string   `json:"route"`
	Requests int64    `json:"requests"`
	P50Ms    *float64 `json:"p50_ms"`
}

// Doubt is a doubt about rows: Code is stable, Text is for people, Route is "" where it concerns the whole.
type Doubt struct {
	Code  string `json:"code"`
	Route string `json:"route,omitempty"`
	Text  string `json:"text"`
}

// Kinds of change.
const (
	Relative   = "relative"
	Difference = "difference"
)

// The metrics, in the order of the rows.
const (
	P50               = "p50_ms"
	P95               = "p95_ms"
	P99               = "p99_ms"
	ErrorRate         = "error_rate"
	QueriesPerRequest = "queries_per_request"
	MissesPerRequest  = "misses_per_request"
	HitRatio          = "hit_ratio"
	StaleReads        = "stale_reads"
	LeakedReads       = "leaked_reads"
	Bytes             = "bytes"
)

// Metrics are all metrics in the order of the rows.
func Metrics() []string {
	return []string{P50, P95, P99, ErrorRate, QueriesPerRequest, MissesPerRequest, HitRatio, StaleReads, LeakedReads, Bytes}
}

// TotalRoute is the route of the rows in Totals.
const TotalRoute = "(all routes)"
