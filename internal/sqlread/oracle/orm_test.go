// Package oracle_test compares sqlread with other readers of SQL, over statements that real ORMs wrote. It is apart from
// sqlread so that fuzzing that package does not build them.
package oracle_test

import (
	"bufio"
	"encoding/json"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/sqlread"
)

// ormStatement is one line of sqlread/testdata/orm/corpus.jsonl, written by generate.py beside it.
type ormStatement struct {
	ORM, Dialect, Driver string
	Text                 string // as the driver got it
	PG                   string // with parameters as $1, $2
}

func loadCorpus(tb testing.TB) []ormStatement {
	tb.Helper()
	f, err := os.Open("../testdata/orm/corpus.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var out []ormStatement
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s ormStatement
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			tb.Fatal(err)
		}
		out = append(out, s)
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return out
}

// TestAgainstPostgresParser reads what SQLAlchemy and Django sent to real databases and compares tables, roles, aliases,
// columns and pinned columns of every statement with what PostgreSQL's parser says of it.
func TestAgainstPostgresParser(t *testing.T) {
	corpus := loadCorpus(t)
	compared, refused := map[string]int{}, map[string]int{}
	for _, s := range corpus {
		orm := strings.Fields(s.ORM)[0] + " " + s.Dialect
		pg := s.PG
		if s.Dialect == "sqlite" {
			pg = strings.ToLower(pg) // SQLite's quotes do not keep the case
		}
		o, err := askOracle(pg)
		if err != nil { // SQLite's own spelling
			if s.Dialect == "postgresql" {
				t.Errorf("pg_query refuses a statement that PostgreSQL took: %v\n%s", err, s.PG)
			}
			refused[orm]++
			continue
		}
		compared[orm]++
		st := sqlread.Read(sqlread.DialectOf(s.Dialect), s.Text)
		var want, got []string
		for _, u := range o.uses {
			if len(u.written) == 0 {
				u.written = []string{}
			}
			want = append(want, u.describe())
		}
		for i := range st.Tables {
			got = append(got, describeTable(&st.Tables[i]))
		}
		sort.Strings(want)
		sort.Strings(got)
		w, g := strings.Join(want, "\n"), strings.Join(got, "\n")
		if w != g {
			t.Errorf("%s\nwant %s\ngot  %s", s.Text, w, g)
		}
		if st.Params != o.params {
			t.Errorf("%s\nhas %d parameters, got %d", s.Text, o.params, st.Params)
		}
		if st.Cut || st.TooLong || st.Count != 1 {
			t.Errorf("%s\ncut %v, too long %v, %d statements", s.Text, st.Cut, st.TooLong, st.Count)
		}
	}
	t.Logf("compared %v, in SQLite's own spelling %v", compared, refused)
	for _, orm := range []string{"sqlalchemy postgresql", "django postgresql"} {
		if compared[orm] < 150 {
			t.Errorf("only %d statements of %s compared", compared[orm], orm)
		}
	}
}
