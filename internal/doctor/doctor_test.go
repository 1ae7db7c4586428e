package doctor

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/engine"
)

func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv("DEMARC_TEST_PYTHON")
	if p == "" {
		t.Fatal("DEMARC_TEST_PYTHON is not set: it must name a Python interpreter, 3.9 or later (`make test` sets it)")
	}
	return p
}

// The list read from the file is the one that Python has.
func TestHooksAreThoseOfPython(t *testing.T) {
	root, err := filepath.Abs("../../python")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python(t), "-c", "import json, sys; sys.path.insert(0, sys.argv[1])\n"+
		"from _demarc.hooks import HOOKS\nprint(json.dumps([h[:2] for h in HOOKS]))", root)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pairs [][2]string
	if err := json.Unmarshal(out, &pairs); err != nil || len(pairs) < 10 {
		t.Fatal(err, string(out))
	}
	var want []Hook
	for _, p := range pairs {
		at := slices.IndexFunc(want, func(h Hook) bool { return h.Name == p[0] })
		if at < 0 {
			want = append(want, Hook{Name: p[0]})
			at = len(want) - 1
		}
		want[at].Modules = append(want[at].Modules, p[1])
	}
	if got := Hooks(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestIsHealth(t *testing.T) {
	for route, want := range map[string]bool{
		"GET /health": true, "GET /healthz/": true, "HEAD /ping": true, "GET /api/health": true, "GET /api/v1/status": true, "GET /health/ready": true,
		"GET /_health": true, "GET /__heartbeat__": true, "GET /up": true, "GET ^health/$": true, "GET /healthcheck": true,
		"GET /": false, "POST /health": false, "GET /articles": false, "GET /articles/health/{id}": false, "GET /healthcare/plans": false, "GET /api/healthz/db": true, "GET /healthy-food": false, "GET (no route)": false, "": false,
		"GET /orders/{status}": false, "GET /upload": false,
	} {
		if got := isHealth(route); got != want {
			t.Errorf("%s: %v", route, got)
		}
	}
}

func TestHealthRoute(t *testing.T) {
	report := func(route string, ok int64) *baseline.Report {
		return &baseline.Report{Routes: []baseline.Route{{Route: "GET /a", Requests: 5}, {Route: route, Requests: 3, Status: baseline.StatusCount{C2xx: ok, C4xx: 3 - ok}}}}
	}
	look := func(rep *baseline.Report, on ...string) HealthRoute {
		x := &examination{Report: &Report{}}
		for _, name := range on {
			x.Hooks = append(x.Hooks, HookState{Hook: Hook{Name: name}, States: map[string]int64{"on": 1}})
		}
		x.healthRoute(rep)
		return x.HealthRoute
	}
	if h := look(report("GET /api/healthz", 3)); h.Route != "GET /api/healthz" || h.Add != nil || !h.Known {
		t.Errorf("%+v", h)
	}
	if h := look(&baseline.Report{}); h.Known {
		t.Errorf("nothing was asked, but %+v", h)
	}
	// One that only ever answered 404 is none.
	for on, want := range map[string]string{"asgi": "FastAPI", "wsgi": "Flask", "asgi frameworks background": "FastAPI", "wsgi frameworks": "Flask",
		"asgi wsgi frameworks django_db django_cache": "Django", "wsgi django_db": "Django", "asgi django_cache": "Django",
		"asgi background django_db": "FastAPI Django", "asgi wsgi": "FastAPI Flask", "frameworks": "FastAPI Flask Django", "": "FastAPI Flask Django"} {
		var got []string
		for _, l := range look(report("GET /health", 0), strings.Fields(on)...).Add {
			got = append(got, l.Framework)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", on, got, want)
		}
	}
}

// The lines do what they are said to do, in the frameworks that they are for.
func TestHealthLinesWork(t *testing.T) {
	programs := map[string][2]string{
		"FastAPI": {"from fastapi import FastAPI\nfrom fastapi.testclient import TestClient\napp = FastAPI()\n",
			"r = TestClient(app).get('/health'); print(r.status_code, r.json())"},
		"Flask": {"from flask import Flask\napp = Flask(__name__)\n", "r = app.test_client().get('/health'); print(r.status_code, r.get_json())"},
		"Django": {"import django, json, sys\nfrom django.conf import settings\nsettings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'])\n" +
			"django.setup()\nurlpatterns = []\n",
			"from django.test import Client; r = Client().get('/health'); print(r.status_code, json.loads(r.content))"},
	}
	for _, l := range Additions {
		p, ok := programs[l.Framework]
		if !ok {
			t.Errorf("no program for %s", l.Framework)
			continue
		}
		if n := strings.Count(strings.ReplaceAll(l.Code, "\n\n", "\n"), "\n"); n > 4 {
			t.Errorf("%s: %d lines", l.Framework, n)
		}
		out, err := exec.CommandContext(t.Context(), python(t), "-c", p[0]+l.Code+p[1]).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "200 {'ok': True}\n") {
			t.Errorf("%s: %v\n%s", l.Framework, err, out)
		}
	}
}

// What is asked of a demarc that runs is said in words, each trouble with its own.
func TestRefused(t *testing.T) {
	for why, want := range map[string]string{"wrong token": "demarc inject again", "wire version 9 is not known here": "demarc inject again",
		"keys are kept hashed here": "DEMARC_KEYS=hashed", "": "look at the output of demarc collect"} {
		x := &examination{Report: &Report{}}
		x.refused(engine.Health{Refused: 2, LastRefusal: why}, engine.RunFile{Command: "collect"})
		if f := x.Findings[0]; f.State != Wrong || !strings.Contains(f.Remedy, want) || !strings.HasPrefix(f.Says, "2 connections were refused") {
			t.Errorf("%q: %+v", why, f)
		}
	}
}
