"""Celery with a real Redis as its broker and real workers, prefork and solo: enqueue, start, end, fail and the job."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough


@pytest.fixture
def redis_url():
    """The Redis that scripts/with-servers provides."""
    url = os.environ.get("DEMARC_TEST_REDIS")
    assert url, "DEMARC_TEST_REDIS is not set: run the tests through scripts/with-servers"
    return url


TASKS = """
import os, sqlite3, time
from celery import Celery

app = Celery("shop", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.broker_connection_retry_on_startup = True
app.conf.task_routes = {"work.slow": {"queue": "later"}}

@app.task(name="work.add")
def add(a, b):
    db = sqlite3.connect(":memory:")
    db.execute("select 1").fetchall()
    return a + b

@app.task(name="work.boom")
def boom():
    raise ValueError("boom")

@app.task(name="work.slow")
def slow():
    return "slow"

@app.task(name="work.again", bind=True, max_retries=1, default_retry_delay=0)
def again(self):
    try:
        raise KeyError("once more")
    except KeyError as e:
        raise self.retry(exc=e, countdown=0) if self.request.retries == 0 else e
"""

CLIENT = """
import sys; sys.path.insert(0, ".")
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
import tasks

def page(request):
    print(tasks.add.delay(1, 2).get(timeout=80))
    print(tasks.slow.apply_async().get(timeout=80))
    for task in (tasks.boom, tasks.again):
        try:
            task.delay().get(timeout=80)
        except Exception as e:
            print(type(e).__name__)
    return PlainTextResponse("ok")

print(TestClient(Starlette(routes=[Route("/", page)])).get("/").text)
"""


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_tasks(collector, tmp_path, redis_url, pool):
    (tmp_path / "tasks.py").write_text(TASKS)
    celery = Path(sys.executable).parent / "celery"
    worker = subprocess.Popen([str(celery), "-A", "tasks", "worker", "-P", pool, "-c", "1", "-Q", "celery,later",
                               "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "warning"],
                              env=collector.env(URL=redis_url), cwd=tmp_path, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        out = collector.run(CLIENT, cwd=tmp_path, URL=redis_url).stdout
        assert out.split() == ["3", "slow", "ValueError", "KeyError", "ok"]
        collector.wait_for(lambda c: len(c.of("request", kind="job")) == 5 and len(c.of("task")) == 14)
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            said = worker.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            os.killpg(worker.pid, signal.SIGKILL)
            said = worker.communicate()[0]
    collector.settle()
    (request,) = collector.of("request", kind="http")
    enqueued = collector.of("task", op="enqueue")
    assert [(e["name"], e["queue"]) for e in enqueued] == [
        ("work.add", "celery"), ("work.slow", "later"), ("work.boom", "celery"), ("work.again", "celery")], said
    assert {e["trace"] for e in enqueued} == {request["trace"]}
    jobs = collector.of("request", kind="job")
    assert [j["route"] for j in jobs] == ["work.add", "work.slow", "work.boom", "work.again", "work.again"]
    assert all(j["trace"] == j["span"] != request["trace"] and j["dur"] > 0 for j in jobs)
    steps = {}
    for e in collector.of("task"):
        if e["op"] != "enqueue":
            steps.setdefault(e["id"], []).append((e["op"], e.get("error", "").partition(" at ")[0]))
            assert e["trace"] in {j["trace"] for j in jobs}
    assert [steps[e["id"]] for e in enqueued] == [
        [("start", ""), ("end", "")], [("start", ""), ("end", "")], [("start", ""), ("fail", "ValueError")],
        [("start", ""), ("fail", "celery.exceptions.Retry"), ("start", ""), ("fail", "KeyError")]]
    (query,) = collector.of("query")
    assert query["trace"] == query["parent"] == jobs[0]["trace"]
    assert jobs[2]["error"].startswith("ValueError at tasks:boom:")
    assert not collector.of("cache"), [(e["op"], e.get("key"), e.get("code")) for e in collector.of("cache")]
    assert not any(s["failures"] for s in collector.stats), collector.stats


EAGER = """
import sys; sys.path.insert(0, ".")
import tasks
tasks.app.conf.task_always_eager = True
from _demarc import core, jobs

def fail(*a, **k): raise RuntimeError("injected")

def answers():
    return repr([tasks.add.delay(1, 2).get(), tasks.boom.delay().state, tasks.slow.delay().get()])

want = answers()
for owner, name in ((jobs, "Job"), (jobs.Job, "end"), (jobs.Job, "_task"), (jobs, "emit"), (jobs, "now")):
    original = getattr(owner, name)
    before = sum(core.state.failures.values())
    setattr(owner, name, fail)
    try:
        got = answers()
    except RuntimeError as e:
        got = e
    setattr(owner, name, original)
    core.state.disabled.clear()
    print(name, got == want, sum(core.state.failures.values()) > before)
"""


def test_eager_tasks_and_a_failing_hook(collector, tmp_path, redis_url):
    (tmp_path / "tasks.py").write_text(TASKS)
    out = collector.run(EAGER, cwd=tmp_path, URL=redis_url).stdout.splitlines()
    assert len(out) == 5 and all(line.endswith(" True True") for line in out), out
    assert len(collector.of("task", op="start")) >= 3
