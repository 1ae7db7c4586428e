"""redis-py, sync and asyncio: one cache event for each key of a command, of a pipeline's commands, of a script.

Commands are seen at the client, not at the connection: with their arguments and parsed answers. Of scripts, keys are
taken as given and the operation from what the script calls on them; where that is not clear there is no event. Keys
in which job queues keep their own state are passed over, and so are commands on lists, streams and sorted sets: they
are queues and rankings, not caches.

An operation on a field of a hash bears the hash's key and the field in key_parts. A number that the server counts up
is a set of the new number, and told as a counter, as is a text that the server appends to. A DEL of many keys is
answered with one total: `removed` is given for each key only where the total makes it certain.
"""

import functools
import hashlib
import re

from _demarc import caches, core, redact
from _demarc.caches import CLEAR, DELETE, EXPIRE, GET, NOTHING, RAW, SET, SHARED, VALUE, Counted, Op, outer, raw
from _demarc.core import _getframe, code, current, failed, next_seq, now, state, text
from _demarc.db import asked
from _demarc.hashing import _short

NAME = "redis"
NAMES = 1_000  # spellings of commands that are remembered
SCRIPTS = 500  # scripts that are
MANY = 5_000  # keys of one command or pipeline
KEYS = 20_000  # keys that are remembered
KEY = 512  # characters of the longest of them

# Keys of RQ, of Celery's broker and result backend.
QUEUES = ("rq:", "_kombu.", "unacked", "celery-task-meta-", "celery-taskset-meta-", "chord-unlock-")
QUEUES_END = ".pidbox"
PRIORITY = "\x06\x16"  # between the name of a queue and a priority


def _key(k):
    t = type(k)
    if t is str:
        return k
    if t is bytes:
        return k.decode("utf-8", "backslashreplace")
    if isinstance(k, (bytearray, memoryview)):
        return bytes(k).decode("utf-8", "backslashreplace")
    return str(k)


# ---- commands: (arguments, answer, whether there was none because of an error) -> operations -------------------------


def _get(a, r, lost):
    return (GET, _key(a[1]), r is not None, r, None, None, None),


def _field(f):
    return ("field", _key(f))


def _hget(a, r, lost):
    return (GET, _key(a[1]), r is not None, r, None, None, _field(a[2])),


def _all(a, r, lost):
    return (GET, _key(a[1]), bool(r), NOTHING, None, None, None),


def _exists(a, r, lost):
    keys = a[1:]
    hit = bool(r) if len(keys) == 1 or not r or r == len(keys) else None
    return [Op(GET, _key(k), hit) for k in keys]


def _is(a, r, lost):
    return (GET, _key(a[1]), bool(r), NOTHING, None, None, _field(a[2])),


def _each(keys):
    """Arguments from the second on; a caller of execute_command may have left them in a list."""
    keys = keys[1:]
    if len(keys) == 1 and isinstance(keys[0], (list, tuple)):
        keys = keys[0]
    return keys[:MANY]


def _mget(a, r, lost):
    keys = _each(a)
    if lost or len(r) < len(keys):
        return [Op(GET, _key(k)) for k in keys]
    return [Op(GET, _key(k), v is not None, v) for k, v in zip(keys, r)]


def _hmget(a, r, lost):
    key, fields = _key(a[1]), _each(a[1:])
    values = [None] * len(fields) if lost else r
    return [Op(GET, key, v is not None, v, parts=_field(f)) for f, v in zip(fields, values)]


_AT = {"EXAT": 1000, "PXAT": 1}
_IN = {"EX": 1000, "PX": 1}


def _lifetime(unit, n):
    """Milliseconds from now; None for a word that is no lifetime."""
    if unit in _IN:
        return int(float(n) * _IN[unit])
    if unit in _AT:
        return int(float(n) * _AT[unit]) - now() // 1_000_000
    return None


def _word(w):
    return (w if type(w) is str else _key(w)).upper()


def _set(a, r, lost):
    ttl = None
    n = len(a)
    if n == 5 and a[3] == "EX" and r:
        ttl = int(a[4]) * 1000
    elif n > 3:
        old = once = False
        i = 3
        while i < n:
            w = _word(a[i])
            if w in _IN or w in _AT:
                ttl = _lifetime(w, a[i + 1])
                i += 1
            elif w == "GET":
                old = True
            elif w in ("NX", "XX"):
                once = w
            i += 1
        if once and not lost:
            # With GET the answer is the old value: a key that had to be absent has none, and one that had to be there.
            stored = (r is None) == (once == "NX") if old else bool(r)
            if not stored:
                return ()
        elif not old and not r and not lost:
            return ()
    elif not r and not lost:
        return ()
    return (SET, _key(a[1]), None, a[2], ttl, None, None),


def _setex(a, r, lost):
    return (SET, _key(a[1]), None, a[3], int(a[2]) * 1000, None, None),


def _psetex(a, r, lost):
    return (SET, _key(a[1]), None, a[3], int(a[2]), None, None),


def _setnx(a, r, lost):
    return ((SET, _key(a[1]), None, a[2], None, None, None),) if r or lost else ()


def _getset(a, r, lost):
    return (SET, _key(a[1]), None, a[2], None, None, None),


def _mset(a, r, lost):
    if not r and not lost:
        return ()
    a = a[1 : 2 * MANY]
    return [Op(SET, _key(k), value=v) for k, v in zip(a[::2], a[1::2])]


def _hset(a, r, lost):
    key, a = _key(a[1]), a[2 : 2 * MANY]
    return [Op(SET, key, value=v, parts=_field(f)) for f, v in zip(a[::2], a[1::2])]


def _hsetnx(a, r, lost):
    return _hset(a, r, lost) if r or lost else ()


def _counted(a, r, lost):
    return (SET, _key(a[1]), None, Counted(r), None, None, None),


def _hcounted(a, r, lost):
    return (SET, _key(a[1]), None, Counted(r), None, None, _field(a[2])),


def _appended(a, r, lost):
    return (SET, _key(a[1]), None, Counted(), None, None, None),


def _changed(a, r, lost):
    return (SET, _key(a[1]), None, NOTHING, None, None, None),


def _del(a, r, lost):
    if len(a) == 2 and not isinstance(a[1], (list, tuple)):
        return (DELETE, _key(a[1]), None, NOTHING, None, r if type(r) is int else None, None),
    keys = list(dict.fromkeys([_key(k) for k in _each(a)]))
    removed = None
    if type(r) is int and (r == 0 or r == len(keys)):
        removed = 1 if r else 0
    return [Op(DELETE, k, removed=removed) for k in keys]


def _hdel(a, r, lost):
    key, fields = _key(a[1]), _each(a[1:])
    removed = None
    if type(r) is int and (r == 0 or r == len(fields)):
        removed = 1 if r else 0
    return [Op(DELETE, key, removed=removed, parts=_field(f)) for f in fields]


def _getdel(a, r, lost):
    key = _key(a[1])
    got = r is not None
    return (GET, key, got, r, None, None, None), (DELETE, key, None, NOTHING, None, None if lost else int(got), None)


def _expiry(scale, absolute):
    def expire(a, r, lost):
        ttl = int(a[2]) * scale
        if absolute:
            ttl -= now() // 1_000_000
        if ttl <= 0:
            return (DELETE, _key(a[1]), None, NOTHING, None, None if lost else int(bool(r)), None),
        return (EXPIRE, _key(a[1]), bool(r), NOTHING, ttl, None, None),

    return expire


def _persist(a, r, lost):
    return (EXPIRE, _key(a[1]), bool(r), NOTHING, None, None, None),


def _getex(a, r, lost):
    key = _key(a[1])
    ops = [Op(GET, key, r is not None, r)]
    if len(a) > 2:
        ops.append(Op(EXPIRE, key, r is not None, ttl=_lifetime(_word(a[2]), a[3]) if len(a) > 3 else None))
    return ops


def _flush(a, r, lost):
    return (CLEAR, None, None, NOTHING, None, None, None),


def _rename(a, r, lost):
    return Op(DELETE, _key(a[1]), removed=None if lost else 1), Op(SET, _key(a[2]))


# ---- scripts --------------------------------------------------------------------------------------------------------

_CALL = re.compile(r"""redis\.p?call\s*\(\s*(?:['"](\w[\w.]*)['"]\s*(?:,\s*(?:KEYS\s*\[\s*(\d+)\s*\]|(\w*)))?|())""")
_READS = frozenset("GET MGET HGET HMGET HGETALL EXISTS SMEMBERS SISMEMBER TTL PTTL TYPE STRLEN HEXISTS TIME".split())
_DELETES = frozenset("DEL UNLINK".split())
_SETS = frozenset("SET SETEX PSETEX SETNX MSET HSET HMSET HSETNX GETSET SADD".split())
_COUNTS = frozenset("INCR INCRBY DECR DECRBY APPEND".split())
_COUNT = object()  # of a key that a script counts up and does not set
_LIFETIMES = frozenset("EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST".split())
_scripts = {}  # sha1 -> what the script does


def _meaning(script):
    """What a script does to its keys: a list of (operation, number of the key or None for all), [] when unclear."""
    found = {}
    for m in _CALL.finditer(script):
        name, number = (m.group(1) or "").upper(), int(m.group(2)) if m.group(2) else None
        if name in _DELETES:
            op = DELETE
        elif name in _SETS:
            op = SET
        elif name in _COUNTS:
            op = _COUNT
        elif name in _LIFETIMES:
            continue
        elif name in _READS:
            op = GET
        else:
            return []
        # A key that is written is written, whatever was read of it before; deleted and set: not clear.
        before = found.get(number)
        if before is None or before == GET or (before is _COUNT and op == SET):
            found[number] = op
        elif op not in (GET, before) and not (before == SET and op is _COUNT):
            return []
    if None in found and len(found) > 1:
        return [(found[None], None)] if set(found.values()) == {found[None]} else []
    return [(op, number) for number, op in found.items()]


def _learn_script(script, sha=None):
    if isinstance(script, bytes):
        script = script.decode("utf-8", "replace")
    if sha is None:
        sha = hashlib.sha1(script.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    known = _scripts.get(sha)
    if known is None:
        if len(_scripts) >= SCRIPTS:
            _scripts.clear()
        known = _scripts[sha] = _meaning(script[:100_000])
    return known


def _script(a, r, lost, meaning):
    n = int(a[2])
    keys = [_key(k) for k in a[3 : 3 + min(n, MANY)]]
    ops = []
    for op, number in meaning:
        for key in keys if number is None else keys[number - 1 : number]:
            if op == GET:
                ops.append(Op(GET, key, r is not None if len(keys) == 1 else None,
                              r if len(keys) == 1 and r is not None and len(meaning) == 1 else NOTHING))
            elif op == DELETE:
                alone = type(r) is int and (r == 0 or len(keys) == 1)
                ops.append(Op(DELETE, key, removed=min(r, 1) if alone else None))
            elif lost or (r is not None and r is not False and r != 0):
                ops.append(Op(SET, key, value=Counted() if op is _COUNT else NOTHING))
    return ops


def _eval(a, r, lost):
    return _script(a, r, lost, _learn_script(a[1]))


def _evalsha(a, r, lost):
    meaning = _scripts.get(_key(a[1]))
    return _script(a, r, lost, meaning) if meaning else ()


def _load(a, r, lost):
    _learn_script(a[1])
    return ()


COMMANDS = {
    "GET": _get, "MGET": _mget, "HGET": _hget, "HMGET": _hmget, "HGETALL": _all, "SMEMBERS": _all, "SISMEMBER": _is,
    "HEXISTS": _is, "EXISTS": _exists, "GETEX": _getex, "GETDEL": _getdel, "JSON.GET": _all,
    "SET": _set, "SETEX": _setex, "PSETEX": _psetex, "SETNX": _setnx, "GETSET": _getset, "MSET": _mset,
    "MSETNX": _mset, "HSET": _hset, "HMSET": _hset, "HSETNX": _hsetnx, "APPEND": _appended, "SETRANGE": _appended,
    "SADD": _changed, "SREM": _changed, "JSON.SET": _changed, "INCR": _counted, "INCRBY": _counted, "DECR": _counted,
    "DECRBY": _counted, "INCRBYFLOAT": _counted, "HINCRBY": _hcounted, "HINCRBYFLOAT": _hcounted,
    "DEL": _del, "UNLINK": _del, "HDEL": _hdel, "JSON.DEL": _changed, "RENAME": _rename,
    "EXPIRE": _expiry(1000, False), "PEXPIRE": _expiry(1, False), "EXPIREAT": _expiry(1000, True),
    "PEXPIREAT": _expiry(1, True), "PERSIST": _persist, "FLUSHDB": _flush, "FLUSHALL": _flush,
    "EVAL": _eval, "EVALSHA": _evalsha, "EVAL_RO": _eval, "EVALSHA_RO": _evalsha, "SCRIPT LOAD": _load,
}
_spelled = dict(COMMANDS)


def _command(name):
    """The function for a command however it is spelled; None for one that is no cache operation."""
    try:
        found = _spelled.get(name, NOTHING)
        if found is not NOTHING:
            return found
        found = COMMANDS.get(_word(name))
        if len(_spelled) < NAMES:
            _spelled[name] = found
        return found
    except Exception:
        failed(NAME)
        return None


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
            _record(args, _get, value, None, start)
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
            _record(args, _set, result, None, start)
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
            handler = _spelled[args[1]]
        except Exception:
            handler = _command(args[1]) if len(args) > 1 else None
        if handler is None:
            return original(*args, **options)
        start = now()
        try:
            result = original(*args, **options)
        except BaseException as e:
            _record(args, handler, None, e, start)
            raise
        if handler is _get:
            _got(args, result, start)
        elif handler is _set:
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
            handler = _spelled[args[1]]
        except Exception:
            handler = _command(args[1]) if len(args) > 1 else None
        if handler is None:
            return await original(*args, **options)
        start = now()
        try:
            result = await original(*args, **options)
        except BaseException as e:
            _record(args, handler, None, e, start)
            raise
        if handler is _get:
            _got(args, result, start)
        elif handler is _set:
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
            handler = _command(args[0])
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
                _learn_script(script, getattr(self, "sha", None))
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
