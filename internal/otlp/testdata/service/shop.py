"""A small service for the live test of the OTLP receiver: FastAPI, SQLAlchemy on SQLite, redis-py, a Celery task.

It knows nothing of OpenTelemetry; `opentelemetry-instrument uvicorn shop:app` puts the instrumentation in. The database's
file comes from SHOP_DB, Redis from SHOP_REDIS (a URL).
"""

import os

import redis
from celery import Celery
from fastapi import FastAPI, HTTPException
from sqlalchemy import create_engine, text

engine = create_engine("sqlite:///" + os.environ["SHOP_DB"])
cache = redis.Redis.from_url(os.environ["SHOP_REDIS"])
# The queue is in memory and the worker is this process: publishing and running both happen here.
jobs = Celery("shop", broker="memory://", backend="cache+memory://")
jobs.conf.task_always_eager = True
app = FastAPI()

with engine.begin() as connection:
    connection.execute(text("CREATE TABLE IF NOT EXISTS articles (id INTEGER PRIMARY KEY, slug TEXT, title TEXT)"))
    connection.execute(text("INSERT OR REPLACE INTO articles VALUES (1, 'first', 'First'), (2, 'second', 'Second')"))


@jobs.task(name="shop.reindex")
def reindex(slug: str) -> str:
    return slug


@app.get("/health")
def health() -> dict:
    return {"ok": True}


@app.get("/articles/{slug}")
def article(slug: str) -> dict:
    key = "article:" + slug
    found = cache.get(key)
    if found is not None:
        return {"title": found.decode()}
    with engine.connect() as connection:
        row = connection.execute(text("SELECT title FROM articles WHERE slug = :slug"), {"slug": slug}).first()
    if row is None:
        raise HTTPException(404)
    cache.set(key, row.title, ex=60)
    return {"title": row.title}


@app.put("/articles/{slug}")
def rename(slug: str, title: str) -> dict:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE articles SET title = :title WHERE slug = :slug AND slug <> 'secret-literal'"),
            {"title": title, "slug": slug},
        )
    with cache.pipeline() as pipeline:
        pipeline.delete("article:" + slug, "articles")
        pipeline.expire("front", 30)
        pipeline.execute()
    reindex.delay(slug)
    return {"ok": True}


@app.get("/broken")
def broken() -> dict:
    raise ValueError("the customer's address is never kept")
