package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a command does to itself and to those around it reaches neither the test nor anything else.
func TestHostile(t *testing.T) {
	for name, tc := range map[string]struct {
		line    string
		outcome string
	}{
		"kills its parent":         {"kill -KILL $PPID; sleep 60", "ended by SIGKILL"},
		"kills its group":          {"sleep 60 & kill -KILL 0; sleep 60", "ended by SIGKILL"},
		"kills its parent's group": {"kill -KILL -$(ps -o pgid= -p $PPID | tr -d ' '); sleep 60", "ended by SIGKILL"},
		"hangs up on its parent":   {"trap '' HUP; kill -HUP $PPID; exit 4", "ended by SIGHUP"},
		"needs a terminal":         {"read x </dev/tty", "exit 2"},
		"asks for a password":      {"stty -echo", "exit 1"},
		"reads its input":          {"cat; exit 5", "exit 5"},
		"is not there":             {"no-such-command-at-all", "exit 127"},
		"is no shell":              {"((", "exit 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p Process
			r := run(t, Spec{Line: tc.line, Timeout: 20 * time.Second, Grace: 200 * time.Millisecond,
				Started: func(q Process) error { p = q; return nil }})
			if r.Outcome() != tc.outcome {
				t.Errorf("%s: %+v", r.Outcome(), r)
			}
			if p.Running() {
				t.Error("something of it still runs")
			}
		})
	}
}

// What a command leaves running is ended with it, even if it went into a session of its own.
func TestWhatIsLeftIsEnded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	line := fmt.Sprintf("for i in 1 2; do setsid sh -c 'trap \"\" TERM HUP; echo $$ >>%s; while :; do sleep 1; done' & done; "+
		"sh -c 'echo $$ >>%s; exec sleep 60' & while [ $(wc -l <%s) -lt 3 ]; do sleep 0.01; done; echo done", file, file, file)
	r := run(t, Spec{Line: "touch " + file + "; " + line, Grace: 300 * time.Millisecond})
	if !r.OK() || !r.Outlived || r.Tail != "done" {
		t.Errorf("%+v", r)
	}
	for _, pid := range pidsIn(t, file, 3) {
		if alive(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
}

// A deployment may leave its service running, if it succeeds.
func TestMayLeave(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	line := "setsid sh -c 'echo $$ >>" + file + "; exec sleep 60' >/dev/null 2>&1 & while [ ! -s " + file + " ]; do sleep 0.01; done; exit "
	var p Process
	s := Spec{Line: line + "0", MayLeave: true, Started: func(q Process) error { p = q; return nil }}
	if r := run(t, s); !r.OK() || !r.Outlived {
		t.Errorf("%+v", r)
	}
	if pid := pidsIn(t, file, 1)[0]; !alive(pid) || !p.Running() {
		t.Error("the service was ended")
	}
	if !p.End(time.Second) || p.Running() {
		t.Error("the service cannot be ended afterwards")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.Line = line + "3"
	if r := run(t, s); r.Exit != 3 || p.Running() {
		t.Errorf("%+v", r)
	}
}

func pidsIn(t *testing.T, file string, n int) []int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != n {
		t.Fatalf("%d processes in %q, want %d", len(pids), data, n)
	}
	return pids
}

// alive says whether a process is there and no zombie.
func alive(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// A gigabyte of output costs neither disk nor memory, and its beginning and end are kept.
func TestGigabyte(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := run(t, Spec{Line: "echo first; head -c 1000000000 /dev/zero; echo; echo last", Log: log, Timeout: 5 * time.Minute})
	runtime.ReadMemStats(&after)
	if !r.OK() || r.Bytes != 1_000_000_012 || r.Tail != "\nlast" {
		t.Errorf("%+v", r)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > LogHead+LogTail+100 || !bytes.HasPrefix(data, []byte("first\n\x00\x00")) || !bytes.HasSuffix(data, []byte("\x00\nlast\n")) ||
		!bytes.Contains(data, fmt.Appendf(nil, "\n[demarc: %d bytes are left out here]\n", r.Truncated)) || r.Truncated != r.Bytes-LogHead-LogTail {
		t.Errorf("a log of %d bytes, %d left out", len(data), r.Truncated)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
}

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "token")
	if err := os.WriteFile(secret, []byte("s3cr3t-from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOT_NAMED", "x")
	t.Setenv("NAMED", "named")
	t.Setenv("DB_PASSWORD", "hunter2-by-name")
	t.Setenv("HIDDEN", "s3cr3t-from-env")
	log := filepath.Join(dir, "log")
	var live bytes.Buffer
	r := run(t, Spec{
		Line: "pwd; env | sort", Dir: dir, Pass: []string{"NAMED", "DB_PASSWORD", "UNSET"}, Env: map[string]string{"PLAIN": "p", "PATH": "/bin:/usr/bin"},
		Secrets: map[string]string{"A": "env:HIDDEN", "B": "file:token"}, Log: log, Output: &live, Tail: 1 << 20,
	})
	kept, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"tail": r.Tail, "log": string(kept), "live": live.String()} {
		for _, want := range []string{dir, "A=***", "B=***", "DB_PASSWORD=***", "NAMED=named", "PLAIN=p", "PATH=/bin:/usr/bin", Mark + "="} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in\n%s", where, want, text)
			}
		}
		for _, bad := range []string{"NOT_NAMED", "s3cr3t", "hunter2", "UNSET", "HIDDEN"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: %q is in\n%s", where, bad, text)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Setenv("SHORT", "abc")
	for name, tc := range map[string]struct {
		s   Spec
		why string
	}{
		"empty":              {Spec{Line: " "}, "empty"},
		"too long":           {Spec{Line: strings.Repeat("x", MaxLine+1)}, "at most 65536"},
		"NUL":                {Spec{Line: "a\x00b"}, "NUL"},
		"too patient":        {Spec{Line: "true", Timeout: MaxTimeout + 1}, "at most 24h"},
		"no folder":          {Spec{Line: "true", Dir: "/no/such/folder"}, "no such file"},
		"a file":             {Spec{Line: "true", Dir: "/etc/passwd"}, "not a folder"},
		"no such variable":   {Spec{Line: "true", Secrets: map[string]string{"A": "env:NO_SUCH_VARIABLE"}}, "NO_SUCH_VARIABLE is not set"},
		"no such file":       {Spec{Line: "true", Secrets: map[string]string{"A": "file:/no/such"}}, "no such file"},
		"a secret by value":  {Spec{Line: "true", Secrets: map[string]string{"A": "hunter2"}}, "env:NAME or file:PATH"},
		"a short secret":     {Spec{Line: "true", Secrets: map[string]string{"A": "env:SHORT"}}, "3 bytes"},
		"a wrong variable":   {Spec{Line: "true", Env: map[string]string{"A=B": "c"}}, "without ="},
		"no place for a log": {Spec{Line: "true", Log: "/no/such/folder/log"}, "the log"},
	} {
		if _, err := Run(t.Context(), tc.s); err == nil || !strings.Contains(err.Error(), tc.why) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A line whose start cannot be noted is not run.
func TestStartedFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	want := errors.New("the disk is full")
	if _, err := Run(t.Context(), Spec{Line: "touch " + file, Started: func(Process) error { return want }}); !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it was run")
	}
}

const helper = "DEMARC_COMMAND_HELPER"

// TestMain is also the process that TestKilled kills: it runs a command that does not want to end, and says who it is.
func TestMain(m *testing.M) {
	file := os.Getenv(helper)
	if file == "" {
		os.Exit(m.Run())
	}
	line := "trap '' TERM HUP INT; touch " + file + ".runs; while :; do sleep 1; done"
	_, err := Run(context.Background(), Spec{Line: line, Grace: time.Second, Started: func(p Process) error {
		data, err := json.Marshal(p)
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		return err
	}})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// When demarc is killed, its command does not go on; and whoever comes next can tell.
func TestKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "process")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helper+"="+file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(file + ".runs"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the command did not start")
		}
	}
	var p Process
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !p.Running() {
		t.Fatal("it is not seen to run")
	}
	other := p
	other.Start += "0" // another process that got the number
	if other.Running() && !strings.HasSuffix(p.Start, "0") {
		other.ID = "none"
		if other.Running() {
			t.Error("another process is taken for it")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for end := time.Now().Add(20 * time.Second); p.Running(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.End(time.Second)
			t.Fatal("the command goes on although demarc was killed")
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31mred\x1b[0m\n":              "red",
		"10%\r50%\r100%\ndone":              "100%\ndone",
		"a\r\nb\r\n":                        "a\nb",
		"\x1b]0;title\x07x\x1b]8;;u\x1b\\y": "xy",
		"\xbc\xc3\xa4":                      "ä",
		"a\xffb\x00c\td":                    "a�bc\td",
		"\x1b":                              "",
	} {
		if got := plain([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
