package otlp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

// recorded keeps what a sink was given, as JSON lines, because the batch itself is used again.
type recorded struct {
	lines []string
	err   error
}

func (r *recorded) Events(events []event.Event) error {
	for i := range events {
		r.lines = append(r.lines, string(event.AppendJSON(nil, &events[i])))
	}
	return r.err
}

func newTestDecoder(t testing.TB, o Options) *decoder {
	t.Helper()
	d, err := newDecoder(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// same decodes a message both ways and fails where the answers differ. It returns the events of ours.
func same(t *testing.T, d *decoder, msg []byte) []string {
	t.Helper()
	var ours, theirs recorded
	oursCounts, oursErr := d.run(decodeProto, msg, &ours)
	theirsCounts, theirsErr := d.run(decodePdataProto, msg, &theirs)
	var data *DataError
	if errors.As(oursErr, &data) && data.limit {
		return nil // a limit that only ours has, or has at another place
	}
	if (oursErr == nil) != (theirsErr == nil) {
		t.Fatalf("message %x\nours:   %v\ntheirs: %v", msg, oursErr, theirsErr)
	}
	if oursErr != nil {
		if data.At < 0 || data.At > len(msg) {
			t.Fatalf("error %v lies outside of the %d bytes", oursErr, len(msg))
		}
		return nil
	}
	if oursCounts != theirsCounts {
		t.Fatalf("message %x\nours:   %+v\ntheirs: %+v", msg, oursCounts, theirsCounts)
	}
	if a, b := strings.Join(ours.lines, "\n"), strings.Join(theirs.lines, "\n"); a != b {
		t.Fatalf("message %x\nours:\n%s\ntheirs:\n%s", msg, a, b)
	}
	return ours.lines
}

func TestBothDecodersAgree(t *testing.T) {
	for _, o := range []Options{{}, {Hash: testHash}, {Hash: testHash, Hashed: true}} {
		d := newTestDecoder(t, o)
		events := 0
		for seed := range uint64(600) {
			r := rand.New(rand.NewPCG(seed, 1))
			msg := marshal(t, randomTraces(r))
			events += len(same(t, d, msg))
			// The same message with a few bytes changed, or cut.
			for range 3 {
				broken := bytes.Clone(msg)
				for range 1 + r.IntN(3) {
					if len(broken) > 0 {
						broken[r.IntN(len(broken))] = byte(r.Uint32())
					}
				}
				same(t, d, broken)
				same(t, d, broken[:r.IntN(len(broken)+1)])
			}
		}
		if events < 600 {
			t.Errorf("only %d events came out of 600 messages", events)
		}
	}
}

func FuzzDecodersAgree(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(marshal(f, randomTraces(rand.New(rand.NewPCG(seed, 2)))))
	}
	// A new decoder each time: one that remembers texts would make the fuzzer see other ways through the code for equal input.
	f.Fuzz(func(t *testing.T, msg []byte) { same(t, newTestDecoder(t, Options{Hash: testHash}), msg) })
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","attributes":[{"key":"http.method","value":{"stringValue":"GET"}}]}]}]}]}`))
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"}]}}}]}]}]}]}`))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var sink recorded
		_, err := newTestDecoder(t, Options{Hash: testHash}).run(decodeJSON, msg, &sink)
		var data *DataError
		if err != nil && !errors.As(err, &data) {
			t.Fatalf("%q: %v", msg, err)
		}
	})
}

// A message written by hand, for what the reference encoder cannot write.
func field(number int, payload []byte) []byte {
	out := appendVarint(nil, uint64(number)<<3|wireLen)
	return append(appendVarint(out, uint64(len(payload))), payload...)
}

func appendVarint(dst []byte, v uint64) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func TestUnusualMessages(t *testing.T) {
	attr := func(key, val string) []byte {
		return append(field(1, []byte(key)), field(2, field(1, []byte(val)))...)
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	span := cat(
		field(1, bytes.Repeat([]byte{1}, 16)), field(2, bytes.Repeat([]byte{2}, 8)), []byte{6 << 3, kindServer},
		[]byte{7<<3 | wireI64, 1, 0, 0, 0, 0, 0, 0, 0}, []byte{8<<3 | wireI64, 3, 0, 0, 0, 0, 0, 0, 0},
		field(9, attr("http.method", "GET")), field(9, attr("http.method", "PUT")),
	)
	shop := field(1, attr("service.name", "shop"))
	nested := func(n int) []byte {
		v := field(1, []byte("x"))
		for range n {
			v = field(5, field(1, v))
		}
		return v
	}
	for name, c := range map[string]struct {
		msg  []byte
		want string // in the only event, or in the error
	}{
		"resource after its spans": {
			field(1, cat(field(2, field(2, span)), field(1, shop))), `"service":"shop"`,
		},
		"resource in two parts": {
			field(1, cat(field(1, shop), field(1, field(1, attr("host.name", "web1"))), field(2, field(2, span)))), `"host":"web1"`,
		},
		"spans in the field used before 2022": {
			field(1, cat(field(1, shop), field(oldScopeSpans, field(2, span)))), `"method":"GET"`,
		},
		"the old field does not count beside the new": {
			field(1, cat(field(oldScopeSpans, field(2, span)), field(2, field(2, span)), field(1, shop))), `"method":"GET"`,
		},
		"unknown fields everywhere": {
			cat(field(77, []byte("x")), field(1, cat(field(78, nil), field(2, cat(field(79, nil), field(2, cat(span, field(99, nil)))))))),
			`"method":"GET"`,
		},
		"identity too short":    {field(1, field(2, field(2, field(1, []byte{1, 2})))), "identity"},
		"wrong wire type":       {field(1, field(2, field(2, []byte{2<<3 | wireVarint, 1}))), "wire type"},
		"length beyond the end": {[]byte{1<<3 | wireLen, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "cut short"},
		"number too long":       {append([]byte{2 << 3}, bytes.Repeat([]byte{0x80}, 10)...), "ten bytes"},
		"field zero":            {[]byte{0, 0}, "valid number"},
		"cut":                   {field(1, field(2, field(2, span)))[:60], "cut short"},
		"a group":               {[]byte{9<<3 | wireStart, 9<<3 | wireEnd}, "group"},
		"nested to the limit": {
			field(1, field(2, field(2, cat(span, field(9, cat(field(1, []byte("k")), field(2, nested(MaxDepth)))))))), `"method":"GET"`,
		},
		"nested too deeply": {
			field(1, field(2, field(2, cat(span, field(9, cat(field(1, []byte("k")), field(2, nested(MaxDepth+1)))))))), "nested deeper than 16",
		},
		"nested far too deeply": {
			field(1, field(2, field(2, cat(span, field(9, cat(field(1, []byte("k")), field(2, nested(5000)))))))), "nested deeper than 16",
		},
		"too many spans": {
			field(1, field(2, bytes.Repeat(field(2, nil), MaxSpans+1))), "more than 65536 spans",
		},
	} {
		d := newTestDecoder(t, Options{})
		lines := same(t, d, c.msg)
		var sink recorded
		_, err := d.run(decodeProto, c.msg, &sink)
		got := fmt.Sprint(err)
		if err == nil && len(lines) == 1 {
			got = lines[0]
		}
		if !strings.Contains(got, c.want) || len(lines) > 1 {
			t.Errorf("%s: got %s %v, want %q", name, got, lines, c.want)
		}
	}
}

func TestTooManyEvents(t *testing.T) {
	text := strings.Repeat("DEL ?\n", maxCommands-1) + "DEL ?"
	attr := func(key, val string) []byte {
		return field(9, append(field(1, []byte(key)), field(2, field(1, []byte(val)))...))
	}
	span := bytes.Join([][]byte{
		field(1, bytes.Repeat([]byte{1}, 16)), field(2, bytes.Repeat([]byte{2}, 8)), {6 << 3, 3}, {7<<3 | wireI64, 1, 0, 0, 0, 0, 0, 0, 0},
		attr("db.system", "redis"), attr("db.statement", text), attr("db.redis.pipeline_length", fmt.Sprint(maxCommands)),
	}, nil)
	d := newTestDecoder(t, Options{})
	for n, want := range map[int]string{MaxEvents / maxCommands: "", MaxEvents/maxCommands + 1: "more than 262144 events"} {
		for _, how := range []decode{decodeProto, decodePdataProto} {
			counts, err := d.run(how, field(1, field(2, bytes.Repeat(field(2, span), n))), discard{})
			switch {
			case want == "" && (err != nil || counts.Events != MaxEvents):
				t.Errorf("%d spans: %v, %+v", n, err, counts)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%d spans: got %v, want %q", n, err, want)
			}
		}
	}
}

type discard struct{}

func (discard) Events([]event.Event) error { return nil }
