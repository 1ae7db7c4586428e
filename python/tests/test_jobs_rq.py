"""RQ on a real Redis, with a forking worker, a simple worker and a synchronous queue."""

import os

import pytest

pytestmark = pytest.mark.thorough


@pytest.fixture
def redis_url():
    """The Redis that scripts/with-servers provides."""
    url = os.environ.get("DEMARC_TEST_REDIS")
    assert url, "DEMARC_TEST_REDIS is not set: run the tests through scripts/with-servers"
    return url


WORK = """
import sqlite3

def add(a, b):
    sqlite3.connect(":memory:").execute("select 1").fetchall()
    return a + b

def boom():
    raise ValueError("boom")

def again():
    raise KeyError("once more")
"""

CLIENT = """
import os, sys; sys.path.insert(0, ".")
from redis import Redis
from rq import Queue, Retry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
import work

connection = Redis.from_url(os.environ["URL"])
connection.flushdb()
q = Queue("mail", connection=connection)

def page(request):
    q.enqueue(work.add, 1, 2)
    q.enqueue_call("work.boom")
    q.enqueue_many([Queue.prepare_data("work.again", retry=Retry(max=1))])
    return PlainTextResponse("ok")

print(TestClient(Starlette(routes=[Route("/", page)])).get("/").text)
"""

WORKER = """
import os, sys; sys.path.insert(0, ".")
from redis import Redis
import rq
cls = getattr(rq, sys.argv[1])
cls(["mail"], connection=Redis.from_url(os.environ["URL"])).work(burst=True, logging_level="ERROR")
"""


@pytest.mark.parametrize("worker", ["Worker", "SimpleWorker"])
def test_jobs(collector, tmp_path, redis_url, worker):
    (tmp_path / "work.py").write_text(WORK)
    assert collector.run(CLIENT, cwd=tmp_path, URL=redis_url).stdout == "ok\n"
    collector.run(WORKER, worker, cwd=tmp_path, URL=redis_url)
    (request,) = collector.of("request", kind="http")
    enqueued = collector.of("task", op="enqueue")
    assert [(e["name"], e["queue"], e["trace"]) for e in enqueued] == [
        (n, "mail", request["trace"]) for n in ("work.add", "work.boom", "work.again")]
    jobs = collector.of("request", kind="job")
    assert sorted(j["route"] for j in jobs) == ["work.add", "work.again", "work.again", "work.boom"]
    steps = {}
    for e in collector.of("task"):
        if e["op"] != "enqueue":
            steps.setdefault(e["id"], []).append((e["op"], e.get("error", "").partition(" at ")[0]))
    assert [steps[e["id"]] for e in enqueued] == [
        [("start", ""), ("end", "")], [("start", ""), ("fail", "ValueError")],
        [("start", ""), ("fail", "KeyError")] * 2]
    (query,) = collector.of("query")
    (added,) = [j for j in jobs if j["route"] == "work.add"]
    assert query["trace"] == added["trace"] == added["span"] and len({j["trace"] for j in jobs}) == 4
    if worker == "Worker":  # each job in a process of its own, which says goodbye
        assert len({j["pid"] for j in jobs}) == 4
    assert [e["op"] for e in collector.of("cache")] == ["clear"], "the queue's own keys are no cache"
    assert not any(s["failures"] for s in collector.stats), collector.stats


SYNC = """
import os, sys; sys.path.insert(0, ".")
from redis import Redis
from rq import Queue
import work
import _demarc.hooks.jobs_rq as hook
from _demarc import core, jobs

def fail(*a, **k): raise RuntimeError("injected")

q = Queue("now", connection=Redis.from_url(os.environ["URL"]), is_async=False)

def answers():
    done = [q.enqueue(work.add, 1, 2), q.enqueue(work.boom)]
    return repr([j.get_status() for j in done])

want = answers()
print(want)
for owner, name in ((hook, "_new"), (hook, "_name"), (jobs, "Job"), (jobs.Job, "end"), (jobs, "emit"), (jobs, "text")):
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


def test_synchronous_queue_and_a_failing_hook(collector, tmp_path, redis_url):
    (tmp_path / "work.py").write_text(WORK)
    out = collector.run(SYNC, cwd=tmp_path, URL=redis_url).stdout.splitlines()
    assert "finished" in out[0] and "failed" in out[0]
    assert len(out) == 7 and all(line.endswith(" True True") for line in out[1:]), out
