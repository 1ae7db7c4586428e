package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/fault"
)

// A snippet is for whole answers and functions: the choice behind it is made among these, and what it cannot print is named with what to do.
func TestSnippetOfAQuery(t *testing.T) {
	events := reads()
	for i := range events {
		if q := events[i].Query; q != nil && strings.HasPrefix(q.Text, "SELECT") {
			q.ResultHash, q.Code = events[i+1].Request.BodyHash, "shop.items:load:42"
			events[i].Dur = event.Some(int64(15e6))
		}
	}
	dir := recorded(t, events...)
	out, talk, err := chooseOf(t, "--snippet", "cashews", dir)
	if err != nil || !strings.Contains(out, "def cached_get_items_id(") || !strings.Contains(talk, "choosing among whole answers and functions") ||
		!strings.Contains(talk, "GET /items/{id}: no request without a principal was seen to be answered") {
		t.Errorf("%v\n%s", err, talk)
	}
	_, _, err = chooseOf(t, "--snippet", "cashews", "--level", "query", dir)
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatal(err)
	}
	text := f.Error() + f.Try
	for _, want := range []string{`is a boundary of level query: there are snippets for the answers of GET routes and for functions`, "without --level",
		`run by shop.items:load:42: with observe: {functions: ["shop.items:load"]}`} {
		if !strings.Contains(text, want) || !strings.Contains(text, "SELECT") {
			t.Errorf("%q is missing in: %s", want, text)
		}
	}
	out, _, err = chooseOf(t, "--level", "query", "-o", "queries.yaml", dir)
	if file, err := boundary.Load("demarc check", "queries.yaml"); err != nil || len(file.Boundaries) != 1 || file.Boundaries[0].Level != boundary.Query {
		t.Errorf("%v %+v", err, file)
	}
	if err != nil || !strings.Contains(out, "WORTH A CACHE") || !strings.Contains(out, "run by shop.items:load:42") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A function gets a decorator; nginx puts nothing around one; and one whose key holds who asks is not guessed at.
func TestSnippetOfAFunction(t *testing.T) {
	events, alone := reads(), reads()
	for _, list := range [][]event.Event{events, alone} {
		for i := range list {
			if e := &list[i]; e.Request != nil && e.Request.Method == "GET" {
				who := e.Request.Principal
				if &list[0] == &alone[0] {
					who = "user1"
				}
				e.Call = &event.Call{Code: "shop.items:load", Args: []event.NamedHash{{Name: "item", Hash: list[i-1].Query.Params[0]}}, ResultHash: e.Request.BodyHash, Principal: who}
				e.Type, e.Request = event.TypeCall, nil
			}
		}
	}
	out, _, err := chooseOf(t, "--snippet", "cashews", recorded(t, events...))
	if err != nil || !strings.Contains(out, "def cached_shop_items_load(fn):") || !strings.Contains(out, `parts=("arg.item",)`) {
		t.Errorf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		want   string
		events []event.Event
		args   []string
	}{
		{"--snippet cashews, fastapi-cache or django", events, []string{"--snippet", "nginx", "--level", "function"}},
		{"stays in the key of shop.items:load: no two asked for the same. It is left out where several users got the same", alone, []string{"--snippet", "django"}},
	} {
		var f *fault.Error
		if _, _, err := chooseOf(t, append(c.args, recorded(t, c.events...))...); !errors.As(err, &f) || !strings.Contains(f.Try, c.want) {
			t.Errorf("%q: %v", c.want, err)
		}
	}
}

// What the snippet could not be shown to hear is said beside it and in it; and so is who is given a hit.
func TestSnippetOfUnheardWrites(t *testing.T) {
	source := &event.Source{Service: "shop", Host: "h", Pid: 1}
	alchemy := append(reads(), event.Event{Type: event.TypeRecorder, At: 1e18, Recorder: &event.Recorder{Hooks: []event.Pair{{Name: "sqlalchemy", Value: "on"}}}})
	for i := range alchemy {
		e := &alchemy[i]
		e.Source = source
		if e.Query != nil && strings.HasPrefix(e.Query.Text, "UPDATE") {
			e.Query.Txn = e.Trace
			alchemy = append(alchemy, event.Event{Type: event.TypeTxn, At: e.At + 2e6, Source: source, Txn: &event.Txn{Op: "commit", Txn: e.Trace}})
		}
	}
	for _, c := range []struct {
		events  []event.Event
		library string
		unheard string
	}{
		{alchemy, "cashews", ""},
		{alchemy, "django", "Django's connections"},
		{reads(), "fastapi-cache", "SQLAlchemy"},
	} {
		out, talk, err := chooseOf(t, "--snippet", c.library, recorded(t, c.events...))
		if err != nil || !strings.Contains(talk, "note: who asks is not in the key of GET /items/{id}") {
			t.Fatalf("%v\n%s", err, talk)
		}
		want := "note: the capture does not show that items is written through " + c.unheard
		if said, in := strings.Contains(talk, want), strings.Contains(out, "!!     items\n"); said != (c.unheard != "") || in != said {
			t.Errorf("%s: said %v, in the module %v:\n%s", c.library, said, in, talk)
		}
	}
}

func TestChooseSnippet(t *testing.T) {
	dir := recorded(t, reads()...)
	out, _, err := chooseOf(t, "--snippet", "cashews", dir)
	if err != nil || !strings.Contains(out, "def cached_get_items_id(") || !strings.Contains(out, "# ==== test_boundaries.py") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = chooseOf(t, "--snippet", "django", "--boundary", "GET /items/{id}", "--json", dir)
	var doc struct {
		Schema string
		Files  []struct{ Name, Text string }
	}
	if err != nil || json.Unmarshal([]byte(out), &doc) != nil || doc.Schema != "demarc.snippet/1" || len(doc.Files) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	into := filepath.Join(t.TempDir(), "new")
	if _, talk, err := chooseOf(t, "--snippet", "fastapi-cache", "--into", into, dir); err != nil || !strings.Contains(talk, "wrote ") {
		t.Errorf("%v\n%s", err, talk)
	}
	if err := os.WriteFile(filepath.Join(into, "boundaries.py"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{fault.ExitFailed, []string{"--snippet", "fastapi-cache", "--into", into}}, // files of these names are there
		{fault.ExitFailed, []string{"--snippet", "nginx"}},                         // writes drop it
		{fault.ExitUsage, []string{"--snippet", "memcached"}},
		{fault.ExitUsage, []string{"--snippet", "django", "--boundary", "GET /no"}},
		{fault.ExitUsage, []string{"--into", into}},
	} {
		if _, _, err := chooseOf(t, append(c.args, dir)...); fault.ExitCode(err) != c.code {
			t.Errorf("%q: %v", c.args, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(into, "boundaries.py")); err != nil || string(text) != "mine" {
		t.Errorf("a file was overwritten: %s %v", text, err)
	}
}
