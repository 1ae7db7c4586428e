package check

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func TestParse(t *testing.T) {
	relative := func(f, v float64) Bound { return Bound{Relative: true, Factor: f, Value: v} }
	for line, want := range map[string]Check{
		`p95_ms of "GET /articles" < 300`:         {Metric: "p95_ms", Scope: Route, Of: "GET /articles", Op: "<", Bound: Bound{Value: 300}},
		`error_rate < 0.1%`:                       {Metric: "error_rate", Scope: Total, Op: "<", Bound: Bound{Value: 0.001}},
		`error_rate of total <= 0.01`:             {Metric: "error_rate", Scope: Total, Op: "<=", Bound: Bound{Value: 0.01}},
		`queries_per_request of "GET /feed" <= 4`: {Metric: "queries_per_request", Scope: Route, Of: "GET /feed", Op: "<=", Bound: Bound{Value: 4}},
		`hit_ratio of family "article:{}" >= 80%`: {Metric: "hit_ratio", Scope: Family, Of: "article:{}", Op: ">=", Bound: Bound{Value: 0.8}},
		`stale_reads == 0`:                        {Metric: "stale_reads", Scope: Total, Op: "==", Bound: Bound{}},
		`p95_ms of * <= 1.05 * baseline`:          {Metric: "p95_ms", Scope: Every, Op: "<=", Bound: relative(1.05, 0)},
		`p95_ms of *<=baseline+20ms`:              {Metric: "p95_ms", Scope: Every, Op: "<=", Bound: relative(1, 20)},
		`error_rate <= 110% * baseline - 0.5%`:    {Metric: "error_rate", Scope: Total, Op: "<=", Bound: relative(1.1, -0.005)},
		`p99_ms of 'GET /a\'b"' < 1.5s`:           {Metric: "p99_ms", Scope: Route, Of: `GET /a'b"`, Op: "<", Bound: Bound{Value: 1500}},
		`bytes_p50 of * < 64KiB`:                  {Metric: "bytes_p50", Scope: Every, Op: "<", Bound: Bound{Value: 65536}},
		`rate > 10/s`:                             {Metric: "rate", Scope: Total, Op: ">", Bound: Bound{Value: 10}},
		`requests of "job mail" != 1_000`:         {Metric: "requests", Scope: Route, Of: "job mail", Op: "!=", Bound: Bound{Value: 1000}},
		`run: pytest -q tests/integration`:        {Kind: Command, Run: "pytest -q tests/integration"},
		` health: http://127.0.0.1:8000/health`:   {Kind: Health, URL: "http://127.0.0.1:8000/health"},
	} {
		if want.Kind == "" {
			want.Kind = Figure
		}
		got, err := Parse(line)
		if want.Kind == Figure && got.String() != line {
			t.Errorf("%s is shown as %s, not as it was written", line, got)
		}
		got.Written = ""
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", line, got, err, want)
			continue
		}
		again, err := Parse(got.String())
		again.Written = ""
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s is written %s, which is %+v, %v", line, got, again, err)
		}
	}
}

// Errors name the column, what was expected, and what may have been meant.
func TestParseErrors(t *testing.T) {
	for line, want := range map[string]string{
		``:                             "column 1: a metric was expected, not the end of the line",
		`p95 < 3`:                      "column 1: a metric was expected, not \"p95\" (did you mean p95_ms?)",
		`p95_ms of GET < 3`:            `column 11: a route in quotes was expected`,
		`p95_ms of "GET /a < 3`:        "column 11: the quote that opens here is not closed",
		`p95_ms of "" < 3`:             "column 11: a name was expected",
		`p95_ms of family "a" < 3`:     "column 11: p95_ms cannot be told of a key family",
		`p95_ms of family a < 3`:       "column 18: a key family in quotes",
		`bytes_p50 < 3`:                "bytes_p50 cannot be told of the whole service",
		`p95_ms = 3`:                   `(did you mean "=="?)`,
		`p95_ms "GET /a" < 3`:          "column 8: < <= > >= == != was expected",
		`p95_ms for "GET /a" < 3`:      `or "of"`,
		`p95_ms <`:                     "column 9: a number (ms, s, us, µs), or 1.05 * baseline was expected, not the end of the line",
		`p95_ms < -3`:                  "column 10: no figure is below 0",
		`p95_ms < 3%`:                  `column 11: a number (ms, s, us, µs) was expected for p95_ms, not "3%"`,
		`p95_ms < 3 apples`:            `not "3apples"`,
		`stale_reads == 0 ms`:          `column 18: a number was expected for stale_reads`,
		`p95_ms < 1.05 baseline`:       `column 15: "*" was expected before baseline`,
		`p95_ms < 1.05 * base`:         `column 17: "baseline" was expected, not "base"`,
		`p95_ms < 5ms * baseline`:      "column 10: a plain factor was expected",
		`p95_ms < baseline + `:         "column 21: a number (ms, s, us, µs) was expected",
		`p95_ms < 3 and p99_ms < 4`:    `column 12: a number (ms, s, us, µs) was expected for p95_ms, not "3and"`,
		`p95_ms < 3; rm`:               `column 11: the end of the line was expected, not ";"`,
		`p95_ms < 1.2.3`:               `column 10: "1.2.3" is not a number`,
		"p95_ms < \xff":                "column 10: the byte 0xff is not UTF-8",
		"run:  ":                       "column 5: run: a command",
		"health: ftp://x/":             "column 8: health: an address",
		"health: http://u:p@x/":        "do not belong into an address",
		strings.Repeat("a", MaxLine+1): "at most 4096 are read",
	} {
		_, err := Parse(line)
		var se *SyntaxError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", line, err, want)
		}
	}
}

const listText = `service: shop
checks:
  - p95_ms of "GET /articles" < 300
  - "error_rate < 0.1%"
  - run: pytest -q tests/integration
  - health: http://127.0.0.1:8000/health
  - {run: "make smoke", name: smoke, timeout: 15m, dir: ops, env: {A: "1"}, pass: [B], secrets: {T: "env:TOKEN"}}
  - {health: "https://shop.example/health", status: 204, timeout: 30s}
  - {check: "stale_reads == 0", name: nothing stale}
`

type file struct {
	Service string `yaml:"service"`
	Checks  List   `yaml:"checks"`
}

func TestYAML(t *testing.T) {
	var f file
	if err := yaml.UnmarshalWithOptions([]byte(listText), &f, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if len(f.Checks) != 7 || f.Checks[0].Line != 3 || f.Checks[1].Op != "<" || f.Checks[2].Run != "pytest -q tests/integration" {
		t.Fatalf("%+v", f.Checks)
	}
	c := f.Checks[4]
	if c.Kind != Command || c.Name != "smoke" || c.Timeout != 15*time.Minute || c.Dir != "ops" || c.Env["A"] != "1" || c.Pass[0] != "B" || c.Secrets["T"] != "env:TOKEN" {
		t.Errorf("%+v", c)
	}
	if c := f.Checks[5]; c.Kind != Health || c.Status != 204 {
		t.Errorf("%+v", c)
	}
	if c := f.Checks[6]; c.Kind != Figure || c.Title() != "nothing stale" || c.Metric != "stale_reads" {
		t.Errorf("%+v", c)
	}
	text, err := yaml.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var again file
	if err := yaml.UnmarshalWithOptions(text, &again, yaml.Strict()); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for i := range f.Checks {
		a, b := f.Checks[i], again.Checks[i]
		a.Line, a.Column, b.Line, b.Column = 0, 0, 0, 0
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%+v became %+v in\n%s", a, b, text)
		}
	}
}

// Errors in a file show the line and point at the place in it.
func TestYAMLErrors(t *testing.T) {
	for text, want := range map[string][]string{
		"checks:\n  - p95_ms of \"GET /a\" < 300\n  - p95_ms < 3 apples\n": {"[3:16] checks: a number", ">  3 |   - p95_ms < 3 apples\n                      ^"},
		"checks:\n  - 'p95 < 3'\n":                         {"[2:6] checks: a metric", "p95_ms"},
		"checks:\n  - {run: x, timeout: soon}\n":           {"[2:", "90s or 15m", "timeout: soon"},
		"checks:\n  - {run: x, tiemout: 1s}\n":             {"unknown field", ">  2 |"},
		"checks:\n  - {run: x, health: \"http://x\"}\n":    {"exactly one of"},
		"checks:\n  - {run: x, status: 200}\n":             {"status does not belong"},
		"checks:\n  - {run: x, secrets: {A: hunter22}}\n":  {"a secret itself does not belong here"},
		"checks:\n  - {health: \"http://x\", status: 9}\n": {"a status from 100"},
		"checks:\n  - [a]\n":                               {"a check was expected"},
		"checks:\n  - 3\n":                                 {"a check was expected"},
		"checks: many\n":                                   {"a list of checks was expected", ">  1 | checks: many"},
		"checks:\n  - run:\n":                              {"exactly one of"},
	} {
		var f file
		err := yaml.UnmarshalWithOptions([]byte(text), &f, yaml.Strict())
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		shown := yaml.FormatError(err, false, true)
		for _, w := range want {
			if !strings.Contains(shown, w) {
				t.Errorf("%q: %q is missing in\n%s", text, w, shown)
			}
		}
	}
}

func TestNear(t *testing.T) {
	names := []string{"GET /articles", "GET /articles/{slug}", "POST /articles", "GET /feed", "GET /tags"}
	for text, want := range map[string]string{
		"GET /article": "GET /articles", "get /articles": "GET /articles", "/feed": "GET /feed", "GET /articles/{id}": "GET /articles/{slug}",
		"DELETE /everything/else": "",
	} {
		got := ""
		if near := Near(text, names, 1); len(near) > 0 {
			got = near[0]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		`p95_ms of "GET /articles" < 300`, `error_rate < 0.1%`, `hit_ratio of family "article:{}" >= 80%`, `p95_ms of * <= 1.05 * baseline - 3 ms`,
		`run: true`, `health: http://127.0.0.1/`, `rate>1/s`, `p95_ms of 'a\'' < .5s`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := Parse(line)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Offset < 0 || se.Offset > len(line) {
				t.Fatalf("%q: %v", line, err)
			}
			return
		}
		if c.Written != "" && c.String() != strings.TrimSpace(line) {
			t.Fatalf("%q is shown as %q", line, c)
		}
		c.Written = ""
		again, err := Parse(c.String())
		again.Written = ""
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%q is written %q, which is %+v, %v; want %+v", line, c, again, err, c)
		}
	})
}
