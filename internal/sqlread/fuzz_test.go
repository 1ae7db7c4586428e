package sqlread

import (
	"strings"
	"testing"
)

// checkText states what holds for any text whatever: nothing panics, the fingerprint is a fixed point, Redact leaves no
// literal and is a fixed point, and what is read of the redacted text has the same tables.
func checkText(t *testing.T, d Dialect, text string) {
	t.Helper()
	st := Read(d, text)
	if len(text) > MaxText {
		if !st.TooLong {
			t.Fatalf("%v: %d bytes are not said to be too long", d, len(text))
		}
		return
	}
	if again := Fingerprint(d, st.Fingerprint); again != st.Fingerprint {
		t.Fatalf("%v: fingerprint of %q\nis    %q\nthen  %q", d, text, st.Fingerprint, again)
	}
	if hash(st.Fingerprint) != st.Hash || Fingerprint(d, text) != st.Fingerprint {
		t.Fatalf("%v: %q: fingerprint and hash differ", d, text)
	}
	for _, tok := range lex(d, st.Fingerprint, nil).toks {
		if tok.kind == tString || tok.kind == tNumber {
			t.Fatalf("%v: fingerprint of %q keeps a literal: %q", d, text, st.Fingerprint)
		}
	}
	red := Redact(d, text)
	for _, tok := range lex(d, red, nil).toks {
		if s := red[tok.start:tok.end]; tok.kind == tNumber || tok.kind == tString && s != redacted {
			t.Fatalf("%v: Redact of %q leaves %q in %q", d, text, s, red)
		}
	}
	if again := Redact(d, red); again != red {
		t.Fatalf("%v: Redact of %q\nis    %q\nthen  %q", d, text, red, again)
	}
	for i := range st.Tables {
		tb := &st.Tables[i]
		if tb.Role == RoleInsert && tb.Values != nil && len(tb.Written) > 0 && len(tb.Values)%len(tb.Written) != 0 {
			t.Fatalf("%v: %q: %d values for %d columns", d, text, len(tb.Values), len(tb.Written))
		}
		for _, p := range tb.Where {
			for _, v := range p.Values {
				if v.Kind == Param && (v.Index < 0 || v.Index >= st.Params) {
					t.Fatalf("%v: %q: parameter %d of %d", d, text, v.Index, st.Params)
				}
			}
		}
	}
}

var dialects = []Dialect{Any, PostgreSQL, SQLite, MySQL}

func FuzzRead(f *testing.F) {
	for i, s := range loadCorpus(f) {
		if i%25 == 0 {
			f.Add(s.Text)
		}
	}
	for _, c := range loadCases(f, "testdata/statements.txt") {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range dialects {
			checkText(t, d, text)
		}
	})
}

// TestCorpusHolds runs the same checks over everything that the ORMs wrote.
func TestCorpusHolds(t *testing.T) {
	for _, s := range loadCorpus(t) {
		for _, d := range dialects {
			checkText(t, d, s.Text)
		}
		d := DialectOf(s.Dialect)
		a, b := Read(d, s.Text), Read(d, Redact(d, s.Text))
		if len(a.Tables) != len(b.Tables) || a.Params != b.Params || a.Fingerprint != b.Fingerprint || a.Kind != b.Kind {
			t.Errorf("%s\nreads differently when redacted: %s", s.Text, Redact(d, s.Text))
		}
	}
}

// TestHostile gives the reader what only an attacker or an accident writes; it must stay quick, and say what it cut.
func TestHostile(t *testing.T) {
	n := 1 << 17
	for name, text := range map[string]string{
		"open parentheses": strings.Repeat("(", n),
		"subqueries":       "SELECT " + strings.Repeat("(SELECT ", n/8),
		"conditions":       "SELECT 1 FROM t WHERE " + strings.Repeat("(a = 1 AND ", n/11),
		"cases":            "SELECT " + strings.Repeat("CASE WHEN ", n/10),
		"ctes":             "WITH a AS (SELECT 1)" + strings.Repeat(", a AS (SELECT 1 FROM a)", n/24) + " SELECT 1 FROM a",
		"tables":           "SELECT * FROM t" + strings.Repeat(", t", n/3),
		"columns":          "SELECT a" + strings.Repeat(", abcde", n/7) + " FROM t JOIN u ON t.id = u.id",
		"qualified":        "SELECT z.a" + strings.Repeat(", z.abc", n/7) + " FROM t" + strings.Repeat(", t", 900) + ", z",
		"joins":            "SELECT 1 FROM a" + strings.Repeat(" JOIN a ON a.b = a.c", n/20),
		"aliases":          "SELECT " + strings.Repeat("a AS b,", n/14) + " 1 FROM t ORDER BY b" + strings.Repeat(",c", n/4),
		"quotes":           strings.Repeat("'", n+1),
		"comments":         strings.Repeat("/*", n/2),
		"dollars":          strings.Repeat("$a$b", n/4),
		"names":            strings.Repeat(":n ", n/3),
		"in":               "SELECT 1 FROM t WHERE a IN (1" + strings.Repeat(",?", n/2) + ")",
		"rows":             "INSERT INTO t (a) VALUES (1)" + strings.Repeat(",(2)", n/4),
		"brackets":         strings.Repeat("[a", n/2),
		"semicolons":       strings.Repeat(";", n),
		"statements":       strings.Repeat("ROLLBACK;", n/9),
		"with":             strings.Repeat("WITH a AS (", n/11),
		"explain":          strings.Repeat("EXPLAIN ANALYZE ", n/16),
		"casts":            "SELECT a" + strings.Repeat("::int", n/5),
		"savepoints":       strings.Repeat("SAVEPOINT a ", n/12),
		"nested lists":     "SELECT a IN " + strings.Repeat("((?), ", n/6),
		"signs":            "SELECT 1 " + strings.Repeat("+", n),
		"empty statements": "SELECT 1" + strings.Repeat(";", n) + "SELECT 2",
		"with in with":     strings.Repeat("WITH ()(", n/8),
		"open types":       "SELECT 1 FROM t WHERE " + strings.Repeat("a IN (1::b[ ) AND ", n/18) + "1",
		"conflict":         "INSERT INTO t (a) VALUES (1)" + strings.Repeat(",(1)", MaxValues) + " ON CONFLICT (a" + strings.Repeat(",a", n/8) + ") DO UPDATE SET a = 1",
		"one wide row":     "INSERT INTO t VALUES (1" + strings.Repeat(",1", n/2) + ")",
		"operators":        "SELECT 1 " + strings.Repeat("~!@#", n/4),
		"using":            "SELECT 1 FROM t" + strings.Repeat(" JOIN t USING (a, b, c, d)", n/26),
		"values":           strings.Repeat("VALUES (", n/8),
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range dialects {
				checkText(t, d, text)
			}
		})
	}
	if st := Read(PostgreSQL, "SELECT '"+strings.Repeat("secret ", MaxText/7)+"' FROM t"); !st.TooLong || st.Kind != Select ||
		strings.Contains(st.Fingerprint, "secret") {
		t.Errorf("beyond MaxText: %+v", st)
	}
	if st := Read(PostgreSQL, "SELECT "+strings.Repeat("(SELECT ", 200)); !st.Cut {
		t.Error("nesting beyond MaxDepth is not said to be cut")
	}
	if st := Read(PostgreSQL, "SELECT 1 FROM t"+strings.Repeat(", t", MaxTables)); !st.Cut || len(st.Tables) != MaxTables {
		t.Errorf("tables beyond MaxTables: cut %v, %d tables", st.Cut, len(st.Tables))
	}
}
