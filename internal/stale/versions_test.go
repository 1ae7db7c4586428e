package stale_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/stale"
)

// dryRun plays a script and asks what a write would make stale, with and without knowledge of versions.
func dryRun(t *testing.T, text string, w stale.Write) (with, without *stale.DryRun) {
	t.Helper()
	scripts, err := parseScripts("versions", text)
	if err != nil {
		t.Fatal(err)
	}
	d := stale.New(scripts[0].options())
	v := stale.NewVersions(hashOf)
	events := scripts[0].events()
	if err := d.Add(slices.Clone(events)); err != nil {
		t.Fatal(err)
	}
	d.Finish()
	v.Add(events)
	return d.WouldDelete([]stale.Write{w}, v), d.WouldDelete([]stale.Write{w}, nil)
}

func listed(x *stale.DryRun) string {
	var out []string
	for _, k := range x.List {
		s := k.Key
		if k.Dropped != "" {
			s += "(" + strings.TrimSpace(strings.Join([]string{k.Dropped, k.Tag, k.By}, " ")) + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// versioned is a list under a version key that PATCH counts up. page:1 of version 1 has two parts that are "1".
const versioned = `
process web pid=1
sql list SELECT id, title FROM articles ORDER BY id LIMIT 10
sql tags SELECT name FROM tags
sql rename UPDATE articles SET title = $1 WHERE id = $2
== versions
1.0 +1ms web/r0 get ver:articles miss
1.1 +10ms web/r0 fill articles:v0:page:1 =A @list rows=2
2.0 +5ms web/w1 query @rename B 7 rows=1
2.1 +1ms web/w1 set ver:articles =1 kind=counter
2.0 +200ms web/w1 request PATCH /articles/{id} /articles/7 200
3.0 +1ms web/r1 get ver:articles hit =1
3.1 +10ms web/r1 fill articles:v1:page:1 =B @list rows=2
3.2 +1ms web/r1 get lists:2 miss
3.3 +10ms web/r1 fill tags:v1 =S @tags rows=2
4.0 +5ms web/w2 query @rename C 7 rows=1
4.1 +1ms web/w2 set ver:articles =2 kind=counter
4.0 +200ms web/w2 request PATCH /articles/{id} /articles/7 200
5.0 +1ms web/r2 get ver:articles hit =2
5.1 +10ms web/r2 fill articles:v2:page:1 =C @list rows=2
5.2 +10ms web/r2 fill articles:v2:page:3 =D @list rows=2
5.3 +10ms web/r2 fill tags:v2 =T @tags rows=2
5.4 +10ms web/r2 fill lists:2 =E @list rows=2
6.0 +10ms web/r6 fill other:2 =F @list rows=2
expect none
`

// TestWouldDeleteVersions holds that keys of old versions are left out, and that those of the present one are retired by those who
// count it up.
func TestWouldDeleteVersions(t *testing.T) {
	with, without := dryRun(t, versioned, stale.Write{Table: "articles", Columns: []string{"title"}})
	// lists:2 was asked for under version 1 as well: that it is made of the version is chance.
	want := "lists:2 other:2 articles:v2:page:1(version ver:articles PATCH /articles/{id}) articles:v2:page:3(version ver:articles PATCH /articles/{id})"
	if got := listed(with); got != want || with.Retired != 2 || with.Keys != 4 || with.Dropped != 2 || with.Nobody != 2 {
		t.Errorf("%s, expected %s\n%+v", got, want, with)
	}
	if without.Retired != 0 || without.Keys != 6 || without.Nobody != 6 {
		t.Errorf("without the hashing key: %+v", without)
	}
	// Nobody who writes tags counts the version up.
	if with, _ := dryRun(t, versioned, stale.Write{Table: "tags"}); listed(with) != "tags:v2" || with.Nobody != 1 || with.Retired != 1 {
		t.Errorf("%s %+v", listed(with), with)
	}
}

// TestWouldDeleteExpired holds that a key whose lifetime has ended is not live, unless the store is known to keep it longer.
func TestWouldDeleteExpired(t *testing.T) {
	const text = `
process web pid=1
sql article SELECT id, title FROM articles WHERE id = $1
== expired
1.0 +10ms web/r1 fill short:7 =A @article 7 rows=1 ttl=3s
1.1 +10ms web/r2 fill long:7 =A @article 7 rows=1 ttl=60s
1.2 +10ms web/r3 fill ever:7 =A @article 7 rows=1
1.3 +10ms web/r4 fill kept:7 =A @article 7 rows=1 ttl=3s
5.0 +10ms web/r5 fill short:8 =A @article 8 rows=1 ttl=3s
6.9 +1ms web/r6 get kept:7 hit =A
7.0 +1ms web/r7 get long:7 hit =A
expect none
`
	got, _ := dryRun(t, text, stale.Write{Table: "articles", Columns: []string{"title"}})
	if listed(got) != "ever:7 kept:7 long:7 short:8" || got.Keys != 4 {
		t.Errorf("%s %+v", listed(got), got)
	}
}

// TestWouldDeleteUnread holds what is said of tables that no key depends on.
func TestWouldDeleteUnread(t *testing.T) {
	for table, want := range map[string]string{"articles": "[] []", "authors": "[authors] []", "nosuch": "[nosuch] [nosuch]"} {
		got, _ := dryRun(t, `
process web pid=1
sql article SELECT id, title FROM articles WHERE id = $1
sql author SELECT id, name FROM authors WHERE id = $1
== unread
1.0 +10ms web/r1 fill article:7 =A @article 7 rows=1
1.1 +10ms web/r2 query @author 7 rows=1
expect none
`, stale.Write{Table: table})
		if s := fmt.Sprint(got.Unread, " ", got.Unseen); s != want {
			t.Errorf("%s: %s, expected %s", table, s, want)
		}
	}
}
