package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const stepsRecord = `version: 1
topic: from v1 to v2
expected: ["run: test -s version"]
commands:
  deploy: ./deploy.sh
  health: {run: test -s version, timeout: 1s}
  verify: grep -q v2 version
  rollback: echo v1 >version
`

const configRecord = `version: 1
topic: the same on both
environments:
  staging: {dir: ., env_file: s.env}
  production: {dir: ., env_file: p.env}
config: [{env: TTL}, {command: cat version}, {env: SECRET, secret: true}]
`

// stepsFolder makes a folder with a record and other files, and makes it the current one.
func stepsFolder(t *testing.T, record string, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("changes", 0o755); err != nil {
		t.Fatal(err)
	}
	files["changes/2026-11-22-it.yaml"], files["version"] = record, "v1\n"
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// changeSteps runs a demarc change command in the folder and returns what it printed and its exit code.
func changeSteps(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk bytes.Buffer
	code = Main(append([]string{"change"}, args...), strings.NewReader(""), &out, &talk)
	return out.String(), talk.String(), code
}

func TestChangeStepsAsJSON(t *testing.T) {
	stepsFolder(t, stepsRecord, map[string]string{"deploy.sh": "#!/bin/sh\necho v2 >version\n"})
	var plan struct {
		Schema string
		Plan   []struct{ Name, Command string }
	}
	out, talk, code := changeSteps(t, "rehearse", "--dry-run", "--json")
	if err := json.Unmarshal([]byte(out), &plan); err != nil || code != 0 || plan.Schema != "demarc.change.run/1" || len(plan.Plan) < 8 {
		t.Fatalf("%v, exit code %d\n%s%s", err, code, out, talk)
	}
	if _, err := os.Stat(".demarc"); err == nil {
		t.Error("a dry run wrote something")
	}

	type ran struct {
		Schema, Record, Kind, State, Environment string
		Commands                                 map[string]string
		Steps                                    []struct {
			Name, State string
			ExitCode    *int `json:"exit_code"`
			Checks      []struct{ Check, State string }
		}
	}
	step := func(want int, args ...string) ran {
		t.Helper()
		out, talk, code := changeSteps(t, append(args, "--json")...)
		var r ran
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != want || r.Schema != "demarc.change.run/1" || r.Record != "changes/2026-11-22-it.yaml" {
			t.Fatalf("%v: %v, exit code %d\n%s%s", args, err, code, out, talk)
		}
		return r
	}
	if r := step(0, "rehearse"); r.Kind != "rehearse" || r.State != "passed" || r.Environment != "staging" || r.Commands["deploy"] == "" {
		t.Errorf("%+v", r)
	}
	if r := step(0, "ship", "--watch", "0"); r.Kind != "ship" || r.Environment != "production" || r.Steps[len(r.Steps)-2].State != "skipped" {
		t.Errorf("%+v", r)
	}
	if r := step(0, "verify"); r.Kind != "verify" || len(r.Steps) != 3 || r.Steps[2].Checks[0].State != "passed" {
		t.Errorf("%+v", r)
	}
	if r := step(0, "rollback"); r.Kind != "rollback" || *r.Steps[0].ExitCode != 0 {
		t.Errorf("%+v", r)
	}
}

func TestChangeStepsOnProduction(t *testing.T) {
	log := filepath.Join(t.TempDir(), "service.log")
	stepsFolder(t, stepsRecord, map[string]string{"deploy.sh": "#!/bin/sh\necho v2 >version\n", log: "ERROR old trouble with 7 things\n"})
	must := func(want int, args ...string) string {
		t.Helper()
		out, talk, code := changeSteps(t, args...)
		if code != want {
			t.Fatalf("%v: exit code %d, not %d\n%s%s", args, code, want, out, talk)
		}
		return out + talk
	}
	must(0, "rehearse")
	if said := must(0, "ship", "--watch", "1s", "--log", log); !strings.Contains(said, "errors: 0") {
		t.Errorf("the log is not mentioned:\n%s", said)
	}
	if said := must(0, "verify"); !strings.Contains(said, "run: test -s version: passed") || !strings.Contains(said, "2026-11-22-it: still holds") {
		t.Errorf("verify says\n%s", said)
	}
	if err := os.WriteFile("changes/2026-11-22-it.yaml", []byte("version: 1\ntopic: [\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := must(0, "rollback"); !strings.Contains(said, "going on with the record as it was when it was shipped") {
		t.Errorf("rollback over a damaged record says\n%s", said)
	}
	must(2, "verify")
	if err := os.WriteFile("changes/2026-11-22-it.yaml", []byte(stepsRecord), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := must(10, "verify"); !strings.Contains(said, "2026-11-22-it: no longer holds") {
		t.Errorf("verify says\n%s", said)
	}
	if said := must(0, "rollback", "--on", "staging", "--verbose"); !strings.Contains(said, "staging is healthy") {
		t.Errorf("rollback says\n%s", said)
	}
	must(2, "rollback", "--on", "somewhere")
	must(2, "verify", "--last", "soon")

	// An error that the log did not have before the deploy, written by the deploy itself, fails the watch.
	loud := "#!/bin/sh\necho v2 >version\nif [ $DEMARC_ENVIRONMENT = production ]; then\n" +
		"printf 'ERROR old trouble with 9 things\\nERROR new trouble with 3 things\\n' >>" + log + "\nfi\n"
	if err := os.WriteFile("deploy.sh", []byte(loud), 0o755); err != nil {
		t.Fatal(err)
	}
	if said := must(1, "ship", "--watch", "1s"); !strings.Contains(said, "changed since the rehearsal") || !strings.Contains(said, "deploy ./deploy.sh") {
		t.Errorf("ship says\n%s", said)
	}
	must(0, "rehearse")
	if said := must(10, "ship", "--watch", "2s", "--log", log); !strings.Contains(said, "kinds of errors that it did not have before: 1") || !strings.Contains(said, "try:      demarc change rollback 2026-11-22-it") {
		t.Errorf("ship says\n%s", said)
	}
}

func TestChangeConfigCommand(t *testing.T) {
	stepsFolder(t, configRecord, map[string]string{"s.env": "TTL=60\nSECRET=geheim-a\n", "p.env": "TTL=300\nSECRET=geheim-b\n"})
	out, talk, code := changeSteps(t, "config", "--json")
	var c struct {
		Schema, State string
		Settings      []struct{ Name, State, Staging, Production string }
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil || code != 10 || c.Schema != "demarc.change.config/1" || len(c.Settings) != 3 {
		t.Fatalf("%v, exit code %d\n%s%s", err, code, out, talk)
	}
	if s := c.Settings[2]; s.State != "failed" || !strings.HasPrefix(s.Staging, "keyed hash ") || s.Staging == s.Production || strings.Contains(out+talk, "geheim") {
		t.Errorf("the secret: %+v\n%s%s", s, out, talk)
	}
	if _, talk, code := changeSteps(t, "config", "--copy", "TTL"); code != 2 || !strings.Contains(talk, "standard input is no terminal") || !strings.Contains(talk, "--yes") {
		t.Errorf("without an answer: exit code %d\n%s", code, talk)
	}
	if out, talk, code := changeSteps(t, "config", "--copy", "TTL", "--yes"); code != 10 || !strings.Contains(out, "env TTL (copied to staging)") {
		t.Errorf("exit code %d\n%s%s", code, out, talk)
	}
	if data, _ := os.ReadFile("s.env"); string(data) != "TTL=300\nSECRET=geheim-a\n" {
		t.Errorf("copied: %s", data)
	}
}

// TestShipWatchesTheRecordsHealth: the watch asks what the step health asked. An address that is only a base for commands, and
// answers nothing itself, says nothing about the health.
func TestShipWatchesTheRecordsHealth(t *testing.T) {
	record := stepsRecord + "environments:\n  staging: {url: 'http://127.0.0.1:1'}\n  production: {url: 'http://127.0.0.1:1', env: {NEEDED: version}}\n"
	record = strings.Replace(record, "{run: test -s version,", "{run: 'test -s ${NEEDED:-version} && test ! -e sick',", 1)
	stepsFolder(t, record, map[string]string{"deploy.sh": "#!/bin/sh\necho v2 >version\n"})
	for _, args := range [][]string{{"rehearse"}, {"ship", "--watch", "1s"}} {
		if out, talk, code := changeSteps(t, args...); code != 0 {
			t.Fatalf("%v: exit code %d\n%s%s", args, code, out, talk)
		}
	}
	sicken := "#!/bin/sh\necho v2 >version\n(sleep 1; touch sick) >/dev/null 2>&1 &\n"
	if err := os.WriteFile("deploy.sh", []byte(sicken), 0o755); err != nil {
		t.Fatal(err)
	}
	out, talk, code := changeSteps(t, "ship", "--watch", "6s", "--unrehearsed")
	if code != 10 || !strings.Contains(out+talk, "health: test -s ${NEEDED:-version}") {
		t.Errorf("a service that falls ill after the deploy: exit code %d\n%s%s", code, out, talk)
	}
}
