"""Articles in SQLite, kept in the process for five seconds. Renaming an article drops its entry; publishing one forgets to."""

import sqlite3

from cachetools import TTLCache
from fastapi import FastAPI, Header

db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
db.execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, published INTEGER)")
db.executemany("INSERT INTO articles VALUES (?, ?, 0)", [(n, f"article {n}") for n in range(1, 6)])
entries = TTLCache(100, 5)
app = FastAPI()


@app.get("/articles/{number}")
async def article(number: int, x_user: str = Header("-")):
    key = f"article:{number}"
    found = entries.get(key)
    if found is None:
        found = db.execute("SELECT id, title, published FROM articles WHERE id = ?", (number,)).fetchone()
        entries[key] = found
    return found


@app.put("/articles/{number}")
async def rename(number: int, title: str):
    db.execute("UPDATE articles SET title = ? WHERE id = ?", (title, number))
    entries.pop(f"article:{number}", None)
    return {}


@app.post("/articles/{number}/publish")
async def publish(number: int):
    db.execute("UPDATE articles SET published = 1 WHERE id = ?", (number,))
    return {}
