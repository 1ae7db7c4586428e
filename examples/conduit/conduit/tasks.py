"""Work that goes on after the answer."""

from __future__ import annotations

import logging

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from .cache import Cache
from .models import Tag, article_tags

log = logging.getLogger("conduit.tasks")


async def refresh_tag_counts(
    sessions: async_sessionmaker[AsyncSession], cache: Cache, tag_ids: list[int]
) -> None:
    """Counts the articles of these tags anew, then forgets the cached list of tags.

    It runs after the response in a transaction of its own. When it fails, the tag's next write puts it right.
    """
    uses = (
        select(func.count())
        .select_from(article_tags)
        .where(article_tags.c.tag_id == Tag.id)
        .scalar_subquery()
    )
    try:
        async with sessions() as session:
            # In one order everywhere, so that two of these never wait for each other's rows.
            for tag_id in sorted(tag_ids):
                await session.execute(
                    update(Tag)
                    .where(Tag.id == tag_id)
                    .values(uses=uses)
                    .execution_options(synchronize_session=False)
                )
            await session.commit()
    except Exception:
        log.exception("cannot refresh the counts of %d tags", len(tag_ids))
        return
    await cache.forget_tags()
