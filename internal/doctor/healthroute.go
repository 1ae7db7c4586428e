package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// Lines add a health route to a service.
type Lines struct {
	Framework string `json:"framework"`
	Code      string `json:"code"`
}

// Additions are the lines for each framework: what answers must not ask a database, so that it says whether the process
// serves, and is cheap.
var Additions = []Lines{
	{"FastAPI", "@app.get(\"/health\")\nasync def health() -> dict:\n    \"\"\"Whether this process serves requests.\"\"\"\n    return {\"ok\": True}\n"},
	{"Flask", "@app.get(\"/health\")\ndef health() -> dict:\n    \"\"\"Whether this process serves requests.\"\"\"\n    return {\"ok\": True}\n"},
	{"Django", "from django.http import JsonResponse  # in urls.py\nfrom django.urls import path\n\n" +
		"urlpatterns += [path(\"health\", lambda request: JsonResponse({\"ok\": True}))]\n"},
}

// Names of the last segment of a health route.
var healthNames = []string{
	"health", "healthz", "healthcheck", "health-check", "health_check", "ready", "readyz", "readiness", "live", "livez", "liveness", "alive", "ping", "status",
	"heartbeat", "__heartbeat__", "__lbheartbeat__", "up",
}

// isHealth says whether a route, as the report names it, is a health route.
func isHealth(route string) bool {
	method, path, ok := strings.Cut(route, " ")
	if !ok || method != "GET" && method != "HEAD" {
		return false
	}
	segments := strings.Split(strings.Trim(strings.ToLower(path), "/^$"), "/")
	last := strings.TrimPrefix(segments[len(segments)-1], "_")
	if slices.Contains(healthNames, last) || slices.Contains(healthNames, "_"+last) {
		return true
	}
	// /health/live, /api/healthz/db; not /health/{id}
	if len(segments) < 2 || strings.ContainsAny(last, "{<(") {
		return false
	}
	group := segments[len(segments)-2]
	return strings.HasPrefix(group, "health") && slices.Contains(healthNames, group)
}

// healthRoute finds the service's own, among the routes that were asked, or shows what adds one.
func (x *examination) healthRoute(rep *baseline.Report) {
	h := &x.HealthRoute
	if len(rep.Routes) == 0 {
		return
	}
	h.Known = true
	for _, r := range rep.Routes {
		if isHealth(r.Route) && r.Status.C2xx+r.Status.C3xx+r.Status.C5xx > 0 {
			h.Route = r.Route
			state, remedy := OK, ""
			if r.Errors > 0 {
				state, remedy = Note, "demarc report shows the errors"
			}
			x.add("health-route", state, fmt.Sprintf("%s is the service's health route: %s, %s, %.3g queries each", r.Route, many(r.Requests, "request", "requests"), many(r.Errors, "error", "errors"),
				r.QueriesPerRequest), remedy)
			return
		}
	}
	var code []string
	for _, l := range x.frameworks() {
		h.Add = append(h.Add, l)
		code = append(code, l.Framework+":\n"+strings.TrimRight(l.Code, "\n"))
	}
	x.add("health-route", Note, "no health route was asked: the service has none, or nobody uses it", "if it has none, these lines add one\n"+
		strings.Join(code, "\n"))
}

// frameworks are those that the service may be written in, by the hooks that were installed; all, where none tells. Hook
// frameworks tells nothing: it also waits for logging, which every service imports.
func (x *examination) frameworks() []Lines {
	on := func(name string) bool {
		return slices.ContainsFunc(x.Hooks, func(h HookState) bool { return h.Name == name && h.States["on"] > 0 })
	}
	// Django cannot be imported without the two modules that these wait for, and Starlette, which FastAPI stands on, not
	// without the one of background. gunicorn brings wsgi whatever it serves, and a server of ASGI asgi.
	django := on("django_db") || on("django_cache")
	starlette := on("background") || on("asgi") && !django
	flask := on("wsgi") && !django
	var list []Lines
	for i, may := range []bool{starlette, flask, django} {
		if may {
			list = append(list, Additions[i])
		}
	}
	if list == nil {
		return Additions
	}
	return list
}
