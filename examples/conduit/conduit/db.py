"""The engine, the tables' creation, and one session a request."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import event, select, text
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from .models import Base, Setting

_SCHEMA_LOCK = 727_001  # any number that nothing else in this database locks


def make_engine(url: str) -> AsyncEngine:
    """At most 15 connections; a request that gets none within 10 s fails with 503."""
    engine = create_async_engine(url, pool_size=10, max_overflow=5, pool_timeout=10)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def make_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine, expire_on_commit=False)


async def create_tables(connection: AsyncConnection) -> None:
    """Creates what is missing. Safe when several workers start at once."""
    if connection.dialect.name == "postgresql":
        # IF NOT EXISTS alone still collides in Postgres's catalogue when two workers create the same table.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
    for table in Base.metadata.sorted_tables:
        await connection.execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            await connection.execute(CreateIndex(index, if_not_exists=True))


async def token_secret(connection: AsyncConnection) -> str:
    """The secret that this database generated for itself, the same for every worker."""
    insert = postgres_insert if connection.dialect.name == "postgresql" else sqlite_insert
    fresh = insert(Setting).values(name="token_secret", value=secrets.token_urlsafe(48))
    await connection.execute(fresh.on_conflict_do_nothing())
    return str(await connection.scalar(select(Setting.value).where(Setting.name == "token_secret")))


def insert_ignore(session: AsyncSession, table: Any) -> Any:
    """INSERT … ON CONFLICT DO NOTHING in the dialect of the session's database."""
    insert = postgres_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    return insert(table).on_conflict_do_nothing()


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]
