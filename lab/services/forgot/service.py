"""Articles in FastAPI with SQLAlchemy; fastapi-cache2 keeps the answers in Redis.

The defect: the route that changes the title clears the cached answers, the one that publishes an article was written
later and does not. The twin's does.
"""

import os
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

FIXED = "LAB_FIXED" in os.environ

engine = create_async_engine(os.environ["LAB_POSTGRES"].replace("postgresql:", "postgresql+asyncpg:", 1))
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]
    published: Mapped[bool]


class Change(BaseModel):
    title: str


@asynccontextmanager
async def lifespan(app):
    client = redis.from_url(os.environ["LAB_REDIS"])
    FastAPICache.init(RedisBackend(client), prefix="lab")
    yield
    await client.aclose()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/articles/{number}")
@cache(namespace="article", expire=300)
async def article(number: int):
    async with sessions() as session:
        found = await session.get(Article, number)
        return {"id": found.id, "title": found.title, "body": found.body, "published": found.published}


@app.put("/articles/{number}")
async def change(number: int, new: Change):
    async with sessions() as session:
        found = await session.get(Article, number)
        found.title = new.title
        await session.commit()
    await FastAPICache.clear(namespace="article")
    return {"id": number}


@app.post("/articles/{number}/publish")
async def publish(number: int):
    async with sessions() as session:
        found = await session.get(Article, number)
        found.published = True
        await session.commit()  # lab: writer
    if FIXED:
        await FastAPICache.clear(namespace="article")
    return {"id": number}


@app.post("/admin/clear-cache")
async def clear():
    await FastAPICache.clear(namespace="article")
    return {}
