package change

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/fault"
)

// fileService is a service whose state is one file: deployed is v2, rolled back is v1.
const fileService = `version: 1
topic: from v1 to v2
commands:
  backup: cp version "$DEMARC_BACKUP"
  restore: cp "$DEMARC_BACKUP" "$DEMARC_SCRATCH/version" && cmp version "$DEMARC_SCRATCH/version"
  deploy: ./deploy.sh v2
  health: {run: test -s version, timeout: 20s}
  verify: grep -q v2 version
  rollback: ./deploy.sh v1
`

// folder makes a folder with the service and its record, and makes it the current one.
func folder(t *testing.T, record string) *Record {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "version", "v1\n", 0o644)
	write(t, "deploy.sh", "#!/bin/sh\nset -e\necho deploying $1 to $DEMARC_ENVIRONMENT\necho $1 >version.new\nmv version.new version\n", 0o755)
	write(t, "changes/2026-11-22-it.yaml", record, 0o644)
	return loaded(t)
}

func loaded(t *testing.T) *Record {
	t.Helper()
	r, err := Load("it")
	if err != nil {
		t.Fatal(fault.Text(err))
	}
	return r
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// options returns options whose talk is kept.
func options(op string) (Options, *bytes.Buffer) {
	talk := &bytes.Buffer{}
	return Options{Op: op, State: ".demarc", Talk: talk, Now: time.Now, Check: runChecks,
		Mark: func(*Environment, string, string) (string, string, error) { return "", "", ErrNoCapture }}, talk
}

// runChecks answers checks where there is no capture: commands and addresses for real, figures not at all.
func runChecks(ctx context.Context, q CheckRequest) ([]CheckResult, error) {
	runner := check.Runner{Env: q.Vars, LogDir: q.LogDir, Output: q.Output, Started: q.Started}
	var list []CheckResult
	for i, c := range q.Checks {
		if c.Kind == check.Figure {
			list = append(list, CheckResult{Check: c.String(), State: StateUndecided, Detail: "there is no capture"})
			continue
		}
		r, err := runner.Run(ctx, c, i+1)
		if err != nil {
			return nil, err
		}
		state := map[check.Verdict]string{check.Pass: StatePassed, check.Fail: StateFailed}[r.Verdict]
		list = append(list, CheckResult{Check: r.Title(), State: state, Detail: r.Says()})
	}
	return list, nil
}

// states are the states of a run's steps, in order.
func states(run *Run) string {
	var list []string
	for _, s := range run.Steps {
		list = append(list, s.Name+"="+s.State)
	}
	return strings.Join(list, " ")
}

func TestRehearse(t *testing.T) {
	record := folder(t, fileService)
	o, talk := options("demarc change rehearse")
	run, err := Rehearse(t.Context(), record, o)
	if err != nil {
		t.Fatalf("%s\n%s", fault.Text(err), talk)
	}
	const want = "health-before=passed verify-before=failed checks-before=skipped backup=passed restore=passed deploy=passed " +
		"health=passed verify=passed checks=skipped rollback=passed health-after=passed verify-after=failed checks-after=skipped"
	if run.State != StatePassed || states(run) != want {
		t.Errorf("%s: %s\n%s", run.State, states(run), talk)
	}
	if read(t, "version") != "v1\n" {
		t.Error("staging is not as it was")
	}
	runs, err := record.Runs()
	if err != nil || len(runs) != 1 || runs[0].State != StatePassed || runs[0].Commands["deploy ./deploy.sh"] == "" || states(runs[0]) != want {
		t.Errorf("the run's file: %+v, %v", runs, err)
	}
	deploy := runs[0].Step("deploy")
	if got := read(t, filepath.Join(record.Dir(), deploy.Log)); got != "deploying v2 to staging\n" || deploy.Output != "deploying v2 to staging" {
		t.Errorf("log %q, output %q", got, deploy.Output)
	}
	if p, err := LastProgress(".demarc", record.Name()); err != nil || p.Unfinished() || p.Run.State != StatePassed {
		t.Errorf("journal: %+v, %v", p, err)
	}
	if left, _ := filepath.Glob(".demarc/changes/*/backups/*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRehearseDryRun(t *testing.T) {
	record := folder(t, fileService)
	o, talk := options("demarc change rehearse")
	o.DryRun = true
	if run, err := Rehearse(t.Context(), record, o); err != nil || run != nil {
		t.Fatal(run, err)
	}
	for _, line := range []string{"backup         cp version", "deploy         ./deploy.sh v2", "rollback       ./deploy.sh v1"} {
		if !strings.Contains(talk.String(), line) {
			t.Errorf("%q is not in\n%s", line, talk)
		}
	}
	if _, err := os.Stat(".demarc"); err == nil {
		t.Error("a dry run wrote something")
	}
	if _, err := os.Stat(record.Dir()); err == nil {
		t.Error("a dry run wrote a result")
	}
}

// Each of these must be said for what it is, leave the record as it was and staging as it was, as far as that can be.
func TestRehearseFailures(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string // what of the record is replaced
		why      string // in the error
		version  string // of staging afterwards
		steps    string // the last ones
		banner   bool
	}{
		"unhealthy before": {"run: test -s version, timeout: 20s", "run: test -s absent, timeout: 1s", "not healthy before anything", "v1", "health-before=failed", false},
		"empty backup":     {`cp version "$DEMARC_BACKUP"`, `true >"$DEMARC_BACKUP"`, "the backup failed", "v1", "backup=failed", false},
		"no backup":        {`cp version "$DEMARC_BACKUP"`, "true", "the backup failed", "v1", "backup=failed", false},
		"old backup": {`  backup: cp version "$DEMARC_BACKUP"`, "  backup: {run: \"touch -d 2001-01-01 version; true\", artifact: version}",
			"the backup failed", "v1", "backup=failed", false},
		"restore fails":   {`&& cmp version`, `&& cmp absent`, "the restore failed", "v1", "restore=failed", false},
		"deploy fails":    {"./deploy.sh v2", "./deploy.sh v2; exit 3", "the deploy failed: exit 3", "v1", "rollback=passed health-after=passed", false},
		"deploy hangs":    {"deploy: ./deploy.sh v2", "deploy: {run: \"./deploy.sh v2; sleep 60\", timeout: 1s}", "not done after 1", "v1", "rollback=passed", false},
		"deploy absent":   {"./deploy.sh v2", "./absent.sh", "a command was not found", "v1", "rollback=passed", false},
		"host is gone":    {"./deploy.sh v2", "echo 'ssh cannot connect to staging, no route to host'; exit 255", "that host did not answer", "v1", "rollback=passed", false},
		"needs terminal":  {"./deploy.sh v2", "read -r yes </dev/tty", "the deploy failed: exit", "v1", "rollback=passed", false},
		"kills parent":    {"./deploy.sh v2", "kill -9 $PPID; sleep 5", "the deploy failed", "v1", "rollback=passed", false},
		"kills its group": {"./deploy.sh v2", "kill -9 0", "the deploy failed", "v1", "rollback=passed", false},
		"verify fails":    {"grep -q v2 version", "grep -q v3 version", "verify failed after the deploy", "v1", "rollback=passed", false},
		"rollback fails":  {"./deploy.sh v1", "echo no way back; exit 4", "the rollback failed on staging: exit 4", "v2", "rollback=failed", true},
		"rollback breaks": {"20s}\n  verify: grep -q v2 version\n  rollback: ./deploy.sh v1", "2s}\n  verify: grep -q v2 version\n  rollback: rm version", "not healthy after the rollback", "", "health-after=failed", true},
		"rollback lies":   {"./deploy.sh v1", "true", "the checks are not what they were", "v2", "verify-after=passed", true},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(fileService, c.old, c.new, 1)
			if text == fileService {
				t.Fatal("nothing was replaced")
			}
			record := folder(t, text)
			o, talk := options("demarc change rehearse")
			run, err := Rehearse(t.Context(), record, o)
			if err == nil || fault.ExitCode(err) != fault.ExitFailed || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("error %v\n%s", err, talk)
			}
			if run == nil || run.State != StateFailed || !strings.Contains(states(run), c.steps) {
				t.Fatalf("run %+v", run)
			}
			if got, _ := os.ReadFile("version"); strings.TrimSpace(string(got)) != c.version {
				t.Errorf("staging has %q", got)
			}
			if c.banner != strings.Contains(talk.String(), "!!  THE ROLLBACK FAILED") || c.banner != strings.HasPrefix(run.Detail, "ROLLBACK FAILED") {
				t.Errorf("banner: %v, detail %q\n%s", c.banner, run.Detail, talk)
			}
			if read(t, record.Path()) != text {
				t.Error("the record was changed")
			}
		})
	}
}

func TestFloodOfOutput(t *testing.T) {
	record := folder(t, strings.Replace(fileService, "./deploy.sh v2", "head -c 300000000 /dev/zero | tr '\\\\0' x; echo; ./deploy.sh v2", 1))
	o, talk := options("demarc change rehearse")
	run, err := Rehearse(t.Context(), record, o)
	if err != nil {
		t.Fatalf("%s\n%s", fault.Text(err), talk)
	}
	s := run.Step("deploy")
	info, err := os.Stat(filepath.Join(record.Dir(), s.Log))
	if err != nil || info.Size() > 16<<20 || len(s.Output) > MaxTail || !strings.HasSuffix(s.Output, "deploying v2 to staging") {
		t.Errorf("log %v %v, output %d bytes", info, err, len(s.Output))
	}
}

func TestRecordIsNotComplete(t *testing.T) {
	record := folder(t, "version: 1\ntopic: nothing yet\n")
	o, _ := options("demarc change rehearse")
	_, err := Rehearse(t.Context(), record, o)
	if fault.ExitCode(err) != fault.ExitUsage || !strings.Contains(err.Error(), "commands.deploy, commands.rollback, commands.health") {
		t.Error(err)
	}
}
