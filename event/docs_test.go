package event

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPageDescribesEveryField compares docs/events.md with the structs: one section a type, one row a field, each with
// its kind, meaning, source and what its absence means.
func TestPageDescribesEveryField(t *testing.T) {
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\|(.*)\\|$")
	fields := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = name
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		fields[section] = append(fields[section], m[1])
		cells := strings.Split(m[2], "|")
		if len(cells) != 4 {
			t.Errorf("%s, %s: %d cells beside the name, 4 were expected", section, m[1], len(cells))
		}
		for i, cell := range cells {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("%s, %s: cell %d is empty", section, m[1], i+2)
			}
		}
	}
	compare := func(section string, want []string) {
		t.Helper()
		if got := fields[section]; !reflect.DeepEqual(sorted(got), sorted(want)) {
			t.Errorf("section %q describes %q, the structs have %q", section, got, want)
		}
		delete(fields, section)
	}
	compare("All types", append([]string{"type"}, FieldNames(Other)...))
	for typ := TypeRequest; typ < numTypes; typ++ {
		compare(typ.String(), FieldNames(typ))
	}
	if len(fields) > 0 {
		t.Errorf("fields outside the sections of types: %v", fields)
	}
}

func TestPageExamplesParse(t *testing.T) {
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, `{"type"`) {
			n++
			if e, err := ParseJSON([]byte(line)); err != nil || e.Extra != "" || e.Type == Other {
				t.Errorf("%s: %v, not known: %q", line, err, e.Extra)
			}
		}
	}
	if n < 2 {
		t.Errorf("%d examples", n)
	}
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
