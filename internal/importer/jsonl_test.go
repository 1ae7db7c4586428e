package importer

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/demarc-dev/demarc/event"
)

type result struct {
	names  []string
	bad    []string
	counts Counts
	err    error
}

func read(t *testing.T, in io.Reader) result {
	t.Helper()
	var r result
	r.counts, r.err = readJSONL(context.Background(), in, func(batch []event.Event) error {
		for i := range batch {
			r.names = append(r.names, batch[i].Mark.Name)
		}
		return nil
	}, func(line int64, err error) error {
		r.bad = append(r.bad, fmt.Sprintf("%d: %v", line, err))
		return nil
	})
	return r
}

func mark(name string) string { return `{"type":"mark","at":1,"name":"` + name + `"}` }

func TestLines(t *testing.T) {
	text := mark("a") + "\n\n" + "{nonsense\n" + mark("b") + "\r\n" + `{"type":"mark"}` + "\n" + mark("c")
	r := read(t, strings.NewReader(text))
	if r.err != nil || strings.Join(r.names, "") != "abc" || len(r.bad) != 2 ||
		!strings.HasPrefix(r.bad[0], "3: not a JSON object") || r.bad[1] != `5: no field "at" (start, Unix nanoseconds)` {
		t.Errorf("%+v", r)
	}
	if want := (Counts{Lines: 5, Events: 3, Bad: 2, Bytes: int64(len(text))}); r.counts != want {
		t.Errorf("counts %+v, want %+v", r.counts, want)
	}
}

func TestLongLines(t *testing.T) {
	fits := mark(strings.Repeat("x", event.MaxLine-len(mark(""))))
	over := mark(strings.Repeat("x", event.MaxLine-len(mark(""))+1))
	far := mark(strings.Repeat("x", 3*event.MaxLine))
	r := read(t, strings.NewReader(fits+"\n"+over+"\n"+far+"\n"+mark("end")+"\n"))
	if r.err != nil || len(r.names) != 2 || r.names[1] != "end" || len(r.bad) != 2 || !strings.HasPrefix(r.bad[0], "2: ") || !strings.HasPrefix(r.bad[1], "3: longer than") {
		t.Errorf("%d events, bad %q, error %v", len(r.names), r.bad, r.err)
	}
}

func TestCompressed(t *testing.T) {
	var many strings.Builder
	for i := range 3000 {
		many.WriteString(mark(fmt.Sprint(i)) + "\n")
	}
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{g, z} {
		if _, err := io.WriteString(w, many.String()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes()} {
		r := read(t, bytes.NewReader(b))
		if r.err != nil || len(r.names) != 3000 || r.names[2999] != "2999" || r.counts.Bytes != int64(len(b)) {
			t.Errorf("%s: %d events, counts %+v, error %v", name, len(r.names), r.counts, r.err)
		}
		if r := read(t, bytes.NewReader(b[:len(b)-20])); r.err == nil {
			t.Errorf("%s: a cut file was read without an error", name)
		}
	}
	if r := read(t, strings.NewReader("")); r.err != nil || r.counts != (Counts{}) {
		t.Errorf("an empty file: %+v", r)
	}
}

func TestStops(t *testing.T) {
	stop := errors.New("stop")
	lines := strings.Repeat(mark("a")+"\n", 2*batchEvents) + "bad\n"
	none := func(int64, error) error { return nil }
	if _, err := readJSONL(context.Background(), strings.NewReader(lines), func([]event.Event) error { return stop }, none); !errors.Is(err, stop) {
		t.Errorf("emit's error became %v", err)
	}
	keep := func([]event.Event) error { return nil }
	if _, err := readJSONL(context.Background(), strings.NewReader(lines), keep, func(int64, error) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("bad's error became %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := readJSONL(ctx, strings.NewReader(lines), keep, none); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled reading ended with %v", err)
	}
}

// readJSONL opens and reads.
func readJSONL(ctx context.Context, from io.Reader, emit func([]event.Event) error, bad func(int64, error) error) (Counts, error) {
	in, err := Open(from)
	if err != nil {
		return Counts{}, err
	}
	defer in.Close()
	return in.JSONL(ctx, emit, bad)
}

func TestForms(t *testing.T) {
	for text, want := range map[string]Form{
		"":                                 Events,
		`{"type":"mark","at":1}`:           Events,
		"\n\n\n{}":                         Events,
		"\n{\"resourceSpans\":[]}":         SpansJSON,
		" {\n  \"resourceSpans\" : []}":    SpansJSON,
		`{"resource_spans":[]}`:            SpansJSON,
		`{"a":{"resourceSpans":[]}}`:       Events,
		"{\"type\":\"mark\"}\n\x00\x01\n":  Events,
		"\n\x10\n\x02\x12\x00":             SpansProtobuf,
		"\x00\x00\x00\x12\n\x10\n\x02\x12": SpansProtobuf,
	} {
		in, err := Open(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if in.Form != want {
			t.Errorf("%q is %s, want %s", text, in.Form, want)
		}
		if rest, err := io.ReadAll(in); err != nil || string(rest) != text || in.Bytes() != int64(len(text)) {
			t.Errorf("%q, %v, %d bytes are left of %q", rest, err, in.Bytes(), text)
		}
		in.Close()
	}
}
