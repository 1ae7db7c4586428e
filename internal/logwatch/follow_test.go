package logwatch

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is a writer that two goroutines may use.
type sink struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// waitFor waits until the sink holds exactly want.
func waitFor(t *testing.T, s *sink, want string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); s.String() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("read %q, want %q", s.String(), want)
		}
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Everything that is written is read once and in order, whatever is done to the file.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	appendTo(t, path, "old 1\nold 2\n")
	log, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var before bytes.Buffer
	if left, err := log.Before(t.Context(), &before, 1<<20); err != nil || left != 0 || before.String() != "old 1\nold 2\n" {
		t.Fatalf("%d %v %q", left, err, before.String())
	}
	before.Reset()
	if left, err := log.Before(t.Context(), &before, 8); err != nil || left != 6 || before.String() != "old 2\n" {
		t.Fatalf("%d %v %q", left, err, before.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	var got sink
	done := make(chan error)
	go func() { done <- log.Follow(ctx, &got) }()
	want := "one\n"
	appendTo(t, path, "one\n")
	waitFor(t, &got, want)

	// Renamed: what is still written into the old file before the new one is there is read first.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path+".1", "two\n")
	appendTo(t, path, "three\n")
	want += "two\nthree\n"
	waitFor(t, &got, want)

	// Cut to nothing, as copytruncate does.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * pollPause)
	appendTo(t, path, "four\n")
	want += "four\n"
	waitFor(t, &got, want)

	// Away for a while.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * pollPause)
	appendTo(t, path, "five\n")
	want += "five\n"
	waitFor(t, &got, want)

	appendTo(t, path, "last")
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	waitFor(t, &got, want+"last")
	if notes := strings.Join(log.Notes(), "\n"); !strings.Contains(notes, "rotated") || !strings.Contains(notes, "was cut") {
		t.Errorf("notes %q", notes)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none"), "/dev/null"} {
		if l, err := Open(path); err == nil {
			l.Close()
			t.Errorf("%s was opened", path)
		}
	}
}
