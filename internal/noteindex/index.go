// Package noteindex finds notes by their words. The index lies beside the captures, is made from the notes' files alone, and is made
// anew whenever it is missing, damaged or of another version. It is a few immutable segments and a manifest that names them.
//
// Whether it is stale is found in two steps. At every question the folders' own times are compared, which tells of files that were
// added, replaced or removed (git, most editors and demarc replace files), and the first watched files, of which those that were
// not imported come first. Of the others, which only demarc has written, each answer's own files are compared before they are
// shown; whoever asks for it has every file compared.
package noteindex

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
)

// Limits of an index.
const (
	watched      = 1000                  // files that are compared at every question
	maxSegments  = 8                     // before they are merged into one
	buildMemory  = 24 << 20              // bytes of a segment that is being made, before it is written
	maxDepth     = 4                     // folders below notes/
	settle       = 20 * time.Millisecond // a file this young may change again without its time telling
	manifestName = "index.json"
)

// Source is a folder with notes.
type Source struct {
	Dir     string
	Records bool // only the notes beside change records, in the folder itself
}

// manifest says of which segments the index consists, and what the folders looked like.
type manifest struct {
	Version  int               `json:"version"`
	Segments []segmentInfo     `json:"segments"`
	Folders  map[string]int64  `json:"folders"` // to their times, Unix ns
	Watched  []watchedFile     `json:"watched"`
	Files    int               `json:"files"`
	Next     int               `json:"next"` // number of the next segment
	Dead     map[string][]byte `json:"dead"` // by the segment's name
}

// watchedFile is a file that is compared at every question.
type watchedFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	At   int64  `json:"at"` // Unix ns
}

type segmentInfo struct {
	Name string `json:"name"`
	Docs int    `json:"docs"`
}

// Index is an open index.
type Index struct {
	dir      string
	sources  []Source
	m        manifest
	segments []*segment

	// Rebuilt says why the index was made anew, empty: it was not. Changed is how many notes were read to bring it up to date.
	Rebuilt string
	Changed int
}

// Open opens the index in a folder and brings it up to date with the notes of the sources. full compares every file however many
// there are. progress is told how many notes have been read; it may be nil.
func Open(dir string, sources []Source, full bool, progress func(read, of int)) (*Index, error) {
	fail := func(err error) error {
		return &fault.Error{What: "cannot keep the index of notes in " + dir, Cause: err, Expected: "space and permission to write there",
			Retry: fault.RetrySafe, Try: "rm -r " + dir + "\nit is made anew from the notes"}
	}
	x := &Index{dir: dir, sources: sources}
	if err := x.load(); err == nil && !x.stale(full) {
		return x, nil
	}
	x.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fail(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fail(err)
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fail(err)
	}
	err = x.load() // another demarc may have brought it up to date meanwhile
	if err != nil {
		x.clear(err)
	}
	if err := x.refresh(full, progress); err != nil {
		x.Close()
		if !errors.Is(err, errDamaged) || x.Rebuilt != "" {
			return nil, fail(err)
		}
		x.clear(err)
		if err := x.refresh(true, progress); err != nil {
			x.Close()
			return nil, fail(err)
		}
	}
	return x, nil
}

// Close closes the index's files.
func (x *Index) Close() {
	for _, s := range x.segments {
		s.f.Close()
	}
	x.segments = nil
}

// Notes returns how many notes the index knows.
func (x *Index) Notes() int { return x.m.Files }

// load reads the manifest and opens its segments.
func (x *Index) load() error {
	x.Close()
	x.m = manifest{}
	data, err := os.ReadFile(filepath.Join(x.dir, manifestName))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &x.m); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if x.m.Version != formatVersion {
		return fmt.Errorf("it has version %d, this demarc makes %d", x.m.Version, formatVersion)
	}
	for _, i := range x.m.Segments {
		s, err := openSegment(filepath.Join(x.dir, filepath.Base(i.Name)))
		if err != nil {
			x.Close()
			return err
		}
		s.name = i.Name
		x.segments = append(x.segments, s)
		if dead := x.m.Dead[i.Name]; dead != nil {
			if s.dead = dead; len(dead) != (s.docs+7)/8 {
				x.Close()
				return errDamaged
			}
		}
	}
	return nil
}

// clear begins an index that knows nothing.
func (x *Index) clear(why error) {
	x.Close()
	next := x.m.Next
	x.m = manifest{Version: formatVersion, Next: next, Folders: map[string]int64{}}
	if !errors.Is(why, fs.ErrNotExist) {
		x.Rebuilt = why.Error()
	}
}

// stale says whether files may have changed since the index was made.
func (x *Index) stale(full bool) bool {
	if full || x.m.Folders == nil {
		return true
	}
	for _, s := range x.sources {
		at, err := folderTime(s.Dir)
		if err != nil {
			at = 0
		}
		if was, ok := x.m.Folders[s.Dir]; !ok || was != at {
			return true
		}
	}
	for dir, was := range x.m.Folders {
		if slices.ContainsFunc(x.sources, func(s Source) bool { return s.Dir == dir }) {
			continue
		}
		if at, err := folderTime(dir); err != nil || at != was {
			return true
		}
	}
	for _, f := range x.m.Watched {
		if !unchanged(f.Path, f.Size, f.At) {
			return true
		}
	}
	return false
}

func unchanged(path string, size, at int64) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Size() == size && info.ModTime().UnixNano() == at && info.Mode().IsRegular()
}

// recorded is the time under which a file or folder is kept: one so young that it may change again without its time telling gets
// one that it does not have, and is read again the next time.
func recorded(at int64) int64 {
	if time.Now().UnixNano()-at < int64(settle) {
		return at - 1
	}
	return at
}

func folderTime(dir string) (int64, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return 0, err
	}
	if !info.IsDir() {
		return 0, syscall.ENOTDIR
	}
	return info.ModTime().UnixNano(), nil
}

// file is a note's file as it lies there.
type file struct {
	path string
	size int64
	at   int64
}

// walk lists the files of the sources and the times of their folders. Symbolic links are left out.
func (x *Index) walk() ([]file, map[string]int64, error) {
	var files []file
	folders := map[string]int64{}
	var folder func(s Source, dir string, depth int) error
	folder = func(s Source, dir string, depth int) error {
		at, err := folderTime(dir)
		if err != nil {
			if depth == 0 { // it may come
				folders[dir] = 0
				return nil
			}
			return err
		}
		folders[dir] = recorded(at)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if e.IsDir() {
				if !s.Records && depth < maxDepth {
					if err := folder(s, path, depth+1); err != nil {
						return err
					}
				}
				continue
			}
			if !strings.HasSuffix(e.Name(), ".md") || !e.Type().IsRegular() {
				continue
			}
			if s.Records {
				if _, err := os.Lstat(strings.TrimSuffix(path, ".md") + ".yaml"); err != nil {
					continue
				}
			}
			info, err := e.Info()
			if err != nil {
				continue // gone meanwhile; the folder's time tells
			}
			files = append(files, file{path, info.Size(), recorded(info.ModTime().UnixNano())})
		}
		return nil
	}
	for _, s := range x.sources {
		if err := folder(s, s.Dir, 0); err != nil {
			return nil, nil, err
		}
	}
	return files, folders, nil
}

// refresh brings the index up to date. It is called under the lock.
func (x *Index) refresh(full bool, progress func(read, of int)) error {
	if !x.stale(full) {
		return nil
	}
	time.Sleep(settle)
	files, folders, err := x.walk()
	if err != nil {
		return err
	}
	type place struct{ segment, doc int }
	known := make(map[string]place, x.m.Files)
	was := make([]file, 0, x.m.Files)
	for i, s := range x.segments {
		if err := s.all(func(doc int, d *Doc) error {
			if !s.isDead(doc) {
				known[d.Path] = place{i, doc}
				was = append(was, file{d.Path, d.Size, d.Modified})
			}
			return nil
		}); err != nil {
			return err
		}
	}
	old := make(map[string]file, len(was))
	for _, f := range was {
		old[f.path] = f
	}
	var changed []file
	for _, f := range files {
		p, there := known[f.path]
		if there && old[f.path] == f {
			delete(known, f.path)
			continue
		}
		if there {
			x.segments[p.segment].kill(p.doc)
			delete(known, f.path)
		}
		changed = append(changed, f)
	}
	for _, p := range known { // no longer there
		x.segments[p.segment].kill(p.doc)
	}
	x.Changed = len(changed)
	if err := x.addFiles(changed, progress); err != nil {
		return err
	}
	alive, docs := len(files), 0
	for _, s := range x.segments {
		docs += s.docs
	}
	if len(x.segments) > maxSegments || len(x.segments) > 1 && docs > alive+alive/4+100 {
		if err := x.mergeAll(); err != nil {
			return err
		}
	}
	x.m.Folders, x.m.Files, x.m.Watched = folders, len(files), nil
	imported := filepath.Join(note.Folder, "imported") + string(filepath.Separator)
	for _, late := range []bool{false, true} {
		for _, f := range files {
			if len(x.m.Watched) < watched && strings.HasPrefix(f.path, imported) == late {
				x.m.Watched = append(x.m.Watched, watchedFile{f.path, f.size, f.at})
			}
		}
	}
	return x.save()
}

// addFiles reads notes and adds segments of them. Memory: buildMemory and a few notes for each processor.
func (x *Index) addFiles(files []file, progress func(read, of int)) error {
	if len(files) == 0 {
		return nil
	}
	type parsed struct {
		d    Doc
		h    note.Head
		body []byte
	}
	in, out := make(chan file, 64), make(chan *parsed, 64)
	var group sync.WaitGroup
	for range max(1, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for f := range in {
				p := &parsed{}
				p.d, p.h, p.body = describe(f)
				out <- p
			}
		})
	}
	go func() {
		for _, f := range files {
			in <- f
		}
		close(in)
		group.Wait()
		close(out)
	}()
	b := newBuilder()
	flush := func() error {
		if len(b.ends) == 0 {
			return nil
		}
		name := x.newName()
		path := filepath.Join(x.dir, name)
		if err := b.write(path); err != nil {
			return err
		}
		s, err := openSegment(path)
		if err != nil {
			return err
		}
		s.name = name
		x.segments = append(x.segments, s)
		b = newBuilder()
		return nil
	}
	var failed error
	read := 0
	for p := range out {
		if failed != nil {
			continue // so that the readers end
		}
		b.add(&p.d, &p.h, p.body)
		if read++; progress != nil && read%256 == 0 {
			progress(read, len(files))
		}
		if b.size() > buildMemory {
			failed = flush()
		}
	}
	if failed != nil {
		return failed
	}
	return flush()
}

// describe reads a note for the index.
func describe(f file) (Doc, note.Head, []byte) {
	d := Doc{Path: f.path, Size: f.size, Modified: f.at, ID: strings.TrimSuffix(filepath.Base(f.path), ".md")}
	h, body, err := note.Load(f.path)
	if err != nil {
		d.Error = err.Error()
		return d, note.Head{}, nil
	}
	d.Topic, d.Brief, d.Date, d.Status, d.Difficulty, d.Owner = h.Topic, h.Brief, h.Date, h.Revision.Status, h.Difficulty, h.Owner
	d.ReviewedBy, d.LastReviewed, _ = h.ReviewedBy("")
	d.Entities, d.Hidden, d.Generated = h.Entities[:min(len(h.Entities), note.MaxList)], h.Hidden(), h.Flags.Generated
	return d, h, body
}

func (x *Index) newName() string {
	x.m.Next++
	return fmt.Sprintf("%06d.segment", x.m.Next)
}

func (x *Index) mergeAll() error {
	name := x.newName()
	path := filepath.Join(x.dir, name)
	if err := merge(path, x.segments); err != nil {
		return err
	}
	s, err := openSegment(path)
	if err != nil {
		return err
	}
	s.name = name
	x.Close()
	x.segments = []*segment{s}
	return nil
}

// save writes the manifest and takes away the segments that it no longer names.
func (x *Index) save() error {
	x.m.Segments, x.m.Dead = []segmentInfo{}, map[string][]byte{}
	keep := map[string]bool{}
	for _, s := range x.segments {
		x.m.Segments = append(x.m.Segments, segmentInfo{s.name, s.docs})
		if keep[s.name] = true; s.dead != nil {
			x.m.Dead[s.name] = s.dead
		}
	}
	data, err := json.Marshal(&x.m)
	if err != nil {
		return err
	}
	tmp := filepath.Join(x.dir, manifestName+".tmp")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(x.dir, manifestName)); err != nil {
		return err
	}
	entries, err := os.ReadDir(x.dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".segment") && !keep[e.Name()] {
			_ = os.Remove(filepath.Join(x.dir, e.Name())) // left behind at worst, and taken away the next time
		}
	}
	return err
}
