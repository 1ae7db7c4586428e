package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// python runs a script with the analysis libraries in dir and returns what it prints.
func python(t *testing.T, dir, script string) string {
	t.Helper()
	interpreter := os.Getenv("DEMARC_TEST_ANALYSIS_PYTHON")
	if interpreter == "" {
		t.Fatal("DEMARC_TEST_ANALYSIS_PYTHON is not set: run make test, which prepares a Python with duckdb, pandas and pyarrow")
	}
	cmd := exec.Command(interpreter, "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEMARC=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return string(out)
}

// export writes events to a capture and that to tables; it returns the directory above them.
func export(t *testing.T, events []event.Event) string {
	t.Helper()
	r, err := Open(write(t, events, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tables, err := ExportParquet(context.Background(), r, filepath.Join(dir, "tables"))
	if err != nil {
		t.Fatal(err)
	}
	var rows int64
	for _, table := range tables {
		rows += table.Rows
	}
	if rows != int64(len(events)) || len(tables) != 11 {
		t.Fatalf("%d rows in %d tables, want %d in 11", rows, len(tables), len(events))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "tables", "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	return dir
}

// TestManualExamples runs the examples of docs/parquet.md over generated traffic and compares their answers with the
// same figures counted here.
func TestManualExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/parquet.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```python\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 {
		t.Fatalf("docs/parquet.md has %d examples in Python, one for DuckDB and one for pandas were expected", len(blocks))
	}
	events := recordertest.NewTraffic(5).Take(40_000)
	dir := export(t, events)

	type route struct{ requests, queries int }
	routes, byTrace := map[string]*route{}, map[string]int{}
	gets, hits := 0, 0
	for i := range events {
		switch e := &events[i]; e.Type {
		case event.TypeQuery:
			byTrace[e.Trace]++
		case event.TypeRequest:
			name := e.Request.Method + " " + e.Request.Route
			if routes[name] == nil {
				routes[name] = &route{}
			}
			routes[name].requests++
			routes[name].queries += byTrace[e.Trace]
		case event.TypeCache:
			if e.Cache.Op == "get" {
				gets++
				if e.Cache.Hit.V {
					hits++
				}
			}
		}
	}
	out := python(t, dir, blocks[0][1]+`
for row in routes.itertuples(): print("ANSWER", row.route, row.requests, row.queries_per_request)
`)
	for name, r := range routes {
		want := fmt.Sprintf("ANSWER %s %d %v\n", name, r.requests, float64(int(float64(r.queries)/float64(r.requests)*100+0.5))/100)
		if !strings.Contains(out, want) {
			t.Errorf("DuckDB's answer lacks %q:\n%s", want, out)
		}
	}
	out = python(t, dir, blocks[1][1]+`
for row in families.itertuples(): print("ANSWER", row.Index, row.gets, row.hits)
`)
	if want := fmt.Sprintf("ANSWER conduit:article:{} %d %d\n", gets, hits); !strings.Contains(out, want) {
		t.Errorf("pandas' answer lacks %q:\n%s", want, out)
	}
}

// TestTablesHoldEverything compares each row of each table, as pyarrow reads it, with the event's JSON.
func TestTablesHoldEverything(t *testing.T) {
	lines := []string{
		`{"type":"request","at":1790000000000000000,"dur":0,"trace":"p.1","span":"p.2","parent":"p.3","service":"shop","version":"a1","version_from":"git","host":"h","pid":7,"seq":18446744073709551615,"kind":"http","method":"GET","route":"/a/{b}","target":"/a/1?x=é","status":200,"error":"E at m:f:1","principal":"-","vary":{"accept":"00000000000000ff","host":null},"body_hash":"ffffffffffffffff","body_hash_none":"too large","body_bytes":0,"request_bytes":-1,"headers":{"age":"5","cache-control":""},"test":"t","first_byte_dur":9223372036854775807,"disconnected":false,"request_cookie":true}`,
		`{"type":"request","at":1}`,
		`{"type":"query","at":2,"db":"sqlite","text":"SELECT 1","params":["0123456789abcdef",null],"param_names":["a",""],"rows":0,"pks":["0123456789abcdef"],"result_hash":"0000000000000001","txn":"p.9","role":"primary","many":2,"error":"x","code":"m:f:1"}`,
		`{"type":"txn","at":3,"op":"begin","db":"postgresql","txn":"p.9","xid":7,"lsn":18446744073709551615,"isolation":"READ COMMITTED","error":"e"}`,
		`{"type":"cache","at":4,"op":"set","layer":"shared","store":"s","key":"k","key_parts":{"id":"7"},"hit":false,"value_hash":"0000000000000001","value_form":"raw","value_kind":"value","bytes":1,"ttl_ms":0,"ttl_effective_ms":5,"tags":["a","b"],"tag":"t","pattern":"p*","removed":0,"count":3,"error":"e","txn":"x","fill_start":3,"code":"c"}`,
		`{"type":"call","at":5,"code":"m:f:1","args_hash":"0000000000000001","args":{"a":"0000000000000002"},"principal":"u","result_hash":"0000000000000003","bytes":4,"error":"e"}`,
		`{"type":"task","at":6,"op":"enqueue","id":"1","name":"n","queue":"q","error":"e"}`,
		`{"type":"process","at":7,"op":"start","ppid":1,"runtime":"CPython 3.11.7","program":"uvicorn"}`,
		`{"type":"change","at":8,"db":"postgresql","lsn":5,"xid":6,"table":"t","op":"update","pk":["0000000000000001"],"columns":["a"],"origin":"o"}`,
		`{"type":"mark","at":9,"name":"deploy","text":"v2","later":{"deep":[1,null]}}`,
		`{"type":"recorder","at":10,"recording":true,"dropped":1,"sampled":2,"rate":0.25,"hooks":{"asgi":"on"},"failures":{"asgi":2},"cost_ns":3}`,
		`{"type":"wormhole","at":11,"pid":3,"key":[1]}`,
	}
	var events []event.Event
	for _, line := range lines {
		e, err := event.ParseJSON([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	dir := export(t, events)
	out := python(t, dir, `
import glob, json, os
import pyarrow.parquet as pq
for path in sorted(glob.glob("tables/*.parquet")):
    kind = os.path.basename(path)[:-len(".parquet")]
    table = pq.read_table(path)
    table = table.set_column(0, "at", table["at"].cast("int64"))
    for row in table.to_pylist(maps_as_pydicts="strict"):
        line = {"type": kind, **{k: v for k, v in row.items() if v is not None}}
        line.update(json.loads(line.pop("extra", "{}")))
        print(json.dumps(line))
`)
	got := map[string]bool{}
	for line := range strings.Lines(out) {
		got[canonical(t, strings.TrimSpace(line))] = true
	}
	for _, line := range lines {
		if !got[canonical(t, line)] {
			t.Errorf("no row says %s; the rows are\n%s", line, out)
		}
	}
	if len(got) != len(lines) {
		t.Errorf("%d rows, %d events", len(got), len(lines))
	}
}

// canonical writes JSON with sorted names.
func canonical(t *testing.T, text string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExportFails(t *testing.T) {
	r, err := Open(write(t, recordertest.NewTraffic(1).Take(10), Options{}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	if _, err := ExportParquet(ctx, r, dir); err == nil {
		t.Error("a cancelled export succeeded")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("a cancelled export left %v, %v", files, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ExportParquet(context.Background(), r, file); err == nil || !strings.Contains(err.Error(), "cannot export to") {
		t.Errorf("exporting into a file: %v", err)
	}
}
