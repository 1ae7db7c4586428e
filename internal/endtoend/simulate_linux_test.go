package endtoend

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A trace of keys that never come again needs memory for each: it is sampled until it fits, which is said, and the process
// keeps to --memory. A file is read again for that; a stream cannot be.
func TestSimulateKeepsToItsMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "once.txt.zst")
	writeDistinct(t, path, 30_000_000)
	t.Run("file", func(t *testing.T) { keepsToItsMemory(t, 30_000_000, nil, path, "--policy", "lru,sieve") })
	t.Run("stream", func(t *testing.T) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		keepsToItsMemory(t, 30_000_000, f, "-", "--policy", "lru")
	})
}

func keepsToItsMemory(t *testing.T, requests int64, stdin io.Reader, args ...string) {
	t.Helper()
	const megabytes = 64
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), demarc(t), append([]string{"simulate", "--size", "10%", "--memory", strconv.Itoa(megabytes), "--json"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	peak := int64(0)
	for over := false; !over; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("%v\n%s", err, errs.String())
			}
			over = true
		case <-time.After(20 * time.Millisecond):
			peak = max(peak, highWater(cmd.Process.Pid))
		}
	}
	var got struct {
		Trace  struct{ Requests, Keys int64 }
		Sample struct {
			Rate   float64
			Reason string
		}
		Curves []struct {
			Points []struct {
				MissRatio float64 `json:"miss_ratio"`
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Trace.Requests != requests || got.Sample.Rate >= 1 || !strings.Contains(got.Sample.Reason, "64 MB") || !strings.Contains(errs.String(), "does not fit into 64 MB") {
		t.Errorf("%d requests, sample %+v\n%s", got.Trace.Requests, got.Sample, errs.String())
	}
	if off := float64(got.Trace.Keys)/float64(requests) - 1; off < -0.02 || off > 0.02 || len(got.Curves) == 0 || got.Curves[0].Points[0].MissRatio < 0.98 {
		t.Errorf("%d keys are estimated, misses %+v", got.Trace.Keys, got.Curves)
	}
	if peak == 0 || peak > megabytes*1_000_000 {
		t.Errorf("%d bytes were resident, %d MB were allowed", peak, megabytes)
	}
	t.Logf("rate %g, at most %.1f MB resident", got.Sample.Rate, float64(peak)/1e6)
}

// writeDistinct writes the numbers from 0 on, a line each.
func writeDistinct(t *testing.T, path string, n int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 0, 1<<16)
	for i := range n {
		line = append(strconv.AppendInt(line, int64(i), 10), '\n')
		if len(line) > 1<<16-32 || i == n-1 {
			if _, err := z.Write(line); err != nil {
				t.Fatal(err)
			}
			line = line[:0]
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

var hwm = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// highWater is how many bytes of a process were resident at most; 0 once it is gone.
func highWater(pid int) int64 {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	if found := hwm.FindSubmatch(text); found != nil {
		kb, _ := strconv.ParseInt(string(found[1]), 10, 64)
		return kb * 1024
	}
	return 0
}
