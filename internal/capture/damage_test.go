package capture

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// scramble fills a value with anything that the vocabulary can say, extremes more often than chance would.
func scramble(rng *rand.Rand, v reflect.Value) {
	if rng.IntN(3) == 0 {
		return // not known
	}
	ints := []int64{0, 1, -1, 200, 404, math.MaxInt64, math.MinInt64, 1790000000000000000, rng.Int64(), int64(rng.IntN(1000))}
	texts := []string{"", "a", "GET", "proc0001.1", "proc0001.2", "p.0", "p.01", "p.-1", ".", "x.", ".5", "p.999999999999999999", "p.1152921504606846976",
		"p.18446744073709551616", "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", "ABCDEF", "abc", "é\x00\u2028", "\xff",
		fmt.Sprint("u", rng.Uint64())}
	text := func() string {
		if rng.IntN(500) == 0 {
			return strings.Repeat("long ", 30_000) // longer than the dictionary takes
		}
		return texts[rng.IntN(len(texts))]
	}
	hash := func() event.Hash { return event.Hash([]uint64{0, 1, math.MaxUint64, 7, rng.Uint64()}[rng.IntN(5)]) }
	n := 1 + rng.IntN(4)
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text()
	case *int64:
		*p = ints[rng.IntN(len(ints))]
	case *uint64:
		*p = uint64(ints[rng.IntN(len(ints))])
	case *event.Opt[int64]:
		*p = event.Some(ints[rng.IntN(len(ints))])
	case *event.Opt[bool]:
		*p = event.Some(rng.IntN(2) == 0)
	case *event.Opt[float64]:
		*p = event.Some([]float64{0, math.Copysign(0, -1), 0.25, math.Inf(1), math.MaxFloat64, math.SmallestNonzeroFloat64, rng.Float64()}[rng.IntN(7)])
	case *event.Hash:
		*p = hash()
	case *[]event.Hash:
		for range n {
			*p = append(*p, hash())
		}
	case *[]string:
		for range n {
			*p = append(*p, text())
		}
	case *[]event.NamedHash:
		for range n {
			*p = append(*p, event.NamedHash{Name: text(), Hash: hash()})
		}
	case *[]event.Pair:
		for range n {
			*p = append(*p, event.Pair{Name: text(), Value: text()})
		}
	case *[]event.Count:
		for range n {
			*p = append(*p, event.Count{Name: text(), N: ints[rng.IntN(len(ints))]})
		}
	default:
		if v.Kind() != reflect.Struct {
			panic("no values for " + v.Type().String())
		}
		for i := range v.NumField() {
			scramble(rng, v.Field(i))
		}
	}
}

// anyEvent makes a random event.
func anyEvent(rng *rand.Rand, sources []*event.Source) event.Event {
	var e event.Event
	for _, p := range []any{&e.At, &e.Dur, &e.Trace, &e.Span, &e.Parent, &e.Seq, &e.Extra} {
		scramble(rng, reflect.ValueOf(p).Elem())
	}
	e.Source = sources[rng.IntN(len(sources))]
	e.Type = event.Type(rng.IntN(11))
	if e.Type == event.Other {
		e.TypeName = "type" + fmt.Sprint(rng.IntN(3))
		return e
	}
	name := e.Type.String()
	body := reflect.ValueOf(&e).Elem().FieldByName(strings.ToUpper(name[:1]) + name[1:])
	body.Set(reflect.New(body.Type().Elem()))
	for i := range body.Elem().NumField() {
		scramble(rng, body.Elem().Field(i))
	}
	return e
}

func TestAnyEventSurvives(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 7))
		sources := []*event.Source{nil, {Service: "a"}, {Pid: -1}, {Service: "a", Version: "1", VersionFrom: "env", Host: "h", Pid: math.MaxInt64}}
		var events []event.Event
		for range 2500 {
			events = append(events, anyEvent(rng, sources))
		}
		got, info := readAll(t, write(t, events, Options{segmentBytes: 512 << 10}))
		if len(info.Warnings) > 0 {
			t.Fatalf("seed %d: %q", seed, info.Warnings)
		}
		sameEvents(t, got, events)
	}
}

// TestFieldsAreTheVocabularys fails when a field was added to package event and not to the tables here.
func TestFieldsAreTheVocabularys(t *testing.T) {
	sinks := newSinks()
	for typ, s := range sinks {
		if event.Type(typ) == event.Other {
			continue
		}
		want := append(event.FieldNames(event.Other), event.FieldNames(event.Type(typ))...)
		want = append(want, "extra")
		var got []string
		for _, c := range s.columns {
			got = append(got, c.name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v: the tables hold %q, the vocabulary has %q", event.Type(typ), got, want)
		}
	}
	if n := reflect.TypeFor[event.Source]().NumField(); n != 5 {
		t.Errorf("event.Source has %d fields, records hold 5", n)
	}
}

// TestWeight checks that no text or list of any field can grow without the record's limit seeing it.
func TestWeight(t *testing.T) {
	huge := strings.Repeat("x", 100_000)
	check := func(e *event.Event, v reflect.Value, name string) {
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		defer v.Set(old)
		switch p := v.Addr().Interface().(type) {
		case *string:
			*p = huge
		case *[]event.Hash:
			*p = make([]event.Hash, 20_000)
		case *[]string:
			*p = []string{huge}
		case *[]event.NamedHash:
			*p = []event.NamedHash{{Name: huge}}
		case *[]event.Pair:
			*p = []event.Pair{{Name: huge[:50_000], Value: huge[:50_000]}}
		case *[]event.Count:
			*p = []event.Count{{Name: huge}}
		default:
			return
		}
		if w := weight(e); w < 100_000 {
			t.Errorf("%s: 100,000 bytes weigh %d", name, w)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	seen := map[event.Type]bool{}
	for len(seen) < 11 {
		e := anyEvent(rng, []*event.Source{{Service: "a"}})
		if seen[e.Type] {
			continue
		}
		seen[e.Type] = true
		ev := reflect.ValueOf(&e).Elem()
		for i := range ev.NumField() {
			if f := ev.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
				for k := range f.Elem().NumField() {
					check(&e, f.Elem().Field(k), fmt.Sprintf("%v.%s", e.Type, f.Elem().Type().Field(k).Name))
				}
			} else {
				check(&e, f, ev.Type().Field(i).Name)
			}
		}
	}
}

func TestHugeEvents(t *testing.T) {
	big := func(n int) event.Event {
		return event.Event{Type: event.TypeMark, At: 1, Mark: &event.Mark{Text: strings.Repeat("0123456789", n/10)}}
	}
	events := []event.Event{big(10), big(8 << 20), big(10), big(15 << 20), big(3 << 20)}
	got, _ := readAll(t, write(t, events, Options{}))
	sameEvents(t, got, events)

	dir := filepath.Join(t.TempDir(), "c")
	w, err := Create(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Append([]event.Event{big(10), big(17 << 20), big(20)})
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("an event of 17 MB: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ = readAll(t, dir)
	sameEvents(t, got, []event.Event{big(10), big(20)})
	if w.Stats().Lost != 1 {
		t.Errorf("stats: %+v", w.Stats())
	}
}

// records returns where the records of a segment begin, and its size.
func records(t *testing.T, path string) ([]int, []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var at []int
	for i := headerSize; i < len(b); {
		h, ok := parseRecordHeader(b[i:])
		if !ok {
			t.Fatalf("no record at %d", i)
		}
		at = append(at, i)
		i += recordHeaderSize + int(h.length)
	}
	return at, b
}

// TestDamage spoils one record in several ways: the others are read, and what is gone is said.
func TestDamage(t *testing.T) {
	events := recordertest.NewTraffic(6).Take(5 * batchEvents)
	dir := write(t, events, Options{flushEvery: time.Hour}) // full records only, however slow the machine is
	path := filepath.Join(dir, "00000001.seg")
	at, whole := records(t, path)
	if len(at) != 5 {
		t.Fatalf("%d records", len(at))
	}
	read := func(b []byte) ([]event.Event, string) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, info := readAll(t, dir)
		return got, strings.Join(info.Warnings, "\n")
	}
	without := func(i, j int) []event.Event {
		return slices.Concat(events[:i*batchEvents], events[j*batchEvents:])
	}
	spoil := func(at int) []byte {
		b := slices.Clone(whole)
		b[at] ^= 0x10
		return b
	}
	for record := range 5 {
		got, said := read(spoil(at[record] + recordHeaderSize + 100))
		sameEvents(t, got, without(record, record+1))
		if want := fmt.Sprintf("record %d is damaged (checksum), 4096 events skipped", record+1); !strings.Contains(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
		if record < 4 {
			got, said = read(spoil(at[record] + 5)) // its length
			sameEvents(t, got, without(record, record+1))
			if !strings.Contains(said, "bytes skipped") {
				t.Errorf("said %q", said)
			}
		}
	}
	// Two damaged records take their definitions along, and those that need them cannot be read; the loss is told.
	b := spoil(at[0] + recordHeaderSize + 100)
	b[at[1]+recordHeaderSize+100] ^= 1
	got, said := read(b)
	if len(got) > 3*batchEvents || !strings.Contains(said, "refers to definitions of a damaged record") {
		t.Errorf("%d events, said %q", len(got), said)
	}
	// The end is cut at any point.
	for _, cut := range []int{1, 10, recordHeaderSize - 1, recordHeaderSize, recordHeaderSize + 1, len(whole) - at[4] - 1} {
		got, said := read(whole[:at[4]+cut])
		sameEvents(t, got, events[:4*batchEvents])
		if want := fmt.Sprintf("last record torn, %d bytes cut", cut); !strings.Contains(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
	}
	got, said = read(spoil(3)) // the segment's header
	sameEvents(t, got, events)
	if !strings.Contains(said, "header is damaged") {
		t.Errorf("said %q", said)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var f *fault.Error // of all that it lists nothing is there
	if _, err := Open(dir); !errors.As(err, &f) || f.Code != fault.ExitCapture || !strings.Contains(f.Error(), "of 20480 events that it lists none is there") {
		t.Errorf("without its only segment: %v", err)
	}
}

// TestMissingSegment: the others are read, and what is gone is said.
func TestMissingSegment(t *testing.T) {
	events := recordertest.NewTraffic(6).Take(5 * batchEvents)
	dir := write(t, events, Options{segmentBytes: 64 << 10})
	if err := os.Remove(filepath.Join(dir, "00000001.seg")); err != nil {
		t.Fatal(err)
	}
	got, info := readAll(t, dir)
	if len(got) == 0 || len(got) >= len(events) || !strings.Contains(strings.Join(info.Warnings, "\n"), "segment 00000001.seg is missing (") {
		t.Errorf("%d events of %d, said %q", len(got), len(events), info.Warnings)
	}
}

func TestOtherVersions(t *testing.T) {
	dir := write(t, recordertest.NewTraffic(1).Take(10), Options{})
	path := filepath.Join(dir, manifestFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	open := func() *fault.Error {
		t.Helper()
		_, err := Open(dir)
		var f *fault.Error
		if !errors.As(err, &f) {
			t.Fatalf("error %v", err)
		}
		return f
	}
	for old, want := range map[string]string{
		`"version": 1`:               `"version": 9`,
		`"format": "demarc.capture"`: `"format": "something"`,
		`{`:                          `[`,
		`"00000001.seg"`:             `"../../secret"`,
	} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, want, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		f := open()
		if f.Code != fault.ExitCapture {
			t.Errorf("%s: exit code %d", want, f.Code)
		}
		if strings.Contains(want, "9") && (!strings.Contains(f.Error(), "version 9") || !strings.Contains(f.Error(), "up to version 1")) {
			t.Errorf("%s", f.Error())
		}
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	seg := filepath.Join(dir, "00000001.seg")
	b, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(b[8:], 2)
	binary.LittleEndian.PutUint32(b[16:], crc32.Checksum(b[:16], castagnoli))
	if err := os.WriteFile(seg, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Batches() {
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != fault.ExitCapture || !strings.Contains(f.Error(), "version 2") {
			t.Errorf("a segment of version 2: %v", err)
		}
	}
	dir = t.TempDir()
	if f := open(); !strings.Contains(f.Error(), "no manifest.json in it") || f.Code == fault.ExitCapture {
		t.Errorf("an empty directory: %+v", f)
	}
	dir += "/file"
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := open(); !strings.Contains(f.Error(), "it is a file, not a directory") {
		t.Errorf("a file: %+v", f)
	}
	dir += "-none"
	if f := open(); !strings.Contains(f.Error(), "no such directory") {
		t.Errorf("no directory: %+v", f)
	}
}

// TestJSONSurvives: JSON → capture → JSON keeps the meaning of each line.
func TestJSONSurvives(t *testing.T) {
	lines := []string{
		`{"type":"mark","at":1,"name":"deploy","later":{"deep":[1,2.50,1e400,null,"é\u0000"]},"n":123456789012345678901234567890}`,
		`{"type":"wormhole","at":5,"pid":3,"text":"hello","key":[1,{"a":null}]}`,
		`{"type":"cache","at":1,"key":"","value_hash":null,"pid":0,"tags":[],"value_kind":null,"hit":false,"removed":0,"ttl_ms":null}`,
		`{"type":"query","at":2,"dur":null,"params":[null],"rows":0}`,
	}
	var events []event.Event
	for _, l := range lines {
		e, err := event.ParseJSON([]byte(l))
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	got, _ := readAll(t, write(t, events, Options{}))
	for i := range got {
		if out := event.AppendJSON(nil, &got[i]); canonical(t, string(out)) != canonical(t, lines[i]) {
			t.Errorf("in  %s\nout %s", lines[i], out)
		}
	}
	if !json.Valid([]byte(lines[0])) {
		t.Error("the test's own line is no JSON")
	}
}

// FuzzRecord feeds the decoder what passes the checksum and is still not a record.
func FuzzRecord(f *testing.F) {
	enc := newEncoder()
	events := recordertest.NewTraffic(1).Take(60)
	enc.add(events[:30])
	first := enc.finish(nil)
	enc.add(events[30:])
	f.Add(first, 30)
	f.Add(enc.finish(nil), 30)
	rng := rand.New(rand.NewPCG(1, 1))
	enc = newEncoder()
	var odd []event.Event
	for len(odd) < 20 {
		e := anyEvent(rng, []*event.Source{nil, {Service: "a"}})
		if weight(&e) < 5000 {
			odd = append(odd, e)
		}
	}
	enc.add(odd)
	f.Add(enc.finish(nil), 20)
	enc = newEncoder()
	dec, dec2 := newDecoder(), newDecoder()
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		dec.segment()
		dec2.segment()
		events, err := dec.record(raw, n)
		if err != nil {
			return
		}
		// What was accepted can be written and read again.
		all := make([]event.Event, len(events))
		for i := range events {
			all[i] = clone(events[i])
		}
		enc.texts.reset()
		enc.hashes.reset()
		for len(all) > 0 {
			n := enc.add(all)
			again, err := dec2.record(enc.finish(nil), n)
			if err != nil {
				t.Fatal(err)
			}
			sameEvents(t, again, all[:n])
			all = all[n:]
		}
	})
}
