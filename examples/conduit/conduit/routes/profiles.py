"""Profiles and who follows whom."""

from __future__ import annotations

from typing import Any, Optional

from fastapi import APIRouter, Request
from sqlalchemy import delete, func, select

from ..db import Session, insert_ignore
from ..errors import ApiError, not_found
from ..models import Article, User, favorites, follows
from ..schemas import NamePath, ProfileOut, ProfileStatsOut
from ..security import CurrentUser, Viewer

router = APIRouter(prefix="/profiles", tags=["profiles"])


def public_profile(user: User) -> dict[str, Any]:
    """The part of a profile that is the same for every viewer."""
    return {"username": user.username, "bio": user.bio, "image": user.image}


async def is_following(session: Session, viewer: Optional[User], username: str) -> bool:
    if viewer is None:
        return False
    pair = (
        select(follows.c.follower_id)
        .join(User, User.id == follows.c.followee_id)
        .where(follows.c.follower_id == viewer.id, User.username == username)
    )
    return await session.scalar(pair) is not None


async def _user(session: Session, username: str) -> User:
    user = await session.scalar(select(User).where(User.username == username))
    if user is None:
        raise not_found("profile")
    return user


@router.get("/{username}", response_model=ProfileOut)
async def get_profile(request: Request, username: NamePath, session: Session, viewer: Viewer) -> Any:
    async def load() -> dict[str, Any]:
        return public_profile(await _user(session, username))

    profile = await request.app.state.cache.profile(username, load)
    return {"profile": {**profile, "following": await is_following(session, viewer, username)}}


@router.get("/{username}/stats", response_model=ProfileStatsOut)
async def get_stats(username: NamePath, session: Session) -> Any:
    """How much an author writes and how well it is liked.

    It divides by zero for somebody who has written nothing: the README says why this defect stays.
    """
    user = await _user(session, username)
    articles = await session.scalar(select(func.count()).where(Article.author_id == user.id))
    liked = await session.scalar(
        select(func.count())
        .select_from(favorites)
        .join(Article, Article.id == favorites.c.article_id)
        .where(Article.author_id == user.id)
    )
    return {"stats": {"articles": articles, "favorites_per_article": liked / articles}}


# Nothing cached says who follows whom, so neither of these forgets anything.


@router.post("/{username}/follow", response_model=ProfileOut)
async def follow(username: NamePath, session: Session, viewer: CurrentUser) -> Any:
    user = await _user(session, username)
    if user.id == viewer.id:
        raise ApiError(422, "profile", "is your own", "the profile of somebody else")
    await session.execute(insert_ignore(session, follows).values(follower_id=viewer.id, followee_id=user.id))
    await session.commit()
    return {"profile": {**public_profile(user), "following": True}}


@router.delete("/{username}/follow", response_model=ProfileOut)
async def unfollow(username: NamePath, session: Session, viewer: CurrentUser) -> Any:
    user = await _user(session, username)
    await session.execute(
        delete(follows).where(follows.c.follower_id == viewer.id, follows.c.followee_id == user.id)
    )
    await session.commit()
    return {"profile": {**public_profile(user), "following": False}}
