"""What the environment decides, checked once at the start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_DATABASE = "sqlite+aiosqlite:///conduit.db"
DEFAULT_CACHE = "local"
MIN_SECRET_BYTES = 32

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


class SettingsError(ValueError):
    """A variable of the environment has a value that the service cannot work with."""

    def __init__(self, name: str, cause: str, expected: str) -> None:
        super().__init__(
            f"{name}: {cause}\n  expected: {expected}\n  retry:    safe, after correcting {name}"
        )


@dataclass(frozen=True)
class Settings:
    database_url: str = DEFAULT_DATABASE
    """An SQLAlchemy URL with one of the two async drivers."""
    cache_url: str = DEFAULT_CACHE
    """`local` (in this process), `redis://…`, or `off`."""
    secret: str | None = None
    """Signs the tokens. None: the database generates one for itself and keeps it (see `db.token_secret`)."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Reads DATABASE_URL, CACHE_URL and CONDUIT_SECRET. Raises SettingsError, without the value."""
        scheme, separator, rest = (env.get("DATABASE_URL") or DEFAULT_DATABASE).partition("://")
        if not separator or scheme not in _DRIVERS:
            raise SettingsError(
                "DATABASE_URL",
                f"cannot use the scheme {scheme!r}" if separator else "is not a URL",
                "sqlite+aiosqlite:///FILE or postgresql+asyncpg://USER@HOST/NAME",
            )
        cache_url = env.get("CACHE_URL") or DEFAULT_CACHE
        if cache_url not in ("local", "off") and not cache_url.startswith(
            ("redis://", "rediss://", "unix://")
        ):
            raise SettingsError(
                "CACHE_URL", "is none of the known caches", "local, off, or redis://HOST:PORT/DB"
            )
        secret = env.get("CONDUIT_SECRET") or None
        if secret is not None and len(secret.encode()) < MIN_SECRET_BYTES:
            raise SettingsError(
                "CONDUIT_SECRET", "is too short", f"at least {MIN_SECRET_BYTES} bytes, or unset"
            )
        return cls(f"{_DRIVERS[scheme]}://{rest}", cache_url, secret)
