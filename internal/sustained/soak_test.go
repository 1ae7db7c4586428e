//go:build soak

package sustained

import (
	"os"
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

// flat compares the second and the last third of the samples: the first is for queues and tables to fill.
func flat(t *testing.T, l load) {
	t.Helper()
	if l.rate < 0.95*rate {
		t.Errorf("only %.0f events a second were sent, %d are asked: another load is on this machine", l.rate, rate)
	}
	third := len(l.samples) / 3
	if third < 5 {
		t.Fatalf("%d samples are too few", len(l.samples))
	}
	middle, last := mean(l.samples[third:2*third]), mean(l.samples[2*third:])
	slope := (last - middle) / (float64(third) / 60)
	t.Logf("mean of the second third %.1f MB, of the last third %.1f MB: %+.2f MB a minute", middle, last, slope)
	if last > middle+max(10, middle/10) {
		t.Errorf("memory grows from %.1f to %.1f MB: %.0f", middle, last, l.samples)
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
