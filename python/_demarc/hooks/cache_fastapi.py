"""fastapi-cache2: what its backends do, with the function that is decorated as the code that asked.

Above a decorated endpoint stands no code of the service, so the decorator leaves the function's line. A namespace is
cleared by a script that names no keys: it is told as a delete by pattern.
"""

import functools
import json

from _demarc.caches import DELETE, GET, LOCAL, NOTHING, SET, SHARED
from _demarc.core import code_of, failed, state, text
from _demarc.db import asked
from _demarc.hooks import cache_redis
from _demarc.libraries import Did, argument, milliseconds, wrap

NAME = "fastapi_cache"

_MEMORY = LOCAL, text("fastapi-cache:memory")
JSON = 65_536  # bytes; larger values are hashed as they are


def _place(backend):
    client = getattr(backend, "redis", None)
    return _MEMORY if client is None else (SHARED, cache_redis._store(client))


def _value(data):
    """What is hashed: the object, where the coder made JSON of it."""
    if data is None:
        return NOTHING
    if len(data) <= JSON and data[:1] in (b"{", b"["):
        try:
            return json.loads(data)
        except ValueError:
            pass
    return data


def _did_get(backend, args, kwargs, result, error):
    return [Did(GET, argument(args, kwargs, 0, "key"), result is not None, _value(result))]


def _did_get_with_ttl(backend, args, kwargs, result, error):
    return _did_get(backend, args, kwargs, result[1] if error is None else None, error)


def _did_set(backend, args, kwargs, result, error):
    key, value = argument(args, kwargs, 0, "key"), argument(args, kwargs, 1, "value")
    return [Did(SET, key, value=_value(value), ttl=milliseconds(argument(args, kwargs, 2, "expire")))]


def _did_clear(backend, args, kwargs, result, error):
    namespace, key = argument(args, kwargs, 0, "namespace"), argument(args, kwargs, 1, "key")
    if namespace:
        # The script gives nothing; the backend in memory, which matches without the colon, gives the number.
        memory = type(backend).__name__ == "InMemoryBackend"
        pattern = namespace + ("*" if memory else ":*")
        return [Did(DELETE, pattern=pattern, removed=result if memory and isinstance(result, int) else None)]
    return [Did(DELETE, key, removed=result if isinstance(result, int) else None)] if key else []


_METHODS = {"get": _did_get, "get_with_ttl": _did_get_with_ttl, "set": _did_set, "clear": _did_clear}


def patch_types(module):
    """Hooks the backends as they are defined. The module is fastapi_cache.types."""
    base = module.Backend

    def __init_subclass__(cls, **kwargs):
        super(base, cls).__init_subclass__(**kwargs)
        try:
            for method, did in _METHODS.items():
                wrap(cls, method, NAME, did, _place)
        except Exception:
            failed(NAME)

    base.__init_subclass__ = classmethod(__init_subclass__)


def patch_decorator(module):
    """Hooks the decorator. The module is fastapi_cache.decorator."""
    original = module.cache

    @functools.wraps(original)
    def cache(*args, **kwargs):
        decorate = original(*args, **kwargs)

        def decorated(function):
            inner = decorate(function)
            try:
                line = code_of(function)
            except Exception:
                failed(NAME)
                return inner

            @functools.wraps(inner)
            async def call(*args, **kwargs):
                if not state.on:
                    return await inner(*args, **kwargs)
                token = asked.set(line)
                try:
                    return await inner(*args, **kwargs)
                finally:
                    asked.reset(token)

            return call

        return decorated

    module.cache = cache
