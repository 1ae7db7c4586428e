package forecast

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

const msec = int64(time.Millisecond)

// line is a request of 10 ms at a time in milliseconds, with statements one millisecond after the other from its start.
func line(at int64, trace, method, route, target string, answer any, queries ...event.Query) []event.Event {
	var list []event.Event
	for i := range queries {
		q := queries[i]
		q.DB = "postgresql"
		list = append(list, event.Event{Type: event.TypeQuery, At: (at + int64(i)) * msec, Dur: event.Some(msec), Trace: trace, Parent: trace, Query: &q})
	}
	return append(list, event.Event{Type: event.TypeRequest, At: at * msec, Dur: event.Some(10 * msec), Trace: trace, Span: trace, Request: &event.Request{
		Kind: "http", Method: method, Route: route, Target: target, Status: 200, BodyHash: hash(answer), Principal: "-"}})
}

func sql(text string, params ...any) event.Query {
	q := event.Query{Text: text, Rows: event.Some(int64(1))}
	for _, p := range params {
		q.Params = append(q.Params, hash(p))
	}
	return q
}

func txn(at int64, op, name string) event.Event {
	return event.Event{Type: event.TypeTxn, At: at * msec, Dur: event.Some(msec), Trace: "w", Txn: &event.Txn{Op: op, Txn: name}}
}

// dropsBy returns when the key of a target is dropped, in milliseconds, by row and by table.
func dropsBy(t *testing.T, events []event.Event, target string) (row, table []int64) {
	t.Helper()
	f := New(Options{})
	if err := f.Add(events); err != nil {
		t.Fatal(err)
	}
	l := f.assemble()
	for _, c := range l.candidates() {
		if c.name != "GET /a/{slug}" {
			continue
		}
		l.weigh(c, []int64{msec})
		for k := range c.keys {
			if in := l.units[c.of[k][0]].own; l.inputs[in.from].hash != fnv(target) {
				continue
			}
			flat := func(lists [][]int64) []int64 {
				var all []int64
				for _, at := range slices.Concat(lists...) {
					all = append(all, at/msec)
				}
				slices.Sort(all)
				return slices.Compact(all)
			}
			return flat(c.keys[k].Row), flat(c.keys[k].Table)
		}
	}
	t.Fatalf("no key %q", target)
	return nil, nil
}

func TestWhatDropsAKey(t *testing.T) {
	read := "SELECT id, slug, title FROM articles WHERE slug = $1"
	reads := slices.Concat(
		line(0, "r1", "GET", "/a/{slug}", "/a/x", 1, sql(read, "x")), line(20, "r2", "GET", "/a/{slug}", "/a/y", 2, sql(read, "y")),
		line(500, "r3", "GET", "/a/{slug}", "/a/x", 1, sql(read, "x")), line(520, "r4", "GET", "/a/{slug}", "/a/y", 2, sql(read, "y")))
	update := sql("UPDATE articles SET title = $1 WHERE id = $2", "new", 7)
	inTxn := update
	inTxn.Txn = "t1"
	none := update
	none.Rows = event.Some(int64(0))
	failed := update
	failed.Error = "IntegrityError at a:b:1"
	for _, c := range []struct {
		name       string
		write      []event.Event
		x, y, both []int64 // by row, and by table
	}{
		{"by the same column", line(100, "w", "PUT", "/a", "/a", 0, sql("UPDATE articles SET title = $1 WHERE slug = $2", "new", "x")),
			[]int64{101}, nil, []int64{101}},
		{"by another column than it is read by", line(100, "w", "PUT", "/a", "/a", 0, update), []int64{101}, []int64{101}, []int64{101}},
		{"by another column, after one row was looked up: the statement alone tells", line(100, "w", "PUT", "/a", "/a", 0, sql(read, "x"), update),
			[]int64{102}, []int64{102}, []int64{102}},
		{"a new row", line(100, "w", "POST", "/a", "/a", 0, sql("INSERT INTO articles (slug, title) VALUES ($1, $2)", "y", "t")),
			nil, []int64{101}, []int64{101}},
		{"a row that takes another name", line(100, "w", "PUT", "/a", "/a", 0, sql("UPDATE articles SET slug = $1 WHERE slug = $2", "y", "x")),
			[]int64{101}, []int64{101}, []int64{101}},
		{"at the commit", append(line(100, "w", "PUT", "/a", "/a", 0, sql(read, "x"), inTxn), txn(120, "commit", "t1")), []int64{121}, []int64{121}, []int64{121}},
		{"taken back", append(line(100, "w", "PUT", "/a", "/a", 0, sql(read, "x"), inTxn), txn(120, "rollback", "t1")), nil, nil, nil},
		{"no row", line(100, "w", "PUT", "/a", "/a", 0, none), nil, nil, nil},
		{"refused", line(100, "w", "PUT", "/a", "/a", 0, failed), nil, nil, nil},
		{"another table", line(100, "w", "PUT", "/a", "/a", 0, sql("UPDATE users SET name = $1 WHERE id = $2", "n", 1)), nil, nil, nil},
		{"the database's log, and not the statement", append(line(100, "w", "PUT", "/a", "/a", 0, update), event.Event{
			Type: event.TypeChange, At: 130 * msec, Change: &event.Change{Table: "public.articles", Op: "update", PK: []event.Hash{hash(7)}, Lsn: 1}}),
			[]int64{130}, []int64{130}, []int64{130}},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := slices.Concat(c.write, reads)
			for target, want := range map[string][]int64{"x": c.x, "y": c.y} {
				row, table := dropsBy(t, events, target)
				if !slices.Equal(row, want) || !slices.Equal(table, c.both) {
					t.Errorf("/a/%s is dropped at %v by row and %v by table, %v and %v were expected", target, row, table, want, c.both)
				}
			}
		})
	}
}

// TestLogNamesRows: keys in the database's log are those of the column that reads name rows by.
func TestLogNamesRows(t *testing.T) {
	read := "SELECT title FROM articles WHERE id = $1"
	events := slices.Concat(line(0, "r1", "GET", "/a/{slug}", "/a/x", 1, sql(read, "x")), line(20, "r2", "GET", "/a/{slug}", "/a/y", 2, sql(read, "y")),
		line(500, "r3", "GET", "/a/{slug}", "/a/x", 1, sql(read, "x")), line(520, "r4", "GET", "/a/{slug}", "/a/y", 2, sql(read, "y")),
		[]event.Event{{Type: event.TypeChange, At: 130 * msec, Change: &event.Change{Table: "articles", Op: "update", PK: []event.Hash{hash("x")}, Lsn: 1}}})
	x, _ := dropsBy(t, events, "x")
	y, _ := dropsBy(t, events, "y")
	if !slices.Equal(x, []int64{130}) || len(y) > 0 {
		t.Errorf("x is dropped at %v, y at %v", x, y)
	}
}

// TestStatementsInsideRoutes: a slow statement that two routes run. Where what is asked for splits the routes' answers, the
// statement is cached; where it does not, the routes are, and what their hits spare is not saved a second time.
func TestStatementsInsideRoutes(t *testing.T) {
	for _, split := range []bool{true, false} {
		s := newShop(5)
		var all, statements int64
		for i := range 1200 {
			item, page := s.rng.IntN(5), 0
			if split {
				page = i
			}
			v := s.visit(30 * time.Millisecond)
			s.emit(event.Event{Type: event.TypeQuery, At: v.at + 5*msec, Dur: event.Some(20 * msec), Trace: v.trace, Parent: v.trace, Query: &event.Query{
				DB: "sqlite", Text: "SELECT a FROM prices WHERE id = ?", Params: []event.Hash{hash(item)}, Rows: event.Some(int64(1)), ResultHash: hash("price", item),
				Code: "shop.prices:load:9"}})
			route := []string{"/a", "/b"}[i%2]
			v.done(event.Request{Method: "GET", Route: route, Target: fmt.Sprintf("%s?item=%d&page=%d", route, item, page), Principal: "-", BodyHash: hash(route, item, page)})
			all, statements = all+30*msec, statements+1
		}
		rep := report(t, Options{}, s.events)
		b := find(t, rep, "SELECT a FROM prices WHERE id = ?")
		if b.Level != LevelQuery || b.Code != "shop.prices:load:9" || !slices.Equal(b.Key, []string{"arg.1"}) || b.Forecast.Hits < 1150 || len(b.On) != 0 && b.On[0].Table != "prices" {
			t.Errorf("%+v", b)
		}
		want, levels := "[SELECT a FROM prices WHERE id = ?]", LevelQuery
		if !split {
			want, levels = "[GET /a GET /b]", LevelResponse
			if !strings.Contains(b.Reason, "beside the others it would add") || len(b.Levels) != 2 {
				t.Errorf("the statement inside: %s, %q", b.Reason, b.Levels)
			}
		}
		names := slices.Sorted(slices.Values(rep.Set.Names))
		if fmt.Sprint(names) != want || rep.Boundaries[0].Level != levels {
			t.Errorf("set %v, %s was expected", names, want)
		}
		if rep.Set.SavedMs > ms(all) || rep.Set.SavedQueries > statements || rep.Set.ShareOfTime > 1 || rep.Set.SavedQueries < 1100 {
			t.Errorf("the set saves %v ms of %v, %d statements of %d", rep.Set.SavedMs, ms(all), rep.Set.SavedQueries, statements)
		}
	}
}

// TestLevelsAreNotCountedTwice: a function behind two routes, of which each has an input of its own that splits its keys.
func TestLevelsAreNotCountedTwice(t *testing.T) {
	s := newShop(4)
	for i := range 1200 {
		item, page := s.rng.IntN(5), i
		v := s.visit(30 * time.Millisecond)
		span := fmt.Sprint(v.trace, ".f")
		s.emit(event.Event{Type: event.TypeQuery, At: v.at + 5*msec, Dur: event.Some(msec), Trace: v.trace, Parent: span,
			Query: &event.Query{DB: "sqlite", Text: "SELECT a FROM prices WHERE id = ?", Params: []event.Hash{hash(item)}, Rows: event.Some(int64(1))}})
		s.emit(event.Event{Type: event.TypeCall, At: v.at + 4*msec, Dur: event.Some(20 * msec), Trace: v.trace, Span: span, Parent: v.trace,
			Call: &event.Call{Code: "shop.pricing:price_for:12", Args: []event.NamedHash{{Name: "item", Hash: hash(item)}}, ResultHash: hash("price", item)}})
		route := []string{"/a", "/b"}[i%2]
		v.done(event.Request{Method: "GET", Route: route, Target: fmt.Sprintf("%s?item=%d&page=%d", route, item, page), Principal: "-", BodyHash: hash(route, item, page)})
	}
	rep := report(t, Options{}, s.events)
	if got := fmt.Sprint(rep.Set.Names); got != "[shop.pricing:price_for]" {
		t.Errorf("set %s: %+v", got, rep.Boundaries[0])
	}
	if b := find(t, rep, "shop.pricing:price_for"); !slices.Equal(b.Key, []string{"arg.item"}) || b.Forecast.SavedQueries < 1150 || rep.Set.SavedQueries != b.Forecast.SavedQueries {
		t.Errorf("key %q, %d statements saved, by the set %d", b.Key, b.Forecast.SavedQueries, rep.Set.SavedQueries)
	}
	var all float64
	for i := range rep.Boundaries {
		if rep.Boundaries[i].Level == LevelResponse {
			all += rep.Boundaries[i].TotalMs
		}
	}
	if rep.Set.SavedMs > all || rep.Set.ShareOfTime > 1 {
		t.Errorf("the set saves %v ms of %v", rep.Set.SavedMs, all)
	}
}
