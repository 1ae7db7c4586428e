"""django-cacheops: reads and fills of querysets with what they depend on as tags, and invalidations as deletes of tags.

cacheops drops entries by conditions on columns (articles:id=1), in a script that names no keys. A condition on which an
entry depends is a tag of its set; an invalidation by an object is a delete of the tags of all its columns, of the
conditions on several columns that this process has seen, and of the whole table. Values of hits are not hashed: they
are pickled models.

Bounds: SCHEMES conditions on several columns a process, of a table at most COLUMNS columns, texts of LONG characters.
"""

import functools

from _demarc.caches import DELETE_TAG, GET, SET, SHARED
from _demarc.core import failed, now, state
from _demarc.hooks import cache_redis
from _demarc.libraries import Did, argument, begin, milliseconds, outer, tell

NAME = "cacheops"
SCHEMES = 1_000
COLUMNS = 200
LONG = 100

_client = None
_schemes = {}  # table -> conditions on several columns, as tuples of their names


def _place():
    return SHARED, cache_redis._store(_client)


def _tag(table, condition):
    return "%s:%s" % (table, "&".join("%s=%s" % (k, v) for k, v in sorted(condition.items())))


def _tags(dnfs):
    tags = []
    for table, alternatives in dnfs.items():
        for condition in alternatives:
            tags.append(_tag(table, condition))
            if len(condition) > 1 and sum(map(len, _schemes.values())) < SCHEMES:
                _schemes.setdefault(table, set()).add(tuple(sorted(condition)))
    return tags


def _read(original):
    """Reads the entry of a key; cacheops marks one that is being filled with a word."""

    @functools.wraps(original)
    def read(*args, **kwargs):
        return _observed(original, args, kwargs, lambda found: [
            Did(GET, argument(args, kwargs, 0, "key"), found is not None and found != b"LOCK")])

    return read


def _store(original):
    @functools.wraps(original)
    def store(*args, **kwargs):
        return _observed(original, args, kwargs, lambda _: _did_store(args, kwargs))

    return store


def _did_store(args, kwargs):
    data = argument(args, kwargs, 2, "data")
    if data in ("", "PRECALL"):  # marks of cacheops' own
        return []
    ttl = milliseconds(argument(args, kwargs, 4, "timeout"))
    return [Did(SET, argument(args, kwargs, 1, "cache_key"), value=data, ttl=ttl,
                tags=_tags(argument(args, kwargs, 3, "cond_dnfs")))]


def _observed(original, args, kwargs, did):
    slot = token = None
    if state.on:
        try:
            slot = begin(_client, NAME)
            token = outer.set(slot) if slot is not None else None
        except Exception:
            failed(NAME)
    if token is None:
        return original(*args, **kwargs)
    start = now()
    try:
        result = original(*args, **kwargs)
    finally:
        outer.reset(token)
    try:
        tell(slot, _place(), did(result), start)
    except Exception:
        failed(NAME)
    return result


def _invalidated(sender=None, obj_dict=None, **_):
    """cacheops' own signal, sent after the script has run."""
    if not state.on or NAME in state.disabled:
        return
    try:
        at = now()
        if sender is None:
            return  # the flush of the database is told by the client
        table = sender._meta.db_table
        if obj_dict is None:
            dids = [Did(DELETE_TAG, tag=table + ":*")]
        else:
            shown = {k: v for k, v in list(obj_dict.items())[:COLUMNS] if len(str(v)) <= LONG}
            dids = [Did(DELETE_TAG, tag=_tag(table, {}))]
            dids += [Did(DELETE_TAG, tag=_tag(table, {k: v})) for k, v in shown.items()]
            for names in _schemes.get(table, ()):
                if all(name in shown for name in names):
                    dids.append(Did(DELETE_TAG, tag=_tag(table, {name: shown[name] for name in names})))
        tell(begin(_client, NAME) or _NoSlot, _place(), dids, at)
    except Exception:
        failed(NAME)


class _NoSlot:
    ops = ()


def patch_redis(module):
    """Learns the client. The module is cacheops.redis."""
    global _client
    _client = module.redis_client


def patch_getset(module):
    """Hooks reads and fills. The module is cacheops.getset."""
    module._read = _read(module._read)
    module.cache_thing = _store(module.cache_thing)


def patch_signals(module):
    """Hooks invalidations. The module is cacheops.signals."""
    module.cache_invalidated.connect(_invalidated, weak=False)
