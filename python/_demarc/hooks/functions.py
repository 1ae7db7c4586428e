"""Functions that the settings name as "module:function" or "module:Class.method": one call event for each call.

The function is replaced in its module or class right after the module was imported, so everybody who asks for it later
gets the observed one. Statements inside a call have the call as their parent. Generators are left alone: a call of one
does nothing yet.
"""

import functools
import inspect

from _demarc import core, hashing, imports
from _demarc.core import current, emit, error_text, failed, next_id, next_seq, now, state, text

NAME = "functions"
MANY = 32  # arguments of a call that are hashed one by one


def patch(module):
    """Waits for the modules of the named functions."""
    for spec in state.config.functions:
        name, _, path = spec.partition(":")
        if name and path:
            imports.when_imported(name, "%s:%s" % (NAME, spec), functools.partial(_replace, path=path))
        else:
            core.state.hooks["%s:%s" % (NAME, spec)] = "failed"


def _replace(module, path):
    owner = module
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    kept = inspect.getattr_static(owner, name)
    if isinstance(kept, (staticmethod, classmethod)):
        setattr(owner, name, type(kept)(_observed(kept.__func__)))
    elif callable(kept):
        setattr(owner, name, _observed(kept))
    else:
        raise TypeError("%s is no function" % path)


def _parameters(fn):
    """The names of the positional parameters."""
    try:
        names = [p.name for p in inspect.signature(fn).parameters.values()
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    return tuple(names[:MANY])


def _observed(fn):
    target = inspect.unwrap(fn)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise TypeError("generators are not observed")
    where = core.code_of(target)
    names = _parameters(fn)
    defaults = _defaults(fn)
    method = bool(names) and names[0] in ("self", "cls")

    def begin():
        """A nested span for what the function does, and the token to leave it."""
        ctx = current.get()
        if ctx is None:
            ctx = core.NOBODY
        elif ctx.fills is None:
            ctx.fills = {}  # shared from here on: a miss inside may be filled outside
        inner = ctx.child(next_id())
        return ctx, inner, current.set(inner)

    def end(begun, start, args, kwargs, result, error):
        stop = now()
        ctx, inner, _ = begun
        if state.sampling and not ctx.keep and ctx.trace is not None:
            core.sampled_out()
            return
        shown, joined = _arguments(names, defaults, method, args, kwargs)
        digest = size = None
        if error is None:
            digest = hashing.hash_value(result)
            size = len(result) if type(result) in (str, bytes) else None
        emit((
            core.CALL, start, stop - start, next_seq(), ctx.trace, inner.span, ctx.span, where,
            hashing.hash_bytes(joined) if joined is not None else None, shown, ctx.principal, digest, size,
            text(error_text(error)) if error is not None else None,
        ))

    if inspect.iscoroutinefunction(target):

        @functools.wraps(fn)
        async def call(*args, **kwargs):
            if not state.on or NAME in state.disabled:
                return await fn(*args, **kwargs)
            begun, start = _enter(begin), now()
            error = result = None
            try:
                result = await fn(*args, **kwargs)
                return result
            except BaseException as e:
                error = e
                raise
            finally:
                _leave(end, begun, start, args, kwargs, result, error)
                error = None

    else:

        @functools.wraps(fn)
        def call(*args, **kwargs):
            if not state.on or NAME in state.disabled:
                return fn(*args, **kwargs)
            begun, start = _enter(begin), now()
            error = result = None
            try:
                result = fn(*args, **kwargs)
                return result
            except BaseException as e:
                error = e
                raise
            finally:
                _leave(end, begun, start, args, kwargs, result, error)
                error = None

    for name in ("cache_info", "cache_clear", "cache_parameters"):
        if hasattr(fn, name):
            setattr(call, name, getattr(fn, name))
    return call


def _enter(begin):
    try:
        return begin()
    except Exception:
        failed(NAME)
        return None


def _leave(end, begun, start, args, kwargs, result, error):
    if begun is None:
        return
    try:
        current.reset(begun[2])
        end(begun, start, args, kwargs, result, error)
    except Exception:
        failed(NAME)


def _defaults(fn):
    try:
        return {p.name: p.default for p in inspect.signature(fn).parameters.values() if p.default is not p.empty}
    except (TypeError, ValueError):
        return {}


def _object(v):
    """The hash that stands for a method's object: of what it holds if it is a value or a row, else of its class."""
    cls = v if isinstance(v, type) else type(v)
    if cls is v or cls.__eq__ is object.__eq__ and "_sa_instance_state" not in getattr(v, "__dict__", ()):
        return hashing.hash_text(cls.__qualname__)
    return hashing.hash_param(v)


def _arguments(names, defaults, method, args, kwargs):
    """(flat tuple of names and hashes, all of it joined): however an argument was passed, and whether its default was
    meant or written, a call that means the same has the same hash."""
    values = dict(defaults)
    values.update(zip(names, args))
    for i, v in enumerate(args[len(names) : MANY]):
        values["*%d" % i] = v  # of *args
    values.update(kwargs)
    shown = []
    for name in sorted(values)[:MANY]:
        v = values[name]
        if method and name == names[0]:
            h = _object(v)
        else:
            h = hashing.hash_param(v)
        shown.append(name)
        shown.append(h)
    joined = b"".join([x.encode() + b"\0" if type(x) is str else x for x in shown])
    return tuple([text(x) if type(x) is str else x for x in shown]) or None, joined
