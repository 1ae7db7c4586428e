// Package check holds a service to conditions that a person wrote down: a figure of a capture against a bound
// (`p95_ms of "GET /articles" < 300`), against the same figure of a baseline (`p95_ms of * <= 1.05 * baseline`), a command
// that must succeed (`run: pytest -q`), an address that must answer (`health: http://127.0.0.1:8000/health`).
//
// A condition is passed, failed, or undecided where the samples cannot tell; how many would is said with it. The same
// checks serve CI, the rehearsal of a change and the watch after a release. docs/check.md describes them for people.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of what is written down.
const (
	MaxLine   = 4 << 10 // bytes of a condition on a figure
	MaxChecks = 500     // in one list
)

// Kind is what a check looks at.
type Kind string

// The kinds of checks.
const (
	Figure  Kind = "figure"
	Command Kind = "command"
	Health  Kind = "health"
	Log     Kind = "log" // of results only: what a watch found in the log
)

// Scope is what part of the traffic a figure is of.
type Scope string

// The scopes of figures.
const (
	Total  Scope = "total"  // all HTTP routes together
	Route  Scope = "route"  // one route or job
	Every  Scope = "*"      // each HTTP route by itself
	Family Scope = "family" // one family of cache keys
)

// Check is one condition. Parse and YAML make checks that can be evaluated; the fields are there to be read.
type Check struct {
	Kind Kind
	Name string // what a person called it; empty: String tells

	Metric string // of Figure: see Metrics
	Scope  Scope
	Of     string // name of the route or family
	Op     string // < <= > >= == !=
	Bound  Bound

	Run     string // of Command: the line for the shell; of Health: asked in place of an address
	Dir     string
	Env     map[string]string // variables that are no secrets
	Pass    []string          // variables handed on from demarc's own environment
	Secrets map[string]string // variable to env:NAME or file:PATH
	URL     string            // of Health without Run
	Status  int               // expected; 0: any from 200 to 299
	Timeout time.Duration     // 0: DefaultTimeout of command, DefaultHealthTimeout

	Written      string // of Figure: the line as a person wrote it; empty where none was parsed, or where it has several lines
	Line, Column int    // in the file that it stands in; 0 where it stands in none
}

// Bound is the right side of a condition, in the unit of the metric: Factor*baseline + Value where Relative, else Value.
type Bound struct {
	Relative bool
	Factor   float64
	Value    float64
}

// Parse reads one line in any of the forms that a list of checks may hold. An error is a *SyntaxError.
func Parse(line string) (Check, error) {
	for _, p := range []struct {
		prefix string
		kind   Kind
	}{{"run:", Command}, {"health:", Health}} {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), p.prefix)
		if !ok {
			continue
		}
		c := Check{Kind: p.kind}
		if p.kind == Command {
			c.Run = strings.TrimSpace(rest)
		} else {
			c.URL = strings.TrimSpace(rest)
		}
		if err := c.valid(); err != nil {
			return Check{}, &SyntaxError{Offset: strings.Index(line, p.prefix) + len(p.prefix), Text: err.Error()}
		}
		return c, nil
	}
	c, err := parseFigure(line)
	if line = strings.TrimSpace(line); err == nil && !strings.ContainsAny(line, "\n\r") {
		c.Written = line
	}
	return c, err
}

// SyntaxError says what is wrong with a line, and at which byte of it.
type SyntaxError struct {
	Offset int // from 0
	Text   string
}

// Error gives the place (counted from 1) and what was expected.
func (e *SyntaxError) Error() string { return fmt.Sprintf("column %d: %s", e.Offset+1, e.Text) }

// String writes the check as it stands in a list: as it was written, else in one form for all. Parse reads it again, as far
// as one line can hold it.
func (c Check) String() string {
	if c.Written != "" {
		return c.Written
	}
	switch c.Kind {
	case Command:
		return "run: " + c.Run
	case Health:
		return "health: " + cmp.Or(c.Run, c.URL)
	}
	var b strings.Builder
	b.WriteString(c.Metric)
	switch c.Scope {
	case Route:
		b.WriteString(" of " + quote(c.Of))
	case Family:
		b.WriteString(" of family " + quote(c.Of))
	case Every:
		b.WriteString(" of *")
	}
	b.WriteString(" " + c.Op + " " + c.Bound.text(metricNamed(c.Metric).unit))
	return b.String()
}

// Title is what people see: the name where the check has one.
func (c Check) Title() string {
	if c.Name != "" {
		return c.Name
	}
	return c.String()
}

func (b Bound) text(u unit) string {
	if !b.Relative {
		return u.exact(b.Value)
	}
	var s string
	if b.Factor == 1 {
		s = "baseline"
	} else {
		s = number(b.Factor) + " * baseline"
	}
	switch {
	case b.Value > 0:
		s += " + " + u.exact(b.Value)
	case b.Value < 0:
		s += " - " + u.exact(-b.Value)
	}
	return s
}

// number writes a value so that it reads back as the same.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// unit of a metric.
type unit struct {
	name     string             // in JSON: ms, share, 1/s, bytes, or "" for a plain number
	suffixes map[string]float64 // what may stand behind a number, and what it multiplies with
	suffix   string             // behind the number for people
	scale    float64            // for people: 100 for per cent
}

// exact writes a bound so that Parse reads the same value.
func (u unit) exact(v float64) string {
	if u.scale == 100 {
		if s := number(v * 100); parsed(s)/100 == v {
			return s + "%"
		}
	}
	return number(v)
}

func parsed(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64) // of number's own text
	return v
}

var (
	millis = unit{"ms", map[string]float64{"us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3}, " ms", 1}
	share  = unit{"share", map[string]float64{"%": 0.01}, "%", 100}
	perSec = unit{"1/s", map[string]float64{"/s": 1}, "/s", 1}
	bytesU = unit{"bytes", map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6, "KiB": 1 << 10, "MiB": 1 << 20}, " B", 1}
	plain  = unit{"", nil, "", 1}
)

// metric is one figure that can be checked.
type metric struct {
	name     string
	unit     unit
	scopes   []Scope
	quantile float64 // of a percentile; 0: none
	binomial bool    // a share of counted things, about which a sample tells only so much
	stale    bool    // comes from the analysis of stale reads
}

var (
	byRoute  = []Scope{Total, Route, Every}
	byFamily = []Scope{Total, Route, Every, Family}
)

// metrics are all figures, in the order in which messages list them.
var metrics = []metric{
	{name: "p50_ms", unit: millis, scopes: byRoute, quantile: 0.50},
	{name: "p95_ms", unit: millis, scopes: byRoute, quantile: 0.95},
	{name: "p99_ms", unit: millis, scopes: byRoute, quantile: 0.99},
	{name: "error_rate", unit: share, scopes: byRoute, binomial: true},
	{name: "rate", unit: perSec, scopes: byRoute},
	{name: "requests", unit: plain, scopes: byRoute},
	{name: "queries_per_request", unit: plain, scopes: byRoute},
	{name: "duplicate_queries_per_request", unit: plain, scopes: byRoute},
	{name: "db_time_share", unit: share, scopes: byRoute},
	{name: "bytes_p50", unit: bytesU, scopes: []Scope{Route, Every}},
	{name: "misses_per_request", unit: plain, scopes: byRoute},
	{name: "hit_ratio", unit: share, scopes: byFamily, binomial: true},
	{name: "stale_reads", unit: plain, scopes: byFamily, stale: true},
	{name: "leaks", unit: plain, scopes: []Scope{Total, Family}, stale: true},
}

// Metrics lists the names of the figures that can be checked.
func Metrics() []string {
	names := make([]string, len(metrics))
	for i, m := range metrics {
		names[i] = m.name
	}
	return names
}

func metricNamed(name string) metric {
	if i := slices.IndexFunc(metrics, func(m metric) bool { return m.name == name }); i >= 0 {
		return metrics[i]
	}
	return metric{}
}
