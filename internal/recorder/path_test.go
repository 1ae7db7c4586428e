package recorder

import (
	"bufio"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
)

// kept is the sink of a run: the capture, then the live report (nil: none).
type kept struct {
	mu   sync.Mutex
	w    *capture.Writer
	fold *baseline.Fold
}

func (k *kept) Events(batch []event.Event) error {
	if err := k.w.Append(batch); err != nil || k.fold == nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range batch {
		k.fold.Add(&batch[i])
	}
	return nil
}

// BenchmarkPath is the whole way of an event, from the socket into the durable capture, alone and with the live report.
// events/cpu-s counts all processor time of the process, the sender's included, so it is what one core does.
func BenchmarkPath(b *testing.B) {
	b.Run("capture", func(b *testing.B) { benchmarkPath(b, nil) })
	b.Run("capture+report", func(b *testing.B) { benchmarkPath(b, baseline.New(baseline.Options{})) })
}

func benchmarkPath(b *testing.B, fold *baseline.Fold) {
	const requests, batches = 63, 64
	defs, _ := example(1)
	frames := make([][]byte, batches)
	for i := range frames {
		frames[i] = frame('B', marshal(1, nil, exampleFrom(i*requests, requests)...))
	}
	w, err := capture.Create(filepath.Join(b.TempDir(), "c"), capture.Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := NewServer(Options{Token: "sesame"}, &kept{w: w, fold: fold})
	l, err := Listen("unix:" + filepath.Join(b.TempDir(), "s"))
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	send := func(f []byte) {
		if _, err := c.Write(f); err != nil {
			b.Fatal(err)
		}
	}
	send(frame('H', []byte(helloText("start", "sesame", 1))))
	if kind, _, err := readHead(bufio.NewReader(c)); err != nil || kind != 'A' {
		b.Fatalf("the hello was answered with %q, %v", kind, err)
	}
	send(frame('B', marshal(1, defs)))
	sent := 0
	before := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		send(frames[sent%batches])
		sent++
	}
	_ = c.Close()
	s.Close(1e12)
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	events := float64(sent * requests * 8)
	if st := s.Stats(); st.Events != int64(events) || st.BadFrames != 0 || w.Stats().Lost != 0 {
		b.Fatalf("%.0f events were sent: %+v %+v", events, st, w.Stats())
	}
	b.ReportMetric(events/(cpu(b)-before), "events/cpu-s")
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
}

// cpu is the processor time that this process has used, in seconds.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
