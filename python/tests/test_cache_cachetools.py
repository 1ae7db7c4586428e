"""cachetools' caches as a service creates them: in modules, in objects, in dicts, behind @cached and @cachedmethod."""

HEAD = "import copy, operator, pickle, time, cachetools, cachetools.keys\n"


def run(collector, tmp_path, text, **more):
    (tmp_path / "service.py").write_text(HEAD + text)
    return collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", cwd=tmp_path,
                         **more).stdout


SAME = """
class Clock:
    now = 0
    def __call__(self): return self.now

class Filling(cachetools.LRUCache):
    def __missing__(self, key):
        self[key] = value = key * 2
        return value

def main():
    clock = Clock()
    for make in (lambda: cachetools.Cache(9), lambda: cachetools.FIFOCache(2), lambda: cachetools.LRUCache(2),
                 lambda: cachetools.LFUCache(2), lambda: cachetools.TTLCache(2, 10, timer=clock),
                 lambda: cachetools.TLRUCache(2, lambda k, v, t: t + 10, timer=clock), lambda: Filling(2),
                 lambda: cachetools.RRCache(2, choice=operator.itemgetter(0))):
        c = make()
        out = [type(c).__name__, c.get("a"), c.get("a", 5), "a" in c]
        c["a"] = 1; c["b"] = [2]; out += [c["a"], c.get("b"), c.setdefault("a", 9), len(c), sorted(c)]
        try: out.append(c["none"])
        except KeyError as e: out.append(repr(e))
        c["c"] = 3; c["d"] = 4
        out += [len(c), c.pop("d", None), c.pop("gone", "default"), sorted(c)]
        try: c.pop("gone")
        except KeyError as e: out.append(repr(e))
        try: del c["gone"]
        except KeyError as e: out.append(repr(e))
        c["e"] = 5; del c["e"]
        c["f"] = 6
        clock.now += 20
        out += [len(c), c.get("f")]
        if "TL" not in type(c).__name__: out.append(repr(pickle.loads(pickle.dumps(c))) == repr(c))
        c["g"] = 7; out += [c.popitem() is not None, len(copy.copy(c)), c.currsize, c.maxsize]
        c.update({"h": 8}); c.clear(); out += [len(c), repr(c)]
        try: c["big"], c.x
        except (KeyError, AttributeError) as e: out.append(repr(e))
        print(out)
    try: cachetools.LRUCache(0)["x"] = 1
    except ValueError as e: print(e)
"""


def test_the_service_sees_the_same(collector, tmp_path):
    observed = run(collector, tmp_path, SAME)
    assert observed == run(collector, tmp_path, SAME, DEMARC="off") and len(observed.splitlines()) == 9
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]


EVENTS = """
class Clock:
    now = 0
    def __call__(self): return self.now
clock = Clock()

class Store:
    def __init__(self):
        self.entries = {f: cachetools.TTLCache(2, 60, timer=clock) for f in ("one", "two")}
    def fetch(self, family, name):
        kept = self.entries[family].get(name)
        if kept is None:
            time.sleep(0.01)
            kept = self.entries[family][name] = [name]
        return kept

def main():
    s = Store()
    s.fetch("one", "a"); got = s.fetch("one", "a"); s.fetch("two", "a")
    got.append("changed"); s.fetch("one", "a")
    s.fetch("one", "b"); s.fetch("one", "c")
    clock.now = 100
    s.fetch("one", "d")
    one = s.entries["one"]
    one.pop("d", None); one.pop("d", None); one["e"] = None; one["e"]; del one["e"]; one["g"] = 1; one.clear()
    one["x"] = 1; one.popitem()
    try: one["nothing"]
    except KeyError: pass
"""


def test_events(collector, tmp_path):
    run(collector, tmp_path, EVENTS)
    events = collector.of("cache")
    assert {e["layer"] for e in events} == {"local"}
    first, second = sorted({e["store"] for e in events})
    assert first.startswith("cachetools:service:") and second == first + "#2"
    assert [(e["op"], e["key"], e.get("hit")) for e in events if e["store"] == second] == [
        ("get", "a", False), ("set", "a", None)]
    one = [e for e in events if e["store"] == first]
    assert [(e["op"], e.get("key"), e.get("hit", e.get("removed"))) for e in one] == [
        ("get", "a", False), ("set", "a", None), ("get", "a", True), ("get", "a", True),
        ("get", "b", False), ("set", "b", None), ("get", "c", False), ("evict", "a", 1), ("set", "c", None),
        ("get", "d", False), ("expire", "b", 1), ("expire", "c", 1), ("set", "d", None),
        ("delete", "d", 1), ("delete", "d", 0), ("set", "e", None), ("get", "e", True), ("delete", "e", 1),
        ("set", "g", None), ("clear", None, 1), ("set", "x", None), ("delete", "x", 1), ("get", "nothing", False),
    ]
    miss, fill, hit, changed = one[:4]
    assert fill["ttl_ms"] == 60000 and fill["fill_start"] == miss["at"] and fill["at"] - miss["at"] > 5e6
    assert fill["value_hash"] == hit["value_hash"] != changed["value_hash"]
    assert fill["code"].startswith("service:") and "fetch:" in fill["code"]
    assert [e.get("value_kind") for e in one if e.get("key") == "e"][:2] == ["none", None]


DECORATED = """
@cachetools.cached(cachetools.LRUCache(2))
def double(x, y=0): return x * 2

class Page:
    def __init__(self): self.cache = cachetools.TTLCache(9, 60)
    @cachetools.cachedmethod(operator.attrgetter("cache"), key=lambda *a, **k: "page:%s" % a[-1])
    def render(self, n): return {"n": n}

class Filling(cachetools.LRUCache):
    def __missing__(self, key):
        self[key] = value = key * 2
        return value

def main():
    double(1); double(1); double(1, y=3)
    p = Page(); p.render(1); p.render(1)
    f = Filling(9); f["ab"]; f["ab"]
"""


def test_decorators_and_missing(collector, tmp_path):
    run(collector, tmp_path, DECORATED)
    keys = [(e["op"], e["key"], e.get("hit")) for e in collector.of("cache")]
    assert keys == [
        ("get", "1", False), ("set", "1", None), ("get", "1", True), ("get", "1|y=3", False), ("set", "1|y=3", None),
        ("get", "page:1", False), ("set", "page:1", None), ("get", "page:1", True),
        ("get", "ab", False), ("set", "ab", None), ("get", "ab", True),
    ]
    assert all("fill_start" in e for e in collector.of("cache", op="set"))


LIBRARY = """
def main():
    import library
    c = library.make()
    c["a"] = 1; c["a"]
    own = cachetools.LRUCache(2)
    for i in range(3000): own.get("x")
    own["y"] = 1
    for i in range(3000): own["y"]
"""


def test_libraries_are_left_alone_and_hits_are_counted(collector, tmp_path):
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "library.py").write_text("import cachetools\ndef make(): return cachetools.LRUCache(3)\n")
    run(collector, tmp_path, LIBRARY, PYTHONPATH=str(site))
    line = (HEAD + LIBRARY).splitlines().index("    own = cachetools.LRUCache(2)") + 1
    assert {e["store"] for e in collector.of("cache")} == {"cachetools:service:%d" % line}
    misses = collector.of("cache", op="get", hit=False)
    hits = collector.of("cache", op="get", hit=True)
    assert len(misses) == 3000 and sum(e.get("count", 1) for e in hits) == 3000 and len(hits) < 3000


BROKEN = """
import _demarc.hooks.cache_cachetools as hook
from _demarc import caches, core

def fail(*a, **k): raise RuntimeError("injected")

def answers():
    c = cachetools.TTLCache(2, 60)
    out = [c.get("a"), c.setdefault("a", 1), c["a"], c.get("a")]
    c["b"] = 2; c["c"] = 3
    for bad in (lambda: c["gone"], lambda: c.__delitem__("gone")):
        try: bad()
        except KeyError as e: out.append(repr(e))
    out += [c.pop("c"), c.pop("gone", 4), c.popitem(), len(c)]
    c["x"] = 1; c.clear()
    return repr([*out, len(c)])

def main():
    want = answers()
    for owner, name in ((hook, "_register"), (hook, "_key"), (hook, "_ttl"), (hook, "_got"), (hook, "now"),
                        (hook, "code"), (hook, "_plain_len"), (caches, "record"), (caches, "local_hit"),
                        (caches, "emit"), (caches.redact, "key"), (caches.hashing, "hash_value")):
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


def test_a_failing_hook_steps_aside(collector, tmp_path):
    out = run(collector, tmp_path, BROKEN).splitlines()
    assert len(out) == 12 and all(line.endswith(" True True") for line in out), out
