"""functools.lru_cache and functools.cache, where the service's own modules use them.

The user's function is observed inside the cache: a call of it is a miss and its return is the set, which costs
nothing on hits. Around the cache stands a function that looks like it (cache_info, cache_clear, cache_parameters,
__wrapped__); hits are recorded in full for functions that the settings name, or while the budget of the process
lasts; the others are counted from cache_info and emitted once a second. What libraries decorate stays untouched.
"""

import functools
import sys
import threading
import weakref

from _demarc import caches, core, redact
from _demarc.caches import CANONICAL, CLEAR, GET, LOCAL, SET, budget, call_key
from _demarc.core import code, current, failed, now, state, text

NAME = "functools"
MANY = 2_000  # caches whose hits are counted

_cached = []  # weak references to what is counted


class _Thread(threading.local):
    misses = 0


_thread = _Thread()


class _Counted:
    """The hits of one cache: how many were recorded in full, and how many others were counted."""

    __slots__ = ("store", "info", "full", "seen", "__weakref__")

    def __init__(self, store, info):
        self.store = store
        self.info = info
        self.full = 0
        self.seen = 0


def _count(since, until):
    gone = False
    for ref in list(_cached):
        c = ref()
        if c is None:
            gone = True
            continue
        total = c.info().hits - c.full  # both only grow, so that nothing is counted twice
        new = total - c.seen
        if new > 0:
            c.seen = total
            if NAME not in state.disabled:
                caches.count(c.store, since, until, new)
    if gone:
        _cached[:] = [r for r in _cached if r() is not None]


def _service(frame):
    """Whether this is code of the service."""
    try:
        return NAME not in state.disabled and not core.is_library(frame.f_code.co_filename)
    except Exception:
        failed(NAME)
        return False


def secret_places(fn):
    """For each positional parameter of a function whether its name is that of a secret; nothing where none is."""
    c = getattr(fn, "__code__", None)
    if c is None:
        return ()
    places = tuple(bool(redact.SECRET_NAME.search(n)) for n in c.co_varnames[: c.co_argcount])
    return places if any(places) else ()


def observe(fn, make):
    """The cache that make(function) puts around fn, observed."""
    name = "%s.%s" % (getattr(fn, "__module__", "?"), getattr(fn, "__qualname__", type(fn).__qualname__))
    store = text("functools:" + name)
    is_named = name in named()
    secret = secret_places(fn)

    def inner(*args, **kwargs):
        if not state.on or NAME in state.disabled:
            return fn(*args, **kwargs)
        _thread.misses += 1
        start = 0
        try:
            at = now()
            key = call_key(args, kwargs, secret)
            line = code(3)
            ctx = current.get()
            caches.record(GET, LOCAL, store, key, at, at, False, line=line)
            start = at
        except Exception:
            failed(NAME)
        try:
            value = fn(*args, **kwargs)
        except BaseException:
            if start:
                caches.filled(ctx, store, key)
            raise
        if start:
            try:
                end = now()
                caches.record(SET, LOCAL, store, key, end, end, None, value, CANONICAL, line=line)
            except Exception:
                failed(NAME)
        return value

    functools.update_wrapper(inner, fn)
    cached = make(inner)
    counted = _Counted(store, cached.cache_info)

    def wrapper(*args, **kwargs):
        if (budget.hits <= 0 and not is_named) or not state.on:
            return cached(*args, **kwargs)
        before = _thread.misses
        value = cached(*args, **kwargs)
        if _thread.misses == before:
            _hit(args, kwargs, value)
        return value

    def _hit(args, kwargs, value):
        if NAME in state.disabled:
            return
        try:
            budget.hits -= 1
            counted.full += 1
            caches.local_hit(store, call_key(args, kwargs, secret), now(), value, code(3))
        except Exception:
            failed(NAME)

    def cache_clear():
        """Clear the cache and cache statistics"""  # noqa: D400 (as functools has it)
        start = removed = 0
        try:
            start = now()
            removed = cached.cache_info().currsize
        except Exception:
            failed(NAME)
        cached.cache_clear()
        counted.seen = counted.full = 0
        if state.on and NAME not in state.disabled:
            try:
                caches.record(CLEAR, LOCAL, store, None, start, now(), removed=removed, line=code())
            except Exception:
                failed(NAME)

    functools.update_wrapper(wrapper, fn)
    wrapper.cache_info = cached.cache_info
    wrapper.cache_clear = cache_clear
    if hasattr(cached, "cache_parameters"):
        wrapper.cache_parameters = cached.cache_parameters
    if len(_cached) < MANY:
        _cached.append(weakref.ref(counted))
    return wrapper


def named():
    """The functions that the settings name."""
    return {f.replace(":", ".") for f in state.config.functions} if state.config is not None else ()


def patch(module):
    """Replaces lru_cache and cache. The module is functools."""
    lru_cache_original = module.lru_cache
    cache_original = getattr(module, "cache", None)

    @functools.wraps(lru_cache_original)
    def lru_cache(maxsize=128, typed=False):
        if not _service(sys._getframe(1)):
            return lru_cache_original(maxsize, typed)
        if callable(maxsize) and isinstance(typed, bool):
            return _decorated(maxsize, lambda f: lru_cache_original(f, typed))
        make = lru_cache_original(maxsize, typed)
        return lambda user_function: _decorated(user_function, make)

    module.lru_cache = lru_cache
    if cache_original is not None:
        @functools.wraps(cache_original)
        def cache(user_function, /):
            if _service(sys._getframe(1)):
                return _decorated(user_function, cache_original)
            return cache_original(user_function)

        module.cache = cache
    caches.counter(_count)


def _decorated(user_function, make):
    try:
        return observe(user_function, make)
    except Exception:
        failed(NAME)
        return make(user_function)
