"""What Redis commands do to a cache: a command's arguments and answer -> cache operations.

Of scripts, keys are taken as given and the operation from what the script calls on them; where that is not clear there
is none. Commands on lists, streams and sorted sets are passed over: they are queues and rankings, not caches.

An operation on a field of a hash bears the hash's key and the field in key_parts. A number that the server counts up
is a set of the new number, and told as a counter, as is a text that the server appends to. A DEL of many keys is
answered with one total: `removed` is given for each key only where the total makes it certain.
"""

import hashlib
import re

from _demarc.caches import CLEAR, DELETE, EXPIRE, GET, NOTHING, SET, Counted, Op
from _demarc.core import failed, now

HOOK = "redis"  # who is told to have failed
NAMES = 1_000  # spellings of commands that are remembered
SCRIPTS = 500  # scripts that are
MANY = 5_000  # keys of one command or pipeline


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


def get_key(a, r, lost):
    return (GET, _key(a[1]), r is not None, r, None, None, None),


def _field(f):
    return ("field", _key(f))


def _hget(a, r, lost):
    return (GET, _key(a[1]), r is not None, r, None, None, _field(a[2])),


def _all(a, r, lost):
    return (GET, _key(a[1]), bool(r), NOTHING, None, None, None),


def _exists(a, r, lost):
    """Only what is not there is a miss, behind which somebody may compute: that something is there gives nobody its
    value."""
    return [Op(GET, _key(k), None if lost else False) for k in a[1 : 1 + MANY]] if lost or not r else ()


def _hexists(a, r, lost):
    return () if r else (Op(GET, _key(a[1]), None if lost else False, parts=_field(a[2])),)


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


def set_key(a, r, lost):
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


def learn_script(script, sha=None):
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
    return _script(a, r, lost, learn_script(a[1]))


def _evalsha(a, r, lost):
    meaning = _scripts.get(_key(a[1]))
    return _script(a, r, lost, meaning) if meaning else ()


def _load(a, r, lost):
    learn_script(a[1])
    return ()


COMMANDS = {
    "GET": get_key, "MGET": _mget, "HGET": _hget, "HMGET": _hmget, "HGETALL": _all, "SMEMBERS": _all, "SISMEMBER": _is,
    "HEXISTS": _hexists, "EXISTS": _exists, "GETEX": _getex, "GETDEL": _getdel, "JSON.GET": _all,
    "SET": set_key, "SETEX": _setex, "PSETEX": _psetex, "SETNX": _setnx, "GETSET": _getset, "MSET": _mset,
    "MSETNX": _mset, "HSET": _hset, "HMSET": _hset, "HSETNX": _hsetnx, "APPEND": _appended, "SETRANGE": _appended,
    "SADD": _changed, "SREM": _changed, "JSON.SET": _changed, "INCR": _counted, "INCRBY": _counted, "DECR": _counted,
    "DECRBY": _counted, "INCRBYFLOAT": _counted, "HINCRBY": _hcounted, "HINCRBYFLOAT": _hcounted,
    "DEL": _del, "UNLINK": _del, "HDEL": _hdel, "JSON.DEL": _changed, "RENAME": _rename,
    "EXPIRE": _expiry(1000, False), "PEXPIRE": _expiry(1, False), "EXPIREAT": _expiry(1000, True),
    "PEXPIREAT": _expiry(1, True), "PERSIST": _persist, "FLUSHDB": _flush, "FLUSHALL": _flush,
    "EVAL": _eval, "EVALSHA": _evalsha, "EVAL_RO": _eval, "EVALSHA_RO": _evalsha, "SCRIPT LOAD": _load,
}
spelled = dict(COMMANDS)


def command(name):
    """The function for a command however it is spelled; None for one that is no cache operation."""
    try:
        found = spelled.get(name, NOTHING)
        if found is not NOTHING:
            return found
        found = COMMANDS.get(_word(name))
        if len(spelled) < NAMES:
            spelled[name] = found
        return found
    except Exception:
        failed(HOOK)
        return None
