"""cashews: one event for each key, with the tags that it was set with; a tag's delete as one.

cashews keeps the keys of a tag in a set of its own, which is its bookkeeping and not told: where that set is gone, a
delete of the tag removes nothing, and that is what is told. Errors of the server, which cashews logs and swallows, are
those of the client below.
"""

import functools
import inspect

from _demarc.caches import CLEAR, DELETE, DELETE_TAG, EXPIRE, GET, NOTHING, SET, SHARED, Counted
from _demarc.core import code, code_of, state
from _demarc.db import asked
from _demarc.hooks import cache_redis
from _demarc.libraries import Did, argument, milliseconds, named, wrap

NAME = "cashews"


def _place(cache):
    backend = cache._get_backend("")
    client = getattr(backend, "_client", None)
    if client is not None and hasattr(client, "connection_pool"):
        return SHARED, cache_redis._store(client)
    place = backend.__dict__.get("_demarc")
    if place is None:
        place = backend.__dict__["_demarc"] = named("cashews:" + type(backend).__name__)
    return place


def _did_get(cache, args, kwargs, result, error):
    hit = result is not argument(args, kwargs, 1, "default")
    return [Did(GET, argument(args, kwargs, 0, "key"), hit, result if hit else NOTHING)]


def _did_get_many(cache, args, kwargs, result, error):
    default = kwargs.get("default")
    values = result if error is None else [default] * len(args)
    return [Did(GET, k, v is not default, v if v is not default else NOTHING) for k, v in zip(args, values)]


def _did_set(cache, args, kwargs, result, error):
    if not result and error is None and argument(args, kwargs, 3, "exist") is not None:
        return []
    key, value = argument(args, kwargs, 0, "key"), argument(args, kwargs, 1, "value")
    tags = argument(args, kwargs, 4, "tags") or None
    return [Did(SET, key, value=value, ttl=_ttl(argument(args, kwargs, 2, "expire")), tags=tags)]


def _ttl(expire):
    return None if isinstance(expire, str) else milliseconds(expire)  # a text: the client below knows


def _did_set_many(cache, args, kwargs, result, error):
    ttl = _ttl(argument(args, kwargs, 1, "expire"))
    return [Did(SET, k, value=v, ttl=ttl) for k, v in argument(args, kwargs, 0, "pairs").items()]


def _did_incr(cache, args, kwargs, result, error):
    return [Did(SET, argument(args, kwargs, 0, "key"), value=Counted(result))]


def _did_delete(cache, args, kwargs, result, error):
    return [Did(DELETE, argument(args, kwargs, 0, "key"), removed=int(bool(result)))]


def _did_delete_many(cache, args, kwargs, result, error):
    return [Did(DELETE, k) for k in args]


def _did_delete_match(cache, args, kwargs, result, error):
    return [Did(DELETE, pattern=argument(args, kwargs, 0, "pattern"), removed=0)]


def _did_delete_tag(cache, args, kwargs, result, error):
    return [Did(DELETE_TAG, tag=argument(args, kwargs, 0, "tag"), removed=0)]


def _did_expire(cache, args, kwargs, result, error):
    return [Did(EXPIRE, argument(args, kwargs, 0, "key"), ttl=_ttl(argument(args, kwargs, 1, "timeout")))]


def _did_clear(cache, args, kwargs, result, error):
    return [Did(CLEAR)]


def _decorated(original):
    """cashews runs what it decorates in a task, on whose stack the service's code is not: the line that asked is
    kept."""

    @functools.wraps(original)
    def wrap_on(*args, **kwargs):
        decorate = original(*args, **kwargs)

        def decorated(function):
            inner = decorate(function)
            if not inspect.iscoroutinefunction(inner):
                return inner
            line = code_of(function)

            @functools.wraps(inner)
            async def call(*args, **kwargs):
                if not state.on:
                    return await inner(*args, **kwargs)
                token = asked.set(code() or line)
                try:
                    return await inner(*args, **kwargs)
                finally:
                    asked.reset(token)

            return call

        return decorated

    return wrap_on


_METHODS = {
    "get": _did_get, "get_raw": _did_get, "get_many": _did_get_many, "set": _did_set, "set_raw": _did_set,
    "set_many": _did_set_many, "incr": _did_incr, "delete": _did_delete, "delete_many": _did_delete_many,
    "delete_match": _did_delete_match, "_delete_tag": _did_delete_tag, "expire": _did_expire, "clear": _did_clear,
}


def patch(module):
    """Hooks a module of the wrapper. The modules are cashews.wrapper.commands and cashews.wrapper.tags."""
    cls = getattr(module, "CommandsTagsWrapper", None) or module.CommandWrapper
    for method, did in _METHODS.items():
        wrap(cls, method, NAME, did, _place)


def patch_decorators(module):
    """Hooks the decorators. The module is cashews.wrapper.decorators."""
    module.DecoratorsWrapper._wrap_on = _decorated(module.DecoratorsWrapper._wrap_on)
