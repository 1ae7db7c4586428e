// Package command is the one place that runs other people's commands: a shell line with a time limit, no terminal, a
// clean environment, and output that is bounded and from which secrets have been taken out.
//
// What holds for every command, whatever it does:
//
//   - it has a session and process group of its own, standard input is /dev/null, and there is no controlling terminal;
//   - when it ends, is cancelled or exceeds its time, everything that it started gets SIGTERM and, after a grace, SIGKILL:
//     its group, its session, and (on Linux) processes that left both but still carry its mark in their environment;
//   - when demarc itself dies, by kill -9 too, a watchdog ends the command in the same way;
//   - before the line begins to run, Spec.Started is told who it is, so that one who comes later can ask whether it still
//     runs (Process.Running) and end it (Process.End);
//   - its parent is a shell in its own group: killing that, or the whole group, ends the command and not demarc.
//
// Memory: LogTail bytes at most for the end of the log, the kept tail, and twice the longest secret.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Defaults and limits.
const (
	DefaultTimeout = 10 * time.Minute
	MaxTimeout     = 24 * time.Hour
	DefaultGrace   = 5 * time.Second
	DefaultTail    = 4 << 10  // bytes of output kept in the result
	MaxLine        = 64 << 10 // bytes of a command line
	MaxSecret      = 64 << 10 // bytes of a secret's value
	MinSecret      = 4        // shorter ones cannot be masked without masking everything
	LogHead        = 8 << 20  // bytes of output that a log keeps from its beginning
	LogTail        = 2 << 20  // and from its end

	readBuffer = 256 << 10
)

// Kept are the variables of demarc's own environment that a command gets without being named.
var Kept = []string{"PATH", "HOME", "LANG", "TMPDIR", "USER"}

// Mark is the variable by which the processes of one command are known.
const Mark = "DEMARC_COMMAND"

// Spec is a command to run.
type Spec struct {
	Line    string            // given to /bin/sh -c; at most MaxLine bytes
	Dir     string            // working directory; empty: demarc's own
	Pass    []string          // names of variables handed on from demarc's environment, where they are set; masked if the name is that of a secret
	Env     map[string]string // variables with their values, which are no secrets
	Secrets map[string]string // variables with a reference: env:NAME or file:PATH (relative to Dir); masked in all output
	Timeout time.Duration     // 0: DefaultTimeout; at most MaxTimeout
	Grace   time.Duration     // between SIGTERM and SIGKILL; 0: DefaultGrace
	Log     string            // file that output is streamed to (mode 0600, made anew); empty: none
	Tail    int               // bytes of the end of the output in the result; 0: DefaultTail
	Output  io.Writer         // gets the masked output as it comes; nil: nobody. An error ends its copy, not the command

	// MayLeave: processes that still run when the command has ended by itself with exit 0 are left alone, as those of a
	// deployment that starts a service in the background. They must not write to the command's output any more.
	MayLeave bool

	// Started is called before the line runs. If it fails, the line is not run and Run returns its error.
	Started func(Process) error
}

// Result is what became of a command.
type Result struct {
	Exit       int       `json:"exit" yaml:"exit"`                                   // as a shell tells: 128 and the signal's number where one ended it
	Signal     string    `json:"signal,omitempty" yaml:"signal,omitempty"`           // SIGKILL
	TimedOut   bool      `json:"timed_out,omitempty" yaml:"timed_out,omitempty"`     // it was ended because of its time limit
	Cancelled  bool      `json:"cancelled,omitempty" yaml:"cancelled,omitempty"`     // it was ended because the context was
	Outlived   bool      `json:"outlived,omitempty" yaml:"outlived,omitempty"`       // processes were left when it ended by itself
	Start      time.Time `json:"start" yaml:"start"`                                 // UTC
	DurationMS int64     `json:"duration_ms" yaml:"duration_ms"`                     //
	Tail       string    `json:"tail" yaml:"tail"`                                   // the end of the output: masked, valid UTF-8, without terminal control
	Bytes      int64     `json:"bytes" yaml:"bytes"`                                 // of masked output
	Log        string    `json:"log,omitempty" yaml:"log,omitempty"`                 // the log file
	Truncated  int64     `json:"truncated,omitempty" yaml:"truncated,omitempty"`     // bytes of output that the log does not hold
	LogFailure string    `json:"log_failure,omitempty" yaml:"log_failure,omitempty"` // why the log is not whole
}

// OK says whether the command ended by itself with exit 0.
func (r Result) OK() bool { return r.Exit == 0 && !r.TimedOut && !r.Cancelled }

// Outcome says in a few words how the command ended: "exit 3", "ended by SIGKILL", "not done after 10m0s".
func (r Result) Outcome() string {
	switch {
	case r.TimedOut:
		return "not done after " + (time.Duration(r.DurationMS) * time.Millisecond).Round(100*time.Millisecond).String()
	case r.Cancelled:
		return "interrupted"
	case r.Signal != "":
		return "ended by " + r.Signal
	}
	return fmt.Sprintf("exit %d", r.Exit)
}

// gate waits on descriptor 3 for the word to start. It stays as the parent of the line's own shell, so that a line which
// kills its parent does not reach demarc.
const gate = `IFS= read -r go <&3 || exit 125; exec 3<&-; /bin/sh -c "$1"; exit $?`

// watchdog waits on descriptor 3 for the word that all is done. If the other end is closed without it, demarc is dead:
// the group goes too.
const watchdog = `IFS= read -r done <&3 && exit 0; kill -TERM "-$1"; sleep "$2"; kill -KILL "-$1"`

// Run runs one command and waits for its end. The error tells why it was not run, or is ctx.Err() (with a valid result)
// when the context ended it; a command that failed is not an error.
func Run(ctx context.Context, s Spec) (Result, error) {
	if err := s.check(); err != nil {
		return Result{}, err
	}
	env, secrets, err := s.environment()
	if err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	out, err := newOutput(s, secrets)
	if err != nil {
		return Result{}, err
	}
	defer out.close()

	// The signal that the kernel sends when the parent dies is tied to the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	id := newID()
	r, w, err := os.Pipe()
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	start := time.Now()
	sh, open, err := shell(s.Dir, append(env, Mark+"="+id), w, gate, s.Line)
	w.Close()
	if err != nil {
		return Result{}, err
	}
	p := identify(sh.Process.Pid, id)
	life, err := s.guard(p)
	if err == nil && s.Started != nil {
		err = s.Started(p)
	}
	if err != nil {
		open.Close() // without the word: the gate ends, and nothing was run
		_ = sh.Wait()
		life.release()
		return Result{}, err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		// Until every writer has gone, or r is closed below. The reader is bare so that the buffer is used.
		_, _ = io.CopyBuffer(out, struct{ io.Reader }{r}, make([]byte, readBuffer))
	}()
	_, _ = open.WriteString("go\n")
	open.Close()

	res := s.wait(ctx, sh, p)
	life.release()
	select {
	case <-copied:
	case <-time.After(time.Second):
		r.Close() // somebody who was left still holds the other end
		<-copied
	}
	out.finish(&res)
	res.Start = start.UTC().Round(time.Millisecond)
	res.DurationMS = time.Since(start).Milliseconds()
	if res.Cancelled {
		return res, ctx.Err()
	}
	return res, nil
}

// wait waits for the end of the shell, ends it where it must, and everything that is left of it.
func (s Spec) wait(ctx context.Context, sh *exec.Cmd, p Process) Result {
	var res Result
	ended := make(chan struct{})
	go func() {
		_ = sh.Wait()
		close(ended)
	}()
	limit := time.NewTimer(s.timeout())
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
		res.TimedOut = true
	case <-ctx.Done():
		res.Cancelled = true
	}
	byItself := !res.TimedOut && !res.Cancelled
	if left := p.Running(); left && byItself {
		res.Outlived = true
		if s.MayLeave && sh.ProcessState.Success() {
			return res
		}
	}
	p.end(s.grace())
	<-ended
	status := sh.ProcessState.Sys().(syscall.WaitStatus)
	res.Exit = status.ExitStatus()
	if status.Signaled() {
		res.Exit = 128 + int(status.Signal())
	}
	if res.Exit > 128 {
		res.Signal = signalName(syscall.Signal(res.Exit - 128))
	}
	return res
}

func (s Spec) timeout() time.Duration {
	if s.Timeout == 0 {
		return DefaultTimeout
	}
	return s.Timeout
}

func (s Spec) grace() time.Duration {
	if s.Grace == 0 {
		return DefaultGrace
	}
	return s.Grace
}

// check says what is wrong with the command before anything is done.
func (s Spec) check() error {
	switch {
	case strings.TrimSpace(s.Line) == "":
		return errors.New("the command is empty")
	case len(s.Line) > MaxLine:
		return fmt.Errorf("the command has %d bytes, at most %d are allowed", len(s.Line), MaxLine)
	case strings.ContainsRune(s.Line, 0):
		return errors.New("the command holds a NUL byte")
	case s.Timeout < 0 || s.Timeout > MaxTimeout:
		return fmt.Errorf("a time limit of %s; more than 0 and at most %s was expected", s.Timeout, MaxTimeout)
	}
	if s.Dir != "" {
		info, err := os.Stat(s.Dir)
		if err != nil {
			return fmt.Errorf("the folder to run it in: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("the folder to run it in: %s is not a folder", s.Dir)
		}
	}
	return nil
}

// shell starts /bin/sh with a script and arguments, in a session of its own. Descriptor 3 is the reading end of a pipe,
// whose other end is returned.
func shell(dir string, env []string, out *os.File, script string, args ...string) (*exec.Cmd, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Dir, cmd.Env = dir, env
	if out != nil {
		cmd.Stdout, cmd.Stderr = out, out
	}
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if script == gate {
		dieWithParent(cmd.SysProcAttr)
	}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, nil, err
	}
	return cmd, w, nil
}

// guardian is the watchdog of one command.
type guardian struct {
	sh   *exec.Cmd
	open *os.File
}

func (s Spec) guard(p Process) (*guardian, error) {
	grace := fmt.Sprint(max(1, int(s.grace().Round(time.Second)/time.Second)))
	sh, open, err := shell("/", []string{"PATH=/usr/bin:/bin"}, nil, watchdog, fmt.Sprint(p.PID), grace)
	if err != nil {
		return nil, err
	}
	return &guardian{sh, open}, nil
}

// release tells the watchdog that there is nothing to guard any more.
func (g *guardian) release() {
	if g == nil {
		return
	}
	_, _ = g.open.WriteString("done\n")
	g.open.Close()
	_ = g.sh.Wait()
}

// secretName matches variables that are masked even if they are only handed on.
var secretName = regexp.MustCompile(`(?i)secret|token|passw|pwd|api_?key|private|credential`)

// environment returns the variables of the command, and the values of its secrets.
func (s Spec) environment() ([]string, [][]byte, error) {
	vars := map[string]string{}
	var secrets [][]byte
	for _, name := range slices.Concat(Kept, s.Pass) {
		if v, ok := os.LookupEnv(name); ok {
			vars[name] = v
			if secretName.MatchString(name) {
				secrets = append(secrets, []byte(v))
			}
		}
	}
	for name, v := range s.Env {
		vars[name] = v
	}
	for name, ref := range s.Secrets {
		v, err := ReadSecret(s.Dir, ref)
		if err != nil {
			return nil, nil, fmt.Errorf("the secret %s: %w", name, err)
		}
		vars[name] = v
		secrets = append(secrets, []byte(v))
	}
	env := make([]string, 0, len(vars)+1)
	for name, v := range vars {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(v, 0) {
			return nil, nil, fmt.Errorf("the variable %q: a name without = and a value without NUL bytes were expected", name)
		}
		env = append(env, name+"="+v)
	}
	slices.Sort(env)
	return env, secrets, nil
}

// ReadSecret returns the value that a reference names: env:NAME or file:PATH, relative to dir, without white space around
// it. No error holds a part of the value.
func ReadSecret(dir, ref string) (string, error) {
	kind, where, _ := strings.Cut(ref, ":")
	var v string
	switch {
	case kind == "env" && where != "":
		var ok bool
		if v, ok = os.LookupEnv(where); !ok {
			return "", fmt.Errorf("the variable %s is not set", where)
		}
	case kind == "file" && where != "":
		if !filepath.IsAbs(where) {
			where = filepath.Join(dir, where)
		}
		f, err := os.Open(where)
		if err != nil {
			return "", err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, MaxSecret+1))
		if err != nil {
			return "", err
		}
		v = string(bytes.TrimSpace(data))
	default:
		return "", errors.New("env:NAME or file:PATH was expected; a secret itself does not belong here")
	}
	if len(v) < MinSecret || len(v) > MaxSecret {
		return "", fmt.Errorf("its value has %d bytes; %d to %d were expected", len(v), MinSecret, MaxSecret)
	}
	return v, nil
}
