package command

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent makes the kernel kill the child when the thread that started it ends.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// status is what /proc/PID/stat tells.
type status struct {
	state          byte
	group, session int
	start          string // ticks since the machine started
}

func readStatus(pid int) (status, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return status{}, false
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 {
		return status{}, false
	}
	group, _ := strconv.Atoi(fields[2])
	session, _ := strconv.Atoi(fields[3])
	return status{fields[0][0], group, session, fields[19]}, true
}

// startOf returns a text that no other process with the same number has: the machine's boot and the ticks since then.
func startOf(pid int) string {
	s, ok := readStatus(pid)
	if !ok {
		return ""
	}
	return bootID() + "/" + s.start
}

func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}

// members returns the processes of the command that are alive: those in its group or session, and those that carry its
// mark. Ended ones that nobody has waited for do not count.
func (p Process) members() []int {
	boot, start, _ := strings.Cut(p.Start, "/")
	if boot != bootID() {
		return nil // the machine was started anew since
	}
	began, err := strconv.ParseUint(start, 10, 64)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	// If the shell's number belongs to another process by now, so does a group of that number.
	leader, ok := readStatus(p.PID)
	taken := ok && leader.start != start
	mark := []byte(Mark + "=" + p.ID)
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		s, ok := readStatus(pid)
		if !ok || s.state == 'Z' || s.state == 'X' {
			continue
		}
		if since, err := strconv.ParseUint(s.start, 10, 64); err != nil || since < began {
			continue
		}
		if !taken && (s.group == p.PID || s.session == p.PID) || marked(pid, mark) {
			found = append(found, pid)
		}
	}
	return found
}

// marked says whether the environment that a process was started with holds the mark.
func marked(pid int, mark []byte) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false // of another user, or gone
	}
	for v := range bytes.SplitSeq(data, []byte{0}) {
		if bytes.Equal(v, mark) {
			return true
		}
	}
	return false
}
