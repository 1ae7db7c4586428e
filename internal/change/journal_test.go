package change

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// writtenJournal is the journal of a run of three steps, the last of which was broken off.
func writtenJournal(t *testing.T) *journal {
	t.Helper()
	t.Chdir(t.TempDir())
	j, err := newJournal(".demarc", "it", NewRun(KindShip, time.Now()), map[string]string{"watch": "1m"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []entry{
		{Event: eventBegin, Key: "backup"}, {Event: eventEnd, Key: "backup", End: &Step{Name: "backup", State: StatePassed}},
		{Event: eventBegin, Key: "backup2"}, {Event: eventBegin, Key: "backup2"}, {Event: eventEnd, Key: "backup2", End: &Step{Name: "backup2", State: StatePassed}},
		{Event: eventBegin, Key: "deploy"},
	} {
		if err := j.write(e); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// However many bytes of the last line reached the disk, the journal tells of all lines before, and is gone on with.
func TestTornJournal(t *testing.T) {
	j := writtenJournal(t)
	path := filepath.Join(j.Dir, journalFile)
	whole := read(t, path)
	last := strings.LastIndexByte(strings.TrimSuffix(whole, "\n"), '\n') + 1
	for cut := last; cut <= len(whole); cut++ {
		write(t, path, whole[:cut], 0o600)
		p, err := LastProgress(".demarc", "it")
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if open := map[bool]string{true: "deploy"}[cut == len(whole)]; p.Open != open || len(p.Run.Steps) != 2 || !p.Unfinished() || p.Options["watch"] != "1m" {
			t.Fatalf("cut at %d: %+v", cut, p)
		}
		again, err := reopen(p, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if p.Open == "" {
			err = again.write(entry{Event: eventBegin, Key: "deploy"})
		}
		err = errors.Join(err, again.write(entry{Event: eventEnd, Key: "deploy", End: &Step{Name: "deploy", State: StateFailed}}), again.finish(StateFailed, "why"))
		if err != nil {
			t.Fatal(err)
		}
		if p, err = LastProgress(".demarc", "it"); err != nil || p.Unfinished() || p.Run.Detail != "why" || p.Ended("deploy") == nil || p.begun["backup2"] != 2 {
			t.Fatalf("cut at %d: %+v, %v", cut, p, err)
		}
	}
}

// Damage that no crash leaves is said, and nothing is guessed.
func TestDamagedJournal(t *testing.T) {
	j := writtenJournal(t)
	path := filepath.Join(j.Dir, journalFile)
	whole := read(t, path)
	lines := strings.SplitAfter(whole, "\n")
	for name, text := range map[string]string{
		"a line is missing": strings.Join(slices.Delete(slices.Clone(lines), 2, 3), ""),
		"not JSON":          lines[0] + "nonsense\n" + lines[1],
		"newer":             strings.Replace(whole, `"v":1`, `"v":9`, 1),
		"two runs":          whole + whole,
		"after the end":     lines[0] + `{"event":"finish","state":"passed"}` + "\n" + lines[1] + lines[2],
	} {
		write(t, path, text, 0o600)
		if p, err := LastProgress(".demarc", "it"); err == nil || !strings.Contains(fault.Text(err), path) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestJournalsAreBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	for range keptJournals + 3 {
		j, err := newJournal(".demarc", "it", NewRun(KindVerify, time.Now()), nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.finish(StatePassed, ""); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := folders(journals(".demarc", "it"))
	if err != nil || len(ids) != keptJournals || ids[len(ids)-1] != "0053-verify" {
		t.Errorf("%q, %v", ids, err)
	}
	// A run that was killed before its first line has not begun.
	if err := os.MkdirAll(filepath.Join(journals(".demarc", "it"), "0054-ship"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(journals(".demarc", "it"), "0055-ship", journalFile), `{"v":1,"at":"20`, 0o600)
	if p, err := LastProgress(".demarc", "it"); err != nil || p.Run.Kind != KindVerify {
		t.Errorf("%+v, %v", p, err)
	}
	if found, err := Unfinished(".demarc"); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestDiskIsFull(t *testing.T) {
	j := writtenJournal(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	j.file = full
	if err := j.write(entry{Event: eventBegin, Key: "deploy"}); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(fault.Text(err), "goes on where the journal ends") {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	t.Chdir(t.TempDir())
	h := holder{Pid: os.Getpid(), Command: KindShip, Record: "it", At: time.Now()}
	first, err := takeLock(".demarc", h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(".demarc", h); err == nil || !strings.Contains(err.Error(), "demarc change ship it (process ") {
		t.Errorf("the lock was taken twice: %v", err)
	}
	if busy := Busy(".demarc"); !strings.HasPrefix(busy, "demarc change ship it (process ") {
		t.Errorf("busy: %q", busy)
	}
	_ = first.file.Close() // as the end of the process does
	if busy := Busy(".demarc"); busy != "" {
		t.Errorf("busy: %q", busy)
	}
	second, err := takeLock(".demarc", h)
	if err != nil || second.Gone.Command != KindShip {
		t.Fatalf("%v, %+v", err, second)
	}
	second.release()
	if third, err := takeLock(".demarc", h); err != nil || third.Gone.Pid != 0 {
		t.Errorf("%v, %+v", err, third)
	}
}

// FuzzJournal reads what may stand in a journal's place.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"v":1,"event":"run","run":{"id":"x","kind":"ship","state":"running"}}` + "\n" +
		`{"event":"begin","step":"deploy"}` + "\n" + `{"event":"child","step":"deploy","child":{"pid":1,"start":"a/1","id":"b"}}` + "\n" +
		`{"event":"end","step":"deploy","end":{"name":"deploy","state":"passed"}}` + "\n" + `{"event":"finish","state":"passed"}` + "\n"))
	f.Add([]byte(`{"v":1,"event":"run"}` + "\n"))
	f.Add([]byte("null\nnull\n"))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseJournal(data)
		if err != nil {
			return
		}
		if p.size > int64(len(data)) {
			t.Fatalf("%d of %d bytes are whole", p.size, len(data))
		}
		again, err := parseJournal(data[:p.size])
		if err != nil || again.Open != p.Open || len(again.Run.Steps) != len(p.Run.Steps) || again.Run.State != p.Run.State {
			t.Fatalf("without its torn end it tells something else: %+v, %v", again, err)
		}
		_ = p.Unfinished()
		_ = p.Where()
		_ = p.Ended("deploy")
	})
}
