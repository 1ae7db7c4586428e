package noteindex

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/note"
)

// library is a folder of notes with its index, which the test works in.
type library struct {
	t *testing.T
}

func newLibrary(t *testing.T) library {
	t.Helper()
	t.Chdir(t.TempDir())
	return library{t}
}

func (l library) put(path string, h note.Head, body string) {
	l.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, note.Join(&h, []byte("\n"+body+"\n")), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

var sources = []Source{{Dir: "notes"}, {Dir: "changes", Records: true}}

func (l library) open() *Index {
	l.t.Helper()
	x, err := Open("index", sources, false, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(x.Close)
	return x
}

func (l library) found(q Query) []string {
	l.t.Helper()
	x := l.open()
	q.Limit = 100
	a, err := x.Search(q)
	if err != nil {
		l.t.Fatal(err)
	}
	ids := []string{}
	for _, h := range a.Hits {
		ids = append(ids, h.ID)
	}
	if a.Total != len(ids) {
		l.t.Errorf("%+v: total %d of %d", q, a.Total, len(ids))
	}
	return ids
}

func (l library) expect(q Query, want ...string) {
	l.t.Helper()
	if got := l.found(q); !slices.Equal(got, want) && len(got)+len(want) > 0 {
		l.t.Errorf("%+v: %v, want %v", q, got, want)
	}
}

func TestSearch(t *testing.T) {
	l := newLibrary(t)
	route := note.Entity{Name: "GET /articles", Type: "route"}
	l.put("notes/tags.md", note.Head{Topic: "Tags of articles", Entities: []note.Entity{route}, Views: &note.Views{Count: 1}}, "caches and queries, indexes; stale_reads; Größe 記事")
	l.put("notes/deep/er/users.md", note.Head{Topic: "Users", Views: &note.Views{Count: 1e9}}, "a text that mentions tags once, and a cache")
	l.put("notes/waits.md", note.Head{Topic: "Tags tags tags", Flags: note.Flags{NeedsHumanReview: true}, Revision: note.Revision{Status: note.Reviewed, ReviewedBy: "Eve"}}, "tags")
	l.put("changes/2026-11-22-x.md", note.Head{Topic: "Record"}, "tags in a record")
	l.put("changes/README.md", note.Head{Topic: "No record"}, "tags")
	if err := os.WriteFile("changes/2026-11-22-x.yaml", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("notes/broken.md", []byte("tags without a head"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("tags.md", "notes/link.md"); err != nil {
		t.Fatal(err)
	}
	l.expect(Query{Words: "tags"}, "tags", "2026-11-22-x", "users")
	l.expect(Query{Words: "TAG article"}, "tags")
	l.expect(Query{Words: "cache"}, "users", "tags")
	l.expect(Query{Words: "query index stale reads größe 事"}, "tags")
	l.expect(Query{Words: "ment*"}, "users")
	l.expect(Query{Words: "tags", All: true}, "waits", "tags", "2026-11-22-x", "users")
	l.expect(Query{Entity: []string{"get /ARTICLES"}}, "tags")
	l.expect(Query{Words: "tags", Entity: []string{"GET /articles"}}, "tags")
	l.expect(Query{Words: "tags nowhere"}, "tags", "2026-11-22-x", "users") // none has both: those that have one
	l.expect(Query{Words: "nowhere"})
	l.expect(Query{Words: " , "})
	x := l.open()
	if a, err := x.Search(Query{Words: "tags", Limit: 1}); err != nil || a.Hidden != 1 || a.Total != 3 || len(a.Hits) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	if found, err := x.Find("users"); err != nil || len(found) != 1 || found[0].Path != "notes/deep/er/users.md" {
		t.Errorf("%+v, %v", found, err)
	}
	if x.Notes() != 5 {
		t.Errorf("%d notes", x.Notes())
	}
}

// Whatever is done to the files, by whatever program, the next question knows.
func TestIndexFollowsTheFiles(t *testing.T) {
	l := newLibrary(t)
	l.put("notes/a.md", note.Head{Topic: "alpha"}, "one")
	l.put("notes/b.md", note.Head{Topic: "beta"}, "one")
	l.expect(Query{Words: "one"}, "a", "b")
	time.Sleep(2 * settle)
	if x := l.open(); x.Changed != 0 {
		t.Errorf("%d notes were read though nothing changed", x.Changed)
	}
	data, err := os.ReadFile("notes/a.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("notes/a.md", []byte(strings.ReplaceAll(string(data), "one", "two")), 0o644); err != nil { // in place, as long as before
		t.Fatal(err)
	}
	l.expect(Query{Words: "one"}, "b")
	l.expect(Query{Words: "two"}, "a")
	if err := os.Rename("notes/b.md", "notes/c.md"); err != nil {
		t.Fatal(err)
	}
	l.put("notes/new/d.md", note.Head{Topic: "delta"}, "one")
	l.expect(Query{Words: "one"}, "c", "d")
	if err := os.RemoveAll("notes/new"); err != nil {
		t.Fatal(err)
	}
	l.expect(Query{Words: "one"}, "c")
	for i := range 20 { // each time a segment, which are merged
		l.put(fmt.Sprintf("notes/n%02d.md", i), note.Head{Topic: "many"}, fmt.Sprintf("word%d", i))
		l.expect(Query{Words: fmt.Sprintf("word%d", i)}, fmt.Sprintf("n%02d", i))
	}
	if got := l.found(Query{Words: "many"}); len(got) != 20 {
		t.Errorf("%v", got)
	}
	if files, _ := filepath.Glob("index/*.segment"); len(files) > maxSegments+1 {
		t.Errorf("%d segments", len(files))
	}
	for name, damage := range map[string]func(path string) error{
		"another version": func(string) error {
			return os.WriteFile("index/index.json", []byte(`{"version":99}`), 0o644)
		},
		"no manifest": func(string) error { return os.Remove("index/index.json") },
		"no JSON":     func(string) error { return os.WriteFile("index/index.json", []byte("{"), 0o644) },
		"cut":         func(path string) error { return os.Truncate(path, 100) },
		"a byte": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i := len(magic) + 4; i < len(data)-footerSize; i += 7 {
				data[i] ^= 0x55
			}
			return os.WriteFile(path, data, 0o644)
		},
		"gone": os.Remove,
	} {
		files, err := filepath.Glob("index/*.segment")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		if err := damage(files[0]); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { library{t}.expect(Query{Words: "one"}, "c") })
	}
}

// However the notes came to lie in segments, the answers are the same.
func TestSegmentsDoNotShow(t *testing.T) {
	l := newLibrary(t)
	for i := range 60 {
		l.put(fmt.Sprintf("notes/n%02d.md", i), note.Head{Topic: fmt.Sprintf("topic %d", i%7), Entities: []note.Entity{{Name: fmt.Sprint("GET /", i%5), Type: "route"}}},
			strings.Repeat(fmt.Sprintf("w%d ", i%11), 1+i%3)+"common")
		if i%9 == 0 {
			l.found(Query{Words: "common"})
		}
	}
	ask := func() (out []string) {
		x := l.open()
		for _, q := range []string{"common", "w3", "topic 4", "w1 topic", "w*"} {
			a, err := x.Search(Query{Words: q, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			ids := []string{}
			for _, h := range a.Hits {
				ids = append(ids, h.ID)
			}
			slices.Sort(ids)
			out = append(out, fmt.Sprint(q, a.Total, a.Partial))
			if a.Total <= 10 {
				out = append(out, ids...)
			}
		}
		r, err := x.Similar("n07", []note.Entity{{Name: "GET /2", Type: "route"}})
		if err != nil || len(r) != MaxSimilar || r[0].Reasons[0] != "same route: GET /2" || r[0].ID == "n07" {
			t.Errorf("%+v, %v", r, err)
		}
		return out
	}
	many := ask()
	if err := os.RemoveAll("index"); err != nil {
		t.Fatal(err)
	}
	if one := ask(); !reflect.DeepEqual(many, one) {
		t.Errorf("in many segments %v, in one %v", many, one)
	}
}

func BenchmarkTokens(b *testing.B) {
	text := []byte(strings.Repeat("The article list asks once for every tag, and caches nothing. ", 40))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var scratch []byte
	for b.Loop() {
		scratch = tokens(text, scratch, func([]byte) {})
	}
}

// BenchmarkSearch asks for a word that every one of 20,000 notes has.
func BenchmarkSearch(b *testing.B) {
	dir := b.TempDir()
	w := newBuilder()
	for i := range 20000 {
		w.add(&Doc{ID: fmt.Sprint(i), Path: filepath.Join(dir, "gone")}, &note.Head{Topic: fmt.Sprint("topic ", i%100)}, []byte("a common word and w"+fmt.Sprint(i)))
	}
	path := filepath.Join(dir, "s")
	if err := w.write(path); err != nil {
		b.Fatal(err)
	}
	s, err := openSegment(path)
	if err != nil {
		b.Fatal(err)
	}
	x := &Index{segments: []*segment{s}}
	b.ReportAllocs()
	for b.Loop() {
		if a, _, err := x.search(x.clauses(Query{Words: "common topic"}), Query{Limit: 10}); err != nil || a.Total != 20000 {
			b.Fatal(a, err)
		}
	}
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	w := newBuilder()
	w.add(&Doc{ID: "a", Entities: []note.Entity{{Name: "x", Type: "route"}}}, &note.Head{Topic: "topic"}, []byte("some words"))
	path := filepath.Join(dir, "s")
	if err := w.write(path); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, 20, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at int, with byte) {
		if len(data) == 0 || len(data) > 1<<16 {
			return
		}
		data = slices.Clone(data)
		data[uint(at)%uint(len(data))] ^= with
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := openSegment(path)
		if err != nil {
			return
		}
		defer s.f.Close()
		x := &Index{segments: []*segment{s}}
		_, _, _ = x.search(x.clauses(Query{Words: "topic word*"}), Query{Limit: 10})
		_ = x.All(func(*Doc) error { return nil })
	})
}
