package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal and returns its two ends.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// atTerminal starts a command as the only job of a terminal; what it writes there collects in the buffer.
func atTerminal(t *testing.T, dir string, argv ...string) (*exec.Cmd, *os.File, *buffer) {
	t.Helper()
	master, slave := terminal(t)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DEMARC") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, asDemarc+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	out := &buffer{}
	go func() {
		var b [4096]byte
		for {
			n, err := master.Read(b[:])
			_, _ = out.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	return cmd, master, out
}

// counter counts SIGINT for a second after the first, writes the number to the file "count" and its pid to "pid".
const counter = `
import os, signal, sys, time
n = 0
def note(*a):
    global n
    n += 1
signal.signal(signal.SIGINT, note)
open("pid.new", "w").write(str(os.getpid())); os.rename("pid.new", "pid")
end = time.time() + 30
while not n and time.time() < end:
    time.sleep(0.02)
time.sleep(1)
open("count.new", "w").write(str(n)); os.rename("count.new", "count")
`

// Ctrl-C reaches the service once: where demarc is the terminal's foreground job, and where it is a part of one, as
// under make.
func TestCtrlCReachesTheChildOnce(t *testing.T) {
	py := python(t)
	for name, argv := range map[string][]string{
		"foreground job": {os.Args[0], "run", "--no-report", "--", py, "app.py"},
		"part of a job":  {"sh", "-c", fmt.Sprintf("trap : INT; '%s' run --no-report -- '%s' app.py; true", os.Args[0], py)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "app.py", counter)
			_, master, out := atTerminal(t, dir, argv...)
			ready := filepath.Join(dir, "pid")
			waitFor(t, "start", out, func() bool { _, err := os.Stat(ready); return err == nil })
			time.Sleep(100 * time.Millisecond)
			if _, err := master.WriteString("\x03"); err != nil {
				t.Fatal(err)
			}
			count := filepath.Join(dir, "count")
			waitFor(t, "end", out, func() bool { _, err := os.Stat(count); return err == nil })
			if n, err := os.ReadFile(count); err != nil || string(n) != "1" {
				t.Errorf("the service saw %s signals, %v\n%s", n, err, out.String())
			}
		})
	}
}

// Ctrl-Z stops the service and demarc with it, so that the shell gets the terminal; fg continues both. The service may
// read from the terminal.
func TestCtrlZAndInput(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", `
import os
open("pid.new", "w").write(str(os.getpid())); os.rename("pid.new", "pid")
print("said", input(), flush=True)
`)
	cmd, master, out := atTerminal(t, dir, os.Args[0], "run", "--no-report", "--", python(t), "app.py")
	ready := filepath.Join(dir, "pid")
	waitFor(t, "start", out, func() bool { _, err := os.Stat(ready); return err == nil })
	data, err := os.ReadFile(ready)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	state := func(pid int) string {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return ""
		}
		rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		return rest[0]
	}
	if _, err := master.WriteString("\x1a"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "stop of the service", out, func() bool { return state(child) == "T" })
	waitFor(t, "stop of demarc", out, func() bool { return state(cmd.Process.Pid) == "T" })
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "continuation", out, func() bool { return state(child) != "T" && state(cmd.Process.Pid) != "T" })
	if _, err := master.WriteString("something\n"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "input", out, func() bool { return strings.Contains(out.String(), "said something") })
	waitFor(t, "end", out, func() bool { s := state(cmd.Process.Pid); return s == "Z" || s == "" })
}

// A disk that is full after the start: the service goes on, and the loss is said and counted. A limit on the size of
// files, set while demarc runs, gives its writes the same fate.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", service)
	p := demarc(t, dir, nil, "run", "--", python(t), "app.py").start()
	url := "http://127.0.0.1:" + p.port()
	get(t, url)
	r := p.runFile()
	health(t, r.URL, 3)
	holds(t, filepath.Join(dir, r.Capture), `"type":"request"`)
	limit := unix.Rlimit{Cur: 16, Max: 16}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if got := get(t, url); got != "hello" {
			t.Errorf("the service answered %q", got)
		}
		time.Sleep(300 * time.Millisecond)
	}
	p.until(&p.stderr, "file too large")
	p.says("demarc run: cannot write", "the service goes on")
	if h := health(t, r.URL, 0); h.OK || h.DroppedBy.Disk == 0 {
		t.Errorf("health %+v", h)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 55 {
		t.Errorf("exit code %d, want the child's 55", code)
	}
	p.says("not in the capture: ")
	// What was durable before is there.
	if list := p.captures(); len(list) != 1 || !strings.Contains(exported(t, list[0]), `"type":"request"`) {
		t.Errorf("captures %v hold nothing of before", list)
	}
}
