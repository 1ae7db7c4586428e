"""A FastAPI application for tests of the entry hooks."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

from fastapi import APIRouter, BackgroundTasks, FastAPI
from starlette.responses import StreamingResponse

app = FastAPI()
inner = FastAPI()
pool = ThreadPoolExecutor(1)
own = contextvars.ContextVar("own", default="unset")


@inner.get("/z/{q}")
def z(q: str):
    return q


app.mount("/inc", inner)
router = APIRouter(prefix="/deep")
deeper = APIRouter()


@deeper.get("/{n}")
def deep(n: int):
    return n


router.include_router(deeper, prefix="/er")
app.include_router(router, prefix="/api")


@app.get("/a/{b}")
async def a(b: int):
    return {"b": b}


@app.get("/c/{n:int}")
def converted(n: int):
    return n


@app.get("/boom")
def boom():
    raise ValueError("x")


@app.get("/s")
def s():
    return StreamingResponse(iter(["a", "b"]), media_type="text/plain")


def later(n):
    pass


@app.get("/bg")
async def bg(tasks: BackgroundTasks):
    tasks.add_task(later, 1)
    return {}


@app.get("/threads")
async def threads():
    """Requests made by other threads on behalf of this one: what they are told of the context is the answer."""
    own.set("set")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(own.get()))
    thread.start()
    thread.join()
    seen.append(pool.submit(own.get).result())
    seen.append(await asyncio.get_running_loop().run_in_executor(None, own.get))
    seen.append(await asyncio.to_thread(own.get))
    return seen


async def plain(scope, receive, send):
    """A bare ASGI application that streams until the client goes away."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-cache", b"HIT")]})
    if scope["path"] == "/forever":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": b"ok"})
