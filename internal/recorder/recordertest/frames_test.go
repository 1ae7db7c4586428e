package recordertest_test

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/recorder"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

type keep struct {
	mu    sync.Mutex
	lines []string
}

func (k *keep) Events(list []event.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range list {
		if list[i].Type != event.TypeProcess {
			k.lines = append(k.lines, string(event.AppendJSON(nil, &list[i])))
		}
	}
	return nil
}

// What the frames carry is what comes out of the server, field by field.
func TestFramesCarryTheTraffic(t *testing.T) {
	var sink keep
	server := recorder.NewServer(recorder.Options{Token: "0123456789abcdef", Hashed: true}, &sink)
	l, err := recorder.Listen("unix:" + filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	frames := recordertest.Frames{Proc: recordertest.Proc(0)}
	traffic := recordertest.NewTrafficOf(1, 1)
	out := frames.Hello("0123456789abcdef", "start")
	var want []string
	for range 4 {
		events := traffic.Take(recordertest.BatchEvents)
		for i := range events {
			e := events[i]
			e.Source = &event.Source{Service: e.Source.Service, Version: e.Source.Version, VersionFrom: e.Source.VersionFrom, Host: e.Source.Host, Pid: 4242}
			want = append(want, string(event.AppendJSON(nil, &e)))
		}
		out = append(out, frames.Batch(events)...)
	}
	if _, err := nc.Write(out); err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(nc); err != nil { // until the server has read to the end
		t.Fatal(err)
	}
	server.Close(time.Second)
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if got := server.Stats(); got.Events != int64(len(want)) || got.BadFrames != 0 {
		t.Fatalf("of %d events: %+v", len(want), got)
	}
	if got, want := strings.Join(sink.lines, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("came out:\n%.2000s\nwas sent:\n%.2000s", got, want)
	}
}
