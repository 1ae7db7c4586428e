package auditscan

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/audit"
)

// maxProc is how much of a process's command line and environment is read, in bytes.
const maxProc = 256 << 10

// Processes looks at the processes of a service that still run on this machine, through /proc: their command lines, and the names
// of their variables. Where there is no /proc, or they belong to somebody else, there are none.
func Processes(from []event.Source) []audit.Process {
	host, err := os.Hostname()
	if err != nil {
		return nil
	}
	var list []audit.Process
	for _, s := range from {
		if s.Host != "" && s.Host != host {
			continue
		}
		args, err := procFile(s.Pid, "cmdline")
		// A number may belong to another program by now; the service's own is an interpreter.
		if err != nil || !strings.Contains(args[0], "python") && !strings.Contains(strings.Join(args, " "), s.Service) {
			continue
		}
		p := audit.Process{Pid: s.Pid, Args: args}
		env, _ := procFile(s.Pid, "environ") // of somebody else's process it cannot be read
		for _, kv := range env {
			if name, _, ok := strings.Cut(kv, "="); ok && name != "" {
				p.Env = append(p.Env, name)
			}
		}
		list = append(list, p)
	}
	return list
}

// procFile reads the texts of a file of /proc that are divided by zeros; at least one.
func procFile(pid int64, name string) ([]string, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProc))
	return strings.Split(strings.TrimRight(string(data), "\x00"), "\x00"), err
}
