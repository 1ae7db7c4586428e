"""Cache libraries as people use them, in memory and on a real Redis: one event for each key that a call was about, with
what only the library knows, and nothing of its bookkeeping."""

import json
import os
import socket

import pytest
import redis

pytestmark = pytest.mark.thorough


@pytest.fixture
def redis_url():
    """The Redis that scripts/with-servers provides."""
    url = os.environ.get("DEMARC_TEST_REDIS")
    assert url, "DEMARC_TEST_REDIS is not set: run the tests through scripts/with-servers"
    return url


HEAD = """
import asyncio, json, os, sys
from urllib.parse import urlsplit
URL, BACKEND = os.environ.get("URL_OF_SERVICE") or os.environ["URL"], sys.argv[1]
server = urlsplit(URL)
"""

AIOCACHE = """
from aiocache import Cache, cached
from aiocache.serializers import JsonSerializer

def make():
    if BACKEND == "memory":
        return Cache(Cache.MEMORY, namespace="shop:")
    return Cache(Cache.REDIS, endpoint=server.hostname, port=server.port, db=int(server.path[1:]), namespace="shop",
                 serializer=JsonSerializer())

async def work():
    cache = make()
    out = [await cache.get("a"), await cache.get("a", "default"), await cache.set("a", {"x": [1]}, ttl=60)]
    out += [await cache.get("a"), await cache.exists("a"), await cache.delete("a"), await cache.delete("a")]
    out += [await cache.multi_set([("b", 1), ("c", 2)]), await cache.multi_get(["b", "zz", "c"])]
    try:
        await cache.add("b", 3)
    except ValueError as e:
        out.append("ValueError")
    out += [await cache.increment("n", 2), await cache.expire("b", 30), bool(await cache.clear()), await cache.get("b")]
    return out

def answers():
    return asyncio.run(work())
"""
AIOCACHE_EVENTS = [
    ("get", "a", False), ("get", "a", False), ("set", "a", None), ("get", "a", True),
    ("delete", "a", 1), ("delete", "a", 0), ("set", "b", None), ("set", "c", None), ("get", "b", True),
    ("get", "zz", False), ("get", "c", True), ("set", "n", None), ("expire", "b", True),
]

FLASK_CACHING = """
from flask import Flask
from flask_caching import Cache

app = Flask("service")
cache = Cache(app, config={"CACHE_TYPE": "SimpleCache" if BACKEND == "memory" else "RedisCache", "CACHE_REDIS_URL": URL,
                           "CACHE_KEY_PREFIX": "shop:", "CACHE_DEFAULT_TIMEOUT": 300})

@app.get("/view")
@cache.cached(timeout=60)
def view():
    return "page"

@cache.memoize(60)
def twice(n):
    return {"n": 2 * n}

def answers():
    with app.app_context():
        out = [cache.get("a"), cache.set("a", {"x": [1]}, timeout=60), cache.get("a")]
        out += [cache.delete("a"), cache.delete("a"), sorted(cache.set_many({"b": 1, "c": 2}))]
        out += [cache.get_many("b", "zz", "c"), cache.has("b"), cache.add("b", 5)]
        out += [twice(3), twice(3), cache.delete_memoized(twice, 3), sorted(cache.delete_many("b", "c"))]
        client = app.test_client()
        out += [client.get("/view").text, client.get("/view").text, cache.clear()]
    return out
"""

DOGPILE = """
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

region = make_region("shop")
if BACKEND == "memory":
    region.configure("dogpile.cache.memory", expiration_time=60)
else:
    region.configure("dogpile.cache.redis", expiration_time=60, arguments={"url": URL, "redis_expiration_time": 120})

@region.cache_on_arguments()
def twice(n):
    return {"n": 2 * n}

def answers():
    out = [region.get("a") is NO_VALUE, region.set("a", {"x": [1]}), region.get("a")]
    out += [region.delete("a"), region.delete("a")]
    out += [region.set_multi({"b": 1, "c": 2}), region.get_multi(["b", "c"]), region.delete_multi(["b", "c"])]
    out += [twice(3), twice(3), twice.invalidate(3), twice(3), region.get_or_create("k", lambda: [5])]
    out += [region.invalidate(), twice(3)]
    return out
"""

CASHEWS = """
from cashews import Cache

async def work():
    cache = Cache()
    cache.setup("mem://" if BACKEND == "memory" else URL)

    @cache(ttl="1m", key="twice:{n}", tags=["twice", "all:{n}"])
    async def twice(n):
        return {"n": 2 * n}

    out = [await cache.get("a"), await cache.get("a", default="default"), await cache.set("a", {"x": [1]}, expire=60)]
    out += [await cache.get("a"), await cache.delete("a"), await cache.delete("a")]
    out += [await cache.set_many({"b": 1, "c": 2}), await cache.get_many("b", "zz", "c"), await cache.incr("n")]
    out += [await twice(3), await twice(3), await cache.delete_tags("twice"), await twice(3)]
    out += [await cache.delete_tags("nothing"), await cache.delete_match("b*"), await cache.clear()]
    await cache.close()
    return out

def answers():
    return asyncio.run(work())
"""

FASTAPI = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from fastapi_cache import FastAPICache
from fastapi_cache.backends.inmemory import InMemoryBackend
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
import redis.asyncio as aioredis

def key(function, namespace="", **more):
    return namespace + ":" + more["request"].url.path

app = FastAPI()

@app.on_event("startup")
async def start():
    FastAPICache.reset()
    app.client = aioredis.from_url(URL)
    backend = InMemoryBackend() if BACKEND == "memory" else RedisBackend(app.client)
    FastAPICache.init(backend, prefix="shop", key_builder=key)

@app.on_event("shutdown")
async def stop():
    await app.client.aclose()

@app.get("/view")
@cache(namespace="page", expire=60)
async def view():
    return {"x": [1]}

@app.post("/clear")
async def clear():
    await FastAPICache.clear(namespace="page")
    await FastAPICache.get_backend().clear(key="nothing") if BACKEND != "memory" else None
    return {}

def answers():
    with TestClient(app) as client:
        calls = [client.get("/view"), client.get("/view"), client.post("/clear"), client.get("/view")]
        return [answer.text for answer in calls]
"""

DJANGO = """
import django
from django.conf import settings
LIBRARY = %r
settings.configure(
    SECRET_KEY="x", INSTALLED_APPS=[LIBRARY, "service"], USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": URL}
            if BACKEND == "redis" else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    CACHEOPS_REDIS=URL, CACHEOPS={"service.thing": {"ops": "all", "timeout": 60}})
django.setup()
from django.db import connection, models, transaction

class Thing(models.Model):
    name = models.CharField(max_length=20)
    size = models.IntegerField()

    class Meta:
        app_label = "service"

with connection.schema_editor() as editor:
    if "service_thing" not in connection.introspection.table_names():
        editor.create_model(Thing)

def answers():
    Thing.objects.all().delete()
    first = Thing.objects.create(pk=1, name="first", size=1)
    out = [Thing.objects.get(pk=1).name, Thing.objects.get(pk=1).name]
    out.append([t.pk for t in Thing.objects.filter(name="x", size=1)])
    first.name = "second"
    first.save()
    out += [Thing.objects.get(pk=1).name, Thing.objects.count(), Thing.objects.count()]
    with transaction.atomic():
        first.size = 2
        first.save()
        out.append(Thing.objects.get(pk=1).size)
    return out + [Thing.objects.get(pk=1).size]
"""
LIBRARIES = {
    "aiocache": AIOCACHE, "cachelib": FLASK_CACHING, "dogpile": DOGPILE, "cashews": CASHEWS, "fastapi_cache": FASTAPI,
    "cacheops": DJANGO % "cacheops", "cachalot": DJANGO % "cachalot",
}


def run(collector, tmp_path, library, backend, url, then="print(json.dumps(service.answers(), default=str))", **more):
    (tmp_path / "service.py").write_text(HEAD + LIBRARIES[library])
    (tmp_path / "db.sqlite3").unlink(missing_ok=True)
    redis.Redis.from_url(url).flushdb()
    code = "import json, sys; sys.path.insert(0, '.'); import service\n" + then
    return collector.run(code, backend, cwd=tmp_path, URL=url, PYTHONWARNINGS="ignore", **more).stdout


def brief(events):
    return [(e["op"], e.get("key") or e.get("tag") or e.get("pattern"), e.get("hit", e.get("removed"))) for e in events]


def observed(collector, tmp_path, library, backend, url):
    """The cache events of a run, after what holds of all libraries was found to hold."""
    assert json.loads(run(collector, tmp_path, library, backend, url))
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]
    events = collector.of("cache")
    assert {e["layer"] for e in events if e["op"] != "clear"} == {"local" if backend == "memory" else "shared"}, events
    assert {e["store"] for e in events if e["layer"] == "shared"} <= {url}
    hashed = [e for e in events if e["op"] == "set" and "value_hash" in e]
    assert len(hashed) > 1 and {e["value_form"] for e in hashed} == {"canonical"}
    assert all(e["code"].startswith("service:") for e in events), [e for e in events if "code" not in e]
    return events


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_service_sees_the_same(collector, tmp_path, redis_url, library):
    seen = run(collector, tmp_path, library, "redis", redis_url)
    assert seen == run(collector, tmp_path, library, "redis", redis_url, DEMARC="off")


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_aiocache(collector, tmp_path, redis_url, backend):
    events = observed(collector, tmp_path, "aiocache", backend, redis_url)
    prefix = "shop:"
    assert brief(events)[: len(AIOCACHE_EVENTS)] == [(op, prefix + key, x) for op, key, x in AIOCACHE_EVENTS]
    cleared = [("clear", None, None)] if backend == "memory" else [("delete", "shop:*", None)]
    assert brief(events)[len(AIOCACHE_EVENTS) :] == [*cleared, ("get", prefix + "b", False)]
    fill, hit = events[2:4]
    assert fill["value_hash"] == hit["value_hash"] and fill["ttl_ms"] == 60_000 and "fill_start" in fill


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_flask_caching(collector, tmp_path, redis_url, backend):
    events = observed(collector, tmp_path, "cachelib", backend, redis_url)
    prefix = "" if backend == "memory" else "shop:"
    assert brief(events)[:8] == [
        ("get", prefix + "a", False), ("set", prefix + "a", None), ("get", prefix + "a", True),
        ("delete", prefix + "a", 1), ("delete", prefix + "a", 0), ("set", prefix + "b", None),
        ("set", prefix + "c", None), ("get", prefix + "b", True)]
    page = [e for e in events if e.get("key") == prefix + "view//view"]
    assert [(e["op"], e.get("hit")) for e in page] == [("get", False), ("set", None), ("get", True)]
    assert page[1]["value_hash"] == page[2]["value_hash"] and page[1]["ttl_ms"] == 60_000 and "fill_start" in page[1]
    assert brief(events)[-1][0] == "clear"
    memoized = [e for e in events if (e.get("key") or "").startswith("service.twice|~")]
    assert [(e["op"], e.get("hit", e.get("removed"))) for e in memoized] == [
        ("get", False), ("set", None), ("get", True), ("delete", 1)]
    assert len({e["key"] for e in memoized}) == 1


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_dogpile(collector, tmp_path, redis_url, backend):
    events = observed(collector, tmp_path, "dogpile", backend, redis_url)
    events = [e for e in events if e["op"] != "clear"]
    assert brief(events)[:11] == [
        ("get", "a", False), ("set", "a", None), ("get", "a", True), ("delete", "a", 1), ("delete", "a", 0),
        ("set", "b", None), ("set", "c", None), ("get", "b", True), ("get", "c", True),
        ("delete", "b", None if backend == "memory" else 1), ("delete", "c", None if backend == "memory" else 1)]
    fill = events[1]
    assert fill["value_hash"] == events[2]["value_hash"]
    assert fill["ttl_ms"] == (60_000 if backend == "memory" else 120_000)
    mine = [(e["op"], e.get("hit")) for e in events if e.get("key") == "service:twice|3"]
    missed = [("get", False)] * 2  # once more under the lock; one event in a request
    assert mine == [
        *missed, ("set", None), ("get", True), ("delete", None), *missed, ("set", None), *missed, ("set", None)]
    (clear,) = collector.of("cache", op="clear")
    assert clear["layer"] == "local" and clear["store"] == "dogpile:shop" if backend == "memory" else True


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_cashews(collector, tmp_path, redis_url, backend):
    events = observed(collector, tmp_path, "cashews", backend, redis_url)
    assert brief(events) == [
        ("get", "a", False), ("get", "a", False), ("set", "a", None), ("get", "a", True), ("delete", "a", 1),
        ("delete", "a", 0), ("set", "b", None), ("set", "c", None), ("get", "b", True), ("get", "zz", False),
        ("get", "c", True), ("set", "n", None), ("get", "twice:3", False), ("set", "twice:3", None),
        ("get", "twice:3", True), ("delete-tag", "twice", 0 if backend == "memory" else 1), ("get", "twice:3", False),
        ("set", "twice:3", None), ("delete-tag", "nothing", 0), ("delete", "b*", 0 if backend == "memory" else 1),
        ("clear", None, None)]
    assert events[13]["tags"] == ["twice", "all:3"] and "fill_start" in events[13]
    assert events[13]["value_hash"] == events[14]["value_hash"]


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_fastapi_cache(collector, tmp_path, redis_url, backend):
    events = observed(collector, tmp_path, "fastapi_cache", backend, redis_url)
    pattern = ("delete", "shop:page*", 1) if backend == "memory" else ("delete", "shop:page:*", None)
    nothing = [] if backend == "memory" else [("delete", "nothing", 0)]
    key = "shop:page:/view"
    assert brief(events) == [
        ("get", key, False), ("set", key, None), ("get", key, True), pattern, *nothing, ("get", key, False),
        ("set", key, None)]
    assert events[1]["value_hash"] == events[2]["value_hash"] and events[1]["ttl_ms"] == 60_000
    assert {e["code"].rsplit(":", 1)[0] for e in events if e.get("key") == key} == {"service:view"}


def test_cacheops(collector, tmp_path, redis_url):
    events = observed(collector, tmp_path, "cacheops", "redis", redis_url)
    sets = [e for e in events if e["op"] == "set"]
    tags = [e["tags"] for e in sets]
    assert ["service_thing:id=1"] in tags and ["service_thing:name=x&size=1"] in tags
    one = [e["key"] for e in sets if e["tags"] == ["service_thing:id=1"]][0]
    dropped = [e["tag"] for e in events if e["op"] == "delete-tag"]
    assert {"service_thing:id=1", "service_thing:", "service_thing:name=second&size=1"} <= set(dropped)
    assert all(e["hit"] is not None for e in events if e["op"] == "get")
    mine = [("set" if e["op"] == "set" else e["hit"]) for e in events if e.get("key") == one]
    assert mine[:6] == [False, "set", True, True, False, "set"]  # cacheops looks at the old object before a save
    assert all("fill_start" in e for e in sets)


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_cachalot(collector, tmp_path, redis_url, backend):
    events = observed(collector, tmp_path, "cachalot", backend, redis_url)
    sets = [e for e in events if e["op"] == "set" and "tags" in e]
    tags = {tag for e in sets for tag in e["tags"]}
    assert len(tags) == 1 and tags == {e["tag"] for e in events if e["op"] == "delete-tag"}
    key = sets[0]["key"]
    mine = [("set" if e["op"] == "set" else e["hit"]) for e in events if e.get("key") == key]
    assert mine[:5] == [False, "set", True, False, "set"]
    assert all("fill_start" in e for e in sets)


BROKEN = """
import importlib
from _demarc import caches, core, libraries

def fail(*a, **k):
    raise RuntimeError("injected")

library = %r
name = {"cachelib": "cachelib", "fastapi_cache": "fastapi"}.get(library, library)
hook = importlib.import_module("_demarc.hooks.cache_" + name)
want = repr(service.answers())
names = [n for n in vars(hook) if n.startswith("_did") or n in ("_place", "_tags", "_value", "_key", "_ttl", "_plain")]
targets = [(libraries, n) for n in ("begin", "tell", "_below", "code", "milliseconds")]
targets += [(hook, n) for n in names]
targets += [(caches, "record"), (caches, "emit"), (caches.redact, "key"), (libraries.hashing, "hash_value")]
for owner, n in targets:
    original = getattr(owner, n)
    setattr(owner, n, fail)
    try:
        got = repr(service.answers())
    except RuntimeError as e:
        got = repr(e)
    setattr(owner, n, original)
    failures = sum(core.state.failures.values())
    core.state.failures.clear()
    core.state.disabled.clear()
    print(owner.__name__, n, got == want, failures)
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_failing_hook_steps_aside(collector, tmp_path, redis_url, library):
    out = run(collector, tmp_path, library, "redis", redis_url, then=BROKEN % library).splitlines()
    assert len(out) >= 9, out
    assert all(line.split()[2] == "True" for line in out), out
    assert sum(int(line.split()[3]) > 0 for line in out) >= 5, out


BUSY = """
from _demarc import caches, libraries
caches.HITS = caches.budget.hits = 0  # as under more hits than are recorded in full
with service.app.app_context():
    service.cache.set("a", [1])
    found = [service.cache.get("a") for _ in range(50)], service.cache.get("zz")
libraries._count(1, 2)
print(json.dumps(found))
"""


def test_hits_beyond_the_budget_are_counted(collector, tmp_path, redis_url):
    assert json.loads(run(collector, tmp_path, "cachelib", "memory", redis_url, then=BUSY)) == [[[1]] * 50, None]
    events = collector.of("cache")
    assert [(e["op"], e.get("key"), e.get("hit"), e.get("count")) for e in events] == [
        ("set", "a", None, None), ("get", "zz", False, None), ("get", None, True, 50)]
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]


UNREACHABLE = """
try:
    service.answers()
except Exception as e:
    print(type(e).__name__)
"""


@pytest.mark.parametrize("library", ["cashews", "fastapi_cache"])
def test_errors_that_the_library_swallows(collector, tmp_path, redis_url, library):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = "redis://127.0.0.1:%d/0" % listener.getsockname()[1]
    run(collector, tmp_path, library, "redis", redis_url, then=UNREACHABLE, URL_OF_SERVICE=nobody)
    events = [e for e in collector.of("cache") if e["op"] in ("get", "set")]
    assert events and all("ConnectionError" in e["error"] and "hit" not in e for e in events), events
