"""pymemcache: one event for each key of a call of its Client, which its pooled and hashing clients use, too.

Calls that do not wait for the server's answer (noreply, the default of some) leave `removed` unknown.
"""

import functools

from _demarc import caches
from _demarc.caches import CLEAR, DELETE, EXPIRE, GET, NOTHING, SET, Counted, Op
from _demarc.core import failed, now, state, text

NAME = "pymemcache"
MANY = 5_000  # keys of one call
MONTH = 60 * 60 * 24 * 30  # seconds; a lifetime above is a Unix time


def _key(client, k):
    if type(k) is bytes:
        k = k.decode("utf-8", "backslashreplace")
    prefix = client.key_prefix
    return prefix.decode("utf-8", "backslashreplace") + str(k) if prefix else str(k)


def _arg(args, kwargs, place, name, default=None):
    return args[place] if len(args) > place else kwargs.get(name, default)


def _ttl(expire):
    if not expire:
        return None
    if expire > MONTH:
        return max(0, expire * 1000 - now() // 1_000_000)
    return max(0, expire * 1000)


def _noreply(client, args, kwargs, place):
    """Whether the call does not wait for the answer."""
    given = _arg(args, kwargs, place, "noreply")
    return client.default_noreply if given is None else given


# ---- methods: (client, arguments, answer, whether it was lost to an error) -> operations -----------------------------


def _get(c, a, k, r, lost):
    default = _arg(a, k, 1, "default")
    return [Op(GET, _key(c, _arg(a, k, 0, "key")), r is not default, r)]


def _gets(c, a, k, r, lost):
    value = NOTHING if lost else r[0]
    return [Op(GET, _key(c, _arg(a, k, 0, "key")), None if lost else r[1] is not None, value)]


def _get_many(c, a, k, r, lost):
    keys = list(_arg(a, k, 0, "keys"))[:MANY]
    return [Op(GET, _key(c, x), None if lost else x in r, NOTHING if lost else r.get(x, NOTHING)) for x in keys]


def _gets_many(c, a, k, r, lost):
    keys = list(_arg(a, k, 0, "keys"))[:MANY]
    return [Op(GET, _key(c, x), None if lost else x in r, r[x][0] if not lost and x in r else NOTHING) for x in keys]


def _set(c, a, k, r, lost):
    if not r and not lost:
        return []
    return [Op(SET, _key(c, _arg(a, k, 0, "key")), value=_arg(a, k, 1, "value"),
               ttl=_ttl(_arg(a, k, 2, "expire", 0)))]


def _cas(c, a, k, r, lost):
    if not r and not lost:
        return []
    return [Op(SET, _key(c, _arg(a, k, 0, "key")), value=_arg(a, k, 1, "value"),
               ttl=_ttl(_arg(a, k, 3, "expire", 0)))]


def _set_many(c, a, k, r, lost):
    ttl, refused = _ttl(_arg(a, k, 1, "expire", 0)), set(r or ())
    return [Op(SET, _key(c, x), value=v, ttl=ttl)
            for x, v in list(_arg(a, k, 0, "values").items())[:MANY] if x not in refused]


def _appended(c, a, k, r, lost):
    return [Op(SET, _key(c, _arg(a, k, 0, "key")), value=Counted())] if r or lost else []


def _counted(c, a, k, r, lost):
    if r is None and not lost and not _arg(a, k, 2, "noreply"):
        return []  # there was nothing to count up
    return [Op(SET, _key(c, _arg(a, k, 0, "key")), value=Counted(r))]


def _delete(c, a, k, r, lost):
    removed = None if lost or _noreply(c, a, k, 1) else int(bool(r))
    return [Op(DELETE, _key(c, _arg(a, k, 0, "key")), removed=removed)]


def _delete_many(c, a, k, r, lost):
    return [Op(DELETE, _key(c, x)) for x in list(_arg(a, k, 0, "keys"))[:MANY]]


def _touch(c, a, k, r, lost):
    return [Op(EXPIRE, _key(c, _arg(a, k, 0, "key")), None if lost or _noreply(c, a, k, 2) else bool(r),
               ttl=_ttl(_arg(a, k, 1, "expire", 0)))]


def _clear(c, a, k, r, lost):
    return [Op(CLEAR, None)]


METHODS = {
    "get": _get, "gets": _gets, "get_many": _get_many, "get_multi": _get_many, "gets_many": _gets_many,
    "set": _set, "add": _set, "replace": _set, "cas": _cas, "set_many": _set_many, "set_multi": _set_many,
    "append": _appended, "prepend": _appended, "incr": _counted, "decr": _counted, "delete": _delete,
    "delete_many": _delete_many, "delete_multi": _delete_many, "touch": _touch, "flush_all": _clear,
}


def _store(client):
    store = client.__dict__.get("_demarc")
    if store is None:
        server = client.server
        where = "%s:%s" % tuple(server[:2]) if isinstance(server, tuple) else str(server)
        store = client.__dict__["_demarc"] = text("memcached://" + where)
    return store


def _record(client, did, args, kwargs, result, error, start):
    end = now()
    try:
        if NAME in state.disabled:
            return
        ops = did(client, args, kwargs, result, error is not None)
        if error is not None:
            ops = [Op(o[0], o[1], ttl=o[4]) for o in ops]
        if ops:
            caches.take(_store(client), ops, start, end, error)
    except Exception:
        failed(NAME)


def _wrap(original, did, many):
    @functools.wraps(original)
    def call(self, *args, **kwargs):
        if not state.on or many and args and not hasattr(args[0], "__len__"):
            return original(self, *args, **kwargs)  # an iterator of keys can be read only once
        start = now()
        try:
            result = original(self, *args, **kwargs)
        except BaseException as e:
            _record(self, did, args, kwargs, None, e, start)
            raise
        _record(self, did, args, kwargs, result, None, start)
        return result

    return call


def patch(module):
    """Hooks the client. The module is pymemcache.client.base."""
    cls = module.Client
    for name, did in METHODS.items():
        original = cls.__dict__.get(name)
        if original is not None:
            setattr(cls, name, _wrap(original, did, did in (_get_many, _gets_many, _delete_many)))
