"""What the cache hooks share: the one event of an operation on one key, the tie between a miss and its set, and the
merge of a cache API with the client below it.

An operation is a tuple (see `Op`). A hook of a client that speaks to a server hands its operations to `take`: outside
any cache API they become events at once; inside one (Django's cache over redis) they wait in the `Outer` slot, and the
API's hook emits them with what only it knows: the value as an object, whose hash is the same for equal values, and
the parts of the key. So one operation is one event, with the innermost key, lifetime and removed count.

Bounds: a request or thread remembers at most FILLS misses; an Outer slot holds at most OPS operations; of values in
in-process caches at most HITS hits a second are recorded in full and hashed for at most HASHING of a second.
"""

import contextvars
import threading
import time

from _demarc import core, hashing, redact
from _demarc.core import code, current, emit, next_seq, now, state, text
from _demarc.db import asked, error_name

FILLS = 512
OPS = 5_000
HITS = 1_000
HASHING = 0.02
CLASSES = 2_000  # of values, that are remembered
TIMES = ("date", "expires", "age")  # headers
KEY_PARTS = 64  # arguments of a call that are shown in a key

GET, SET, DELETE, CLEAR, EXPIRE, EVICT = map(text, ("get", "set", "delete", "clear", "expire", "evict"))
DELETE_TAG = text("delete-tag")
LOCAL, SHARED = text("local"), text("shared")
RAW, CANONICAL = text("raw"), text("canonical")
VALUE, NONE, EMPTY = text("value"), text("none"), text("empty")
COUNTER = text("counter")
NOTHING = object()  # no value is known


class Counted:
    """The value of a set that a command made out of what was there, such as INCR; NOTHING where it is not known."""

    __slots__ = ("value",)

    def __init__(self, value=NOTHING):
        self.value = NOTHING if value is None else value


def Op(op, key, hit=None, value=NOTHING, ttl=None, removed=None, parts=None):
    """One operation as a client saw it: op, key (text), hit, value (raw), ttl in ms, removed, parts (flat tuple)."""
    return (op, key, hit, value, ttl, removed, parts)


# ---- values -------------------------------------------------------------------------------------------------------

# What stands for nothing in the forms in which caches are commonly filled.
_SPECIAL = {
    b"": EMPTY, b"[]": EMPTY, b"{}": EMPTY, b'""': EMPTY, b"null": NONE, b"None": NONE,
    b"\x80\x02N.": NONE, b"\x80\x03N.": NONE, b"\x80\x04N.": NONE, b"\x80\x05N.": NONE,
}


def raw(value):
    """(hash, kind, size) of a value as bytes: bytes, text in UTF-8, a number as a client sends it."""
    t = type(value)
    if t is not bytes:
        if t is str:
            value = value.encode("utf-8", "surrogatepass")
        elif t is int or t is float:
            value = repr(value).encode()
        elif isinstance(value, (bytes, bytearray, memoryview)):
            value = bytes(value)
        elif isinstance(value, str):
            value = str.__str__(value).encode("utf-8", "surrogatepass")
        else:
            return None, VALUE, None
    size = len(value)
    return hashing.hash_stored(value), _SPECIAL.get(value, VALUE) if size < 8 else VALUE, size


_responses = {}  # class -> whether it is one of a framework's responses


def plain(value):
    """What of a value is hashed: of a framework's response (werkzeug's, Django's) what the client gets, without the
    headers that tell the time; any other value itself."""
    cls = value.__class__
    is_one = _responses.get(cls)
    if is_one is None:
        is_one = hasattr(cls, "status_code") and hasattr(cls, "set_cookie")
        if len(_responses) >= CLASSES:
            _responses.clear()
        _responses[cls] = is_one
    if not is_one:
        return value
    if getattr(value, "is_streamed", False) or getattr(value, "streaming", False):
        return NOTHING
    body = value.get_data() if hasattr(value, "get_data") else value.content
    headers = sorted((k, v) for k, v in value.headers.items() if k.lower() not in TIMES)
    return [value.status_code, headers, body]


def kind_of(value):
    """Whether an object is something: VALUE, NONE or EMPTY."""
    if value is None:
        return NONE
    if value.__class__ in _SIZED and not value:
        return EMPTY
    return VALUE


_SIZED = frozenset((str, bytes, list, tuple, dict, set, frozenset))


# ---- the merge of an API with the client below ---------------------------------------------------------------------


class Outer:
    """The slot of a cache API's running call, which the client below fills; silent: a call that is not recorded;
    whole: a library's call (see libraries.py), in which no other API has one of its own."""

    __slots__ = ("owner", "ops", "silent", "whole")

    def __init__(self, owner, silent=False, whole=False):
        self.owner = owner
        self.ops = []
        self.silent = silent
        self.whole = whole


outer = contextvars.ContextVar("demarc_outer", default=None)


def take(store, ops, start, end, error=None):
    """Takes the operations of one command that a client sent to a server: to the API above, if there is one."""
    o = outer.get()
    if o is not None:
        if len(o.ops) < OPS:
            o.ops.append((store, ops, start, end, error))
        return
    line = code(4) or asked.get()  # above this function stand two of the hook's at least
    for op, key, hit, value, ttl, removed, parts in ops:
        record(op, SHARED, store, key, start, end, hit, value, RAW, ttl, removed, parts, error, line)


def merged(o, values, parts):
    """Emits what the client below noted in the slot `o`; values maps keys to objects (NOTHING: not known)."""
    line = code() or asked.get()
    for store, ops, start, end, error in o.ops:
        for op, key, hit, value, ttl, removed, own in ops:
            size = None
            if value is not NOTHING and value is not None:
                size = len(value) if type(value) is bytes or type(value) is str else None
            if (op == GET and hit) or op == SET:
                value = values.get(key, Counted() if type(value) is Counted else NOTHING)
            else:
                value = NOTHING
            record(op, SHARED, store, key, start, end, hit, value, CANONICAL, ttl, removed, own or parts, error, line,
                   size)


# ---- the event ----------------------------------------------------------------------------------------------------


class _Thread(threading.local):
    """Misses of a thread that works for no request."""

    def __init__(self):
        self.fills = {}


_thread = _Thread()


def record(op, layer, store, key, start, end, hit=None, value=NOTHING, form=None, ttl=None, removed=None, parts=None,
           error=None, line=None, size=None, digest=None, tags=None, tag=None, pattern=None):
    """Emits one operation. key is the full text (None for clear, a tag and a pattern); value is hashed as `form` says
    unless digest is given; parts is a flat tuple of names and texts; tags are texts; error an exception.

    A miss is remembered; the next set of its key in the same request (or thread, outside requests) carries the time
    at which the miss was known as fill_start.
    """
    fill = None
    ctx = current.get()
    if op == GET:
        if state.sampling and not core.keep(hashing.hash_text(key)):
            core.sampled_out()
            return
        if hit is False and error is None:
            missed(ctx, store, key, end)
    elif op == SET:
        fill = filled(ctx, store, key)
    elif op == EVICT and state.sampling and not core.keep(hashing.hash_text(key)):
        core.sampled_out()
        return
    kind = None
    if value is not NOTHING and error is None:
        if op == SET or hit:
            counted = type(value) is Counted
            if counted:
                value = value.value
            if value is NOTHING:
                pass
            elif form == RAW:
                digest, kind, size = raw(value)
            else:
                if digest is None:
                    digest = hashing.hash_value(value)
                kind = kind_of(value)
            if counted:
                kind = COUNTER
            if digest is None:
                form = None
        else:
            form = None
    elif digest is None:
        form = None
    emit((
        core.CACHE, start, end - start, next_seq(), ctx.trace if ctx is not None else None, None,
        ctx.span if ctx is not None else None, op, layer, store, redact.key(key) if key is not None else None, parts,
        hit, digest, form, kind, size, ttl, None, tags and tuple([redact.key(t) for t in tags]),
        redact.key(tag) if tag is not None else None, redact.key(pattern) if pattern is not None else None, removed,
        None, error_name(error) if error is not None else None, ctx.txn[0] if ctx is not None else None, fill, line,
    ))


def missed(ctx, store, key, at):
    """Remembers a miss, so that the reads behind it are kept and its set is tied to it."""
    if ctx is None:
        fills = _thread.fills
    else:
        fills = ctx.fills
        if fills is None:
            fills = ctx.fills = {}
    if len(fills) >= FILLS:
        fills.pop(next(iter(fills)), None)
    fills[store, key] = at


def filled(ctx, store, key):
    """The time of the miss that a set of this key fills; None when there was none."""
    fills = _thread.fills if ctx is None else ctx.fills
    return fills.pop((store, key), None) if fills else None


# ---- caches inside the process ---------------------------------------------------------------------------------------


class Budget:
    """What hits of in-process caches may cost; the sender's thread refills it."""

    __slots__ = ("hits", "ns", "at")

    def __init__(self):
        self.hits = HITS
        self.ns = int(HASHING * 1e9)
        self.at = time.monotonic()


budget = Budget()
_counters = []  # called about once a second on the sender's thread, to emit counts
_counted_at = [0, 0.0]


def counter(function):
    """Registers function(since, until), which emits the counts of hits that were not recorded in full."""
    if not _counters:
        core.collectors.append(_round)
    _counters.append(function)


def _round(last=False):
    t = time.monotonic()
    passed = t - budget.at
    budget.at = t
    budget.hits = min(budget.hits + int(HITS * passed) + 1, HITS)
    budget.ns = min(budget.ns + int(HASHING * 1e9 * passed), int(HASHING * 1e9))
    since, before = _counted_at
    if not last and t - before < 1.0:
        return
    until = now()
    _counted_at[:] = until, t
    for function in _counters:
        function(since or until, until)


def count(store, since, until, hits):
    """Emits one event for many hits of a store, whose keys are not known."""
    emit((
        core.CACHE, since, until - since, next_seq(), None, None, None, GET, LOCAL, store, None, None, True, None, None,
        None, None, None, None, None, None, None, None, hits,
    ))


def local_hit(store, key, at, value, line, digest=None):
    """One hit of an in-process cache in full; the caller has taken it from the budget. digest: the value's hash, where
    it is known already."""
    if state.sampling and not core.keep(hashing.hash_text(key)):
        core.sampled_out()
        return
    if digest is None and budget.ns > 0:
        before = time.perf_counter_ns()
        digest = hashing.hash_value(value)
        budget.ns -= time.perf_counter_ns() - before
    ctx = current.get()
    trace = span = txn = None
    if ctx is not None:
        trace, span, txn = ctx.trace, ctx.span, ctx.txn[0]
    emit((
        core.CACHE, at, 0, next_seq(), trace, None, span, GET, LOCAL, store, redact.key(key), None, True, digest,
        None if digest is None else CANONICAL, None, None, None, None, None, None, None, None, None, None, txn, None,
        line,
    ))


def argument(v):
    """How an object looks as a part of a key: its canonical text, or a hash; an object that is only equal to itself by
    its class and a number that is its own as long as it lives."""
    t = type(v)
    if t is str:
        return v
    c = hashing.canonical(v)
    if c is not None:
        return c if v is not None else "None"
    if t is tuple:
        return "(" + ",".join([argument(x) for x in v[:KEY_PARTS]]) + ")"
    if isinstance(v, type):
        return v.__qualname__
    if t.__eq__ is object.__eq__:
        return "<%s ~%s>" % (t.__qualname__, hashing.hash_text(str(id(v))).hex())
    h = hashing.hash_param(v)
    return "<%s>" % t.__qualname__ if h == hashing.ZERO else "~" + h.hex()


def call_key(args, kwargs, secret=()):
    """The key of a call: its arguments, joined by a stroke, or () where there are none. secret: names of parameters by
    place whose values are never shown (an empty name shows it)."""
    out = []
    for i, v in enumerate(args[:KEY_PARTS]):
        shown = argument(v)
        out.append(redact.hidden(shown) if i < len(secret) and secret[i] else shown)
    for name, v in kwargs.items():
        shown = argument(v)
        if redact.SECRET_NAME.search(name):
            shown = redact.hidden(shown)
        out.append(name + "=" + shown)
    return "|".join(out) or "()"
