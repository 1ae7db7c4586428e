//go:build !linux

package command

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing: only the watchdog ends the command when demarc dies.
func dieWithParent(*syscall.SysProcAttr) {}

// startOf returns the time at which the process started, as ps tells it.
func startOf(pid int) string {
	out, err := exec.Command("/bin/ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// members returns the processes in the command's group, ended ones that nobody has waited for left out.
func (p Process) members() []int {
	if now := startOf(p.PID); now != "" && now != p.Start {
		return nil // the number belongs to another process by now
	}
	out, err := exec.Command("/bin/ps", "-A", "-o", "pid=,pgid=,stat=").Output()
	if err != nil {
		return nil
	}
	var found []int
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != strconv.Itoa(p.PID) || strings.HasPrefix(f[2], "Z") {
			continue
		}
		if pid, err := strconv.Atoi(f[0]); err == nil {
			found = append(found, pid)
		}
	}
	return found
}
