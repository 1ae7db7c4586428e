"""One process of the cost benchmark: answers requests in-process and prints the processor time that they took.

Reads lines "WORKLOAD COUNT [on|off]" from standard input; for each it sends COUNT requests into the ASGI application
(no HTTP server, no client: only the service's own work and the observation's), waits until background senders had their
turn, and prints the process's CPU time per request in microseconds, and how often Python's garbage collector ran. The
time covers every thread of the process. on and off switch demarc's recording, in a process that it observes.
"""

import asyncio
import gc
import os
import sys
import time

from cachetools import LRUCache
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

SETTLE = 0.25  # seconds in which senders catch up; a sleeping process costs nothing
HEADERS = [
    (b"host", b"shop.example"), (b"user-agent", b"bench/1"), (b"accept", b"*/*"), (b"accept-language", b"en"),
    (b"authorization", b"Bearer opaque"),
]

app = FastAPI()
engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)"))
    rows = [{"id": i, "name": f"n{i}"} for i in range(500)]
    connection.execute(text("INSERT INTO items VALUES (:id, :name)"), rows)
    connection.execute(text(
        "CREATE TABLE articles (id INTEGER PRIMARY KEY, slug TEXT, title TEXT, description TEXT, body TEXT,"
        " author_id INTEGER, created_at TEXT, updated_at TEXT)"))
    rows = [{"id": i, "slug": f"slug-{i}", "text": f"text of {i}", "author": i % 50, "at": f"2026-01-{i % 28 + 1:02d}"}
            for i in range(500)]
    connection.execute(text("INSERT INTO articles VALUES (:id, :slug, :text, :text, :text, :author, :at, :at)"), rows)
statement = text("SELECT id, name FROM items WHERE id = :id")
columns = text(
    "SELECT a.id, a.slug, a.title, a.description, a.body, a.author_id, a.created_at, a.updated_at, i.name FROM articles"
    " AS a JOIN items AS i ON i.id = a.author_id WHERE a.author_id = :author AND a.created_at >= :since"
    " ORDER BY a.created_at DESC, a.id LIMIT :limit OFFSET :offset")
database = engine.connect()


def one(item):
    """One row by its key."""
    row = database.execute(statement, {"id": item}).one()
    return {"id": row.id, "name": row.name}


@app.get("/empty/{item}")
async def empty(item: int):
    """A request that asks nobody."""
    return {"id": item}


@app.get("/one/{item}")
async def one_query(item: int):
    """A request with one SQLite query."""
    return one(item)


@app.get("/five/{item}")
async def five_queries(item: int):
    """A request with five SQLite queries."""
    return [one((item + i) % 500) for i in range(5)]


@app.get("/columns/{item}")
async def many_columns(item: int):
    """A request with one query that joins, with four parameters and ten rows of nine columns."""
    found = database.execute(columns, {"author": item % 50, "since": "2026-01-01", "limit": 10, "offset": 0}).all()
    return {"rows": len(found)}


local = LRUCache(maxsize=1000)
filled = LRUCache(maxsize=100)


@app.get("/local/{item}")
async def local_hit(item: int):
    """A request with one hit of an in-process cache (the first times, while it is filled, with a miss and a set)."""
    value = local.get(item % 50)
    if value is None:
        value = local[item % 50] = {"id": item, "name": f"n{item}"}
    return {"value": value["id"]}


@app.get("/fill/{item}")
async def local_fill(item: int):
    """A request with a miss, a set and an eviction of an in-process cache: three events."""
    value = filled.get(item)
    if value is None:
        value = filled[item] = {"id": item, "name": f"n{item}"}
    return {"value": value["id"]}


if os.environ.get("BENCH_REDIS"):
    import redis
    import redis.asyncio
    from fastapi_cache import FastAPICache
    from fastapi_cache.backends.redis import RedisBackend
    from fastapi_cache.decorator import cache as cached

    cache = redis.Redis.from_url(os.environ["BENCH_REDIS"])
    cache.set("item:1", "one")

    @app.get("/redis/{item}")
    async def redis_get(item: int):
        """A request with one Redis get."""
        return {"value": cache.get(f"item:{item % 2}")}

    @app.get("/set/{item}")
    async def redis_set(item: int):
        """A request with one Redis set."""
        cache.set(f"set:{item % 50}", "a value of some length" * 8, ex=60)
        return {"value": item}


    @app.get("/decorated/{item}")
    @cached(expire=3600)
    async def decorated(item: int):
        """A request that fastapi-cache2 answers from Redis (the first times, while it is filled, from the function)."""
        return {"id": item, "name": f"n{item}"}


NAMES = ("empty", "one", "five", "columns", "local", "fill", "redis", "set", "decorated")
TARGETS = {name: b"/" + name.encode() + b"/%d" for name in NAMES}


def conduit_app():
    """The example service, whose article list is the fourth workload."""
    from conduit.app import app as conduit

    return conduit


async def receive():
    """An empty request body."""
    return {"type": "http.request", "body": b"", "more_body": False}


status = 0


async def send(message):
    """Keeps the answer's status."""
    global status
    if message["type"] == "http.response.start":
        status = message["status"]


def scope(path, query=b"", headers=HEADERS):
    """An ASGI scope as a server makes it."""
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path.decode(), "raw_path": path, "query_string": query, "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 80), "state": {},
    }


async def round_of(application, workload, count):
    """Sends the requests of one round."""
    for i in range(count):
        if workload == "articles":
            await application(scope(b"/api/articles", b"limit=10&offset=%d" % (i % 20), HEADERS[:-1]), receive, send)
        else:
            item = i % (50 if workload == "decorated" else 500)
            await application(scope(TARGETS[workload] % item), receive, send)
        if status != 200:
            raise SystemExit(f"{workload} answered {status}")


async def main():
    """Rounds as standard input asks for them."""
    instrument()
    if os.environ.get("BENCH_REDIS"):
        FastAPICache.init(RedisBackend(redis.asyncio.from_url(os.environ["BENCH_REDIS"])), prefix="bench")
    conduit = None
    print("ready", flush=True)
    for line in sys.stdin:
        workload, count, *recording = line.split()
        if recording:
            sys.modules["_demarc.core"].state.on = recording == ["on"]
        if workload == "articles" and conduit is None:
            conduit = conduit_app()
            manager = conduit.router.lifespan_context(conduit)
            await manager.__aenter__()
            await round_of(conduit, workload, 5)
        collections = sum(generation["collections"] for generation in gc.get_stats())
        before = time.process_time()
        await round_of(conduit if workload == "articles" else app, workload, int(count))
        time.sleep(SETTLE)
        spent = (time.process_time() - before) / int(count) * 1e6
        collections = sum(generation["collections"] for generation in gc.get_stats()) - collections
        print(f"{spent:.3f} {collections}", flush=True)


def instrument():
    """OpenTelemetry instruments applications when they are made, and engines that exist only when told of them."""
    if os.environ.get("BENCH_OTEL"):
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

        if not getattr(app, "_is_instrumented_by_opentelemetry", False):
            FastAPIInstrumentor.instrument_app(app)
        if not getattr(engine, "_demarc_bench", False):
            SQLAlchemyInstrumentor().instrument(engine=engine)


asyncio.run(main())
