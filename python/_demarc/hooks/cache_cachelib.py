"""cachelib, on which Flask-Caching stands: one event for each key, on every backend.

The methods that a backend class defines are observed when the class is made, so that Flask-Caching's own classes and
those of a service are seen, too. A response that a view returned is hashed as its status, its headers and its body.
What Flask-Caching memoizes it keeps under a hash of the function and its arguments: such a key is told with the name of
the function, if it was made in this process.

Bounds: the names of FUNCTIONS keys are remembered, and then forgotten all at once.
"""

import functools
import inspect

from _demarc.caches import CLEAR, DELETE, GET, NOTHING, SET, SHARED, Counted, plain
from _demarc.core import failed, state, text
from _demarc.libraries import Did, argument, milliseconds, named, wrap

NAME = "cachelib"
FUNCTIONS = 20_000

_of = {}  # key -> name of the memoized function that it is of


def _place(cache):
    place = cache.__dict__.get("_demarc")
    if place is None:
        folder = getattr(cache, "_path", None)
        name = "cachelib:" + type(cache).__name__
        # Entries in files are everybody's who names the folder; entries in memory are one object's.
        place = (SHARED, text("%s:%s" % (name, folder))) if isinstance(folder, str) else named(name)
        cache.__dict__["_demarc"] = place
    return place


def _ttl(cache, timeout):
    if timeout is None:
        timeout = cache.default_timeout
    return milliseconds(timeout)


def _key(op, key, hit=None, value=NOTHING, ttl=None, removed=None):
    key = str(key)
    return Did(op, key, hit, value, ttl, removed, of=_of.get(key))


def _did_get(cache, args, kwargs, result, error):
    return [_key(GET, argument(args, kwargs, 0, "key"), result is not None, plain(result))]


def _did_get_many(cache, args, kwargs, result, error):
    if error is not None:
        return [_key(GET, k) for k in args]
    return [_key(GET, k, v is not None, plain(v)) for k, v in zip(args, result)]


def _did_set(cache, args, kwargs, result, error):
    if not result and error is None:
        return []
    key, value = argument(args, kwargs, 0, "key"), argument(args, kwargs, 1, "value")
    return [_key(SET, key, value=plain(value), ttl=_ttl(cache, argument(args, kwargs, 2, "timeout")))]


def _did_set_many(cache, args, kwargs, result, error):
    ttl = _ttl(cache, argument(args, kwargs, 1, "timeout"))
    return [_key(SET, k, value=plain(v), ttl=ttl) for k, v in argument(args, kwargs, 0, "mapping").items()]


def _did_delete(cache, args, kwargs, result, error):
    return [_key(DELETE, argument(args, kwargs, 0, "key"), removed=int(bool(result)))]


def _did_delete_many(cache, args, kwargs, result, error):
    return [_key(DELETE, k) for k in args]


def _did_has(cache, args, kwargs, result, error):
    return []  # asked before a get, to tell a stored None from nothing


def _did_inc(cache, args, kwargs, result, error):
    return [_key(SET, argument(args, kwargs, 0, "key"), value=Counted(result))]


def _did_clear(cache, args, kwargs, result, error):
    return [Did(CLEAR)]


_METHODS = {
    "get": _did_get, "get_many": _did_get_many, "set": _did_set, "add": _did_set, "set_many": _did_set_many,
    "delete": _did_delete, "delete_many": _did_delete_many, "unlink": _did_delete_many, "has": _did_has,
    "inc": _did_inc, "dec": _did_inc, "clear": _did_clear,
}


def _observe(cls):
    for method, did in _METHODS.items():
        if inspect.isfunction(cls.__dict__.get(method)):
            wrap(cls, method, NAME, did, _place)


def patch(module):
    """Hooks every backend that is defined from now on. The module is cachelib.base."""
    base = module.BaseCache
    inherited = base.__init_subclass__

    def __init_subclass__(cls, **kwargs):
        inherited(**kwargs)
        try:
            _observe(cls)
        except Exception:
            failed(NAME)

    base.__init_subclass__ = classmethod(__init_subclass__)
    for method in ("get_many", "set_many", "delete_many", "inc", "dec"):  # what few backends define
        wrap(base, method, NAME, _METHODS[method], _place)


def patch_flask_caching(module):
    """Learns which function the key of a memoized call is of. The module is flask_caching."""
    make_maker = module.Cache._memoize_make_cache_key

    @functools.wraps(make_maker)
    def _memoize_make_cache_key(self, *args, **kwargs):
        make = make_maker(self, *args, **kwargs)

        @functools.wraps(make)
        def make_cache_key(f, *args, **kwargs):
            key = make(f, *args, **kwargs)
            if state.on:
                try:
                    if len(_of) >= FUNCTIONS:
                        _of.clear()
                    _of[key] = "%s.%s" % (f.__module__, f.__qualname__) if callable(f) else str(f)
                except Exception:
                    failed(NAME)
            return key

        return make_cache_key

    module.Cache._memoize_make_cache_key = _memoize_make_cache_key
