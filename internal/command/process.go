package command

import (
	"crypto/rand"
	"encoding/hex"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process names a command that was started, so that it can be found again by another run of demarc, and never be taken for
// another process that has got its number since.
type Process struct {
	PID   int    `json:"pid" yaml:"pid"`     // of the shell; its process group and session have the same number
	Start string `json:"start" yaml:"start"` // when it started, as the system tells: opaque, equal for the same process only
	ID    string `json:"id" yaml:"id"`       // the value of Mark in the environment of its processes
}

func newID() string {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails, as crypto/rand documents
	return hex.EncodeToString(raw[:])
}

func identify(pid int, id string) Process { return Process{PID: pid, Start: startOf(pid), ID: id} }

// Running says whether any process of the command is still there.
func (p Process) Running() bool { return p.PID > 1 && len(p.members()) > 0 }

// End ends what is left of the command: SIGTERM, and SIGKILL after the grace (0: DefaultGrace). It returns when nothing is left,
// and false if something could not be ended within ten seconds more.
func (p Process) End(grace time.Duration) bool {
	if grace == 0 {
		grace = DefaultGrace
	}
	return p.PID > 1 && p.end(grace) || p.PID <= 1
}

func (p Process) end(grace time.Duration) bool {
	kill := time.Now().Add(grace)
	giveUp := kill.Add(10 * time.Second)
	termed := map[int]bool{}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		left := p.members()
		now := time.Now()
		if len(left) == 0 {
			return true
		}
		if now.After(giveUp) {
			return false
		}
		for _, pid := range left {
			if now.Before(kill) {
				if !termed[pid] {
					termed[pid] = true
					_ = syscall.Kill(pid, syscall.SIGTERM)
					_ = syscall.Kill(pid, syscall.SIGCONT) // one that is stopped would not hear it
				}
				continue
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(pause)
	}
}

// signalName returns the name of a signal, or nothing where there is no such signal.
func signalName(s syscall.Signal) string { return unix.SignalName(s) }
