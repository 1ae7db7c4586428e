package snippet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/boundary"
)

// Hook names the recorder's hook for the library whose statements a snippet listens to for drops; "" for none.
func Hook(library string) string {
	return map[string]string{"cashews": "sqlalchemy", "fastapi-cache": "sqlalchemy", "django": "django_db"}[library]
}

// hears says in words what a snippet listens to.
func hears(library string) string {
	if library == "django" {
		return "Django's connections"
	}
	return "SQLAlchemy"
}

// Framework says for which framework a library's snippet is written, where the capture shows that the service is not one of its;
// "" otherwise. hooks are the recorder's, by whether the service has what they are for; empty where that is not known.
func Framework(library string, list []boundary.Boundary, hooks map[string]bool) string {
	answers := slices.ContainsFunc(list, func(b boundary.Boundary) bool { return b.Level == boundary.Response })
	switch {
	case len(hooks) == 0 || library == "nginx":
		return ""
	case library == "django" && !hooks["django_db"]:
		return "the snippet is for Django, and the capture shows a service without it"
	case library != "django" && answers && !hooks["asgi"]:
		return "the snippet for answers is for FastAPI and Starlette, and the capture shows no ASGI application"
	}
	return ""
}

// Notes say what to know before the boundaries are put there: whose hits are given to everybody, and of which tables the writes
// may not be heard, which are those of unheard that the boundaries rest on.
func Notes(library string, list []boundary.Boundary, unheard ...string) []string {
	var notes, open, tables []string
	for _, b := range list {
		if b.Level == boundary.Response && !slices.Contains(b.Key, "principal") {
			open = append(open, b.Name)
		}
		tables = append(tables, unheardOf(b, unheard)...)
	}
	if len(open) > 0 {
		notes = append(notes, fmt.Sprintf("who asks is not in the key of %s: a hit is given to everybody, before the service checks who asks (its dependencies, "+
			"decorators and permissions do not run); only for what all may see", strings.Join(open, ", ")))
	}
	if slices.Sort(tables); len(tables) > 0 {
		tables = slices.Compact(tables)
		notes = append(notes, fmt.Sprintf("the capture does not show that %s %s written through %s, which is all that the snippet listens to: what is written otherwise (a driver such as "+
			"asyncpg or psycopg by itself, another service) drops nothing unless its writer calls changed(\"%s\") after the commit",
			strings.Join(tables, ", "), isOrAre(len(tables)), hears(library), strings.Join(tables, `", "`)))
	}
	return notes
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// unheardOf are the tables that a boundary rests on of which the writes may not be heard.
func unheardOf(b boundary.Boundary, unheard []string) (tables []string) {
	for _, d := range b.InvalidateOn {
		if name := unqualified(d.Table); slices.Contains(unheard, d.Table) && !slices.Contains(tables, name) {
			tables = append(tables, name)
		}
	}
	return tables
}
