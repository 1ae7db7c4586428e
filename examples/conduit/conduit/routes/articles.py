"""Articles: one, lists, the feed, and favourites."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Optional

from fastapi import APIRouter, BackgroundTasks, Request, Response
from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import joinedload

from ..db import Session, insert_ignore
from ..errors import forbidden, not_found
from ..models import Article, Tag, User, article_tags, favorites, follows
from ..schemas import (
    ArticleChangesIn,
    ArticleOut,
    ArticlesOut,
    Limit,
    NameQuery,
    NewArticleIn,
    Offset,
    SlugPath,
)
from ..security import CurrentUser, Viewer
from ..tasks import refresh_tag_counts
from .profiles import is_following, public_profile

router = APIRouter(prefix="/articles", tags=["articles"])

RESERVED_SLUGS = {"feed"}  # GET /articles/feed is another route
_MAX_SLUG = 200


def slugify(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_MAX_SLUG].strip("-") or "article"


async def _free_slug(session: Session, title: str, but: int = 0) -> str:
    base = slugify(title)
    alike = select(Article.slug).where(
        (Article.slug == base) | Article.slug.like(f"{base}-%"), Article.id != but
    )
    used = set((await session.scalars(alike)).all()) | RESERVED_SLUGS
    slug, number = base, 1
    while slug in used:
        number += 1
        slug = f"{base}-{number}"
    return slug


async def _tags(session: Session, names: list[str]) -> list[Tag]:
    """The tags of these names, created where they are new, in the order of their names."""
    wanted = sorted(set(names))
    if not wanted:
        return []
    for name in wanted:
        await session.execute(insert_ignore(session, Tag).values(name=name, uses=0))
    return list((await session.scalars(select(Tag).where(Tag.name.in_(wanted)).order_by(Tag.name))).all())


async def _own_article(session: Session, slug: str, viewer: User) -> Article:
    article = await session.scalar(select(Article).where(Article.slug == slug))
    if article is None:
        raise not_found("article")
    if article.author_id != viewer.id:
        raise forbidden("article")
    return article


async def _public_article(session: Session, slug: str) -> dict[str, Any]:
    """The part of an article that is the same for every viewer, as plain JSON types."""
    article = await session.scalar(
        select(Article).where(Article.slug == slug).options(joinedload(Article.author))
    )
    if article is None:
        raise not_found("article")
    tags = await article.awaitable_attrs.tags
    count = await session.scalar(select(func.count()).where(favorites.c.article_id == article.id))
    return {
        "id": article.id,
        "slug": article.slug,
        "title": article.title,
        "description": article.description,
        "body": article.body,
        "tag_list": [tag.name for tag in tags],
        "created_at": article.created_at.isoformat(),
        "updated_at": article.updated_at.isoformat(),
        "favorites_count": count,
        "author": public_profile(article.author),
    }


async def _article_for(
    request: Request, session: Session, slug: str, viewer: Optional[User]
) -> dict[str, Any]:
    public = await request.app.state.cache.article(slug, lambda: _public_article(session, slug))
    author = public["author"]
    favorited = False
    if viewer is not None:
        mine = select(favorites.c.user_id).where(
            favorites.c.user_id == viewer.id, favorites.c.article_id == public["id"]
        )
        favorited = await session.scalar(mine) is not None
    following = await is_following(session, viewer, author["username"])
    return {"article": {**public, "favorited": favorited, "author": {**author, "following": following}}}


def _for_lists(viewer: Optional[User]) -> Select[Any]:
    """(article, favorites_count, favorited, following), newest first."""
    count = (
        select(func.count())
        .select_from(favorites)
        .where(favorites.c.article_id == Article.id)
        .scalar_subquery()
    )
    viewer_id = viewer.id if viewer is not None else 0
    favorited = (
        select(favorites.c.user_id)
        .where(favorites.c.article_id == Article.id, favorites.c.user_id == viewer_id)
        .exists()
    )
    following = (
        select(follows.c.follower_id)
        .where(follows.c.followee_id == Article.author_id, follows.c.follower_id == viewer_id)
        .exists()
    )
    return select(Article, count, favorited, following).order_by(Article.created_at.desc(), Article.id.desc())


async def _page(session: Session, query: Select[Any], limit: int, offset: int) -> dict[str, Any]:
    # Two costs that services of this kind really have, left for demarc to find: the total is counted over the
    # whole query with its subqueries, and the tags below are fetched article by article (N+1).
    total = await session.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
    rows = await session.execute(query.options(joinedload(Article.author)).limit(limit).offset(offset))
    articles = []
    for article, count, favorited, following in rows.all():
        tags = await article.awaitable_attrs.tags
        articles.append(
            {
                "slug": article.slug,
                "title": article.title,
                "description": article.description,
                "tag_list": [tag.name for tag in tags],
                "created_at": article.created_at,
                "updated_at": article.updated_at,
                "favorited": favorited,
                "favorites_count": count,
                "author": {**public_profile(article.author), "following": following},
            }
        )
    return {"articles": articles, "articles_count": total}


@router.get("", response_model=ArticlesOut)
async def list_articles(
    session: Session,
    viewer: Viewer,
    tag: NameQuery = None,
    author: NameQuery = None,
    favorited: NameQuery = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Any:
    query = _for_lists(viewer)
    if tag is not None:
        query = query.where(Article.tags.any(Tag.name == tag))
    if author is not None:
        query = query.where(Article.author.has(User.username == author))
    if favorited is not None:
        by_them = select(favorites.c.article_id).join(User).where(User.username == favorited)
        query = query.where(Article.id.in_(by_them))
    return await _page(session, query, limit, offset)


@router.get("/feed", response_model=ArticlesOut)
async def feed(session: Session, viewer: CurrentUser, limit: Limit = 20, offset: Offset = 0) -> Any:
    followed = select(follows.c.followee_id).where(follows.c.follower_id == viewer.id)
    return await _page(session, _for_lists(viewer).where(Article.author_id.in_(followed)), limit, offset)


@router.get("/{slug}", response_model=ArticleOut)
async def get_article(request: Request, slug: SlugPath, session: Session, viewer: Viewer) -> Any:
    return await _article_for(request, session, slug, viewer)


@router.post("", status_code=201, response_model=ArticleOut)
async def create_article(
    request: Request, given: NewArticleIn, session: Session, viewer: CurrentUser, later: BackgroundTasks
) -> Any:
    new = given.article
    article = Article(
        slug=await _free_slug(session, new.title),
        title=new.title,
        description=new.description,
        body=new.body,
        author_id=viewer.id,
        tags=await _tags(session, new.tag_list),
    )
    session.add(article)
    await session.commit()
    state = request.app.state
    if article.tags:
        later.add_task(refresh_tag_counts, state.sessions, state.cache, [tag.id for tag in article.tags])
    return await _article_for(request, session, article.slug, viewer)


@router.put("/{slug}", response_model=ArticleOut)
async def update_article(
    request: Request, slug: SlugPath, given: ArticleChangesIn, session: Session, viewer: CurrentUser
) -> Any:
    article = await _own_article(session, slug, viewer)
    changes = given.article.model_dump(exclude_unset=True)
    if changes.get("title", article.title) != article.title:
        article.slug = await _free_slug(session, changes["title"], but=article.id)
    for field, value in changes.items():
        setattr(article, field, value)
    await session.commit()
    await request.app.state.cache.forget_article(*{slug, article.slug})
    session.expunge_all()
    return await _article_for(request, session, article.slug, viewer)


@router.delete("/{slug}", status_code=204)
async def delete_article(
    request: Request, slug: SlugPath, session: Session, viewer: CurrentUser, later: BackgroundTasks
) -> Response:
    article = await _own_article(session, slug, viewer)
    tag_ids = (
        await session.scalars(select(article_tags.c.tag_id).where(article_tags.c.article_id == article.id))
    ).all()
    # Its comments, tags and favourites go by ON DELETE CASCADE.
    await session.execute(delete(Article).where(Article.id == article.id))
    await session.commit()
    state = request.app.state
    await state.cache.forget_article(slug)
    if tag_ids:
        later.add_task(refresh_tag_counts, state.sessions, state.cache, list(tag_ids))
    return Response(status_code=204)


async def _article_id(session: Session, slug: str) -> int:
    article_id = await session.scalar(select(Article.id).where(Article.slug == slug))
    if article_id is None:
        raise not_found("article")
    return article_id


@router.post("/{slug}/favorite", response_model=ArticleOut)
async def favorite(request: Request, slug: SlugPath, session: Session, viewer: CurrentUser) -> Any:
    article_id = await _article_id(session, slug)
    await session.execute(insert_ignore(session, favorites).values(user_id=viewer.id, article_id=article_id))
    await session.commit()
    await request.app.state.cache.forget_article(slug)
    return await _article_for(request, session, slug, viewer)


@router.delete("/{slug}/favorite", response_model=ArticleOut)
async def unfavorite(request: Request, slug: SlugPath, session: Session, viewer: CurrentUser) -> Any:
    article_id = await _article_id(session, slug)
    await session.execute(
        delete(favorites).where(favorites.c.user_id == viewer.id, favorites.c.article_id == article_id)
    )
    await session.commit()
    await request.app.state.cache.forget_article(slug)
    return await _article_for(request, session, slug, viewer)
