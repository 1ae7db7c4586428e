"""django-cachalot: reads and fills of querysets with their tables as tags, and the invalidation of tables.

cachalot deletes nothing: it keeps a time for each table, and an entry that is older than one of its tables' is a miss.
Entries of an open transaction wait in a cache of their own and are told when they are written to the real one.
"""

import functools

from _demarc.caches import DELETE_TAG, GET, NOTHING, SET
from _demarc.core import failed, now, state
from _demarc.hooks import cache_django
from _demarc.libraries import Did, begin, milliseconds, outer, tell

NAME = "cachalot"


def _atomic(cache):
    return hasattr(cache, "parent_cache")


class _Cache:
    """Stands for the cache in one look-up of cachalot's, which reads and fills with one call each."""

    def __init__(self, cache, key, tables):
        self.cache = cache
        self.key = key
        self.tables = tables

    def __getattr__(self, name):
        return getattr(self.cache, name)

    def get_many(self, keys):
        return _observed(self.cache, self.cache.get_many, (keys,), self._did_get)

    def set_many(self, data, timeout):
        return _observed(self.cache, self.cache.set_many, (data, timeout), lambda _: self._did_set(data, timeout))

    def _did_get(self, data):
        hit, value = False, NOTHING
        if data and self.key in data and all(table in data for table in self.tables):
            at, result = data[self.key]
            hit = at >= max([data[table] for table in self.tables])
            value = result if hit else NOTHING
        return [Did(GET, self.key, hit, value)]

    def _did_set(self, data, timeout):
        return [Did(SET, self.key, value=data[self.key][1], ttl=milliseconds(timeout), tags=list(self.tables))]


def _observed(cache, call, args, did):
    slot = token = None
    try:
        slot = begin(cache, NAME)
        token = outer.set(slot) if slot is not None else None
    except Exception:
        failed(NAME)
    if token is None:
        return call(*args)
    start = now()
    try:
        result = call(*args)
    finally:
        outer.reset(token)
    try:
        tell(slot, cache_django._store(cache), did(result), start)
    except Exception:
        failed(NAME)
    return result


def _look_up(original):
    @functools.wraps(original)
    def look_up(execute, cache, key, tables):
        if state.on and NAME not in state.disabled and not _atomic(cache):
            cache = _Cache(cache, key, tables)
        return original(execute, cache, key, tables)

    return look_up


def _invalidate(original, module):
    @functools.wraps(original)
    def invalidate(cache, db_alias, tables):
        if not state.on or NAME in state.disabled or _atomic(cache):
            return original(cache, db_alias, tables)
        tables = list(tables)

        def did(_):
            key = module.cachalot_settings.CACHALOT_TABLE_KEYGEN
            return [Did(DELETE_TAG, tag=key(db_alias, table)) for table in module.filter_cachable(set(tables))]

        return _observed(cache, original, (cache, db_alias, tables), did)

    return invalidate


def patch_utils(module):
    """Hooks the invalidation. The module is cachalot.utils."""
    module._invalidate_tables = _invalidate(module._invalidate_tables, module)


def patch_monkey(module):
    """Hooks look-ups. The module is cachalot.monkey_patch."""
    module._get_result_or_execute_query = _look_up(module._get_result_or_execute_query)
