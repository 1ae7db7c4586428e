"""A shop's carts in FastAPI; fastapi-cache2 keeps the answers in Redis.

The defect: the key is built from the path, but whose cart it is comes from a header. The twin's key has the customer.
"""

import os
from contextlib import asynccontextmanager

import asyncpg
import redis.asyncio as redis
from fastapi import Depends, FastAPI, Header
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache

FIXED = "LAB_FIXED" in os.environ


@asynccontextmanager
async def lifespan(app):
    client = redis.from_url(os.environ["LAB_REDIS"])
    FastAPICache.init(RedisBackend(client), prefix="shop")
    async with asyncpg.create_pool(os.environ["LAB_POSTGRES"], min_size=1) as app.state.pool:
        yield
    await client.aclose()


def by_path(function, namespace="", *, request=None, response=None, args=(), kwargs=None):
    key = f"{namespace}:{request.url.path}"
    if FIXED:
        key += ":" + customer(request.headers["authorization"])
    return key


def customer(authorization: str = Header()):
    return authorization.removeprefix("Bearer ")


app = FastAPI(lifespan=lifespan)


@app.get("/cart")
@cache(namespace="pages", expire=300, key_builder=by_path)
async def cart(who: str = Depends(customer)):
    row = await app.state.pool.fetchrow("SELECT id, customer, total FROM carts WHERE customer = $1", who)
    return dict(row)


@app.post("/purge")
async def purge():
    await FastAPICache.clear(namespace="pages")
    return {}
