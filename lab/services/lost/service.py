"""Templates of letters in Flask, kept in Redis with redis-py: the database is what counts, so errors of the cache are
logged and passed over.

The defect: a delete that times out is passed over like a get. The twin remembers the key, and asks the cache for it
again only once it is deleted.
"""

import json
import logging
import os
import threading

import psycopg
import redis
from flask import Flask, jsonify, request
from redis.backoff import NoBackoff
from redis.retry import Retry

FIXED = "LAB_FIXED" in os.environ

app = Flask(__name__)
cache = redis.Redis.from_url(os.environ["LAB_REDIS"], socket_timeout=2, retry=Retry(NoBackoff(), 0))
log = logging.getLogger("service")
undeleted = set()
lock = threading.Lock()


def quietly(call, *args, **kwargs):
    """What a call to the cache gives; None where it fails."""
    try:
        return call(*args, **kwargs)
    except redis.RedisError as error:
        log.warning("cache: %s", error)
        return None


def drop(key):
    if quietly(cache.delete, key) is None and FIXED:
        with lock:
            undeleted.add(key)


def look_up(key):
    with lock:
        waiting = key in undeleted
        if waiting and quietly(cache.delete, key) is not None:
            undeleted.discard(key)
            waiting = False
    return None if waiting else quietly(cache.get, key)


@app.get("/templates/<int:number>")
def template(number):
    key = f"template:{number}"
    found = look_up(key)
    if found is not None:
        return jsonify(json.loads(found))
    with psycopg.connect(os.environ["LAB_POSTGRES"], autocommit=True) as connection:
        row = connection.execute("SELECT id, text FROM templates WHERE id = %s", (number,)).fetchone()
    found = {"id": row[0], "text": row[1]}
    quietly(cache.set, key, json.dumps(found), ex=300)
    return jsonify(found)


@app.put("/templates/<int:number>")
def change(number):
    with psycopg.connect(os.environ["LAB_POSTGRES"], autocommit=True) as connection:
        new = request.json["text"]
        connection.execute("UPDATE templates SET text = %s WHERE id = %s", (new, number))  # lab: writer
    drop(f"template:{number}")
    return jsonify(id=number)
