"""async_lru 1 and 2: alru_cache, where the service's own modules use it.

An entry is the task that computes it: a miss is told when the task begins, the set when it has ended. A call that
comes while the task runs awaits it and is a hit at the time of its end, with its value. Where the entry was dropped in
between, nothing was kept, and neither the set nor those hits are told; nor is what ended with an exception.

What is wrapped are the functions that the cache itself calls on a hit, a miss, a clear and an invalidation, so the
cached function stays what it is. Beyond the budget of in-process caches hits are counted. What libraries decorate
stays untouched.
"""

import contextvars
import functools
import sys

from _demarc import caches, core, libraries
from _demarc.caches import CANONICAL, CLEAR, DELETE, GET, LOCAL, SET, budget, call_key
from _demarc.core import code, current, failed, now, state, text
from _demarc.db import asked
from _demarc.hooks.cache_functools import named, secret_places

NAME = "async_lru"
SHOWN = 64  # parts of a key that are shown
_ATTRIBUTE = "_demarc"


class _Info:
    """What is known of one cache. running: key -> the entry whose task has not been seen to end, and its miss."""

    __slots__ = ("of", "store", "named", "secret", "running", "key")

    def __init__(self, cache, fn):
        self.of = id(cache)  # whoever wraps a cached function copies its attributes
        while isinstance(fn, (functools.partial, functools.partialmethod)):
            fn = fn.func
        name = "%s.%s" % (getattr(fn, "__module__", "?"), getattr(fn, "__qualname__", type(fn).__qualname__))
        self.store = text("async_lru:" + name)
        self.named = name in named()
        self.secret = secret_places(fn)
        self.running = {}
        self.key = None  # what the service's own function made of the last call, where there is one


def _entries(cache):
    entries = getattr(cache, "_LRUCacheWrapper__cache", None)  # of 2.x
    return cache._cache if entries is None else entries


def _future(entry):
    """What the callers of an entry await: by version."""
    return getattr(entry, "task", None) or getattr(entry, "fut", None) or entry


def _key(info, key):
    """The text of a cache's key, which functools._make_key made of a call, or a function of the service's own."""
    if not isinstance(key, (tuple, list)):
        return call_key((key,), {}, info.secret)
    mark = next((i for i, x in enumerate(key) if type(x) is object), None)  # between the arguments and the named ones
    if mark is None:
        return call_key(key[:SHOWN], {}, info.secret)
    pairs = list(key[mark + 1 :])
    pairs = zip(pairs[::2], pairs[1::2])  # behind them stand the types of all, in keys that tell 1 from 1.0
    return call_key(key[:mark], {k: v for k, v in pairs if isinstance(k, str)}, info.secret)


def _ttl(cache):
    """The longest lifetime of an entry, in ms."""
    ttl = getattr(cache, "_LRUCacheWrapper__ttl", None)
    if ttl is not None:
        ttl += getattr(cache, "_LRUCacheWrapper__jitter", None) or 0
    return libraries.milliseconds(ttl)


def _observed(cache):
    """The _Info of a cache that the service made, or None."""
    if not state.on or NAME in state.disabled:
        return None
    info = cache.__dict__.get(_ATTRIBUTE)
    return info if info is not None and info.of == id(cache) else None


def _missed(info, cache, key):
    at, line = now(), code(3) or asked.get()
    shown = _key(info, key)
    caches.record(GET, LOCAL, info.store, shown, at, at, False, line=line)
    entry = _entries(cache).get(key)
    if entry is None:
        return  # a cache of no size
    # Its own miss: what the same key's earlier task is about to say is not taken for it.
    info.running[key] = entry, shown, line, contextvars.copy_context()
    _future(entry).add_done_callback(functools.partial(_ended, info, cache, key, entry))


def _ended(info, cache, key, entry, future):
    """Tells the set of an entry, once: when its task has ended, or before its first hit if that comes sooner."""
    try:
        running = info.running.get(key)
        if running is None or running[0] is not entry:
            return
        del info.running[key]
        _, shown, line, context = running
        context.run(_set, info, cache, entry, future, _entries(cache).get(key) is entry, shown, line)
    except Exception:
        failed(NAME)


def _set(info, cache, entry, future, kept, shown, line):
    if kept and _fine(future) and state.on and NAME not in state.disabled:
        end = now()
        caches.record(SET, LOCAL, info.store, shown, end, end, None, future.result(), CANONICAL, _ttl(cache), line=line)
    else:
        caches.filled(current.get(), info.store, shown)


def _fine(future):
    """Whether a future has a value. Asking it for its exception would count as having looked at it."""
    return not future.cancelled() and future._exception is None


def _hit(info, cache, key):
    if budget.hits <= 0 and not info.named:
        libraries.note(info.store)
        return
    entry = _entries(cache)[key]
    future, line = _future(entry), code(3) or asked.get()
    budget.hits -= 1
    if not future.done():
        future.add_done_callback(functools.partial(_awaited, info, cache, key, entry, line))
        return
    if info.running:
        _ended(info, cache, key, entry, future)
    if _fine(future):
        caches.local_hit(info.store, _key(info, key), now(), future.result(), line)


def _awaited(info, cache, key, entry, line, future):
    """Tells the hit of a call that awaited the entry's task. The context is the caller's."""
    try:
        if _fine(future) and _entries(cache).get(key) is entry and _observed(cache) is not None:
            _ended(info, cache, key, entry, future)
            caches.local_hit(info.store, _key(info, key), now(), future.result(), line)
    except Exception:
        failed(NAME)


def _looking(original, tell):
    """A wrapper of the function that a cache calls with the key that it found, or did not."""

    @functools.wraps(original)
    def look(cache, key):
        original(cache, key)
        try:
            info = _observed(cache)
            if info is not None:
                tell(info, cache, key)
        except Exception:
            failed(NAME)

    return look


def _clearing(original):
    @functools.wraps(original)
    def clear(cache):
        info, held = None, 0
        try:
            info = _observed(cache)
            held = len(_entries(cache)) if info is not None else 0
        except Exception:
            failed(NAME)
        start = now()
        original(cache)
        if info is not None:
            try:
                info.running.clear()
                caches.record(CLEAR, LOCAL, info.store, None, start, now(), removed=held, line=code())
            except Exception:
                failed(NAME)

    return clear


def _invalidating(original, key_of):
    """key_of(cache, info, arguments of the call) gives the key that was dropped, once it was."""

    @functools.wraps(original)
    def invalidate(cache, /, *args, **kwargs):
        start = now()
        gone = original(cache, *args, **kwargs)
        try:
            info = _observed(cache)
            if info is not None:
                key = _key(info, key_of(cache, info, args, kwargs))
                caches.record(DELETE, LOCAL, info.store, key, start, now(), removed=int(gone), line=code())
        except Exception:
            failed(NAME)
        return gone

    return invalidate


def _register(cache, fn):
    try:
        info = _Info(cache, fn)
        own = getattr(cache, "_LRUCacheWrapper__key", None)
        if own is not None:
            if info.secret:
                info.secret = (True,) * SHOWN  # it may put them anywhere

            @functools.wraps(own)
            def key(*args, **kwargs):
                info.key = made = own(*args, **kwargs)
                return made

            cache._LRUCacheWrapper__key = key
        cache.__dict__[_ATTRIBUTE] = info
    except Exception:
        failed(NAME)
    return cache


def patch(module):
    """Hooks alru_cache and what its caches call. The module is async_lru."""
    make_key = module._make_key
    owner = getattr(module, "_LRUCacheWrapper", None)
    if owner is not None:

        def dropped(cache, info, args, kwargs):
            if getattr(cache, "_LRUCacheWrapper__key", None) is not None:
                return info.key
            return make_key(args, kwargs, cache._LRUCacheWrapper__typed)

        owner.cache_clear = _clearing(owner.cache_clear)
        owner.cache_invalidate = _invalidating(owner.cache_invalidate, dropped)
    else:
        owner = module  # of 1.x, whose functions take the cached function as the first argument

        def dropped(cache, info, args, kwargs):
            return make_key(args[1:], kwargs, args[0])  # behind what the cache was told of types

        owner._cache_clear = _clearing(owner._cache_clear)
        owner._cache_invalidate = _invalidating(owner._cache_invalidate, dropped)
    owner._cache_hit = _looking(owner._cache_hit, _hit)
    owner._cache_miss = _looking(owner._cache_miss, _missed)
    original = module.alru_cache

    @functools.wraps(original)
    def alru_cache(*args, **kwargs):
        made = original(*args, **kwargs)
        try:
            own = not core.is_library(sys._getframe(1).f_code.co_filename)
        except Exception:
            failed(NAME)
            return made
        if not own:
            return made
        if hasattr(made, "cache_info"):
            return _register(made, made.__wrapped__)
        return lambda fn: _register(made(fn), fn)

    module.alru_cache = alru_cache
