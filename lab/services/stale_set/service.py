"""Articles in FastAPI, kept in Redis by hand: look there first, read the row on a miss, and store it; a change of the
row deletes the key after it was committed.

The defect: a read that began before the change stores what it read after the delete. The twin takes a lease on a miss,
which the delete takes away, and stores only while it holds it.
"""

import json
import os
import uuid
from contextlib import asynccontextmanager

import asyncpg
import redis.asyncio as redis
from fastapi import FastAPI, HTTPException
from gates import async_gate
from pydantic import BaseModel

FIXED = "LAB_FIXED" in os.environ
STORE_IF_HELD = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return nil end
return redis.call('SETEX', KEYS[2], ARGV[3], ARGV[2])
"""


class Change(BaseModel):
    title: str


@asynccontextmanager
async def lifespan(app):
    app.state.cache = redis.from_url(os.environ["LAB_REDIS"], decode_responses=True)
    app.state.store_if_held = app.state.cache.register_script(STORE_IF_HELD)
    async with asyncpg.create_pool(os.environ["LAB_POSTGRES"], min_size=2) as app.state.pool:
        yield
    await app.state.cache.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/articles/{number}")
async def article(number: int):
    key, lease, token = f"article:{number}", f"lease:{number}", uuid.uuid4().hex
    kept = await app.state.cache.get(key)
    if kept is not None:
        return json.loads(kept)
    if FIXED:
        await app.state.cache.set(lease, token, ex=10)
    row = await app.state.pool.fetchrow("SELECT id, title, body FROM articles WHERE id = $1", number)
    if row is None:
        raise HTTPException(404)
    found = dict(row)
    await async_gate("read")
    if FIXED:
        await app.state.store_if_held(keys=[lease, key], args=[token, json.dumps(found), 300])
    else:
        await app.state.cache.set(key, json.dumps(found), ex=300)  # lab: set
    return found


@app.put("/articles/{number}")
async def change(number: int, new: Change):
    await app.state.pool.execute("UPDATE articles SET title = $2 WHERE id = $1", number, new.title)  # lab: writer
    await drop(number)
    return {"id": number}


@app.post("/articles/{number}/purge")
async def purge(number: int):
    await drop(number)
    return {"id": number}


async def drop(number):
    if FIXED:
        await app.state.cache.delete(f"article:{number}", f"lease:{number}")
    else:
        await app.state.cache.delete(f"article:{number}")
