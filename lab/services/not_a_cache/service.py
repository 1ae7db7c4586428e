"""Articles in Flask with SQLAlchemy, kept in Redis with redis-py, dropped when they are changed.

The defect: the readers share one session, which lives as long as the process. Its identity map holds the article as it
was read first, so that a query that returns the new row leaves the old object as it was, and the cache is filled from
it. In the twin each reader has a session of its own.
"""

import json
import os

import redis
from flask import Flask, jsonify, request
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

FIXED = "LAB_FIXED" in os.environ

app = Flask(__name__)
cache = redis.Redis.from_url(os.environ["LAB_REDIS"], decode_responses=True)
url = os.environ["LAB_POSTGRES"].replace("postgresql:", "postgresql+psycopg:", 1) + "?target_session_attrs=primary"
engine = create_engine(url, isolation_level="AUTOCOMMIT")
shared = Session(engine)
seen = []  # what the readers have in their hands


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]


@app.get("/articles/<int:number>")
def article(number):
    kept = cache.get(f"article:{number}")
    if kept is not None:
        return jsonify(json.loads(kept))
    session = Session(engine) if FIXED else shared
    found = session.scalars(select(Article).where(Article.id == number)).one()
    if not FIXED:
        seen.append(found)
    shown = {"id": found.id, "title": found.title, "body": found.body}
    cache.set(f"article:{number}", json.dumps(shown), ex=300)
    return jsonify(shown)


@app.put("/articles/<int:number>")
def change(number):
    with Session(engine) as session:
        session.get(Article, number).title = request.json["title"]
        session.commit()
    cache.delete(f"article:{number}")
    return jsonify(id=number)


@app.post("/restart")
def restart():
    shared.expunge_all()
    cache.delete("article:1")
    return jsonify()
