"""The data set, the seed command and the traffic driver, against a real server process."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import CACHES, fresh_settings

from conduit import dataset, plan

FOLDER = Path(__file__).resolve().parent.parent


def command(module, *arguments, env=None):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=FOLDER,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


def free_port():
    """A port that nobody else is given for a minute, since a connection on it has just ended."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        server.accept()[0].close()
        return server.getsockname()[1]


@pytest.fixture
def env(tmp_path):
    settings = fresh_settings(tmp_path, CACHES[0])
    return {"DATABASE_URL": settings.database_url, "CACHE_URL": settings.cache_url}


@contextlib.contextmanager
def serving(env, log):
    """A server process, stopped at the end; yields its base address."""
    port = free_port()
    with open(log, "w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "conduit.app:app", "--port", str(port)],
            cwd=FOLDER,
            env={**os.environ, **env},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None and time.monotonic() < deadline, Path(log).read_text()
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("GET", "/health")
                assert json.loads(connection.getresponse().read()) == {"ok": True}
                break
            time.sleep(0.05)
        connection.close()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def test_data_and_plan_depend_on_their_seeds_alone():
    assert dataset.build(60, 1) == dataset.build(60, 1)
    assert dataset.build(60, 1) != dataset.build(60, 2)
    data = dataset.build(60)
    long, short = plan.make(data, 1, 500), plan.make(data, 1, 200)
    assert long[:200] == short
    assert plan.digest(long) == plan.digest(plan.make(dataset.build(60), 1, 500))
    assert plan.digest(long) != plan.digest(plan.make(data, 2, 500))


def test_the_default_data_set_has_the_promised_shape():
    data = dataset.build()
    assert (len(data.users), len(data.articles)) == (30, 300)
    assert 1400 <= sum(len(article.comments) for article in data.articles) <= 1600
    assert len({article.slug for article in data.articles}) == 300
    silent = {user.id for user in data.readers}
    assert len(silent) == 5
    assert not silent & {article.author_id for article in data.articles}
    assert not silent & {followee for _, followee in data.follows}


def test_the_plan_asks_everything_and_reads_are_skewed():
    data = dataset.build()
    questions = plan.make(data, 1, 4000)
    kinds = Counter(question.kind for question in questions)
    promised = (
        "article, list, list by tag, list by author, list by favorited, comments, tags, profile, feed, "
        "user, stats, favorite, unfavorite, comment, uncomment, write, edit, retitle, remove, follow, "
        "unfollow, bio, login, register, missing, invalid, unauthorized, not mine, broken"
    )
    assert set(kinds) == set(promised.split(", "))
    assert {question.status for question in questions} == {200, 201, 204, 401, 403, 404, 422, 500}
    read = Counter(q.target.partition("?")[0] for q in questions if q.kind == "article")
    top = sum(count for _, count in read.most_common(10))
    assert top > 0.4 * sum(read.values())
    tracked = [q for q in questions if "utm_source" in q.target or "fbclid" in q.target]
    assert len(tracked) > 100
    agents = {tuple(sorted(actor.headers.items())) for actor in plan.actors(data)}
    assert len(agents) >= 15


def test_seed_refuses_to_delete_unasked_and_repeats_exactly(env):
    first = command("conduit.seed", "--size", "20", env=env)
    assert first.returncode == 0, first.stderr
    refused = command("conduit.seed", "--size", "20", env=env)
    assert refused.returncode == 1
    assert "already has 12 users" in refused.stderr and "--yes" in refused.stderr
    again = command("conduit.seed", "--size", "20", "--yes", env=env)
    assert again.returncode == 0, again.stderr
    assert first.stderr.split(" in ")[0] == again.stderr.split(" in ")[0]
    assert command("conduit.seed", "--size", "3", "--yes", env=env).returncode == 2


def test_traffic_gets_what_it_expects_twice(env, tmp_path):
    summaries = []
    for concurrency in ("1", "4"):
        seeded = command("conduit.seed", "--size", "40", "--yes", env=env)
        assert seeded.returncode == 0, seeded.stderr
        with serving(env, tmp_path / "server.log") as base:
            done = command(
                "conduit.traffic", "--base", base, "--size", "40", "--requests", "250", "--json",
                "--concurrency", concurrency,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["unexpected"], summary["dropped"]) == (0, 0), done.stderr
        assert summary["statuses"]["500"] > 0
        assert sum(summary["statuses"].values()) == 250
        summary.pop("seconds")
        summaries.append(summary)
    assert summaries[0] == summaries[1]


def test_traffic_without_a_server_says_so():
    port = free_port()
    done = command("conduit.traffic", "--base", f"http://127.0.0.1:{port}", "--requests", "5", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"cannot reach http://127.0.0.1:{port}" in done.stderr
    assert "expected:" in done.stderr and "retry:" in done.stderr
    assert command("conduit.traffic", "--base", "nonsense").returncode == 2


def test_traffic_without_data_says_so(env, tmp_path):
    with serving(env, tmp_path / "server.log") as base:
        done = command("conduit.traffic", "--base", base, "--requests", "200")
    assert done.returncode == 1
    assert "cannot log in" in done.stderr and "conduit.seed" in done.stderr


def test_traffic_keeps_to_its_rate(env, tmp_path):
    command("conduit.seed", "--size", "20", env=env)
    with serving(env, tmp_path / "server.log") as base:
        done = command(
            "conduit.traffic", "--base", base, "--size", "20", "--requests", "30", "--rate", "20", "--json"
        )
    # The last of 30 starts 29/20 s after the first; nothing bounds it from above.
    assert json.loads(done.stdout)["seconds"] >= 29 / 20


def test_the_driver_needs_nothing_but_the_standard_library():
    script = "import sys, conduit.traffic; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert not loaded & {
        "fastapi",
        "sqlalchemy",
        "pydantic",
        "starlette",
        "jwt",
        "redis",
        "cachetools",
        "anyio",
    }
