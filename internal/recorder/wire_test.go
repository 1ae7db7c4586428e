package recorder

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

// python returns the interpreter that DEMARC_TEST_PYTHON names.
func python(t testing.TB) string {
	t.Helper()
	p := os.Getenv("DEMARC_TEST_PYTHON")
	if p == "" {
		t.Fatal("DEMARC_TEST_PYTHON is not set: it must name a Python interpreter, 3.9 or later (`make test` sets it)")
	}
	return p
}

func newDecoder() *decoder {
	return &decoder{proc: "p1abcdef", source: &event.Source{Service: "shop", Pid: 42}}
}

// lines are the events as JSON, one a line, for comparison.
func lines(b *batch) string {
	var out []byte
	for i := range b.Events {
		out = append(event.AppendJSON(out, &b.Events[i]), '\n')
	}
	return string(out)
}

// TestPython decodes what CPython itself writes.
func TestPython(t *testing.T) {
	out, err := exec.Command(python(t), "testdata/frames.py").Output()
	if err != nil {
		t.Fatal(err)
	}
	d, b := newDecoder(), &batch{}
	var got strings.Builder
	for line := range strings.Lines(string(out)) {
		payload, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.decode(payload, b); err != nil {
			t.Fatal(err)
		}
		got.WriteString(lines(b) + "--\n")
	}
	golden(t, "testdata/frames.jsonl", got.String())
	if d.unknown != 1 {
		t.Errorf("%d events of unknown types, want 1", d.unknown)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (UPDATE=1 writes it):\n%s", name, got)
	}
}

const testAt = int64(1_790_000_000_000_000_000)

func TestBadBatches(t *testing.T) {
	ok := tup{2, testAt}
	deep := any(1)
	for range 20 {
		deep = tup{deep}
	}
	tooMany := make([]any, MaxBatchEvents+1)
	for i := range tooMany {
		tooMany[i] = tup{2, testAt}
	}
	for name, payload := range map[string][]byte{
		"empty":                {},
		"not a tuple":          (&enc{}).value(lst{}).b,
		"two elements":         (&enc{}).value(tup{1, lst{}}).b,
		"no epoch":             (&enc{}).value(tup{nil, lst{}, lst{}}).b,
		"events no list":       (&enc{}).value(tup{1, lst{}, tup{}}).b,
		"event no tuple":       marshal(1, nil, 5),
		"no time":              marshal(1, nil, tup{2}),
		"negative time":        marshal(1, nil, tup{2, -5}),
		"text number":          marshal(1, []string{"a"}, tup{2, testAt, nil, nil, nil, nil, nil, ref(1)}),
		"text negative":        marshal(1, []string{"a"}, tup{2, testAt, nil, nil, nil, nil, nil, ref(-1)}),
		"text a float":         marshal(1, nil, tup{2, testAt, nil, nil, nil, nil, nil, 2.5}),
		"hash of seven bytes":  marshal(1, nil, tup{5, testAt, nil, nil, nil, nil, nil, "f", hb("1234567")}),
		"hashes of nine bytes": marshal(1, nil, tup{2, testAt, nil, nil, nil, nil, nil, "d", "t", hb("123456789")}),
		"map of three":         marshal(1, nil, tup{5, testAt, nil, nil, nil, nil, nil, "f", nil, tup{"a", nil, "b"}}),
		"long id":              marshal(1, nil, tup{2, testAt, nil, nil, strings.Repeat("x", 65)}),
		"80 bits": []byte("(\x03\x00\x00\x00i\x01\x00\x00\x00[\x00\x00\x00\x00[\x01\x00\x00\x00(\x02\x00\x00\x00" +
			"i\x02\x00\x00\x00l\x06\x00\x00\x00\x01\x00\x01\x00\x01\x00\x01\x00\x01\x00\x01\x00"),
		"deep":                  marshal(1, nil, tup{99, deep}),
		"cut":                   marshal(1, nil, ok)[:20],
		"bytes after the end":   append(marshal(1, nil, ok), 'N'),
		"count beyond the end":  []byte("(\x03\x00\x00\x00i\x01\x00\x00\x00[\x00\x00\x00\x00[\xff\xff\xff\x7f"),
		"negative count":        []byte("(\x03\x00\x00\x00i\x01\x00\x00\x00[\x00\x00\x00\x00[\xff\xff\xff\xff"),
		"definition a number":   (&enc{}).value(tup{1, lst{5}, lst{}}).b,
		"more than 16,384":      marshal(1, nil, tooMany...),
		"a type marshal has":    append(marshal(1, nil)[:10], 'c', 0, 0, 0, 0),
		"boolean as a number":   marshal(1, nil, tup{2, testAt, true}),
		"negative sequence":     marshal(1, nil, tup{2, testAt, nil, -1}),
		"number for a boolean":  marshal(1, nil, tup{4, testAt, nil, nil, nil, nil, nil, "get", nil, nil, nil, nil, 1}),
		"principal of 3 bytes":  marshal(1, nil, tup{5, testAt, nil, nil, nil, nil, nil, "f", nil, nil, hb("abc")}),
		"integer out of range":  marshal(1, nil, tup{2, testAt, uint64(1) << 63}),
		"a definition too many": (&enc{}).value(tup{1, lst{"a"}, lst{}, nil}).b,
	} {
		t.Run(name, func(t *testing.T) {
			d, b := newDecoder(), &batch{}
			if err := d.decode(payload, b); !errors.Is(err, errBad) {
				t.Fatalf("decode: %v, want a bad batch", err)
			}
			if len(b.Events) != 0 {
				t.Errorf("%d events of a bad batch", len(b.Events))
			}
		})
	}
}

// A bad event does not spoil the definitions that came with it; definitions that cannot be read spoil their epoch.
func TestTableAfterBadBatch(t *testing.T) {
	d, b := newDecoder(), &batch{}
	task := func(op any) tup { return tup{6, testAt, nil, nil, nil, nil, nil, op} }
	if err := d.decode(marshal(1, []string{"start"}, tup{6, nil}), b); err == nil {
		t.Fatal("a bad batch was read")
	}
	if err := d.decode(marshal(1, []string{"end"}, task(ref(0)), task(ref(1))), b); err != nil {
		t.Fatal(err)
	}
	if b.Events[0].Task.Op != "start" || b.Events[1].Task.Op != "end" {
		t.Fatal(lines(b))
	}
	if err := d.decode((&enc{}).value(tup{1, lst{"x", 5, "y"}, lst{}}).b, b); err == nil {
		t.Fatal("bad definitions were read")
	}
	if err := d.decode(marshal(1, nil, task(ref(0))), b); err == nil {
		t.Fatal("a batch was read whose table is not known")
	}
	if err := d.decode(marshal(2, []string{"fail"}, task(ref(0))), b); err != nil {
		t.Fatal(err)
	}
	if b.Events[0].Task.Op != "fail" {
		t.Fatal(lines(b))
	}
}

func TestTableLimits(t *testing.T) {
	d, b := newDecoder(), &batch{}
	many := make([]string, MaxTableTexts)
	if err := d.decode(marshal(1, many), b); err != nil {
		t.Fatal(err)
	}
	if err := d.decode(marshal(1, []string{"one more"}), b); err == nil {
		t.Fatal("more texts than the table holds")
	}
	large := strings.Repeat("x", 3<<20)
	var last error
	for range 11 {
		last = d.decode(marshal(2, []string{large}), b)
	}
	if last == nil {
		t.Fatal("more bytes than the table holds")
	}
	left := 10
	d = newDecoder()
	d.reserve = func(n int) bool { left -= n; return left >= 0 }
	if err := d.decode(marshal(1, []string{"12345"}), b); err != nil {
		t.Fatal(err)
	}
	d.close()
	if left != 10 {
		t.Errorf("%d bytes were not given back", 10-left)
	}
}

// Texts of a batch stay what they were when the slabs are used again.
func TestTextsOutliveTheBatch(t *testing.T) {
	d, b := newDecoder(), &batch{}
	var ids []string
	for i := range 5000 {
		if err := d.decode(marshal(1, nil, tup{2, testAt, nil, nil, i}), b); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b.Events[0].Trace)
	}
	for i, id := range ids {
		if want := "p1abcdef." + strconv.Itoa(i); id != want {
			t.Fatalf("id %d is %q, want %q", i, id, want)
		}
	}
}

// example is the traffic of n requests, each with five queries and two cache operations, as one batch.
func example(n int) (defs []string, events []any) {
	return []string{
		"http", "GET", "/articles/{slug}", "postgresql", "SELECT a.id, a.title FROM articles a WHERE a.slug = $1 LIMIT $2",
		"shop.articles:load:42", "get", "shared", "redis", "canonical", "value", "set", "host", "accept-language",
		"cache-control", "max-age=60", "primary",
	}, exampleFrom(0, n)
}

// exampleFrom returns the events of n requests, of which the first is number from.
func exampleFrom(from, n int) (events []any) {
	hash := hb("abcdefgh")
	for i := from; i < from+n; i++ {
		at, id := testAt+int64(i)*1_000_000, i*9
		slug := "article:slug-" + strconv.Itoa(i%500)
		param := hb(slug + "--------")[len(slug)-8 : len(slug)]
		for q := range 5 {
			events = append(events, tup{2, at + int64(q)*100_000, 80_000 + i%7*1000, id + q + 1, id, id + q + 1, id, ref(3), ref(4),
				hb(string(param) + "ijklmnop"), nil, 1, param, hash, nil, nil, nil, nil, ref(5)})
		}
		events = append(events,
			tup{4, at, 50_000, id + 6, id, id + 6, id, ref(6), ref(7), ref(8), slug, nil, false},
			tup{4, at, 60_000, id + 7, id, id + 7, id, ref(11), ref(7), ref(8), slug, nil, nil, hash, ref(9),
				ref(10), 512, 60000, nil, nil, nil, nil, nil, nil, nil, nil, at, ref(5)},
			tup{1, at, 5_000_000 + i%11*10_000, id + 8, id, id, nil, ref(0), ref(1), ref(2), "/articles/" + slug, 200, nil, hash,
				tup{ref(12), hash, ref(13), hash}, param, nil, 2048, 0, tup{ref(14), ref(15)}})
	}
	return events
}

func BenchmarkDecode(b *testing.B) {
	defs, events := example(63)
	first, next := marshal(1, defs, events...), marshal(1, nil, events...)
	d, batch := newDecoder(), &batch{}
	if err := d.decode(first, batch); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(next)))
	n := 0
	for b.Loop() {
		if err := d.decode(next, batch); err != nil {
			b.Fatal(err)
		}
		n += len(batch.Events)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// FuzzBatch: no payload makes the decoder panic, and what it accepts is written as JSON and read back the same.
func FuzzBatch(f *testing.F) {
	defs, events := example(1)
	f.Add(marshal(1, defs, events...))
	f.Add(marshal(0, nil, tup{99, testAt}, tup{6, testAt, nil, nil, "t", nil, nil, "start", nil, nil, nil, nil, tup{1, 2.5}}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		d, b := newDecoder(), &batch{}
		if err := d.decode(payload, b); err != nil {
			if !errors.Is(err, errBad) || len(b.Events) != 0 {
				t.Fatalf("%v with %d events", err, len(b.Events))
			}
			return
		}
		for i := range b.Events {
			line := event.AppendJSON(nil, &b.Events[i])
			if _, err := event.ParseJSON(line); err != nil && len(line) <= event.MaxLine {
				t.Fatalf("%v\n%s", err, line)
			}
		}
		// A second time on the same connection, nothing is left over from the first.
		before := lines(b)
		if err := newDecoder().decode(bytes.Clone(payload), b); err != nil || lines(b) != before {
			t.Fatalf("a second reading differs: %v", err)
		}
	})
}
