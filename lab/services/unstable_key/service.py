"""Products in FastAPI with SQLAlchemy; fastapi-cache2 keeps the answers in Redis, under its own keys.

The defect: those keys are made of all arguments, and the session is one, whose representation is another one for each
request. The twin's keys are made of the path.
"""

import os
from contextlib import asynccontextmanager
from typing import Annotated

import redis.asyncio as redis
from fastapi import Depends, FastAPI
from fastapi_cache import FastAPICache, default_key_builder
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

FIXED = "LAB_FIXED" in os.environ

engine = create_async_engine("sqlite+aiosqlite:///" + os.environ["LAB_SQLITE"])
sessions = async_sessionmaker(engine)


def by_path(function, namespace="", *, request=None, response=None, args=(), kwargs=None):
    return f"{namespace}:{request.url.path}"


@asynccontextmanager
async def lifespan(app):
    client = redis.from_url(os.environ["LAB_REDIS"])
    FastAPICache.init(RedisBackend(client), prefix="shop", key_builder=by_path if FIXED else default_key_builder)
    yield
    await client.aclose()
    await engine.dispose()


async def session():
    async with sessions() as opened:
        kept.append(opened)
        yield opened


kept = []  # so that no two sessions have one address
Database = Annotated[AsyncSession, Depends(session)]

app = FastAPI(lifespan=lifespan)


@app.get("/products/{number}")
@cache(namespace="product", expire=300)
async def product(number: int, db: Database):
    row = (await db.execute(text("SELECT id, name FROM products WHERE id = :id"), {"id": number})).one()
    return {"id": row.id, "name": row.name}
