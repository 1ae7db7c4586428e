package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Silent explains why no process of a command has said hello: env is the command's environment, notes what recorders
// that could not start have left. pid is the running child's, or 0 after its end.
func Silent(op string, argv, env, notes []string, pid int) error {
	f := &fault.Error{
		Op: op, What: "nothing was recorded from " + strconv.Quote(argv[0]), Expected: "a Python 3.9 or later that reads PYTHONPATH",
		Retry: fault.RetryUseless, Try: "demarc doctor",
	}
	if pid != 0 {
		f.What = "nothing has been recorded yet from " + strconv.Quote(argv[0])
	}
	if v := variable(env, "DEMARC"); off(v) {
		f.Cause = fmt.Errorf("DEMARC=%s is set, which switches the recorder off", v)
		f.Expected = "DEMARC unset"
		f.Try = "env -u DEMARC demarc run -- " + argv[0] + " …"
		return f
	}
	if len(notes) > 0 {
		f.Cause = errors.New(strings.Join(notes, "; "))
		f.Try = "the same with Python 3.9 or later, if its version is the cause"
		return f
	}
	if flag, where := isolated(argv, pid); flag != "" {
		f.Cause = fmt.Errorf("%s starts Python with %s, which keeps it from loading the recorder", where, flag)
		f.Expected = "Python without -I, -E and -S"
		f.Try = "the same command without " + flag
		return f
	}
	if where := pythonBelow(pid); where != "" {
		f.Cause = fmt.Errorf("%s runs Python without the recorder: something between took PYTHONPATH out of its environment", where)
		f.Expected = "a command that hands its environment on"
		f.Try = "demarc run directly in front of the command that starts Python"
		return f
	}
	f.Cause = errors.New("no Python process started in it")
	return f
}

func off(v string) bool {
	switch strings.ToLower(v) {
	case "off", "0", "no", "false":
		return true
	}
	return false
}

func variable(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(env[i], "="); k == name {
			return v
		}
	}
	return ""
}

// isolated looks for a Python that was told to ignore its environment: in the command, in the first line of the script
// that it names, and in the processes below it.
func isolated(argv []string, pid int) (flag, where string) {
	if flag := isolationFlag(argv); flag != "" {
		return flag, strconv.Quote(argv[0])
	}
	if path, err := exec.LookPath(argv[0]); err == nil {
		if line := shebang(path); line != nil {
			if flag := isolationFlag(line); flag != "" {
				return flag, "the first line of " + path
			}
		}
	}
	for p, args := range below(pid) {
		if flag := isolationFlag(args); flag != "" {
			return flag, "process " + strconv.Itoa(p)
		}
	}
	return "", ""
}

// isPython says whether a program's name is that of a Python interpreter.
func isPython(program string) bool {
	name := strings.TrimPrefix(filepath.Base(program), "python")
	return name != filepath.Base(program) && strings.Trim(name, "0123456789.t") == "" || strings.HasPrefix(filepath.Base(program), "pypy")
}

// isolationFlag returns the first of Python's own options in argv that keeps the recorder out, or "".
func isolationFlag(argv []string) string {
	for len(argv) > 0 && (filepath.Base(argv[0]) == "env" || strings.Contains(argv[0], "=")) {
		argv = argv[1:] // env A=b python …
	}
	if len(argv) == 0 || !isPython(argv[0]) {
		return ""
	}
	for i := 1; i < len(argv); i++ {
		a := argv[i]
		if len(a) < 2 || a[0] != '-' {
			return "" // the script: the rest is its own
		}
		if strings.HasPrefix(a, "--") {
			continue
		}
		for j, c := range a[1:] {
			switch c {
			case 'I', 'E', 'S':
				return "-" + string(c)
			case 'c', 'm':
				return ""
			case 'W', 'X', 'Q':
				if j == len(a)-2 {
					i++ // its value is the next argument
				}
			default:
				continue
			}
			break
		}
	}
	return ""
}

// shebang returns the words of a script's first line, without "#!", or nil.
func shebang(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var head [512]byte
	n, _ := io.ReadFull(f, head[:])
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	if !bytes.HasPrefix(line, []byte("#!")) {
		return nil
	}
	return strings.Fields(string(line[2:]))
}

// pythonBelow names a Python process below pid, or "".
func pythonBelow(pid int) string {
	for p, args := range below(pid) {
		if len(args) > 0 && isPython(args[0]) {
			return "process " + strconv.Itoa(p)
		}
	}
	return ""
}

// below returns pid and the processes below it with their arguments, as /proc tells; nothing where there is no /proc.
func below(pid int) map[int][]string {
	if pid == 0 {
		return nil
	}
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name in brackets may hold anything; the fields after it are state and parent.
		rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(rest) > 1 {
			if parent, err := strconv.Atoi(rest[1]); err == nil {
				children[parent] = append(children[parent], p)
			}
		}
	}
	found := map[int][]string{}
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		p := todo[0]
		if _, again := found[p]; again {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "cmdline"))
		found[p] = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		todo = append(todo, children[p]...)
	}
	return found
}
