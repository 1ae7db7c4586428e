"""Passwords, tokens, and who is asking."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from typing import Annotated, Optional

import jwt
from fastapi import Depends, Request

from .db import Session
from .errors import ApiError
from .models import User

TOKEN_SECONDS = 30 * 24 * 3600
_ALGORITHM = "HS256"
_MAX_TOKEN = 2000
_MAX_ID = 2**31 - 1

# About 10 ms and 4 MB a hash: modest, so that a login in a demonstration measures the service and not scrypt.
# Raise N for anything that people depend on; a stored hash carries its own N.
_N, _R, _P = 2**12, 8, 1


def hash_password(password: str, salt: Optional[bytes] = None) -> str:
    """`scrypt$N$salt$hash`. Blocks for the time of one hash."""
    salt = salt or secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=32)
    return f"scrypt${_N}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def check_password(password: str, stored: str) -> bool:
    _, n, salt, digest = stored.split("$")
    asked = hashlib.scrypt(password.encode(), salt=base64.b64decode(salt), n=int(n), r=_R, p=_P, dklen=32)
    return hmac.compare_digest(asked, base64.b64decode(digest))


async def hash_password_aside(password: str) -> str:
    """hash_password in a thread, so that the event loop goes on."""
    return await asyncio.to_thread(hash_password, password)


async def check_password_aside(password: str, stored: str) -> bool:
    return await asyncio.to_thread(check_password, password, stored)


def make_token(user_id: int, secret: str) -> str:
    issued = int(time.time())
    claims = {"sub": str(user_id), "iat": issued, "exp": issued + TOKEN_SECONDS}
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "token", message, "the header Authorization: Token <token of POST /api/users/login>")


async def _viewer(request: Request, session: Session) -> Optional[User]:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() not in ("token", "bearer") or not token or len(token) > _MAX_TOKEN:
        raise _unauthorized("is malformed")
    try:
        claims = jwt.decode(
            token.strip(),
            request.app.state.secret,
            algorithms=[_ALGORITHM],
            options={"require": ["exp", "sub"]},
        )
        user_id = int(claims["sub"])
        if not 0 < user_id <= _MAX_ID:
            raise ValueError("no id of the database is like that")
    except jwt.ExpiredSignatureError:
        raise _unauthorized("has expired") from None
    except (jwt.PyJWTError, ValueError):
        raise _unauthorized("is not valid") from None
    user = await session.get(User, user_id)
    if user is None:
        raise _unauthorized("names a user who no longer exists")
    return user


Viewer = Annotated[Optional[User], Depends(_viewer)]
"""Whoever is logged in, or None. A token that is present must be valid."""


def _current_user(viewer: Viewer) -> User:
    if viewer is None:
        raise _unauthorized("is missing")
    return viewer


CurrentUser = Annotated[User, Depends(_current_user)]
