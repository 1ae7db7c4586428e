"""dogpile.cache: one event for each key that a region reads, stores or deletes.

The methods through which a region speaks to its backend are observed, so that get_or_create, decorated functions and
plain calls are all seen, with the mangled key and the value without dogpile's own metadata. A value that the region
takes for too old is a miss. Region.invalidate is a clear; unless the service gave the region a strategy of its own, it
reaches this process only, and is told as one of a local store.
"""

import functools
import os
import sys
import time

from _demarc import caches
from _demarc.caches import CLEAR, DELETE, GET, LOCAL, SET
from _demarc.core import code, current, failed, is_library, now, state
from _demarc.libraries import Did, argument, milliseconds, named, wrap

NAME = "dogpile"
_NO_VALUE = None


def _place(region):
    place = region.__dict__.get("_demarc")
    if place is None:
        place = region.__dict__["_demarc"] = named("dogpile:" + (region.name or "region"))
    return place


def _name(region):
    """Names a region that has no name by the line of the service that configured it."""
    f = sys._getframe(2)
    folder = os.path.dirname(os.path.abspath(sys.modules["dogpile.cache"].__file__)) + os.sep
    for _ in range(30):
        if f is None or not (f.f_code.co_filename.startswith(folder) or is_library(f.f_code.co_filename)):
            break
        f = f.f_back
    where = region.name or ("%s:%d" % (f.f_globals.get("__name__", "?"), f.f_lineno) if f is not None else "region")
    region.__dict__["_demarc"] = named("dogpile:" + where)


def _value(region, found):
    """(hit, value) of what the backend gave, as the region judges it by its own lifetime."""
    if found is _NO_VALUE:
        return False, caches.NOTHING
    ct, life = found.metadata["ct"], region.expiration_time
    old = life is not None and life > 0 and time.time() - ct > life
    if old or region.region_invalidator.is_invalidated(ct):
        return False, caches.NOTHING
    return True, found.payload


def _ttl(region):
    return milliseconds(region.expiration_time)


def _mangled(region, key):
    return str(region.key_mangler(key) if region.key_mangler else key)


def _did_get(region, args, kwargs, result, error):
    hit, value = _value(region, result) if error is None else (None, caches.NOTHING)
    key = str(argument(args, kwargs, 0, "key"))
    ctx = current.get()
    if hit is False and ctx is not None and ctx.fills and any(k == key for _, k in ctx.fills):
        return []  # get_or_create looks once more when it has the lock
    return [Did(GET, key, hit, value)]


def _did_get_multi(region, args, kwargs, result, error):
    keys = argument(args, kwargs, 0, "keys")
    if error is not None:
        return [Did(GET, str(k)) for k in keys]
    return [Did(GET, str(k), *_value(region, found)) for k, found in zip(keys, result)]


def _did_store(region, args, kwargs, result, error):
    key, value = argument(args, kwargs, 0, "key"), argument(args, kwargs, 1, "value")
    return [Did(SET, str(key), value=value.payload, ttl=_ttl(region))]


def _did_store_multi(region, args, kwargs, result, error):
    mapping = argument(args, kwargs, 0, "mapping") or {}
    return [Did(SET, str(k), value=v.payload, ttl=_ttl(region)) for k, v in mapping.items()]


def _did_set(region, args, kwargs, result, error):
    key, value = argument(args, kwargs, 0, "key"), argument(args, kwargs, 1, "value")
    return [Did(SET, _mangled(region, key), value=value, ttl=_ttl(region))]


def _did_set_multi(region, args, kwargs, result, error):
    mapping = argument(args, kwargs, 0, "mapping") or {}
    return [Did(SET, _mangled(region, k), value=v, ttl=_ttl(region)) for k, v in mapping.items()]


def _did_delete(region, args, kwargs, result, error):
    return [Did(DELETE, _mangled(region, argument(args, kwargs, 0, "key")), removed=result)]


def _did_delete_multi(region, args, kwargs, result, error):
    return [Did(DELETE, _mangled(region, k)) for k in argument(args, kwargs, 0, "keys")]


def _counting(original):
    """delete, with the number of entries that it takes from a backend in the process: the method itself tells none."""

    @functools.wraps(original)
    def delete(self, *args, **kwargs):
        held = None
        if state.on:
            try:
                entries = getattr(self.actual_backend, "_cache", None)
                if isinstance(entries, dict):
                    key = argument(args, kwargs, 0, "key")
                    held = int((self.key_mangler(key) if self.key_mangler else key) in entries)
            except Exception:
                failed(NAME)
        original(self, *args, **kwargs)
        return held

    return delete


def _quiet(observed, original):
    """The observed method as the service knows it: it gives nothing."""

    @functools.wraps(original)
    def delete(self, *args, **kwargs):
        observed(self, *args, **kwargs)

    return delete


def _invalidate(original):
    @functools.wraps(original)
    def invalidate(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if state.on and NAME not in state.disabled:
            try:
                at = now()
                caches.record(CLEAR, LOCAL, _place(self)[1], None, at, at, line=code())
            except Exception:
                failed(NAME)
        return result

    return invalidate


def _configure(original):
    @functools.wraps(original)
    def configure(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        try:
            _name(self)
        except Exception:
            failed(NAME)
        return result

    return configure


_METHODS = {
    "_get_from_backend": _did_get, "_get_multi_from_backend": _did_get_multi,
    "_set_cached_value_to_backend": _did_store, "_set_multi_cached_value_to_backend": _did_store_multi,
    "set": _did_set, "set_multi": _did_set_multi, "delete_multi": _did_delete_multi,
}


def patch(module):
    """Hooks regions. The module is dogpile.cache.region."""
    global _NO_VALUE
    _NO_VALUE = module.NO_VALUE
    region = module.CacheRegion
    for method, did in _METHODS.items():
        wrap(region, method, NAME, did, _place)
    original = region.delete
    region.delete = _counting(original)
    wrap(region, "delete", NAME, _did_delete, _place)
    region.delete = _quiet(region.delete, original)
    region.invalidate = _invalidate(region.invalidate)
    region.configure = _configure(region.configure)
