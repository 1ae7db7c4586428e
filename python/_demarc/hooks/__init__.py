"""The list of hooks: which module each waits for and which function patches it. A hook's file is only loaded when its
module is imported by the service. At the end, the caches that no hook is for.

A hook MUST call the original exactly once with the arguments it was given, return or raise what it gave, catch every
failure of its own (core.failed(NAME) in the except clause), ask core.state.on first and do nothing else when it is
false, and keep nothing that grows.
"""

import sys

from _demarc import core

HOOKS = (
    # (name of the hook, module it waits for, file in this folder, function called with the module)
    # Entries of requests.
    ("asgi", "starlette.applications", "asgi", "patch_starlette"),
    ("asgi", "starlette.routing", "asgi", "patch_starlette_routing"),
    ("asgi", "uvicorn.config", "asgi", "patch_uvicorn"),
    ("asgi", "hypercorn.app_wrappers", "asgi", "patch_hypercorn"),
    ("asgi", "httpx._transports.asgi", "asgi", "patch_httpx"),
    ("asgi", "httpx2._transports.asgi", "asgi", "patch_httpx"),
    ("asgi", "django.core.handlers.asgi", "asgi", "patch_django"),
    ("wsgi", "flask.app", "wsgi", "patch_flask"),
    ("wsgi", "django.core.handlers.wsgi", "wsgi", "patch_django"),
    ("wsgi", "pyramid.router", "wsgi", "patch_pyramid"),
    ("wsgi", "gunicorn.workers.base", "wsgi", "patch_gunicorn"),
    ("wsgi", "wsgiref.simple_server", "wsgi", "patch_wsgiref"),
    ("wsgi", "waitress.server", "wsgi", "patch_waitress"),
    ("wsgi", "werkzeug.serving", "wsgi", "patch_werkzeug"),
    ("frameworks", "django.core.handlers.base", "frameworks", "patch_django_base"),
    ("frameworks", "django.core.handlers.exception", "frameworks", "patch_django_exception"),
    ("frameworks", "django.test.client", "frameworks", "patch_django_client"),
    ("frameworks", "werkzeug.routing.matcher", "frameworks", "patch_werkzeug_routing"),
    ("frameworks", "logging", "frameworks", "patch_logging"),
    ("frameworks", "datasette.app", "frameworks", "patch_datasette"),
    # Work that goes on elsewhere.
    ("threads", "concurrent.futures.thread", "threads", "patch_futures"),
    ("threads", "threading", "threads", "patch_threading"),
    ("threads", "queue", "threads", "patch_queue"),
    ("background", "starlette.background", "background", "patch_starlette"),
    # Databases.
    ("sqlite3", "sqlite3", "db_sqlite3", "patch"),
    ("sqlite3", "aiosqlite.core", "db_sqlite3", "patch_aiosqlite"),
    ("aiosqlite", "aiosqlite.core", "db_aiosqlite", "patch"),
    ("sqlalchemy", "sqlalchemy.engine.create", "db_sqlalchemy", "patch"),
    ("psycopg2", "psycopg2", "db_psycopg2", "patch"),
    ("psycopg", "psycopg", "db_psycopg3", "patch"),
    ("asyncpg", "asyncpg", "db_asyncpg", "patch"),
    ("django_db", "django.db.backends.utils", "db_django", "patch_utils"),
    ("django_db", "django.db.backends.base.base", "db_django", "patch_base"),
    # Caches.
    ("redis", "redis.client", "cache_redis", "patch"),
    ("redis", "redis.asyncio.client", "cache_redis", "patch_asyncio"),
    ("redis", "redis.cluster", "cache_redis", "patch_cluster"),
    ("redis", "redis.asyncio.cluster", "cache_redis", "patch_asyncio_cluster"),
    ("redis", "redis.commands.core", "cache_redis", "patch_scripts"),
    ("django_cache", "django.core.cache.backends.base", "cache_django", "patch"),
    ("functools", "functools", "cache_functools", "patch"),
    ("async_lru", "async_lru", "cache_async_lru", "patch"),
    ("cachetools", "cachetools", "cache_cachetools", "patch"),
    ("pymemcache", "pymemcache.client.base", "cache_pymemcache", "patch"),
    # Libraries above them.
    ("aiocache", "aiocache.base", "cache_aiocache", "patch"),
    ("cachelib", "cachelib.base", "cache_cachelib", "patch"),
    ("cachelib", "flask_caching", "cache_cachelib", "patch_flask_caching"),
    ("cachalot", "cachalot.utils", "cache_cachalot", "patch_utils"),
    ("cachalot", "cachalot.monkey_patch", "cache_cachalot", "patch_monkey"),
    ("cacheops", "cacheops.redis", "cache_cacheops", "patch_redis"),
    ("cacheops", "cacheops.getset", "cache_cacheops", "patch_getset"),
    ("cacheops", "cacheops.signals", "cache_cacheops", "patch_signals"),
    ("cashews", "cashews.wrapper.commands", "cache_cashews", "patch"),
    ("cashews", "cashews.wrapper.tags", "cache_cashews", "patch"),
    ("cashews", "cashews.wrapper.decorators", "cache_cashews", "patch_decorators"),
    ("dogpile", "dogpile.cache.region", "cache_dogpile", "patch"),
    ("fastapi_cache", "fastapi_cache.types", "cache_fastapi", "patch_types"),
    ("fastapi_cache", "fastapi_cache.decorator", "cache_fastapi", "patch_decorator"),
    # Functions that the settings name, and jobs.
    ("functions", "builtins", "functions", "patch"),
    ("celery", "celery.app.base", "jobs_celery", "patch_app"),
    ("celery", "celery.app.trace", "jobs_celery", "patch_trace"),
    ("celery", "celery.signals", "jobs_celery", "patch_signals"),
    ("rq", "rq.queue", "jobs_rq", "patch_queue"),
    ("rq", "rq.job", "jobs_rq", "patch_job"),
    ("rq", "rq.worker", "jobs_rq", "patch_worker"),
)

# Libraries that keep entries and have no hook, by the modules that stand for them. Left out are those above a client
# that is observed (walrus, redis_cache) and those that are commonly imported for something else (joblib).
UNOBSERVED = (
    "aiomcache", "aioredis", "beaker.cache", "bmemcached", "cacheout", "coredis", "diskcache", "emcache",
    "expiringdict", "glide", "hishel", "lru", "memcache", "memoization", "methodtools", "pylibmc", "requests_cache",
    "theine", "valkey",
)


def unobserved():
    """Which of them the process has imported, in the form of hooks' states: {"diskcache": "unobserved"}."""
    found = {}
    for name in UNOBSERVED:
        try:
            file = getattr(sys.modules.get(name), "__file__", None)
            if type(file) is str and core.is_library(file):  # no module of the service's own with such a name
                found[name.partition(".")[0]] = "unobserved"
        except Exception:
            core.failed("transport")
    return found
