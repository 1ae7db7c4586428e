"""functools.lru_cache and cache in a service's own modules: misses and clears always, hits in full or counted."""

HEAD = "import functools, sys, time, pickle, inspect, threading, copy, asyncio\n"


def run(collector, tmp_path, text, **more):
    (tmp_path / "service.py").write_text(HEAD + text)
    return collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", cwd=tmp_path,
                         **more).stdout


LOOKS = '''
@functools.lru_cache(maxsize=2)
def one(a, b=1):
    """Says one."""
    if a == "boom":
        raise ValueError("boom")
    return {"a": a, "b": b}

@functools.cache
def two(a): return a

@functools.lru_cache
def three(a): return a

class Thing:
    @functools.lru_cache(maxsize=None)
    def method(self, x): return x * 2

    @staticmethod
    @functools.cache
    def fixed(x): return x

    @classmethod
    @functools.lru_cache(typed=True)
    def made(cls, x): return x

@functools.cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)

def main():
    print(one(1), one(1), one(1, b=1), one.cache_info(), one.cache_parameters())
    print(one.__name__, one.__qualname__, one.__doc__, one.__module__, inspect.signature(one), one.__wrapped__(3))
    print(callable(one.__wrapped__), pickle.loads(pickle.dumps(one)) is one, copy.deepcopy(one) is one)
    for bad in ((), ([],)):
        try: one(*bad)
        except TypeError as e: print(e)
    try: one("boom")
    except ValueError as e: print(e, one.cache_info())
    t = Thing()
    print(t.method(2), t.method(2), Thing.method(t, 2), t.fixed(1), Thing.fixed(1), Thing.made(1), Thing.made(True))
    print(Thing.method.cache_info(), two(1), two.cache_info(), three(1), three.cache_info(), fib(30), fib.cache_info())
    try: functools.lru_cache("x")
    except TypeError as e: print(e)
    one.cache_clear(); print(one.cache_info())
    print(functools.lru_cache.__name__, functools.cache.__name__)
'''


def test_the_service_sees_the_same(collector, tmp_path):
    observed = run(collector, tmp_path, LOOKS)
    assert observed == run(collector, tmp_path, LOOKS, DEMARC="off")
    assert "CacheInfo" in observed and not any(s["failures"] for s in collector.stats)


EVENTS = """
@functools.lru_cache
def f(a, token=None): return [a]

class Row:
    def __init__(self, n): self.n = n
    @functools.lru_cache
    def total(self): return self.n

@functools.lru_cache
def conf(): return {"a": 1}

def main():
    conf(); conf()
    got = f(1); f(1); got.append("changed"); f(1)
    f("ann@example.com", token="hunter2"); f("x", "hunter2")
    r = Row(3); r.total(); r.total(); Row(3).total()
    f.cache_clear()
"""


def test_events(collector, tmp_path):
    run(collector, tmp_path, EVENTS)
    all_events = collector.of("cache")
    assert {e["layer"] for e in all_events} == {"local"} and "hunter2" not in str(all_events)
    assert "example.com" not in str(all_events) and all(e["code"].startswith("service:main:") for e in all_events)
    events = [e for e in all_events if e["store"] == "functools:service.f"]
    assert [(e["op"], e.get("hit", e.get("removed"))) for e in events] == [
        ("get", False), ("set", None), ("get", True), ("get", True), ("get", False), ("set", None), ("get", False),
        ("set", None), ("clear", 3)]
    miss, fill, hit, changed = events[:4]
    assert miss["key"] == fill["key"] == hit["key"] == "1" and fill["fill_start"] == miss["at"]
    assert fill["value_hash"] == hit["value_hash"] != changed["value_hash"] and fill["value_form"] == "canonical"
    bare = [(e["op"], e["key"]) for e in all_events if e["store"] == "functools:service.conf"]
    assert bare == [("get", "()"), ("set", "()"), ("get", "()")]
    methods = [e for e in all_events if e["store"] == "functools:service.Row.total"]
    assert [e.get("hit") for e in methods] == [False, None, True, False, None]
    assert methods[0]["key"] == methods[2]["key"] != methods[3]["key"] and methods[0]["key"].startswith("<Row ")


MANY = """
@functools.lru_cache
def f(a): return a

@functools.lru_cache
def named(a): return a

def main():
    for i in range(5000): f(1)
    for i in range(3000): named(2)
    time.sleep(1.6)
    for i in range(3000): f(1)
"""


def test_hits_beyond_the_budget_are_counted(collector, tmp_path):
    run(collector, tmp_path, MANY, config={"functions": ["service:named"]})
    f = collector.of("cache", op="get", store="functools:service.f", hit=True)
    full, counted = [e for e in f if "key" in e], [e for e in f if "key" not in e]
    assert 900 <= len(full) <= 4200 and counted and all(e["count"] > 0 and e["dur"] >= 0 for e in counted)
    assert len(full) + sum(e["count"] for e in counted) == 7999
    named = collector.of("cache", op="get", store="functools:service.named", hit=True)
    assert len(named) == 2999 and all(e["key"] == "2" for e in named)


LIBRARY = """
def main():
    import base64, re, library
    plain = type(functools._make_key) and library.f
    print(type(plain).__name__, type(f).__name__)
    library.f(1); library.f(1); f(1)

@functools.lru_cache
def f(a): return a
"""


def test_libraries_are_left_alone(collector, tmp_path):
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "library.py").write_text("import functools\n@functools.lru_cache\ndef f(a): return a\n")
    out = run(collector, tmp_path, LIBRARY, PYTHONPATH=str(site))
    assert out == "_lru_cache_wrapper function\n"
    assert {e["store"] for e in collector.of("cache")} == {"functools:service.f"}


def test_libraries_in_a_folder_of_any_name_are_left_alone(collector, tmp_path):
    """`pip install --target` leaves packages beside the service's own modules; their lists of files tell them apart."""
    target = tmp_path / "target"
    info = target / "library-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("library.py,sha256=x,9\nlibrary-1.0.dist-info/RECORD,,\n../../bin/tool,,\n")
    cached = "import functools\n@functools.lru_cache\ndef f(a): return a\n"
    (target / "library.py").write_text(cached)
    (target / "own.py").write_text(cached)
    script = LIBRARY.replace("library.f(1); ", "library.f(1); import own; own.f(1); ", 1)
    out = run(collector, tmp_path, script, PYTHONPATH=str(target))
    assert out == "_lru_cache_wrapper function\n"
    assert {e["store"] for e in collector.of("cache")} == {"functools:service.f", "functools:own.f"}


BROKEN = """
import _demarc.hooks.cache_functools as hook
from _demarc import caches, core

def fail(*a, **k): raise RuntimeError("injected")

def answers(n):
    @functools.lru_cache(maxsize=3)
    def f(a): return a * 2
    @functools.cache
    def g(a): return a
    out = [f(n), f(n), f(1), g(2), g(2), f.cache_info(), g.cache_info()]
    f.cache_clear()
    return repr([*out, f.cache_info()])

def main():
    want = answers(7)
    for owner, name in ((hook, "secret_places"), (hook, "call_key"), (hook, "now"), (hook, "code"), (hook, "text"),
                        (caches, "record"), (caches, "local_hit"), (caches, "emit"), (caches.redact, "key"),
                        (caches.hashing, "hash_value"), (core, "is_library")):
        original = getattr(owner, name)
        before = sum(core.state.failures.values())
        setattr(owner, name, fail)
        try:
            got = answers(7)
        except RuntimeError as e:
            got = e
        setattr(owner, name, original)
        core.state.disabled.clear()
        print(name, got == want, sum(core.state.failures.values()) > before)
"""


def test_a_failing_hook_steps_aside(collector, tmp_path):
    out = run(collector, tmp_path, BROKEN).splitlines()
    assert len(out) == 11 and all(line.endswith(" True True") for line in out), out
