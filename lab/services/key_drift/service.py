"""Articles in Flask with Flask-Caching on Redis: the view is cached under its path.

The defect: a change deletes "/articles/7", while Flask-Caching keeps the view under "view//articles/7". The twin knows.
"""

import os

from flask import Flask, jsonify, request
from flask_caching import Cache
from sqlalchemy import create_engine, text

FIXED = "LAB_FIXED" in os.environ

app = Flask(__name__)
cache = Cache(app, config={
    "CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": os.environ["LAB_REDIS"], "CACHE_KEY_PREFIX": "shop:",
    "CACHE_DEFAULT_TIMEOUT": 300,
})
engine = create_engine("sqlite:///" + os.environ["LAB_SQLITE"])


@app.get("/articles/<int:number>")
@cache.cached()
def article(number):
    with engine.connect() as connection:
        row = connection.execute(text("SELECT id, title FROM articles WHERE id = :id"), {"id": number}).one()
    return jsonify(id=row.id, title=row.title)


@app.put("/articles/<int:number>")
def change(number):
    with engine.begin() as connection:
        new = {"id": number, "title": request.json["title"]}
        connection.execute(text("UPDATE articles SET title = :title WHERE id = :id"), new)  # lab: writer
    drop(number)
    return jsonify(id=number)


def drop(number):
    cache.delete(f"view//articles/{number}" if FIXED else f"/articles/{number}")


@app.post("/purge")
def purge():
    cache.clear()
    return jsonify()
