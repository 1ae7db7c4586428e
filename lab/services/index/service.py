"""Articles in FastAPI; cashews keeps articles and headlines in Redis, both with the tag of all articles.

The defect: headlines live for a second, and whatever is added to a tag gives the tag's set its own lifetime. So the set
is gone long before the articles in it, and deleting the tag finds nothing. In the twin headlines have their own tag.
"""

import os
from contextlib import asynccontextmanager

import asyncpg
from cashews import cache
from fastapi import FastAPI
from pydantic import BaseModel

FIXED = "LAB_FIXED" in os.environ

cache.setup(os.environ["LAB_REDIS"], socket_timeout=20)


class Change(BaseModel):
    title: str


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(os.environ["LAB_POSTGRES"], min_size=1) as app.state.pool:
        yield
    await cache.close()


app = FastAPI(lifespan=lifespan)


@cache(ttl="5m", key="article:{number}", tags=["articles"])
async def load(number):
    return dict(await app.state.pool.fetchrow("SELECT id, title, body FROM articles WHERE id = $1", number))


@cache(ttl="1s", key="headline:{number}", tags=["headlines" if FIXED else "articles"])
async def load_headline(number):
    return await app.state.pool.fetchval("SELECT title FROM articles WHERE id = $1", number)


@app.get("/articles/{number}")
async def article(number: int):
    return await load(number)


@app.get("/headlines/{number}")
async def headline(number: int):
    return {"title": await load_headline(number)}


@app.put("/articles/{number}")
async def change(number: int, new: Change):
    await app.state.pool.execute("UPDATE articles SET title = $2 WHERE id = $1", number, new.title)  # lab: writer
    await cache.delete_tags("articles", "headlines")
    return {"id": number}


@app.post("/articles/{number}/refresh")
async def refresh(number: int):
    await cache.delete(f"article:{number}")
    return {"id": number}
