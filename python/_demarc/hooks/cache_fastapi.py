"""fastapi-cache2: what its backends do, with the function that is decorated as the code that asked.

Above a decorated endpoint stands no code of the service, so the decorator leaves the function's line. A namespace is
cleared by a script that names no keys: it is told as a delete by pattern.
"""

import functools
import inspect
import json

from _demarc import hashing
from _demarc.caches import CANONICAL, DELETE, GET, LOCAL, NOTHING, SET, SHARED, Direct, outer, record
from _demarc.core import code, code_of, failed, now, state, text
from _demarc.db import asked
from _demarc.hooks import cache_redis
from _demarc.libraries import Did, argument, milliseconds, tell, wrap

NAME = "fastapi_cache"

_MEMORY = LOCAL, text("fastapi-cache:memory")
JSON = 65_536  # bytes; larger values are hashed as they are
SEEN = 1_000  # values whose hashes are remembered, and the bytes of the largest of them
SEEN_BYTES = 4_096


def _place(backend):
    client = getattr(backend, "redis", None)
    return _MEMORY if client is None else (SHARED, cache_redis._store(client))


_seen = {}  # what a coder made -> (what stands for the value, its hash): the same is read again and again


def _value(data):
    """What is hashed, and its hash where it is known: the object, where the coder made JSON of it."""
    if data is None:
        return NOTHING, None
    if len(data) > JSON or data[:1] not in (b"{", b"["):
        return data, None
    found = _seen.get(data)
    if found is None:
        try:
            value = json.loads(data)
        except ValueError:
            return data, None
        # A value that is something is something whatever it is.
        found = value and True, hashing.hash_value(value)
        if len(data) > SEEN_BYTES or found[1] is None:
            return value, found[1]
        if len(_seen) >= SEEN:
            _seen.clear()
        _seen[data] = found
    return found


def _did_get(backend, args, kwargs, result, error):
    value, digest = _value(result)
    return [Did(GET, argument(args, kwargs, 0, "key"), result is not None, value, digest=digest)]


def _did_get_with_ttl(backend, args, kwargs, result, error):
    return _did_get(backend, args, kwargs, result[1] if error is None else None, error)


def _did_set(backend, args, kwargs, result, error):
    value, digest = _value(argument(args, kwargs, 1, "value"))
    ttl = milliseconds(argument(args, kwargs, 2, "expire"))
    return [Did(SET, argument(args, kwargs, 0, "key"), value=value, ttl=ttl, digest=digest)]


def _did_clear(backend, args, kwargs, result, error):
    namespace, key = argument(args, kwargs, 0, "namespace"), argument(args, kwargs, 1, "key")
    if namespace:
        # The script gives nothing; the backend in memory, which matches without the colon, gives the number.
        memory = type(backend).__name__ == "InMemoryBackend"
        pattern = namespace + ("*" if memory else ":*")
        return [Did(DELETE, pattern=pattern, removed=result if memory and isinstance(result, int) else None)]
    return [Did(DELETE, key, removed=result if isinstance(result, int) else None)] if key else []


_METHODS = {"get": _did_get, "get_with_ttl": _did_get_with_ttl, "set": _did_set, "clear": _did_clear}


def _reading(cls, method, did):
    """Puts a short way in front of a method of a class that reads one key: as the client's pipeline has nothing to tell
    that the backend does not know, only its times are taken from it."""
    general = cls.__dict__.get(method)
    original = getattr(general, "__wrapped__", None)
    if not inspect.iscoroutinefunction(original):
        return

    @functools.wraps(original)
    async def read(self, *args, **kwargs):
        if not state.on:
            return await original(self, *args, **kwargs)
        if (state.sampling or kwargs or len(args) != 1 or type(args[0]) is not str or outer.get() is not None
                or NAME in state.disabled or getattr(self, "redis", None) is None):
            return await general(self, *args, **kwargs)
        slot = token = None
        try:
            slot = Direct(self)
            token = outer.set(slot)
        except Exception:
            failed(NAME)
        start = now()
        try:
            result = await original(self, *args)
        except BaseException as e:
            _told(self, args, slot, token, start, did, None, e)
            raise
        _told(self, args, slot, token, start, did, result, None)
        return result

    setattr(cls, method, read)


def _told(backend, args, slot, token, start, did, result, error):
    """Tells of a key that was read."""
    if token is None:
        return
    outer.reset(token)
    try:
        key, place = args[0], _place(backend)
        if error is None and not slot.ops:
            data = result[1] if did is _did_get_with_ttl else result
            end = slot.end
            if end:
                start = slot.start
            else:
                end = now()
            value, digest = _value(data)
            if data is None or digest is not None:
                record(GET, SHARED, place[1], key, start, end, data is not None, value, CANONICAL,
                       line=code(3) or asked.get(), size=None if data is None else len(data), digest=digest)
                return
            slot.ops.append((place[1], ((GET, key, True, data, None, None, None),), start, end, None))
        tell(slot, place, did(backend, args, {}, result, error), start, error)
    except Exception:
        failed(NAME)


def patch_types(module):
    """Hooks the backends as they are defined. The module is fastapi_cache.types."""
    base = module.Backend

    def __init_subclass__(cls, **kwargs):
        super(base, cls).__init_subclass__(**kwargs)
        try:
            for method, did in _METHODS.items():
                wrap(cls, method, NAME, did, _place)
            for method in ("get", "get_with_ttl"):
                _reading(cls, method, _METHODS[method])
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
            async def asking(*args, **kwargs):  # the name that core.code knows
                if not state.on:
                    return await inner(*args, **kwargs)
                token = asked.set(line)
                try:
                    return await inner(*args, **kwargs)
                finally:
                    asked.reset(token)

            return asking

        return decorated

    module.cache = cache
