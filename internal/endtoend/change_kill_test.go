package endtoend

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stepScript does the work of every step of a change to a service whose whole state is the file version. Where the file
// kill says so, it kills demarc with SIGKILL before or after its work, and stays around as a command does that has not
// noticed.
const stepScript = `#!/bin/sh
# step.sh COMMAND: runs the command between two chances to kill demarc
at() {
  [ "$(cat kill 2>/dev/null)" = "$1" ] || return 0
  rm kill
  kill -9 "$(sed 's/.*"pid":\([0-9]*\).*/\1/' .demarc/changes/lock)"
  sleep 60
}
at "$DEMARC_STEP before"
sh -ec "$1"
code=$?
at "$DEMARC_STEP after"
exit $code
`

const killRecord = `version: 1
topic: from v1 to v2
expected:
  - "run: ./step.sh true"
commands:
  backup: ./step.sh 'cp version "$DEMARC_BACKUP"'
  restore: ./step.sh 'cmp version "$DEMARC_BACKUP"'
  deploy: ./step.sh 'echo half >version; sleep 0.02; echo v2 >version'
  health: {run: "./step.sh 'grep -q v version'", timeout: 20s}
  verify: ./step.sh 'grep -q v2 version'
  rollback: ./step.sh 'echo half >version; sleep 0.02; echo v1 >version'
`

// killing is a folder with such a service.
type killing struct {
	t   *testing.T
	dir string
}

func newKilling(t *testing.T) *killing {
	t.Helper()
	k := &killing{t: t, dir: t.TempDir()}
	k.write("version", "v1\n", 0o644)
	k.write("step.sh", stepScript, 0o755)
	k.write("changes/2026-11-22-it.yaml", killRecord, 0o644)
	return k
}

func (k *killing) write(name, text string, mode os.FileMode) {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		k.t.Fatal(err)
	}
}

func (k *killing) version() string {
	k.t.Helper()
	data, err := os.ReadFile(filepath.Join(k.dir, "version"))
	if err != nil {
		k.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// run runs a demarc change command and returns its exit code (-1: killed) and what it said.
func (k *killing) run(args ...string) (int, string) {
	k.t.Helper()
	_, talk, code := run(k.t, k.dir, append([]string{"change"}, args...)...)
	return code, talk
}

// must runs a command whose exit code is known.
func (k *killing) must(code int, args ...string) string {
	k.t.Helper()
	got, talk := k.run(args...)
	if got != code {
		k.t.Fatalf("demarc change %s: exit code %d, not %d\n%s", strings.Join(args, " "), got, code, talk)
	}
	return talk
}

// settled checks that nothing is left in doubt: every journal has its end but those of runs that were killed and gone on
// with in another one, no command is left running, and the record is as it was.
func (k *killing) settled() {
	k.t.Helper()
	journals, err := filepath.Glob(filepath.Join(k.dir, ".demarc/changes/*/*/journal.jsonl"))
	if err != nil || len(journals) == 0 {
		k.t.Fatalf("no journals: %v", err)
	}
	for _, path := range journals {
		data, err := os.ReadFile(path)
		if err != nil {
			k.t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		var last struct{ Event, State string }
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Event != "finish" {
			k.t.Errorf("%s does not end: %s", path, lines[len(lines)-1])
		}
	}
	if data, _ := os.ReadFile(filepath.Join(k.dir, "changes/2026-11-22-it.yaml")); string(data) != killRecord {
		k.t.Error("the record was changed")
	}
	wait(k.t, "the end of every command", func() bool {
		left, _ := filepath.Glob("/proc/[0-9]*/cwd")
		return !slices.ContainsFunc(left, func(link string) bool {
			at, err := os.Readlink(link)
			return err == nil && at == k.dir
		})
	})
}

// At every step of a rehearsal, before and after its work, demarc is killed. The next rehearsal ends what is left, goes on
// or rolls back first, and passes; staging is as it was.
func TestKillRehearsal(t *testing.T) {
	for _, step := range []string{"health-before", "verify-before", "checks-before", "backup", "restore", "deploy", "health", "verify",
		"checks", "rollback", "health-after", "verify-after", "checks-after"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+" "+when, func(t *testing.T) {
				t.Parallel()
				k := newKilling(t)
				k.write("kill", step+" "+when+"\n", 0o644)
				k.must(-1, "rehearse")
				if when == "before" {
					if refused := k.must(1, "ship"); !strings.Contains(refused, "was broken off in the step "+step) {
						t.Errorf("a ship says nothing of it:\n%s", refused)
					}
				}
				talk := k.must(0, "rehearse")
				if !strings.Contains(talk, "was broken off in the step "+step) || !strings.Contains(talk, "rehearsed: it works on staging") {
					t.Errorf("it does not say what was found and done:\n%s", talk)
				}
				if rolled := strings.Contains(talk, "begins anew"); rolled != (step == "deploy") {
					t.Errorf("begun anew: %v\n%s", rolled, talk)
				}
				if k.version() != "v1" {
					t.Errorf("staging has %s", k.version())
				}
				k.settled()
			})
		}
	}
}

// The same for a ship: it goes on, and what may be half deployed is rolled back.
func TestKillShip(t *testing.T) {
	rehearsed := newKilling(t)
	rehearsed.must(0, "rehearse")
	for _, step := range []string{"backup", "deploy", "health", "watch"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+" "+when, func(t *testing.T) {
				t.Parallel()
				k := &killing{t: t, dir: t.TempDir()}
				if err := os.CopyFS(k.dir, os.DirFS(rehearsed.dir)); err != nil {
					t.Fatal(err)
				}
				k.write("kill", step+" "+when+"\n", 0o644)
				k.must(-1, "ship", "--watch", "100ms")
				if refused := k.must(1, "rehearse"); !strings.Contains(refused, "demarc change rollback 2026-11-22-it") {
					t.Errorf("a rehearsal says nothing of it:\n%s", refused)
				}
				if step == "deploy" {
					talk := k.must(1, "ship")
					if k.version() != "v1" || !strings.Contains(talk, "may be half done; production was rolled back and is healthy") {
						t.Errorf("production has %s\n%s", k.version(), talk)
					}
					k.settled()
				}
				talk := k.must(0, "ship", "--watch", "100ms")
				if k.version() != "v2" || !strings.Contains(talk, "demarc: shipped") {
					t.Errorf("production has %s\n%s", k.version(), talk)
				}
				k.settled()
			})
		}
	}
}

// rollback is one command from every state: after a kill at any step, and again when it was itself killed.
func TestKillThenRollback(t *testing.T) {
	rehearsed := newKilling(t)
	rehearsed.must(0, "rehearse")
	for _, step := range []string{"backup", "deploy", "health", "watch"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			k := &killing{t: t, dir: t.TempDir()}
			if err := os.CopyFS(k.dir, os.DirFS(rehearsed.dir)); err != nil {
				t.Fatal(err)
			}
			k.write("kill", step+" after\n", 0o644)
			k.must(-1, "ship", "--watch", "100ms")
			k.write("kill", "rollback before\n", 0o644)
			k.must(-1, "rollback")
			talk := k.must(0, "rollback")
			if k.version() != "v1" || !strings.Contains(talk, "taking it back") {
				t.Errorf("production has %s\n%s", k.version(), talk)
			}
			k.settled()
		})
	}
}

// At moments that nobody chose, with the steps that run no command among them.
func TestKillAnyMoment(t *testing.T) {
	k := newKilling(t)
	k.must(0, "rehearse")
	took := func() time.Duration {
		began := time.Now()
		k.must(0, "ship", "--watch", "50ms")
		k.must(0, "rollback")
		return time.Since(began) / 2
	}()
	killed := 0
	for range 12 {
		cmd := exec.Command(demarc(t), "change", "ship", "--watch", "50ms")
		cmd.Dir, cmd.Env = k.dir, cleanEnv()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(took))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() == -1 {
			killed++
		}
		code, talk := k.run("ship", "--watch", "50ms")
		want := map[int]string{0: "v2", 1: "v1"}[code]
		if k.version() != want || code == 1 && !strings.Contains(talk, "production was rolled back and is healthy") {
			t.Fatalf("exit code %d, production has %s\n%s", code, k.version(), talk)
		}
		k.settled()
		k.must(0, "rollback")
		if k.version() != "v1" {
			t.Fatalf("after the rollback production has %s", k.version())
		}
	}
	if killed == 0 {
		t.Error("no kill came before the end")
	}
	t.Logf("%d of 12 were killed", killed)
}

// rollback stops a ship that is running.
func TestRollbackDuringShip(t *testing.T) {
	k := newKilling(t)
	k.must(0, "rehearse")
	cmd := exec.Command(demarc(t), "change", "ship", "--watch", "1h")
	cmd.Dir, cmd.Env = k.dir, cleanEnv()
	var talk lockedBuffer
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the watch", func() bool { return strings.Contains(talk.String(), "watch  ") })
	if said := k.must(1, "rehearse"); !strings.Contains(said, "demarc change ship 2026-11-22-it (process") {
		t.Errorf("the holder of the lock is not named:\n%s", said)
	}
	said := k.must(0, "rollback")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("the ship ended with %v\n%s", err, talk.String())
	}
	if k.version() != "v1" || !strings.Contains(said, "stopping demarc change ship") {
		t.Errorf("production has %s\n%s", k.version(), said)
	}
	k.settled()
}
