package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/doctor"
)

// examined runs demarc doctor --json in dir.
func examined(t *testing.T, dir string, code int, env []string, args ...string) doctor.Report {
	t.Helper()
	p := demarc(t, dir, env, append([]string{"doctor", "--json"}, args...)...)
	if got := p.run(); got != code {
		t.Errorf("exit code %d, want %d\n%s%s", got, code, p.stdout.String(), p.stderr.String())
	}
	var r doctor.Report
	if err := json.Unmarshal([]byte(p.stdout.String()), &r); err != nil || r.Schema != "demarc.doctor/1" || r.OK != (code == 0) || p.stderr.String() != "" {
		t.Fatalf("%v\n%s\n%s", err, p.stdout.String(), p.stderr.String())
	}
	return r
}

// finds fails where no finding of that name and state says the text.
func finds(t *testing.T, r doctor.Report, id string, state doctor.State, says string) {
	t.Helper()
	for _, f := range r.Findings {
		if f.ID == id && f.State == state && strings.Contains(f.Says+"\n"+f.Remedy, says) {
			if state == doctor.Wrong && f.Remedy == "" {
				t.Errorf("%s has no remedy: %s", id, f.Says)
			}
			return
		}
	}
	t.Errorf("no %s %q that says %q in\n%+v", state, id, says, r.Findings)
}

// pythonFirst is a PATH on which python3 is the interpreter of the tests.
func pythonFirst(t *testing.T) string {
	t.Helper()
	return "PATH=" + filepath.Dir(python(t)) + ":" + os.Getenv("PATH")
}

func TestDoctorInAFreshFolder(t *testing.T) {
	dir := t.TempDir()
	r := examined(t, dir, 0, []string{pythonFirst(t)})
	finds(t, r, "config", doctor.OK, "the defaults hold")
	finds(t, r, "folder", doctor.OK, "can be written to")
	finds(t, r, "python", doctor.OK, "is Python 3.")
	finds(t, r, "running", doctor.OK, "no demarc runs")
	finds(t, r, "capture", doctor.Note, "demarc run -- ")
	if len(r.Hooks) < 10 || r.Running != nil || r.Capture != "" || r.HealthRoute.Known {
		t.Errorf("%+v", r)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("doctor left %v, %v", entries, err)
	}
	p := demarc(t, dir, []string{pythonFirst(t)}, "doctor")
	if code := p.run(); code != 0 || !strings.Contains(p.stdout.String(), "nothing is wrong") || strings.Contains(p.stdout.String(), "\x1b") {
		t.Errorf("exit code %d\n%s", code, p.stdout.String())
	}
	p = demarc(t, dir, nil, "doctor", "--hooks")
	if code := p.run(); code != 0 || !strings.Contains(p.stdout.String(), "starlette.applications") || strings.Count(p.stdout.String(), "\n") != len(r.Hooks)+1 {
		t.Errorf("exit code %d\n%s", code, p.stdout.String())
	}
}

// Each thing that is wrong with a folder or an environment is found, alone.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]os.FileMode
		text  string
		env   []string
		id    string
		says  string
	}{
		{name: "off", env: []string{"DEMARC=off"}, id: "environment", says: "DEMARC=off is set"},
		{name: "hooks", env: []string{"DEMARC_HOOKS=-asgi,-nonsense"}, id: "environment", says: "hooks that there are not: nonsense"},
		{name: "token file", env: []string{"DEMARC_TOKEN_FILE=/no/such/token"}, id: "environment", says: "DEMARC_TOKEN_FILE=/no/such/token cannot be read: no such file"},
		{name: "open key", files: map[string]os.FileMode{".demarc/key": 0o644}, text: strings.Repeat("ab", 32), id: "key", says: "chmod 600 .demarc/key"},
		{name: "bad key", files: map[string]os.FileMode{".demarc/key": 0o600}, text: "abc", id: "key", says: "damaged"},
		{name: "bad token", files: map[string]os.FileMode{".demarc/token": 0o600}, text: "abc", id: "token", says: "damaged"},
		{name: "open kit", files: map[string]os.FileMode{".demarc/inject/key": 0o444}, text: strings.Repeat("ab", 32), id: "inject", says: "chmod 700"},
		{name: "in the way", files: map[string]os.FileMode{".demarc": 0o600}, id: "folder", says: ".demarc is no folder"},
		{name: "configuration", files: map[string]os.FileMode{"demarc.yaml": 0o600}, text: "keep: { size: lots }", id: "config", says: "cannot read the configuration demarc.yaml"},
		{name: "run file", files: map[string]os.FileMode{".demarc/run.json": 0o600}, text: "{", id: "running", says: "cannot read the run file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, mode := range tc.files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(write(t, dir, name, tc.text), mode); err != nil {
					t.Fatal(err)
				}
			}
			r := examined(t, dir, 1, append(tc.env, pythonFirst(t)))
			finds(t, r, tc.id, doctor.Wrong, tc.says)
			if n := len(slices.DeleteFunc(r.Findings, func(f doctor.Finding) bool { return f.State != doctor.Wrong })); n != 1 {
				t.Errorf("%d things are wrong", n)
			}
		})
	}
}

func TestDoctorReadOnlyFolder(t *testing.T) {
	p := asNobody(t, "doctor")
	if code := p.run(); code != 1 || !strings.Contains(p.stdout.String(), "cannot write into .: permission denied") {
		t.Errorf("exit code %d\n%s%s", code, p.stdout.String(), p.stderr.String())
	}
}

// oldPython is an interpreter below 3.9: one on PATH, or kept by pyenv, or none.
func oldPython() string {
	for _, v := range []string{"3.8", "3.7", "3.6", "2.7"} {
		if path, err := exec.LookPath("python" + v); err == nil && exec.Command(path, "-c", "").Run() == nil {
			return path
		}
		if list, err := filepath.Glob(filepath.Join(os.Getenv("PYENV_ROOT"), "versions", v+".*", "bin", "python"+v)); err == nil && len(list) > 0 {
			return list[0]
		}
	}
	return ""
}

// An interpreter that is too old is found by doctor, and said by run, whose service works as before.
func TestTooOldPython(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if old := oldPython(); old != "" {
		if err := os.Symlink(old, filepath.Join(bin, "python3")); err != nil {
			t.Fatal(err)
		}
	} else {
		// None here: one that runs what it is given as if it were so old.
		write(t, bin, "python3", "#!/bin/sh\nexec "+python(t)+" -S -c 'import os, sys; sys.version_info = (3, 8, 1)\n"+
			"for d in os.environ.get(\"PYTHONPATH\", \"\").split(\":\"):\n    f = os.path.join(d, \"sitecustomize.py\")\n"+
			"    if os.path.exists(f): exec(compile(open(f).read(), f, \"exec\"), {\"__name__\": \"sitecustomize\", \"__file__\": f})\n"+
			"exec(sys.argv[2])' \"$@\"\n")
	}
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
	finds(t, examined(t, dir, 1, env), "python", doctor.Wrong, "the recorder needs 3.9 or later")
	p := demarc(t, dir, env, "run", "--", "python3", "-c", "print('ran')")
	if code := p.run(); code != 0 || p.stdout.String() != "ran\n" {
		t.Errorf("exit code %d, stdout %q", code, p.stdout.String())
	}
	p.says("is too old: the recorder needs 3.9 or later", "expected: ", "retry: ", "try: ")
}

func TestDoctorSitecustomize(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "sitecustomize.py", "")
	r := examined(t, dir, 0, []string{pythonFirst(t), "PYTHONPATH=" + dir})
	finds(t, r, "pythonpath", doctor.Note, filepath.Join(dir, "sitecustomize.py")+" is on PYTHONPATH")
	ran(t, dir, 0, "inject", "env")
	r = examined(t, dir, 0, []string{pythonFirst(t), "PYTHONPATH=" + filepath.Join(dir, ".demarc", "inject", "recorder", "boot")})
	finds(t, r, "pythonpath", doctor.Note, "loads demarc's recorder")
}

// doctor beside a running service, and after it.
func TestDoctorOfARunningService(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", service)
	env := []string{pythonFirst(t)}
	p := demarc(t, dir, nil, "run", "--no-report", "--", python(t), "app.py").start()
	url := "http://127.0.0.1:" + p.port()
	health(t, p.runFile().URL, 1)
	get(t, url+"/x")
	health(t, p.runFile().URL, 3)
	// What a recorder says of its hooks is in the capture after two seconds at most, and so are the requests.
	on := func(r doctor.Report) bool {
		at := slices.IndexFunc(r.Hooks, func(h doctor.HookState) bool { return h.Name == "wsgi" })
		return at >= 0 && r.Hooks[at].States["on"] == 1
	}
	r := examined(t, dir, 0, env)
	for end := time.Now().Add(patience); (!on(r) || !r.HealthRoute.Known) && time.Now().Before(end); r = examined(t, dir, 0, env) {
		time.Sleep(200 * time.Millisecond)
	}
	finds(t, r, "running", doctor.OK, "demarc run (process ")
	if r.Running == nil || r.Running.Received < 3 || r.Running.Connections != 1 || r.Capture != r.Running.Capture {
		t.Errorf("%+v", r.Running)
	}
	if !on(r) || len(r.Processes) != 1 || !strings.HasPrefix(r.Processes[0].Runtime, "cpython 3.") {
		t.Errorf("%+v %+v", r.Hooks, r.Processes)
	}
	finds(t, r, "missing.cache", doctor.Open, "no cache operation was seen")
	finds(t, r, "health-route", doctor.Note, "Flask:\n@app.get(\"/health\")")
	ran(t, dir, 0, "off")
	finds(t, examined(t, dir, 1, env), "recording", doctor.Wrong, "demarc on")
	ran(t, dir, 0, "on")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.wait()
	r = examined(t, dir, 0, env)
	finds(t, r, "running", doctor.OK, "no demarc runs")
	finds(t, r, "processes", doctor.OK, "1 process of the service seen")

	// The same capture from a newer version.
	manifests, err := filepath.Glob(filepath.Join(dir, r.Capture, "manifest.json"))
	if err != nil || len(manifests) != 1 {
		t.Fatal(manifests, err)
	}
	data, err := os.ReadFile(manifests[0])
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(data, []byte(`"version": 1`), []byte(`"version": 99`), 1)
	if bytes.Equal(newer, data) {
		t.Fatalf("no version in %s", data)
	}
	if err := os.WriteFile(manifests[0], newer, 0o600); err != nil {
		t.Fatal(err)
	}
	finds(t, examined(t, dir, 1, env, r.Capture), "capture", doctor.Wrong, "99")
	if code := demarc(t, dir, nil, "report", r.Capture).run(); code != 20 {
		t.Errorf("report of a newer capture: exit code %d", code)
	}
	finds(t, examined(t, dir, 1, env, "no-such-capture"), "capture", doctor.Wrong, "no-such-capture")
}

// A collector that nobody has found is something to look at.
func TestDoctorOfALonelyCollector(t *testing.T) {
	dir := t.TempDir()
	col := collector(t, dir, freePort(t))
	r := examined(t, dir, 1, []string{pythonFirst(t)})
	finds(t, r, "recorders", doctor.Wrong, "python -m _demarc.check")
	if err := col.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	col.wait()
}

// What spans lack is said with what gets it, and the use of the recorder is proposed.
func TestDoctorOfSpans(t *testing.T) {
	dir := t.TempDir()
	spans, err := filepath.Abs(filepath.Join("..", "otlp", "testdata", "new.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	ran(t, dir, 0, "import", spans, "-o", ".demarc/spans")
	r := examined(t, dir, 0, []string{pythonFirst(t)}, ".demarc/spans")
	finds(t, r, "hooks", doctor.Note, "no recorder was at work")
	finds(t, r, "missing.request.body_hash", doctor.Open, "demarc run")
	if len(r.Missing) < 5 {
		t.Errorf("%+v", r.Missing)
	}
}

// The lines for a health route are of the framework that the service is written in.
func TestDoctorKnowsTheFramework(t *testing.T) {
	for name, tc := range map[string]struct{ program, want string }{
		"FastAPI": {`
from fastapi import FastAPI
from fastapi.testclient import TestClient
app = FastAPI()
@app.get("/a")
async def a():
    return {}
TestClient(app).get("/a")
`, "FastAPI"},
		"Starlette": {`
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
async def a(request):
    return JSONResponse({})
TestClient(Starlette(routes=[Route("/a", a)])).get("/a")
`, "FastAPI"},
		"Flask": {`
from flask import Flask
app = Flask("app")
@app.get("/a")
def a():
    return {}
app.test_client().get("/a").close()
`, "Flask"},
		"Django": {`
import django
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
django.setup()
from django.http import JsonResponse
from django.test import Client
from django.urls import path
urlpatterns = [path("a", lambda request: JsonResponse({}))]
Client().get("/a")
`, "Django"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "app.py", tc.program)
			p := demarc(t, dir, nil, "run", "--no-report", "--", python(t), "app.py")
			if code := p.run(); code != 0 {
				t.Fatal(p.stderr.String())
			}
			r := examined(t, dir, 0, []string{pythonFirst(t)})
			var got []string
			for _, l := range r.HealthRoute.Add {
				got = append(got, l.Framework)
			}
			if !r.HealthRoute.Known || strings.Join(got, " ") != tc.want {
				t.Errorf("%v, want %s", got, tc.want)
			}
		})
	}
}
