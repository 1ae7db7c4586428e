"""Settings in Flask, two processes, dogpile.cache: each process keeps the settings in its own memory.

The defect: a change drops the setting in the process that took the request and lives on in the other. The twin keeps
them in Redis, where both look.
"""

import os
import sqlite3

from dogpile.cache import make_region
from flask import Flask, jsonify, request

FIXED = "LAB_FIXED" in os.environ

app = Flask(__name__)
region = make_region()
if FIXED:
    region.configure("dogpile.cache.redis", expiration_time=300, arguments={"url": os.environ["LAB_REDIS"]})
else:
    region.configure("dogpile.cache.memory", expiration_time=300)


def database():
    return sqlite3.connect(os.environ["LAB_SQLITE"], timeout=10)


@region.cache_on_arguments()
def setting(name):
    connection = database()
    try:
        return connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()[0]
    finally:
        connection.close()


@app.get("/settings/<name>")
def show(name):
    return jsonify(name=name, value=setting(name))


@app.put("/settings/<name>")
def change(name):
    connection = database()
    with connection:
        connection.execute("UPDATE settings SET value = ? WHERE name = ?", (request.json["value"], name))  # lab: writer
    connection.close()
    setting.invalidate(name)
    return jsonify(name=name)


@app.post("/settings/<name>/reload")
def reload(name):
    setting.invalidate(name)
    return jsonify(name=name)
