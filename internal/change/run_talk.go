package change

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// duration is a length of time as Go writes it, to the millisecond.
func duration(d time.Duration) string { return d.Round(time.Millisecond).String() }

// relative is path as seen from dir, or path itself where it cannot be told.
func relative(dir, path string) string {
	a, err1 := filepath.Abs(dir)
	b, err2 := filepath.Abs(path)
	if rel, err := filepath.Rel(a, b); err == nil && err1 == nil && err2 == nil {
		return filepath.ToSlash(rel)
	}
	return path
}

func oneLine(text string) string {
	line, more, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if more != "" {
		line += " …"
	}
	return line
}

// sayf prints one line of talk.
func (r *runner) sayf(format string, args ...any) {
	fmt.Fprintf(r.Talk, format+"\n", args...)
}

// gap is an empty line between the parts of a run.
func (r *runner) gap() {
	if r.Plan == nil && r.err == nil {
		r.sayf("")
	}
}

// announce says what begins. Until the returned function is called, it says every slowly seconds that it is still going on.
func (r *runner) announce(key, shown string) (stop func()) {
	if shown == "" {
		return func() {}
	}
	for i, line := range strings.Split(strings.TrimSpace(shown), "\n") {
		if i > 0 {
			key = ""
		}
		r.sayf("%-14s $ %s", key, line)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(slowly)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.sayf("%-14s … %s", "", time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// slowly is how often a step that takes long says so.
const slowly = 10 * time.Second

// told says what came of a step. Of one that failed it shows the end of the output.
func (r *runner) told(key string, s Step) {
	line := s.State
	if s.Duration != "" && s.State != StateSkipped {
		line += ", " + s.Duration
	}
	if s.Detail != "" {
		line += ": " + s.Detail
	}
	r.sayf("%-14s %s", key, strings.ReplaceAll(line, "\n", "\n               "))
	if s.State != StateFailed || s.Output == "" {
		return
	}
	lines := strings.Split(s.Output, "\n")
	for _, l := range lines[max(0, len(lines)-shownLines):] {
		r.sayf("%-14s | %s", "", l)
	}
	if s.Log != "" {
		r.sayf("%-14s the whole output: %s", "", filepath.Join(r.record.Dir(), s.Log))
	}
}

// shownLines is how many lines of a failed command's output are shown.
const shownLines = 12

// banner is the loudest message there is.
func (r *runner) banner(lines ...string) {
	bar := strings.Repeat("!", 100)
	r.sayf("\n%s", bar)
	for _, l := range lines {
		r.sayf("!!  %s", l)
	}
	r.sayf("%s\n", bar)
}

// whoAndWhere tells who runs something and which revision is checked out, as git says; empty where it does not.
func whoAndWhere(ctx context.Context) (by, commit string) {
	repository, err := OpenRepository(ctx, ".")
	if err != nil {
		return "", ""
	}
	return repository.User(ctx), repository.Commit(ctx)
}
