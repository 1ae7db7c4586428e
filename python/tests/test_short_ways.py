"""The short ways of the commonest operations give the events that the general way gives."""

SAME = """
import enum
from _demarc import caches, core, hashing
from _demarc.caches import CANONICAL, GET, LOCAL, RAW, SET, SHARED, record
from _demarc.hooks import cache_redis

class Client:
    class connection_pool:
        _demarc = 7

cache_redis.now = lambda: 12

def got(value):
    cache_redis._got((Client, "GET", "k"), value, 10)

def put(value, *ttl):
    cache_redis._put((Client, "SET", "k", value, *ttl), True, 10)

def event(function, *args, **kwargs):
    core.buffer.clear()
    assert function(*args, **kwargs) is not False
    (found,) = core.buffer
    core.buffer.clear()
    return found[:3] + found[4:-1]  # without its number and the line that asked

def compare(ctx):
    for value in ("x" * 30, b"y" * 300, "[]", b"", b"null", "\\u00e9"):
        assert event(got, value) == event(record, GET, SHARED, 7, "k", 10, 12, True, value, RAW)
        for missed in (False, True):
            told = []
            for way in (lambda: put(value, "EX", 9),
                        lambda: record(SET, SHARED, 7, "k", 10, 12, None, value, RAW, 9000)):
                if missed:
                    caches.missed(ctx, 7, "k", 4)
                told.append(event(way))
            assert told[0] == told[1] and told[0][-1] == (4 if missed else None), told
    assert event(got, None) == event(record, GET, SHARED, 7, "k", 10, 12, False)
    for value in ({"a": 1}, object(), "x", None):
        assert event(caches.local_hit, 7, "k", 10, value, 3) == event(
            record, GET, LOCAL, 7, "k", 10, 10, True, form=CANONICAL, digest=hashing.hash_value(value), line=3)

core.state.on = False
compare(None)
c = core.Ctx(1, 2)
c.txn[0] = 5
core.current.set(c)
compare(c)

class Name(str, enum.Enum):
    a = "a"

by = hashing.hash_value
assert by({"a": 1, "bb": "x"}) == by({"bb": "x", "a": 1}) != by({"a": "1", "bb": "x"})
assert by({Name.a: 1}) != by({"a": 1}), "a key is its own kind of text, whatever it is equal to"
assert by({"a": {"c": [1, True, None]}, "b": 2.5}) == by({"b": 2.5, "a": {"c": [1, True, None]}})
one, true, real = [hashing.hash_params((v,)) for v in (1, True, 1.0)]
assert one != true and one == real
for params in ((1, "x", None, -(1 << 70), 2.5), (1, 1, "1"), ()):
    assert hashing.hash_params(params) == b"".join([hashing.hash_param(v) for v in params])
print("same")
"""


def test_the_same_events(collector):
    assert collector.run(SAME).stdout == "same\n"


def test_one_turn_sends_what_the_buffer_held(collector):
    """However many events wait, they arrive in order and once, in frames of at most 500."""
    collector.run("""
from _demarc import core, transport
transport._sender.halt()
for i in range(1, 3_702):
    store = core.text("s%d" % (i % 900))
    core.emit((core.CACHE, i, 0, i, None, None, None, core.text("get"), core.text("local"), store))
transport._sender.start()
""")
    assert [e["at"] for e in collector.of("cache")] == list(range(1, 3_702))
    assert {e["store"] for e in collector.of("cache")} == {"s%d" % i for i in range(900)}
    assert collector.stats[-1]["dropped"] == 0
