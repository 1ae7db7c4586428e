"""Articles in Flask: a view that Flask-Caching keeps in Redis, made of rows that redis-py keeps there.

The defect: a change drops the row's key, but not the page that was made of it. The twin drops both.
"""

import json
import os

import redis
from flask import Flask, jsonify, request
from flask_caching import Cache
from sqlalchemy import create_engine, text

FIXED = "LAB_FIXED" in os.environ

app = Flask(__name__)
pages = Cache(app, config={
    "CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": os.environ["LAB_REDIS"], "CACHE_KEY_PREFIX": "shop:",
    "CACHE_DEFAULT_TIMEOUT": 300,
})
rows = redis.Redis.from_url(os.environ["LAB_REDIS"])
engine = create_engine("sqlite:///" + os.environ["LAB_SQLITE"])


def row(number):
    """The article's row, as the database or the cache has it."""
    found = rows.get(f"row:{number}")
    if found is None:
        with engine.connect() as connection:
            statement = text("SELECT id, title FROM articles WHERE id = :id")
            found = json.dumps(dict(connection.execute(statement, {"id": number}).mappings().one()))
        rows.set(f"row:{number}", found, ex=300)
    return json.loads(found)


@app.get("/titles/<int:number>")
def title(number):
    return jsonify(title=row(number)["title"])


@app.get("/articles/<int:number>")
@pages.cached()
def article(number):
    return jsonify(row(number))


@app.put("/articles/<int:number>")
def change(number):
    with engine.begin() as connection:
        new = {"id": number, "title": request.json["title"]}
        connection.execute(text("UPDATE articles SET title = :title WHERE id = :id"), new)  # lab: writer
    rows.delete(f"row:{number}")
    if FIXED:
        pages.delete(f"view//articles/{number}")
    return jsonify(id=number)


@app.post("/purge")
def purge():
    pages.clear()
    return jsonify()
