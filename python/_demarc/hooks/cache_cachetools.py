"""cachetools: what happens to the caches that the service's own modules create.

The store is the line that created the cache, numbered where one line creates several that live at once. The methods
of cachetools' classes are wrapped; a cache that a library created is only looked up and passed on. Operations that a
method makes on its own cache (get on its way to __getitem__, a set that evicts) are one operation: what the service
asked for, and an evict or expire for each entry that had to go.

An expire without a lifetime is an entry whose time was over.
"""

import collections
import datetime
import functools
import os
import sys
import threading
import weakref

from _demarc import caches, core
from _demarc.caches import CANONICAL, CLEAR, DELETE, EVICT, EXPIRE, GET, LOCAL, SET, argument, budget, call_key
from _demarc.core import code, failed, now, state, text

NAME = "cachetools"
MANY = 10_000  # caches that are observed at a time
NUMBERS = 100  # of caches of one line; more share the last number
SHOWN = 64  # parts of a key that are shown
CLASSES = 1_000  # of caches that are remembered

_infos = {}  # id of a cache -> _Info
_numbers = {}  # line -> numbers in use
_gone = collections.deque(maxlen=MANY)  # caches that ended with hits that were not counted yet


class _Thread(threading.local):
    """The cache in whose method this thread is, and which method it is."""

    running = None, None


_inside = _Thread()


class _Info:
    """What is known of one cache."""

    __slots__ = ("store", "ref", "hits", "told")

    def __init__(self, store):
        self.store = store
        self.ref = None
        self.hits = 0  # not recorded in full; only grows, so that none is counted twice
        self.told = 0  # of these


def _count(since, until):
    for info in [*_infos.values(), *[_gone.popleft() for _ in range(len(_gone))]]:
        n = info.hits - info.told
        if n > 0:
            info.told += n
            caches.count(info.store, since, until, n)


def _register(cache):
    """Notes a cache if code of the service created it."""
    f = sys._getframe(2)
    for _ in range(30):
        name = f.f_code.co_filename
        # Above cachetools and the __init__ of what the service derived from it stands the one who asked.
        own = f.f_code.co_name == "__init__" and f.f_locals.get("self") is cache
        if not own and not name.startswith(_folder):
            break
        f = f.f_back
        if f is None:
            return
    if core.is_library(name) or len(_infos) >= MANY:
        return
    line = "%s:%d" % (f.f_globals.get("__name__", "?"), f.f_lineno)
    used = _numbers.setdefault(line, set())
    number = next((n for n in range(1, NUMBERS) if n not in used), NUMBERS)
    used.add(number)
    info = _Info(text("cachetools:" + line + ("#%d" % number if number > 1 else "")))
    key = id(cache)

    def gone(ref, _infos=_infos, _gone=_gone):  # may run when the module has been taken down
        if _infos.get(key) is info:
            del _infos[key]
        used.discard(number)
        if info.hits:
            _gone.append(info)

    info.ref = weakref.ref(cache, gone)
    _infos[key] = info


def _key(k):
    if type(k) is str:
        return k
    if type(k) is int:
        return str(k)
    if isinstance(k, tuple):
        return _call(k[:SHOWN])
    return argument(k)


def _call(parts):
    """A key that cachetools.keys made of a call: positional arguments, then a class as a mark, then the named ones."""
    mark = next((i for i, x in enumerate(parts) if isinstance(x, type) and x.__name__ == "_HashedTuple"), None)
    if mark is None:
        return "|".join([argument(x) for x in parts]) or "()"
    named = parts[mark + 1 :]
    if named and not isinstance(named[0], tuple):
        named = zip(named[::2], named[1::2])
    # What follows the named ones are the types of all, in keys that tell 1 from 1.0.
    return call_key(parts[:mark], {p[0]: p[1] for p in named if isinstance(p, tuple) and isinstance(p[0], str)})


def _ttl(cache):
    ttl = getattr(cache, "ttl", None)
    if isinstance(ttl, datetime.timedelta):
        ttl = ttl.total_seconds()
    return int(ttl * 1000) if isinstance(ttl, (int, float)) and ttl < 1e12 else None


def _observed(self):
    """The _Info of a cache on which an operation of the service begins, or None."""
    if not state.on or NAME in state.disabled:
        return None
    info = _infos.get(id(self))
    return info if info is not None and _inside.running[0] is not self else None


def _run(self, method, original, args, kwargs):
    """Runs a method so that what it does to its own cache is not taken for the service's operations."""
    before = _inside.running
    _inside.running = self, method
    try:
        return original(self, *args, **kwargs)
    finally:
        _inside.running = before


def _got(info, self, key, at, hit, value):
    if hit:
        if budget.hits <= 0:
            info.hits += 1
            return
        budget.hits -= 1
        caches.local_hit(info.store, _key(key), at, value, code(3))
    else:
        caches.record(GET, LOCAL, info.store, _key(key), at, at, False, line=code(3))


def _getitem(original):
    def __getitem__(self, key, *rest, **named):
        info = _observed(self) if state.on else None
        if info is None:
            return original(self, key, *rest, **named) if rest or named else original(self, key)
        missing = quiet = False
        try:
            at = now()
            quiet = _quiet(type(self)) is not None and not rest and not named
            # A cache may compute what is missing.
            missing = not quiet and type(self).__missing__ is not _plain_missing and key not in self
            if missing:
                _got(info, self, key, at, False, None)
        except Exception:
            failed(NAME)
        try:
            if quiet:
                value = original(self, key)
            elif missing:
                value = original(self, key, *rest, **named)
            else:
                value = _run(self, "get", original, (key, *rest), named)
        except KeyError:
            try:
                if not missing:
                    _got(info, self, key, at, False, None)
            except Exception:
                failed(NAME)
            raise
        try:
            if not missing:
                _got(info, self, key, at, True, value)
        except Exception:
            failed(NAME)
        return value

    _originals[__getitem__] = original
    return __getitem__


_originals = {}  # wrapper of a __getitem__ -> the original
_classes = {}  # class -> its original __getitem__, where that and what it asks are cachetools' own; None for others
_CALLED = {"__getitem__", "get", "super", "pop", "popitem", "expire"}  # by a __getitem__ that does more than to look up


def _quiet(cls):
    """The original __getitem__ of a class in which a look-up comes to no other operation on the cache; else None."""
    try:
        return _classes[cls]
    except KeyError:
        pass
    getitem = None
    parts = [next(c for c in cls.__mro__ if n in c.__dict__) for n in ("__getitem__", "__contains__", "__missing__")]
    if all(c.__module__.partition(".")[0] == "cachetools" for c in parts) and cls.__missing__ is _plain_missing:
        getitem = _originals.get(cls.__getitem__)
        if getitem is not None and not _CALLED.isdisjoint(getitem.__code__.co_names):
            getitem = None
    if len(_classes) >= CLASSES:
        _classes.clear()
    _classes[cls] = getitem
    return getitem


def _plain_get(self, key, default=None):
    if key in self:
        return self[key]
    else:
        return default


def _is_plain(get):
    """Whether a method does what the function above does."""
    a, b = getattr(get, "__code__", None), _plain_get.__code__
    return a is not None and get.__defaults__ == (None,) and (a.co_code, a.co_names, a.co_varnames, a.co_argcount) == (
        b.co_code, b.co_names, b.co_varnames, b.co_argcount)


def _short_get(original):
    """A wrapper of a get that is known line by line: it does itself what the original does, so that a look-up enters
    one hook and not two."""
    general = _get(original)

    def get(self, key, default=None):
        getitem = info = None
        try:
            getitem = _quiet(type(self))
            info = _observed(self) if state.on else None
        except Exception:
            failed(NAME)
        if getitem is None:
            return general(self, key, default)
        hit = key in self
        value = getitem(self, key) if hit else default
        if info is not None:
            try:
                _got(info, self, key, now(), hit, value)
            except Exception:
                failed(NAME)
        return value

    return get


def _get(original):
    def get(self, key, default=None, *rest, **named):
        info = _observed(self) if state.on else None
        if info is None:
            return original(self, key, default, *rest, **named) if rest or named else original(self, key, default)
        before = _inside.running
        _inside.running = self, "get"
        try:
            value = original(self, key, default, *rest, **named) if rest or named else original(self, key, default)
        finally:
            _inside.running = before
        try:
            _got(info, self, key, now(), value is not default or key in self, value)
        except Exception:
            failed(NAME)
        return value

    return get


def _setitem(original):
    def __setitem__(self, *args, **kwargs):
        info = _observed(self)
        if info is None:
            return original(self, *args, **kwargs)
        _run(self, "set", original, args, kwargs)
        try:
            at = now()
            caches.record(SET, LOCAL, info.store, _key(args[0]), at, at, None, args[1], CANONICAL, _ttl(self),
                          line=code())
        except Exception:
            failed(NAME)
        return None

    return __setitem__


def _removed(info, key, removed):
    try:
        at = now()
        caches.record(DELETE, LOCAL, info.store, _key(key), at, at, removed=removed, line=code(3))
    except Exception:
        failed(NAME)


def _delitem(original):
    def __delitem__(self, *args, **kwargs):
        info = _observed(self)
        if info is None:
            return original(self, *args, **kwargs)
        try:
            _run(self, "delete", original, args, kwargs)
        except KeyError:
            _removed(info, args[0], 0)
            raise
        _removed(info, args[0], 1)
        return None

    return __delitem__


def _pop(original):
    def pop(self, *args, **kwargs):
        info = _observed(self)
        if info is None:
            return original(self, *args, **kwargs)
        held = None
        try:
            held = int(args[0] in self)
        except Exception:
            failed(NAME)
        try:
            return _run(self, "delete", original, args, kwargs)
        finally:
            _removed(info, args[0] if args else None, held)

    return pop


def _clear(original):
    def clear(self, *args, **kwargs):
        info = _observed(self)
        if info is None:
            return original(self, *args, **kwargs)
        held = None
        try:
            held = _plain_len(self)
        except Exception:
            failed(NAME)
        result = _run(self, "clear", original, args, kwargs)
        try:
            at = now()
            caches.record(CLEAR, LOCAL, info.store, None, at, at, removed=held, line=code())
        except Exception:
            failed(NAME)
        return result

    return clear


def _went(self, op, keys):
    try:
        info = _infos.get(id(self))
        if info is None or not keys or not state.on or NAME in state.disabled:
            return
        at, line = now(), code(3)
        for key in keys:
            caches.record(op, LOCAL, info.store, _key(key), at, at, removed=1, line=line)
    except Exception:
        failed(NAME)


def _popitem(original):
    def popitem(self, *args, **kwargs):
        cache, asked = _inside.running
        if cache is not self:
            asked = None
        item = _run(self, "delete", original, args, kwargs)
        if asked is None:
            _went(self, DELETE, item[:1])
        elif asked == "set":
            _went(self, EVICT, item[:1])
        return item

    return popitem


def _expire(original):
    def expire(self, *args, **kwargs):
        gone = _run(self, "expire", original, args, kwargs)
        if gone and isinstance(gone, list):
            _went(self, EXPIRE, [k for k, _ in gone])
        return gone

    return expire


_WRAPPERS = {
    "__getitem__": _getitem, "get": _get, "__setitem__": _setitem, "__delitem__": _delitem, "pop": _pop,
    "clear": _clear, "popitem": _popitem, "expire": _expire,
}
_plain_missing = _plain_len = None
_folder = "cachetools"


def patch(module):
    """Hooks the classes. The module is cachetools."""
    global _plain_missing, _plain_len, _folder
    _folder = os.path.join(os.path.dirname(module.__file__), "")
    base = module.Cache
    _plain_missing, _plain_len = base.__missing__, base.__len__
    classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, base)]
    for cls in classes:
        for name, wrapper in _WRAPPERS.items():
            original = getattr(cls, name, None) if cls is base else cls.__dict__.get(name)
            if original is not None and callable(original):
                if name == "get" and cls is base and _is_plain(original):
                    wrapper = _short_get
                wrapped = wrapper(original)
                # Defaults hold the base's methods: whoever looks at the signature sees what was there.
                setattr(cls, name, functools.update_wrapper(wrapped, original))
    init = base.__init__

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if state.config is not None and NAME not in state.disabled:
            try:
                _register(self)
            except Exception:
                failed(NAME)

    base.__init__ = __init__
    caches.counter(_count)
