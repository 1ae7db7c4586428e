package forecast

import (
	"fmt"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

// Writes are heard where the process that sent them has the library, and with SQLAlchemy in a transaction.
func TestUnheardWrites(t *testing.T) {
	web, job := &event.Source{Service: "shop", Host: "h", Pid: 1}, &event.Source{Service: "shop", Host: "h", Pid: 2}
	for _, c := range []struct {
		name, hook string
		on         map[*event.Source]string // the hook that is on
		by         []*event.Source          // processes that write; nil for one that is not known
		txn        string
		unheard    bool
	}{
		{"nobody listens", "", map[*event.Source]string{web: "sqlalchemy"}, []*event.Source{job}, "", false},
		{"through SQLAlchemy", "sqlalchemy", map[*event.Source]string{web: "sqlalchemy"}, []*event.Source{web}, "t", false},
		{"outside of a transaction", "sqlalchemy", map[*event.Source]string{web: "sqlalchemy"}, []*event.Source{web}, "", true},
		{"by the driver alone", "sqlalchemy", map[*event.Source]string{web: "asyncpg"}, []*event.Source{web}, "t", true},
		{"a job without SQLAlchemy, too", "sqlalchemy", map[*event.Source]string{web: "sqlalchemy", job: "psycopg"}, []*event.Source{web, job}, "t", true},
		{"a process that says nothing", "sqlalchemy", map[*event.Source]string{web: "sqlalchemy"}, []*event.Source{job}, "t", true},
		{"one that is not known", "sqlalchemy", map[*event.Source]string{web: "sqlalchemy"}, []*event.Source{nil}, "t", true},
		{"no write was observed", "sqlalchemy", map[*event.Source]string{web: "sqlalchemy"}, nil, "t", false},
		{"no write was observed, nor SQLAlchemy", "sqlalchemy", map[*event.Source]string{web: "asyncpg"}, nil, "t", true},
		{"through Django", "django_db", map[*event.Source]string{web: "django_db"}, []*event.Source{web}, "", false},
		{"beside Django", "django_db", map[*event.Source]string{web: "psycopg"}, []*event.Source{web}, "t", true},
	} {
		// The table is made outside of a transaction, which is no write of rows.
		events := line(0, "c", "PUT", "/a", "/a", 0, sql("CREATE TABLE IF NOT EXISTS articles (id integer)"))
		for source, name := range c.on {
			events = append(events, event.Event{Type: event.TypeRecorder, At: 1, Source: source, Recorder: &event.Recorder{Hooks: []event.Pair{{Name: name, Value: "on"}}}})
		}
		for n := range int64(200) {
			at := 100 + 50*n
			events = append(events, line(at, fmt.Sprint("r", n), "GET", "/a/{slug}", "/a/x", 1+n/20, sql("SELECT id, title FROM articles WHERE slug = $1", "x"))...)
			if n%20 == 19 && len(c.by) > 0 {
				write := sql("UPDATE articles SET title = $1 WHERE slug = $2", n, "x")
				write.Txn = c.txn
				if write.Txn != "" {
					write.Txn = fmt.Sprint(c.txn, n)
				}
				written := line(at+20, fmt.Sprint("w", n), "PUT", "/a", "/a", n, write)
				for i := range written {
					written[i].Source = c.by[int(n/20)%len(c.by)]
				}
				events = append(events, written...)
				if write.Txn != "" {
					events = append(events, txn(at+22, "commit", write.Txn))
				}
			}
		}
		if len(c.by) == 0 { // then nothing else may change
			for i := range events {
				if r := events[i].Request; r != nil {
					r.BodyHash = hash(1)
				}
			}
		}
		f := New(Options{Hook: c.hook})
		if err := f.Add(events); err != nil {
			t.Fatal(err)
		}
		if got := f.heard.unheard(f.names.id("articles")); got != c.unheard {
			t.Errorf("%s: unheard %v", c.name, got)
		}
		if on := find(t, f.Report(), "GET /a/{slug}").On; len(c.by) > 0 && (len(on) != 1 || on[0].Unheard != c.unheard) {
			t.Errorf("%s: %+v", c.name, on)
		}
	}
}
