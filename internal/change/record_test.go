package change

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseShowsTheLine(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"version: 1\ntopic: x\ncommands:\n  deploy:\n    run: a\n    tmeout: 3s\n", "tmeout"},
		{"version: 1\ntopic: x\nwrong: y\n", "wrong"},
		{"version: 1\ntopic: x\nexpected: 3\n", "expected"},
	} {
		_, err := Parse([]byte(c.yaml))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.yaml, err)
		}
		t.Log(err)
	}
	r, err := Parse([]byte("version: 1\ntopic: x\ncommands:\n  deploy: make deploy\n  backup: {run: a, artifact: b.sql}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Commands.Deploy.Run != "make deploy" || r.Commands.Backup.Artifact != "b.sql" {
		t.Error(r.Commands.Deploy, r.Commands.Backup)
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
