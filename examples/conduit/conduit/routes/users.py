"""Registration, login, and the user's own account."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from ..db import Session
from ..errors import ApiError, taken
from ..models import Article, User
from ..schemas import LoginIn, NewUserIn, UserChangesIn, UserOut
from ..security import CurrentUser, check_password_aside, hash_password_aside, make_token

router = APIRouter(tags=["users"])


def _account(request: Request, user: User) -> dict[str, Any]:
    token = make_token(user.id, request.app.state.secret)
    return {
        "user": {
            "username": user.username,
            "email": user.email,
            "token": token,
            "bio": user.bio,
            "image": user.image,
        }
    }


async def _refuse_taken(session: Session, changes: dict[str, Any], but: int = 0) -> None:
    for field in ("username", "email"):
        if field in changes:
            column = getattr(User, field)
            if await session.scalar(select(User.id).where(column == changes[field], User.id != but)):
                raise taken(field)


@router.post("/users", status_code=201, response_model=UserOut)
async def register(request: Request, given: NewUserIn, session: Session) -> Any:
    values = given.user.model_dump()
    await _refuse_taken(session, values)
    user = User(
        username=values["username"],
        email=values["email"],
        password_hash=await hash_password_aside(values["password"]),
        bio="",
    )
    session.add(user)
    try:
        await session.commit()
    except IntegrityError:  # somebody else was quicker
        raise taken("username or email") from None
    return _account(request, user)


@router.post("/users/login", response_model=UserOut)
async def login(request: Request, given: LoginIn, session: Session) -> Any:
    user = await session.scalar(select(User).where(User.email == given.user.email))
    if user is None or not await check_password_aside(given.user.password, user.password_hash):
        raise ApiError(401, "email or password", "is invalid", "the email and password of a registered user")
    return _account(request, user)


@router.get("/user", response_model=UserOut)
async def current_user(request: Request, user: CurrentUser) -> Any:
    return _account(request, user)


@router.put("/user", response_model=UserOut)
async def update_user(request: Request, given: UserChangesIn, session: Session, user: CurrentUser) -> Any:
    changes = given.user.model_dump(exclude_unset=True)
    await _refuse_taken(session, changes, but=user.id)
    if "password" in changes:
        user.password_hash = await hash_password_aside(changes.pop("password"))
    old_name = user.username
    for field, value in changes.items():
        setattr(user, field, value)
    try:
        await session.commit()
    except IntegrityError:
        raise taken("username or email") from None
    # An article shows its author, so the author's articles go with the profile.
    slugs = (await session.scalars(select(Article.slug).where(Article.author_id == user.id))).all()
    cache = request.app.state.cache
    await cache.forget_profile(*{old_name, user.username})
    await cache.forget_article(*slugs)
    return _account(request, user)
