package endtoend

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// auditJSON is what these tests read of demarc.audit/1.
type auditJSON struct {
	Schema string
	Looked struct {
		Requests int64
		Files    int
		LogLines int64 `json:"log_lines"`
		Servers  int
		Notes    int
	}
	Items []struct {
		ID, State, Severity, Says, Missing string
		Places                             []struct {
			Where, Route, Says string
		}
	}
	Settings []struct {
		File, Name string
		Line       int
		Hidden     bool
	}
	Warnings []string
}

// names says whether a failed item has evidence at a place, which may be the beginning of one, that says something.
func (a *auditJSON) names(item, where, says string) bool {
	for _, x := range a.Items {
		if x.ID != item || x.State != "fail" {
			continue
		}
		for _, p := range x.Places {
			if strings.HasPrefix(p.Where, where) && strings.Contains(p.Says, says) {
				return true
			}
		}
	}
	return false
}

// audited is a copy of the example that runs under observation, with its log in a file.
type audited struct {
	*service
	copy, log string
}

// runCopy seeds and starts a copy of the example to which change was done, with options for uvicorn, and asks it what its traffic driver asks.
func runCopy(t *testing.T, change func(copy string), options ...string) *audited {
	t.Helper()
	python := need(t, "DEMARC_TEST_PYTHON")
	from, copied := examples(t, "conduit"), t.TempDir()
	for _, name := range []string{"conduit", "compose.yaml", "Dockerfile", "demarc.yaml", "pyproject.toml", "README.md"} {
		var err error
		if st, serr := os.Stat(filepath.Join(from, name)); serr != nil {
			t.Fatal(serr)
		} else if st.IsDir() {
			err = os.CopyFS(filepath.Join(copied, name), os.DirFS(filepath.Join(from, name)))
		} else {
			err = copyFile(filepath.Join(from, name), filepath.Join(copied, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	change(copied)
	in := func(args ...string) {
		t.Helper()
		cmd := exec.Command(python, args...)
		cmd.Dir, cmd.Env = copied, append(cleanEnv(), "PYTHONDONTWRITEBYTECODE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	in("-m", "conduit.seed", "--yes", "--size", "60")
	a := &audited{copy: copied, log: filepath.Join(t.TempDir(), "service.log")}
	command := "exec " + python + " -m uvicorn --port %d " + strings.Join(options, " ") + " conduit.app:app >" + a.log + " 2>&1"
	a.service = observe(t, copied, "/health", []string{"PYTHONDONTWRITEBYTECODE=1"}, nil, []string{"sh", "-c", command})
	t.Cleanup(func() { a.stop() }) // a service does not end with a demarc that is killed
	// Answers of a flawed copy differ from what is expected, which the driver says and goes on.
	in("-m", "conduit.traffic", "--base", a.base, "--requests", "150", "--size", "60", "--concurrency", "2")
	return a
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// audit runs demarc audit over all that the copy has, and probes it while it runs.
func (a *audited) audit(env ...string) *auditJSON {
	a.t.Helper()
	a.ask("GET", "/health?last=1", "")
	wait(a.t, "the last request in the capture", func() bool {
		return slices.ContainsFunc(a.events(), func(e map[string]any) bool { return e["target"] == "/health?last=1" })
	})
	cmd := exec.Command(demarc(a.t), "audit", "--json", "--project", a.copy, "--log", a.log, "--probe", a.base, a.capture)
	cmd.Dir, cmd.Env = a.dir, append(cleanEnv(), env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var r auditJSON
	if jerr := json.Unmarshal(out, &r); err != nil || jerr != nil || r.Schema != "demarc.audit/1" {
		a.t.Fatalf("audit: %v, %v\n%s\n%s", err, jerr, errs.String(), out)
	}
	if !strings.Contains(errs.String(), "oversized requests (16 MiB each") {
		a.t.Errorf("the probe was not announced:\n%s", errs.String())
	}
	return &r
}

// ask sends a request with headers given as NAME, VALUE, … and returns status and body.
func (a *audited) ask(method, path, body string, headers ...string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// token registers somebody and returns the header that names them.
func (a *audited) token(name string) string {
	a.t.Helper()
	status, text := a.ask("POST", "/api/users", fmt.Sprintf(`{"user":{"username":%q,"email":"%s@conduit.example","password":"conduit-demo"}}`, name, name))
	var answer struct{ User struct{ Token string } }
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 201 || answer.User.Token == "" {
		a.t.Fatalf("register: %d %s", status, text)
	}
	return "Token " + answer.User.Token
}

// redisServer starts a Redis with these settings on a free port.
func redisServer(t *testing.T, settings string) (port int) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("the test needs redis-server: %v", err)
	}
	port = freePort(t)
	cmd := exec.Command(program, "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("port %d\nsave \"\"\nappendonly no\ndir %s\n%s\n", port, t.TempDir(), settings))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	wait(t, "Redis", func() bool { return exec.Command("redis-cli", "-p", strconv.Itoa(port), "PING").Run() == nil })
	return port
}

// Nothing of the clean example fails, and what could be looked at is not left unseen.
func TestAuditOfTheExample(t *testing.T) {
	a := runCopy(t, func(string) {})
	me := a.token("auditor")
	a.ask("GET", "/api/user", "", "Authorization", me)
	port := redisServer(t, "bind 127.0.0.1\nrequirepass swordfish-1")
	r := a.audit(fmt.Sprintf("CACHE_URL=redis://:swordfish-1@127.0.0.1:%d/0", port))
	unseen := map[string]bool{}
	for _, x := range r.Items {
		switch x.State {
		case "fail":
			t.Errorf("%s %s fails: %+v", x.Severity, x.ID, x.Places)
		case "not seen":
			unseen[x.ID] = true
			if x.Missing == "" {
				t.Errorf("%s: nothing is named as missing", x.ID)
			}
		}
	}
	// The example keeps no secrets in files, has no notes, sends no ETag, redirects nobody and never answers 429 or 503.
	for _, id := range []string{"secret-files", "note-secrets", "outer-etag", "cached-redirects", "retry-after"} {
		delete(unseen, id)
	}
	if len(unseen) > 0 {
		t.Errorf("not seen: %v", unseen)
	}
	if r.Looked.Servers != 1 || r.Looked.Requests < 150 || r.Looked.LogLines < 100 || len(r.Warnings) > 0 {
		t.Errorf("looked at %+v; warnings: %v", r.Looked, r.Warnings)
	}
	for _, s := range r.Settings {
		if s.Line == 0 || s.Hidden {
			t.Errorf("setting %+v", s)
		}
	}
}

// flaw is one thing that goes wrong, and where the audit must find it.
type flaw struct {
	name           string
	file, old, new string      // an edit of the copy; without old, new is put at the end of the file, which may be new
	mode           os.FileMode // of the file, where not 0
	item           string
	mark           string // text of the line that the audit must name, in file
	where          string // or the place itself, such as a route
	says           string // part of what is said there, where several flaws meet
}

// Tokens are put together here, so that they stand nowhere as they are.
var (
	awsKey    = "AKIA" + "Q3EGRT7UZ5YWV2KL"
	stripeKey = "sk_" + "live_" + "9aK2mX7qPz4Lw8Rt5Yb3Nc6V"
)

func flaws() []flaw {
	py := func(s string) string { return strings.TrimPrefix(s, "\n") }
	return []flaw{
		// Permissions.
		{name: "a capture that others can read", item: "capture-files", where: "", says: "capture has mode 0755"},
		{name: "a key that others can read", item: "key-file", where: ".demarc/key", says: "0644"},
		{name: "a run file that others can read", item: "sockets", where: ".demarc/run", says: "0644"},
		{name: "a record that everybody can change", file: "changes/2026-01-02-tags.yaml", new: "version: 1\ntopic: Tags\n", mode: 0o666, item: "change-records",
			where: "changes/2026-01-02-tags.yaml", says: "0666"},
		{name: "a .env that others can read, and git keeps", file: ".env", new: "CONDUIT_SECRET=p8Zr4vQm1Lx7Tn3Kd9Wb\n", mode: 0o644, item: "secret-files", where: ".env", says: "0644"},
		{name: "the secret in it", item: "config-secrets", file: ".env", mark: "CONDUIT_SECRET"},
		{name: "a Redis that listens on every address", item: "cache-network", where: "127.0.0.1:", says: "bind 0.0.0.0"},
		{name: "a Redis without a password", item: "cache-password", where: "127.0.0.1:", says: "without a password"},
		{name: "a Redis of compose without a password, published", file: "compose.yaml", old: "\nvolumes:\n",
			new: "\n  sessions:\n    image: redis:7\n    ports:\n      - \"6379:6379\"\n\nvolumes:\n", item: "cache-published", mark: `"6379:6379"`},
		{name: "the same", item: "cache-password", file: "compose.yaml", mark: "image: redis:7\n    ports", says: "sessions"},
		// Secrets.
		{name: "a key in the code", file: "conduit/settings.py", new: "\nSECRET_KEY = \"k3Jf9aZq82mLx0pT7vW\"\n", item: "config-secrets", mark: "SECRET_KEY = "},
		{name: "a cloud key in the code", file: "conduit/db.py", new: "\nBACKUP_ACCOUNT = \"" + awsKey + "\"\n", item: "config-secrets", mark: "BACKUP_ACCOUNT", says: "AWS"},
		{name: "a password in an address", file: "pyproject.toml", new: "\n[tool.deploy]\ndatabase = \"postgresql://app:hunter2hunter2@db/conduit\"\n", item: "config-secrets",
			mark: "hunter2", says: "password in an address"},
		{name: "a secret in compose", file: "compose.yaml", old: "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}\n      POSTGRES_DB", new: "correct-horse-7\n      POSTGRES_DB",
			item: "env-secrets", mark: "correct-horse-7"},
		{name: "a secret in the image", file: "Dockerfile", old: "USER conduit", new: "ENV PAYMENT_KEY=" + stripeKey + "\nUSER conduit", item: "env-secrets", mark: "PAYMENT_KEY", says: "Stripe"},
		{name: "a key on the command line", item: "argv-secrets", where: "process ", says: "AWS"},
		{name: "a token in a note", file: "changes/2026-01-02-tags.md", new: "# Tags\n\nTry with password=swordfish-and-more7\n", item: "note-secrets", mark: "swordfish"},
		{name: "a token in the log", file: "conduit/routes/users.py", old: "    return _account(request, user)\n\n\n@router.get(\"/user\"", item: "log-secrets", where: "", says: "Token",
			new: py(`
    account = _account(request, user)
    log.warning("login of %s, session_id=%s, %s", user.email, "s3ss10n4f9a8b7c", account["user"]["token"])
    return account


@router.get("/user"`)},
		{name: "an address in the log", item: "log-personal", says: "e-mail"},
		{name: "a session in the log", item: "log-sessions", says: "session_id"},
		{name: "a logger", file: "conduit/routes/users.py", old: "router = APIRouter(tags=[\"users\"])\n", new: "import logging\n\nlog = logging.getLogger(\"conduit\")\nrouter = APIRouter(tags=[\"users\"])\n"},
		{name: "a cloud key in an address that is kept", item: "capture-secrets", where: "GET /api/profiles/{username}", says: "AWS"},
		// Headers and keys.
		{name: "a cookie with what may be shared", file: "conduit/routes/tags.py", old: "@router.get(\"/tags\", response_model=TagsOut)\nasync def list_tags(request: Request, session: Session) -> Any:\n",
			new: py(`
@router.get("/tags", response_model=TagsOut)
async def list_tags(request: Request, session: Session, response: Response) -> Any:
    response.headers["Cache-Control"] = "public, max-age=60"
    response.set_cookie("visitor", "1")
    int(request.query_params.get("top", "50"))
`), item: "set-cookie-stored", where: "GET /api/tags"},
		{name: "its import", file: "conduit/routes/tags.py", old: "import APIRouter, Request", new: "import APIRouter, Request, Response"},
		{name: "a cookie without flags", item: "cookie-flags", file: "conduit/routes/tags.py", mark: "set_cookie("},
		{name: "a number that is not one", item: "bad-input", where: "GET /api/tags", says: "ValueError"},
		{name: "an account that may be shared, on any path below it", file: "conduit/routes/users.py", old: "@router.get(\"/user\", response_model=UserOut)\nasync def current_user(request: Request, user: CurrentUser) -> Any:\n",
			new: py(`
@router.get("/user/{rest:path}", response_model=UserOut)
@router.get("/user", response_model=UserOut)
async def current_user(request: Request, user: CurrentUser, response: Response) -> Any:
    response.headers["Cache-Control"] = "public, max-age=60"
`), item: "authorized-stored", where: "GET /api/user"},
		{name: "its import", file: "conduit/routes/users.py", old: "import APIRouter, Request", new: "import APIRouter, Request, Response"},
		{name: "the path", item: "path-confusion", where: "GET /api/user/{rest}"},
		{name: "answers of their own", file: "conduit/app.py", old: "    @app.get(\"/health\")\n", new: py(`
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)

    @app.get("/hello")
    async def hello(request: Request) -> Response:
        text = "Hallo" if request.headers.get("accept-language") == "de" else "Hello"
        return Response(text, headers={"Cache-Control": "public, max-age=60"})

    @app.get("/region")
    async def region(request: Request) -> Response:
        headers = {"Cache-Control": "public, max-age=60", "Vary": "Accept", "ETag": '"1"'}
        return Response(request.headers.get("x-region", "none"), headers=headers)

    @app.get("/clock")
    async def clock() -> Response:
        return Response(str(time.time_ns()), headers={"Cache-Control": "private, max-age=600"})

    @app.get("/old")
    async def old() -> Response:
        return Response(status_code=301, headers={"Location": "/hello"})

    @app.get("/busy")
    async def busy() -> Response:
        return Response(status_code=503)

    @app.get("/silent")
    async def silent() -> Response:
        return Response(status_code=500)

    @app.get("/health")
`), item: "public-without-vary", where: "GET /hello", says: "accept-language"},
		{name: "its imports", file: "conduit/app.py", old: "from fastapi import FastAPI\n", new: "import time\n\nfrom fastapi import FastAPI, Request, Response\nfrom fastapi.middleware.cors import CORSMiddleware\n"},
		{name: "every origin with credentials", item: "cors", file: "conduit/app.py", mark: "add_middleware(CORSMiddleware"},
		{name: "an input that Vary does not name", item: "unkeyed-input", where: "GET /region", says: "x-region"},
		{name: "an ETag that stands for all", item: "outer-etag", where: "GET /region"},
		{name: "what changes within its lifetime", item: "outer-lifetime", where: "GET /clock"},
		{name: "a redirect for good", item: "cached-redirects", where: "GET /old"},
		{name: "503 without Retry-After", item: "retry-after", where: "GET /busy"},
		{name: "a failure that the log does not name", item: "log-failures", where: "GET /silent"},
		{name: "errors that may be kept", file: "conduit/errors.py", old: "if error.status == 401 else None", new: "if error.status == 401 else {\"Cache-Control\": \"public, max-age=300\"}",
			item: "cached-errors", where: "GET /api/articles/{slug}"},
		{name: "a key that several people share", file: "conduit/routes/profiles.py", old: "        return public_profile(await _user(session, username))\n\n    profile = await request.app.state.cache.profile(username, load)\n    return {\"profile\": {**profile, \"following\": await is_following(session, viewer, username)}}",
			new: py(`
        mine = await is_following(session, viewer, username)
        return {**public_profile(await _user(session, username)), "following": mine}

    return {"profile": await request.app.state.cache.profile(username, load)}`), item: "shared-keys", where: "cachetools:conduit.cache", says: "such as bob"},
		{name: "a short lifetime, so that the test sees it filled again", file: "conduit/cache.py", old: `"profile": 300`, new: `"profile": 0.3`},
		// Upload limits.
		{name: "no limit for bodies", file: "conduit/app.py", old: "    app.add_middleware(BodyLimit)\n", new: "", item: "upload-limit", where: "POST /api/users"},
		{name: "a proxy without a limit", file: "nginx.conf", new: "client_max_body_size 0;\nproxy_ignore_headers Set-Cookie;\nproxy_cache_valid any 1m;\nproxy_cache_key $scheme$host$uri;\n", item: "upload-setting", mark: "client_max_body_size"},
		{name: "a proxy that stores cookies", item: "set-cookie-stored", file: "nginx.conf", mark: "proxy_ignore_headers"},
		{name: "a proxy that stores errors", item: "cached-errors", file: "nginx.conf", mark: "proxy_cache_valid"},
		{name: "a proxy whose key lacks the query", item: "unkeyed-input", file: "nginx.conf", mark: "proxy_cache_key"},
		// Settings.
		{name: "debugging", file: "conduit/app.py", old: "FastAPI(title=\"Conduit\",", new: "FastAPI(debug=True, title=\"Conduit\",", item: "debug", mark: "debug=True"},
		{name: "any host", file: "conduit/settings.py", new: "ALLOWED_HOSTS = [\"*\"]\n", item: "hosts", mark: "ALLOWED_HOSTS"},
		{name: "certificates that nobody looks at", file: "conduit/tasks.py", new: "\nWEBHOOK = {\"timeout\": 5, \"tls\": dict(verify=False)}\n", item: "tls", mark: "verify=False"},
		{name: "a setting that hides", file: "conduit/routes/comments.py", new: "\nCACHE_TTL = 86400\n", item: "hidden-settings", mark: "CACHE_TTL"},
	}
}

// plant does the edits of all flaws.
func plant(t *testing.T, copied string, list []flaw) {
	t.Helper()
	for _, f := range list {
		if f.new == "" && f.old == "" {
			continue
		}
		path := filepath.Join(copied, filepath.FromSlash(f.file))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil && f.old != "" {
			t.Fatal(err)
		}
		text := string(data) + f.new
		if f.old != "" {
			if strings.Count(string(data), f.old) != 1 {
				t.Fatalf("%s: %q stands %d times in %s", f.name, f.old, strings.Count(string(data), f.old), f.file)
			}
			text = strings.Replace(string(data), f.old, f.new, 1)
		}
		mode := f.mode
		if mode == 0 {
			mode = 0o644
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
}

// Every flaw that was planted in a copy of the example is named by its item, at its line or route.
func TestAuditFindsEveryPlantedFlaw(t *testing.T) {
	list := flaws()
	a := runCopy(t, func(copied string) { plant(t, copied, list) }, "--header", "x-account:"+awsKey)
	ada, bob := a.token("ada"), a.token("bob")
	a.ask("POST", "/api/users/login", `{"user":{"email":"ada@conduit.example","password":"conduit-demo"}}`)
	a.ask("GET", "/api/user", "", "Authorization", ada)
	a.ask("GET", "/api/user/x.css", "", "Authorization", ada)
	for _, value := range []string{"en", "de", "en"} {
		a.ask("GET", "/hello", "", "Accept-Language", value)
		a.ask("GET", "/region", "", "X-Region", value)
		a.ask("GET", "/clock", "")
	}
	for _, path := range []string{"/old", "/busy", "/silent", "/api/tags?top=many", "/api/articles/gone", "/api/profiles/" + awsKey} {
		a.ask("GET", path, "")
	}
	if status, text := a.ask("POST", "/api/profiles/bob/follow", "", "Authorization", ada); status != 200 {
		t.Fatalf("follow: %d %s", status, text)
	}
	for range 3 {
		for _, who := range []string{ada, bob} {
			a.ask("GET", "/api/profiles/bob", "", "Authorization", who)
			time.Sleep(350 * time.Millisecond)
		}
	}
	port := redisServer(t, "bind 0.0.0.0\nprotected-mode yes")
	for path, mode := range map[string]os.FileMode{a.capture: 0o755, filepath.Join(a.dir, ".demarc", "key"): 0o644, filepath.Join(a.dir, ".demarc", "run.json"): 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	r := a.audit(fmt.Sprintf("CACHE_URL=redis://127.0.0.1:%d/0", port))
	found := 0
	for _, f := range list {
		if f.item == "" {
			continue
		}
		where := f.where
		if f.mark != "" {
			data, err := os.ReadFile(filepath.Join(a.copy, f.file))
			before, _, ok := strings.Cut(string(data), f.mark)
			if err != nil || !ok {
				t.Fatalf("%s: %q does not stand in %s", f.name, f.mark, f.file)
			}
			where = fmt.Sprintf("%s:%d", f.file, strings.Count(before, "\n")+1)
		}
		if !r.names(f.item, where, f.says) {
			t.Errorf("%s: %s does not name %s %s", f.name, f.item, where, f.says)
			continue
		}
		found++
	}
	t.Logf("%d planted flaws found", found)
	if t.Failed() || testing.Verbose() {
		for _, x := range r.Items {
			t.Logf("%s %s: %s %s", x.State, x.ID, x.Says, x.Missing)
			for _, p := range x.Places {
				t.Logf("    %s  %s", p.Where, p.Says)
			}
		}
	}
	// No secret itself is ever shown.
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{awsKey, stripeKey, "k3Jf9aZq82mLx0pT7vW", "hunter2hunter2", "correct-horse-7", "p8Zr4vQm1Lx7Tn3Kd9Wb", "swordfish-and-more7"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the report shows the secret %s…", secret[:6])
		}
	}
}
