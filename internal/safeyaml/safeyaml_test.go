package safeyaml

import (
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestRefused(t *testing.T) {
	bomb := "a0: &a0 [x, x]\n"
	for i := range 40 {
		bomb += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	for name, c := range map[string]struct{ text, line, why string }{
		"alias bomb":       {bomb, ">  1 | a0: &a0", "anchors"},
		"alias":            {"a: x\nb: *a\n", ">  2 | b: *a", "aliases"},
		"merge":            {"a:\n  <<: {b: c}\n", ">  2 |", "<<"},
		"tag":              {"a: x\n\nb: !!int 3\n", ">  3 | b: !!int 3", "tags"},
		"flow sequences":   {"a: " + strings.Repeat("[", 100_000), ">  1 | a: [[", "at most 20 levels"},
		"flow maps":        {"a: " + strings.Repeat("{a: ", 21), ">  1 | a: {a:", "at most 20 levels"},
		"sequences in one": {"a:\n" + strings.Repeat("- ", 100_000), ">  2 | - -", "at most 20 levels"},
		"explicit keys":    {strings.Repeat("? ", 100_000), ">  1 | ? ?", "at most 20 levels"},
		"block":            {deepBlock(1000), ">", "at most 20 levels"},
		"unknown field":    {"known: 1\nother: 2\n", ">  2 | other: 2", "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			var to struct {
				Known int `yaml:"known"`
			}
			err := Unmarshal([]byte(c.text), &to, yaml.Strict())
			if err == nil || !strings.Contains(err.Error(), c.line) || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("%q and %q were expected in: %v", c.line, c.why, err)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func deepBlock(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestRead(t *testing.T) {
	var to struct {
		Text string     `yaml:"text"`
		Deep [][]string `yaml:"deep"`
	}
	text := "text: |\n  &no *anchor, !no tag << here\n" + "  " + strings.Repeat(" ", 500) + "far\n" + "deep: [[a, '&b'], [c]]\n"
	if err := Unmarshal([]byte(text), &to, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(to.Text, "&no *anchor, !no tag << here\n") || to.Deep[0][1] != "&b" || to.Deep[1][0] != "c" {
		t.Errorf("%+v", to)
	}
	for _, empty := range []string{"", "# nothing\n", "\n"} {
		if err := Unmarshal([]byte(empty), &to); err != nil || to.Deep != nil {
			t.Errorf("%q: %v, %+v", empty, err, to)
		}
	}
}

// Whatever passes Check is parsed without a panic, and the error of what does not pass stays short.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{"a: b", "a: [b, {c: d}]", "a: &a b", "- - - x", "? a\n: b", "a: |\n  x\n", "a: 'b", "\xff", "a:\n\t- b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := Check(data); err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			return
		}
		var to any
		_ = Unmarshal(data, &to)
	})
}
