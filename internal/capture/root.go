package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Root is the directory that holds captures where nobody names another.
const Root = ".demarc"

// NewPath returns a name for a new capture under root: UTC time and service, with a number where that is taken.
func NewPath(root, service string, now time.Time) string {
	name := now.UTC().Format("20060102T150405Z") + "-" + plainName(service)
	path := filepath.Join(root, name)
	for n := 2; ; n++ {
		if _, err := os.Lstat(path); err != nil {
			return path
		}
		path = filepath.Join(root, fmt.Sprintf("%s-%d", name, n))
	}
}

// plainName keeps of a service's name what is safe in a file name.
func plainName(service string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, service)
	if len(s) > 64 {
		s = s[:64]
	}
	if s == "" {
		return "service"
	}
	return s
}

// found is a capture under a root.
type found struct {
	dir     string
	created time.Time
	written time.Time
	bytes   int64
	active  bool
}

// captures lists the captures directly under root, oldest first; a root that is not there has none. Directories whose
// manifest cannot be read, and those not meant to be seen (their names begin with a point), are left out.
func captures(root string) ([]found, error) {
	files, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fault.Error{What: "cannot list " + root, Cause: err, Retry: fault.RetrySafe}
	}
	var list []found
	for _, f := range files {
		dir := filepath.Join(root, f.Name())
		if !f.IsDir() || strings.HasPrefix(f.Name(), ".") {
			continue
		}
		m, err := readManifest(dir)
		if err != nil {
			continue
		}
		c := found{dir: dir, created: m.Created, written: m.Created, active: !m.Closed && locked(filepath.Join(dir, lockFile))}
		parts, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, p := range parts {
			if st, err := p.Info(); err == nil {
				c.bytes += st.Size()
				if p.Name() != lockFile && st.ModTime().After(c.written) {
					c.written = st.ModTime()
				}
			}
		}
		at := len(list)
		for at > 0 && list[at-1].created.After(c.created) {
			at--
		}
		list = append(list[:at], append([]found{c}, list[at:]...)...)
	}
	return list, nil
}

// Newest returns the capture under root that was begun last, whether it is being written or not.
func Newest(root string) (string, error) {
	list, err := captures(root)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", &fault.Error{What: "cannot choose a capture", Cause: errors.New("there is none under " + root),
			Expected: "a capture made by demarc run, collect or import", Retry: fault.RetryUseless,
			Try: "demarc run -- uvicorn shop:app"}
	}
	return list[len(list)-1].dir, nil
}

// Drop removes a capture. It refuses one that is being written, and a directory that is no capture; files in it that
// demarc did not write stay, and the directory with them.
func Drop(dir string) error {
	fail := func(cause error) error {
		return &fault.Error{What: "cannot remove capture " + dir, Cause: cause, Retry: fault.RetrySafe}
	}
	if _, err := os.Stat(filepath.Join(dir, manifestFile)); err != nil {
		return fail(errors.New("no " + manifestFile + " in it"))
	}
	if locked(filepath.Join(dir, lockFile)) {
		return fail(errors.New("it is being written"))
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return fail(err)
	}
	// The manifest goes last: what is interrupted can be done again.
	for _, f := range files {
		if segmentNumber(f.Name()) != 0 || f.Name() == lockFile || f.Name() == manifestFile+".tmp" {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return fail(err)
			}
		}
	}
	if err := os.Remove(filepath.Join(dir, manifestFile)); err != nil {
		return fail(err)
	}
	if err := os.Remove(dir); err != nil {
		return fail(err)
	}
	return nil
}

// Retain drops the oldest captures under root until the rest take at most o.MaxBytes together, and those last written
// longer ago than o.MaxAge. It never drops one that is being written, nor the newest one for its size. It returns
// what it dropped.
func Retain(root string, o Options) ([]string, error) {
	o = o.withDefaults()
	list, err := captures(root)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, c := range list {
		total += c.bytes
	}
	var gone []string
	var failures []error
	for i, c := range list {
		old := o.now().Sub(c.written) > o.MaxAge
		if c.active || !old && (total <= o.MaxBytes || i == len(list)-1) {
			continue
		}
		if err := Drop(c.dir); err != nil {
			failures = append(failures, err)
			continue
		}
		total -= c.bytes
		gone = append(gone, c.dir)
	}
	return gone, errors.Join(failures...)
}
