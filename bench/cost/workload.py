"""One process of the cost benchmark: answers requests in-process and prints the processor time that they took.

It sends requests into the ASGI application: no HTTP server, no client, only the service's own work and the
observation's. Each line of standard input asks for one of these, and is answered by one line:

    WORKLOAD COUNT           COUNT requests and the pause in which background senders have their turn: CPU time a
                             request of every thread of the process
    WORKLOAD COUNT pairs S   in a process under demarc, COUNT requests at a time for S seconds, with recording off and
                             on by turns, and a block of bare requests (nothing asked, nothing recorded) beside each
                             two: CPU time a request of the thread that serves, of the bare request, with recording
                             off, and what on adds; the latter two once more in parts of the bare request's time beside
                             them (always the mean of the middle half); and how often Python's garbage collector ran in
                             1,000 requests of each side. With a COUNT of one it runs between the blocks instead: of a
                             request as long as that, one of its runs takes more than what is on adds
    WORKLOAD COUNT unhashed S  the same without the hashes of values and of what statements read
    WORKLOAD COUNT quiet ON  COUNT requests without Python's garbage collector, recording on (1) or off (0) where there
                             is any: CPU time a request of this thread
    WORKLOAD COUNT steady S  recording on for S seconds: CPU time a request of the sender's thread, and of the thread
                             that serves, and the requests a second

Times are in microseconds. The bound on how many hits of caches in the process are recorded in full is lifted, so that
each is.
"""

import asyncio
import functools
import gc
import os
import statistics
import sys
import threading
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


async def round_of(application, workload, count, first=0):
    """Sends the requests of one round."""
    for i in range(first, first + count):
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
    lift()
    if os.environ.get("BENCH_REDIS"):
        FastAPICache.init(RedisBackend(redis.asyncio.from_url(os.environ["BENCH_REDIS"])), prefix="bench")
    conduit = manager = None
    print("ready", flush=True)
    for line in sys.stdin:
        workload, count, *how = line.split()
        if workload == "articles" and conduit is None:
            conduit = conduit_app()
            manager = conduit.router.lifespan_context(conduit)
            await manager.__aenter__()
            await round_of(conduit, workload, 5)
        ask = functools.partial(round_of, conduit if workload == "articles" else app, workload, int(count))
        found = await HOW[how[0]](ask, int(count), float(how[1])) if how else await whole(ask, int(count))
        print(*(f"{value:.3f}" for value in found), flush=True)
    if manager is not None:
        await manager.__aexit__(None, None, None)


async def whole(ask, count):
    """One round and its pause."""
    before = time.process_time()
    await ask()
    time.sleep(SETTLE)
    return [(time.process_time() - before) / count * 1e6]


async def pairs(ask, count, seconds):
    """Blocks with recording off and on by turns."""
    state = sys.modules["_demarc.core"].state
    bare, spent, ran = [], {False: [], True: []}, {False: 0, True: 0}
    end, first = time.monotonic() + seconds, 0
    while time.monotonic() < end or not bare:
        if count == 1:
            gc.enable()
            gc.collect(2 if first % 50 == 0 else 0)
            gc.disable()
        for on in (False, True) if first // count % 4 == 0 else (True, False):
            state.on = on
            collections = collected()
            spent[on].append(await block(ask, count, first))
            ran[on] += collected() - collections
            first += count
        state.on = False
        bare.append(await block(functools.partial(round_of, app, "empty", count), count, first))
    state.on = True
    gc.enable()
    off, adds = spent[False], [a - b for a, b in zip(spent[True], spent[False])]
    n = len(bare) * count / 1000
    return [middle(bare), middle(off), middle(adds), middle([a / b for a, b in zip(off, bare)]),
            middle([a / b for a, b in zip(adds, bare)]), ran[False] / n, ran[True] / n]


async def unhashed(ask, count, seconds):
    """pairs, where whatever hashes a value or what a statement read gives one answer to all."""
    kept = [(module, name, getattr(module, name)) for module, name in
            ((sys.modules["_demarc." + module], name) for module, name in HASHES)]
    for module, name, _ in kept:
        setattr(module, name, no_hash)
    try:
        return await pairs(ask, count, seconds)
    finally:
        for module, name, function in kept:
            setattr(module, name, function)


HASHES = (("hashing", "hash_value"), ("hashing", "hash_stored"), ("results", "result_hash"), ("db", "result_hash"))


def no_hash(*_):
    """The place of a hash."""
    return b"no hash."


async def steady(ask, count, seconds):
    """What the sender's thread does beside a service that is busy: all that other threads do, or what the sender says
    of itself, where the service has threads of its own."""
    sender, alone = sys.modules["_demarc.transport"]._sender, threading.active_count() == 1
    end, first = time.monotonic() + seconds, 0
    all_before, own_before, sender_before = time.process_time_ns(), time.thread_time_ns(), sender.cpu_ns
    while time.monotonic() < end:
        await ask(first)
        first += count
    own = time.thread_time_ns() - own_before
    others = time.process_time_ns() - all_before - own if alone else sender.cpu_ns - sender_before
    return [others / first / 1000, own / first / 1000, first / seconds]


async def quiet(ask, count, on):
    """One round that the garbage collector leaves alone."""
    core = sys.modules.get("_demarc.core")
    if core is not None:
        core.state.on = bool(on)
    gc.disable()
    try:
        return [await block(ask, count, 0)]
    finally:
        gc.enable()


HOW = {"pairs": pairs, "unhashed": unhashed, "steady": steady, "quiet": quiet}


async def block(ask, count, first):
    """CPU time a request of this thread for one block, in µs."""
    before = time.thread_time_ns()
    await ask(first)
    return (time.thread_time_ns() - before) / count / 1000


def middle(values):
    """The mean of the middle half."""
    values = sorted(values)
    quarter = len(values) // 4
    return statistics.fmean(values[quarter : len(values) - quarter])


def lift():
    """Lets every hit be recorded in full."""
    caches = sys.modules.get("_demarc.caches")
    if caches is not None:
        caches.HITS, caches.HASHING = 1_000_000, 100.0  # of a second, which the sender fills up
        caches.budget.hits, caches.budget.ns = caches.HITS, int(caches.HASHING * 1e9)


def collected():
    """How often Python's garbage collector has run."""
    return sum(generation["collections"] for generation in gc.get_stats())


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
