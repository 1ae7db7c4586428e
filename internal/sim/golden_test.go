package sim_test

import (
	"context"
	"encoding/csv"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/demarc-dev/demarc/internal/sim"
	"github.com/demarc-dev/demarc/internal/trace"
)

// tracesFolder is where the public traces and the counts of a trusted simulator lie, if they do.
func tracesFolder() string {
	if dir := os.Getenv("DEMARC_TRACES"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "..", "shared", "traces")
}

// load reads a whole trace and its LRU curve.
func load(t testing.TB, path string) (*sim.Trace, *sim.Curve) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	curve, tr := sim.NewCurve(sim.NewInterner(1)), sim.NewTrace(true)
	var keys []uint32
	_, err = trace.Read(context.Background(), f, trace.Options{Name: path}, func(b trace.Batch) error {
		if cap(keys) < len(b.Keys) {
			keys = make([]uint32, len(b.Keys))
		}
		keys = keys[:len(b.Keys)]
		curve.Add(b.Keys, keys)
		tr.Add(sim.Block{Keys: keys, At: b.At, Known: curve.Keys()})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr, curve
}

// TestGolden replays public traces. Where their folder is absent it says so and checks nothing: the same policies are compared
// with plain caches, on generated traces, by TestAgainstPlainCaches, which runs everywhere.
func TestGolden(t *testing.T) {
	f, err := os.Open(filepath.Join(tracesFolder(), "golden.csv"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Logf("no public traces in %s (set DEMARC_TRACES): policies are held only against plain caches here", tracesFolder())
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	byTrace := map[string][][]string{}
	for _, row := range rows[1:] {
		byTrace[row[0]] = append(byTrace[row[0]], row)
	}
	for name, rows := range byTrace {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, curve := load(t, filepath.Join(tracesFolder(), name+".txt.zst"))
			for _, row := range rows {
				size, _ := strconv.Atoi(row[2])
				want, err := strconv.ParseInt(row[4], 10, 64)
				if err != nil || strconv.Itoa(tr.Requests()) != row[3] {
					t.Fatalf("%v: %d requests, %v", row, tr.Requests(), err)
				}
				def, err := sim.Find(row[1])
				if err != nil {
					t.Fatal(err)
				}
				p := def.New(size, sim.Options{})
				for b := range tr.Blocks() {
					p.Add(b)
				}
				allowed := 0.0
				if def.Name == "s3fifo" || def.Name == "arc" {
					allowed = 0.001
				}
				if math.Abs(float64(p.Misses()-want)) > allowed*float64(want) {
					t.Errorf("%s at %d: %d misses, want %d (%+.3f %%)", def.Name, size, p.Misses(), want, 100*float64(p.Misses()-want)/float64(want))
				}
				if def.Name == "lru" && curve.Misses([]int{size})[0] != want {
					t.Errorf("the LRU curve at %d: %d misses, want %d", size, curve.Misses([]int{size})[0], want)
				}
			}
		})
	}
}
