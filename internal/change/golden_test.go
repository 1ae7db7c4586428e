package change

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/compare"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata/golden.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

// goldenRecord is the record of testdata/golden in a folder of its own, with runs as a whole change has them.
func goldenRecord(t *testing.T) (*Record, []*Run) {
	t.Helper()
	data, err := os.ReadFile("testdata/golden/2026-11-22-article-list.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), Folder, "2026-11-22-article-list.yaml")
	write(t, path, string(data), 0o644)
	r, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	zero, value, bound := 0, 97.9, 100.0
	step := func(name string, n int) Step {
		return Step{Name: name, State: StatePassed, Command: name + " command", ExitCode: &zero, At: at.Add(time.Duration(n) * time.Minute), Duration: "1.5s"}
	}
	checks := step(StepChecks, 3)
	checks.Checks = []CheckResult{
		{Check: `p95_ms of "GET /articles" < 100`, State: StatePassed, Value: &value, Bound: &bound},
		{Check: "run: pytest -q tests/integration", State: StateUndecided, Detail: "nothing was collected | a pipe"},
	}
	rehearsal := &Run{Version: 1, ID: "20261122T100000Z-rehearse-0001", Kind: KindRehearse, Environment: "staging", At: at, Duration: "1m30s",
		By: "Ada Lovelace", Commit: "0123456789ab", State: StatePassed, Steps: []Step{step("backup", 1), step("restore", 1), step("deploy", 2), checks, step("rollback", 4)}}
	watch := step(StepWatch, 20)
	watch.Checks, watch.Duration = checks.Checks, "15m0s"
	ship := &Run{Version: 1, ID: "20261122T101000Z-ship-0002", Kind: KindShip, Environment: "production", At: at.Add(10 * time.Minute), Duration: "16m",
		By: "Ada Lovelace", Commit: "0123456789ab", State: StatePassed, Steps: []Step{step("backup", 10), step("deploy", 11), step("health", 12), watch}}
	one := 1
	item := &Run{Version: 1, ID: "20261122T095900Z-item-0003", Kind: KindItem, Item: "lint", At: at.Add(-time.Minute), Duration: "1s", State: StateFailed,
		Steps: []Step{{Name: "lint", Command: "ruff check .", State: StateFailed, ExitCode: &one, At: at.Add(-time.Minute), Duration: "1s", Detail: "exit 1", Output: "E501 line too long"}}}
	for _, run := range []*Run{item, rehearsal, ship} {
		if err := r.SaveRun(run); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := r.Runs()
	if err != nil || len(runs) != 3 {
		t.Fatal(len(runs), err)
	}
	return r, runs
}

// comparedSample is a comparison with one row of each verdict.
func comparedSample() *compare.Result {
	p := func(v float64) *float64 { return &v }
	row := func(metric string, before, after, change, lo, hi, pv float64, verdict compare.Verdict, is string) compare.Row {
		return compare.Row{Route: "GET /articles", Metric: metric, Before: p(before), After: p(after), Change: p(change), CI: &[2]*float64{p(lo), p(hi)},
			P: p(pv), N: [2]int64{174, 180}, Verdict: verdict, ChangeIs: is}
	}
	few := row(compare.P99, 326, 176, 0, 0, 0, 1, compare.TooFew, compare.Relative)
	few.Change, few.CI, few.P, few.Needs = nil, nil, nil, 500
	other := row(compare.P50, 10, 20, 1, 0.8, 1.2, 0.00001, compare.Worse, compare.Relative)
	other.Route = "POST /articles"
	unseen := compare.Row{Route: "GET /articles", Metric: compare.StaleReads, Verdict: compare.TooFew}
	return &compare.Result{
		Schema: compare.Schema, Verdict: compare.Mixed, Confidence: 0.95, Correction: "holm", Tests: 5,
		Before: compare.Side{Name: ".demarc/before", Seconds: 300, Requests: 1000, Services: []string{"shop 1.0"}},
		After:  compare.Side{Name: ".demarc/after", Window: "since ship", Seconds: 310, Requests: 1010, Services: []string{"shop 1.1"}},
		Routes: []compare.Row{
			row(compare.P50, 56.4, 35.2, -0.375, -0.56, 0.05, 0.9, compare.Nothing, compare.Relative),
			row(compare.P95, 260.5, 97.9, -0.624, -0.727, -0.5, 0.00001, compare.Better, compare.Relative), few,
			row(compare.ErrorRate, 0, 0.01, 0.01, 0, 0.03, 0.2, compare.Nothing, compare.Difference), unseen, other,
		},
		Warnings: []compare.Doubt{{Code: "mix", Route: "GET /articles", Text: "other things were asked for"}},
		Unasked:  []string{compare.HitRatio},
	}
}

func TestGoldenViews(t *testing.T) {
	r, runs := goldenRecord(t)
	r.path = Folder + "/2026-11-22-article-list.yaml" // what is shown is relative
	v := View{Schema: ViewSchema, Name: r.Name(), Path: r.Path(), Record: &Content{r}, Status: r.Status(runs), Runs: runs}
	for name, render := range map[string]func(io.Writer) error{
		"show.txt": v.Text, "runbook.md": r.Runbook, "change.mk": r.Makefile,
		"show.json": func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(v)
		},
	} {
		var b bytes.Buffer
		if err := render(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

func TestGoldenNote(t *testing.T) {
	t.Setenv("SHOP_DEPLOY_TOKEN", "ticket-4711")
	r, runs := goldenRecord(t)
	r.Context += "\nThe token is ticket-4711, the database postgres://shop:hunter2@db/shop." // by mistake
	in := NoteInput{Runs: runs, Compared: comparedSample(), Command: "demarc compare .demarc/before .demarc/after --route 'GET /articles'",
		Final: true, Now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	path, err := r.WriteNote(in)
	if err != nil {
		t.Fatal(err)
	}
	note, svg := []byte(read(t, path)), []byte(read(t, r.figurePath()))
	golden(t, "2026-11-22-article-list.md", note)
	golden(t, "2026-11-22-article-list.svg", svg)
	for _, secret := range []string{"ticket-4711", "hunter2"} {
		if bytes.Contains(note, []byte(secret)) || bytes.Contains(svg, []byte(secret)) {
			t.Errorf("%s stands in the note", secret)
		}
	}
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal("the picture is no XML: ", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") || e.Name.Local == "script" || e.Name.Local == "style" {
					t.Errorf("<%s %s> does not belong into a picture", e.Name.Local, a.Name.Local)
				}
			}
		}
	}
	if s := r.Status(runs); s.State != Noted || s.Unfinished {
		t.Errorf("%s, unfinished %v", s.State, s.Unfinished)
	}
}

// A draft leaves the change unfinished; a text that a person has changed survives; each writing is a new version.
func TestNoteKeepsWhatPeopleWrote(t *testing.T) {
	r, runs := goldenRecord(t)
	in := NoteInput{Runs: runs, NoFigure: "there is no capture", Now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	state := func(want string, version int) NoteHead {
		t.Helper()
		h, _, err := SplitNote([]byte(read(t, r.NotePath())))
		if err != nil {
			t.Fatal(err)
		}
		if h.Revision.Status != want || h.Revision.Version != version {
			t.Errorf("%s, version %d; %s, %d was expected", h.Revision.Status, h.Revision.Version, want, version)
		}
		return h
	}
	put := func() {
		t.Helper()
		if _, err := r.WriteNote(in); err != nil {
			t.Fatal(err)
		}
	}
	put()
	state(NoteDraft, 1)
	if s := r.Status(runs); !s.Unfinished || s.Note.Edited {
		t.Errorf("%+v", s)
	}
	put()
	state(NoteDraft, 1) // the same again
	if text := read(t, r.NotePath()); !strings.Contains(text, "there is no capture") || strings.Contains(text, "![") {
		t.Error("without figures it says why, and has no picture")
	}
	edited := strings.Replace(read(t, r.NotePath()), "## The cause\n", "## The cause\n\nI looked again.\n", 1)
	write(t, r.NotePath(), edited, 0o644)
	in.Final, in.Compared, in.Command = true, comparedSample(), "demarc compare a b"
	put()
	if h := state(NoteFinal, 2); h.Flags.Generated || !strings.Contains(read(t, r.NotePath()), "I looked again.") {
		t.Error("the words of a person are gone")
	}
	if exists(r.figurePath()) {
		t.Error("a picture was written beside a text that does not show it")
	}
	in.Rewrite = true
	put()
	if h := state(NoteFinal, 3); !h.Flags.HasImages || strings.Contains(read(t, r.NotePath()), "I looked again.") {
		t.Error("it was not written anew")
	}
	write(t, r.NotePath(), "my own note\n", 0o644)
	in.Rewrite = false
	if _, err := r.WriteNote(in); err == nil || read(t, r.NotePath()) != "my own note\n" {
		t.Errorf("a note without a head was replaced: %v", err)
	}
}

// The targets do what the commands of the record say, whatever stands in them; make -n shows them and does nothing.
func TestMakefileRuns(t *testing.T) {
	record := `version: 1
topic: "odd commands $(shell touch touched) # $$"
commands:
  backup:
    run: |
      # a comment, and $HOME
      cat > out-backup <<'END'
      - a 'quoted' "line" with $DOLLARS and \ backslashes
      	@tab
      END
      test -s out-backup && \
        echo joined
    artifact: out-backup
  deploy: {run: 'pwd > "$OUT"; echo "$SECRET $FROM_FILE" >> "$OUT"', dir: sub dir, env: {OUT: "out $x"}, secrets: {SECRET: env:CALLER, FROM_FILE: "file:../my file"}}
  health: '@true; echo "it''s $((1+1))" > out-health'
  verify: 'test -f out-health && test "$DEMARC_ENVIRONMENT" = production && echo "$DEMARC_BACKUP" > out-variable # ok'
  rollback: exit 3
environments:
  staging: {commands: {health: echo staging > out-health}}
checklist:
  - {id: a, item: "it's $(HOME) 100%", run: "echo ` + "`x`" + `"}
`
	t.Chdir(t.TempDir())
	r, err := Parse([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	r.path = "changes/2026-11-22-odd.yaml"
	var b bytes.Buffer
	if err := r.Makefile(&b); err != nil {
		t.Fatal(err)
	}
	write(t, "change.mk", b.String(), 0o644)
	write(t, "sub dir/x", "", 0o644)
	write(t, "my file", "filed", 0o644)
	run := func(args ...string) (string, error) {
		cmd := exec.Command("make", append([]string{"-f", "change.mk"}, args...)...)
		cmd.Env = append(os.Environ(), "CALLER=told", "MAKEFLAGS=")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	shown, err := run("-n", "change")
	if err != nil || !strings.Contains(shown, "pwd > \"$OUT\"") || exists("out-backup") || exists("out-health") {
		t.Fatalf("make -n: %v\n%s", err, shown)
	}
	if out, err := run("change"); err != nil {
		t.Fatalf("make change: %v\n%s", err, out)
	}
	if got, want := read(t, "out-backup"), "- a 'quoted' \"line\" with $DOLLARS and \\ backslashes\n\t@tab\n"; got != want {
		t.Errorf("backup wrote %q instead of %q", got, want)
	}
	if got := read(t, "sub dir/out $x"); !strings.HasSuffix(got, "/sub dir\ntold filed\n") {
		t.Errorf("deploy wrote %q", got)
	}
	if got := read(t, "out-health"); got != "it's 2\n" {
		t.Errorf("health wrote %q", got)
	}
	if got := read(t, "out-variable"); !strings.HasSuffix(got, "/backup-of-production\n") || got[0] != '/' {
		t.Errorf("DEMARC_BACKUP is %q", got)
	}
	if out, err := run("health", "ENVIRONMENT=staging"); err != nil || read(t, "out-health") != "staging\n" {
		t.Errorf("health on staging: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"rollback"}, {"restore"}, {"change", "ENVIRONMENT=elsewhere"}} {
		if out, err := run(args...); err == nil {
			t.Errorf("make %s must fail:\n%s", args, out)
		}
	}
	if out, err := run("checklist"); err != nil || !strings.Contains(out, "[ ] it's $(HOME) 100%: echo `x`") {
		t.Errorf("make checklist: %v\n%s", err, out)
	}
	if exists("touched") {
		t.Error("make ran what stands in the topic")
	}
}
