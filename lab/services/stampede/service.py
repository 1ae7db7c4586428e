"""A dashboard in FastAPI; aiocache keeps the figures in the process.

The defect: whoever finds nothing computes, however many do at once. The twin lets one compute and the others wait.
"""

import os
from contextlib import asynccontextmanager

import asyncpg
from aiocache import cached, cached_stampede
from fastapi import FastAPI
from gates import async_gate

FIXED = "LAB_FIXED" in os.environ


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(os.environ["LAB_POSTGRES"], min_size=2) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


def key(function, *args):
    return "figures"


@(cached_stampede(lease=10, ttl=300, key_builder=key) if FIXED else cached(ttl=300, key_builder=key))
async def figures():
    total = await app.state.pool.fetchval("SELECT sum(cents) FROM sales")
    await async_gate("computed")
    return {"total": total}


@app.get("/figures")
async def show():
    return await figures()
