package endtoend

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestManual runs every command of the manual in order, as a reader would: `demarc run` in the background like a
// first terminal, ^C as the signal that ends it. The lines below a command must be found in what it prints, in their
// order; … stands for anything within a line, and blanks may be any number.
func TestManual(t *testing.T) {
	python := need(t, "DEMARC_TEST_PYTHON")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := demarc(t) // which may have to be built: the port is not to wait for that
	port := fmt.Sprint(freePort(t))
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "conduit"), os.DirFS(filepath.Join(examples(t, "conduit"), "conduit"))); err != nil {
		t.Fatal(err)
	}
	m := &manual{t: t, dir: dir, port: port, env: append(cleanEnv(),
		"PATH="+filepath.Dir(program)+":"+filepath.Dir(python)+":"+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1")}
	t.Cleanup(m.kill)
	commands := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, step := range regexp.MustCompile(`(?m)^(\$ |\^C)`).Split(block[1], -1)[1:] {
			command, expected, _ := strings.Cut(step, "\n")
			m.step(command, strings.Split(strings.TrimRight(expected, "\n"), "\n"))
			commands++
		}
	}
	if commands < 12 {
		t.Fatalf("only %d commands were found on the page", commands)
	}
}

type manual struct {
	t          *testing.T
	dir, port  string
	env        []string
	background *exec.Cmd
	out        *lockedBuffer
}

func (m *manual) kill() {
	if m.background != nil {
		_ = syscall.Kill(-m.background.Process.Pid, syscall.SIGKILL)
	}
}

func (m *manual) step(command string, expected []string) {
	m.t.Helper()
	command = strings.ReplaceAll(command, "8000", m.port)
	switch {
	case command == "": // ^C
		from := len(m.out.String())
		if err := syscall.Kill(-m.background.Process.Pid, syscall.SIGINT); err != nil {
			m.t.Fatal(err)
		}
		_ = m.background.Wait()
		m.background = nil
		m.expect("^C", m.out.String()[from:], expected)
	case strings.HasPrefix(command, "demarc run "):
		m.out = &lockedBuffer{}
		m.background = m.command(command)
		m.background.Stdout, m.background.Stderr = m.out, m.out
		m.background.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := m.background.Start(); err != nil {
			m.t.Fatal(err)
		}
		wait(m.t, "the service's port", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:"+m.port)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		for end := time.Now().Add(20 * time.Second); missing(m.out.String(), expected) != "" && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
		}
		m.expect(command, m.out.String(), expected)
	default:
		out, err := m.command(command).CombinedOutput()
		if err != nil {
			m.t.Fatalf("%s: %v\n%s", command, err, out)
		}
		m.expect(command, string(out), expected)
	}
}

func (m *manual) command(line string) *exec.Cmd {
	shell := "exec " + line
	if strings.Contains(line, "|") {
		shell = line
	}
	cmd := exec.Command("sh", "-c", shell)
	cmd.Dir, cmd.Env = m.dir, m.env
	return cmd
}

func (m *manual) expect(command, got string, lines []string) {
	m.t.Helper()
	if line := missing(got, lines); line != "" {
		m.t.Fatalf("%s: the manual promises\n%s\nnot found in\n%s", command, line, got)
	}
}

// missing is the first line that is not found behind those before it, empty where all are.
func missing(got string, lines []string) string {
	rest := strings.Join(strings.Fields(got), " ")
	for _, line := range lines {
		var parts []string
		for _, p := range strings.Split(line, "…") {
			parts = append(parts, regexp.QuoteMeta(strings.Join(strings.Fields(p), " ")))
		}
		pattern := strings.Join(parts, ".*?")
		at := regexp.MustCompile(pattern).FindStringIndex(rest)
		if at == nil {
			return line
		}
		rest = rest[at[1]:]
	}
	return ""
}
