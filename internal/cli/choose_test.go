package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/forecast"
)

func chooseOf(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	root := &cobra.Command{Use: "demarc", SilenceErrors: true, SilenceUsage: true}
	root.AddGroup(&cobra.Group{ID: groupMain})
	root.AddCommand(newChooseCommand())
	var out, talk bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&talk)
	root.SetArgs(append([]string{"choose"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), talk.String(), err
}

// reads are requests for twelve items, now and then written.
func reads() []event.Event {
	rng := rand.New(rand.NewPCG(1, 1))
	var list []event.Event
	versions := [12]int{}
	at := int64(1e18)
	for i := range 800 {
		at += int64(30 * time.Millisecond)
		item, trace := rng.IntN(12), fmt.Sprint("t", i)
		query := event.Query{DB: "sqlite", Text: "SELECT id, name FROM items WHERE id = ?", Params: []event.Hash{event.Hash(item + 1)}, Rows: event.Some(int64(1))}
		request := event.Request{Kind: "http", Method: "GET", Route: "/items/{id}", Target: fmt.Sprintf("/items/%d?utm_source=%d", item, rng.IntN(3)), Status: 200,
			Principal: fmt.Sprint("user", rng.IntN(9)), BodyBytes: event.Some(int64(50))}
		if i%60 == 59 {
			versions[item]++
			query.Text, query.Params = "UPDATE items SET name = ? WHERE id = ?", append([]event.Hash{7}, query.Params...)
			request.Method = "PUT"
		}
		request.BodyHash = event.Hash(1000*(item+1) + versions[item])
		list = append(list,
			event.Event{Type: event.TypeQuery, At: at + 1e6, Dur: event.Some(int64(1e6)), Trace: trace, Parent: trace, Query: &query},
			event.Event{Type: event.TypeRequest, At: at, Dur: event.Some(int64(20e6)), Trace: trace, Span: trace, Request: &request})
	}
	return list
}

func TestChoose(t *testing.T) {
	dir := recorded(t, reads()...)
	out, talk, err := chooseOf(t, "--explain", "-o", "boundaries.yaml")
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, want := range []string{
		"800 requests · over 24.0 s", "WORTH A CACHE", "GET /items/{id}", "key path.id; not query.utm_source, principal", "items (by row)",
		"no stale serve", " 1. Is it safe per user? Between users, as far as was seen: in ", "10. Is it worth it", "together", "LEAVE", "PUT /items/{id}", "never: PUT is not a safe method",
		"Start with GET /items/{id}, because it saves",
	} {
		at := strings.Index(out[last:], want)
		if at < 0 {
			t.Fatalf("%q is missing, or not in its place:\n%s", want, out)
		}
		last += at
	}
	if !strings.Contains(talk, "capture "+dir) || !strings.Contains(talk, "wrote boundaries.yaml") {
		t.Errorf("said %q", talk)
	}
	if text, err := os.ReadFile("boundaries.yaml"); err != nil || !strings.Contains(string(text), "but no request without a principal was seen to be answered") {
		t.Errorf("written: %v %s", err, text)
	}
	file, err := boundary.Load("demarc choose", "boundaries.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if b := file.Boundaries; len(b) != 1 || b[0].Name != "GET /items/{id}" || b[0].Key[0] != "path.id" || b[0].Expected == nil ||
		b[0].Expected.Requests != 787 || b[0].Command != "demarc choose "+dir {
		t.Errorf("written: %+v", b)
	}

	out, _, err = chooseOf(t, "--json", "--ttl", "90s", "--staleness", "GET /items/{id}=1%", "--memory", "1MB", dir)
	if err != nil {
		t.Fatal(err)
	}
	var rep forecast.Report
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rep); err != nil {
		t.Fatal(err)
	}
	if rep.Schema != "demarc.choose/1" || len(rep.Boundaries) != 2 || len(rep.Boundaries[0].Curve) != 5*21 {
		t.Errorf("%s, %d boundaries, %d points", rep.Schema, len(rep.Boundaries), len(rep.Boundaries[0].Curve))
	}
}

func TestChooseErrors(t *testing.T) {
	dir := recorded(t, reads()...)
	for _, args := range [][]string{
		{"--ttl", "soon"}, {"--ttl", "-1s"}, {"--level", "page"}, {"--memory", "much"}, {"--staleness", "GET /=often"}, {"--staleness", "101%"},
	} {
		if _, _, err := chooseOf(t, append(args, dir)...); fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, _, err := chooseOf(t, "--since", "never", dir); fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("a mark that is not there: %v", err)
	}
	if _, _, err := chooseOf(t, "--route", "PUT /items/{id}", "-o", "b.yaml", dir); fault.ExitCode(err) != fault.ExitFailed {
		t.Errorf("nothing to write: %v", err)
	}
	if _, err := os.Stat("b.yaml"); err == nil {
		t.Error("a file was written though nothing was chosen")
	}
	if _, _, err := chooseOf(t, filepath.Join(dir, "no")); err == nil {
		t.Error("no capture, no error")
	}
}

func TestChooseOfNothing(t *testing.T) {
	dir := recorded(t)
	out, _, err := chooseOf(t, dir)
	if err != nil || !strings.Contains(out, "Nothing to start with") {
		t.Errorf("%v: %s", err, out)
	}
}

// docs/choose.md describes every flag, and docs/json.md every member.
func TestChoosePages(t *testing.T) {
	page := readPage(t, "choose.md")
	known := map[string]bool{}
	newChooseCommand().Flags().VisitAll(func(f *pflag.Flag) {
		known[f.Name] = true
		if !strings.Contains(page, "--"+f.Name) && !strings.Contains(page, " -"+f.Shorthand+" ") {
			t.Errorf("--%s is not described", f.Name)
		}
	})
	for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(page, -1) {
		if !known[m[1]] {
			t.Errorf("the page names --%s, which is no flag", m[1])
		}
	}
	_, section, _ := strings.Cut(readPage(t, "json.md"), "## demarc.choose/1")
	section, _, _ = strings.Cut(section, "\n## ")
	rep := forecast.Report{Boundaries: []forecast.Boundary{{Forecast: &forecast.Figures{}, Curve: make([]forecast.CurvePoint, 1),
		Inputs: make([]forecast.KeyInput, 1), On: make([]forecast.Dependency, 1)}}, Warnings: make([]forecast.Warning, 1)}
	data, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"([a-z_]+)":`).FindAllSubmatch(data, -1) {
		if name := string(m[1]); name != "schema" && !strings.Contains(section, "`"+name+"`") {
			t.Errorf("%s is not described", name)
		}
	}
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
