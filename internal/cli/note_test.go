package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
)

// git runs one git command in the current folder, which must work.
func gitMust(t *testing.T, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func putFile(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// item returns the item of a shown note, which must be there.
func item(t *testing.T, v note.View, score, name string) note.Item {
	t.Helper()
	for _, i := range v.Items {
		if i.Score == score && i.Name == name {
			return i
		}
	}
	t.Fatalf("no item %q of %s in %+v", name, score, v.Items)
	return note.Item{}
}

func shown(t *testing.T, id string) note.View {
	t.Helper()
	var v note.View
	if err := json.Unmarshal([]byte(mustSay(t, "note", "show", id, "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.Schema != note.ViewSchema {
		t.Fatalf("schema %q", v.Schema)
	}
	return v
}

func listed(t *testing.T, args ...string) noteListing {
	t.Helper()
	var l noteListing
	if err := json.Unmarshal([]byte(mustSay(t, append(append([]string{"note"}, args...), "--json")...)), &l); err != nil {
		t.Fatal(err)
	}
	if l.Schema != notesSchema {
		t.Fatalf("schema %q", l.Schema)
	}
	return l
}

// The life of the note of a change: a draft that is not found, a review, and freshness that is lost when what it names changes and
// when its figures no longer hold.
func TestNoteOfAChange(t *testing.T) {
	inRepository(t)
	day := time.Now().UTC().AddDate(0, 0, -40).Format(time.DateOnly)
	putFile(t, "shop/views.py", "@router.get(\"/articles/{slug}\")\ndef article(slug): ...\n")
	putFile(t, "shop/other.py", "x = 1\n")
	name := day + "-article-list"
	putFile(t, "changes/"+name+".yaml", "version: 1\ntopic: The article asks once for every tag\ncause: \"forgot: the editor drops no key\"\nchange: Load the tags together\nboundary: GET /articles/{slug}\n"+
		"baseline:\n  route: GET /articles/{slug}\nexpected:\n  - \"run: test ! -e broken\"\nfiles: [shop/views.py]\nassumptions: [tags are few]\n")
	old := []string{"GIT_COMMITTER_DATE=" + day + "T12:00:00Z", "GIT_AUTHOR_DATE=" + day + "T12:00:00Z"}
	gitMust(t, nil, "add", ".")
	gitMust(t, old, "commit", "-q", "-m", "before")
	mustSay(t, "change", "note", "--draft")
	if l := listed(t, "search", "tag"); l.Total != 0 || l.Hidden != 1 {
		t.Errorf("a draft is found: %+v", l)
	}
	if l := listed(t, "search", "tag", "--all"); l.Total != 1 || !l.Notes[0].NeedsReview {
		t.Errorf("--all: %+v", l)
	}
	if _, talk, code := says(t, "note", "review", "article-list"); code != fault.ExitUsage || !strings.Contains(talk, "by") {
		t.Errorf("a review without a name: exit %d, %s", code, talk)
	}
	mustSay(t, "note", "review", "article-list", "--by", "Ada Lovelace", "--remark", "seen on staging")
	if l := listed(t, "search", "tags", "article"); l.Total != 1 || l.Notes[0].ReviewedBy != "Ada Lovelace" || l.Notes[0].Status != note.Reviewed {
		t.Errorf("after the review: %+v", l)
	}
	path := "changes/" + name + ".md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// As if it had been written and reviewed then.
	today := time.Now().UTC().Format(time.DateOnly)
	putFile(t, path, strings.ReplaceAll(string(data), today, day))
	v := shown(t, "article-list")
	for _, want := range []string{"each file that it names is unchanged", "each route that it names is unchanged", "written or reviewed within 90 days", "claimed figures not refuted"} {
		if i := item(t, v, note.Freshness, want); !i.Met {
			t.Errorf("at first: %+v", i)
		}
	}
	if i := item(t, v, note.Quality, "reviewed by a person"); !i.Met {
		t.Errorf("%+v", i)
	}
	if i := item(t, v, note.Freshness, "verified within 90 days"); i.Met || i.Why != "its checks were never asked again" {
		t.Errorf("%+v", i)
	}
	if len(v.Head.Tools) == 0 || v.Head.Entities[2].Type != "cause" || v.Head.Entities[2].Name != "forgot" || v.Head.ReadingTime != 1 {
		t.Errorf("head: %+v", v.Head)
	}
	putFile(t, "shop/other.py", "x = 2\n")
	gitMust(t, nil, "add", ".")
	gitMust(t, nil, "commit", "-q", "-m", "something else")
	if i := item(t, shown(t, name), note.Freshness, "each file that it names is unchanged"); !i.Met {
		t.Errorf("after another file changed: %+v", i)
	}
	putFile(t, "shop/views.py", "@router.get(\"/articles/{slug}\")\ndef article(slug, page): ...\n")
	gitMust(t, nil, "commit", "-qam", "the body")
	v = shown(t, name)
	if i := item(t, v, note.Freshness, "each file that it names is unchanged"); i.Met || !strings.Contains(i.Why, "shop/views.py changed on "+today) {
		t.Errorf("after the file changed: %+v", i)
	}
	if i := item(t, v, note.Freshness, "each route that it names is unchanged"); !i.Met {
		t.Errorf("after the file, but not the route, changed: %+v", i)
	}
	putFile(t, "shop/views.py", "@router.get(\"/articles/<slug:s>\")\ndef article(slug, page): ...\n")
	gitMust(t, nil, "commit", "-qam", "the route")
	if i := item(t, shown(t, name), note.Freshness, "each route that it names is unchanged"); i.Met || !strings.Contains(i.Why, "GET /articles/{slug} changed on") {
		t.Errorf("after the route changed: %+v", i)
	}

	if out := mustSay(t, "note", "verify", "article-list"); !strings.Contains(out, "still holds") {
		t.Errorf("verify: %s", out)
	}
	if i := item(t, shown(t, name), note.Freshness, "verified within 90 days"); !i.Met {
		t.Errorf("after a verification: %+v", i)
	}
	putFile(t, "broken", "")
	out, talk, code := says(t, "note", "verify")
	if code != fault.ExitCheck || !strings.Contains(out, "no longer holds") {
		t.Errorf("verify: exit %d\n%s%s", code, out, talk)
	}
	v = shown(t, name)
	if i := item(t, v, note.Freshness, "claimed figures not refuted"); i.Met || !strings.Contains(i.Why, "checks") {
		t.Errorf("after it broke: %+v", i)
	}
	if i := item(t, v, note.Freshness, "verified within 90 days"); i.Met {
		t.Errorf("after it broke: %+v", i)
	}
	var verified struct {
		Schema string
		Notes  []noteVerified
	}
	out, _, _ = says(t, "note", "verify", name, "--json")
	if err := json.Unmarshal([]byte(out), &verified); err != nil || verified.Schema != noteVerifySchema || verified.Notes[0].State != "failed" || len(verified.Notes[0].Checks) != 1 {
		t.Errorf("%v\n%s", err, out)
	}

	// A text that changes after its review shows.
	data, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, path, string(data)+"\nby hand\n")
	v = shown(t, name)
	if i := item(t, v, note.Quality, "reviewed by a person"); i.Met || !strings.Contains(v.State, "changed since") {
		t.Errorf("after a change of the text: %+v, %s", i, v.State)
	}
	if l := listed(t, "search", "hand"); l.Total != 1 {
		t.Errorf("the index does not know the change: %+v", l)
	}
	// And the record counts as noted, with its review kept when the head is brought up to date.
	mustSay(t, "change", "note")
	h, body, err := note.Load(path)
	if err != nil || h.Revision.ReviewedBy != "Ada Lovelace" || h.Hidden() || !strings.Contains(string(body), "by hand") || len(h.Notes) != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}

// Every array is a list, and similar notes stand at the end with what is shared.
func TestNoteShowAndSimilar(t *testing.T) {
	inRepository(t)
	for i, entities := range []string{"{name: GET /a, type: route}, {name: forgot, type: cause}", "{name: forgot, type: cause}", "{name: GET /a, type: route}", "{name: other, type: table}"} {
		putFile(t, fmt.Sprintf("notes/n%d.md", i), fmt.Sprintf("---\ntopic: Note %d\nstack: [fastapi, redis]\ntools: [curl]\nchecklist: [\"done: one\", \"open: two\"]\nnotes: [remark]\nviews: 9\n"+
			"image_sources:\n  - {source: s, address: \"https://example.org/x.png\", caption: c}\nentities: [%s]\n---\n# Note %d\n\ntext \x1b[31mred\n", i, entities, i))
	}
	putFile(t, "notes/waits.md", "---\ntopic: Waits\nentities: [{name: forgot, type: cause}]\nflags: {needs_human_review: true}\nrevision: {status: reviewed, reviewed_by: Eve, last_reviewed: 2026-01-01}\n---\nx\n")
	out := mustSay(t, "note", "show", "n0")
	for _, want := range []string{"stack\n  - fastapi\n  - redis\n", "tools\n  - curl\n", "entities\n  - GET /a (route)\n  - forgot (cause)\n", "checklist\n  - done: one\n  - open: two\n", "notes\n  - remark\n",
		"image sources\n  - c – https://example.org/x.png – source: s\n", "views: 9 (imported, not counted by demarc)", "quality\n", "  - [ ] baseline present", "freshness\n", "depth\n", "clarity\n",
		"similar notes\n  - n1: Note 1\n    - same cause: forgot\n  - n2: Note 2\n    - same route: GET /a\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || strings.Contains(out, "n3") || strings.Contains(out, "waits") {
		t.Errorf("shown:\n%q", out)
	}
	if v := shown(t, "waits"); v.State != "needs human review" || item(t, v, note.Quality, "reviewed by a person").Met {
		t.Errorf("needs human review must win: %+v", v.State)
	}
	if _, talk, code := says(t, "note", "show", "n"); code != fault.ExitUsage || !strings.Contains(talk, "any of several") {
		t.Errorf("exit %d: %s", code, talk)
	}
	if _, talk, code := says(t, "note", "show", "nowhere"); code != fault.ExitUsage || !strings.Contains(talk, "there is no note") {
		t.Errorf("exit %d: %s", code, talk)
	}
	putFile(t, "notes/broken.md", "---\ntopic: [x\n---\n")
	if _, talk, code := says(t, "note", "show", "broken"); code != fault.ExitUsage || !strings.Contains(talk, "cannot read") {
		t.Errorf("exit %d: %s", code, talk)
	}
	if l := listed(t, "list"); l.Total != 6 || l.Hidden != 1 {
		t.Errorf("list: %+v", l)
	}
	if l := listed(t, "list", "--unreviewed"); l.Total != 1 || l.Notes[0].ID != "waits" {
		t.Errorf("list --unreviewed: %+v", l)
	}
	if l := listed(t, "search", "--entity", "forgot"); l.Total != 2 || l.Hidden != 1 {
		t.Errorf("search --entity: %+v", l)
	}
	if out := mustSay(t, "__complete", "note", "show", "n"); !strings.Contains(out, "n0\nn1\nn2\nn3") {
		t.Errorf("completion: %s", out)
	}
	mustSay(t, "note", "render", "--site", "site")
	if page, err := os.ReadFile("site/notes/waits.html"); err != nil || !strings.Contains(string(page), "noindex") {
		t.Errorf("%v\n%s", err, page)
	}
	if page, err := os.ReadFile("site/index.html"); err != nil || strings.Contains(string(page), "waits.html\"") || !strings.Contains(string(page), "notes/n0.html") {
		t.Errorf("%v\n%s", err, page)
	}
	putFile(t, "mine/file", "x")
	if _, talk, code := says(t, "note", "render", "--site", "mine"); code != fault.ExitUsage || !strings.Contains(talk, "has not written") {
		t.Errorf("exit %d: %s", code, talk)
	}
}

// An import says what it refused and why, and a record that came along is never run.
func TestNoteImport(t *testing.T) {
	inRepository(t)
	putFile(t, "in/good.md", "---\ntopic: A good note\nscores: {quality: 97}\nrevision: {status: reviewed, reviewed_by: Eve}\nreference: ../changes/evil.yaml\n---\ntext about caches\n")
	putFile(t, "in/generated.txt", "A generated note\n\ntext\n\nPost metadata\nreading time9\ndifficultyIntermediate\nflags\n- generated\nviews77\n")
	putFile(t, "in/bad.md", "---\ntopic: x\n---\n<script>x</script>")
	var res struct {
		Schema string
		note.ImportResult
	}
	if err := json.Unmarshal([]byte(mustSay(t, "note", "import", "in", "--dry-run", "--json")), &res); err != nil || res.Added != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := os.Stat("notes"); err == nil {
		t.Error("--dry-run wrote")
	}
	out, talk, code := says(t, "note", "import", "in")
	if code != 0 || !strings.Contains(talk, "refused in/bad.md: it holds HTML") || !strings.Contains(talk, "3 read: 2 added, 0 updated, 0 unchanged, 1 refused") ||
		!strings.Contains(talk, "1 need human review") || len(strings.Fields(out)) != 2 {
		t.Errorf("exit %d\n%s%s", code, out, talk)
	}
	if err := json.Unmarshal([]byte(mustSay(t, "note", "import", "in", "--json")), &res); err != nil || res.Schema != noteImportSchema || res.Unchanged != 2 || res.Refused[0].File != "in/bad.md" {
		t.Errorf("%+v, %v", res, err)
	}
	l := listed(t, "search", "cache")
	if l.Total != 1 || l.Notes[0].ReviewedBy != "" || l.Notes[0].Status != note.Imported {
		t.Fatalf("%+v", l)
	}
	v := shown(t, l.Notes[0].ID)
	if fmt.Sprint(v.Head.Claims) != "[{revision.reviewed_by Eve good.md} {revision.status reviewed good.md} {scores.quality 97 good.md}]" {
		t.Errorf("claims: %v", v.Head.Claims)
	}
	putFile(t, "changes/evil.yaml", "version: 1\ntopic: x\nexpected: [\"run: touch ran\"]\n")
	if _, talk, code := says(t, "note", "verify", l.Notes[0].ID); code != fault.ExitUsage || !strings.Contains(talk, "no change record beside it") {
		t.Errorf("exit %d: %s", code, talk)
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("the command of a record that a note refers to was run")
	}
	if l := listed(t, "search", "generated"); l.Total != 0 || l.Hidden != 1 {
		t.Errorf("%+v", l)
	}
	if _, talk, code := says(t, "note", "import", "nowhere"); code != fault.ExitUsage || !strings.Contains(talk, "cannot read nowhere") {
		t.Errorf("exit %d: %s", code, talk)
	}
	if _, talk, code := says(t, "note", "search"); code != fault.ExitUsage {
		t.Errorf("exit %d: %s", code, talk)
	}
}
