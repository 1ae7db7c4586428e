"""fastapi-cache2: what its backends do, with the function that is decorated as the code that asked.

Above a decorated endpoint stands no code of the service, so the decorator's function stands for the endpoint's line.
What is read from Redis comes down to one pipeline, and is told where the client's hook sees that: no function is
entered for it alone, for after a wait each is a walk through cold memory. A namespace is cleared by a script that names
no keys: it is told as a delete by pattern.
"""

import functools
import json

from _demarc import core, hashing, redact
from _demarc.caches import CANONICAL, DELETE, GET, LOCAL, NOTHING, RAW, SET, SHARED, kind_of, outer, record
from _demarc.core import code, code_of, current, failed, next_seq, stand_for, state, text
from _demarc.db import asked
from _demarc.hooks import cache_redis
from _demarc.libraries import Did, argument, milliseconds, wrap

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


_READS = {"redis", "pipeline", "is_cluster", "ttl", "get", "execute"}  # names in the method that reads from Redis


def _by_pipeline(cls, method):
    """Has the client's hook tell of a method that reads one key by one pipeline; False for any other method."""
    if cls.__module__ != "fastapi_cache.backends.redis" or not cache_redis.piped:
        return False
    c = getattr(cls.__dict__.get(method), "__code__", None)
    if c is None or method != "get_with_ttl" or not _READS.issuperset(c.co_names):
        return False
    cache_redis.readers[id(c)] = c, _did_read
    return True


def _did_read(pipeline, stack, answers, error, start, end):
    """Tells of a key that was read by a pipeline of TTL and GET, as record does it; False inside another API's call."""
    try:
        if NAME in state.disabled or outer.get() is not None or len(stack) != 2 or len(stack[1]) != 2:
            return False
        key = stack[1][1]
        if type(key) is not str:
            return False
        try:
            store = pipeline.connection_pool._demarc
        except AttributeError:
            store = cache_redis._store(pipeline)
        line = code(5) or asked.get()  # beside the hook's functions stands the method
        if error is not None or answers is None:
            record(GET, SHARED, store, key, start, end, error=error, line=line)
            return True
        data = answers[1]
        if data is None or state.sampling:
            value, digest = _value(data)
            record(GET, SHARED, store, key, start, end, data is not None, value, CANONICAL, line=line,
                   size=None if data is None else len(data), digest=digest)
            return True
        found = _seen.get(data)
        value, digest = _value(data) if found is None else found
        form = CANONICAL
        if digest is None:
            digest = hashing.hash_value(value)
            if digest is None:
                digest, form = hashing.hash_stored(data), RAW
        ctx = current.get()
        trace = span = txn = None
        if ctx is not None:
            trace, span, txn = ctx.trace, ctx.span, ctx.txn[0]
        core.emit((
            core.CACHE, start, end - start, next_seq(), trace, None, span, GET, SHARED, store, redact.key(key), None,
            True, digest, form, kind_of(value), len(data), None, None, None, None, None, None, None, None, txn, None,
            line,
        ))
    except Exception:
        failed(NAME)
    return True


def patch_types(module):
    """Hooks the backends as they are defined. The module is fastapi_cache.types."""
    base = module.Backend

    def __init_subclass__(cls, **kwargs):
        super(base, cls).__init_subclass__(**kwargs)
        try:
            for method, did in _METHODS.items():
                if not _by_pipeline(cls, method):
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
                stand_for(inner, code_of(function))
            except Exception:
                failed(NAME)
            return inner

        return decorated

    module.cache = cache
