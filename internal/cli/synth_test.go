package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/forecast"
	"github.com/demarc-dev/demarc/internal/stale"
	"github.com/demarc-dev/demarc/internal/synth"
)

func readJSON(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// madeTraffic runs demarc synth traffic and returns its summary and the truth.
func madeTraffic(t *testing.T, args ...string) (sum synthTrafficSummary, truth synth.Truth) {
	t.Helper()
	code, out, talk := command(t, "", append([]string{"synth", "traffic", "--json"}, args...)...)
	if code != fault.ExitOK {
		t.Fatalf("%q: exit code %d\n%s", args, code, talk)
	}
	readJSON(t, out, &sum)
	readJSON(t, readFile(t, sum.Truth), &truth)
	return sum, truth
}

// TestSynthTrafficInEveryForm: JSON Lines, compressed ones, standard output and a capture hold the same events, whose sum is told.
func TestSynthTrafficInEveryForm(t *testing.T) {
	t.Chdir(t.TempDir())
	asked := []string{"--seed", "3", "--requests", "3000", "--stale", "18"}
	plain, truth := madeTraffic(t, append(asked, "-o", "a.jsonl")...)
	lines := readFile(t, "a.jsonl")
	sum := sha256.Sum256([]byte(lines))
	if got := hex.EncodeToString(sum[:]); got != plain.SHA256 || got != truth.SHA256 {
		t.Errorf("the file's sum is %s; told were %s and, in the truth, %s", got, plain.SHA256, truth.SHA256)
	}
	if n := int64(strings.Count(lines, "\n")); n != plain.Events || plain.Requests != 3000 || truth.Totals.Events != n || plain.Format != "jsonl" {
		t.Errorf("%d lines; %+v", n, plain)
	}
	zst, _ := madeTraffic(t, append(asked, "-o", "a.jsonl.zst")...)
	kept, _ := madeTraffic(t, append(asked, "-o", "kept")...)
	if zst.SHA256 != plain.SHA256 || kept.SHA256 != plain.SHA256 || zst.Format != "zst" || kept.Format != "capture" || kept.Truth != "kept.truth.json" {
		t.Errorf("%+v %+v", zst, kept)
	}
	code, out, talk := command(t, "", append([]string{"synth", "traffic"}, asked...)...)
	if code != 0 || out != lines || !strings.Contains(talk, "sha256: "+plain.SHA256) {
		t.Errorf("standard output differs: code %d, %s", code, talk)
	}
	for _, from := range []string{"kept", "again"} {
		if from == "again" {
			if code, _, talk := command(t, "", "import", "a.jsonl.zst", "-o", from); code != 0 {
				t.Fatal(talk)
			}
		}
		if code, out, talk := command(t, "", "export", from); code != 0 || out != lines {
			t.Errorf("export of %s: code %d, %s; %d bytes, %d were expected", from, code, talk, len(out), len(lines))
		}
	}
	for _, name := range []string{"a.jsonl", "a.jsonl.zst", "kept"} {
		if readFile(t, name+".truth.json") != readFile(t, "a.jsonl.truth.json") {
			t.Errorf("the truth of %s is another one", name)
		}
	}
}

// TestCommandsFindThePlantedTruth: demarc stale and demarc choose, on a capture, say what the truth beside it says.
func TestCommandsFindThePlantedTruth(t *testing.T) {
	t.Chdir(t.TempDir())
	_, truth := madeTraffic(t, "--seed", "12", "--requests", "25000", "--plant", "forgot=3", "--plant", "vary=1", "--plant", "twin-lag=2", "--plant", "stale-set=2",
		"--lifetimes", "3s,40s", "-o", "kept")
	code, out, talk := command(t, "", "stale", "kept", "--json")
	if code != 0 {
		t.Fatal(talk)
	}
	var found stale.Report
	readJSON(t, out, &found)
	var got, want []string
	for _, f := range found.Findings {
		got = append(got, fmt.Sprint(f.Cause, f.Verdict, f.Family, f.StaleReads, f.Entries, f.MaxStalenessMs))
	}
	for _, f := range truth.Findings {
		want = append(want, fmt.Sprint(f.Cause, f.Verdict, f.Family, f.StaleReads, f.Entries, float64(f.MaxStalenessNs)/1e6))
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) != 3 || !slices.Equal(got, want) {
		t.Errorf("demarc stale found\n%s\nthe truth is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	code, out, talk = command(t, "", "choose", "kept", "--json", "--ttl", "3s,40s")
	if code != 0 {
		t.Fatal(talk)
	}
	var chosen forecast.Report
	readJSON(t, out, &chosen)
	points := 0
	for _, want := range truth.Routes {
		i := slices.IndexFunc(chosen.Boundaries, func(b forecast.Boundary) bool { return b.Name == want.Route })
		if i < 0 {
			t.Errorf("no boundary %s", want.Route)
			continue
		}
		b := &chosen.Boundaries[i]
		if b.Requests != want.Requests || want.Verdict != "either" && b.Verdict != want.Verdict {
			t.Errorf("%s: %s with %d requests, the truth is %s with %d", want.Route, b.Verdict, b.Requests, want.Verdict, want.Requests)
		}
		for _, p := range want.Points {
			points++
			if !slices.ContainsFunc(b.Curve, func(c forecast.CurvePoint) bool {
				return c.TTLMs == float64(p.TTLMs) && c.How == p.Invalidation && c.Hits == p.Hits && c.StaleServes == p.StaleServes
			}) {
				t.Errorf("%s: not in the curve: %+v", want.Route, p)
			}
		}
	}
	if points < 40 {
		t.Errorf("only %d points were compared", points)
	}
	_, truth = madeTraffic(t, "--requests", "2000", "--stale", "0", "-o", "clean")
	code, out, talk = command(t, "", "stale", "clean", "--json", "--fail-on-findings")
	readJSON(t, out, &found)
	if code != 0 || len(found.Findings)+len(found.Lookalikes)+len(truth.Findings)+len(truth.Harmless) != 0 {
		t.Errorf("nothing was planted: code %d, %d findings, %s", code, len(found.Findings), talk)
	}
}

// TestSynthNotesInEveryForm: the sums that are told are those of what is written, and the truth names what must be refused.
func TestSynthNotesInEveryForm(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, out := range []string{"md/", "lines.jsonl", "lines.jsonl.zst", "txt"} {
		form := "md"
		args := []string{"synth", "notes", "--seed", "4", "--count", "200", "--hostile", "-o", out, "--json"}
		if out == "txt" {
			form, args = "text", append(args, "--format", "text")
		} else if strings.HasPrefix(out, "lines") {
			form = "jsonl"
		}
		code, text, talk := command(t, "", args...)
		if code != 0 {
			t.Fatalf("%s: %s", out, talk)
		}
		var sum synthNotesSummary
		readJSON(t, text, &sum)
		var truth synth.NotesTruth
		readJSON(t, readFile(t, sum.Truth), &truth)
		if sum.Schema != "demarc.synth.notes/1" || sum.Count != 200 || sum.Good+sum.Hostile != 200 || sum.Hostile != len(truth.Hostile) || sum.Hostile != 13 ||
			truth.SHA256 != sum.SHA256 || sum.Format != form || truth.Good != sum.Good {
			t.Errorf("%s: %+v", out, sum)
		}
		switch form {
		case "jsonl":
			if out == "lines.jsonl" {
				h := sha256.Sum256([]byte(readFile(t, out)))
				if hex.EncodeToString(h[:]) != sum.SHA256 {
					t.Errorf("%s has another sum than was told", out)
				}
			}
		default:
			h, n := sha256.New(), 0
			dir := strings.TrimSuffix(out, "/")
			var names []string
			if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					name, _ := filepath.Rel(dir, path)
					names = append(names, filepath.ToSlash(name))
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			number := func(name string) string { return name[strings.LastIndexByte(name, '-'):] }
			slices.SortFunc(names, func(a, b string) int { return strings.Compare(number(a), number(b)) })
			for _, name := range names {
				data := readFile(t, filepath.Join(dir, name))
				fmt.Fprintf(h, "%s\x00%d\x00%s", name, len(data), data)
				n++
			}
			if got := hex.EncodeToString(h.Sum(nil)); n != 200 || got != sum.SHA256 {
				t.Errorf("%s: %d files with the sum %s, told was %s", out, n, got, sum.SHA256)
			}
			for _, bad := range truth.Hostile {
				if !slices.Contains(names, bad.Name) {
					t.Errorf("%s: the truth names %s, which is not there", out, bad.Name)
				}
			}
		}
	}
	code, lines, talk := command(t, "", "synth", "notes", "--seed", "4", "--count", "200", "--hostile", "--format", "jsonl")
	if code != 0 || lines != readFile(t, "lines.jsonl") {
		t.Errorf("standard output differs: %d, %s", code, talk)
	}
}

// TestSynthRefuses: what cannot be made is a fault of the command line that says what could, and nothing is left behind.
func TestSynthRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	writeText(t, "file", "x")
	if err := os.Mkdir("taken", 0o755); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"traffic --requests -1 -o a.jsonl":                  "--requests: -1",
		"traffic --requests 0":                              "expected: 1 to 1000000000",
		"traffic --requests 100":                            "a planted story takes 10 s",
		"traffic --requests 600 --plant forgot=100":         "planted stories take",
		"traffic --plant forgotten=1":                       `there is no cause "forgotten"`,
		"traffic --plant forgot":                            "such as forgot=3",
		"traffic --plant forgot=-1":                         "forgot=-1",
		"traffic --plant peer=1 --processes 1":              "peer is about two processes",
		"traffic --stale -1":                                "--stale: -1",
		"traffic --skew 6":                                  "expected: 0 to 5",
		"traffic --skew steep":                              `--skew: "steep"`,
		"traffic --write-rate 0.95":                         "expected: 0 to 0.9",
		"traffic --write-rate NaN":                          `--write-rate: "NaN"`,
		"traffic --users 0":                                 "--users: 0",
		"traffic --routes 1000":                             "expected: 1 to 240",
		"traffic --rate 0":                                  "--rate: 0",
		"traffic --start yesterday":                         `--start: "yesterday"`,
		"traffic --lifetimes 1us":                           `--lifetimes: "1us"`,
		"traffic --lifetimes 48h":                           "1 ms to 24 h",
		"traffic --format parquet":                          "jsonl, zst, capture",
		"traffic --format capture":                          "needs a name after -o",
		"traffic --json":                                    "--json prints a summary and needs -o",
		"traffic --requests 2000 -o nowhere/a.jsonl":        "cannot write nowhere/a.jsonl: no such file",
		"traffic --requests 2000 -o file/kept":              "cannot",
		"traffic --requests 2000 -o taken":                  "it is there already",
		"traffic --requests 2000 --truth no/t.json -o b.jl": "cannot write no/t.json",
		"traffic --requests 2000 --truth no/t.json -o cap":  "cannot write no/t.json",
		"traffic more":                                      "unknown command",
		"notes --count -3 -o n":                             "--count: -3",
		"notes --topic gossip -o n":                         `there is no topic "gossip"`,
		"notes --scenario moon -o n":                        `there is no scenario "moon"`,
		"notes --format html -o n":                          `there is no format "html"`,
		"notes":                                             "need a folder after -o",
		"notes --hostile --long-line 1KB -o n":              "--long-line: 1024",
		"notes --hostile --long-line long -o n":             `--long-line: "long"`,
		"notes --count 3 -o taken":                          "it is there already",
		"notes --count 3 -o file/n":                         "cannot",
		"notes --count 3 -o nowhere/n.jsonl":                "cannot write nowhere/n.jsonl",
		"notes --count 3 --truth no/t.json -o n":            "cannot write no/t.json",
	} {
		code, out, talk := command(t, "", append([]string{"synth"}, strings.Fields(args)...)...)
		if code == 0 || !strings.Contains(talk, want) || !strings.HasPrefix(talk, "demarc synth") || out != "" {
			t.Errorf("%s: exit code %d, %q, expected %q", args, code, talk, want)
		}
		if strings.Contains(want, "--") && code != fault.ExitUsage {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
	onlyThese(t, "file", "taken")
}

// TestSynthFullDisk: a device without space makes a fault, not a half-written file.
func TestSynthFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"synth", "traffic", "--requests", "3000"}, {"synth", "notes", "--format", "jsonl"}} {
		var talk strings.Builder
		if code := Main(args, strings.NewReader(""), full, &talk); code != fault.ExitFailed || !strings.Contains(talk.String(), "no space left on device") {
			t.Errorf("%q: exit code %d, %s", args, code, talk.String())
		}
	}
}

// docs/synth.md describes every flag of demarc synth and every name that can be given, and no flag that is not there.
func TestSynthPageNamesEveryFlag(t *testing.T) {
	page := readFile(t, "../../docs/synth.md")
	for _, cmd := range []*cobra.Command{newSynthTrafficCommand(), newSynthNotesCommand()} {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(page, "`--"+f.Name) && !strings.Contains(page, " --"+f.Name+" ") && !strings.Contains(page, "`-"+f.Shorthand) {
				t.Errorf("demarc synth %s --%s is not described", cmd.Name(), f.Name)
			}
		})
	}
	names := append(append(synth.Plants(), synth.Topics()...), synth.Scenarios()...)
	for _, form := range synth.Forms() {
		names = append(names, synth.HostileKinds(form)...)
	}
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s is not described", name)
		}
	}
}
