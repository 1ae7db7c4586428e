package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func run(t *testing.T, s Spec) Result {
	t.Helper()
	r, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRun(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var live bytes.Buffer
	r := run(t, Spec{Line: "echo out; echo err >&2; exit 3", Log: log, Output: &live})
	if r.Exit != 3 || r.OK() || r.Tail != "out\nerr" || r.Bytes != 8 || r.Outcome() != "exit 3" || live.String() != "out\nerr\n" {
		t.Errorf("result %+v", r)
	}
	if data, _ := os.ReadFile(log); string(data) != "out\nerr\n" {
		t.Errorf("log %q", data)
	}
	if r := run(t, Spec{Line: "kill -SEGV $$"}); r.Exit != 139 || r.Signal != "SIGSEGV" {
		t.Errorf("result %+v", r)
	}
	if r := run(t, Spec{Line: "true"}); !r.OK() {
		t.Errorf("result %+v", r)
	}
}

func TestTimeout(t *testing.T) {
	for _, line := range []string{
		"sleep 60",
		"trap '' TERM; sleep 60 & sleep 60; sleep 60",
		"setsid sh -c 'trap \"\" TERM; sleep 60; sleep 60' & sleep 60",
		"kill -STOP $$",
		"cat; sleep 60 </dev/tty; sleep 60",
	} {
		var p Process
		r := run(t, Spec{Line: line, Timeout: 300 * time.Millisecond, Grace: 200 * time.Millisecond,
			Started: func(q Process) error { p = q; return nil }})
		if !r.TimedOut || r.OK() || !strings.HasPrefix(r.Outcome(), "not done after") {
			t.Errorf("%s: %+v", line, r)
		}
		if p.Running() {
			t.Errorf("%s: still running", line)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), "begun")
	r, err := Run(ctx, Spec{Line: "echo begun; touch " + file + "; sleep 60", Started: func(Process) error {
		go func() {
			for _, err := os.Stat(file); err != nil && ctx.Err() == nil; _, err = os.Stat(file) {
				time.Sleep(5 * time.Millisecond)
			}
			cancel()
		}()
		return nil
	}})
	if !errors.Is(err, context.Canceled) || !r.Cancelled || r.Tail != "begun" {
		t.Errorf("%v %+v", err, r)
	}
}
