"""async_lru's alru_cache in a service's own modules. The same code runs under version 1, which knows no lifetimes."""

import pytest

pytestmark = pytest.mark.sqlalchemy  # in the environment of previous generations, which has async_lru 1

HEAD = """
import asyncio, functools, inspect, sys, time
import async_lru
from async_lru import alru_cache

class Gate:
    '''Lets the calls that wait for it go on.'''
    def __init__(self): self.event = None
    async def wait(self):
        self.event = self.event or asyncio.Event()
        await self.event.wait()
    def open(self):
        self.event.set()
        self.event = None

def dropped(f): return getattr(f, "cache_invalidate", None) or f.invalidate

def main():
    asyncio.run(go())
"""


def run(collector, tmp_path, text, **more):
    (tmp_path / "service.py").write_text(HEAD + text)
    return collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", cwd=tmp_path,
                         **more).stdout


def told(collector, function):
    """What was told of a function's cache: operation and key, of a get whether it hit, what was removed."""
    return [" ".join([e["op"], e.get("key", "*"), str(e.get("hit", e.get("removed", "")))]).strip()
            for e in collector.of("cache", store="async_lru:service." + function)]


LOOKS = '''
@alru_cache(maxsize=2)
async def one(a, b=1):
    """Says one."""
    if a == "boom":
        raise ValueError("boom")
    return {"a": a, "b": b}

@alru_cache
async def two(a): return a

@alru_cache(typed=True)
async def typed(a, *, b=0): return a

class Thing:
    @alru_cache(maxsize=None)
    async def method(self, x): return x * 2

half = alru_cache(functools.partial(two.__wrapped__, 4))

async def go():
    print(await one(1), await one(1), await one(1, b=1), one.cache_info(), await one.__wrapped__(3))
    print(one.__name__, one.__doc__, one.__module__, inspect.signature(one), asyncio.iscoroutinefunction(one))
    try: await one([])
    except TypeError as e: print(e)
    for _ in "12":
        try: await one("boom")
        except ValueError as e: print(e)
    t = Thing()
    print(await t.method(2), await t.method(2), await two(2), await typed(1), await typed(True))
    print(Thing.method.cache_info(), two.cache_info(), typed.cache_info(), await half(), half.cache_info())
    print(dropped(two)(2), dropped(two)(2), dropped(typed)(1), dropped(typed)(1.0), typed.cache_info())
    one.cache_clear(); print(one.cache_info(), async_lru.alru_cache.__name__)
    for bad in (3, len):
        try: print(alru_cache(bad)(bad))
        except (RuntimeError, NotImplementedError) as e: print(type(e).__name__)
    print(await asyncio.gather(*[one(9) for _ in range(5)]), one.cache_info())
'''


def test_the_service_sees_the_same(collector, tmp_path):
    observed = run(collector, tmp_path, LOOKS)
    assert observed == run(collector, tmp_path, LOOKS, DEMARC="off")
    assert "CacheInfo" in observed and collector.stats and not any(s["failures"] for s in collector.stats)
    assert collector.stats[-1]["hooks"]["async_lru"] == "on"


EVENTS = """
@alru_cache
async def f(a, token=None): return [a]

class Row:
    @alru_cache
    async def total(self): return 3

async def go():
    got = await f(1); await f(1); got.append("changed"); await f(1)
    dropped(f)(1); dropped(f)(1); await f(1)
    await f("ann@example.com", token="hunter2"); await f("x", "hunter2")
    r = Row(); await r.total(); await r.total(); await Row().total()
    f.cache_clear()
"""


def test_events(collector, tmp_path):
    run(collector, tmp_path, EVENTS)
    events = collector.of("cache")
    assert {e["layer"] for e in events} == {"local"} and "hunter2" not in str(events)
    assert "example.com" not in str(events) and all(e["code"].startswith("service:go:") for e in events), events
    assert told(collector, "f")[:8] == ["get 1 False", "set 1", "get 1 True", "get 1 True", "delete 1 1", "delete 1 0",
                                        "get 1 False", "set 1"]
    assert told(collector, "f")[-1] == "clear * 3"
    miss, fill, hit, changed = collector.of("cache", store="async_lru:service.f")[:4]
    assert fill["fill_start"] == miss["at"] <= fill["at"] <= hit["at"]
    assert fill["value_hash"] == hit["value_hash"] != changed["value_hash"] and fill["value_form"] == "canonical"
    methods = collector.of("cache", store="async_lru:service.Row.total")
    assert [e.get("hit") for e in methods] == [False, None, True, False, None]
    assert methods[0]["key"] == methods[2]["key"] != methods[3]["key"] and methods[0]["key"].startswith("<Row ")
    assert not any(s["failures"] for s in collector.stats)


TOGETHER = """
gate = Gate()

@alru_cache(maxsize=2)
async def f(a):
    await gate.wait()
    if a == "boom": raise ValueError
    return a

@alru_cache(maxsize=0)
async def nothing(a): return a

async def ask(a, n=3):
    tasks = [asyncio.ensure_future(f(a)) for _ in range(n)]
    await asyncio.sleep(0.01)
    return tasks

async def go():
    tasks = await ask("a"); gate.open(); await asyncio.gather(*tasks)
    tasks = await ask("b"); dropped(f)("b"); gate.open(); await asyncio.gather(*tasks)
    tasks = await ask("c"); f.cache_clear(); tasks += await ask("c", 2); gate.open(); await asyncio.gather(*tasks)
    tasks = await ask("boom"); gate.open(); await asyncio.gather(*tasks, return_exceptions=True)
    await nothing("n")
"""


def test_who_awaits_a_running_task_hits_what_it_sets(collector, tmp_path):
    """What was dropped while its task ran was never kept: it is not set, and who awaited it has hit nothing."""
    run(collector, tmp_path, TOGETHER)
    assert told(collector, "f") == [
        "get a False", "set a", "get a True", "get a True",
        "get b False", "delete b 1",
        "get c False", "clear * 2", "get c False", "set c", "get c True",
        "get boom False",
    ]  # fmt: skip
    assert told(collector, "nothing") == ["get n False"]
    fill, *hits = collector.of("cache", key="a")[1:]
    assert all(e["value_hash"] == fill["value_hash"] and e["at"] >= fill["at"] for e in hits)
    assert not any(s["failures"] for s in collector.stats)


VERSION_2 = """
try:
    timed = alru_cache(ttl=60)
    @timed
    async def f(a): return a
except TypeError:
    f = None
try:
    @alru_cache(key=lambda token, a: (a, token))
    async def own(token, a): return a
except TypeError:
    own = None

async def go():
    print(f is not None, own is not None)
    if f: await f(1)
    if own:
        await own("hunter2", 1); await own("hunter2", 1); own.cache_invalidate("hunter2", 1)
"""


def test_lifetimes_and_keys_of_the_services_own(collector, tmp_path):
    timed, own = run(collector, tmp_path, VERSION_2).split()
    assert [e.get("ttl_ms") for e in collector.of("cache", store="async_lru:service.f")] == (
        [None, 60_000] if timed == "True" else [])
    events = collector.of("cache", store="async_lru:service.own")
    assert [e["op"] for e in events] == (["get", "set", "get", "delete"] if own == "True" else [])
    assert len({e["key"] for e in events}) <= 1 and "hunter2" not in str(events)
    assert not any(s["failures"] for s in collector.stats)


MANY = """
@alru_cache
async def f(a): return a

@alru_cache
async def named(a): return a

async def go():
    for i in range(5000): await f(1)
    for i in range(3000): await named(2)
    time.sleep(1.6)
    for i in range(3000): await f(1)
"""


def test_hits_beyond_the_budget_are_counted(collector, tmp_path):
    run(collector, tmp_path, MANY, config={"functions": ["service:named"]})
    f = collector.of("cache", op="get", store="async_lru:service.f", hit=True)
    full, counted = [e for e in f if "key" in e], [e for e in f if "key" not in e]
    assert 900 <= len(full) <= 4200 and counted and all(e["count"] > 0 and e["dur"] >= 0 for e in counted)
    assert len(full) + sum(e["count"] for e in counted) == 7999
    named = collector.of("cache", op="get", store="async_lru:service.named", hit=True)
    assert len(named) == 2999 and all(e["key"] == "2" for e in named)


def test_libraries_are_left_alone(collector, tmp_path):
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "library.py").write_text(
        "from async_lru import alru_cache\n@alru_cache\nasync def f(a): return a\n"
        "def cached(fn): return alru_cache(maxsize=3)(fn)\n"
    )
    run(collector, tmp_path, """
import library
@alru_cache
async def f(a): return a
async def mine(a): return a
again = library.cached(mine)
async def go():
    await library.f(1); await library.f(1); await f(1); await again(2)
""", PYTHONPATH=str(site))
    assert told(collector, "f") == ["get 1 False", "set 1"]
    assert {e["store"] for e in collector.of("cache")} == {"async_lru:service.f"}


BROKEN = """
import _demarc.hooks.cache_async_lru as hook
from _demarc import caches, core

def fail(*a, **k): raise RuntimeError("injected")

async def answers(n):
    @alru_cache(maxsize=3)
    async def f(a):
        await asyncio.sleep(0)
        return a * 2
    out = [await f(n), await f(n), *await asyncio.gather(*[f(1) for _ in range(4)]), dropped(f)(1), f.cache_info()]
    f.cache_clear()
    return repr([*out, f.cache_info()])

async def go():
    want = await answers(7)
    for owner, name in ((hook, "secret_places"), (hook, "call_key"), (hook, "code"), (hook, "text"), (hook, "_entries"),
                        (hook, "_future"), (hook, "_ttl"), (hook, "_ended"), (hook, "_observed"), (hook, "_fine"),
                        (caches, "record"), (caches, "local_hit"), (caches, "emit"), (caches.redact, "key"),
                        (caches.hashing, "hash_value"), (core, "is_library")):
        original = getattr(owner, name)
        before = sum(core.state.failures.values())
        setattr(owner, name, fail)
        try:
            got = await answers(7)
        except RuntimeError as e:
            got = e
        setattr(owner, name, original)
        core.state.disabled.clear()
        print(name, got == want, sum(core.state.failures.values()) > before)
"""


def test_a_failing_hook_steps_aside(collector, tmp_path):
    out = run(collector, tmp_path, BROKEN).splitlines()
    assert len(out) == 16 and all(line.endswith(" True True") for line in out), out
