"""`python -m conduit.seed`: replaces the database's content by the demonstration's data set."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from sqlalchemy import func, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from . import dataset
from .cache import open_cache
from .db import create_tables, make_engine
from .models import Article, Base, Comment, Setting, Tag, User, article_tags, favorites, follows
from .security import hash_password
from .settings import Settings, SettingsError

_BATCH = 1000


class SeedRefused(Exception):
    pass


async def _existing_users(connection: AsyncConnection) -> int:
    names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    if User.__tablename__ not in names:
        return 0
    return await connection.scalar(select(func.count()).select_from(User)) or 0


async def _empty(connection: AsyncConnection) -> None:
    # The settings stay, so that tokens which were handed out by a running service keep their signature.
    for table in reversed(Base.metadata.sorted_tables):
        if table is not Setting.__table__:
            await connection.execute(table.delete())


async def _insert(connection: AsyncConnection, table: Any, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _BATCH):
        await connection.execute(insert(table), rows[start : start + _BATCH])


async def _store(connection: AsyncConnection, data: dataset.Dataset) -> dict[str, int]:
    # One hash for all: they share the demonstration's password, and a hash each would take most of the time.
    password_hash = hash_password(dataset.DEMO_PASSWORD)
    tag_ids = {name: number for number, name in enumerate(data.tags, 1)}
    uses = dict.fromkeys(data.tags, 0)
    for article in data.articles:
        for tag in article.tags:
            uses[tag] += 1
    rows: dict[Any, list[dict[str, Any]]] = {
        User: [
            {
                "id": user.id,
                "username": user.username,
                "email": user.email,
                "password_hash": password_hash,
                "bio": user.bio,
                "image": user.image,
            }
            for user in data.users
        ],
        Tag: [{"id": tag_ids[name], "name": name, "uses": uses[name]} for name in data.tags],
        Article: [
            {
                "id": article.id,
                "slug": article.slug,
                "title": article.title,
                "description": article.description,
                "body": article.body,
                "author_id": article.author_id,
                "created_at": article.at,
                "updated_at": article.at,
            }
            for article in data.articles
        ],
        Comment: [
            {
                "id": comment.id,
                "article_id": article.id,
                "author_id": comment.author_id,
                "body": comment.body,
                "created_at": comment.at,
                "updated_at": comment.at,
            }
            for article in data.articles
            for comment in article.comments
        ],
        article_tags: [
            {"article_id": article.id, "tag_id": tag_ids[tag]}
            for article in data.articles
            for tag in article.tags
        ],
        favorites: [
            {"user_id": user_id, "article_id": article.id}
            for article in data.articles
            for user_id in article.liked_by
        ],
        follows: [{"follower_id": one, "followee_id": other} for one, other in data.follows],
    }
    for table, values in rows.items():
        await _insert(connection, table, values)
    if connection.dialect.name == "postgresql":
        # Explicit ids do not move the sequences, and SQLite has none.
        for model in (User, Tag, Article, Comment):
            name = model.__tablename__
            await connection.execute(
                text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))")
            )
    return {
        getattr(table, "__tablename__", None) or table.name: len(values) for table, values in rows.items()
    }


async def seed(settings: Settings, size: int, seed_number: int, replace: bool) -> dict[str, int]:
    """Stores the data set in one transaction and clears the shared cache. Returns the rows of each table.

    Raises SeedRefused where the database has users and `replace` is false: they would be gone.
    """
    data = dataset.build(size, seed_number)
    engine = make_engine(settings.database_url)
    try:
        async with engine.begin() as connection:
            users = await _existing_users(connection)
            if users and not replace:
                raise SeedRefused(f"the database already has {users} users, who would be deleted")
            await create_tables(connection)
            await _empty(connection)
            counts = await _store(connection, data)
    finally:
        await engine.dispose()
    cache = open_cache(settings.cache_url)
    try:
        await cache.clear()
    finally:
        await cache.close()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m conduit.seed",
        description="Replaces the content of DATABASE_URL by a data set that is the same every time.",
    )
    parser.add_argument(
        "--size", type=int, default=dataset.DEFAULT_SIZE, help="articles (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="another number, other data (default 1)")
    parser.add_argument("--yes", action="store_true", help="delete what the database holds now")
    given = parser.parse_args()
    started = time.perf_counter()
    try:
        counts = asyncio.run(seed(Settings.from_env(), given.size, given.seed, given.yes))
    except SeedRefused as refused:
        print(f"conduit.seed: {refused}", file=sys.stderr)
        print(
            "  expected: an empty database, or --yes\n  retry:    safe, nothing was changed", file=sys.stderr
        )
        return 1
    except (SettingsError, ValueError) as wrong:
        print(f"conduit.seed: {wrong}", file=sys.stderr)
        return 2
    took = time.perf_counter() - started
    print(
        ", ".join(f"{count} {table}" for table, count in counts.items()) + f" in {took:.1f} s",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
