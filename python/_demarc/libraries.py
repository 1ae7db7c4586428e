"""What the hooks of cache libraries share (aiocache, cachelib, cashews, dogpile.cache, ...).

A call of a library's own method is told as what it did to the library's keys, as one event a key: with the value as
the object that the service sees, the tags that the library knows, and the line that asked. Where a client that is
observed works below (redis-py), the event has the client's key, times, lifetime and removed count, and its error even
where the library swallowed it; the library's own bookkeeping in the same store is not told. Where nothing is below, the
entries live in the process, and the hits are recorded under the budget of in-process caches.

Bounds: those of caches.py; of a local store's hits beyond the budget only their number is kept, for STORES stores.
"""

import functools
import inspect
import itertools

from _demarc import caches, hashing, redact
from _demarc.caches import CANONICAL, DELETE, GET, LOCAL, NOTHING, RAW, SHARED, Counted, Outer, budget, outer
from _demarc.core import code, failed, now, state, text
from _demarc.db import asked

STORES = 1_000

_counters = {}  # store -> counter of the hits that were not recorded in full
_counted = {}  # store -> how many there were
_told = {}  # store -> how many of them were told


class Did:
    """What a call did: an operation on a key, on the keys of a tag, or on those of a pattern."""

    __slots__ = ("op", "key", "hit", "value", "ttl", "removed", "tags", "tag", "pattern", "digest", "of")

    def __init__(
        self, op, key=None, hit=None, value=NOTHING, ttl=None, removed=None, tags=None, tag=None, pattern=None,
        digest=None, of=None,
    ):  # fmt: skip
        self.op = op
        self.key = key
        self.hit = hit
        self.value = value
        self.ttl = ttl  # in ms
        self.removed = removed
        self.tags = tags
        self.tag = tag
        self.pattern = pattern
        self.digest = digest  # of the value, where it is known already
        self.of = of  # the function that the key, which shows nothing but a hash, is of

    def shown(self, key):
        """How the key is told: as it is, or as the function and a hash of the key."""
        return key if self.of is None else "%s|%s" % (self.of, redact.hidden(key))


def milliseconds(seconds):
    """A lifetime as libraries take it, in ms; None where there is none."""
    if hasattr(seconds, "total_seconds"):
        seconds = seconds.total_seconds()
    return int(seconds * 1000) if isinstance(seconds, (int, float)) and 0 < seconds < 1e12 else None


def begin(owner, hook):
    """The slot of a call that is to be told, or None: inside another API's call only the outermost is told."""
    return None if hook in state.disabled or outer.get() is not None else Outer(owner, whole=True)


def tell(slot, place, dids, start, error=None):
    """Emits what a call did. place: (layer, number of the store's name), used where no client is below."""
    end = now()
    line = code(4) or asked.get()  # above this function stand the wrapper and the library's caller at least
    below = slot.ops
    layer, store = (SHARED, below[0][0]) if below else place
    for did in dids:
        where, s, e, problem, raw = store, start, end, error, NOTHING
        key, ttl, removed, size = did.key, did.ttl, did.removed, None
        seen = _below(below, did) if below else None
        if seen is not None:
            where, (_, key, _, raw, known, gone, _), s, e, problem = seen
            ttl = known if known is not None else ttl
            removed = gone if gone is not None else removed
            size = len(raw) if type(raw) is bytes or type(raw) is str else None
        elif below:
            problem = problem or below[0][4]
            if did.key is None and removed is not None and problem is None:
                removed = _removed(below)  # what the library does to the keys it found
        key = did.shown(key)
        if layer is LOCAL and did.op == GET and did.hit:
            _hit(where, key, s, did, line)
            continue
        value, form, digest = did.value, CANONICAL, None
        counted = type(value) is Counted or type(raw) is Counted
        if type(value) is Counted:
            value = value.value
        if value is not NOTHING and value is not None and problem is None:
            digest = did.digest or hashing.hash_value(value)
            if digest is None:
                value, form = (raw, RAW) if size is not None else (NOTHING, None)
        if counted:
            value = Counted(value)
        caches.record(
            did.op, layer, where, key, s, e, did.hit if problem is None else None, value, form, ttl,
            removed if problem is None else None, None, problem, line, size, digest, did.tags, did.tag, did.pattern,
        )  # fmt: skip


def _below(below, did):
    """The client's operation that a library's one came down to: its key is the library's, or ends with it."""
    key = did.key
    if key is None:
        return None
    for store, ops, start, end, error in below:
        for op in ops:
            if op[0] == did.op and op[1] is not None and op[1].endswith(key):
                return store, op, start, end, error
    return None


def _removed(below):
    """How many keys a client's deletes removed, on behalf of a tag or a pattern; None where one of them is unsure."""
    gone = [op[5] for _, ops, _, _, _ in below for op in ops if op[0] == DELETE]
    return None if None in gone else sum(gone)


def _hit(store, key, at, did, line):
    if budget.hits > 0:
        budget.hits -= 1
        caches.local_hit(store, key, at, did.value if did.value is not NOTHING else None, line, did.digest)
    else:
        note(store)


def note(store):
    """Counts a hit that is not recorded in full."""
    counter = _counters.get(store)
    if counter is None:
        if len(_counters) >= STORES:
            return
        if not _counters:
            caches.counter(_count)
        counter = _counters.setdefault(store, itertools.count(1))
    _counted[store] = next(counter)  # one step, whatever other threads do meanwhile


def _count(since, until):
    for store, n in list(_counted.items()):
        new = n - _told.get(store, 0)
        if new > 0:
            _told[store] = n
            caches.count(store, since, until, new)


def wrap(cls, method, hook, did, place):
    """Observes a method of a class, synchronous or not.

    did(self, args, kwargs, result, error) gives what the call did (a list of Did); place(self) the layer and the number
    of the store's name for what no client below has told. Of a method named get… it is known that it only reads.
    """
    original = cls.__dict__.get(method)
    if original is not None and callable(original):
        reads = method.lstrip("_").startswith("get")
        make = _asynchronous if inspect.iscoroutinefunction(original) else _synchronous
        setattr(cls, method, functools.wraps(original)(make(original, _Told(hook, did, place, reads))))


class _Told:
    """What a wrapped method tells, and how."""

    __slots__ = ("hook", "did", "place", "reads")

    def __init__(self, hook, did, place, reads):
        self.hook = hook
        self.did = did
        self.place = place
        self.reads = reads

    def begin(self, owner):
        """(slot, token to reset it with); None twice for a call that is not told; True and a store for one of which
        the hits are only counted."""
        try:
            if self.reads and budget.hits <= 0 and outer.get() is None and self.hook not in state.disabled:
                layer, store = self.place(owner)
                if layer == LOCAL:
                    return True, store
            slot = begin(owner, self.hook)
            return slot, outer.set(slot) if slot is not None else None
        except Exception:
            failed(self.hook)
            return None, None

    def finish(self, slot, token, args, kwargs, result, error, start):
        try:
            if slot is not True:
                tell(slot, self.place(args[0]), self.did(args[0], args[1:], kwargs, result, error), start, error)
            elif error is None:
                for did in self.did(args[0], args[1:], kwargs, result, None):
                    if did.hit:
                        note(token)
                    else:
                        line = code(3) or asked.get()
                        caches.record(GET, LOCAL, token, did.shown(did.key), start, now(), False, line=line)
        except Exception:
            failed(self.hook)


def _asynchronous(original, told):
    async def call(*args, **kwargs):
        slot, token = told.begin(args[0]) if state.on else (None, None)
        if slot is None:
            return await original(*args, **kwargs)
        start = now()
        try:
            result = await original(*args, **kwargs)
        except BaseException as e:
            if slot is not True:
                outer.reset(token)
            told.finish(slot, token, args, kwargs, None, e, start)
            raise
        if slot is not True:
            outer.reset(token)
        told.finish(slot, token, args, kwargs, result, None, start)
        return result

    return call


def _synchronous(original, told):
    def call(*args, **kwargs):
        slot, token = told.begin(args[0]) if state.on else (None, None)
        if slot is None:
            return original(*args, **kwargs)
        start = now()
        try:
            result = original(*args, **kwargs)
        except BaseException as e:
            if slot is not True:
                outer.reset(token)
            told.finish(slot, token, args, kwargs, None, e, start)
            raise
        if slot is not True:
            outer.reset(token)
        told.finish(slot, token, args, kwargs, result, None, start)
        return result

    return call


def argument(args, kwargs, place, name, default=None):
    """An argument of a call, given by place or by name."""
    return args[place] if len(args) > place else kwargs.get(name, default)


_numbers = {}  # name -> how many caches have been given it


def named(name):
    """Where a cache in the process keeps its entries, as (layer, number of the store's name): caches with equal names
    are told apart by their order in the process."""
    n = _numbers.get(name, 0) + 1
    if n > 1 or len(_numbers) < STORES:
        _numbers[name] = n
    return LOCAL, text(name if n == 1 else "%s#%d" % (name, n))
