"""redis-py against a real Redis: one event for each key, with what the server answered."""

import os
import socket
import subprocess
import time

import pytest
from collector import free_port


@pytest.fixture
def redis_url():
    """The Redis that scripts/with-servers provides."""
    url = os.environ.get("DEMARC_TEST_REDIS")
    assert url, "DEMARC_TEST_REDIS is not set: run the tests through scripts/with-servers"
    return url


def run(collector, tmp_path, text, url, **more):
    """Runs a service module under observation; gives what it printed."""
    (tmp_path / "service.py").write_text(HEAD + text)
    return collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", cwd=tmp_path,
                         URL=url, **more).stdout


HEAD = """
import asyncio, os
import redis
from redis import asyncio as aredis
URL = os.environ["URL"]
"""

def brief(collector):
    """(op, key, and what the answer was) of each event."""
    return [(e["op"], e.get("key"), e.get("hit", e.get("removed", e.get("ttl_ms"))) if e["op"] != "set"
             else e.get("ttl_ms")) for e in collector.of("cache")]


COMMANDS = """
def main():
    r = redis.from_url(URL)
    r.flushdb()
    r.get("a"); r.set("a", "x", ex=60); r.get("a"); r.set("a", "y", px=500, nx=True); r.set("n", "", nx=True)
    r.get("n")
    r.setex("b", 5, "x"); r.psetex("c", 1500, b"z"); r.setnx("c", 1); r.getset("c", 2)
    r.mset({"m1": 1, "m2": 2}); r.mget("m1", "m3", "m2")
    r.expire("a", 10); r.pexpire("gone", 10); r.persist("a"); r.expire("m2", 0)
    r.exists("a"); r.exists("gone"); r.exists("a", "gone"); r.exists("a", "b")
    r.incr("count"); r.get("count")
    r.getex("a", ex=7); r.getdel("a"); r.getdel("a")
    r.delete("b"); r.delete("b"); r.delete("b", "gone"); r.delete("c", "m1", "m1"); r.unlink("n", "gone")
    r.lpush("queue", 1); r.zadd("ranking", {"x": 1}); r.set("rq:job:1", "x")
    r.set("v", 1, xx=True); r.set("v", 1); r.set("v", 2, get=True); r.set("w", 2, nx=True, get=True)
    r.set("w", 2, nx=True, get=True); r.execute_command("set", "low", 1); r.execute_command(b"DEL", b"low")
"""


def test_commands(collector, tmp_path, redis_url):
    run(collector, tmp_path, COMMANDS, redis_url)
    assert brief(collector) == [
        ("clear", None, None),
        ("get", "a", False), ("set", "a", 60000), ("get", "a", True), ("set", "n", None), ("get", "n", True),
        ("set", "b", 5000), ("set", "c", 1500), ("set", "c", None),
        ("set", "m1", None), ("set", "m2", None), ("get", "m1", True), ("get", "m3", False), ("get", "m2", True),
        ("expire", "a", True), ("expire", "gone", False), ("expire", "a", True), ("delete", "m2", 1),
        ("get", "gone", False),
        ("set", "count", None), ("get", "count", True),
        ("get", "a", True), ("expire", "a", True), ("get", "a", True), ("delete", "a", 1), ("get", "a", False),
        ("delete", "a", 0),
        ("delete", "b", 1), ("delete", "b", 0), ("delete", "b", 0), ("delete", "gone", 0),
        ("delete", "c", 1), ("delete", "m1", 1), ("delete", "n", None), ("delete", "gone", None),
        ("set", "v", None), ("set", "v", None), ("set", "w", None), ("set", "low", None), ("delete", "low", 1),
    ]
    events = collector.of("cache")
    assert {e["layer"] for e in events} == {"shared"} and len({e["store"] for e in events}) == 1
    assert events[0]["store"] == redis_url and all(e["code"].startswith("service:main:") for e in events)
    by = {(e["op"], e["key"]): e for e in events[:20] if "key" in e}
    assert by["set", "a"]["value_hash"] == by["set", "b"]["value_hash"] != by["set", "c"]["value_hash"]
    assert by["set", "n"]["value_kind"] == by["get", "n"]["value_kind"] == "empty" and by["get", "n"]["bytes"] == 0
    got = [e for e in events if e.get("key") == "count"]
    assert got[0]["value_hash"] == got[1]["value_hash"]
    assert [e["ttl_ms"] for e in events if e["op"] == "expire" and "ttl_ms" in e] == [10000, 10, 7000]
    miss, fill, hit = events[1:4]
    assert miss["at"] + miss["dur"] == fill["fill_start"] and fill["value_hash"] == hit["value_hash"]
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]


HASHES = """
def main():
    r = redis.from_url(URL, decode_responses=True)
    r.flushdb()
    r.hget("h", "f"); r.hset("h", "f", "x"); r.hget("h", "f"); r.hset("h", mapping={"g": 1, "i": 2})
    r.hmget("h", ["f", "none"]); r.hgetall("h"); r.hgetall("none"); r.hdel("h", "f"); r.hexists("h", "f")
    r.hincrby("h", "g", 2); r.sadd("tags", "t"); r.smembers("tags"); r.sismember("tags", "t"); r.srem("tags", "t")
"""


def test_hashes_and_sets(collector, tmp_path, redis_url):
    run(collector, tmp_path, HASHES, redis_url)
    fields = [(e["op"], e.get("key"), e.get("key_parts", {}).get("field"), e.get("hit", e.get("removed")))
              for e in collector.of("cache")[1:]]
    assert fields == [
        ("get", "h", "f", False), ("set", "h", "f", None), ("get", "h", "f", True), ("set", "h", "g", None),
        ("set", "h", "i", None), ("get", "h", "f", True), ("get", "h", "none", False), ("get", "h", None, True),
        ("get", "none", None, False), ("delete", "h", "f", 1), ("get", "h", "f", False), ("set", "h", "g", None),
        ("set", "tags", None, None), ("get", "tags", None, True), ("get", "tags", "t", True),
        ("set", "tags", None, None),
    ]


COUNTERS = """
def main():
    r = redis.from_url(URL)
    r.flushdb()
    r.incr("n"); r.decrby("n", 3); r.get("n"); r.append("text", "x"); r.hincrby("h", "f", 2); r.set("n", 5)
    with r.pipeline() as p:
        p.incrby("n", 2).execute()
    r.eval("return redis.call('INCR', KEYS[1])", 1, "m"); r.eval("return redis.call('SET', KEYS[1], 1)", 1, "m")
    r.eval("if redis.call('INCR', KEYS[1]) == 9 then redis.call('SET', KEYS[1], 0) end return 1", 1, "m")
"""


def test_a_counter_is_told_from_a_set(collector, tmp_path, redis_url):
    """What a command computed in the store is a set of kind counter, with the new number's hash where it is told."""
    run(collector, tmp_path, COUNTERS, redis_url)
    events = collector.of("cache")[1:]
    assert [(e["op"], e["key"], e.get("value_kind")) for e in events] == [
        ("set", "n", "counter"), ("set", "n", "counter"), ("get", "n", "value"), ("set", "text", "counter"),
        ("set", "h", "counter"), ("set", "n", "value"), ("set", "n", "counter"),
        ("set", "m", "counter"), ("set", "m", None), ("set", "m", None),
    ]
    assert events[1]["value_hash"] == events[2]["value_hash"] and events[1]["value_form"] == "raw"
    assert "value_hash" not in events[3] and "value_form" not in events[3]


PIPELINES = """
def main():
    r = redis.from_url(URL)
    r.flushdb()
    for transaction in (True, False):
        with r.pipeline(transaction=transaction) as p:
            print(p.get("p").set("p", 1, ex=9).get("p").delete("p", "none").lpush("list", 1).execute())
    with r.pipeline() as p:
        p.watch("gen")
        print(p.get("p"))
        p.multi()
        p.set("p", "old")
        r.incr("gen")
        try:
            p.execute()
        except redis.WatchError:
            print("refused")
    for transaction in (True, False):
        with r.pipeline(transaction=transaction) as p:
            try:
                p.set("ok", 1).hget("ok", "f").delete("ok").execute()
            except redis.ResponseError:
                print("wrong type")

    async def later():
        a = aredis.from_url(URL, decode_responses=True)
        async with a.pipeline(transaction=True) as p:
            await p.watch("gen")
            print(await p.get("q"))
            p.multi()
            p.set("q", "x", ex=3)
            p.get("q")
            print(await p.execute())
        print(await a.get("q"))
        await a.delete("q")
        await a.aclose()

    asyncio.run(later())
"""


def test_pipelines(collector, tmp_path, redis_url):
    out = run(collector, tmp_path, PIPELINES, redis_url)
    assert out == run(collector, tmp_path, PIPELINES, redis_url, DEMARC="off"), "the service sees the same"
    assert "refused" in out and out.count("wrong type") == 2
    assert brief(collector)[1:] == [
        *[("get", "p", False), ("set", "p", 9000), ("get", "p", True), ("delete", "p", None),
          ("delete", "none", None)] * 2,
        ("get", "p", False), ("set", "gen", None), ("set", "p", None),
        *[("set", "ok", None), ("get", "ok", None), ("delete", "ok", 1)] * 2,
        ("get", "q", False), ("set", "q", 3000), ("get", "q", True), ("get", "q", True), ("delete", "q", 1),
    ]
    events = collector.of("cache")
    assert [(e["op"], e["key"], e["error"]) for e in events if "error" in e] == [
        ("set", "p", "redis.exceptions.WatchError"), ("get", "ok", "redis.exceptions.ResponseError"),
        ("get", "ok", "redis.exceptions.ResponseError")]
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]


SCRIPTS = """
def main():
    r = redis.from_url(URL)
    r.flushdb()
    r.set("k", "x")
    print(r.eval("return redis.call('GET', KEYS[1])", 1, "k"))
    unlock = r.register_script('if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end '
                               'return 0')
    print(unlock(keys=["k"], args=["no"]), unlock(keys=["k"], args=["x"]))
    print(r.eval("redis.call('SET', KEYS[1], ARGV[1]) redis.call('EXPIRE', KEYS[1], 9) return 1", 1, "k", "v"))
    print(r.eval("return redis.call(ARGV[1], KEYS[1])", 1, "k", "GET"))
    print(r.eval("for i, k in ipairs(KEYS) do redis.call('DEL', k) end return 2", 2, "k", "other"))
"""


def test_scripts(collector, tmp_path, redis_url):
    run(collector, tmp_path, SCRIPTS, redis_url)
    assert brief(collector)[2:] == [
        ("get", "k", True), ("delete", "k", 0), ("delete", "k", 1), ("set", "k", None), ("delete", "k", None),
        ("delete", "other", None)]


LOST = """
import socket
def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        r = redis.Redis(port=s.getsockname()[1], socket_timeout=1, retry=None, password="s3cret")
        for f in (lambda: r.get("k"), lambda: r.set("k", 1, ex=1), lambda: r.delete("k"),
                  lambda: r.pipeline().set("k", 1).delete("k").execute()):
            try:
                f()
            except redis.ConnectionError as e:
                print("lost")
"""


def test_errors(collector, tmp_path, redis_url):
    assert run(collector, tmp_path, LOST, redis_url) == "lost\n" * 4
    events = collector.of("cache")
    assert [e["op"] for e in events] == ["get", "set", "delete", "set", "delete"]
    assert {e["error"] for e in events} == {"redis.exceptions.ConnectionError"}
    assert not any("hit" in e or "removed" in e or "value_hash" in e for e in events)
    assert "s3cret" not in str(collector.events)


REQUESTS = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
import sqlite3

async def page(request):
    a = aredis.from_url(URL)
    key = "page:" + request.query_params["n"]
    if await a.get(key) is None:
        db = sqlite3.connect(":memory:")
        db.execute("select 1").fetchall()
        await a.set(key, "x", ex=60)
    await a.get("other")
    await a.aclose()
    return PlainTextResponse("ok")

def main():
    redis.from_url(URL).flushdb()
    with TestClient(Starlette(routes=[Route("/", page)])) as c:
        for i in range(NUMBER):
            assert c.get("/?n=%d" % (i % 10)).text == "ok"
"""


def test_fill_is_tied_to_the_request(collector, tmp_path, redis_url):
    run(collector, tmp_path, "NUMBER = 1\n" + REQUESTS, redis_url)
    (request,), (query,) = collector.of("request"), collector.of("query")
    miss, fill, other = collector.of("cache")[1:]
    assert miss["trace"] == fill["trace"] == query["trace"] == request["trace"] and miss["parent"] == request["span"]
    assert miss["at"] < fill["fill_start"] <= query["at"] < fill["at"] and other["hit"] is False
    assert "fill_start" not in other


WRITES = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
import sqlite3

def page(request):
    r = redis.from_url(URL)
    db = sqlite3.connect("w.sqlite3")
    db.execute("create table if not exists t (x)")
    db.commit()
    r.set("before", 1)
    db.execute("insert into t values (1)")
    r.delete("inside")
    db.commit()
    r.delete("after")
    return PlainTextResponse("ok")

def main():
    with TestClient(Starlette(routes=[Route("/", page)])) as c:
        assert c.get("/").text == "ok"
"""


def test_the_open_transaction_is_named(collector, tmp_path, redis_url):
    run(collector, tmp_path, WRITES, redis_url)
    begin = collector.of("txn", op="begin")[-1]
    assert [(e["key"], e.get("txn")) for e in collector.of("cache")] == [
        ("before", None), ("inside", begin["txn"]), ("after", None)]


CLUSTER = """
import time
from redis.cluster import RedisCluster
from redis.asyncio.cluster import RedisCluster as Later
HOST, PORT = URL.split(":")

def main():
    with redis.Redis(host=HOST, port=int(PORT)) as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while node.cluster("INFO").get("cluster_state") != "ok":
            time.sleep(0.1)
    r = RedisCluster(host=HOST, port=int(PORT))
    print(r.get("a"), r.set("a", 1, ex=5), r.get("a"), r.delete("a"))
    print(r.pipeline().set("{p}1", 1).get("{p}1").execute())

    async def later():
        a = Later(host=HOST, port=int(PORT))
        print(await a.set("b", 1), await a.get("b"), await a.pipeline().get("b").delete("b").execute())
        await a.aclose()

    asyncio.run(later())
"""


def test_cluster(collector, tmp_path):
    port = free_port()
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                               "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                               "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        run(collector, tmp_path, CLUSTER, "127.0.0.1:%d" % port)
    finally:
        server.terminate()
        server.wait(timeout=60)
    assert brief(collector) == [
        ("get", "a", False), ("set", "a", 5000), ("get", "a", True), ("delete", "a", 1),
        ("set", "{p}1", None), ("get", "{p}1", True), ("set", "b", None), ("get", "b", True), ("get", "b", True),
        ("delete", "b", 1)]
    assert {e["store"] for e in collector.of("cache")} == {"redis-cluster://127.0.0.1:%d" % port}
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]


def test_sampling_keeps_a_key_always_or_never(collector, tmp_path, redis_url):
    collector.answer["rate"] = 0.5
    text = "import time\nfrom _demarc import core\nNUMBER = 0\ndef main():\n" \
           "    while core.state.rate == 1: time.sleep(0.01)\n" \
           "    r = redis.from_url(URL); r.flushdb()\n" \
           "    for n in range(3):\n" \
           "        for i in range(40):\n" \
           "            if r.get('k%d' % i) is None: r.set('k%d' % i, 1)\n"
    run(collector, tmp_path, text, redis_url, config={"max_rate": 0})
    gets = collector.of("cache", op="get")
    keys = [e["key"] for e in gets]
    assert 0 < len(set(keys)) < 40 and all(keys.count(k) == 3 for k in keys)
    sets = collector.of("cache", op="set")
    assert len(sets) == 40 and {e["key"] for e in sets if "fill_start" in e} == set(keys)
    assert collector.stats[-1]["sampled"] == 120 - len(keys)


BROKEN = """
import _demarc.hooks.cache_redis as hook
from _demarc import caches, core, redis_commands

def fail(*a, **k):
    raise RuntimeError("injected")

def answers():
    r = redis.from_url(URL)
    r.flushdb()
    s = r.register_script("return redis.call('GET', KEYS[1])")
    out = [r.set("a", 1, px=9000), r.get("a"), r.delete("a", "b"), r.pipeline().set("p", 1).get("p").execute(),
           r.mget("p", "x"), s(keys=["p"]), r.exists("p")]
    async def later():
        a = aredis.from_url(URL)
        got = [await a.set("z", 1), await a.get("z"), await a.pipeline().get("z").execute()]
        await a.aclose()
        return got
    return repr(out + asyncio.run(later()))

def main():
    want = answers()
    for owner, name in ((hook, "_store"), (redis_commands, "_key"), (redis_commands, "_word"), (hook, "_take"),
                        (hook, "learn_script"), (hook, "text"), (caches, "record"), (caches, "emit"),
                        (caches, "code"), (caches, "missed"), (hook, "_show"), (hook, "raw"),
                        (caches.redact, "key"), (caches.hashing, "hash_stored")):
        original = getattr(owner, name)
        before = sum(core.state.failures.values())
        setattr(owner, name, fail)
        hook._shown.clear()
        got = answers()
        setattr(owner, name, original)
        core.state.disabled.clear()
        print(name, got == want, sum(core.state.failures.values()) > before)
"""


def test_a_failing_hook_steps_aside(collector, tmp_path, redis_url):
    out = run(collector, tmp_path, BROKEN, redis_url).splitlines()
    assert len(out) == 14 and all(line.endswith(" True True") for line in out), out


def test_off_is_off(collector, tmp_path, redis_url):
    collector.answer["recording"] = False
    run(collector, tmp_path, "import time\nfrom _demarc import core\ndef main():\n"
        "    while core.state.on: time.sleep(0.01)\n    redis.from_url(URL).get('x')\n", redis_url)
    assert not collector.of("cache")
