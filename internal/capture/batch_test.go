package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

func TestRecordsOfTraffic(t *testing.T) {
	events := recordertest.NewTraffic(1).Take(20000)
	enc, dec := newEncoder(), newDecoder()
	for rest := events; len(rest) > 0; {
		n := enc.add(rest)
		got, err := dec.record(enc.finish(nil), n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], rest[i]) {
				t.Fatalf("event %d:\n got  %s\n want %s", i, event.AppendJSON(nil, &got[i]), event.AppendJSON(nil, &rest[i]))
			}
		}
		rest = rest[n:]
	}
}

// Numbers are read as encoding/binary reads them, also where they are cut or too long.
func TestUvarint(t *testing.T) {
	check := func(b []byte) {
		t.Helper()
		v, n := uvarint(b)
		want, length := binary.Uvarint(b)
		if n != length || v != want {
			t.Fatalf("% x: %d of %d bytes, want %d of %d", b, v, n, want, length)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100_000 {
		b := binary.AppendUvarint(nil, rng.Uint64()>>rng.IntN(64))
		check(b[:rng.IntN(len(b)+1)])
		for range rng.IntN(10) {
			b = append(b, byte(rng.Uint32()))
		}
		check(b)
	}
	for n := range 12 { // longer than need be, and too long
		for last := range 3 {
			check(append(append(bytes.Repeat([]byte{0x80}, n), byte(last)), 0, 0xff, 0, 0, 0, 0, 0, 0))
			check(append(append(bytes.Repeat([]byte{0xff}, n), byte(last)), 0xff, 0xff, 0, 0, 0, 0, 0, 0))
		}
	}
}
