"""Django's cache framework on its backends, with a real Redis: one event an operation, with the made key."""

import os

import pytest

pytestmark = pytest.mark.thorough


@pytest.fixture
def redis_url():
    """The Redis that scripts/with-servers provides."""
    url = os.environ.get("DEMARC_TEST_REDIS")
    assert url, "DEMARC_TEST_REDIS is not set: run the tests through scripts/with-servers"
    return url


HEAD = """
import asyncio, os, sys, time
import django
from django.conf import settings
BACKEND = sys.argv[1]
URL = os.environ["URL"]
CACHES = {
    "locmem": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "here"},
    "redis": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": URL},
    "file": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "cachefiles"},
    "db": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache_table"},
    "dummy": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
}
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="service", USE_TZ=True,
    CACHES={"default": {**CACHES[BACKEND], "KEY_PREFIX": "shop", "TIMEOUT": 300}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}})
django.setup()
from django.core.cache import cache
from django.core.management import call_command
"""


def run(collector, tmp_path, backend, text, url, **more):
    (tmp_path / "service.py").write_text(HEAD + text)
    return collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", backend, cwd=tmp_path,
                         URL=url, **more).stdout


OPERATIONS = """
def main():
    if BACKEND == "db":
        call_command("createcachetable", verbosity=0)
    cache.clear()
    print(cache.get("a"), cache.get("a", "default"))
    cache.set("a", {"x": 1, "y": [2]}, 60)
    print(cache.get("a"))
    print(cache.add("a", 5), cache.add("b", 5, 10), cache.get("b"))
    cache.set("none", None)
    print(cache.get("none"), cache.get("none", "default"))
    print(cache.get_or_set("c", lambda: [1], 30), cache.get_or_set("c", lambda: [2], 30))
    print(sorted(cache.get_many(["a", "zz", "b"]).items()))
    print(cache.set_many({"m": 1, "n": 2}, 20))
    if BACKEND != "dummy":
        print(cache.incr("m"), cache.decr("m"))
    print(cache.touch("a", 5), cache.touch("zz"), cache.has_key("a"), "zz" in cache)
    print(cache.delete("a"), cache.delete("a"), cache.delete_many(["m", "n"]))
    cache.set("gone", 1, 0)
    cache.set("v", 1, version=2); print(cache.get("v"), cache.get("v", version=2))
    try:
        cache.incr("zz")
    except ValueError as e:
        print("ValueError")
"""


@pytest.mark.parametrize("backend", ["locmem", "redis", "file", "db", "dummy"])
def test_the_service_sees_the_same(collector, tmp_path, redis_url, backend):
    observed = run(collector, tmp_path, backend, OPERATIONS, redis_url)
    assert observed == run(collector, tmp_path, backend, OPERATIONS, redis_url, DEMARC="off")
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]


def key(name, version=1):
    return "shop:%d:%s" % (version, name)


@pytest.mark.parametrize("backend", ["locmem", "redis", "db"])
def test_operations(collector, tmp_path, redis_url, backend):
    run(collector, tmp_path, backend, OPERATIONS, redis_url)
    events = collector.of("cache")
    brief = [(e["op"], e.get("key"), e.get("hit", e.get("removed"))) for e in events if e["op"] != "expire"]
    start = [
        ("clear", None, None), ("get", key("a"), False), ("get", key("a"), False), ("set", key("a"), None),
        ("get", key("a"), True), ("set", key("b"), None), ("get", key("b"), True), ("set", key("none"), None),
        ("get", key("none"), True), ("get", key("none"), True),
        ("get", key("c"), False), ("set", key("c"), None), ("get", key("c"), True),
        ("get", key("a"), True), ("get", key("zz"), False), ("get", key("b"), True),
        ("set", key("m"), None), ("set", key("n"), None),
    ]
    assert brief[: len(start)] == start
    assert {e["layer"] for e in events} == {"local" if backend == "locmem" else "shared"}
    (store,) = {e["store"] for e in events}
    assert store == {"locmem": "django:locmem:here", "redis": redis_url, "db": "django:db:cache_table"}[backend]
    of_a = [e for e in events if e.get("key") == key("a")]
    assert [e.get("removed") for e in of_a if e["op"] == "delete"] == [1, 0]
    fill, hit = of_a[2:4]
    assert fill["value_hash"] == hit["value_hash"] and fill["value_form"] == hit["value_form"] == "canonical"
    assert fill["ttl_ms"] == 60000 and fill["fill_start"] >= of_a[1]["at"]
    assert fill["key_parts"] == {"version": "1", "prefix": "shop"}
    assert all(e["code"].startswith("service:") for e in events)
    assert [e.get("value_kind") for e in events if e.get("key") == key("none")] == ["none"] * 3
    assert [(e["op"], e.get("hit")) for e in events if e.get("key") in (key("v"), key("v", 2))] == [
        ("set", None), ("get", False), ("get", True)]
    if backend == "db":
        assert len(collector.of("query")) > 20  # its statements are statements, too


ASYNC = """
async def work():
    print(await cache.aget("k"))
    await cache.aset("k", [1, 2], 60)
    print(await cache.aget("k"), await cache.aget_or_set("l", lambda: 5), await cache.aget_many(["k", "l"]))
    print(await cache.adelete("k"))

def main():
    cache.clear()
    asyncio.run(work())
"""


@pytest.mark.parametrize("backend", ["locmem", "redis"])
def test_async(collector, tmp_path, redis_url, backend):
    run(collector, tmp_path, backend, ASYNC, redis_url)
    events = collector.of("cache")[1:]
    assert [(e["op"], e["key"], e.get("hit", e.get("removed"))) for e in events] == [
        ("get", key("k"), False), ("set", key("k"), None), ("get", key("k"), True),
        ("get", key("l"), False), ("set", key("l"), None), ("get", key("k"), True), ("get", key("l"), True),
        ("delete", key("k"), 1)]
    assert all(e["code"].startswith("service:work:") for e in events), [e.get("code") for e in events]


PAGES = """
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page

@cache_page(60)
def view(request):
    return HttpResponse("page")

urlpatterns = [path("p/", view)]

def main():
    from django.test import Client
    cache.clear()
    for i in range(2):
        print(Client().get("/p/?q=1").content)
    cache.clear()
    time.sleep(1.1)
    Client().get("/p/?q=1")
"""


def test_cache_page(collector, tmp_path, redis_url):
    run(collector, tmp_path, "redis", PAGES, redis_url)
    first, second, again = collector.of("request")
    # The first entry says on which headers the page depends; the page's own key is only known from it.
    filled = collector.of("cache", trace=first["trace"], op="set")
    assert len(filled) == 2 and len({e["fill_start"] for e in filled}) == 1
    assert [e["hit"] for e in collector.of("cache", trace=second["trace"])] == [True, True]
    assert all(e["value_form"] == "canonical" for e in filled)
    # The same page a second later: only its header Expires is another one.
    refilled = collector.of("cache", trace=again["trace"], op="set")
    assert [e["value_hash"] for e in refilled] == [e["value_hash"] for e in filled]


OWN = """
from django.core.cache.backends.locmem import LocMemCache

class Own(LocMemCache):
    def get(self, key, default=None, version=None):
        return super().get(key, default, version)
    def get_many(self, keys, version=None):
        return {k: self.get(k, version=version) for k in keys}

def main():
    c = Own("own", {})
    c.set("a", 1); c.get("a"); c.get_many(k for k in ["a"]); cache.set("b", 1)
"""


def test_a_backend_of_the_service(collector, tmp_path, redis_url):
    run(collector, tmp_path, "locmem", OWN, redis_url)
    assert [(e["op"], e["key"]) for e in collector.of("cache")] == [
        ("set", ":1:a"), ("get", ":1:a"), ("get", ":1:a"), ("set", "shop:1:b")]


BROKEN = """
import _demarc.hooks.cache_django as hook
from _demarc import caches, core

def fail(*a, **k): raise RuntimeError("injected")

def answers():
    cache.clear()
    out = [cache.get("a"), cache.set("a", [1], 9), cache.get("a"), cache.get_or_set("b", 2), cache.delete("a"),
           cache.get_many(["a", "b"]), cache.set_many({"m": 1}), cache.incr("m"), cache.touch("m"), cache.has_key("m")]
    async def later():
        return [await cache.aset("z", 1), await cache.aget("z"), await cache.aget_or_set("y", 3)]
    try: cache.incr("none")
    except ValueError as e: out.append("ValueError")
    return repr(out + asyncio.run(later()))

def main():
    want = answers()
    for owner, name in ((hook, "_begin"), (hook, "_finish"), (hook, "_parts"), (hook, "_arg"), (hook, "_ttl"),
                        (hook, "code"), (caches, "record"), (caches, "emit"), (caches.redact, "key"),
                        (caches.hashing, "hash_value")):
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


@pytest.mark.parametrize("backend", ["locmem", "redis"])
def test_a_failing_hook_steps_aside(collector, tmp_path, redis_url, backend):
    out = run(collector, tmp_path, backend, BROKEN, redis_url).splitlines()
    assert len(out) == 10 and all(line.endswith(" True True") for line in out), out
