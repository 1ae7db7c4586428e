package sqlread

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// ormStatement is one line of testdata/orm/corpus.jsonl, written by generate.py beside it.
type ormStatement struct {
	ORM, Dialect, Driver string
	Text                 string // as the driver got it
	PG                   string // with parameters as $1, $2
}

func loadCorpus(tb testing.TB) []ormStatement {
	tb.Helper()
	f, err := os.Open("testdata/orm/corpus.jsonl")
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
