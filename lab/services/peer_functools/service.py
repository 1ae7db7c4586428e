"""Permissions in FastAPI, two processes: functools.lru_cache keeps what a role may do.

The defect: taking a permission away clears the cache of the process that took the request; in the other one the role
keeps it. In the twin the number of the last change, which is in the database, is an argument.
"""

import os
import sqlite3
from contextlib import closing
from functools import lru_cache

from fastapi import FastAPI
from pydantic import BaseModel

FIXED = "LAB_FIXED" in os.environ

app = FastAPI()


class Change(BaseModel):
    allowed: str


def database():
    return closing(sqlite3.connect(os.environ["LAB_SQLITE"], timeout=10))


def last_change():
    with database() as connection:
        return connection.execute("SELECT max(number) FROM changes").fetchone()[0]


@lru_cache(maxsize=100)
def allowed(role, change=0):
    with database() as connection:
        return connection.execute("SELECT allowed FROM permissions WHERE role = ?", (role,)).fetchone()[0]


@app.get("/roles/{role}")
def show(role: str):
    return {"role": role, "allowed": allowed(role, last_change()) if FIXED else allowed(role)}


@app.put("/roles/{role}")
def change(role: str, new: Change):
    with database() as connection, connection:
        connection.execute("UPDATE permissions SET allowed = ? WHERE role = ?", (new.allowed, role))  # lab: writer
        connection.execute("INSERT INTO changes (role) VALUES (?)", (role,))
    allowed.cache_clear()
    return {"role": role}


@app.post("/reload")
def reload():
    allowed.cache_clear()
    return {}
