package sustained

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
)

const token = "0123456789abcdef0123456789abcdef"

// collecting is a demarc collect and where it listens.
type collecting struct {
	*process
	address string
}

func collector(t *testing.T, dir string) *collecting {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &collecting{address: "unix:" + filepath.Join(dir, "s")}
	c.process = start(t, dir, nil, "collect", "--listen-recorder", c.address, "--token-file", "token")
	c.says("demarc: watching ")
	return c
}

// TestKills kills demarc collect while a recorder sends, at random moments.
func TestKills(t *testing.T) { kills(t, 20) }

// kills starts demarc collect over one folder n times, sends events to it, and ends it with SIGKILL. Of every capture all
// that was sent until a second before is there, in order and without a gap, and what reads it says that it has no end.
func kills(t *testing.T, n int) {
	dir := t.TempDir()
	var losses []time.Duration
	for round := range n {
		losses = append(losses, killed(t, dir, round))
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	slices.Sort(losses)
	t.Logf("%d kills; lost at the end: median %v, at most %v", n, losses[n/2].Round(time.Millisecond), losses[n-1].Round(time.Millisecond))
}

// killed returns how long before the kill the first lost event was sent.
func killed(t *testing.T, dir string, round int) time.Duration {
	c := collector(t, dir)
	s, err := dial(c.address, token)
	if err != nil {
		t.Fatal(err)
	}
	// Times at which the events of each process up to a number were sent.
	type mark struct {
		at   time.Time
		last [processes]uint64
	}
	var marks []mark
	var now mark
	var late time.Duration // by which this process itself came late: a measure of how busy the machine is
	end := time.Now().Add(50*time.Millisecond + time.Duration(rand.IntN(1500))*time.Millisecond)
	for time.Now().Before(end) {
		now.at = time.Now()
		if _, err := s.send(40); err != nil {
			t.Fatal(err)
		}
		for i, part := range s.parts {
			if len(part) > 0 {
				now.last[i] = part[len(part)-1].Seq
			}
		}
		marks = append(marks, now)
		time.Sleep(4 * time.Millisecond)
		late = max(late, time.Since(now.at)-4*time.Millisecond)
	}
	kill := time.Now()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if code := c.wait(); code != -1 {
		t.Fatalf("exit code %d\n%s", code, c.err.String())
	}
	_ = s.close() // the other end is gone

	path := filepath.Join(dir, c.name())
	r, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var got [processes]uint64
	for batch, err := range r.Batches() {
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			e := &batch[i]
			if e.Type == event.TypeProcess {
				continue
			}
			p := int(strings.TrimPrefix(e.Trace, "k3x9q7a")[0]-'0') % processes
			if got[p]++; e.Seq != got[p] {
				t.Fatalf("event %d of process %d has number %d", got[p], p, e.Seq)
			}
		}
	}
	info := r.Info()
	if said := strings.Join(info.Warnings, "\n"); info.Closed || info.Active || !strings.Contains(said, "the writer did not end in order: up to one second of events") {
		t.Errorf("the capture says %+v", info)
	}
	lost := time.Duration(0)
	for _, m := range marks {
		if m.last[0] > got[0] || m.last[1] > got[1] {
			lost = kill.Sub(m.at)
			break
		}
	}
	// On a busy machine the collector gets the processor as late as this process does, once to read and once to write.
	if allowed := time.Second + 2*late + 200*time.Millisecond; lost > allowed {
		t.Errorf("what was sent %v before the end is lost, %v are allowed", lost, allowed)
	}
	if round == 0 && sum(marks[len(marks)-1].last) > 0 {
		c.report(path)
	}
	return lost
}

func sum(list [processes]uint64) (n uint64) {
	for _, v := range list {
		n += v
	}
	return n
}

// name is the capture that the collector said it writes.
func (c *collecting) name() string {
	c.t.Helper()
	_, rest, _ := strings.Cut(c.err.String(), "capture ")
	name, _, ok := strings.Cut(rest, "\n")
	if !ok {
		c.t.Fatalf("no capture is named:\n%s", c.err.String())
	}
	return name
}

// report runs demarc report over a capture whose writer was killed.
func (c *collecting) report(path string) {
	c.t.Helper()
	p := start(c.t, c.dir, nil, "report", path)
	if code := p.wait(); code != 0 || !strings.Contains(p.out.String(), "did not end in order") {
		c.t.Errorf("demarc report: exit code %d\n%s%s", code, p.out.String(), p.err.String())
	}
}
