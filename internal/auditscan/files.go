// Package auditscan gathers what an audit rests on: files and their modes, cache servers, logs, and answers of the live service.
// It only reads, but for the probe, which sends requests to the one address that it was given. What it finds it hands to package
// audit, which judges.
//
// Nothing leaves the project's folder: symbolic links are not followed, and folders that hold other people's code are left out.
// Memory: one file of at most MaxFile at a time, one line of a log.
package auditscan

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/demarc-dev/demarc/internal/audit"
)

// Limits of what is read.
const (
	MaxFile    = 1 << 20   // bytes of a file of the project; larger ones are left out, and counted
	MaxFiles   = 5000      // files of the project
	MaxEntries = 50_000    // names in its folders
	MaxLog     = 256 << 20 // bytes of a log that are read, from its beginning
	maxDepth   = 20        // folders within folders
)

// skipped are folders whose files others wrote, or that tools make.
var skipped = []string{
	".git", ".hg", ".svn", ".demarc", "node_modules", "venv", ".venv", "site-packages", "__pycache__", ".tox", ".nox", ".mypy_cache", ".ruff_cache",
	".pytest_cache", ".cache", ".idea", ".vscode", "dist", "build", ".eggs", "vendor",
}

// records is the folder of change records.
const records = "changes"

// Scan is the project as its folder shows it.
type Scan struct {
	Files    *audit.Project
	Notes    *audit.Notes
	Paths    []audit.Path
	LogFiles []string // *.log below the folder
	Warnings []string
}

// Project reads the files of a folder. named are the files of cache and security settings, relative to it; mask makes a keyed
// hash of a secret, nil where there is no key.
func Project(dir string, named []string, mask func(string) string) (*Scan, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	s := &scanner{
		Scan: Scan{Files: &audit.Project{Named: clean(named), Mask: mask}, Notes: &audit.Notes{}}, root: root, dir: dir, mask: mask,
	}
	s.ignored()
	s.folder(".", 0)
	for _, n := range s.Files.Named {
		if _, err := root.Lstat(filepath.FromSlash(n)); err != nil {
			s.warn("security.files names %s, which is not there", n)
		}
	}
	if s.large > 0 {
		s.warn("%d files larger than %d bytes were not read", s.large, MaxFile)
	}
	if s.links > 0 {
		s.warn("%d symbolic links were not followed", s.links)
	}
	if s.unread > 0 {
		s.warn("%d files or folders could not be read", s.unread)
	}
	if s.entries > MaxEntries || s.read > MaxFiles {
		s.warn("the folder holds more than %d names or %d files to read; the rest was left out", MaxEntries, MaxFiles)
	}
	return &s.Scan, nil
}

func clean(named []string) []string {
	var list []string
	for _, n := range named {
		list = append(list, path.Clean(filepath.ToSlash(n)))
	}
	return list
}

type scanner struct {
	Scan
	root                 *os.Root
	dir                  string
	mask                 func(string) string
	entries, read        int
	large, links, unread int
	patterns             []string // of .gitignore, that name files of the environment
}

func (s *scanner) warn(form string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(form, args...))
}

// ignored reads which files of the environment git leaves out: secrets belong into those.
func (s *scanner) ignored() {
	data, err := s.content(".gitignore")
	if err != nil {
		return
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if line = strings.TrimSpace(line); strings.Contains(line, "env") && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "!") && len(s.patterns) < 100 {
			s.patterns = append(s.patterns, strings.Trim(line, "/"))
		}
	}
}

func (s *scanner) leftOut(name string) bool {
	return slices.ContainsFunc(s.patterns, func(p string) bool {
		base, err := path.Match(p, path.Base(name))
		whole, err2 := path.Match(p, name)
		return err == nil && base || err2 == nil && whole
	})
}

// content reads a file of at most MaxFile bytes.
func (s *scanner) content(name string) ([]byte, error) {
	f, err := s.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fs.ErrInvalid)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		err = errLarge
	}
	return data, err
}

var errLarge = errors.New("too large")

func (s *scanner) folder(name string, depth int) {
	if depth > maxDepth {
		return
	}
	f, err := s.root.Open(filepath.FromSlash(name))
	if err != nil {
		s.unread++
		return
	}
	list, err := f.ReadDir(MaxEntries)
	f.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		s.unread++
		return
	}
	if name != "." && slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.Name() == "pyvenv.cfg" }) {
		return
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range list {
		if s.entries++; s.entries > MaxEntries {
			return
		}
		at := path.Join(name, e.Name())
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			s.links++
		case e.IsDir():
			if !slices.Contains(skipped, e.Name()) && !strings.HasSuffix(e.Name(), ".egg-info") {
				if name == "." && e.Name() == records {
					s.mode(audit.PathRecord, at)
				}
				s.folder(at, depth+1)
			}
		case e.Type().IsRegular():
			s.file(at)
		}
	}
}

func (s *scanner) file(name string) {
	if strings.HasPrefix(name, records+"/") {
		s.note(name)
		return
	}
	if audit.LogFile(name) {
		s.LogFiles = append(s.LogFiles, filepath.Join(s.dir, filepath.FromSlash(name)))
		return
	}
	form, ok := audit.FormOf(name)
	if !ok {
		return
	}
	data, ok := s.text(name)
	if !ok {
		return
	}
	base := path.Base(name)
	environment := form == audit.Env && (strings.HasPrefix(base, ".env") || strings.HasSuffix(base, ".env"))
	if environment || strings.Contains(data, "PRIVATE KEY-----") && form == audit.Prose {
		s.mode(audit.PathSecret, name)
	}
	if name == "demarc.yaml" || slices.Contains(s.Files.Named, name) {
		s.mode(audit.PathConfig, name)
	}
	if environment && s.leftOut(name) {
		return // that is where secrets belong
	}
	s.Files.Add(name, data)
}

func (s *scanner) text(name string) (string, bool) {
	if s.read++; s.read > MaxFiles {
		return "", false
	}
	data, err := s.content(name)
	switch {
	case errors.Is(err, errLarge):
		s.large++
		return "", false
	case err != nil:
		s.unread++
		return "", false
	}
	if !utf8.Valid(data) {
		return strings.ToValidUTF8(string(data), "\uFFFD"), true
	}
	return string(data), true
}

// note reads a change record, a result of a run or a note.
func (s *scanner) note(name string) {
	switch path.Ext(name) {
	case ".yaml", ".md":
	default:
		return
	}
	data, ok := s.text(name)
	if !ok {
		return
	}
	s.mode(audit.PathRecord, name)
	s.Notes.Read++
	number := 0
	for line := range strings.SplitSeq(data, "\n") {
		number++
		s.Notes.Add(name, number, line, s.mask)
	}
}

func (s *scanner) mode(kind, name string) {
	if st, err := s.root.Lstat(filepath.FromSlash(name)); err == nil {
		s.Paths = append(s.Paths, pathOf(kind, name, st))
	}
}

func pathOf(kind, name string, st fs.FileInfo) audit.Path {
	p := audit.Path{Kind: kind, Path: name, Mode: st.Mode(), Link: st.Mode()&fs.ModeSymlink != 0}
	if own, ok := st.Sys().(*syscall.Stat_t); ok {
		p.Mine = int(own.Uid) == os.Getuid() || own.Uid == 0
	}
	return p
}

// maxPaths is how many paths of demarc's own folders are looked at.
const maxPaths = 2000

// State looks at the modes of the folder of captures, of one capture where it lies elsewhere, of the key, of sockets and of run files.
func State(dir, capture string) []audit.Path {
	var list []audit.Path
	add := func(kind, name string) {
		if st, err := os.Lstat(name); err == nil && len(list) < maxPaths {
			list = append(list, pathOf(kind, name, st))
		}
	}
	inside := func(kind, name string) {
		add(kind, name)
		entries, _ := os.ReadDir(name)
		for _, e := range entries {
			if !e.IsDir() {
				add(kind, filepath.Join(name, e.Name()))
			}
		}
	}
	add(audit.PathState, dir)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch base := e.Name(); {
		case base == "key":
			add(audit.PathKey, name)
		case strings.HasPrefix(base, "run") && strings.HasSuffix(base, ".json"), e.Type()&fs.ModeSocket != 0:
			kind := audit.PathRunFile
			if e.Type()&fs.ModeSocket != 0 {
				kind = audit.PathSocket
			}
			add(kind, name)
		case base == records:
			add(audit.PathState, name)
		case e.IsDir() && !strings.HasPrefix(base, "."):
			if _, err := os.Lstat(filepath.Join(name, "manifest.json")); err == nil {
				inside(audit.PathCapture, name)
			}
		}
	}
	if capture != "" && !sameFolder(filepath.Dir(filepath.Clean(capture)), dir) {
		inside(audit.PathCapture, capture)
	}
	// The sockets of recorders lie in private folders of this user, one for each demarc that runs.
	spaces, _ := filepath.Glob(filepath.Join(os.TempDir(), "demarc-*", "demarc.pid"))
	for _, pid := range spaces {
		space := filepath.Dir(pid)
		st, err := os.Lstat(space)
		if err != nil || !pathOf("", space, st).Mine {
			continue
		}
		add(audit.PathSocket, space)
	}
	return list
}

func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// Log reads a log line by line, at most MaxLog bytes of it. It tells whether there was more.
func Log(name, shown string, to *audit.Logs) (cut bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	to.Files++
	r := bufio.NewReaderSize(io.LimitReader(f, MaxLog), 64<<10)
	number := 0
	for {
		line, more, err := r.ReadLine()
		if errors.Is(err, io.EOF) {
			st, serr := f.Stat()
			return serr == nil && st.Size() > MaxLog, nil
		}
		if err != nil {
			return false, err
		}
		number++
		to.Add(shown, number, strings.ToValidUTF8(string(line), "\uFFFD"))
		for more && err == nil { // the rest of a line that is longer than the buffer
			_, more, err = r.ReadLine()
		}
	}
}
