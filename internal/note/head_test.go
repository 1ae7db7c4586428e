package note

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/safeyaml"
)

// full is a head with every field set, and texts that YAML could take for something else.
func full() Head {
	return Head{
		Topic: "Slow list: #1 | \"tags\" \\ é", Summary: "yes", Brief: "12", Outline: Outline{"a: b", "- c", "{d}", "e\nf\tg"},
		Stack: []string{"fastapi >=0.110", "null", "0x10", "1e3", "~", "true", "2026-11-22", " lead", "trail ", "GET /a", "*x", "&y", "!z", "%a", "@b", "'c'", "`d`", ","},
		Tools: []string{"demarc"}, CodeLanguage: "python", Difficulty: "intermediate", Owner: "Ada <a@example.org>", Date: "2026-11-22", ReadingTime: 3,
		Views:    &Views{1200, ViewsSynthetic},
		Scores:   &Scores{[]string{"baseline present"}, []string{"written within a year"}, []string{"cause named"}, []string{"summary short"}, "2026-11-22"},
		Revision: Revision{Reviewed, 4, "2026-11-22", "Ada", "sha256:ab"}, Reference: "x.yaml", ContentHash: "sha256:ab",
		Flags: Flags{true, true, true, true}, Checklist: []string{"done: run linting"},
		Entities: []Entity{{"GET /articles/{slug}", "route"}, {"", ""}}, ImageSources: []ImageSource{{"drawn: by", "a.svg", ""}},
		Payload: Payload{"id-1", "demarc synth", 12, "tags", "7"}, Notes: []string{"one"}, Claims: []Claim{{"scores.quality", "97", "a.json"}},
		Other: map[string]any{"unknown": map[string]any{"deep": []any{"x", map[string]any{"a": "b", "c": []any{"d"}}, []any{"n"}}}, "Odd Key": "v"},
	}
}

func TestHeadComesBack(t *testing.T) {
	for name, h := range map[string]Head{"full": full(), "small": {Topic: "x"}, "empty": {}} {
		body := []byte("\n# x\n---\ntext\n")
		data := Join(&h, body)
		back, text, err := Split(data)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, data)
		}
		if !reflect.DeepEqual(h, back) || !bytes.Equal(text, body) {
			t.Errorf("%s: came back as\n%+v\nfrom\n%+v\n%s", name, back, h, data)
		}
		// The other reader sees the same.
		head, _, _ := strings.Cut(strings.TrimPrefix(string(data), headMark), "\n"+headMark)
		var tree map[string]any
		if err := safeyaml.Unmarshal([]byte(head), &tree); err != nil {
			t.Fatal(name, err, head)
		}
		plain, _ := plainValue(tree).(map[string]any)
		if again, err := headOf(plain); err != nil || !reflect.DeepEqual(again, h) {
			t.Errorf("%s: the reader of all YAML sees %+v, %v", name, again, err)
		}
	}
}

// What the quick reader accepts means the same to the reader of all YAML.
func FuzzPlainYAML(f *testing.F) {
	for _, h := range []Head{full(), {Topic: "x"}} {
		head, _, _ := strings.Cut(strings.TrimPrefix(string(AppendHead(nil, &h)), headMark), "\n"+headMark)
		f.Add(head)
	}
	for _, s := range []string{"a: b", "a:\n  b: c\n  d:\n    - e\n    - f: g\n      h: \"i\\n\"", "a: []", "a: 1\nb: -0", "a: \"\\u0041\"", "a: b\nc:", "a:\n- b",
		"a: 0x1", "a: b c: d", "a: y", "a: on", "on: a", "a: /b/c", "a: x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, ok := parsePlain(text)
		if !ok {
			return
		}
		var other map[string]any
		if err := yaml.Unmarshal([]byte(text), &other); err != nil {
			t.Fatalf("%q: read as %v, refused by the other: %v", text, tree, err)
		}
		if want, _ := plainValue(other).(map[string]any); !reflect.DeepEqual(tree, want) {
			t.Fatalf("%q: read as %v, by the other as %v", text, tree, want)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	h := full()
	h.Other = nil
	data := Join(&h, bytes.Repeat([]byte("word "), 500))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Split(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead is an import's work on one note, without its files.
func BenchmarkRead(b *testing.B) {
	h := full()
	h.Other, h.Claims = nil, nil
	data := Join(&h, []byte(strings.Repeat("\n## Part\n\nThe article list asks once for every tag, and nothing is kept. It was `forgot` by <b>the editor</b>.\n\n```python\nx = 1\n```\n", 15)))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		h, body, err := Read(data, ".md", "x.md", noon, false)
		if err != nil {
			b.Fatal(err)
		}
		_ = Join(h, body)
	}
}

func BenchmarkSafeYAML(b *testing.B) {
	h := full()
	h.Other = nil
	head, _, _ := strings.Cut(strings.TrimPrefix(string(AppendHead(nil, &h)), headMark), "\n"+headMark)
	b.ReportAllocs()
	for b.Loop() {
		var tree map[string]any
		if err := safeyaml.Unmarshal([]byte(head), &tree); err != nil {
			b.Fatal(err)
		}
	}
}
