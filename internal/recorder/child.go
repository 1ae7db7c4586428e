package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Exit codes that shells give for a command that could not be started.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// Child is the service: a process in a process group of its own, so that a signal reaches it exactly once, whether the
// terminal sends it or demarc passes it on.
//
//   - Where demarc is a job of an interactive shell, in the foreground, the child's group is put into the foreground:
//     the terminal's Ctrl-C, Ctrl-\ and Ctrl-Z reach the child and not demarc, and it may read from the terminal. When
//     it stops, demarc takes the terminal back and stops too; when demarc is continued, so is it.
//   - Elsewhere (in a script, under make, in a container) signals reach demarc, which passes them on. A child that
//     needs the terminal is given it when it asks.
type Child struct {
	Pid  int
	tty  *os.File // nil: no controlling terminal
	fg   bool     // the child's group is, or should be, in the foreground
	sigs chan os.Signal
}

// forwarded are the signals that demarc passes on to the child. One that was ignored when demarc started is heard all the
// same, because whoever sends it means the service: many install a handler of their own. The exception is SIGHUP, which
// nobody sends on purpose to what nohup started.
var forwarded = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// interruptIgnored says that SIGINT was ignored when demarc started, as a shell without job control starts what is followed
// by &. Known before anything listens to the signal, which ends its being ignored.
var interruptIgnored = signal.Ignored(syscall.SIGINT)

// CheckCommand says whether the command can be found, so that nothing needs to be made for one that cannot.
func CheckCommand(op string, argv []string) error {
	if _, err := exec.LookPath(argv[0]); err != nil && !errors.Is(err, exec.ErrDot) {
		return cannotStart(op, argv, err)
	}
	return nil
}

// StartChild starts the command with demarc's own standard streams. From then on demarc no longer dies of the signals
// that it passes on. The child begins as it would without demarc: a SIGINT or SIGHUP that was ignored is ignored there, until
// it says otherwise.
func StartChild(op string, argv, env []string) (*Child, error) {
	path, err := exec.LookPath(argv[0])
	if errors.Is(err, exec.ErrDot) {
		err = nil // found in the current folder because PATH says so, as a shell would
	}
	if err != nil {
		return nil, cannotStart(op, argv, err)
	}
	c := &Child{sigs: make(chan os.Signal, 16)}
	for _, s := range forwarded {
		if s != syscall.SIGHUP || !signal.Ignored(s) {
			signal.Notify(c.sigs, s)
		}
	}
	if interruptIgnored {
		// Go starts a child with the default for every signal that is listened to, and only leaves ignored what is ignored.
		signal.Ignore(syscall.SIGINT)
	}
	own := unix.Getpgrp()
	if c.tty, err = os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		c.fg = os.Getpid() == own && c.foreground() == own
	}
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		signal.Stop(c.sigs)
		return nil, cannotStart(op, argv, err)
	}
	c.Pid = p.Pid
	_ = p.Release() // Wait does its own waiting
	if interruptIgnored {
		signal.Notify(c.sigs, syscall.SIGINT)
	}
	if c.tty != nil {
		// Only now, so that the child does not inherit it: demarc must be able to take the terminal back.
		signal.Ignore(syscall.SIGTTOU)
	}
	if c.fg {
		c.setForeground(c.Pid)
		_ = syscall.Kill(-c.Pid, syscall.SIGCONT) // it may have asked for the terminal a moment too early
	}
	go c.forward()
	return c, nil
}

func cannotStart(op string, argv []string, err error) error {
	f := &fault.Error{
		Op: op, What: fmt.Sprintf("cannot start %q", argv[0]), Expected: "a command that can be run, after --",
		Retry: fault.RetryUseless, Code: exitCannotRun,
		Try: "the command without demarc: " + strings.Join(argv[:1], " "),
	}
	var ee *exec.Error
	var pe *os.PathError
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		f.Code = exitNotFound
		f.Cause = errors.New("command not found")
		if strings.Contains(argv[0], "/") {
			f.Cause = errors.New("no such file")
			if _, serr := os.Stat(argv[0]); serr == nil {
				f.Cause = errors.New("the interpreter named in its first line was not found")
			}
		}
	case errors.As(err, &ee):
		f.Cause = ee.Err
	case errors.As(err, &pe):
		f.Cause = pe.Err
	default:
		f.Cause = err
	}
	return f
}

// Signal sends a signal to the child.
func (c *Child) Signal(s syscall.Signal) { _ = syscall.Kill(c.Pid, s) }

func (c *Child) forward() {
	for s := range c.sigs {
		sig := s.(syscall.Signal)
		if sig == syscall.SIGINT && c.tty != nil && c.foreground() == unix.Getpgrp() {
			// Ctrl-C at a terminal whose foreground is demarc's group: it is meant for all that the command started.
			_ = syscall.Kill(-c.Pid, sig)
			continue
		}
		c.Signal(sig)
	}
}

func (c *Child) foreground() int {
	if c.tty == nil {
		return -1
	}
	pgrp, err := unix.IoctlGetInt(int(c.tty.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return -1
	}
	return pgrp
}

func (c *Child) setForeground(pgrp int) {
	_ = unix.IoctlSetPointerInt(int(c.tty.Fd()), unix.TIOCSPGRP, pgrp)
}

// Wait returns the child's exit code when it has ended: its own, or 128 and the number of the signal that ended it.
func (c *Child) Wait() int {
	for {
		var st syscall.WaitStatus
		_, err := syscall.Wait4(c.Pid, &st, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fault.ExitFailed // cannot be: the child is ours and nobody else waits for it
		case st.Stopped():
			c.stopped(st.StopSignal())
		case st.Signaled():
			c.end()
			return 128 + int(st.Signal())
		case st.Exited():
			c.end()
			return st.ExitStatus()
		}
	}
}

// stopped follows the child into a stop, or gives it the terminal that it asked for.
func (c *Child) stopped(why syscall.Signal) {
	own := unix.Getpgrp()
	if c.tty == nil {
		return // whoever stopped it will continue it
	}
	wants := why == syscall.SIGTTIN || why == syscall.SIGTTOU
	if !c.fg {
		if wants && c.foreground() == own {
			c.fg = true
			c.setForeground(c.Pid)
			_ = syscall.Kill(-c.Pid, syscall.SIGCONT)
		}
		return
	}
	c.setForeground(own)
	_ = syscall.Kill(0, syscall.SIGSTOP) // returns when the shell has continued the job
	if c.foreground() == own {
		c.setForeground(c.Pid)
	}
	_ = syscall.Kill(-c.Pid, syscall.SIGCONT)
}

// end gives the terminal back, and the signals.
func (c *Child) end() {
	signal.Stop(c.sigs)
	if c.tty != nil && c.foreground() == c.Pid {
		c.setForeground(unix.Getpgrp())
	}
}
