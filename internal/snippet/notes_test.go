package snippet

import (
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/boundary"
)

// What is not proven is said, where it is read: in the notes, and at the top of the module.
func TestNotes(t *testing.T) {
	const everybody = "a hit is given to everybody"
	head := func(library string, list []boundary.Boundary, unheard ...string) string {
		files, err := Render(library, list, Asker{}, unheard...)
		if err != nil {
			t.Fatal(err)
		}
		text := files[0].Text
		if library != "nginx" {
			text, _, _ = strings.Cut(text, "from __future__")
		}
		return text
	}
	for _, c := range []struct {
		library string
		list    []boundary.Boundary
		unheard []string
		notes   []string
		marked  []string // lines of the module that begin with !!
	}{
		{"cashews", []boundary.Boundary{articles, prices}, []string{"items"}, nil, nil},
		{"django", []boundary.Boundary{articles}, nil, nil, nil},
		{"nginx", []boundary.Boundary{mine}, nil, nil, nil},
		{"cashews", []boundary.Boundary{lists, articles, stock}, nil, []string{"not in the key of GET /api/articles: " + everybody}, []string{"Who asks is NOT in the key of these", "    GET /api/articles"}},
		{"nginx", []boundary.Boundary{tags}, nil, []string{"not in the key of GET /api/tags: " + everybody}, []string{"Who asks is NOT in the key of these", "    GET /api/tags"}},
		{"fastapi-cache", []boundary.Boundary{articles, comments}, []string{"public.users", "follows", "public.users"},
			[]string{`follows, users are written through SQLAlchemy, which is all that the snippet listens to`}, []string{"not show that these tables are written through SQLAlchemy", "    follows", "    users", "Where they are not, call changed("}},
		{"django", []boundary.Boundary{prices}, []string{"prices"},
			[]string{`prices is written through Django's connections`}, []string{"not show that these tables are written through Django's connections", "    prices", "Where they are not, call changed("}},
	} {
		notes := Notes(c.library, c.list, c.unheard...)
		if len(notes) != len(c.notes) {
			t.Errorf("%s: notes %q, %q was expected", c.library, notes, c.notes)
			continue
		}
		for i, want := range c.notes {
			if !strings.Contains(notes[i], want) {
				t.Errorf("%s: %q, %q was expected", c.library, notes[i], want)
			}
		}
		var marked []string
		text := head(c.library, c.list, c.unheard...)
		for line := range strings.Lines(text) {
			if line = strings.TrimPrefix(line, "# "); strings.HasPrefix(line, "!!") {
				marked = append(marked, line)
			}
			if len([]rune(line)) > 121 && c.library != "nginx" {
				t.Errorf("%s: a line of %d signs: %s", c.library, len(line), line)
			}
		}
		if len(marked) != len(c.marked) {
			t.Errorf("%s: marked %q, %q was expected", c.library, marked, c.marked)
			continue
		}
		for i, want := range c.marked {
			if !strings.Contains(marked[i], want) {
				t.Errorf("%s: %q, %q was expected", c.library, marked[i], want)
			}
		}
	}
}

// A snippet for a framework that the service does not have says so.
func TestFramework(t *testing.T) {
	flask := map[string]bool{"wsgi": true, "asgi": false, "django_db": false, "redis": true}
	for _, c := range []struct {
		library string
		list    []boundary.Boundary
		hooks   map[string]bool
		want    string
	}{
		{"cashews", []boundary.Boundary{articles}, flask, "FastAPI and Starlette"},
		{"fastapi-cache", []boundary.Boundary{prices, articles}, flask, "FastAPI and Starlette"},
		{"cashews", []boundary.Boundary{prices}, flask, ""},
		{"django", []boundary.Boundary{prices}, flask, "for Django"},
		{"nginx", []boundary.Boundary{tags}, flask, ""},
		{"cashews", []boundary.Boundary{articles}, map[string]bool{"asgi": true}, ""},
		{"django", []boundary.Boundary{articles}, map[string]bool{"django_db": true}, ""},
		{"django", []boundary.Boundary{articles}, nil, ""},
	} {
		if got := Framework(c.library, c.list, c.hooks); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s with %v: %q, %q was expected", c.library, c.hooks, got, c.want)
		}
	}
}
