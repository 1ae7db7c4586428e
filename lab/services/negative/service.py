"""Profiles in FastAPI; aiocache keeps what a look-up gave in Redis.

The defect: that there is nobody of a name is kept as well, and registering the name drops nothing. The twin keeps
only profiles.
"""

import os
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
from aiocache import Cache, cached
from aiocache.serializers import JsonSerializer
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

FIXED = "LAB_FIXED" in os.environ
server = urlsplit(os.environ["LAB_REDIS"])


class User(BaseModel):
    name: str
    email: str


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(os.environ["LAB_POSTGRES"], min_size=1) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


@cached(
    ttl=300, cache=Cache.REDIS, endpoint=server.hostname, port=server.port, db=int(server.path[1:]),
    namespace="profile", serializer=JsonSerializer(), key_builder=lambda f, name: name,
    skip_cache_func=lambda found: FIXED and not found,
)  # fmt: skip
async def profile(name):
    row = await app.state.pool.fetchrow("SELECT name, email FROM users WHERE name = $1", name)
    return dict(row) if row is not None else {}


@app.get("/users/{name}")
async def show(name: str):
    found = await profile(name)
    if not found:
        raise HTTPException(404)
    return found


@app.post("/users")
async def register(user: User):
    new = "INSERT INTO users (name, email) VALUES ($1, $2)"
    await app.state.pool.execute(new, user.name, user.email)  # lab: writer
    return user


@app.post("/users/{name}/forget")
async def forget(name: str):
    await profile.cache.delete(name)
    return {}
