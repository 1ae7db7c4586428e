package synth_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/note"
	"github.com/demarc-dev/demarc/internal/synth"
)

func notesOf(t testing.TB, opt synth.NoteOptions) *synth.Notes {
	t.Helper()
	n, err := synth.NewNotes(opt)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestImportTakesWhatTheTruthSays imports generated notes in each form: all that are good go in, and those that are hostile
// are refused by name, no more and no fewer.
func TestImportTakesWhatTheTruthSays(t *testing.T) {
	for _, form := range synth.Forms() {
		t.Run(form, func(t *testing.T) {
			dir := t.TempDir()
			from := filepath.Join(dir, "in")
			opt := synth.DefaultNotes()
			opt.Form, opt.Count, opt.Hostile = form, 320, true
			n := notesOf(t, opt)
			path := from
			var lines []byte
			if form == synth.FormJSONL {
				path = from + ".jsonl"
			}
			for f, ok := n.Next(); ok; f, ok = n.Next() {
				if form == synth.FormJSONL {
					lines = append(lines, f.Data...)
					continue
				}
				file := filepath.Join(from, f.Name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if form == synth.FormJSONL {
				if err := os.WriteFile(path, lines, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			truth := n.Truth("")
			res, err := note.Import(context.Background(), []string{path}, note.ImportOptions{Folder: filepath.Join(dir, "notes"), Now: time.Unix(1_772_442_000, 0)})
			if err != nil {
				t.Fatal(err)
			}
			kinds, want := map[string]string{}, []string{}
			for _, h := range truth.Hostile {
				name := filepath.Join(from, h.Name)
				if form == synth.FormJSONL {
					name = path + ":" + h.Name
				}
				want = append(want, name)
				kinds[name] = h.Kind
			}
			var got []string
			for _, r := range res.Refused {
				got = append(got, r.File)
				if kinds[r.File] == "" {
					t.Errorf("%s was refused: %s", r.File, r.Reason)
				}
			}
			for _, name := range want {
				if !slices.Contains(got, name) {
					t.Errorf("%s (%s) was not refused", name, kinds[name])
				}
			}
			if res.Added != truth.Good || res.NeedsReview != truth.Good || truth.Good+len(truth.Hostile) != opt.Count {
				t.Errorf("%d added, %d need a person, %d refused; the truth says %d and %d", res.Added, res.NeedsReview, len(res.Refused), truth.Good, len(truth.Hostile))
			}
			seen := map[string]bool{}
			for _, h := range truth.Hostile {
				seen[h.Kind] = true
			}
			if len(seen) != len(synth.HostileKinds(form)) {
				t.Errorf("%d kinds of hostile notes of %d", len(seen), len(synth.HostileKinds(form)))
			}
		})
	}
}

// TestFormsSayTheSame: one note in three forms is one note.
func TestFormsSayTheSame(t *testing.T) {
	heads, bodies := map[string][]*note.Head{}, map[string][]string{}
	for _, form := range synth.Forms() {
		opt := synth.DefaultNotes()
		opt.Form, opt.Seed = form, 5
		n := notesOf(t, opt)
		for f, ok := n.Next(); ok; f, ok = n.Next() {
			ext := map[string]string{synth.FormMarkdown: ".md", synth.FormJSONL: ".jsonl", synth.FormText: ".txt"}[form]
			h, body, err := note.Read(f.Data, ext, "x", time.Unix(1_772_442_000, 0), false)
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", form, f.Name, err, f.Data)
			}
			h.Claims = nil
			if !h.Flags.Generated || !h.Flags.NeedsHumanReview || h.Views.Kind != note.ViewsSynthetic || h.Payload.Generator != "demarc synth" || h.Payload.Seed != "5" {
				t.Errorf("%s is not marked as generated: %+v", f.Name, h)
			}
			heads[form], bodies[form] = append(heads[form], h), append(bodies[form], string(body))
		}
	}
	for i, md := range heads[synth.FormMarkdown] {
		for _, form := range []string{synth.FormJSONL, synth.FormText} {
			if got := heads[form][i]; !reflect.DeepEqual(md, got) {
				t.Fatalf("note %d: Markdown\n%+v\n%s\n%+v", i, md, form, got)
			}
			if md, got := bodies[synth.FormMarkdown][i], bodies[form][i]; md != got {
				t.Fatalf("note %d: Markdown\n%s\n%s\n%s", i, md, form, got)
			}
		}
	}
}

// TestNotesVary: few notes say the same, and the options hold.
func TestNotesVary(t *testing.T) {
	opt := synth.DefaultNotes()
	opt.Count, opt.Topic, opt.Scenario = 2000, "stale-reads", "publishing"
	n := notesOf(t, opt)
	bodies := map[string]bool{}
	for f, ok := n.Next(); ok; f, ok = n.Next() {
		_, body, _ := bytes.Cut(f.Data, []byte("\n---\n"))
		bodies[string(body)] = true
		if !bytes.Contains(f.Data, []byte(`scenario: "publishing"`)) || strings.ContainsAny(string(body), "{") && !strings.Contains(string(body), "/{id}") && !strings.Contains(string(body), ":{}") {
			t.Fatalf("%s", f.Data)
		}
	}
	if len(bodies) < 1990 {
		t.Errorf("%d different texts of 2000", len(bodies))
	}
}

func BenchmarkNotes(b *testing.B) {
	opt := synth.DefaultNotes()
	opt.Count = 10_000
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		n := notesOf(b, opt)
		for f, ok := n.Next(); ok; f, ok = n.Next() {
			size += len(f.Data)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/note")
	b.ReportMetric(float64(size)/float64(b.N)/10_000, "bytes/note")
}
