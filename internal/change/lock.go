package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// holder is who has, or had, the lock.
type holder struct {
	Pid     int       `json:"pid"`
	Command string    `json:"command"`
	Record  string    `json:"record"`
	At      time.Time `json:"at"`
}

// lock lets one run at a time touch staging or production of a project. It is the kernel's lock on a file, which goes with
// the process that has it, so a dead holder never stands in the way.
type lock struct {
	file *os.File
	// Gone is the holder that ended without giving the lock back; zero where the last one did.
	Gone holder
}

// takeLock takes the lock of the project, or says who has it.
func takeLock(state string, h holder) (*lock, error) {
	dir := filepath.Join(state, "changes")
	path := filepath.Join(dir, "lock")
	fail := func(cause error) (*lock, error) {
		return nil, &fault.Error{What: "cannot take the lock " + path, Cause: bare(cause), Expected: "a folder that can be written to",
			Retry: fault.RetrySafe, Try: "--dir DIR, with a folder of yours"}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fail(err)
	}
	var was holder
	for patience := time.Now().Add(dyingPatience); ; time.Sleep(20 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		was = holderIn(f)
		if !errors.Is(err, syscall.EWOULDBLOCK) || was.alive() || time.Now().After(patience) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fail(err)
		}
		return nil, &fault.Error{What: "cannot begin", Cause: &heldError{by: was},
			Expected: "one run at a time on staging or production", Retry: fault.RetrySafe, Try: "wait for it, or end it"}
	}
	data, err := json.Marshal(h)
	if err = errors.Join(err, f.Truncate(0)); err == nil {
		_, err = f.WriteAt(data, 0)
	}
	if err != nil {
		_ = f.Close()
		return fail(err)
	}
	return &lock{file: f, Gone: was}, nil
}

// Busy says what is running over a state's folder: "demarc change ship NAME (process N, …)"; empty: nothing.
func Busy(state string) string {
	f, err := os.Open(filepath.Join(state, "changes", "lock"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return "" // and closing the file gives it back
	}
	return holderIn(f).String()
}

// dyingPatience is how long the lock of a dead holder is waited for: a command that it was just starting has a copy of the
// file until it begins to run.
const dyingPatience = 5 * time.Second

// holderIn reads who wrote the lock's file; nobody where it is empty, or cut by a crash.
func holderIn(f *os.File) holder {
	var h holder
	data := make([]byte, 4096)
	n, _ := f.ReadAt(data, 0)
	_ = json.Unmarshal(data[:n], &h)
	return h
}

// alive says whether the holder's process is there.
func (h holder) alive() bool {
	return h.Pid > 0 && !errors.Is(syscall.Kill(h.Pid, 0), syscall.ESRCH)
}

// String names the holder for people.
func (h holder) String() string {
	if h.Pid <= 0 {
		return "another demarc"
	}
	return fmt.Sprintf("demarc change %s %s (process %d, since %s)", h.Command, h.Record, h.Pid, h.At.Local().Format("15:04:05"))
}

// release gives the lock back in order.
func (l *lock) release() {
	_ = l.file.Truncate(0)
	_ = l.file.Close()
}

// heldError says who has the lock.
type heldError struct{ by holder }

func (e *heldError) Error() string { return e.by.String() + " is running" }
