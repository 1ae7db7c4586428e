"""Comments of an article. They are not cached."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from ..db import Session
from ..errors import forbidden, not_found
from ..models import Article, Comment, User, follows
from ..schemas import CommentOut, CommentsOut, IdPath, NewCommentIn, SlugPath
from ..security import CurrentUser, Viewer
from .profiles import public_profile

router = APIRouter(prefix="/articles/{slug}/comments", tags=["comments"])


def _view(comment: Comment, author: User, following: bool) -> dict[str, Any]:
    return {
        "id": comment.id,
        "created_at": comment.created_at,
        "updated_at": comment.updated_at,
        "body": comment.body,
        "author": {**public_profile(author), "following": following},
    }


async def _article_id(session: Session, slug: str) -> int:
    article_id = await session.scalar(select(Article.id).where(Article.slug == slug))
    if article_id is None:
        raise not_found("article")
    return article_id


@router.get("", response_model=CommentsOut)
async def list_comments(slug: SlugPath, session: Session, viewer: Viewer) -> Any:
    article_id = await _article_id(session, slug)
    found = await session.scalars(
        select(Comment)
        .where(Comment.article_id == article_id)
        .options(joinedload(Comment.author))
        .order_by(Comment.created_at.desc(), Comment.id.desc())
        .limit(200)
    )
    comments = found.all()
    followed: set[int] = set()
    if viewer is not None:
        mine = select(follows.c.followee_id).where(follows.c.follower_id == viewer.id)
        followed = set((await session.scalars(mine)).all())
    return {"comments": [_view(c, c.author, c.author_id in followed) for c in comments]}


@router.post("", status_code=201, response_model=CommentOut)
async def add_comment(slug: SlugPath, given: NewCommentIn, session: Session, viewer: CurrentUser) -> Any:
    article_id = await _article_id(session, slug)
    comment = Comment(article_id=article_id, author_id=viewer.id, body=given.comment.body)
    session.add(comment)
    await session.commit()
    return {"comment": _view(comment, viewer, False)}


@router.delete("/{comment_id}", status_code=204)
async def delete_comment(
    slug: SlugPath, comment_id: IdPath, session: Session, viewer: CurrentUser
) -> Response:
    article_id = await _article_id(session, slug)
    comment = await session.get(Comment, comment_id)
    if comment is None or comment.article_id != article_id:
        raise not_found("comment")
    if comment.author_id != viewer.id:
        raise forbidden("comment")
    await session.delete(comment)
    await session.commit()
    return Response(status_code=204)
