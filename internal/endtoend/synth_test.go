//go:build soak

package endtoend

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/demarc-dev/demarc/internal/forecast"
	"github.com/demarc-dev/demarc/internal/stale"
	"github.com/demarc-dev/demarc/internal/synth"
)

// synthetic runs demarc and returns what it printed, its greatest resident memory in bytes and its time on a processor in seconds.
func synthetic(t *testing.T, dir string, args ...string) (out []byte, resident int64, seconds float64) {
	t.Helper()
	cmd := exec.Command(demarc(t), args...)
	cmd.Dir, cmd.Env = dir, cleanEnv()
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("demarc %q: %v\n%s", args, err, errs.String())
	}
	state := cmd.ProcessState
	seconds = (state.UserTime() + state.SystemTime()).Seconds()
	resident = state.SysUsage().(*syscall.Rusage).Maxrss * 1024
	t.Logf("demarc %s: %.1f s on a processor, %d MB resident", strings.Join(args, " "), seconds, resident>>20)
	return out, resident, seconds
}

func decoded(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func truthOf(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoded(t, text, into)
}

// A million requests with 900 stories of stale reads: demarc stale finds each of them and nothing else, demarc choose what is worth
// a cache, with every hit.
func TestSoakPlantedTruth(t *testing.T) {
	dir := t.TempDir()
	synthetic(t, dir, "synth", "traffic", "--requests", "1000000", "--rate", "500", "--stale", "900", "-o", "big")
	var truth synth.Truth
	truthOf(t, filepath.Join(dir, "big.truth.json"), &truth)
	var found stale.Report
	out, _, _ := synthetic(t, dir, "stale", "big", "--json")
	decoded(t, out, &found)
	var got, want []string
	for _, f := range found.Findings {
		got = append(got, fmt.Sprint(f.Cause, f.Verdict, f.Family, f.Writer.Route, f.StaleReads, f.Entries, f.MaxStalenessMs))
	}
	for _, l := range found.Lookalikes {
		got = append(got, fmt.Sprint(l.Cause, l.Family, l.Count))
	}
	for _, f := range truth.Findings {
		want = append(want, fmt.Sprint(f.Cause, f.Verdict, f.Family, f.Writer.Route, f.StaleReads, f.Entries, float64(f.MaxStalenessNs)/1e6))
	}
	for _, l := range truth.Lookalike {
		want = append(want, fmt.Sprint(l.Cause, l.Family, l.Count))
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("found\n%s\nplanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var chosen forecast.Report
	out, _, _ = synthetic(t, dir, "choose", "big", "--json")
	decoded(t, out, &chosen)
	for _, r := range truth.Routes {
		i := slices.IndexFunc(chosen.Boundaries, func(b forecast.Boundary) bool { return b.Name == r.Route })
		if i < 0 {
			t.Errorf("no boundary %s", r.Route)
			continue
		}
		b := &chosen.Boundaries[i]
		slices.Sort(b.Key)
		if b.Requests != r.Requests || r.Verdict != "either" && b.Verdict != r.Verdict || r.Verdict == "cache" && !slices.Equal(b.Key, r.Key) {
			t.Errorf("%s: %s by %q, %s; the truth is %s by %q", r.Route, b.Verdict, b.Key, b.Reason, r.Verdict, r.Key)
		}
		for _, p := range r.Points {
			if !slices.ContainsFunc(b.Curve, func(c forecast.CurvePoint) bool {
				return c.TTLMs == float64(p.TTLMs) && c.How == p.Invalidation && c.Hits == p.Hits && c.StaleServes == p.StaleServes
			}) {
				t.Errorf("%s: not in the curve: %+v", r.Route, p)
			}
		}
	}
}

// A hundred thousand notes, one in sixteen of them hostile and among these lines of 100 MB: those are refused by name, the rest goes
// in, in 300 MB.
func TestSoakImportOfNotes(t *testing.T) {
	for _, form := range []string{"md", "jsonl"} {
		t.Run(form, func(t *testing.T) {
			dir := t.TempDir()
			name := "many"
			if form == "jsonl" {
				name = "many.jsonl"
			}
			// Lines of 100 MB come from a run of their own: one of each kind of hostility is enough of them.
			for i, args := range [][]string{{"--count", "100000", "--hostile", "-o", name}, {"--count", "320", "--hostile", "--seed", "2", "--long-line", "100MB", "-o", "long" + name}} {
				synthetic(t, dir, append([]string{"synth", "notes", "--format", form}, args...)...)
				from := args[len(args)-1]
				var truth synth.NotesTruth
				truthOf(t, filepath.Join(dir, from+".truth.json"), &truth)
				out, resident, _ := synthetic(t, dir, "note", "import", from, "--json")
				var sum struct {
					Added   int `json:"added"`
					Refused []struct {
						File string `json:"file"`
					} `json:"refused"`
				}
				decoded(t, out, &sum)
				var got, want []string
				for _, r := range sum.Refused {
					got = append(got, strings.TrimPrefix(strings.TrimPrefix(filepath.ToSlash(r.File), from), "/"))
				}
				for _, h := range truth.Hostile {
					if form == "jsonl" {
						h.Name = ":" + h.Name
					}
					want = append(want, h.Name)
				}
				slices.Sort(got)
				slices.Sort(want)
				if sum.Added != truth.Good || !slices.Equal(got, want) {
					t.Errorf("%s: %d added and %d refused, the truth says %d and %d", from, sum.Added, len(got), truth.Good, len(want))
				}
				if resident > 300<<20 {
					t.Errorf("importing %s took %d MB", from, resident>>20)
				}
				if i == 0 && truth.Good < 90_000 {
					t.Errorf("only %d good notes", truth.Good)
				}
			}
		})
	}
}
