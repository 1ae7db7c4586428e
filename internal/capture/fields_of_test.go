package capture

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

// TestBatchesOf reads some fields: they are those of the whole events, and nothing else is there.
func TestBatchesOf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	w, err := Create(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range trafficParts(5000) {
		if err := w.Append(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want []event.Event
	for batch, err := range r.Batches() {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range batch {
			part := event.Event{Type: e.Type, At: e.At, Dur: e.Dur, Source: e.Source, Trace: e.Trace}
			switch e.Type {
			case event.TypeRequest:
				part.Request = &event.Request{Route: e.Request.Route, BodyBytes: e.Request.BodyBytes}
			case event.TypeCache:
				part.Cache = &event.Cache{Hit: e.Cache.Hit}
			case event.TypeQuery:
				part.Query = &event.Query{}
			case event.TypeTxn:
				part.Txn = &event.Txn{}
			}
			want = append(want, part)
		}
	}
	n := 0
	for batch, err := range r.BatchesOf(Fields{event.Other: {"trace"}, event.TypeRequest: {"route", "body_bytes"}, event.TypeCache: {"hit"}}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			if !reflect.DeepEqual(batch[i], want[n]) {
				t.Fatalf("event %d: %+v, want %+v", n, batch[i], want[n])
			}
			n++
		}
	}
	if n != len(want) {
		t.Errorf("%d events, want %d", n, len(want))
	}
}
