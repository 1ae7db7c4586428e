"""pymemcache against a real memcached: its client, pooled and hashing clients, and Django's backend over it."""

import contextlib
import shutil
import socket
import subprocess
import time

from collector import free_port


@contextlib.contextmanager
def memcached():
    """A memcached of the test's own; gives its port."""
    program = shutil.which("memcached")
    assert program, "no memcached on the path (Debian: apt-get install memcached)"
    port = free_port()
    p = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "8", "-u", "nobody"])
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < end and p.poll() is None, "memcached did not start"
                time.sleep(0.05)
        yield port
    finally:
        p.terminate()
        p.wait(timeout=60)


HEAD = """
import os
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
SERVER = ("127.0.0.1", int(os.environ["PORT"]))
"""


def run(collector, tmp_path, text, port, **more):
    (tmp_path / "service.py").write_text(HEAD + text)
    return collector.run("import sys; sys.path.insert(0, '.'); import service; service.main()", cwd=tmp_path,
                         PORT=str(port), **more).stdout


OPERATIONS = """
def main():
    c = Client(SERVER, default_noreply=False, key_prefix=b"shop:")
    print(c.flush_all(), c.get("a"), c.get("a", "default"), c.set("a", "x", expire=60), c.get("a"))
    print(c.add("a", "y"), c.add("b", b"y"), c.replace("zz", 1), c.gets("b")[0], c.gets("zz"))
    print(c.set_many({"m": "1", "n": "2"}, expire=5), c.get_many(("m", "zz")), c.get_multi(["n"]))
    print(c.incr("m", 2), c.decr("m", 1), c.incr("zz", 1), c.touch("a", 7), c.touch("zz", 7), c.append("a", "z"))
    print(c.cas("b", "z", c.gets("b")[1]), c.cas("b", "z", b"1"), c["b"])
    print(c.delete("a"), c.delete("a"), c.delete_many(["m", "n"]))
    for other in (PooledClient(SERVER), HashClient([SERVER])):
        print(other.set("o", "1"), other.get("o"), other.delete("o"), other.get("o"))
"""


def test_operations(collector, tmp_path):
    with memcached() as port:
        observed = run(collector, tmp_path, OPERATIONS, port)
        events = collector.of("cache")
        assert observed == run(collector, tmp_path, OPERATIONS, port, DEMARC="off")
    assert [(e["op"], e.get("key"), e.get("hit", e.get("removed", e.get("ttl_ms")))) for e in events] == [
        ("clear", None, None), ("get", "shop:a", False), ("get", "shop:a", False), ("set", "shop:a", 60000),
        ("get", "shop:a", True), ("set", "shop:b", None), ("get", "shop:b", True), ("get", "shop:zz", False),
        ("set", "shop:m", 5000), ("set", "shop:n", 5000), ("get", "shop:m", True), ("get", "shop:zz", False),
        ("get", "shop:n", True), ("set", "shop:m", None), ("set", "shop:m", None),
        ("expire", "shop:a", True), ("expire", "shop:zz", False), ("set", "shop:a", None),
        ("get", "shop:b", True), ("set", "shop:b", None), ("get", "shop:b", True),
        ("delete", "shop:a", 1), ("delete", "shop:a", 0), ("delete", "shop:m", None), ("delete", "shop:n", None),
        *[("set", "o", None), ("get", "o", True), ("delete", "o", None), ("get", "o", False)] * 2,
    ]
    assert {e["store"] for e in events} == {"memcached://127.0.0.1:%d" % port}
    assert events[3]["value_hash"] == events[4]["value_hash"] and events[3]["fill_start"] >= events[2]["at"]
    assert all(e["code"].startswith("service:main:") for e in events)
    assert not any(s["failures"] for s in collector.stats), collector.stats[-1]


DJANGO = """
from django.conf import settings
settings.configure(CACHES={"default": {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                                       "LOCATION": "127.0.0.1:%d" % SERVER[1]}})
import django
django.setup()
from django.core.cache import cache

def main():
    cache.clear()
    print(cache.get("a"), cache.set("a", {"x": [1]}, 30), cache.get("a"), cache.get_many(["a", "b"]), cache.delete("a"))
"""


def test_django_over_it_is_one_event(collector, tmp_path):
    with memcached() as port:
        run(collector, tmp_path, DJANGO, port)
    events = collector.of("cache")
    assert [(e["op"], e.get("key"), e.get("hit", e.get("ttl_ms"))) for e in events] == [
        ("clear", None, None), ("get", ":1:a", False), ("set", ":1:a", 30000), ("get", ":1:a", True),
        ("get", ":1:a", True), ("get", ":1:b", False), ("delete", ":1:a", None)]
    assert len({e["value_hash"] for e in events if "value_hash" in e}) == 1
    assert {e["value_form"] for e in events if "value_hash" in e} == {"canonical"}
    assert events[-1]["removed"] == 1 and {e["store"] for e in events} == {"memcached://127.0.0.1:%d" % port}


LOST = """
def main():
    c = Client(SERVER, connect_timeout=1, timeout=1)
    for f in (lambda: c.get("a"), lambda: c.set("a", 1), lambda: c.delete("a")):
        try:
            f()
        except OSError as e:
            print("lost")
"""


def test_errors(collector, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert run(collector, tmp_path, LOST, s.getsockname()[1]) == "lost\n" * 3
    assert [(e["op"], e["error"]) for e in collector.of("cache")] == [
        (op, "ConnectionRefusedError") for op in ("get", "set", "delete")]


BROKEN = """
import _demarc.hooks.cache_pymemcache as hook
from _demarc import caches, core

def fail(*a, **k): raise RuntimeError("injected")

def answers():
    c = Client(SERVER, default_noreply=False)
    c.flush_all()
    return repr([c.get("a"), c.set("a", "x"), c.get("a"), c.get_many(["a", "b"]), c.delete("a"), c.incr("a", 1)])

def main():
    want = answers()
    for owner, name in ((hook, "_key"), (hook, "_arg"), (hook, "_store"), (hook, "_ttl"), (hook, "_noreply"),
                        (caches, "record"), (caches, "emit"), (caches, "code")):
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
    with memcached() as port:
        out = run(collector, tmp_path, BROKEN, port).splitlines()
    assert len(out) == 8 and all(line.endswith(" True True") for line in out), out
