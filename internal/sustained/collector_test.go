package sustained

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/engine"
)

// binary builds demarc once for all tests of the package.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "demarc-sustained-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "demarc")
	out, err := exec.Command("go", "build", "-o", path, "github.com/demarc-dev/demarc/cmd/demarc").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	built = dir
	return path, nil
})

var built string // the binary's folder

func removeBinary() {
	if built != "" {
		_ = os.RemoveAll(built)
	}
}

// buffer is what a process has written so far.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// process is a demarc in a folder.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	dir      string
	out, err buffer
}

func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: dir, cmd: exec.Command(path, args...)}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DEMARC") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// says waits for a text on standard error.
func (p *process) says(text string) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(p.err.String(), text) {
			return
		}
	}
	p.t.Fatalf("%q did not come:\n%s", text, p.err.String())
}

// wait returns the exit code; -1 for a process that was killed.
func (p *process) wait() int {
	p.t.Helper()
	var ee *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &ee) {
		p.t.Fatalf("%v\n%s", err, p.err.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) runFile() engine.RunFile {
	p.t.Helper()
	r, err := engine.FindRun(filepath.Join(p.dir, ".demarc"))
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.err.String())
	}
	return r
}

// resident is the memory of a process that is in use, in bytes: from /proc, or from ps where there is none.
func resident(pid int) (int64, error) {
	unit, text := int64(1<<10), ""
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		text, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	} else {
		out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			return 0, err
		}
		text = strings.TrimSpace(string(out))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n * unit, err
}
