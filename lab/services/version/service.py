"""Prices in Flask with Flask-Caching on Redis, while a new release is rolled out beside the old one.

The defect: release 2 gives prices in another form, under the keys of release 1. In the twin the release is in the keys.
"""

import os
import sqlite3

from flask import Flask, jsonify
from flask_caching import Cache

FIXED = "LAB_FIXED" in os.environ
RELEASE = os.environ["DEMARC_VERSION"]

app = Flask(__name__)
cache = Cache(app, config={
    "CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": os.environ["LAB_REDIS"],
    "CACHE_KEY_PREFIX": f"shop:{RELEASE}:" if FIXED else "shop:", "CACHE_DEFAULT_TIMEOUT": 300,
})


def load(number):
    connection = sqlite3.connect(os.environ["LAB_SQLITE"])
    try:
        name, cents = connection.execute("SELECT name, cents FROM products WHERE id = ?", (number,)).fetchone()
    finally:
        connection.close()
    if RELEASE == "1":
        return {"name": name, "price": f"{cents // 100}.{cents % 100:02}"}
    return {"name": name, "price": {"cents": cents, "currency": "EUR"}}


@app.get("/products/<int:number>")
def product(number):
    found = cache.get(f"product:{number}")
    if found is None:
        found = load(number)
        cache.set(f"product:{number}", found)
    return jsonify(found)


@app.post("/purge")
def purge():
    cache.clear()
    return jsonify()
