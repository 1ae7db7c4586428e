"""All caching of the service.

What is cached is the part of an answer that is the same for everybody: an article, a profile, the list of
tags. Whatever depends on the viewer (favorited, following) is read from the database and added by the routes.

The rule for writers: commit first, then call the matching `forget_*`. A fill that was under way while an
entry was forgotten is not stored, for it may have read the old row; each store keeps that promise in its own
way. Lifetimes only bound the damage when a cache was unreachable at the moment of a `forget_*`.

`local` lives in one process. More than one worker needs Redis, or each worker would forget for itself alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Optional, Protocol

from cachetools import TTLCache

log = logging.getLogger("conduit.cache")

Value = Any  # plain JSON types
Load = Callable[[], Awaitable[Optional[Value]]]

PREFIX = "conduit:"
TTL_SECONDS = {"article": 60, "profile": 300, "tags": 300}
LOCAL_ENTRIES = {"article": 1024, "profile": 1024, "tags": 1}


class Store(Protocol):
    async def fetch(self, family: str, name: str, load: Load) -> Value | None:
        """The entry, else what `load` returns, which is kept unless it is None. Errors of `load` pass."""

    async def forget(self, family: str, *names: str) -> None:
        """After it returned, no fetch returns a value that was read before the call."""

    async def clear(self) -> None: ...

    async def close(self) -> None: ...


class Cache:
    """Everything that the service remembers, by name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def article(self, slug: str, load: Load) -> Value | None:
        return await self._store.fetch("article", slug, load)

    async def profile(self, username: str, load: Load) -> Value | None:
        return await self._store.fetch("profile", username, load)

    async def tags(self, load: Load) -> Value | None:
        return await self._store.fetch("tags", "all", load)

    async def forget_article(self, *slugs: str) -> None:
        await self._store.forget("article", *slugs)

    async def forget_profile(self, *usernames: str) -> None:
        await self._store.forget("profile", *usernames)

    async def forget_tags(self) -> None:
        await self._store.forget("tags", "all")

    async def clear(self) -> None:
        await self._store.clear()

    async def close(self) -> None:
        await self._store.close()


def open_cache(url: str) -> Cache:
    """The cache that CACHE_URL names. Connects to nothing yet."""
    if url == "off":
        return Cache(NoStore())
    if url == "local":
        return Cache(LocalStore())
    return Cache(RedisStore(url))


class NoStore:
    """CACHE_URL=off: every fetch loads, and there is nothing to forget."""

    async def fetch(self, family: str, name: str, load: Load) -> Value | None:
        return await load()

    async def forget(self, family: str, *names: str) -> None:
        pass

    async def clear(self) -> None:
        pass

    async def close(self) -> None:
        pass


class LocalStore:
    """In this process, at most LOCAL_ENTRIES a family.

    Entries are kept as text, as in Redis: a caller that changes what it was given changes only its own copy.
    """

    def __init__(self) -> None:
        self._entries = {family: TTLCache(LOCAL_ENTRIES[family], ttl) for family, ttl in TTL_SECONDS.items()}
        self._forgotten = dict.fromkeys(TTL_SECONDS, 0)

    async def fetch(self, family: str, name: str, load: Load) -> Value | None:
        kept = self._entries[family].get(name)
        if kept is not None:
            return json.loads(kept)
        before = self._forgotten[family]
        value = await load()
        if value is not None and self._forgotten[family] == before:
            self._entries[family][name] = _text(value)
        return value

    async def forget(self, family: str, *names: str) -> None:
        self._forgotten[family] += 1
        for name in names:
            self._entries[family].pop(name, None)

    async def clear(self) -> None:
        for family, entries in self._entries.items():
            self._forgotten[family] += 1
            entries.clear()

    async def close(self) -> None:
        pass


class RedisStore:
    """In Redis, for any number of processes. When Redis fails, the service answers from the database.

    Every `forget` also counts up one key of the family. A fill watches that key from before it reads the
    database, so that Redis refuses to store what was read before a `forget` of any process.
    """

    def __init__(self, url: str) -> None:
        from redis import asyncio as redis
        from redis.exceptions import RedisError, WatchError

        self._redis = redis.from_url(url, decode_responses=True, socket_timeout=2, socket_connect_timeout=2)
        self._failure = (RedisError, OSError)
        self._refused = WatchError

    async def fetch(self, family: str, name: str, load: Load) -> Value | None:
        key = f"{PREFIX}{family}:{name}"
        try:
            kept = await self._redis.get(key)
        except self._failure as failure:
            log.warning("cache: cannot read %s, loading it instead: %s", key, failure)
            return await load()
        if kept is not None:
            return json.loads(kept)
        async with self._redis.pipeline(transaction=True) as fill:
            try:
                await fill.watch(_forgotten(family))
            except self._failure as failure:
                log.warning("cache: cannot prepare %s, it will not be kept: %s", key, failure)
                return await load()
            value = await load()
            if value is None:
                return None
            try:
                fill.multi()
                fill.set(key, _text(value), ex=TTL_SECONDS[family])
                await fill.execute()
            except self._refused:
                log.debug("cache: %s was forgotten while it was read, not kept", key)
            except self._failure as failure:
                log.warning("cache: cannot keep %s: %s", key, failure)
            return value

    async def forget(self, family: str, *names: str) -> None:
        if not names:
            return
        try:
            async with self._redis.pipeline(transaction=True) as drop:
                drop.incr(_forgotten(family))
                drop.delete(*(f"{PREFIX}{family}:{name}" for name in names))
                await drop.execute()
        except self._failure as failure:
            # The write is committed and must be answered; the lifetime bounds the staleness.
            seconds = TTL_SECONDS[family]
            log.error("cache: cannot forget %s, stale for up to %d s: %s", family, seconds, failure)

    async def clear(self) -> None:
        """Forgets every entry. Raises when Redis does not answer: who clears has no later chance."""
        for family in TTL_SECONDS:
            await self._redis.incr(_forgotten(family))
        keys = [key async for key in self._redis.scan_iter(match=f"{PREFIX}*", count=1000)]
        keep = {_forgotten(family) for family in TTL_SECONDS}
        for start in range(0, len(keys), 500):
            batch = [key for key in keys[start : start + 500] if key not in keep]
            if batch:
                await self._redis.delete(*batch)

    async def close(self) -> None:
        await self._redis.aclose()


def _forgotten(family: str) -> str:
    return f"{PREFIX}forgotten:{family}"


def _text(value: Value) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
