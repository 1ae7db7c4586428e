package capture

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// crashFS is a disk in memory that notes each operation, fails those that it is told to, and knows what would be left
// after a crash: of a file what was synced, of a directory the names that were there when it was synced.
type crashFS struct {
	ops   []string
	fault func(n int, op string) error // of the n-th operation, from 1; nil: it works

	names   map[string]*inode
	durable map[string]*inode
}

type inode struct{ data, durable []byte }

type crashFile struct {
	fs   *crashFS
	name string
	node *inode
}

func newCrashFS(fault func(int, string) error) *crashFS {
	return &crashFS{fault: fault, names: map[string]*inode{}, durable: map[string]*inode{}}
}

func (c *crashFS) do(format string, args ...any) error {
	op := fmt.Sprintf(format, args...)
	c.ops = append(c.ops, op)
	if c.fault != nil {
		return c.fault(len(c.ops), op)
	}
	return nil
}

func (c *crashFS) MkdirAll(dir string) error { return c.do("mkdir %s", filepath.Base(dir)) }

func (c *crashFS) Create(path string) (file, error) {
	name := filepath.Base(path)
	if err := c.do("create %s", name); err != nil {
		return nil, err
	}
	c.names[name] = &inode{}
	return &crashFile{c, name, c.names[name]}, nil
}

func (c *crashFS) Rename(from, to string) error {
	from, to = filepath.Base(from), filepath.Base(to)
	if err := c.do("rename %s %s", from, to); err != nil {
		return err
	}
	c.names[to] = c.names[from]
	delete(c.names, from)
	return nil
}

func (c *crashFS) Remove(path string) error {
	if err := c.do("remove %s", filepath.Base(path)); err != nil {
		return err
	}
	delete(c.names, filepath.Base(path))
	return nil
}

func (c *crashFS) SyncDir(dir string) error {
	if err := c.do("syncdir %s", filepath.Base(dir)); err != nil {
		return err
	}
	c.durable = maps.Clone(c.names)
	return nil
}

func (c *crashFS) Lock(path string) (io.Closer, error) {
	if err := c.do("lock"); err != nil {
		return nil, err
	}
	return io.NopCloser(nil), nil
}

var errShort = errors.New("short write")

func (f *crashFile) Write(b []byte) (int, error) {
	if err := f.fs.do("write %s", f.name); err != nil {
		if errors.Is(err, errShort) {
			f.node.data = append(f.node.data, b[:len(b)/2]...)
			return len(b) / 2, syscall.ENOSPC
		}
		return 0, err
	}
	f.node.data = append(f.node.data, b...)
	return len(b), nil
}

func (f *crashFile) Truncate(size int64) error {
	if err := f.fs.do("truncate %s", f.name); err != nil {
		return err
	}
	f.node.data = f.node.data[:size]
	return nil
}

func (f *crashFile) Sync() error {
	if err := f.fs.do("sync %s", f.name); err != nil {
		return err
	}
	f.node.durable = slices.Clone(f.node.data)
	return nil
}

func (f *crashFile) Close() error { return f.fs.do("close %s", f.name) }

// put writes a state of the disk into a real directory. torn adds a share of what was written and not synced, with
// its last bytes spoilt.
func put(t *testing.T, files map[string]*inode, torn int) string {
	t.Helper()
	dir := t.TempDir()
	for name, node := range files {
		data := slices.Clone(node.durable)
		if rest := len(node.data) - len(data); torn > 0 && rest > 0 {
			data = append(data, node.data[len(data):len(data)+rest*torn/4]...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// exercise writes ten parts of events over several segments, with a flush after each, and returns how many events were
// acknowledged as durable. It goes on after a failure, as a collector does.
func exercise(t *testing.T, fs *crashFS, events []event.Event) (acked int, created bool, w *Writer, failures []error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	// The writer does all to its disk in one order: nothing flushes by itself within an hour.
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w, err := Create(dir, Options{fs: fs, flushEvery: time.Hour, segmentBytes: 2500, now: func() time.Time { return now }})
	if err != nil {
		return 0, false, nil, []error{err}
	}
	healthy := true
	for part := range slices.Chunk(events, len(events)/10) {
		for _, err := range []error{w.Append(part), w.Flush()} {
			if err != nil {
				failures = append(failures, err)
				healthy = false
			}
		}
		if healthy {
			acked += len(part)
		}
	}
	if err := w.Close(); err != nil {
		failures = append(failures, err)
	}
	return acked, true, w, failures
}

func TestOrderOfSystemCalls(t *testing.T) {
	fs := newCrashFS(nil)
	_, _, _, failures := exercise(t, fs, recordertest.NewTraffic(1).Take(300))
	if len(failures) > 0 {
		t.Fatal(failures)
	}
	golden, err := os.ReadFile("testdata/syscalls.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(fs.ops, "\n") + "\n"; got != string(golden) {
		t.Errorf("the order differs from testdata/syscalls.txt:\n%s", got)
	}
}

// TestCrashAnywhere stops the writer at each operation in turn and reads what the disk has then.
func TestCrashAnywhere(t *testing.T) {
	events := recordertest.NewTraffic(1).Take(300)
	fs := newCrashFS(nil)
	exercise(t, fs, events)
	total := len(fs.ops)
	if total < 60 {
		t.Fatalf("only %d operations", total)
	}
	crash := errors.New("crash")
	for at := 1; at <= total; at++ {
		fs := newCrashFS(func(n int, _ string) error {
			if n >= at {
				return crash
			}
			return nil
		})
		acked, created, _, _ := exercise(t, fs, events)
		for torn := range 4 {
			dir := put(t, fs.durable, torn)
			r, err := Open(dir)
			if err != nil {
				if created {
					t.Errorf("crash at operation %d: %v", at, err)
				}
				continue
			}
			var got []event.Event
			got, info := readAll(t, dir)
			if len(got) < acked {
				t.Errorf("crash at operation %d (%s), torn %d: %d events are left, %d were acknowledged; %q", at, fs.ops[at-1], torn, len(got), acked, info.Warnings)
				continue
			}
			sameEvents(t, got, events[:len(got)])
			if !info.Closed && len(info.Warnings) == 0 {
				t.Errorf("crash at operation %d: nothing is said", at)
			}
			_ = r
		}
	}
}

// TestFailingDisk lets each operation after the creation fail for a while: what was written stays readable, the failure
// is told once by Append or Flush, and the counts fit what is there.
func TestFailingDisk(t *testing.T) {
	events := recordertest.NewTraffic(1).Take(300)
	whole := newCrashFS(nil)
	exercise(t, whole, events)
	first := slices.IndexFunc(whole.ops, func(op string) bool { return op == "rename manifest.json.tmp manifest.json" }) + 4
	for at := first; at <= len(whole.ops); at++ {
		for _, cause := range []error{syscall.ENOSPC, errShort, syscall.EIO} {
			for _, long := range []int{1, 5} {
				fs := newCrashFS(func(n int, op string) error {
					if n >= at && n < at+long && (!errors.Is(cause, errShort) || strings.HasPrefix(op, "write")) {
						return cause
					}
					return nil
				})
				_, _, w, failures := exercise(t, fs, events)
				for _, node := range fs.names { // no crash: what was written is there
					node.durable = node.data
				}
				got, info := readAll(t, put(t, fs.names, 0))
				s := w.Stats()
				name := fmt.Sprintf("operation %d (%s) and %d more fail with %v", at, whole.ops[at-1], long-1, cause)
				if int64(len(got))+s.Lost < int64(len(events)) {
					t.Errorf("%s: %d events read, %d counted as lost, of %d; %q", name, len(got), s.Lost, len(events), info.Warnings)
				}
				inOrder(t, name, got, events)
				if s.Failures > 0 && len(failures) == 0 && at < len(whole.ops)-5 {
					t.Errorf("%s: nobody was told", name)
				}
				if s.Lost > 0 && !strings.Contains(strings.Join(info.Warnings, "\n"), fmt.Sprintf("%d events were lost", s.Lost)) && info.Closed {
					t.Errorf("%s: %d lost, the warnings are %q", name, s.Lost, info.Warnings)
				}
				for _, err := range failures {
					var f *fault.Error
					if !errors.As(err, &f) || f.What == "" || f.Cause == nil || f.Retry == "" {
						t.Errorf("%s: told as %#v", name, err)
					}
				}
			}
		}
	}
}

// inOrder checks that got is a subsequence of want.
func inOrder(t *testing.T, name string, got, want []event.Event) {
	t.Helper()
	at := 0
	for i := range got {
		for at < len(want) && (got[i].At != want[at].At || !reflect.DeepEqual(got[i], want[at])) {
			at++
		}
		if at == len(want) {
			t.Errorf("%s: event %d was never written, or comes twice or out of order", name, i)
			return
		}
		at++
	}
}

func TestFullDiskOnCreate(t *testing.T) {
	for at := 1; at <= 12; at++ {
		fs := newCrashFS(func(n int, _ string) error {
			if n == at {
				return syscall.ENOSPC
			}
			return nil
		})
		_, created, _, failures := exercise(t, fs, recordertest.NewTraffic(1).Take(10))
		var f *fault.Error
		if created && at < 10 || len(failures) == 0 || !errors.As(failures[0], &f) || !errors.Is(failures[0], syscall.ENOSPC) {
			t.Errorf("operation %d (%s) fails: created %v, failures %v", at, fs.ops[at-1], created, failures)
		}
	}
}
