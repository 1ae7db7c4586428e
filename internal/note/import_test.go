package note

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const sampleText = `Why the article list was slow

Each article asked for its tags with a statement of its own.

` + "```python\nselect(Article).options(selectinload(Article.tags))\n```" + `

---
Post metadata
topicThe article list asks once for every tag
Summary: Loading tags with the articles helps. It is simple.
reading time9
difficultyIntermediate
code languagepython
views1200
stack
- FastAPI
- Redis
  - redis-py 5
tools: demarc, curl
outline
- contextArticles are read often
- problem: forty queries
  recommended action: load them together
scores
- quality87
- freshness: 9.5
revision
- statusreviewed
- version3
- last reviewed2026-01-02
flags
- generatedfalse
- needs human reviewyes
entities
- nameGET /articles
  typeroute
- name: tags:{slug}
  type: boundary
- articles (table)
image sources
- sourcedrawn by hand
  addresshttps://example.org/a.png
  captionBefore and after
payload
- source idsrc-77
- seed42
notes
- first remark
- second remark
favourite colourgreen
`

func TestPlainTextBlock(t *testing.T) {
	h, body, err := Read([]byte(sampleText), ".txt", "a/b/post.txt", noon, false)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), "metadata") || !strings.Contains(string(body), "selectinload") || strings.HasSuffix(strings.TrimSpace(string(body)), "-") {
		t.Errorf("text:\n%s", body)
	}
	type facts struct {
		Topic, Summary, Brief, Language, Difficulty, ID, Seed string
		Outline                                               Outline
		Stack, Tools, Notes                                   []string
		Views                                                 Views
		Revision                                              Revision
		Entities                                              []Entity
		Images                                                []ImageSource
		Time                                                  int
		Review                                                bool
	}
	got := facts{h.Topic, h.Summary, h.Brief, h.CodeLanguage, h.Difficulty, h.Payload.SourceID, h.Payload.Seed, h.Outline, h.Stack, h.Tools, h.Notes, *h.Views, h.Revision,
		h.Entities, h.ImageSources, h.ReadingTime, h.Flags.NeedsHumanReview}
	want := facts{"The article list asks once for every tag", "Loading tags with the articles helps. It is simple.", "Loading tags with the articles helps.", "python", "intermediate",
		"src-77", "42", Outline{Context: "Articles are read often", Problem: "forty queries", RecommendedAction: "load them together"},
		[]string{"FastAPI", "Redis", "redis-py 5"}, []string{"demarc, curl"}, []string{"first remark", "second remark", "favourite colourgreen"},
		Views{1200, ViewsImported}, Revision{Status: Imported, Version: 1},
		[]Entity{{"GET /articles", "route"}, {"tags:{slug}", "boundary"}, {"articles", "table"}},
		[]ImageSource{{"drawn by hand", "https://example.org/a.png", "Before and after"}}, 1, true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	claims := fmt.Sprint(h.Claims)
	for _, want := range []string{"scores.quality 87 post.txt", "scores.freshness 9.5", "revision.status reviewed", "revision.lastreviewed 2026-01-02"} {
		if !strings.Contains(claims, want) {
			t.Errorf("no claim %q in %s", want, claims)
		}
	}
}

// The same note in three forms is the same note.
func TestFormsAgree(t *testing.T) {
	md := "---\ntitle: Tags\nsummary: One. Two.\nstack: [fastapi, redis]\nscores:\n  quality: 97\nflags:\n  generated: true\nreading_time: 99\nviews: 12\nentities:\n  - name: GET /a\n    type: Route\n---\n# Tags\n\ntext\n"
	js := `{"title":"Tags","summary":"One. Two.","stack":["fastapi","redis"],"scores":{"quality":97},"flags":{"generated":true},"readingTime":99,"views":12,
		"entities":[{"name":"GET /a","type":"Route"}],"body":"# Tags\n\ntext\n"}`
	txt := "# Tags\n\ntext\n\nPost metadata\ntitleTags\nsummaryOne. Two.\nstack\n- fastapi\n- redis\nscores\n  quality97\nflags\n- generated\nreading time99\nviews12\nentities\n- GET /a (Route)\n"
	var heads []string
	for form, data := range map[string]string{".md": md, ".json": js, ".txt": txt} {
		h, body, err := Read([]byte(data), form, "x", noon, false)
		if err != nil {
			t.Fatal(form, err)
		}
		if !h.Flags.NeedsHumanReview || h.Views.Kind != ViewsSynthetic || h.ReadingTime != 1 || h.Scores.AsOf != "2026-11-22" {
			t.Errorf("%s: %+v", form, h)
		}
		heads = append(heads, string(Join(h, body)))
	}
	if heads[0] != heads[1] || heads[1] != heads[2] {
		t.Errorf("they differ:\n%s\n%s\n%s", heads[0], heads[1], heads[2])
	}
}

// hostile are files that must be refused by name, each with a word of the reason; an empty reason marks those that go in.
func hostile(t *testing.T, dir string) map[string]string {
	t.Helper()
	want := map[string]string{}
	put := func(name, data, reason string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		want[name] = reason
	}
	note := func(head, body string) string { return "---\ntopic: " + head + "\n---\n" + body }
	put("good.md", note("good", "text"), "")
	put("deep/er/good.md", note("good too", "`<script>` in code is text:\n\n```html\n<script>alert(1)</script>\n```\n"), "")
	put("script.md", note("x", "a <script>alert(1)</script>"), "HTML")
	put("handler.md", note("x", "<img src=x onerror=alert(1)>"), "HTML")
	put("topic.md", note("<script>x</script>", "text"), "HTML")
	put("link.md", note("x", "[a](javascript:alert(1))"), "link")
	put("hidden-link.md", note("x", "[a](java&#115;cript&colon;alert(1))"), "link")
	put("data.md", note("x", "![a](data:text/html;base64,xx)"), "link")
	put("aliases.md", "---\na: &a [x,x]\nb: &b [*a,*a]\ntopic: *b\n---\nx", "anchors")
	put("tag.md", "---\ntopic: !!binary x\n---\nx", "tags")
	put("yaml-deep.md", "---\ntopic: "+strings.Repeat("[", 5000)+"\n---\nx", "levels")
	put("quotes.md", note("x", strings.Repeat(">", 5000)+" x"), "levels")
	put("lists.md", note("x", strings.Repeat("- ", 5000)+"x"), "levels")
	put("brackets.md", note("x", strings.Repeat("[", 50000)), "brackets")
	put("references.md", note("x", strings.Repeat("[a]: /x\n", 100000)), "references")
	put("links.md", note("x", strings.Repeat("[a](", 200000)), "links")
	put("hidden-links.md", note("x", "``` `\n"+strings.Repeat("[a](", 200000)), "links")
	put("json-deep.json", `{"topic":"x","body":"y","a":`+strings.Repeat("[", 100000)+strings.Repeat("]", 100000)+"}", "levels")
	put("utf16.md", "\xff\xfe-\x00-\x00", "UTF-16")
	put("latin1.md", note("caf\xe9", "x"), "UTF-8")
	put("nul.txt", "a\x00b", "NUL")
	put("big.md", note("x", strings.Repeat("word ", MaxNote/5)), "at most")
	put("program.exe", "MZ", "ends in none")
	put("no-topic.md", "---\nsummary: x\n---\n", "no topic")
	put("no-text.md", "---\ntopic: x\n---\n", "no text")
	put("cut.md", "---\ntopic: x\n", "hyphens")
	put("id.json", `{"id":"../../etc/passwd","topic":"x","body":"y"}`, "path")
	put("image.json", `{"topic":"x","body":"y","image_sources":[{"address":"../../../key"}]}`, "elsewhere")
	put(`..\..\evil.md`, note("x", "y"), "leads out")
	put("..%2f..%2fevil.md", note("x", "y"), "leads out")
	put("lines.jsonl", "{\"topic\":\"one\",\"body\":\"x\"}\n{broken\n{\"topic\":\"long\",\"body\":\""+strings.Repeat("x", 3<<20)+"\"}\n{\"topic\":\"two\",\"body\":\"x\"}\n", "")
	put("array.json", `[{"topic":"three","body":"x"}, 7, {"topic":"long","body":"`+strings.Repeat("x", 3<<20)+`"}, {"topic":"four","body":"x"}]`, "")
	put("list.md", "---\ntopic: x\nstack:\n"+strings.Repeat("  - a\n", MaxList+1)+"---\ntext", "entries")
	want["lines.jsonl:2"], want["lines.jsonl:3"] = "no JSON", "at most"
	want["array.json:2"], want["array.json:3"] = "object was expected", "at most"
	for _, name := range []string{"json-deep.json", "id.json", "image.json"} { // by its place in the file
		want[name+":1"] = want[name]
		delete(want, name)
	}
	outside := filepath.Join(t.TempDir(), "outside.md")
	if err := os.WriteFile(outside, []byte(note("secret", "x")), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"symlink.md": outside, "up.md": "../outside.md", "folder": filepath.Dir(outside)} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		want[name] = "symbolic link"
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.md"), 0o644); err != nil {
		t.Fatal(err)
	}
	want["pipe.md"] = "no regular file"
	return want
}

// Whatever lies in a folder, the good notes go in and each of the others is refused by name, with the reason.
func TestHostileFolder(t *testing.T) {
	dir, library := t.TempDir(), filepath.Join(t.TempDir(), "notes")
	want := hostile(t, dir)
	res, err := Import(context.Background(), []string{dir}, ImportOptions{Folder: library, Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{}
	for _, r := range res.Refused {
		name := r.File
		if strings.HasPrefix(name, `"`) {
			name = strings.ReplaceAll(strings.Trim(name, `"`), `\\`, `\`)
		}
		refused[strings.TrimPrefix(name, dir+"/")] = r.Reason
	}
	for name, reason := range want {
		if got := refused[name]; reason == "" && got != "" || reason != "" && !strings.Contains(got, reason) {
			t.Errorf("%s: refused with %q, want %q", name, got, reason)
		}
		delete(refused, name)
	}
	if len(refused) > 0 {
		t.Errorf("refused, too: %v", refused)
	}
	if res.Added != 6 || res.Updated+res.Unchanged != 0 {
		t.Errorf("%+v", res)
	}
	var files []string
	_ = filepath.WalkDir(library, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, filepath.Base(path))
			if id := strings.TrimSuffix(d.Name(), ".md"); !ValidID(id) {
				t.Errorf("%s is no id", id)
			}
		}
		return err
	})
	if len(files) != 6 {
		t.Errorf("files: %v", files)
	}
	again, err := Import(context.Background(), []string{dir}, ImportOptions{Folder: library, Now: noon.AddDate(0, 0, 3)})
	if err != nil || again.Added != 0 || again.Updated != 0 || again.Unchanged != 6 {
		t.Errorf("the second time: %+v, %v", again, err)
	}
}

// What a person changed or reviewed is not replaced by a later import; what nobody touched is.
func TestImportLeavesPeoplesWork(t *testing.T) {
	dir := t.TempDir()
	library := filepath.Join(dir, "notes")
	in := filepath.Join(dir, "in.json")
	put := func(body string) *ImportResult {
		t.Helper()
		if err := os.WriteFile(in, []byte(`{"id":"7","topic":"x","body":"`+body+`"}`), 0o644); err != nil {
			t.Fatal(err)
		}
		res, err := Import(context.Background(), []string{in}, ImportOptions{Folder: library, Now: noon})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := put("one")
	if second := put("two"); second.Updated != 1 || second.IDs[0] != first.IDs[0] {
		t.Fatalf("%+v", second)
	}
	path := filepath.Join(library, "imported", first.IDs[0][len(first.IDs[0])-2:], first.IDs[0]+".md")
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte("two")) || !bytes.Contains(data, []byte("version: 2")) {
		t.Fatalf("%v\n%s", err, data)
	}
	if err := os.WriteFile(path, append(data, "by hand\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	res := put("three")
	if len(res.Refused) != 1 || !strings.Contains(res.Refused[0].Reason, "stays as it is") {
		t.Errorf("%+v", res)
	}
	if now, _ := os.ReadFile(path); !bytes.Contains(now, []byte("by hand")) {
		t.Error("the change is lost")
	}
}

// A note that says that it was reviewed is not, and one that says that it waits for a review does, however it says so.
func TestReviewIsAClaim(t *testing.T) {
	for head, needs := range map[string]bool{
		"revision: {status: reviewed, reviewed_by: Eve, last_reviewed: 2026-01-01}":                               false,
		"revision: {status: reviewed, reviewed_by: Eve}\nflags: {needs_human_review: true}":                       true,
		"revision: {status: reviewed}\nflags: {needs human review: maybe}":                                        true,
		"revision: reviewed\nflags:\n  - generated":                                                               true,
		"payload: {generator: a model}\nflags: {needs_human_review: false, generated: false}\nrevision: reviewed": true,
	} {
		h, _, err := Read([]byte("---\ntopic: x\n"+head+"\n---\nbody"), ".md", "x.md", noon, false)
		if err != nil {
			t.Fatal(head, err)
		}
		by, _, current := h.ReviewedBy(h.ContentHash)
		if h.Hidden() != needs || by != "" || current || h.Revision.Status != Imported || len(h.Claims) == 0 {
			t.Errorf("%s: %+v", head, h)
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	h := full()
	f.Add(Join(&h, []byte("\n# x\n\ntext\n")))
	f.Add([]byte("---\ntopic: x\n---\n<script>x</script>"))
	f.Add([]byte("# x\n\n[a](javascript&colon;x)\n"))
	fuzzForm(f, ".md")
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"topic":"x","body":"y","scores":{"quality":[1,{"a":"b"}]},"entities":["a (b)"],"flags":["generated"]}`))
	f.Add([]byte(`{"metadata":{"title":"x"},"payload":{"paragraphs":["a","b"],"source_id":1}}`))
	fuzzForm(f, ".json")
}

func FuzzPlainText(f *testing.F) {
	f.Add([]byte(sampleText))
	f.Add([]byte("x\n\ntopicx\nviews1\nstack\n- a\n"))
	fuzzForm(f, ".txt")
}

// fuzzForm holds what is read from anything to what every note holds: it can be written and read again as the same, it brings no
// script, and its limits are kept.
func fuzzForm(f *testing.F, form string) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		h, body, err := Read(data, form, "x"+form, noon, false)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		written := Join(h, body)
		back, text, err := Split(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if again := Join(&back, text); !bytes.Equal(again, written) {
			t.Fatalf("written again it is\n%s\nnot\n%s", again, written)
		}
		if len(written) > MaxNote || h.Topic == "" || h.Flags.Generated && !h.Hidden() || h.Revision.ReviewedBy != "" || !ValidID(importedID(h)) {
			t.Fatalf("%+v", h)
		}
		if err := refuseScript(text); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzSplitJSON(f *testing.F) {
	f.Add([]byte(`[{"a":1},{"b":"}\""},7,{`))
	f.Add([]byte(`{"a":[]}{"b":1} x, {"c":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 100
		n, err := splitJSON(bufio.NewReader(bytes.NewReader(data)), limit, func(n int, data []byte, err error) error {
			if len(data) > limit || (err == nil) == (data == nil) {
				t.Fatalf("%d: %q, %v", n, data, err)
			}
			return nil
		})
		if err != nil || n > len(data) {
			t.Fatal(n, err)
		}
	})
}

func TestSplitJSON(t *testing.T) {
	for in, want := range map[string][]string{
		`{"a":1}`: {`{"a":1}`}, `[{"a":1}, {"b":"]}"}]`: {`{"a":1}`, `{"b":"]}"}`}, "{}\n{}\n": {"{}", "{}"}, `[1,{},"x"]`: {"!", "{}", "!"},
		`[{}`: {"{}"}, `{"a`: {"!"}, ``: nil, `[]`: nil, `[[1],{}]`: {"[1]", "{}"}, `null`: {"!"},
	} {
		var got []string
		_, err := splitJSON(bufio.NewReader(strings.NewReader(in)), 50, func(_ int, data []byte, err error) error {
			if err != nil {
				data = []byte("!")
			}
			got = append(got, string(data))
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
}

// TestPlainTextLabelsBesideItems: where a field's own lines stand behind bullets, a line without one is the next field, also
// where it is a word that the field has a label for, or a value is glued to it.
func TestPlainTextLabelsBesideItems(t *testing.T) {
	for _, outline := range []string{"- context: a\n- stack: b", "context: a\nstack: b"} {
		head, body := parsePlainText("Text.\n\noutline\n" + outline + "\nstack\n- fastapi\ntools\n- k6\ncode languagepython\nreading time9\n")
		want := map[string]any{
			"outline": map[string]any{"context": "a", "stack": "b"},
			"stack":   []any{"fastapi"}, "tools": []any{"k6"}, "codelanguage": "python", "readingtime": "9",
		}
		if !reflect.DeepEqual(head, want) || body != "Text." {
			t.Errorf("%q: %v, %q", outline, head, body)
		}
	}
}
