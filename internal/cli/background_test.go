package cli

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// inBackground prepares a demarc process as a shell without job control starts one that is followed by &: SIGINT is ignored.
func inBackground(t *testing.T, dir, ignored string, args ...string) *process {
	t.Helper()
	p := demarc(t, dir, nil, args...)
	p.cmd.Args = append([]string{"sh", "-c", "trap '' " + ignored + `; exec "$@"`, "sh", os.Args[0]}, args...)
	p.cmd.Path = "/bin/sh"
	return p
}

// A script's "demarc run -- uvicorn … &" ends on kill -INT, as "uvicorn … &" does: the service has its own handler.
func TestInterruptInBackground(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", service)
	p := inBackground(t, dir, "INT", "run", "--no-report", "--", python(t), "app.py").start()
	p.port()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.until(&p.stdout, "signal 2\n")
	if code := p.wait(); code != 42 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
}

// A service begins with the signals that it would have without demarc: ignored ones are ignored, others are not. What it ignores
// ends neither it nor demarc.
func TestIgnoredSignalsStayIgnored(t *testing.T) {
	const app = `
import signal, time
print("INT", signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "HUP", signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)
time.sleep(60)
`
	py := python(t)
	for _, tc := range []struct{ ignored, says string }{
		{"INT", "INT True HUP False\n"}, {"HUP", "INT False HUP True\n"}, {"INT HUP", "INT True HUP True\n"},
	} {
		t.Run(tc.ignored, func(t *testing.T) {
			p := inBackground(t, t.TempDir(), tc.ignored, "run", "--no-report", "--", py, "-c", app).start()
			p.until(&p.stdout, "\n")
			if got := p.stdout.String(); got != tc.says {
				t.Errorf("the service says %q, want %q", got, tc.says)
			}
			for name, s := range map[string]syscall.Signal{"INT": syscall.SIGINT, "HUP": syscall.SIGHUP} {
				if strings.Contains(tc.ignored, name) {
					if err := p.cmd.Process.Signal(s); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code := p.wait(); code != 143 {
				t.Errorf("exit code %d\n%s", code, p.stderr.String())
			}
		})
	}
}

// A collector has nobody to pass a signal on to, and ends itself.
func TestInterruptOfCollectorInBackground(t *testing.T) {
	p := inBackground(t, t.TempDir(), "INT", "collect", "--listen-recorder", "tcp:127.0.0.1:0").start()
	p.until(&p.stderr, "watching ")
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
}
