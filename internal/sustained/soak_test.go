//go:build soak

package sustained

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func number(t *testing.T, variable string, n int) int {
	t.Helper()
	if v := os.Getenv(variable); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 {
			t.Fatalf("%s is %q, a number was expected", variable, v)
		}
	}
	return n
}

// TestSoakMemory: under 20,000 events a second the memory of demarc run and of demarc collect stays below the bound, and
// does not grow.
func TestSoakMemory(t *testing.T) {
	seconds := number(t, "DEMARC_SOAK_SECONDS", 300)
	t.Run("run", func(t *testing.T) { flat(t, underRun(t, seconds)) })
	t.Run("collect", func(t *testing.T) { flat(t, underCollect(t, seconds)) })
}

// underCollect starts demarc collect, and the generator beside it.
func underCollect(t *testing.T, seconds int) load {
	t.Helper()
	c := collector(t, t.TempDir())
	g := c.generator(seconds)
	return watch(t, c.process, c.runFile().Capture, func() string {
		if err := g.Wait(); err != nil {
			t.Errorf("the generator: %v", err)
		}
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if code := c.wait(); code != 0 {
			t.Errorf("exit code %d\n%s", code, c.err.String())
		}
		return g.Stdout.(*strings.Builder).String()
	})
}

// generator starts the service that sends to the collector.
func (c *collecting) generator(seconds int) *exec.Cmd {
	c.t.Helper()
	g := exec.Command(os.Args[0])
	g.Env = append(os.Environ(), fmt.Sprintf("%s=%d", asGenerator, seconds), "DEMARC_ADDRESS="+c.address, "DEMARC_TOKEN="+token)
	g.Stdout, g.Stderr = &strings.Builder{}, os.Stderr
	if err := g.Start(); err != nil {
		c.t.Fatal(err)
	}
	return g
}

// warm is how many seconds the tables take to fill: the capture's dictionary does in one segment, 32 MB or some 100 s.
const warm = 120

// flat compares the two halves of the samples after the tables are full. A shorter run tells only the bound.
func flat(t *testing.T, l load) {
	t.Helper()
	if l.rate < 0.95*rate {
		t.Errorf("only %.0f events a second were sent, %d are asked: another load is on this machine", l.rate, rate)
	}
	if len(l.samples) < warm+60 {
		t.Logf("%d seconds are too few to tell whether memory grows: %d are needed", len(l.samples), warm+60)
		return
	}
	rest := l.samples[warm:]
	half := len(rest) / 2
	before, after := mean(rest[:half]), mean(rest[half:])
	t.Logf("after %d seconds: %.1f MB in the first half, %.1f MB in the second: %+.2f MB a minute", warm, before, after,
		(after-before)/(float64(half)/60))
	if after > before+10 {
		t.Errorf("memory grows from %.1f to %.1f MB: %.0f", before, after, l.samples)
	}
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}

// TestSoakKills kills demarc collect 200 times.
func TestSoakKills(t *testing.T) {
	kills(t, number(t, "DEMARC_SOAK_KILLS", 200))
}
