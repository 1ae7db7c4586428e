package note

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Limits of an import.
const (
	MaxFiles    = 1_000_000 // files of a folder; those beyond are not read, and that is said
	MaxJSONFile = 4 << 30   // bytes of a file that holds many notes; each of them is held to MaxNote
	maxFolders  = 32        // levels of folders
)

// ImportOptions say how notes are brought in.
type ImportOptions struct {
	Folder   string // the library's folder: Folder
	Now      time.Time
	Review   bool           // every note waits for a person, whatever it says
	DryRun   bool           // nothing is written
	Progress func(read int) // called now and then, from one goroutine at a time; may be nil
}

// ImportResult is what came of an import.
type ImportResult struct {
	Read        int       `json:"read"` // notes found, refused ones included
	Added       int       `json:"added"`
	Updated     int       `json:"updated"`
	Unchanged   int       `json:"unchanged"`
	NeedsReview int       `json:"needs_review"` // of those added or updated
	Refused     []Refusal `json:"refused"`      // by name
	IDs         []string  `json:"ids"`          // of those added or updated, in the order of their sources; the first MaxNamed
}

// Refusal is a file, or a part of one, that was not brought in.
type Refusal struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// MaxNamed is how many ids an ImportResult names.
const MaxNamed = 20

// source is one note on its way in.
type source struct {
	number int
	name   string // as it is shown
	form   string
	data   []byte
	err    error // why it is refused before it is read
}

// outcome is what became of a source.
type outcome struct {
	number int
	id     string
	kind   string // added, updated, unchanged; empty: refused
	review bool
	refusal
}

type refusal struct {
	name string
	err  error
}

// Import brings the notes of files and folders into the library: Markdown, JSON, JSON lines and plain text. What is wrong with one
// of them is its own affair: it is refused by name, and the rest goes in. Symbolic links inside of a folder are not followed, and
// nothing outside of it is read. Each note becomes a file that is complete or not there; when Import returns, all are on the disk.
//
// Memory: MaxNote bytes for each of twice as many notes as there are processors, and what is said of those refused.
func Import(ctx context.Context, paths []string, o ImportOptions) (*ImportResult, error) {
	var root *os.Root
	if !o.DryRun {
		if err := os.MkdirAll(o.Folder, 0o755); err != nil {
			return nil, cannotWrite(o.Folder, err)
		}
		var err error
		if root, err = os.OpenRoot(o.Folder); err != nil {
			return nil, cannotWrite(o.Folder, err)
		}
		defer root.Close()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := max(1, runtime.GOMAXPROCS(0))
	sources := make(chan source, workers)
	outcomes := make(chan outcome, workers)
	walk := &walker{ctx: ctx, out: sources}
	go func() {
		defer close(sources)
		for _, p := range paths {
			if err := walk.path(p); err != nil {
				cancel(err)
				return
			}
		}
	}()
	w := &importer{o: o, root: root, seen: map[string]bool{}}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for s := range sources {
				outcome, err := w.one(s)
				if err != nil {
					cancel(err)
				}
				outcomes <- outcome
			}
		})
	}
	go func() {
		group.Wait()
		close(outcomes)
	}()
	res := &ImportResult{Refused: []Refusal{}, IDs: []string{}}
	type numbered struct {
		number int
		id     string
		refusal
	}
	var named, refused []numbered
	for out := range outcomes {
		res.Read++
		switch out.kind {
		case "":
			refused = append(refused, numbered{number: out.number, refusal: out.refusal})
			continue
		case "added":
			res.Added++
		case "updated":
			res.Updated++
		case "unchanged":
			res.Unchanged++
			continue
		}
		if out.review {
			res.NeedsReview++
		}
		if len(named) < MaxNamed || out.number < named[len(named)-1].number {
			named = append(named, numbered{number: out.number, id: out.id})
			slices.SortFunc(named, func(a, b numbered) int { return a.number - b.number })
			named = named[:min(len(named), MaxNamed)]
		}
		if o.Progress != nil && res.Read%256 == 0 {
			o.Progress(res.Read)
		}
	}
	slices.SortFunc(refused, func(a, b numbered) int { return a.number - b.number })
	for _, r := range refused {
		res.Refused = append(res.Refused, Refusal{r.name, r.err.Error()})
	}
	for _, n := range named {
		res.IDs = append(res.IDs, n.id)
	}
	if !o.DryRun && res.Added+res.Updated > 0 {
		if err := SyncAll(o.Folder); err != nil {
			return res, cannotWrite(o.Folder, err)
		}
	}
	return res, context.Cause(ctx)
}

func cannotWrite(folder string, err error) error {
	return &fault.Error{What: "cannot write notes below " + folder, Cause: err, Expected: "space and permission to write there", Retry: fault.RetrySafe,
		Try: "the same again: notes that are in already count as unchanged"}
}

// walker finds the notes in files and folders and hands them on, one at a time.
type walker struct {
	ctx    context.Context
	out    chan<- source
	number int
	files  int
}

func (w *walker) send(s source) error {
	s.number = w.number
	w.number++
	select {
	case w.out <- s:
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// path reads one path that a person named; a link there is followed, because they named it.
func (w *walker) path(p string) error {
	missing := func(err error) error {
		return &fault.Error{What: "cannot read " + p, Cause: bare(err), Expected: "a file or a folder with notes", Retry: fault.RetrySafe, Code: fault.ExitUsage}
	}
	info, err := os.Stat(p)
	if err != nil {
		return missing(err)
	}
	dir, name := p, "."
	if !info.IsDir() {
		dir, name = filepath.Split(p)
		if real, err := filepath.EvalSymlinks(p); err == nil {
			dir, name = filepath.Split(real)
		}
		if dir == "" {
			dir = "."
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return missing(err)
	}
	defer root.Close()
	if name != "." {
		return w.file(root, name, p, true)
	}
	return w.folder(root, ".", p, 0)
}

func (w *walker) folder(root *os.Root, dir, shown string, depth int) error {
	refuse := func(err error) error { return w.send(source{name: printable(shown), err: err}) }
	if depth > maxFolders {
		return refuse(fmt.Errorf("it lies more than %d folders deep", maxFolders))
	}
	f, err := root.Open(dir)
	if err != nil {
		return refuse(bare(err))
	}
	entries, err := f.ReadDir(MaxFiles)
	f.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return refuse(bare(err))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		name, full := path.Join(dir, e.Name()), filepath.Join(shown, e.Name())
		if w.files++; w.files > MaxFiles {
			return w.send(source{name: printable(full), err: fmt.Errorf("more than %d files: it and those after it were not read", MaxFiles)})
		}
		switch {
		case e.IsDir() && e.Name() == ".git":
			err = nil
		case e.IsDir():
			err = w.folder(root, name, full, depth+1)
		default:
			err = w.file(root, name, full, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file reads one file and hands on its notes, or why it is refused. named: a person named it, so it may have any name.
func (w *walker) file(root *os.Root, name, shown string, named bool) error {
	s := source{name: printable(shown), form: format(name)}
	refuse := func(err error) error {
		s.err = err
		return w.send(s)
	}
	info, err := root.Lstat(name)
	switch {
	case err != nil:
		return refuse(bare(err))
	case info.Mode()&fs.ModeSymlink != 0:
		return refuse(errors.New("it is a symbolic link, which is not followed"))
	case !info.Mode().IsRegular():
		return refuse(errors.New("it is no regular file"))
	case !named && Leads(path.Base(name)):
		return refuse(errors.New("its name leads out of the folder"))
	case formats[s.form] == nil:
		return refuse(errors.New("its name ends in none of .md, .markdown, .txt, .json, .jsonl, .ndjson"))
	}
	many := s.form == ".json" || s.form == ".jsonl" || s.form == ".ndjson"
	if limit := int64(MaxNote); !many && info.Size() > limit || info.Size() > MaxJSONFile {
		if many {
			limit = MaxJSONFile
		}
		return refuse(fmt.Errorf("it has %d bytes, at most %d were expected", info.Size(), limit))
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return refuse(bare(err))
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !now.Mode().IsRegular() {
		return refuse(errors.New("it is no regular file"))
	}
	if many {
		return w.many(bufio.NewReaderSize(f, 64<<10), s)
	}
	// One byte beyond the limit tells that the file has grown since.
	data, err := readAll(f, info.Size(), MaxNote)
	if err != nil {
		return refuse(err)
	}
	s.data = data
	return w.send(s)
}

func readAll(r io.Reader, size, limit int64) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, bare(err)
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	return b.Bytes(), nil
}

// many hands on the notes of a file of JSON: one object, an array of them, or one a line.
func (w *walker) many(r *bufio.Reader, s source) error {
	name := s.name
	each := func(n int, data []byte, err error) error {
		s.name, s.data, s.err = fmt.Sprintf("%s:%d", name, n), data, err
		return w.send(s)
	}
	mark, _ := r.Peek(3)
	if bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = r.Discard(3)
	} else if len(mark) > 1 && (mark[0] == 0xff && mark[1] == 0xfe || mark[0] == 0xfe && mark[1] == 0xff) {
		_, err := decoded(mark)
		s.err = err
		return w.send(s)
	}
	split := splitJSON
	if s.form != ".json" {
		split = splitLines
	}
	n, err := split(r, MaxNote, each)
	if err != nil {
		return err
	}
	if n == 0 {
		s.name, s.err = name, errors.New("it holds no object")
		return w.send(s)
	}
	return nil
}

// importer writes notes.
type importer struct {
	o    ImportOptions
	root *os.Root
	mu   sync.Mutex
	seen map[string]bool // ids of this import
	dirs [256]bool       // folders that are there
}

// one brings one note in. The error is one of the library itself, which ends the import.
func (w *importer) one(s source) (outcome, error) {
	out := outcome{number: s.number, refusal: refusal{s.name, s.err}}
	if s.err != nil {
		return out, nil
	}
	h, body, err := Read(s.data, s.form, s.name, w.o.Now, w.o.Review)
	if err != nil {
		out.err = err
		return out, nil
	}
	id := importedID(h)
	w.mu.Lock()
	twice := w.seen[id]
	w.seen[id] = true
	w.mu.Unlock()
	if twice {
		out.err = fmt.Errorf("it has the source and topic of another note of this import (%s)", id)
		return out, nil
	}
	out.id, out.review, out.kind = id, h.Flags.NeedsHumanReview, "added"
	if w.o.DryRun {
		return out, nil
	}
	shard := id[len(id)-2:]
	name := path.Join("imported", shard, id+".md")
	if old, err := w.root.ReadFile(name); err == nil {
		was, text, err := Split(old)
		if err == nil && same(&was, h) && bytes.Equal(text, body) {
			out.kind = "unchanged"
			return out, nil
		}
		if err != nil || was.Revision.Status != Imported || Hash(text) != was.ContentHash {
			out.kind, out.err = "", fmt.Errorf("%s was changed or reviewed here since it was brought in; it stays as it is", id)
			return out, nil
		}
		h.Revision.Version = was.Revision.Version + 1
		out.kind = "updated"
	}
	if err := w.folder(shard); err != nil {
		return out, cannotWrite(w.o.Folder, err)
	}
	if err := writeIn(w.root, name, Join(h, body)); err != nil {
		return out, cannotWrite(w.o.Folder, err)
	}
	return out, nil
}

// same says whether two heads say the same, other than on which day, in which version and after which review.
func same(a, b *Head) bool {
	x, y := *a, *b
	for _, h := range []*Head{&x, &y} {
		h.Scores, h.Revision, h.Flags.NeedsHumanReview = nil, Revision{}, false
	}
	return bytes.Equal(AppendHead(nil, &x), AppendHead(nil, &y))
}

func (w *importer) folder(shard string) error {
	var i int
	if _, err := fmt.Sscanf(shard, "%02x", &i); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dirs[i] {
		return nil
	}
	err := w.root.MkdirAll("imported/"+shard, 0o755)
	w.dirs[i] = err == nil
	return err
}

// writeIn writes a file below root, which is the old or the new one at every moment.
func writeIn(root *os.Root, name string, data []byte) error {
	tmp := path.Join(path.Dir(name), ".tmp-"+path.Base(name))
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return bare(err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return bare(err)
}

// Read makes a note of the bytes of one file, as an import does. form is the end of the file's name, from its name.
func Read(data []byte, form, from string, now time.Time, review bool) (*Head, []byte, error) {
	data, err := decoded(data)
	if err != nil {
		return nil, nil, err
	}
	parse := formats[form]
	if parse == nil {
		return nil, nil, fmt.Errorf("%q is no form of a note", form)
	}
	tree, body, err := parse(data)
	if err != nil {
		return nil, nil, err
	}
	return convert(tree, body, filepath.Base(from), now, review)
}

// printable is a name as it can be shown: one that holds what nobody sees is quoted.
func printable(name string) string {
	if oneLine(name) == name && strings.ToValidUTF8(name, "") == name {
		return name
	}
	return fmt.Sprintf("%q", name)
}

// bare takes the path off an error of the file system.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
