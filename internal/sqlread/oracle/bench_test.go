package oracle_test

import (
	"testing"

	"github.com/DataDog/go-sqllexer"
	pgquery "github.com/wasilibs/go-pgquery"

	"github.com/demarc-dev/demarc/internal/sqlread"
)

// BenchmarkStatement reads the PostgreSQL part of the corpus, one statement an iteration, with three readers: sqlread
// (tables, columns, predicates, fingerprint), DataDog's normalizer (table names, fingerprint) and PostgreSQL's own parser
// (the tree as JSON, nothing more). x_sqlread is how much longer the others take.
func BenchmarkStatement(b *testing.B) {
	var texts []ormStatement
	for _, s := range loadCorpus(b) {
		if s.Dialect == "postgresql" {
			texts = append(texts, s)
		}
	}
	normalizer := sqllexer.NewNormalizer(sqllexer.WithCollectTables(true), sqllexer.WithCollectCommands(true),
		sqllexer.WithKeepSQLAlias(true))
	obfuscator := sqllexer.NewObfuscator(sqllexer.WithReplaceDigits(true))
	cache := sqlread.NewCache(16 << 20)
	base := 0.0
	for _, r := range []struct {
		name string
		read func(s *ormStatement) error
	}{
		{"sqlread", func(s *ormStatement) error { _ = sqlread.Read(sqlread.PostgreSQL, s.Text); return nil }},
		{"sqlread-cached", func(s *ormStatement) error { _ = cache.Read(sqlread.PostgreSQL, s.Text); return nil }},
		{"sqlread-fingerprint", func(s *ormStatement) error { _ = sqlread.Fingerprint(sqlread.PostgreSQL, s.Text); return nil }},
		{"sqllexer", func(s *ormStatement) error {
			_, _, err := sqllexer.ObfuscateAndNormalize(s.PG, obfuscator, normalizer, sqllexer.WithDBMS(sqllexer.DBMSPostgres))
			return err
		}},
		{"pgquery", func(s *ormStatement) error { _, err := pgquery.ParseToJSON(s.PG); return err }},
	} {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			bytes := 0
			i := 0
			for b.Loop() {
				s := &texts[i%len(texts)]
				bytes += len(s.Text)
				if err := r.read(s); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.SetBytes(int64(bytes / i))
			ns := float64(b.Elapsed().Nanoseconds()) / float64(i)
			if r.name == "sqlread" {
				base = ns
			}
			b.ReportMetric(ns/base, "x_sqlread")
		})
	}
}
