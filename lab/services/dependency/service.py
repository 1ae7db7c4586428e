"""Articles and their authors in Flask with SQLAlchemy; Flask-Caching keeps both in Redis.

The defect: a change of an author drops the author, but not the articles in which the name stands. The twin drops them.
"""

import os

from flask import Flask, jsonify, request
from flask_caching import Cache
from sqlalchemy import create_engine, text

FIXED = "LAB_FIXED" in os.environ

app = Flask(__name__)
cache = Cache(app, config={
    "CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": os.environ["LAB_REDIS"], "CACHE_KEY_PREFIX": "blog:",
    "CACHE_DEFAULT_TIMEOUT": 300,
})
engine = create_engine("sqlite:///" + os.environ["LAB_SQLITE"])


def kept(key, statement, **values):
    """The row that a statement gives, as it is kept under the key."""
    found = cache.get(key)
    if found is None:
        with engine.connect() as connection:
            found = dict(connection.execute(text(statement), values).mappings().one())
        cache.set(key, found)
    return jsonify(found)


@app.get("/authors/<int:number>")
def author(number):
    return kept(f"author:{number}", "SELECT id, name FROM authors WHERE id = :id", id=number)


@app.get("/articles/<int:number>")
def article(number):
    return kept(
        f"article:{number}",
        "SELECT articles.id, title, authors.name AS author FROM articles JOIN authors ON authors.id = author_id "
        "WHERE articles.id = :id",
        id=number,
    )


@app.put("/articles/<int:number>")
def change(number):
    with engine.begin() as connection:
        new = {"id": number, "title": request.json["title"]}
        connection.execute(text("UPDATE articles SET title = :title WHERE id = :id"), new)
    cache.delete(f"article:{number}")
    return jsonify(id=number)


@app.post("/articles/<int:number>/refresh")
def refresh(number):
    cache.delete(f"article:{number}")
    return jsonify(id=number)


@app.put("/authors/<int:number>")
def rename(number):
    with engine.begin() as connection:
        new = {"id": number, "name": request.json["name"]}
        connection.execute(text("UPDATE authors SET name = :name WHERE id = :id"), new)  # lab: writer
        theirs = connection.execute(text("SELECT id FROM articles WHERE author_id = :id"), {"id": number}).scalars()
        keys = [f"article:{one}" for one in theirs]
    cache.delete(f"author:{number}")
    if FIXED:
        for key in keys:
            cache.delete(key)
    return jsonify(id=number)
