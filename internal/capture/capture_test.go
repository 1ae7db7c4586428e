package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// readAll reads a whole capture.
func readAll(t *testing.T, dir string) ([]event.Event, Info) {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []event.Event
	for batch, err := range r.Batches() {
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			all = append(all, clone(batch[i]))
		}
	}
	return all, r.Info()
}

// clone copies an event with the lists it points to, which the reader uses again.
func clone(e event.Event) event.Event {
	if e.Request != nil {
		r := *e.Request
		r.Vary, r.Headers, e.Request = slices.Clone(r.Vary), slices.Clone(r.Headers), &r
	}
	if e.Query != nil {
		q := *e.Query
		q.Params, q.ParamNames, q.PKs, e.Query = slices.Clone(q.Params), slices.Clone(q.ParamNames), slices.Clone(q.PKs), &q
	}
	if e.Txn != nil {
		x := *e.Txn
		e.Txn = &x
	}
	if e.Cache != nil {
		c := *e.Cache
		c.KeyParts, c.Tags, e.Cache = slices.Clone(c.KeyParts), slices.Clone(c.Tags), &c
	}
	if e.Call != nil {
		c := *e.Call
		c.Args, e.Call = slices.Clone(c.Args), &c
	}
	if e.Task != nil {
		x := *e.Task
		e.Task = &x
	}
	if e.Process != nil {
		x := *e.Process
		e.Process = &x
	}
	if e.Change != nil {
		c := *e.Change
		c.PK, c.Columns, e.Change = slices.Clone(c.PK), slices.Clone(c.Columns), &c
	}
	if e.Mark != nil {
		x := *e.Mark
		e.Mark = &x
	}
	if e.Recorder != nil {
		r := *e.Recorder
		r.Hooks, r.Failures, e.Recorder = slices.Clone(r.Hooks), slices.Clone(r.Failures), &r
	}
	return e
}

func sameEvents(t *testing.T, got, want []event.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events were read, %d written", len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("event %d:\n got  %+v %s\n want %+v %s", i, got[i], event.AppendJSON(nil, &got[i]), want[i], event.AppendJSON(nil, &want[i]))
		}
	}
}

// write makes a capture of events and returns its directory.
func write(t *testing.T, events []event.Event, o Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	w, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(events, 777) {
		if err := w.Append(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWriteAndRead(t *testing.T) {
	events := recordertest.NewTraffic(1).Take(30_000)
	dir := write(t, events, Options{Service: "conduit"})
	got, info := readAll(t, dir)
	sameEvents(t, got, events)
	if info.Events != 30_000 || !info.Closed || info.Active || info.Service != "conduit" || len(info.Warnings) != 0 || info.Version != FormatVersion {
		t.Errorf("info: %+v", info)
	}
	first, last := events[0].At, events[0].At
	for i := range events {
		first, last = min(first, events[i].At), max(last, events[i].At)
	}
	if info.FirstAt != first || info.LastAt != last {
		t.Errorf("first and last are %d and %d, want %d and %d", info.FirstAt, info.LastAt, first, last)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, manifestFile): 0o600, filepath.Join(dir, "00000001.seg"): 0o600} {
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, error %v; want mode %v", path, st.Mode(), err, mode)
		}
	}
}

func TestManySegments(t *testing.T) {
	events := recordertest.NewTraffic(2).Take(60_000)
	dir := write(t, events, Options{segmentBytes: 100 << 10})
	got, info := readAll(t, dir)
	sameEvents(t, got, events)
	if info.Segments < 3 || len(info.Warnings) != 0 {
		t.Errorf("info: %+v", info)
	}
}

func TestReadWhileWriting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	w, err := Create(dir, Options{flushEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	events := recordertest.NewTraffic(3).Take(5000)
	for _, part := range [][]event.Event{events[:10], events[10:5000]} {
		if err := w.Append(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, info := readAll(t, dir)
		sameEvents(t, got, events[:len(got)])
		if !info.Active || info.Closed || len(info.Warnings) != 0 || info.Events != int64(len(got)) {
			t.Errorf("info: %+v", info)
		}
	}
	if s := w.Stats(); s.Events != 5000 || s.Durable != 5000 || s.LastFlush.IsZero() {
		t.Errorf("stats: %+v", s)
	}
	if err := Drop(dir); err == nil || !strings.Contains(err.Error(), "being written") {
		t.Errorf("dropping a capture that is being written: %v", err)
	}
}

func TestFlushesByItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	w, err := Create(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Append(recordertest.NewTraffic(3).Take(3)); err != nil {
		t.Fatal(err)
	}
	for w.Stats().Durable < 3 {
		time.Sleep(5 * time.Millisecond) // the test's own limit ends a writer that never flushes
	}
}

func TestConcurrentAppend(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	w, err := Create(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			events := recordertest.NewTraffic(uint64(g)).Take(2000)
			for part := range slices.Chunk(events, 50) {
				if err := w.Append(part); err != nil {
					t.Error(err)
				}
				for i := range part { // the writer must not need them any more
					part[i] = event.Event{}
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, info := readAll(t, dir)
	if len(got) != 16000 || info.Events != 16000 {
		t.Errorf("%d events read, info %+v", len(got), info)
	}
	if err := w.Append(nil); err == nil {
		t.Error("a closed capture took events")
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := write(t, nil, Options{})
	_, err := Create(dir, Options{})
	var f *fault.Error
	if !errors.As(err, &f) || !strings.Contains(f.Error(), "there is one already") {
		t.Errorf("creating where a capture is: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(filepath.Join(file, "c"), Options{}); !errors.As(err, &f) {
		t.Errorf("creating under a file: %v", err)
	}
}

func TestRetentionInside(t *testing.T) {
	events := recordertest.NewTraffic(4).Take(100_000)
	dir := write(t, events, Options{MaxBytes: 600 << 10, flushEvery: time.Hour})
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing was dropped so far: segments only go at a flush, and none came.
	if r.Info().Events != 100_000 {
		t.Fatalf("info: %+v", r.Info())
	}

	dir = filepath.Join(t.TempDir(), "c")
	w, err := Create(dir, Options{MaxBytes: 600 << 10, flushEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(events, 5000) {
		if err := errors.Join(w.Append(part), w.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, info := readAll(t, dir)
	sameEvents(t, got, events[len(events)-len(got):])
	if len(got) == len(events) || len(got) < 10_000 || info.Bytes > 700<<10 {
		t.Errorf("%d events are left in %d bytes", len(got), info.Bytes)
	}
	if want := fmt.Sprintf("retention dropped %d events", len(events)-len(got)); len(info.Warnings) != 1 || !strings.HasPrefix(info.Warnings[0], want) {
		t.Errorf("warnings %q, want %q", info.Warnings, want)
	}
	if s := w.Stats(); s.Dropped != int64(len(events)-len(got)) {
		t.Errorf("stats: %+v", s)
	}
}

func TestRetentionByAge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	dir := filepath.Join(t.TempDir(), "c")
	w, err := Create(dir, Options{MaxAge: 8 * time.Hour, flushEvery: time.Hour, now: clock})
	if err != nil {
		t.Fatal(err)
	}
	events := recordertest.NewTraffic(4).Take(24)
	for i := range events {
		if err := errors.Join(w.Append(events[i:i+1]), w.Flush()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		now = now.Add(time.Hour)
		mu.Unlock()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := readAll(t, dir)
	sameEvents(t, got, events[24-len(got):])
	if len(got) < 8 || len(got) > 11 {
		t.Errorf("%d of 24 events are left, one was written each hour and 8 hours are kept", len(got))
	}
}

func TestRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "r")
	if _, err := Newest(root); err == nil || !strings.Contains(fault.Text(err), "demarc run --") {
		t.Errorf("newest of nothing: %v", err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var dirs []string
	for i := range 4 {
		dir := NewPath(root, "my shop/é", now)
		w, err := Create(dir, Options{now: func() time.Time { return now.Add(time.Duration(i) * time.Second) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(recordertest.NewTraffic(1).Take(1000)); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
		if i != 1 { // the second one stays open
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			defer w.Close()
		}
	}
	if want := filepath.Join(root, "20260102T030405Z-my-shop--"); dirs[0] != want || dirs[1] != want+"-2" {
		t.Errorf("names %q", dirs)
	}
	if got, err := Newest(root); err != nil || got != dirs[3] {
		t.Errorf("newest: %s, %v", got, err)
	}
	gone, err := Retain(root, Options{MaxBytes: 1})
	if err != nil || !reflect.DeepEqual(gone, []string{dirs[0], dirs[2]}) {
		t.Errorf("dropped %q, %v; the one being written and the newest stay", gone, err)
	}
	if gone, err := Retain(root, Options{MaxAge: time.Nanosecond}); err != nil || !reflect.DeepEqual(gone, []string{dirs[3]}) {
		t.Errorf("dropped %q by age, %v", gone, err)
	}
	if err := Drop(root); err == nil {
		t.Error("a directory that is no capture was dropped")
	}
}
