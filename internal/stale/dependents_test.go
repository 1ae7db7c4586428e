package stale_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/stale"
)

// TestWouldDelete holds which keys a dry run names, and what it says of who drops them today.
func TestWouldDelete(t *testing.T) {
	scripts, err := parseScripts("would-delete", `
process web pid=1
sql article SELECT id, title FROM articles WHERE id = $1
sql views SELECT views FROM articles WHERE id = $1
sql list SELECT id, title FROM articles ORDER BY id LIMIT 20
sql author SELECT id, name FROM authors WHERE id = $1
sql rename UPDATE articles SET title = $1 WHERE id = $2
== shop
# A rename drops the article's own key; nobody drops the list and the page.
1.0 +10ms web/r1 fill article:7 =A @article 7 rows=1
1.1 +20ms web/w1 tx t1 @rename B 7 rows=1
1.13 +1ms web/w1 delete article:7 removed=1 code=shop.cache:drop:8
1.1 +40ms web/w1 request PATCH /articles/{id} /articles/7 200
2.0 +10ms web/r2 fill article:7 =B @article 7 rows=1
2.1 +10ms web/r3 fill article:8 =E @article 8 rows=1
2.2 +10ms web/r4 fill articles:list =L @list rows=2 pks=7,8
2.3 +10ms web/r5 fill page:7 =P @article 7 ; @author 3 rows=1
2.4 +10ms web/r6 fill views:7 =V @views 7 rows=1
2.5 +10ms web/r7 fill author:3 =U @author 3 rows=1
2.6 +10ms web/r8 fill gone:7 =G @article 7 rows=1
2.7 +1ms web/h get gone:7 miss
expect none
`)
	if err != nil {
		t.Fatal(err)
	}
	d := stale.New(scripts[0].options())
	if err := d.Add(scripts[0].events()); err != nil {
		t.Fatal(err)
	}
	d.Finish()
	before := said(t, d.Report())
	row := func(id string) []stale.Bound { return []stale.Bound{{Column: "id", Value: hashOf(id)}} }
	for name, c := range map[string]struct {
		write stale.Write
		want  string // keys; * for the very row, ! for what nobody drops
	}{
		"one article":     {stale.Write{Table: "articles", Columns: []string{"title"}, Where: row("7"), Op: "update"}, "!articles:list* !page:7* article:7*"},
		"every article":   {stale.Write{Table: "public.articles", Columns: []string{"title"}}, "!articles:list !page:7 article:7 article:8"},
		"another column":  {stale.Write{Table: "articles", Columns: []string{"views"}, Where: row("7")}, "!views:7*"},
		"an unread one":   {stale.Write{Table: "articles", Columns: []string{"body"}, Where: row("7")}, ""},
		"a deleted row":   {stale.Write{Table: "articles", Where: row("8"), Op: "delete"}, "!articles:list* article:8*"},
		"a new article":   {stale.Write{Table: "articles", Op: "insert"}, "!articles:list"},
		"an author":       {stale.Write{Table: "authors", Columns: []string{"name"}, Where: row("3")}, "!author:3* !page:7*"},
		"another author":  {stale.Write{Table: "authors", Columns: []string{"name"}, Where: row("4")}, ""},
		"an unseen table": {stale.Write{Table: "orders"}, ""},
	} {
		deps := d.WouldDelete([]stale.Write{c.write}, nil)
		var got []string
		for _, x := range deps.List {
			s := x.Key
			if x.Row {
				s += "*"
			}
			if x.Dropped == "" {
				s = "!" + s
			} else if !strings.Contains(x.By, "shop.cache:drop:8") || x.Dropped != "key" {
				t.Errorf("%s: %s is dropped by %q, %q", name, x.Key, x.Dropped, x.By)
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, expected %s", name, s, c.want)
		}
		if n := int64(len(got)); deps.Keys != n || deps.Dropped+deps.Nobody != n || deps.Schema != stale.DependentsSchema {
			t.Errorf("%s: %+v", name, deps)
		}
	}
	if after := said(t, d.Report()); after != before {
		t.Error("the dry run changed what is known")
	}
}

// TestWouldDeleteMany holds that the list is bounded while the counts go on.
func TestWouldDeleteMany(t *testing.T) {
	var b strings.Builder
	b.WriteString("process web pid=1\n== many\n")
	for i := range 3 * stale.MaxDependents {
		fmt.Fprintf(&b, "%d.0 +10ms web/r%d fill article:%d =A \"SELECT title FROM articles WHERE id = $1\" %d\n", i+1, i, i, i)
	}
	scripts, err := parseScripts("many", b.String()+"expect none\n")
	if err != nil {
		t.Fatal(err)
	}
	d := stale.New(scripts[0].options())
	if err := d.Add(scripts[0].events()); err != nil {
		t.Fatal(err)
	}
	d.Finish()
	deps := d.WouldDelete([]stale.Write{{Table: "articles", Columns: []string{"title"}}}, nil)
	if len(deps.List) != stale.MaxDependents || deps.Keys != 3*stale.MaxDependents || deps.List[0].Key != "article:0" || deps.List[1].Key != "article:1" {
		t.Errorf("%d keys, %d listed, the first is %v", deps.Keys, len(deps.List), deps.List[0])
	}
}
