package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// On a terminal, what is not known is asked for, and Ctrl-C leaves nothing behind.
func TestChangeNewAsks(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inRepository(t)
	dir := mustGetwd(t)
	answers := []struct{ question, answer string }{
		{"Topic, in one line:", "Faster list"}, {"Owner [Ada <ada@example.org>]:", ""}, {"Reason", "because"}, {"Context", ""}, {"notice", "the start page"},
		{"Input", "/articles"}, {"Cause:", "a cause"}, {"smallest change", "a change"}, {"backup", ""}, {"restores", ""}, {"deploys", "./deploy.sh"},
		{"healthy", "http://127.0.0.1:8000/health"}, {"verifies", ""}, {"takes it back", "./back.sh"}, {"remains", "nothing"},
		{"A check", "speed < 3"}, {"A check", "stale_reads == 0"}, {"A check", ""},
	}
	cmd, keys, out := atTerminal(t, dir, self, "change", "new")
	from := 0
	for _, a := range answers {
		deadline := time.Now().Add(patience)
		for !strings.Contains(out.String()[from:], a.question) {
			if time.Now().After(deadline) {
				t.Fatalf("%q was not asked:\n%s", a.question, out.String())
			}
			time.Sleep(5 * time.Millisecond)
		}
		from = len(out.String())
		if _, err := keys.WriteString(a.answer + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	records, err := filepath.Glob(filepath.Join(dir, "changes", "*-faster-list.yaml"))
	if err != nil || len(records) != 1 {
		t.Fatalf("%q, %v\n%s", records, err, out.String())
	}
	record, err := os.ReadFile(records[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"owner: Ada <ada@example.org>", "reason: because", "noticed: the start page", "deploy: ./deploy.sh", "health: curl -fsS", "rollback: ./back.sh",
		"rollback: nothing", "- stale_reads == 0"} {
		if !strings.Contains(string(record), want) {
			t.Errorf("%q is missing in\n%s", want, record)
		}
	}

	cmd, _, out = atTerminal(t, dir, self, "change", "new", "Other")
	for deadline := time.Now().Add(patience); !strings.Contains(out.String(), "Topic"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(out.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d after Ctrl-C:\n%s", code, out.String())
	}
	if records, _ := filepath.Glob(filepath.Join(dir, "changes", "*")); len(records) != 1 {
		t.Errorf("something was written: %q", records)
	}
}
