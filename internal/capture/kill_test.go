package capture

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// childDir makes the test binary, started again, append to a capture there until it is killed.
const childDir = "DEMARC_TEST_CAPTURE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := appendForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// appendForever appends events numbered from 1 and prints how many are durable whenever that grows. Small segments and
// frequent flushes put many kinds of moments in the way of a kill.
func appendForever(dir string) error {
	w, err := Create(dir, Options{segmentBytes: 100 << 10, flushEvery: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	traffic := recordertest.NewTraffic(1)
	var number uint64
	var told int64
	for {
		events := traffic.Take(200)
		for i := range events {
			number++
			events[i].Seq = number
		}
		if err := w.Append(events); err != nil {
			return err
		}
		if d := w.Stats().Durable; d > told {
			told = d
			if _, err := fmt.Println(d); err != nil {
				return err
			}
		}
	}
}

// TestKill kills a writing process with SIGKILL at random moments: every capture opens, holds each number once and in
// order up to at least the last that was acknowledged as durable, and says that its writer did not end in order.
func TestKill(t *testing.T) {
	for round := range 20 {
		dir := filepath.Join(t.TempDir(), "c")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() { // the first flush: the capture is there
			t.Fatalf("round %d: the writer said nothing: %v", round, cmd.Wait())
		}
		time.AfterFunc(time.Duration(rand.IntN(400_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		acked := lines.Text()
		for lines.Scan() {
			acked = lines.Text()
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the writer ended with %v", round, err)
		}
		var durable uint64
		if _, err := fmt.Sscan(acked, &durable); err != nil {
			t.Fatalf("round %d: acknowledged %q", round, acked)
		}
		r, err := Open(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var next uint64
		for batch, err := range r.Batches() {
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			for i := range batch {
				if next++; batch[i].Seq != next || batch[i].Type == event.Other {
					t.Fatalf("round %d: event %d has number %d", round, next, batch[i].Seq)
				}
			}
		}
		info := r.Info()
		said := strings.Join(info.Warnings, "\n")
		if next < durable || info.Events != int64(next) || info.Active || info.Closed || !strings.Contains(said, "did not end in order") {
			t.Errorf("round %d: %d events were read, %d acknowledged; info %+v", round, next, durable, info)
		}
	}
}
