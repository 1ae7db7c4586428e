package capture

import (
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
