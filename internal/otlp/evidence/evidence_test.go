package evidence

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

func ids(list []Gap) string {
	var names []string
	for _, g := range list {
		names = append(names, g.ID)
		if g.Question == "" || g.Missing == "" || g.Remedy == "" || g.Of <= 0 || g.Of > g.Total {
			names = append(names, "incomplete!")
		}
	}
	return strings.Join(names, " ")
}

// TestSpans looks at the events of a real service under OpenTelemetry's instrumentation.
func TestSpans(t *testing.T) {
	f, err := os.Open("../testdata/new.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var v Evidence
	for lines := bufio.NewScanner(f); lines.Scan(); {
		e, err := event.ParseJSON(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		v.Add(&e)
	}
	const want = "cache.key cache.hit request.body_hash query.params txn.commit request.principal cache.value_hash cache.fill_start " +
		"cache.removed cache.ttl_ms request.headers query.code query.rows"
	if got := ids(v.Missing()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// full are events that lack nothing.
var full = []string{
	`{"type":"request","at":1,"trace":"a","version":"1","pid":7,"kind":"http","route":"/","principal":"-","vary":{"a":"0123456789abcdef","b":"0123456789abcdef","c":"0123456789abcdef"},"body_hash":"0123456789abcdef","headers":{"vary":"a"},"error":"E at a:b:1"}`,
	`{"type":"query","at":1,"trace":"a","version":"1","pid":7,"params":["0123456789abcdef"],"rows":0,"code":"a:b:1"}`,
	`{"type":"txn","at":1,"version":"1","pid":7,"op":"commit"}`,
	`{"type":"cache","at":1,"version":"1","pid":7,"op":"get","key":"a","hit":false}`,
	`{"type":"cache","at":1,"version":"1","pid":7,"op":"set","key":"a","value_hash":"0123456789abcdef","ttl_ms":1,"fill_start":5}`,
	`{"type":"cache","at":1,"version":"1","pid":7,"op":"delete","key":"a","removed":0}`,
}

func TestMissing(t *testing.T) {
	var none Evidence
	if got := none.Missing(); got != nil {
		t.Errorf("nothing was seen, but missed is %s", ids(got))
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"nothing":   {"", "", ""},
		"key":       {`"op":"get","key":"a"`, `"op":"get"`, ""}, // one of three
		"hit":       {`"hit":false`, `"x":1`, "cache.hit"},
		"body":      {`"body_hash":"0123456789abcdef",`, ``, "request.body_hash"},
		"no body":   {`"body_hash":"0123456789abcdef",`, `"body_hash_none":"too long",`, ""},
		"params":    {`"params":["0123456789abcdef"],`, ``, "query.params"},
		"commit":    {`"op":"commit"`, `"op":"begin"`, "txn.commit"},
		"principal": {`"principal":"-",`, ``, "request.principal"},
		"value":     {`"value_hash":"0123456789abcdef",`, ``, "cache.value_hash"},
		"fill":      {`,"fill_start":5`, ``, "cache.fill_start"},
		"removed":   {`,"removed":0`, ``, "cache.removed"},
		"ttl":       {`,"ttl_ms":1`, ``, "cache.ttl_ms"},
		"vary":      {`,"c":"0123456789abcdef"`, ``, "request.vary"},
		"headers":   {`"headers":{"vary":"a"}`, `"headers":{"content-type":"a"}`, "request.headers"},
		"route":     {`"route":"/",`, ``, "request.route"},
		"trace":     {`"type":"query","at":1,"trace":"a"`, `"type":"query","at":1`, "query.trace"},
		"code":      {`,"code":"a:b:1"`, ``, "query.code"},
		"rows":      {`"rows":0,`, ``, "query.rows"},
		"place":     {`"error":"E at a:b:1"`, `"error":"E"`, "error.place"},
		"pid":       {`"pid":7,`, ``, "source"},
	} {
		var v Evidence
		changed := c.old == ""
		for _, line := range slices.Clone(full) {
			out := line
			if c.old != "" {
				out = strings.ReplaceAll(line, c.old, c.new)
			}
			changed = changed || out != line
			e, err := event.ParseJSON([]byte(out))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			v.Add(&e)
		}
		if got := ids(v.Missing()); got != c.want || !changed {
			t.Errorf("%s: got %q, want %q (changed %v)", name, got, c.want, changed)
		}
	}
}
