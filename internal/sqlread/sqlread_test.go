package sqlread

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is read now into testdata/statements.txt and docs/sql.md")

// hardCase is a statement written by hand and what must be read of it, in the notation of show.
type hardCase struct {
	comment, dialect, text, want string
}

// loadCases reads testdata/statements.txt: blocks parted by an empty line; in each a comment (# …), the dialect and the
// statement ("postgresql> …"), and what is read of it.
func loadCases(tb testing.TB, file string) []hardCase {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var out []hardCase
	for _, block := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
		var c hardCase
		for strings.HasPrefix(block, "#") {
			line, rest, _ := strings.Cut(block, "\n")
			c.comment += line + "\n"
			block = rest
		}
		head, want, _ := strings.Cut(block, "\n")
		var ok bool
		if c.dialect, c.text, ok = strings.Cut(head, "> "); !ok {
			tb.Fatalf("%s: no dialect in %q", file, head)
		}
		c.text = strings.ReplaceAll(c.text, `\n`, "\n")
		c.want = strings.TrimSpace(want)
		out = append(out, c)
	}
	return out
}

// show writes a statement down, a line a table: role, name, then what is read, set, pinned (== for every row, =? for a
// hint) and returned; ~ marks a Partial table.
func show(st *Statement) string {
	var b strings.Builder
	b.WriteString(st.Kind.String())
	if st.Savepoint != "" {
		fmt.Fprintf(&b, " %s", st.Savepoint)
	}
	if st.Count != 1 {
		fmt.Fprintf(&b, ", %d statements", st.Count)
	}
	if st.Params > 0 {
		fmt.Fprintf(&b, ", %d parameters", st.Params)
	}
	if st.Names != nil {
		fmt.Fprintf(&b, " %s", strings.Join(st.Names, " "))
	}
	fmt.Fprintf(&b, "\n  %s\n", st.Fingerprint)
	for i := range st.Tables {
		t := &st.Tables[i]
		name := t.Name
		if t.Schema != "" {
			name = t.Schema + "." + name
		}
		if t.Partial {
			name += "~"
		}
		fmt.Fprintf(&b, "  %s %s", t.Role, name)
		if t.Alias != t.Name {
			fmt.Fprintf(&b, " as %s", t.Alias)
		}
		if len(t.Columns) > 0 {
			fmt.Fprintf(&b, ": %s", strings.Join(t.Columns, " "))
		}
		if len(t.Written) > 0 {
			fmt.Fprintf(&b, "; sets %s", strings.Join(t.Written, " "))
		}
		if t.Values != nil {
			fmt.Fprintf(&b, "; to %s", showValues(t.Values))
		}
		for _, p := range t.Where {
			op := "=?"
			if p.All {
				op = "=="
			}
			fmt.Fprintf(&b, "; %s %s %s", p.Column, op, showValues(p.Values))
		}
		if t.Conflict != nil {
			fmt.Fprintf(&b, "; conflict on %s", strings.Join(t.Conflict, " "))
		}
		if t.Returning != nil {
			fmt.Fprintf(&b, "; returns %q", t.Returning)
		}
		b.WriteByte('\n')
	}
	return strings.TrimSpace(b.String())
}

func showValues(values []Value) string {
	var out []string
	for _, v := range values {
		s := [...]string{"…", fmt.Sprintf("$%d", v.Index), "'" + v.Text + "'", "null", "default"}[v.Kind]
		if v.List {
			s += "[]"
		}
		out = append(out, s)
	}
	return "(" + strings.Join(out, ", ") + ")"
}

func TestStatements(t *testing.T) {
	const file = "testdata/statements.txt"
	var b strings.Builder
	for _, c := range loadCases(t, file) {
		st := Read(DialectOf(c.dialect), c.text)
		got := show(&st)
		if got != c.want && !*update {
			t.Errorf("%s%s> %s\nwant %s\ngot  %s", c.comment, c.dialect, c.text, c.want, got)
		}
		checkText(t, DialectOf(c.dialect), c.text)
		fmt.Fprintf(&b, "%s%s> %s\n%s\n\n", c.comment, c.dialect, strings.ReplaceAll(c.text, "\n", `\n`), got)
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManual runs the examples of docs/sql.md: blocks fenced with ```sqlread, written like testdata/statements.txt.
func TestManual(t *testing.T) {
	const file = "../../docs/sql.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const fence = "```sqlread\n"
	parts := strings.Split(string(b), fence)
	if len(parts) < 4 {
		t.Fatalf("%s has %d examples", file, len(parts)-1)
	}
	for i, p := range parts[1:] {
		block, rest, _ := strings.Cut(p, "```")
		head, want, _ := strings.Cut(block, "\n")
		dialect, text, _ := strings.Cut(head, "> ")
		st := Read(DialectOf(dialect), text)
		got := show(&st)
		if got != strings.TrimSpace(want) && !*update {
			t.Errorf("%s\nwant %s\ngot  %s", head, want, got)
		}
		parts[i+1] = head + "\n" + got + "\n```" + rest
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(parts, fence)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRedact(t *testing.T) {
	for _, c := range []struct {
		d          Dialect
		text, want string
	}{
		{PostgreSQL, `SELECT 'it''s', E'a\'b', $tag$x'y$tag$, 1.5e3, -2, B'01', U&'d\0061' FROM t -- secret`,
			`SELECT '?', '?', '?', '?', '?', '?', '?' FROM t`},
		{PostgreSQL, `SELECT "a" FROM t WHERE "b" = "c" AND d = $1 /* secret /* nested */ too */`,
			`SELECT "a" FROM t WHERE "b" = "c" AND d = $1`},
		{MySQL, "SELECT * FROM `t` WHERE a = \"it\\\"s\" AND b = 'x\\'y' # secret\nAND c=%s", "SELECT * FROM `t` WHERE a = '?' AND b = '?' AND c=%s"},
		{SQLite, `SELECT * FROM t WHERE name = "bob" AND "t"."x" = "t"."y" AND z IN ("u", "v")`,
			`SELECT * FROM t WHERE name = '?' AND "t"."x" = "t"."y" AND z IN ('?', '?')`},
		{Any, `SELECT 'a\' OR name = 'secret' FROM t`, `SELECT '?'`},
		{PostgreSQL, `SELECT 'never closed`, `SELECT '?'`},
		{PostgreSQL, `SELECT "never closed`, `SELECT '?'`},
		{PostgreSQL, `SELECT a FROM t WHERE b = %(b)s AND c LIKE 'x%%' LIMIT 5`, `SELECT a FROM t WHERE b = %(b)s AND c LIKE '?' LIMIT '?'`},
		{MySQL, `SELECT 2fa_codes.a, 0x41, x'41' FROM 2fa_codes`, `SELECT 2fa_codes.a, '?', '?' FROM 2fa_codes`},
	} {
		if got := Redact(c.d, c.text); got != c.want {
			t.Errorf("%s\nwant %s\ngot  %s", c.text, c.want, got)
		}
	}
}

// TestHashIsStable pins the hash: baselines of different days and machines are joined by it.
func TestHashIsStable(t *testing.T) {
	st := Read(PostgreSQL, "select id from articles where slug = 'x'")
	if st.Fingerprint != "SELECT id FROM articles WHERE slug = ?" || st.Hash != 0x18a40339cba12bcf {
		t.Errorf("fingerprint %q, hash %#x", st.Fingerprint, st.Hash)
	}
}

// TestSameFingerprint lists texts that must share one fingerprint.
func TestSameFingerprint(t *testing.T) {
	for _, texts := range [][]string{
		{"SELECT a FROM t WHERE id IN (1, 2, 3)", "select a\nfrom t where id in ($1)", "SELECT a FROM t WHERE id IN (%s,%s) -- x",
			"SELECT a FROM t WHERE id IN (NULL)", "SELECT a FROM t WHERE id IN (-1, ?);"},
		{"INSERT INTO t (a, b) VALUES (1, 'x')", "INSERT INTO t(a,b) VALUES ($1,$2),($3,NULL)", "insert into t (a, b) values (DEFAULT, 'it''s')"},
		{"SAVEPOINT s1", `savepoint "s140_x2"`},
		{"ROLLBACK TO SAVEPOINT a", "rollback to savepoint b"},
		{"SELECT x FROM t WHERE (a, b) IN ((1, 2), (3, 4))", "SELECT x FROM t WHERE (a, b) IN ((?, ?))"},
	} {
		for _, text := range texts[1:] {
			if a, b := Fingerprint(PostgreSQL, texts[0]), Fingerprint(PostgreSQL, text); a != b {
				t.Errorf("%q and %q\ngive %q\nand  %q", texts[0], text, a, b)
			}
		}
	}
}

func TestBound(t *testing.T) {
	for _, c := range []struct {
		text, column, want string
		ok                 bool
	}{
		{"UPDATE t SET a = $1 WHERE id = $2", "id", "($1)", true},
		{"UPDATE t SET a = $1 WHERE id = $2 OR b", "id", "()", false},
		{"INSERT INTO t (id, a) VALUES ($1, $2), ($3, $4)", "id", "($0, $2)", true},
		{"INSERT INTO t (a) VALUES ($1)", "id", "()", false},
		{"INSERT INTO t (id) SELECT x FROM u", "id", "()", false},
	} {
		st := Read(PostgreSQL, c.text)
		v, ok := st.Tables[0].Bound(c.column)
		if got := showValues(v); got != c.want || ok != c.ok {
			t.Errorf("%s: %s is bound to %s (%v), want %s (%v)", c.text, c.column, got, ok, c.want, c.ok)
		}
	}
}

func TestCache(t *testing.T) {
	c := NewCache(64 << 10)
	first := c.Read(PostgreSQL, "SELECT a FROM t WHERE id = 0")
	if c.Read(PostgreSQL, "SELECT a FROM t WHERE id = 0") != first {
		t.Error("the second read is not answered from the cache")
	}
	if c.Read(SQLite, "SELECT a FROM t WHERE id = 0") == first {
		t.Error("another dialect is answered with the same statement")
	}
	for i := range 5000 {
		c.Read(PostgreSQL, fmt.Sprintf("SELECT a FROM t WHERE id = %d", i))
		n := 0
		for _, g := range []map[cacheKey]*Statement{c.young, c.old} {
			for k, s := range g {
				n += s.bytes() + len(k.text)
			}
		}
		if i%500 == 0 && n > 64<<10 {
			t.Fatalf("after %d texts the cache holds %d bytes", i, n)
		}
	}
	if hits, reads := c.Stats(); hits == 0 || reads < 4999 {
		t.Errorf("%d hits, %d reads", hits, reads)
	}
	c.Read(PostgreSQL, "SELECT '"+strings.Repeat("x", 64<<10)+"'")
	if len(c.young)+len(c.old) > 200 {
		t.Errorf("%d statements kept", len(c.young)+len(c.old))
	}
}

func TestFilters(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT id, slug, title FROM articles WHERE slug = $1":                                   "slug",
		"SELECT articles.id, articles.title AS t FROM articles WHERE slug = $1 ORDER BY created": "slug created",
		"SELECT a.* FROM articles a ORDER BY a.rank LIMIT 10":                                    "rank",
		"SELECT id, lower(title) FROM articles WHERE id = $1":                                    "title id",
		"SELECT id, rank() OVER (ORDER BY score) FROM articles":                                  "score",
		"SELECT id, title AS t FROM articles ORDER BY t":                                         "*",
		"SELECT id, -score FROM articles":                                                        "score",
		"SELECT x.id FROM (SELECT id, score FROM articles) AS x WHERE x.score > $1":              "*",
		"SELECT id, body FROM articles":                                                          "",
		"SELECT id FROM articles WHERE author_id IN (SELECT id FROM users WHERE name = $1)":      "author_id",
		"SELECT id FROM articles WHERE lower(title) = $1 GROUP BY id HAVING count(views) > $2":   "title id views",
		"UPDATE articles SET title = $1 WHERE slug = $2":                                         "slug",
	} {
		st := Read(PostgreSQL, text)
		if got := strings.Join(st.Tables[0].Filters, " "); got != want {
			t.Errorf("%s: filters %q, want %q", text, got, want)
		}
	}
}
