"""redis-py, sync and asyncio: one cache event for each key of a command, of a pipeline's commands, of a script.

Commands are seen at the client, not at the connection: with their arguments and parsed answers. Keys in which job
queues keep their own state are passed over.
"""

import functools

from _demarc import caches, core, redact
from _demarc.caches import GET, RAW, SET, SHARED, VALUE, Op, outer, raw
from _demarc.core import _getframe, code, current, failed, next_seq, now, state, text
from _demarc.db import asked
from _demarc.hashing import _short
from _demarc.redis_commands import HOOK, MANY, command, get_key, learn_script, set_key, spelled

NAME = HOOK
KEYS = 20_000  # keys that are remembered
KEY = 512  # characters of the longest of them

# Keys of RQ, of Celery's broker and result backend.
QUEUES = ("rq:", "_kombu.", "unacked", "celery-task-meta-", "celery-taskset-meta-", "chord-unlock-")
QUEUES_END = ".pidbox"
PRIORITY = "\x06\x16"  # between the name of a queue and a priority


# ---- the server that a client speaks to ------------------------------------------------------------------------------


def _address(pool):
    """The number of the text redis://host:port/db, without credentials."""
    kw = getattr(pool, "connection_kwargs", None) or {}
    db = kw.get("db") or 0
    service = getattr(pool, "service_name", None)
    if service:
        where = "redis://%s/%s" % (service, db)
    elif kw.get("path"):
        where = "redis://%s/%s" % (kw["path"], db)
    else:
        where = "redis://%s:%s/%s" % (kw.get("host", "localhost"), kw.get("port", 6379), db)
    return text(where)


def _store(client):
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        client = getattr(client, "cluster_client", client)  # of an asyncio pipeline
        store = client.__dict__.get("_demarc")
        if store is None:
            store = client.__dict__["_demarc"] = text(_cluster(client))
        return store
    try:
        return pool._demarc
    except AttributeError:  # no __dict__ here: see _queued
        store = pool._demarc = _address(pool)
        return store


def _cluster(client):
    nodes = getattr(getattr(client, "nodes_manager", None), "startup_nodes", None) or {}
    return "redis-cluster://%s" % (min(map(str, nodes)) if nodes else "")


# ---- one command -----------------------------------------------------------------------------------------------------


def _record(args, handler, result, error, start):
    """Tells of any command. args: the client, then the command's."""
    end = now()
    try:
        if NAME in state.disabled or type(error).__name__ == "NoScriptError":
            return  # nothing was run; redis-py loads the script and asks again
        ops = handler(args[1:], result, error is not None)
        if ops:
            _take(args[0], ops, start, end, error)
    except Exception:
        failed(NAME)


# The two commonest commands in one piece each: after a wait for a server every function that is entered is a walk
# through cold memory. They give what _record gives, and leave to it what is not as simple.


def _got(args, value, start):
    """Tells of a GET that was answered."""
    end = now()
    try:
        cls = type(value)
        if (len(args) != 3 or type(args[2]) is not str or (cls is not bytes and cls is not str and value is not None)
                or state.sampling or outer.get() is not None or NAME in state.disabled):
            _record(args, get_key, value, None, start)
            return
        client, _, key = args
        shown = _shown.get(key)
        if shown is None:
            shown = _show(key)
            if shown is None:
                return
        try:
            store = client.connection_pool._demarc
        except AttributeError:
            store = _store(client)
        trace = span = txn = digest = form = kind = size = None
        ctx = current.get()
        if ctx is not None:
            trace, span, txn = ctx.trace, ctx.span, ctx.txn[0]
        if value is None:
            caches.missed(ctx, store, key, end)
        else:
            form = RAW
            size = len(value)
            digest = _short.get(value) if size > 7 and cls is bytes else None
            if digest is None:
                digest, kind, size = raw(value)
            else:
                kind = VALUE
        core.emit((
            core.CACHE, start, end - start, next_seq(), trace, None, span, GET, SHARED, store, shown, None,
            value is not None, digest, form, kind, size, None, None, None, None, None, None, None, None, txn, None,
            code(3) or asked.get(),
        ))
    except Exception:
        failed(NAME)


def _put(args, result, start):
    """Tells of a SET that was answered."""
    end = now()
    try:
        n, ttl = len(args), None
        if n == 6 and args[4] == "EX" and type(args[5]) is int:
            ttl = args[5] * 1000
        elif n != 4:
            n = 0
        if (not n or result is not True or type(args[2]) is not str or type(args[3]) not in _PLAIN
                or outer.get() is not None or NAME in state.disabled):
            _record(args, set_key, result, None, start)
            return
        client, key, value = args[0], args[2], args[3]
        shown = _shown.get(key)
        if shown is None:
            shown = _show(key)
            if shown is None:
                return
        try:
            store = client.connection_pool._demarc
        except AttributeError:
            store = _store(client)
        trace = span = txn = None
        ctx = current.get()
        if ctx is None:
            fills = caches._thread.fills
        else:
            trace, span, txn, fills = ctx.trace, ctx.span, ctx.txn[0], ctx.fills
        digest, kind, size = raw(value)
        core.emit((
            core.CACHE, start, end - start, next_seq(), trace, None, span, SET, SHARED, store, shown, None, None,
            digest, RAW, kind, size, ttl, None, None, None, None, None, None, None, txn,
            fills.pop((store, key), None) if fills else None, code(3) or asked.get(),
        ))
    except Exception:
        failed(NAME)


_PLAIN = frozenset((str, bytes))
_shown = {}  # keys that are no queue's -> as they may be kept


def _show(key):
    """A key as it may be kept, None for a queue's."""
    if _queues(key):
        return None
    shown = redact.key(key)
    if len(key) <= KEY:
        if len(_shown) >= KEYS:
            _shown.clear()
        _shown[key] = shown
    return shown


def _queues(key):
    return key is not None and (key.startswith(QUEUES) or key.endswith(QUEUES_END) or PRIORITY in key)


def _take(client, ops, start, end, error):
    for o in ops:
        if _queues(o[1]):
            ops = [o for o in ops if not _queues(o[1])]
            if not ops:
                return
            break
    if error is not None:
        ops = [Op(o[0], o[1], ttl=o[4], parts=o[6]) for o in ops]
    caches.take(_store(client), ops, start, end, error)


def _sync(cls, method):
    original = getattr(cls, method)

    @functools.wraps(original)
    def execute_command(*args, **options):  # the client is among args, which are passed on as they came
        if not state.on:
            return original(*args, **options)
        try:
            handler = spelled[args[1]]
        except Exception:
            handler = command(args[1]) if len(args) > 1 else None
        if handler is None:
            return original(*args, **options)
        start = now()
        try:
            result = original(*args, **options)
        except BaseException as e:
            _record(args, handler, None, e, start)
            raise
        if handler is get_key:
            _got(args, result, start)
        elif handler is set_key:
            _put(args, result, start)
        else:
            _record(args, handler, result, None, start)
        return result

    setattr(cls, method, execute_command)


def _async(cls, method):
    original = getattr(cls, method)

    @functools.wraps(original)
    async def execute_command(*args, **options):  # the client is among args, which are passed on as they came
        if not state.on:
            return await original(*args, **options)
        try:
            handler = spelled[args[1]]
        except Exception:
            handler = command(args[1]) if len(args) > 1 else None
        if handler is None:
            return await original(*args, **options)
        start = now()
        try:
            result = await original(*args, **options)
        except BaseException as e:
            _record(args, handler, None, e, start)
            raise
        if handler is get_key:
            _got(args, result, start)
        elif handler is set_key:
            _put(args, result, start)
        else:
            _record(args, handler, result, None, start)
        return result

    setattr(cls, method, execute_command)


# ---- pipelines -------------------------------------------------------------------------------------------------------


# Methods of libraries that read one key by one pipeline: id of the method's code -> (the code, what tells of it
# instead: a function of pipeline, commands, answers, error, start and end, which is false where it leaves that to this
# hook).
readers = {}
piped = False  # whether the asyncio client's pipelines are hooked


def _queued(pipeline):
    """The commands that wait in a pipeline, copied: execute clears them. None when nothing is to be observed."""
    try:
        # Nothing here asks for __dict__, which would make the client's own look-ups on the object slower from then on.
        try:
            stack = pipeline.command_stack
        except AttributeError:
            stack = None
        if not stack:  # a cluster's pipeline keeps them in its strategy
            stack = getattr(getattr(pipeline, "_execution_strategy", None), "_command_queue", None)
        if not stack or (NAME in state.disabled and not readers):
            return None
        return [c[0] if type(c) is tuple else c.args for c in stack[:MANY]]
    except Exception:
        failed(NAME)
        return None


def _piped(pipeline, stack, answers, error, start):
    end = now()
    try:
        if readers:
            reader = readers.get(id(_getframe(2).f_code))
            if reader is not None and reader[1](pipeline, stack, answers, error, start, end):
                return
        if NAME in state.disabled:
            return
        if error is not None:
            at, answers = pipeline.__dict__.pop("_demarc_answers", (start, None))
            if at < start:  # of a run before, that was not observed from its start
                answers = None
        if answers is not None and len(answers) < len(stack):
            answers = None
        for i, args in enumerate(stack):
            handler = command(args[0])
            if handler is None:
                continue
            answer, e = (answers[i], None) if answers is not None else (None, error)
            if isinstance(answer, Exception):
                answer, e = None, answer
            ops = handler(args, answer, e is not None)
            if ops:
                _take(pipeline, ops, start, end, e)
    except Exception:
        failed(NAME)


def _pipeline(cls):
    original = cls.execute

    @functools.wraps(original)
    def execute(*args, **kwargs):
        stack = _queued(args[0]) if state.on else None
        if stack is None:
            return original(*args, **kwargs)
        start = now()
        try:
            result = original(*args, **kwargs)
        except BaseException as e:
            _piped(args[0], stack, None, e, start)
            raise
        _piped(args[0], stack, result, None, start)
        return result

    cls.execute = execute
    _answers(cls)


def _async_pipeline(cls):
    original = cls.execute

    @functools.wraps(original)
    async def execute(*args, **kwargs):
        stack = _queued(args[0]) if state.on else None
        if stack is None:
            return await original(*args, **kwargs)
        start = now()
        try:
            result = await original(*args, **kwargs)
        except BaseException as e:
            _piped(args[0], stack, None, e, start)
            raise
        _piped(args[0], stack, result, None, start)
        return result

    cls.execute = execute
    _answers(cls)


def _answers(cls):
    """Keeps the answers of a pipeline in which one command failed, for the others took effect."""
    original = getattr(cls, "raise_first_error", None)
    if original is None:
        return

    @functools.wraps(original)
    def raise_first_error(self, commands, response, *args, **kwargs):
        try:
            return original(self, commands, response, *args, **kwargs)
        except BaseException:
            if state.on:
                try:
                    self.__dict__["_demarc_answers"] = now(), list(response)
                except Exception:
                    failed(NAME)
            raise

    cls.raise_first_error = raise_first_error


def _scripts_of(module):
    """Scripts are known by what they were registered with, so that EVALSHA can be told."""
    for cls in {getattr(module, n) for n in ("Script", "AsyncScript") if hasattr(module, n)}:
        original = cls.__init__

        def __init__(self, registered_client, script, *args, _original=original, **kwargs):
            _original(self, registered_client, script, *args, **kwargs)
            try:
                learn_script(script, getattr(self, "sha", None))
            except Exception:
                failed(NAME)

        cls.__init__ = functools.wraps(original)(__init__)


def patch(module):
    """Hooks the sync client. The module is redis.client."""
    _sync(module.Redis, "execute_command")
    _sync(module.Pipeline, "immediate_execute_command")
    _pipeline(module.Pipeline)


def patch_asyncio(module):
    """Hooks the asyncio client. The module is redis.asyncio.client."""
    global piped
    _async(module.Redis, "execute_command")
    _async(module.Pipeline, "immediate_execute_command")
    _async_pipeline(module.Pipeline)
    piped = True


def patch_cluster(module):
    """Hooks the cluster's sync client. The module is redis.cluster."""
    _sync(module.RedisCluster, "execute_command")
    _pipeline(module.ClusterPipeline)


def patch_asyncio_cluster(module):
    """Hooks the cluster's asyncio client. The module is redis.asyncio.cluster."""
    _async(module.RedisCluster, "execute_command")
    _async_pipeline(module.ClusterPipeline)


def patch_scripts(module):
    """Hooks what holds scripts. The module is redis.commands.core."""
    _scripts_of(module)
