"""The tables."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Optional

from sqlalchemy import Column, DateTime, ForeignKey, Index, String, Table, Text, TypeDecorator
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC on every database: SQLite has no zones and would hand back a naive one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: Optional[datetime], dialect: Any) -> Optional[datetime]:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=timezone.utc)


def now() -> datetime:
    return datetime.now(timezone.utc)


class Base(AsyncAttrs, DeclarativeBase):
    pass


def _to(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


follows = Table(
    "follows",
    Base.metadata,
    Column("follower_id", _to("users.id"), primary_key=True),
    Column("followee_id", _to("users.id"), primary_key=True),
)

favorites = Table(
    "favorites",
    Base.metadata,
    Column("user_id", _to("users.id"), primary_key=True),
    Column("article_id", _to("articles.id"), primary_key=True, index=True),
)

article_tags = Table(
    "article_tags",
    Base.metadata,
    Column("article_id", _to("articles.id"), primary_key=True),
    Column("tag_id", _to("tags.id"), primary_key=True, index=True),
)


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(50), unique=True)
    email: Mapped[str] = mapped_column(String(200), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    bio: Mapped[str] = mapped_column(Text, default="")
    image: Mapped[Optional[str]] = mapped_column(String(500))


class Tag(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    uses: Mapped[int] = mapped_column(default=0)
    """Articles that carry the tag, as of the last `tasks.refresh_tag_counts`."""


class Article(Base):
    __tablename__ = "articles"
    __table_args__ = (Index("articles_newest", "created_at", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(220), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(500))
    body: Mapped[str] = mapped_column(Text)
    author_id: Mapped[int] = mapped_column(_to("users.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now, onupdate=now)

    author: Mapped[User] = relationship(lazy="raise")
    tags: Mapped[list[Tag]] = relationship(secondary=article_tags, order_by=Tag.name, passive_deletes=True)


class Comment(Base):
    __tablename__ = "comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    article_id: Mapped[int] = mapped_column(_to("articles.id"), index=True)
    author_id: Mapped[int] = mapped_column(_to("users.id"), index=True)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    author: Mapped[User] = relationship(lazy="raise")


class Setting(Base):
    """Small facts that belong to the database rather than to a process, such as its token secret."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
