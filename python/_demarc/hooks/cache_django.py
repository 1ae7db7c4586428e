"""Django's cache framework, on every backend: one event for each key, with the key as the backend has it.

The methods that a backend class defines are wrapped when the class is made. Where the backend speaks through a client
that is observed (redis-py, pymemcache), the client's operations are the events, and this hook adds the hash of the
value as an object and the parts of the key. Elsewhere (local memory, files, the database) it makes the events itself.
"""

import contextvars
import functools
import inspect

from _demarc import caches
from _demarc.caches import CANONICAL, CLEAR, DELETE, EXPIRE, GET, LOCAL, NOTHING, SET, SHARED, Outer, outer, plain
from _demarc.core import code, current, failed, now, state, text
from _demarc.db import asked

NAME = "django_cache"

_PAGE = "page"  # in a request's misses: that of the list of headers of the page that is made
_VERSION, _PREFIX = text("version"), text("prefix")
_base = None
_default_timeout = _missing = None
# The cache and key that get_or_set has just filled: it reads the entry once more, which is no read of the service.
_filling = contextvars.ContextVar("demarc_django_fill", default=None)


def _store(cache):
    store = cache.__dict__.get("_demarc")
    if store is None:
        cls = type(cache)
        name = cls.__module__.rpartition(".")[2]
        layer = LOCAL if name in ("locmem", "dummy") else SHARED
        where = "django:" + (name if cls.__module__.startswith("django.") else cls.__qualname__)
        table, folder = getattr(cache, "_table", None), getattr(cache, "_dir", None)
        if isinstance(table, str):
            where += ":" + table
        elif isinstance(folder, str):
            where += ":" + folder
        else:
            number = _location(cache)
            if number:
                where += ":" + number
        store = cache.__dict__["_demarc"] = (layer, text(where))
    return store


def _location(cache):
    """The name of a local memory cache: equal names share their entries."""
    inner = cache.__dict__.get("_cache")
    module = inspect.getmodule(type(cache))
    for name, entries in getattr(module, "_caches", {}).items() if inner is not None else ():
        if entries is inner:
            return str(name)
    return ""


def _parts(cache, version):
    version = cache.version if version is None else version
    prefix = cache.key_prefix
    return (_VERSION, str(version), _PREFIX, str(prefix)) if prefix else (_VERSION, str(version))


def _arg(args, kwargs, place, name, default=None):
    return args[place] if len(args) > place else kwargs.get(name, default)


def _ttl(cache, timeout):
    if timeout is _default_timeout:
        timeout = cache.default_timeout
    return None if timeout is None else max(0, int(timeout * 1000))


# ---- methods: what a call of each did, as (op, key as given, hit, value, ttl, removed) -------------------------------


def _did_get(cache, args, kwargs, result, version):
    default = _arg(args, kwargs, 1, "default")
    return [(GET, _arg(args, kwargs, 0, "key"), result is not default, result, None, None)]


def _did_get_many(cache, args, kwargs, result, version):
    # A mapping of what was found; what was asked for may have been readable once only.
    return [(GET, k, k in result, result.get(k), None, None) for k in _arg(args, kwargs, 0, "keys")]


def _did_set(cache, args, kwargs, result, version):
    timeout = _arg(args, kwargs, 2, "timeout", _default_timeout)
    key, value = _arg(args, kwargs, 0, "key"), _arg(args, kwargs, 1, "value")
    ttl = _ttl(cache, timeout)
    if ttl == 0:
        return [(DELETE, key, None, NOTHING, None, None)]
    return [(SET, key, None, value, ttl, None)]


def _did_add(cache, args, kwargs, result, version):
    done = _did_set(cache, args, kwargs, result, version) if result else []
    filling = _filling.get()
    if filling is not None and filling[0] is cache and filling[1] == _arg(args, kwargs, 0, "key"):
        filling[2] = True
    return done


def _did_set_many(cache, args, kwargs, result, version):
    ttl = _ttl(cache, _arg(args, kwargs, 1, "timeout", _default_timeout))
    data = _arg(args, kwargs, 0, "data")
    lost = set(result or ())
    return [(SET, k, None, v, ttl, None) for k, v in data.items() if k not in lost]


def _did_delete(cache, args, kwargs, result, version):
    return [(DELETE, _arg(args, kwargs, 0, "key"), None, NOTHING, None, _removed(result))]


def _removed(result):
    return int(result) if isinstance(result, (bool, int)) else None


def _did_delete_many(cache, args, kwargs, result, version):
    return [(DELETE, k, None, NOTHING, None, None) for k in _arg(args, kwargs, 0, "keys")]


def _did_touch(cache, args, kwargs, result, version):
    ttl = _ttl(cache, _arg(args, kwargs, 1, "timeout", _default_timeout))
    return [(EXPIRE, _arg(args, kwargs, 0, "key"), bool(result), NOTHING, ttl, None)]


def _did_incr(cache, args, kwargs, result, version):
    return [(SET, _arg(args, kwargs, 0, "key"), None, caches.Counted(result), None, None)]


def _did_has(cache, args, kwargs, result, version):
    """That something is there gives nobody its value."""
    return [] if result else [(GET, _arg(args, kwargs, 0, "key"), False, NOTHING, None, None)]


def _did_clear(cache, args, kwargs, result, version):
    return [(CLEAR, None, None, NOTHING, None, None)]


# method: (what it did, place of the argument version, names of its arguments that may be readable once only)
METHODS = {
    "get": (_did_get, 2), "set": (_did_set, 3), "add": (_did_add, 3), "delete": (_did_delete, 1),
    "get_many": (_did_get_many, 1), "set_many": (_did_set_many, 2), "delete_many": (_did_delete_many, 1),
    "touch": (_did_touch, 2), "incr": (_did_incr, 2), "decr": (_did_incr, 2), "has_key": (_did_has, 1),
    "clear": (_did_clear, 9),
}
_LOST = {
    "get": GET, "get_many": GET, "has_key": GET, "set": SET, "add": SET, "set_many": SET, "incr": SET, "decr": SET,
    "delete": DELETE, "delete_many": DELETE, "touch": EXPIRE, "clear": CLEAR,
}


def _page(ops, store, made):
    """cache_page asks for the list of headers first, and for the page only where it finds one. So a page that is stored
    without having been asked for was missed when the list was."""
    for op, key, *_ in ops:
        if type(key) is not str or "views.decorators.cache.cache_" not in key:
            continue
        ctx = current.get()
        if ctx is None or ctx.fills is None:
            continue
        if op == SET and ".cache_page." in key and (store, made(key)) not in ctx.fills and _PAGE in ctx.fills:
            ctx.fills[store, made(key)] = ctx.fills[_PAGE]
        elif op == SET and ".cache_header." in key and (store, made(key)) in ctx.fills:
            ctx.fills[_PAGE] = ctx.fills[store, made(key)]


def _finish(slot, cache, method, args, kwargs, result, error, start):
    """Emits what a call did."""
    if slot.silent:
        return
    end = now()
    did, place = METHODS[method]
    version = _arg(args, kwargs, place, "version")
    parts = None if method == "clear" else _parts(cache, version)
    if error is None:
        ops = did(cache, args, kwargs, result, version)
    elif method.endswith("_many") or isinstance(error, ValueError) and method in ("incr", "decr"):
        ops = []  # incr of a key that is not there
    else:
        ops = [(_LOST[method], _arg(args, kwargs, 0, "key"), None, NOTHING, None, None)]
    if method in ("set", "set_many"):
        _page(ops, slot.ops[0][0] if slot.ops else _store(cache)[1], lambda k: cache.make_key(k, version=version))
    if slot.ops:
        values = {cache.make_key(o[1], version=version): plain(o[3]) for o in ops if o[3] is not NOTHING}
        caches.merged(slot, values, parts)
        return
    layer, store = _store(cache)
    line = code(3) or asked.get()
    for op, key, hit, value, ttl, removed in ops:
        if op is not CLEAR:
            key = cache.make_key(key, version=version)
        else:
            key = None
        caches.record(op, layer, store, key, start, end, hit, plain(value), CANONICAL, ttl, removed, parts, error, line)


def _begin(cache, method, args, kwargs):
    """The slot of a call that is to be recorded, or None."""
    if NAME in state.disabled:
        return None
    o = outer.get()
    if o is not None and (o.owner is cache or o.whole):
        return None  # a method of the backend that uses another one, or a library that tells what it does by itself
    if method == "get":
        filling = _filling.get()
        if filling is not None and filling[2] and filling[0] is cache and filling[1] == _arg(args, kwargs, 0, "key"):
            return Outer(cache, silent=True)
    return Outer(cache)


def _once(method, args):
    """(arguments for the backend, arguments for us): an iterator of keys can be read only once, so that we get a list
    of what the backend has taken from it."""
    if args and method in ("get_many", "delete_many") and not hasattr(args[0], "__len__"):
        kept = []
        return (_noting(args[0], kept), *args[1:]), (kept, *args[1:])
    return args, args


def _noting(keys, kept):
    for k in keys:
        kept.append(k)
        yield k


def _wrap(method, original):
    told = None  # whether the class is one of Django's, whose get takes any default

    @functools.wraps(original)
    def call(self, *args, **kwargs):
        nonlocal told
        if not state.on:
            return original(self, *args, **kwargs)
        slot = token = None
        asks = noted = args
        try:
            slot = _begin(self, method, args, kwargs)
            if slot is not None:
                if method == "get" and len(args) == 1 and "default" not in kwargs:
                    if told is None:
                        told = original.__module__.startswith("django.core.cache.")
                    if told:  # so that a stored None is told from a miss
                        asks = noted = (args[0], _missing)
                else:
                    asks, noted = _once(method, args)
                token = outer.set(slot)
        except Exception:
            failed(NAME)
        if token is None:
            return original(self, *args, **kwargs)
        start = now()
        try:
            result = original(self, *asks, **kwargs)
        except BaseException as e:
            outer.reset(token)
            try:
                _finish(slot, self, method, noted, kwargs, None, e, start)
            except Exception:
                failed(NAME)
            raise
        outer.reset(token)
        try:
            _finish(slot, self, method, noted, kwargs, result, None, start)
        except Exception:
            failed(NAME)
        return None if result is _missing else result

    return call


def _wrap_async(method, original):
    """A method of a backend that is asynchronous by itself."""

    @functools.wraps(original)
    async def call(self, *args, **kwargs):
        if not state.on:
            return await original(self, *args, **kwargs)
        slot = token = None
        asks = noted = args
        try:
            slot = _begin(self, method, args, kwargs)
            if slot is not None:
                asks, noted = _once(method, args)
                token = outer.set(slot)
        except Exception:
            failed(NAME)
        if token is None:
            return await original(self, *args, **kwargs)
        start = now()
        try:
            result = await original(self, *asks, **kwargs)
        except BaseException as e:
            outer.reset(token)
            try:
                _finish(slot, self, method, noted, kwargs, None, e, start)
            except Exception:
                failed(NAME)
            raise
        outer.reset(token)
        try:
            _finish(slot, self, method, noted, kwargs, result, None, start)
        except Exception:
            failed(NAME)
        return result

    return call


def _handing_over(original):
    """An asynchronous method of the base class, which works in another thread: the line that asked is kept for it."""

    @functools.wraps(original)
    async def call(self, *args, **kwargs):
        token = None
        if state.on:
            try:
                token = asked.set(code() or asked.get())
            except Exception:
                failed(NAME)
        try:
            return await original(self, *args, **kwargs)
        finally:
            if token is not None:
                asked.reset(token)

    return call


def _fill(original):
    """get_or_set of the base class, which calls get, add and once more get."""

    @functools.wraps(original)
    def get_or_set(self, key, *args, **kwargs):
        token = _filling.set([self, key, False]) if state.on else None
        try:
            return original(self, key, *args, **kwargs)
        finally:
            if token is not None:
                _filling.reset(token)

    return get_or_set


def _fill_async(original):
    @functools.wraps(original)
    async def aget_or_set(self, key, *args, **kwargs):
        token = _filling.set([self, key, False]) if state.on else None
        try:
            return await original(self, key, *args, **kwargs)
        finally:
            if token is not None:
                _filling.reset(token)

    return aget_or_set


def _observe(cls):
    """Wraps the methods that a backend class defines."""
    for method in METHODS:
        original = cls.__dict__.get(method)
        if inspect.isfunction(original):
            setattr(cls, method, _wrap(method, original))
        original = cls.__dict__.get("a" + method)
        if inspect.iscoroutinefunction(original):
            setattr(cls, "a" + method, _wrap_async(method, original))


def patch(module):
    """Hooks every backend. The module is django.core.cache.backends.base."""
    global _base, _default_timeout, _missing
    _base = module.BaseCache
    _default_timeout = module.DEFAULT_TIMEOUT
    _missing = object()
    inherited = _base.__init_subclass__

    def __init_subclass__(cls, **kwargs):
        inherited(**kwargs)
        try:
            _observe(cls)
        except Exception:
            failed(NAME)

    _base.__init_subclass__ = classmethod(__init_subclass__)
    for method in METHODS:
        original = _base.__dict__.get("a" + method)
        if original is not None:
            setattr(_base, "a" + method, _handing_over(original))
    _base.get_or_set = _fill(_base.get_or_set)
    if hasattr(_base, "aget_or_set"):
        _base.aget_or_set = _fill_async(_base.aget_or_set)
