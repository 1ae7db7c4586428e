"""aiocache: one event for each key, with the key as its namespace makes it and the value as an object.

A value of None is nothing to aiocache, so it is a miss here. clear of a namespace is told as a delete by pattern.
"""

from _demarc.caches import CLEAR, DELETE, EXPIRE, GET, LOCAL, NOTHING, SET, Counted
from _demarc.core import text
from _demarc.libraries import Did, argument, milliseconds, named, wrap

NAME = "aiocache"
_SENTINEL = None


def _place(cache):
    place = cache.__dict__.get("_demarc")
    if place is None:
        name = "aiocache:" + type(cache).__name__
        # Before 0.12 all caches in memory had one place.
        place = (LOCAL, text(name)) if hasattr(type(cache), "_cache") else named(name)
        cache.__dict__["_demarc"] = place
    return place


def _key(cache, args, kwargs, place=0):
    return _full(cache, argument(args, kwargs, place, "key"), kwargs)


def _full(cache, key, kwargs):
    namespace = kwargs.get("namespace")
    return str(cache.build_key(key, namespace=namespace if namespace is not None else cache.namespace))


def _ttl(cache, args, kwargs, place):
    ttl = argument(args, kwargs, place, "ttl", _SENTINEL)
    return milliseconds(cache.ttl if ttl is _SENTINEL else ttl)


def _did_get(cache, args, kwargs, result, error):
    default = argument(args, kwargs, 1, "default")
    hit = result is not default
    return [Did(GET, _key(cache, args, kwargs), hit, result if hit else NOTHING)]


def _did_get_many(cache, args, kwargs, result, error):
    keys = argument(args, kwargs, 0, "keys")
    values = result if error is None else [None] * len(keys)
    return [Did(GET, _full(cache, k, kwargs), v is not None, v) for k, v in zip(keys, values)]


def _did_set(cache, args, kwargs, result, error):
    if not result and error is None or isinstance(error, ValueError):  # add of a key that is there
        return []
    value = argument(args, kwargs, 1, "value")
    return [Did(SET, _key(cache, args, kwargs), value=value, ttl=_ttl(cache, args, kwargs, 2))]


def _did_set_many(cache, args, kwargs, result, error):
    ttl = _ttl(cache, args, kwargs, 1)
    return [Did(SET, _full(cache, k, kwargs), value=v, ttl=ttl) for k, v in argument(args, kwargs, 0, "pairs")]


def _did_delete(cache, args, kwargs, result, error):
    return [Did(DELETE, _key(cache, args, kwargs), removed=result if isinstance(result, int) else None)]


def _did_exists(cache, args, kwargs, result, error):
    """That something is there gives nobody its value."""
    return [] if result else [Did(GET, _key(cache, args, kwargs), False)]


def _did_increment(cache, args, kwargs, result, error):
    return [Did(SET, _key(cache, args, kwargs), value=Counted(result))]


def _did_expire(cache, args, kwargs, result, error):
    ttl = milliseconds(argument(args, kwargs, 1, "ttl"))
    return [Did(EXPIRE, _key(cache, args, kwargs), hit=bool(result), ttl=ttl)]


def _did_clear(cache, args, kwargs, result, error):
    namespace = argument(args, kwargs, 0, "namespace")
    if namespace is None:
        namespace = cache.namespace if "redis" in type(cache).__module__ else None
    return [Did(DELETE, pattern="%s*" % _full(cache, "", {"namespace": namespace})) if namespace else Did(CLEAR)]


_METHODS = {
    "get": _did_get, "multi_get": _did_get_many, "set": _did_set, "add": _did_set, "multi_set": _did_set_many,
    "exists": _did_exists, "delete": _did_delete, "increment": _did_increment, "expire": _did_expire,
    "clear": _did_clear,
}


def patch(module):
    """Hooks all caches. The module is aiocache.base."""
    global _SENTINEL
    _SENTINEL = module.SENTINEL
    for method, did in _METHODS.items():
        wrap(module.BaseCache, method, NAME, did, _place)
