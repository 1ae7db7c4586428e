package change

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
)

// Whatever is wrong with a record, the error shows the line and says what was expected there.
func TestParseShowsTheLine(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	for _, c := range []struct{ name, yaml, line, want string }{
		{"unknown field", "wrong: y", "> 3 | wrong: y", `unknown field "wrong"`},
		{"unknown field inside", "commands:\n  deploy:\n    run: a\n    tmeout: 3s", ">  6 |     tmeout: 3s", `unknown field "tmeout"`},
		{"wrong type", "files: 3", "> 3 | files: 3", "sequence is expected"},
		{"check", "expected:\n  - stale_reads == 0\n  - p95_ms of \"GET /articles\" <", "> 5 |   - p95_ms of", "expected"},
		{"check without a figure", "expected:\n  - speed < 3", "> 4 |   - speed < 3", "speed"},
		{"time limit", "commands:\n  deploy: {run: x, timeout: soon}", "timeout: soon", "length of time"},
		{"endless", "commands:\n  deploy: {run: x, timeout: 90d}", "timeout: 90d", "24h"},
		{"empty command", "commands:\n  health: ''", "health: ''", "command for the shell"},
		{"artifact", "commands:\n  deploy: {run: x, artifact: y}", "artifact: y", "only backup"},
		{"secret in an address", "commands:\n  backup: pg_dump postgres://shop:hunter2@db/shop", "> 4 |   backup", "without a password"},
		{"secret as a variable", "commands:\n  deploy: {run: x, env: {DB_PASSWORD: hunter2}}", "DB_PASSWORD", "secrets:"},
		{"secret as such", "commands:\n  deploy:\n    run: x\n    secrets: {TOKEN: hunter2}", ">  6 |", "env:NAME or file:PATH"},
		{"variable", "commands:\n  deploy: {run: x, pass: [A B]}", "A B", "name of a variable"},
		{"redis", "environments:\n  production:\n    redis: redis://:hunter2@cache", ">  5 |     redis", "without a password"},
		{"environment", "environments:\n  live: {}", "live", "unknown field"},
		{"config", "config:\n  - {file: a, env: B}", ">  4 |", "one of file"},
		{"absolute file", "files: [/etc/passwd]", "/etc/passwd", "inside the repository"},
		{"file above", "files:\n  - a\n  - ../b", ">  5 |   - ../b", "inside the repository"},
		{"security", "security:\n  - {file: a}", "file: a", "setting:"},
		{"figure", "baseline:\n  figures:\n    - {metric: p95_ms, value: 3}", "metric", "command:"},
		{"item", "checklist:\n  - {id: Not An Id, item: x}", "Not An Id", "lower-case"},
		{"two ways", "checklist:\n  - {id: a, item: x, run: y, step: backup}", "step: backup", "not both"},
		{"step", "checklist:\n  - {id: a, item: x, step: deploy}", "step: deploy", "one of backup"},
		{"twice", "checklist:\n  - {id: a, item: x}\n  - {id: a, item: y}", ">  5 |", "no other item"},
		{"long text", "reason: " + long, "> 3 | reason", "at most 16384 bytes"},
		{"long list", "files: [" + strings.Repeat("a,", MaxList+1) + "]", "> 3 | files", "at most 500"},
		{"control characters", `owner: "\e[31mred"`, "> 3 | owner", "control characters"},
		{"anchor", "files: &a [b]", "> 3 | files: &a [b]", "anchors"},
		{"nesting", "files: [[[[[[[[[[[[[[[[[[[[[[[[", "> 3 | files", "at most 20 levels"},
		{"no YAML", "a: [b", "a: [b", "sequence end token"},
	} {
		_, err := Parse([]byte("version: 1\ntopic: x\n" + c.yaml + "\n"))
		switch got := strings.Join(strings.Fields(errorText(err)), " "); {
		case err == nil:
			t.Errorf("%s: nothing is wrong", c.name)
		case !strings.Contains(got, strings.Join(strings.Fields(c.line), " ")) || !strings.Contains(got, c.want):
			t.Errorf("%s: %q and %q were expected in\n%v", c.name, c.line, c.want, err)
		case strings.HasPrefix(c.name, "secret as such") && strings.Contains(strings.SplitN(got, "|", 2)[0], "hunter2"):
			t.Errorf("the secret is repeated: %v", err)
		case len(got) > 40_000:
			t.Errorf("%s: the error has %d bytes", c.name, len(got))
		}
	}
	for text, want := range map[string]string{
		"":                                       "empty",
		"version: 2\ntopic: x\n":                 "1 was expected",
		"version: 1\n":                           "topic",
		"topic: x\n":                             "version",
		"version: 1\ntopic: |\n  two\n  lines\n": "one line",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s was expected, not %v", text, want, err)
		}
	}
}

// Anchors that refer to each other a thousand million times over are refused, and not unfolded.
func TestParseRefusesBombs(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for _, text := range []string{
		"version: 1\ntopic: x\n" + bomb, "version: 1\ntopic: x\n" + bomb + "files: *a9\n", bomb + "version: 1\ntopic: x\nexpected: [*a9]\n",
		"version: 1\ntopic: x\nfiles: " + strings.Repeat("[", 100_000),
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("a bomb of %d bytes was taken", len(text))
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestLoadFindsRecords(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load(""); err == nil || !strings.Contains(fault.Text(err), "demarc change new") {
		t.Error(err)
	}
	for _, name := range []string{"2026-11-20-list", "2026-11-22-list", "2026-11-21-tags", "notes"} {
		write(t, filepath.Join(Folder, name+".yaml"), "version: 1\ntopic: "+name+"\n", 0o644)
	}
	for arg, want := range map[string]string{
		"": "2026-11-22-list", "tags": "2026-11-21-tags", "2026-11-20": "2026-11-20-list", "changes/notes.yaml": "notes", "2026-11-22-list": "2026-11-22-list",
	} {
		if r, err := Load(arg); err != nil || r.Topic != want {
			t.Errorf("%q: %v, %v; %s was expected", arg, r, err, want)
		}
	}
	for arg, want := range map[string]string{"list": "any of 2", "other": "one of: 2026-11-20-list", "no/such.yaml": "no such file"} {
		if _, err := Load(arg); err == nil || !strings.Contains(fault.Text(err), want) {
			t.Errorf("%q: %s was expected, not %v", arg, want, err)
		}
	}
	write(t, "changes/2026-11-23-big.yaml", "version: 1\ntopic: x\n#"+strings.Repeat("x", MaxRecord), 0o644)
	if _, err := Load("big"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}

// A result that is damaged or from a newer demarc is named; nothing of it is lost.
func TestDamagedRuns(t *testing.T) {
	r := folder(t, "version: 1\ntopic: x\n")
	run := NewRun(KindItem, time.Now())
	run.State = StatePassed
	if err := r.SaveRun(run); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.Dir(), run.ID+".yaml")
	good := read(t, path)
	for text, want := range map[string]string{
		good[:len(good)/2] + "\n  {": "line", strings.Replace(good, "version: 1", "version: 9", 1): "version 9",
		strings.Replace(good, run.ID, "other", 1): "other", good + strings.Repeat("#", MaxRun): "larger than",
	} {
		write(t, path, text, 0o644)
		if _, err := r.Runs(); err == nil || !strings.Contains(fault.Text(err), path) {
			t.Errorf("%s was expected, not %v", want, err)
		}
	}
	write(t, path, good+"something_new: 3\n", 0o644)
	if runs, err := r.Runs(); err != nil || len(runs) != 1 {
		t.Errorf("a field of a newer version: %v", err)
	}
	if err := r.SaveRun(&Run{ID: "../../escape"}); err == nil {
		t.Error("an id that is a path was taken")
	}
}

func TestRunRoundTrip(t *testing.T) {
	zero, value := 0, 0.1
	r := &Record{path: filepath.Join(t.TempDir(), "2026-11-22-x.yaml")}
	in := NewRun(KindItem, time.Date(2026, 11, 22, 2, 30, 0, 5e6, time.UTC))
	in.State, in.Item, in.Duration = StatePassed, "lint", "1.2s"
	in.Commands = map[string]string{"true": "no", "n": "1e3", "d": "2026-11-22"}
	in.Steps = []Step{{
		Name: "lint", State: StatePassed, Command: "ruff check . # : {}", ExitCode: &zero, At: in.At,
		Output: "line: 1\n  - x\n\ttab \"quoted\" # no comment",
	}, {
		Name: "odd", State: StateFailed, At: in.At, Output: "and more\n\n  red | x: >",
		Checks: []CheckResult{{Check: "p95_ms of * <= 1.05 * baseline", State: StateUndecided, Value: &value}},
	}}
	if err := r.SaveRun(in); err != nil {
		t.Fatal(err)
	}
	runs, err := r.Runs()
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 1 || !reflect.DeepEqual(in, runs[0]) {
		data, _ := os.ReadFile(filepath.Join(r.Dir(), in.ID+".yaml"))
		t.Errorf("%+v\n%+v\n%s", in, runs[0], data)
	}
}

// Whatever a record holds, reading it gives a record that can be shown, noted and written, or an error.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/golden/2026-11-22-article-list.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(fileService))
	f.Add([]byte("version: 1\ntopic: x\ncommands: {deploy: {run: '@x\n\n\t- y'}}\nfiles: &a [b]\nassumptions: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		r, err := Parse(data)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		r.path = "changes/2026-11-22-fuzz.yaml"
		v := NewView(r, nil)
		for _, render := range []func(io.Writer) error{v.Text, r.Runbook, r.Makefile} {
			if err := render(io.Discard); err != nil {
				t.Fatal(err)
			}
		}
		head, body, _ := r.note(NoteInput{}, &v.Status)
		written := note.Join(&head, body)
		again, text, err := SplitNote(written)
		if err != nil || again.ContentHash != ContentHash(text) {
			t.Fatalf("the note cannot be read again: %v\n%s", err, written)
		}
		rendered, err := render(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(rendered); err != nil {
			t.Fatalf("what is written cannot be read: %v\n%s", err, rendered)
		}
		patched, err := replaceKey(data, "files", []string{"a.py"}, false, "base")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := Parse(patched); err == nil && (p.Topic != r.Topic || p.Reason != r.Reason) {
			t.Fatalf("the files changed something else:\n%s", patched)
		}
	})
}

// Any note that people or other programs wrote is taken apart or refused.
func FuzzSplitNote(f *testing.F) {
	data, err := os.ReadFile("testdata/golden/2026-11-22-article-list.md")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("---\ntopic: x\n---\nbody"))
	f.Add([]byte("---\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		head, body, err := SplitNote(data)
		if err != nil {
			return
		}
		again := note.Join(&head, body)
		if _, text, err := SplitNote(again); err != nil || !bytes.Equal(text, body) {
			t.Fatalf("%v: %q became %q", err, body, text)
		}
	})
}
