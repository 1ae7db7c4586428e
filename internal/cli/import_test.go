package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
)

// command runs one command line in-process.
func command(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = Main(args, strings.NewReader(stdin), &out, &talk)
	return code, out.String(), talk.String()
}

func writeText(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const someEvents = `{"type":"request","at":1790000000000000000,"dur":0,"trace":"p.1","service":"shop","pid":7,"seq":1,"kind":"http","method":"GET","route":"/a/{b}","status":200,"vary":{"host":"0123456789abcdef"},"body_bytes":0,"headers":{"set-cookie":true}}
{"type":"query","at":1790000000000000001,"db":"sqlite","text":"SELECT 1","params":["0123456789abcdef",null],"rows":0,"later":{"a":[1,2.50,null]}}
{"type":"wormhole","at":5,"pid":3,"text":"hello","key":[1,{"a":null}]}
{"type":"cache","at":6,"op":"delete","key":"","removed":0,"tags":[]}
`

// meanings returns the lines of a JSONL text by meaning.
func meanings(t *testing.T, text string) []any {
	t.Helper()
	var list []any
	for line := range strings.Lines(text) {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, v)
	}
	return list
}

func TestImportExport(t *testing.T) {
	t.Chdir(t.TempDir())
	plain := writeText(t, "a.jsonl", someEvents)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(someEvents)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	gz := writeText(t, "b.jsonl.gz", zipped.String())
	code, out, talk := command(t, someEvents, "import", plain, gz, "-", "-o", "captures/one", "--json")
	if code != 0 || talk != "" {
		t.Fatalf("exit code %d: %s", code, talk)
	}
	var sum importSummary
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Schema != "demarc.import/1" || sum.Events != 12 || sum.BadLines != 0 || sum.Capture != "captures/one" || len(sum.Files) != 3 ||
		sum.Files[1] != (importedFile{File: "b.jsonl.gz", Lines: 4, Events: 4, Bytes: int64(zipped.Len()), Form: "events"}) || sum.Files[2].File != "standard input" || sum.Bytes == 0 {
		t.Errorf("%+v", sum)
	}
	code, out, talk = command(t, "", "export", "captures/one")
	if code != 0 || talk != "" {
		t.Fatalf("exit code %d: %s", code, talk)
	}
	if want := meanings(t, strings.Repeat(someEvents, 3)); !reflect.DeepEqual(meanings(t, out), want) {
		t.Errorf("exported:\n%s", out)
	}

	// Into a file, with a summary; the newest capture is the default.
	if code, _, talk := command(t, someEvents, "import", "-"); code != 0 || !strings.HasPrefix(talk, "4 events into .demarc/") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	code, out, _ = command(t, "", "export", "-o", "out.jsonl", "--parquet", "tables", "--json")
	var exported exportSummary
	if err := json.Unmarshal([]byte(out), &exported); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if exported.Events != 4 || len(exported.Tables) != 11 || exported.Schema != "demarc.export/1" || !strings.HasPrefix(exported.Capture, ".demarc/") {
		t.Errorf("%+v", exported)
	}
	text, err := os.ReadFile("out.jsonl")
	if err != nil || !reflect.DeepEqual(meanings(t, string(text)), meanings(t, someEvents)) {
		t.Errorf("%v:\n%s", err, text)
	}
	if _, err := os.Stat(filepath.Join("tables", "request.parquet")); err != nil {
		t.Error(err)
	}
}

func TestImportBadLines(t *testing.T) {
	t.Chdir(t.TempDir())
	file := writeText(t, "bad.jsonl", someEvents+"nonsense\n"+someEvents)
	code, _, talk := command(t, "", "import", file, "-o", "c")
	if code != 0 || !strings.Contains(talk, "bad.jsonl:5: not a JSON object") || !strings.Contains(talk, "8 events into c") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	code, _, talk = command(t, "", "import", file, "-o", "strict", "--strict")
	if code != fault.ExitFailed || !strings.Contains(talk, "demarc import: cannot import bad.jsonl: 1 bad lines, and --strict was given") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	many := writeText(t, "many.jsonl", strings.Repeat("{}\n", 33))
	code, _, talk = command(t, "", "import", many, "-o", "many")
	if code != 0 || strings.Count(talk, "many.jsonl:") != maxBadLines || !strings.Contains(talk, "and 13 other bad lines") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	onlyThese(t, "bad.jsonl", "c", "many", "many.jsonl")
	// Under a name of its own it would be taken for the newest capture.
	if code, _, talk = command(t, "", "import", many); code != fault.ExitFailed || !strings.Contains(talk, "no event was read, and 33 bad lines") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	if list, _ := filepath.Glob(filepath.Join(capture.Root, "*")); len(list) > 0 {
		t.Errorf("there is %q", list)
	}
}

// onlyThese checks what is in the working directory.
func onlyThese(t *testing.T, want ...string) {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

func TestImportFails(t *testing.T) {
	t.Chdir(t.TempDir())
	good := writeText(t, "good.jsonl", someEvents)
	cut := writeText(t, "cut.gz", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00abc")
	if code, _, talk := command(t, "", "import", good, "-o", "there"); code != 0 {
		t.Fatal(talk)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"import"}, fault.ExitUsage, "requires at least 1 arg"},
		{[]string{"import", "none.jsonl", "-o", "x"}, fault.ExitFailed, "cannot read none.jsonl: no such file"},
		{[]string{"import", good, cut, "-o", "x"}, fault.ExitFailed, "cannot read cut.gz"},
		{[]string{"import", good, "-o", "there"}, fault.ExitFailed, "cannot create capture there: it is there already"},
		{[]string{"import", good, "-o", "good.jsonl/x"}, fault.ExitFailed, "cannot create capture"},
		{[]string{"export", "none"}, fault.ExitFailed, "cannot open capture none: no such directory"},
		{[]string{"export"}, fault.ExitFailed, "there is none under .demarc"},
		{[]string{"export", "there", "--json"}, fault.ExitUsage, "--json prints a summary and needs"},
		{[]string{"export", "there", "-o", "no/such/file"}, fault.ExitFailed, "cannot write no/such/file: no such file or directory"},
	} {
		code, out, talk := command(t, "", c.args...)
		if code != c.code || !strings.Contains(talk, c.want) || out != "" {
			t.Errorf("%q: exit code %d, printed %q, said %q; want %d, %q", c.args, code, out, talk, c.code, c.want)
		}
	}
	onlyThese(t, "cut.gz", "good.jsonl", "there")

	manifest := filepath.Join("there", "manifest.json")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, manifest, strings.Replace(string(text), `"version": 1`, `"version": 7`, 1))
	code, _, talk := command(t, "", "export", "there")
	if want := "format version 7, this demarc reads up to version 1"; code != fault.ExitCapture || !strings.Contains(talk, want) {
		t.Errorf("exit code %d, said %q", code, talk)
	}
}

// Spans of a real service in protobuf, and one in JSON, become events in the same capture; keys are hashed unless told
// otherwise, with the project's key.
func TestImportSpans(t *testing.T) {
	pb, err := filepath.Abs("../otlp/testdata/new.pb")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile("../otlp/testdata/new.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	spans := writeText(t, "spans.json", `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c",
		"spanId":"b7ad6b7169203331","name":"GET /o/{id}","kind":2,"startTimeUnixNano":"1790000000000000000","endTimeUnixNano":"1790000000005000000",
		"attributes":[{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"http.route","value":{"stringValue":"/o/{id}"}},
		{"key":"url.path","value":{"stringValue":"/o/990077"}},{"key":"http.response.status_code","value":{"intValue":"200"}}]}]}]}]}`)
	code, out, talk := command(t, "", "import", pb, spans, "-o", "hashed", "--json")
	if code != 0 || talk != "" {
		t.Fatalf("exit code %d: %s", code, talk)
	}
	var sum importSummary
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	events := int64(bytes.Count(whole, []byte("\n")))
	if sum.Events != events+1 || len(sum.Files) != 2 || sum.Files[0].Form != "otlp-proto" || sum.Files[0].Spans.Events != events ||
		sum.Files[1].Form != "otlp-json" || sum.Files[1].Spans.Spans != 1 || sum.Files[1].Bytes == 0 {
		t.Errorf("%d events were expected: %s", events, out)
	}
	if info, err := os.Stat(".demarc/key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", info, err)
	}
	if _, out, _ := command(t, "", "export", "hashed"); strings.Contains(out, "990077") || !strings.Contains(out, `"route":"/o/{id}"`) {
		t.Errorf("exported hashed:\n%s", out)
	}
	if code, _, talk := command(t, "", "import", spans, "-o", "clear", "--keys", "clear"); code != 0 {
		t.Fatalf("exit code %d: %s", code, talk)
	}
	if _, out, _ := command(t, "", "export", "clear"); !strings.Contains(out, `"target":"/o/990077"`) {
		t.Errorf("exported clear:\n%s", out)
	}
	data, err := os.ReadFile(pb)
	if err != nil {
		t.Fatal(err)
	}
	cut := writeText(t, "cut.pb", string(data[:len(data)-9]))
	code, _, talk = command(t, "", "import", cut, "-o", "cut")
	if code != fault.ExitFailed || !strings.Contains(talk, "demarc import: cannot read cut.pb: message ") || !strings.Contains(talk, "spans before were read well") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
	if code, _, talk := command(t, "", "import", spans, "-o", "x", "--keys", "plain"); code != fault.ExitUsage || !strings.Contains(talk, "--keys is clear or hashed") {
		t.Errorf("exit code %d, said %q", code, talk)
	}
}

// Access logs and a HAR become requests in one capture; choose tells reuse and makes no forecast of what has no hashes.
func TestImportWeb(t *testing.T) {
	t.Chdir(t.TempDir())
	var lines strings.Builder
	for i := range 60 {
		fmt.Fprintf(&lines, "203.0.113.9 - - [22/Nov/2026:03:56:%02d +0000] \"GET /articles/%d?utm_source=%d&token=tok%d HTTP/1.1\" 200 512 \"-\" \"curl/8\"\n", i, 100+i%4, i%2, i%4)
	}
	log := writeText(t, "access.log", lines.String()+"nonsense\n")
	har := writeText(t, "a.har", `{"log":{"version":"1.2","entries":[{"startedDateTime":"2026-11-22T03:58:00Z","time":5,"request":{"method":"GET",
		"url":"https://shop.example/articles/how-to","headers":[{"name":"Authorization","value":"Bearer verysecret"}]},"response":{"status":200,
		"content":{"size":5,"text":"hello"}}},{"startedDateTime":"2026-11-22T03:58:00Z","time":5,"request":{"method":"GET",
		"url":"https://cdn.example/x"},"response":{"status":200}}]}}`)
	code, out, talk := command(t, "", "import", log, har, "--host", "shop.example", "--route", "/articles/{slug}", "-o", "c", "--keys", "clear", "--json")
	var sum importSummary
	if err := json.Unmarshal([]byte(out), &sum); err != nil || code != 0 || talk != "access.log:61: no access line: common, combined, or as gunicorn and uvicorn write it\n" {
		t.Fatalf("exit code %d, %v: %s", code, err, talk)
	}
	if sum.Events != 61 || sum.BadLines != 1 || len(sum.Files) != 2 || sum.Files[0].Form != "access" || sum.Files[0].Lines != 61 || sum.Files[1].Form != "har" ||
		sum.Files[1].Events != 1 || sum.Files[1].Skipped != 1 {
		t.Errorf("%+v", sum)
	}
	_, out, _ = command(t, "", "export", "c")
	if strings.Contains(out, "tok1") || strings.Contains(out, "verysecret") || strings.Contains(out, "203.0.113") || strings.Count(out, `"route":"/articles/{slug}"`) != 61 ||
		!strings.Contains(out, `"target":"/articles/101?utm_source=1&token=~`) || !strings.Contains(out, `"principal":"`) {
		t.Errorf("exported:\n%s", out)
	}
	if code, _, talk := command(t, "", "import", log, "-o", "logs"); code != 0 {
		t.Fatal(talk)
	}
	code, out, _ = command(t, "", "choose", "logs")
	if text := strings.Join(strings.Fields(out), " "); code != 0 || !strings.Contains(text, "no forecast: answers carry no hash") ||
		!strings.Contains(text, "(60 requests, 4 addresses, 2048 bytes)") || !strings.Contains(text, "no statement was recorded") || !strings.Contains(text, "who asked is not known") ||
		!strings.Contains(text, "routes were inferred") || !strings.Contains(text, "Start with none") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if code, _, talk := command(t, "", "choose", "logs", "-o", "b.yaml"); code == 0 || !strings.Contains(talk, "no boundary is worth a cache") {
		t.Errorf("exit code %d: %s", code, talk)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--format", "elf"}, fault.ExitUsage, `there is no format "elf"`},
		{[]string{"--route", "articles"}, fault.ExitUsage, `--route "articles" is not a route`},
		{[]string{"--strict"}, fault.ExitFailed, "1 bad lines, and --strict was given"},
		{[]string{"--format", "har"}, fault.ExitFailed, "cannot read access.log: byte 5: the file is 203, { was expected"},
	} {
		code, _, talk := command(t, "", append([]string{"import", log, "-o", "x"}, c.args...)...)
		if _, err := os.Stat("x"); code != c.code || !strings.Contains(talk, c.want) || err == nil {
			t.Errorf("%q: exit code %d, said %q", c.args, code, talk)
		}
	}
}
