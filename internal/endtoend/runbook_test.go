package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRunbook runs every command of docs/runbook.md in order, in a copy of the example, as a reader would: blocks with
// file=NAME are written to that file, lines that begin with "> " continue a command, one that ends with & goes on in the
// background. The lines below a command must be found in what it prints, in their order; … stands for anything within a
// line. A block with exit=N is one whose commands end with that code.
func TestRunbook(t *testing.T) {
	python := need(t, "DEMARC_TEST_PYTHON")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := demarc(t) // which may have to be built: the ports are not to wait for that
	ports := strings.NewReplacer("8001", fmt.Sprint(freePort(t)), "8002", fmt.Sprint(freePort(t)))
	place := t.TempDir()
	dir := filepath.Join(place, "shop")
	for _, part := range []string{"conduit", "patches", "pyproject.toml", ".gitignore"} {
		copyInto(t, filepath.Join(examples(t, "conduit"), part), filepath.Join(dir, part))
	}
	m := &manual{t: t, dir: dir, env: append(cleanEnv(),
		"PATH="+filepath.Dir(program)+":"+filepath.Dir(python)+":"+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME="+place,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org")}
	var users []*exec.Cmd
	t.Cleanup(func() {
		for _, c := range users {
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			_ = c.Wait()
		}
		endServices(t, place)
	})
	commands := 0
	for _, block := range regexp.MustCompile("(?ms)^```(\\w+)([^\n]*)\n(.*?)^```").FindAllStringSubmatch(string(page), -1) {
		kind, said, text := block[1], strings.TrimSpace(block[2]), ports.Replace(block[3])
		if name, ok := strings.CutPrefix(said, "file="); ok {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if kind != "console" {
			continue
		}
		code := 0
		if want, ok := strings.CutPrefix(said, "exit="); ok {
			if _, err := fmt.Sscan(want, &code); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range regexp.MustCompile(`(?m)^\$ `).Split(text, -1)[1:] {
			lines := strings.Split(strings.TrimRight(step, "\n"), "\n")
			command, rest := lines[0], lines[1:]
			for len(rest) > 0 && (rest[0] == ">" || strings.HasPrefix(rest[0], "> ")) {
				command, rest = command+"\n"+strings.TrimPrefix(strings.TrimPrefix(rest[0], ">"), " "), rest[1:]
			}
			commands++
			cmd := exec.Command("sh", "-c", command)
			cmd.Dir, cmd.Env = m.dir, m.env
			if background, ok := strings.CutSuffix(command, " &"); ok {
				cmd = exec.Command("sh", "-c", background)
				cmd.Dir, cmd.Env, cmd.SysProcAttr = m.dir, m.env, &syscall.SysProcAttr{Setpgid: true}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				users = append(users, cmd)
				continue
			}
			began := time.Now()
			out, err := cmd.CombinedOutput()
			t.Logf("$ %s   (%v)\n%s", command, time.Since(began).Round(time.Millisecond), out)
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
				t.Fatalf("%s: %v, %d was expected\n%s", command, err, code, out)
			}
			m.expect(command, string(out), rest)
		}
	}
	if commands < 20 {
		t.Fatalf("only %d commands were found on the page", commands)
	}
	note, err := filepath.Glob(filepath.Join(dir, "changes", "*-faster-article-list.md"))
	if err != nil || len(note) != 1 {
		t.Fatalf("notes: %q, %v", note, err)
	}
	text, err := os.ReadFile(note[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Read the tags of a page with one statement", "queries_per_request", "./deploy.sh v1", "conduit/routes/articles.py"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("the note does not say %q:\n%s", line, text)
		}
	}
}

func copyInto(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err == nil && info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else if err == nil {
		var data []byte
		if data, err = os.ReadFile(from); err == nil {
			if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
				err = os.WriteFile(to, data, info.Mode().Perm())
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// endServices ends the services that deploy.sh started below a folder, and waits for them.
func endServices(t *testing.T, place string) {
	for _, name := range []string{"staging", "production"} {
		data, err := os.ReadFile(filepath.Join(place, name, "pid"))
		if err != nil {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(string(data), &pid); err != nil || pid <= 1 {
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGTERM)
		wait(t, "the end of "+name, func() bool {
			_, err := os.Stat(filepath.Join(place, name, ".demarc", "run.json"))
			return os.IsNotExist(err)
		})
	}
}
