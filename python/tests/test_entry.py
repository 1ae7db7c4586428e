"""Requests as real servers serve them: one event each, with route template, status, error, identity and body hash."""

import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collector import free_port

APPS = Path(__file__).parent / "apps"
BIN = Path(sys.executable).parent


@contextlib.contextmanager
def serve(collector, *command, stop=signal.SIGINT, **env):
    """Runs a server under observation on a free port; gives (request function, process)."""
    port = free_port()
    command = [str(BIN / command[0]), *(c.format(port=port) for c in command[1:])]
    p = subprocess.Popen(command, env=collector.env(PYTHONPATH=str(APPS), **env), cwd=APPS,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > end or p.poll() is not None:
                    p.kill()
                    raise AssertionError("the server did not start: %s" % p.communicate()[0]) from None
                time.sleep(0.05)

        def get(target, **headers):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            c.request("GET", target, headers={"Accept-Encoding": "gzip", **headers})
            r = c.getresponse()
            body = r.read()
            c.close()
            return r.status, gzip.decompress(body) if r.getheader("Content-Encoding") == "gzip" else body

        yield get, p
    finally:
        if p.poll() is None:
            os.killpg(p.pid, stop)
        try:
            p.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.communicate()
        collector.settle()


FLASK = [("/a/{b}", "/a/1?x=1", 200), ("/boom", "/boom", 500), ("/s", "/s", 200), (None, "/nope", 404)]
DJANGO = [*FLASK, ("/r/{slug}/x/", "/r/abc/x/", 200), ("/inc/z/{q}", "/inc/z/q", 200)]
WERKZEUG = [("/w/{b}", "/w/1?x=1", 200), ("/in/a/{b}", "/in/a/2", 200), (None, "/nope", 404)]
FASTAPI = [*FLASK, ("/c/{n}", "/c/5", 200), ("/inc/z/{q}", "/inc/z/q", 200), ("/a/{b}", "/a/x", 422),
           ("/api/deep/er/{n}", "/api/deep/er/5", 200)]
UVICORN = ["uvicorn", "--port", "{port}", "--log-level", "warning"]
GUNICORN = ["gunicorn", "-b", "127.0.0.1:{port}", "--log-level", "warning"]

SERVERS = {
    "flask run": (["flask", "--app", "flask_app", "run", "--port", "{port}"], FLASK),
    "werkzeug": (["python", "werkzeug_app.py", "{port}"], WERKZEUG),
    "gunicorn": ([*GUNICORN, "-w", "2", "flask_app:app"], FLASK),
    "gunicorn preload threads": ([*GUNICORN, "--preload", "--threads", "2", "-w", "2", "flask_app:app"], FLASK),
    "gunicorn django": ([*GUNICORN, "django_app:application"], DJANGO),
    "gunicorn uvicorn": ([*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "-w", "2", "fastapi_app:app"], FASTAPI),
    "manage.py runserver": (["python", "django_app.py", "runserver", "{port}"], DJANGO),
    "uvicorn": ([*UVICORN, "fastapi_app:app"], FASTAPI),
    "uvicorn django": ([*UVICORN, "django_app:asgi"], DJANGO),
    "uvicorn workers": ([*UVICORN, "--workers", "2", "fastapi_app:app"], FASTAPI),
    "uvicorn reload": ([*UVICORN, "--reload", "fastapi_app:app"], FASTAPI),
}


@pytest.mark.parametrize("name", SERVERS)
def test_requests_of_each_server(collector, name):
    command, expected = SERVERS[name]
    with serve(collector, *command) as (get, _):
        answers = [get(target)[0] for _, target, _ in expected]
        collector.wait_for(lambda c: len(c.of("request")) >= len(expected))
    assert answers == [status for _, _, status in expected]
    seen = sorted((e.get("route") or "", e["target"], e["status"]) for e in collector.of("request"))
    assert seen == sorted((r or "", t, s) for r, t, s in expected)
    for e in collector.of("request"):
        assert e["kind"] == "http" and e["method"] == "GET" and e["dur"] > 0
        assert e["trace"] == e["span"] and e["trace"].startswith(e["proc"] + ".")
        assert len(e["body_hash"]) == 16 and e["body_bytes"] > 0 and "host" in e["vary"]
        assert e["first_byte_dur"] <= e["dur"] and "disconnected" not in e
        if e["target"] == "/boom":
            assert e["error"].startswith("ValueError at ") and ":boom:" in e["error"], e["error"]
        else:
            assert "error" not in e, e
    assert all(not s["failures"] and s["dropped"] == 0 for s in collector.stats), collector.stats


def test_an_exception_that_the_service_caught_and_logged(collector):
    with serve(collector, "python", "werkzeug_app.py", "{port}") as (get, _):
        assert [get(t)[0] for t in ("/caught", "/w/1")] == [500, 200]
        collector.wait_for(lambda c: len(c.of("request")) == 2)
    caught, fine = collector.of("request")
    assert caught["route"] == "/caught" and caught["status"] == 500
    assert caught["error"].startswith("ValueError at __main__:application:"), caught
    assert "error" not in fine


def test_identity(collector):
    """What the framework knows wins over a JWT's subject, which wins over a session cookie."""
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9.x"  # {"alg":"none"}, {"sub":"42"}
    with serve(collector, *UVICORN, "fastapi_app:app") as (get, _):
        for headers in ({}, {"Authorization": "Bearer " + token}, {"Authorization": "Token " + token},
                        {"Authorization": "Bearer opaque"}, {"Cookie": "sessionid=abc; x=1"},
                        {"Cookie": "sessionid=abc; x=2"}, {"Cookie": "sessionid=z", "Authorization": "Token " + token},
                        {"Cookie": "x=1; admin-session=abc"}):
            get("/a/1", **headers)
        collector.wait_for(lambda c: len(c.of("request")) == 8)
    p = [e["principal"] for e in collector.of("request")]
    assert p[0] == "-" and p[1] == p[2] == p[6] and p[4] == p[5] == p[7]
    assert len({p[0], p[1], p[3], p[4]}) == 4
    vary = [e["vary"] for e in collector.of("request")]
    assert vary[4]["cookie.x"] != vary[5]["cookie.x"] and vary[4]["cookie.sessionid"] == vary[5]["cookie.sessionid"]


def test_a_key_in_a_header_says_who_asks_where_nothing_else_does(collector):
    with serve(collector, *UVICORN, "fastapi_app:app") as (get, _):
        for headers in ({"X-Api-Key": "one"}, {"X-API-KEY": "two"},
                        {"X-Auth-Request-Access-Token": "a", "X-Auth-Request-User": "u"},
                        {"X-Auth-Request-User": "u", "X-Auth-Request-Access-Token": "b"}, {"X-Requested-With": "js"},
                        {"Cookie": "sessionid=abc", "X-Api-Key": "one"}, {"Cookie": "sessionid=abc"}):
            get("/a/1", **headers)
        collector.wait_for(lambda c: len(c.of("request")) == 7)
    p = [e["principal"] for e in collector.of("request")]
    assert p[4] == "-" and p[2] == p[3] and p[5] == p[6] and len(set(p)) == 5
    assert not any("api-key" in name or "x-auth" in name for e in collector.of("request") for name in e["vary"])


def test_identity_of_frameworks(collector):
    with serve(collector, *GUNICORN, "django_app:application") as (get, _):
        get("/a/1")
        collector.wait_for(lambda c: len(c.of("request")) == 1)
    with serve(collector, *GUNICORN, "flask_app:app") as (get, _):
        get("/a/1")
        collector.wait_for(lambda c: len(c.of("request")) == 2)
    django, flask = (e["principal"] for e in collector.of("request"))
    assert len(django) == len(flask) == 16 and django != flask


def test_whose_a_session_is_is_remembered(collector):
    """Where nobody loads the user, as where a cache answers, the principal is the one that the session had before."""
    with serve(collector, *GUNICORN, "flask_app:app") as (get, _):
        for path, session in (("/s", "b"), ("/a/1", "b"), ("/s", "b"), ("/s", "c"), ("/a/1", None), ("/s", None)):
            get(path, **({"Cookie": "session=" + session} if session else {}))
        collector.wait_for(lambda c: len(c.of("request")) == 6)
    before, bob, again, other, unsaid, nobody = (e["principal"] for e in collector.of("request"))
    assert again == bob == unsaid and nobody == "-" and len({before, bob, other, nobody}) == 4


def test_named_header_is_the_identity(collector):
    with serve(collector, *UVICORN, "fastapi_app:app", config={"principal": {"header": "X-Api-Key"}}) as (get, _):
        get("/a/1", **{"X-Api-Key": "one"})
        get("/a/1", **{"X-Api-Key": "two", "Authorization": "Bearer a.b.c"})
        collector.wait_for(lambda c: len(c.of("request")) == 2)
    one, two = collector.of("request")
    assert one["principal"] != two["principal"] and "x-api-key" not in one["vary"]


def test_secrets_are_never_kept(collector):
    with serve(collector, *UVICORN, "fastapi_app:app") as (get, _):
        get("/a/1?token=s3cret&q=ann%40example.com&page=2&utm_source=news")
        collector.wait_for(lambda c: c.of("request"))
    (e,) = collector.of("request")
    assert "s3cret" not in str(collector.events) and "example.com" not in str(collector.events)
    assert "page=2" in e["target"] and "utm_source=news" in e["target"] and "token=~" in e["target"]


def test_a_slug_is_no_secret(collector):
    slug, token = "how-to-build-a-better-pancake-machine-1234", "4eC39HqLyjWDarjtT1zdp7dcTYooMQauvdEDq54"
    collector.run("import asyncio\nfrom _demarc.hooks.asgi import wrap\n"
                  "async def app(scope, receive, send):\n"
                  "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
                  "    await send({'type': 'http.response.body', 'body': b''})\n"
                  "async def send(m): pass\n"
                  "for p in ('/a/%s', '/a/%s'):\n"
                  "    scope = {'type': 'http', 'method': 'GET', 'path': p, 'headers': []}\n"
                  "    asyncio.run(wrap(app)(scope, None, send))\n"
                  % (slug, token))
    one, two = (e["target"] for e in collector.of("request"))
    assert one == "/a/" + slug and two.startswith("/a/~") and token not in two


def test_hashed_keys_keep_structure(collector):
    with serve(collector, *UVICORN, "fastapi_app:app", config={"keys": "hashed"}) as (get, _):
        get("/a/1?page=2")
        collector.wait_for(lambda c: c.of("request"))
    (e,) = collector.of("request")
    assert e["target"].startswith("/a/~") and "?page=~" in e["target"]


def test_threads_keep_the_request_and_change_no_context(collector):
    bare = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, cwd=APPS, check=True)
    observed = collector.run(THREADS, cwd=APPS, PYTHONPATH=str(APPS))
    assert observed.stdout == bare.stdout


THREADS = """
from fastapi.testclient import TestClient
from fastapi_app import app
print(TestClient(app).get("/threads").json())
"""


WORKER = """
import queue, sqlite3, threading
from concurrent.futures import ThreadPoolExecutor
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

db = sqlite3.connect(":memory:", check_same_thread=False)
todo, pool, started = queue.Queue(), ThreadPoolExecutor(1), []

def work():
    while True:
        statement, done = todo.get()
        db.execute(statement)
        done.set()

def ask(statement):
    done = threading.Event()
    todo.put((statement, done))
    done.wait()

def view(request):
    if not started:
        started.append(threading.Thread(target=work, daemon=True))
        started[0].start()
    n = request.path_params["n"]
    ask("select 'worker'" + " " * n)
    pool.submit(db.execute, "select 'pool'" + " " * n).result()
    return PlainTextResponse(str(n))

client = TestClient(Starlette(routes=[Route("/{n:int}", view)]))
for n in range(3):
    client.get("/%d" % n)
ask("select 'nobody' from (select 1)")
pool.submit(db.execute, "select 'nobody' from (select 2)").result()
"""


def test_threads_that_outlive_a_request_work_for_whoever_asks(collector):
    """A worker that the first request started, and a pool's thread, count with the request that waits for them."""
    collector.run(WORKER, cwd=APPS)
    requests = [e["trace"] for e in collector.of("request")]
    assert len(requests) == 3
    queries = [e for e in collector.of("query") if " from " not in e["text"]]
    assert [e["trace"] for e in queries] == [t for t in requests for _ in "wp"], (requests, queries)
    assert [e.get("trace") for e in collector.of("query") if " from " in e["text"]] == [None, None]
    assert all(not s["failures"] for s in collector.stats), collector.stats


LIVES_ON = """
import sqlite3, threading, time
from flask import Flask

db = sqlite3.connect(":memory:", check_same_thread=False)
app, answered, late, all_done = Flask("service"), threading.Event(), threading.Event(), threading.Event()

def loop():
    db.execute("select 1 as at_once")
    answered.wait()
    db.execute("select 1 as soon")
    late.wait()
    db.execute("select 1 as late")
    begun = threading.Thread(target=db.execute, args=("select 1 as begun_late",))
    begun.start()
    begun.join()
    all_done.set()

def short():
    db.execute("select 1 as short")

@app.get("/")
def view():
    threading.Thread(target=loop, daemon=True).start()
    import lazy
    lazy.started.join()
    thread = threading.Thread(target=short)
    thread.start()
    thread.join()
    return "x"

# The service, as tests often, asks itself while it is imported: that import is not the request's.
app.test_client().get("/").close()
answered.set()
from _demarc.hooks import threads
end = time.monotonic() + 60
while getattr(threads, "_lends", ()) and time.monotonic() < end:
    time.sleep(0.02)
late.set()
all_done.wait()
"""


def test_a_thread_that_lives_on_works_for_nobody_soon_after_the_answer(collector, tmp_path):
    """What it does until then is the request's; a thread that a module starts while it is imported is nobody's."""
    (tmp_path / "service.py").write_text(LIVES_ON)
    (tmp_path / "lazy.py").write_text(
        "import threading\nfrom service import db\n"
        "started = threading.Thread(target=db.execute, args=('select 1 as imported',))\nstarted.start()\n"
    )
    collector.run("import sys; sys.path.insert(0, '.'); import service", cwd=tmp_path)
    (request,) = collector.of("request")
    traces = {e["text"].rpartition(" ")[2]: (e.get("trace"), e.get("parent")) for e in collector.of("query")}
    mine = request["trace"], request["span"]
    assert traces == {"at_once": mine, "soon": mine, "short": mine, "late": (None, None), "begun_late": (None, None),
                      "imported": (None, None)}
    assert all(not s["failures"] for s in collector.stats), collector.stats


def test_a_failure_in_the_hooks_of_threads_and_queues_is_counted_and_steps_aside(collector):
    break_it = """
import sys
def fail(*args):
    raise RuntimeError("injected")
hook = sys.modules.get("_demarc.hooks.threads")
if hook is not None:
    hook._hand = hook._take = hook._lend = fail
"""
    show = "\nprint([client.get('/%d' % n).text for n in range(5, 8)])\n"
    code = WORKER.replace("client = TestClient", break_it + "client = TestClient")
    bare = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, cwd=APPS, check=True)
    assert collector.run(code + show, cwd=APPS).stdout == bare.stdout == "['5', '6', '7']\n"
    assert collector.stats[-1]["failures"].get("threads", 0) > 0, collector.stats


def test_an_installed_package_that_is_started_is_the_services_own_code(collector, tmp_path):
    site = tmp_path / "site-packages"
    package = site / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sqlite3\nimport other\n"
                                         "sqlite3.connect(':memory:').execute('select 1')\nother.ask()\n")
    (site / "other.py").write_text("import sqlite3\n\n"
                                   "def ask():\n    sqlite3.connect(':memory:').execute('select 2')\n")
    start = [sys.executable, "-m", "shop"]
    subprocess.run(start, env=collector.env(PYTHONPATH=str(site), DEMARC_OWN="shop"), cwd=tmp_path, check=True)
    if sys.version_info >= (3, 10):  # older ones do not tell what stood after -m
        subprocess.run(start, env=collector.env(PYTHONPATH=str(site)), cwd=tmp_path, check=True)
    subprocess.run(start, env=collector.env(PYTHONPATH=str(site), DEMARC_OWN="other"), cwd=tmp_path, check=True)
    collector.settle()
    codes = [e.get("code") for e in collector.of("query")]
    by_shop = ["__main__:<module>:3", "__main__:<module>:4"]
    assert codes[: len(codes) - 2] == by_shop * (len(codes) // 2 - 1) and len(codes) >= 4
    assert codes[-1] == "other:ask:4"


COMMANDS = [
    (["{bin}/httpx"], "", ["httpx"]),
    (["-W", "ignore", "-m", "jinja2.app"], "", ["jinja2"]),
    (["{bin}/uvicorn", "--factory", "jinja2.app:create", "--port", "80"], "", ["jinja2"]),
    (["{bin}/gunicorn", "-k", "uvicorn.workers.UvicornWorker", "nothing.installed:app"], "", []),
    (["-m", "flask", "--app=httpx", "run"], "jinja2", ["jinja2", "httpx"]),
    (["manage.py", "runserver"], "", []),
    (["-c", "import httpx"], "", []),
    ([], "", []),
]


def test_the_command_tells_which_installed_package_is_the_services_own():
    code = ("import json, sys\nfrom _demarc import own\n"
            "folders = [p for p in sys.path if p.endswith('site-packages')]\n"
            "print(json.dumps([own.packages(words, folders, named) for words, named in json.loads(sys.argv[1])]))")
    asked = [[[sys.executable, *(w.format(bin=BIN) for w in words)], named] for words, named, _ in COMMANDS]
    answer = subprocess.run([sys.executable, "-c", code, json.dumps(asked)], capture_output=True, text=True, check=True,
                            env={**os.environ, "PYTHONPATH": str(APPS.parents[1])})
    assert json.loads(answer.stdout) == [found for _, _, found in COMMANDS]


def test_background_task_keeps_the_trace(collector):
    with serve(collector, *UVICORN, "fastapi_app:app") as (get, _):
        get("/bg")
        collector.wait_for(lambda c: len(c.of("task")) == 2)
    (request,) = collector.of("request")
    start, end = collector.of("task")
    assert [start["op"], end["op"]] == ["start", "end"] and start["id"] == end["id"]
    assert start["trace"] == end["trace"] == request["trace"] and start["name"].startswith("fastapi_app:later:")
    assert start["at"] >= request["at"]


def test_stream_without_end_is_emitted_at_disconnect(collector):
    with serve(collector, *UVICORN, "fastapi_app:plain") as (get, p):
        port = int(p.args[p.args.index("--port") + 1])
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        assert not collector.of("request")
        s.close()
        collector.wait_for(lambda c: c.of("request"))
        get("/ok")
        collector.wait_for(lambda c: len(c.of("request")) == 2)
    gone, ok = collector.of("request")
    assert gone["disconnected"] is True and gone["dur"] > 4e8
    assert "disconnected" not in ok and ok["headers"] == {"x-cache": "HIT"}


def test_tests_are_recorded_with_their_names(collector, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from fastapi.testclient import TestClient\n"
        "from fastapi_app import app, plain\n"
        "import asyncio, httpx\n"
        "def test_client():\n"
        "    assert TestClient(app).get('/a/1').status_code == 200\n"
        "def test_transport():\n"
        "    async def go():\n"
        "        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=plain), base_url='http://t') as c:\n"
        "            assert (await c.get('/x')).text == 'ok'\n"
        "    asyncio.run(go())\n"
    )
    p = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)], text=True,
                       env=collector.env(PYTHONPATH=str(APPS)), capture_output=True, cwd=tmp_path)
    assert p.returncode == 0, p.stdout + p.stderr
    collector.settle()
    assert [(e["test"].rpartition("::")[2], e["target"]) for e in collector.of("request")] == [
        ("test_client", "/a/1"), ("test_transport", "/x")]


BROKEN = [
    "request.emit", "request.now", "request.text", "request.next_id", "http.asked", "http.kept_headers",
    "redact.target", "request.Recording.begun", "request.Recording.piece",
    "request.Recording.finish", "core.error_text",
]


@pytest.mark.parametrize("app", ["fastapi_app:app", "flask_app:app", "django_app:application"])
def test_a_failing_hook_steps_aside(collector, app):
    """The program answers as without the recorder, whatever fails inside it, and each failure is counted."""
    module, _, name = app.partition(":")
    bare = subprocess.run([sys.executable, "-c", FAULTS, module, name], capture_output=True, text=True, cwd=APPS,
                          env={**os.environ, "PYTHONPATH": str(APPS)})
    assert bare.returncode == 0 and bare.stdout.count(" 200 ") >= 3, bare.stderr
    observed = collector.run(FAULTS, module, name, *BROKEN, cwd=APPS, PYTHONPATH=str(APPS))
    rounds = observed.stdout.split("== ")[1:]
    assert len(rounds) == len(BROKEN) + 1
    for r in rounds:
        what, _, answers = r.partition("\n")
        broken, _, count = what.partition(" ")
        assert answers == bare.stdout.partition("\n")[2], broken
        assert (int(count) > 0) == (broken != "nothing"), what


FAULTS = """
import sys, importlib
module, name, *broken = sys.argv[1:]
app = getattr(importlib.import_module(module), name)
if module == "fastapi_app":
    from fastapi.testclient import TestClient
    get = TestClient(app, raise_server_exceptions=False).get
else:
    from werkzeug.test import Client
    get = Client(app).get

def answers():
    return "\\n".join("%s %s %s" % (t, r.status_code, r.text) for t in ("/a/1", "/a/2", "/boom", "/s", "/nope")
                      for r in [get(t, headers={"Cookie": "sessionid=1"})])

def fail(*a, **k):
    raise RuntimeError("injected")

first = answers()
failures = lambda: sum(sys.modules["_demarc.core"].state.failures.values()) if "_demarc.core" in sys.modules else 0
print("== nothing %d" % failures())
print(first)
for b in broken:
    import _demarc.core, _demarc.http, _demarc.redact, _demarc.request
    before = failures()
    owner, _, attr = b.rpartition(".")
    where = _demarc
    for part in owner.split("."):
        where = getattr(where, part)
    original = getattr(where, attr)
    setattr(where, attr, fail)
    text = answers()
    setattr(where, attr, original)
    sys.modules["_demarc.core"].state.disabled.clear()
    print("== %s %d" % (b, failures() - before))
    print(text)
"""
