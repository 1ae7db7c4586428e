"""The service on SQLite with its local cache, or on the servers that the environment names. test_cache.py
compares whole answers with and without a cache.

TEST_DATABASE_URL and TEST_CACHE_URL point at servers whose content every test deletes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest
from fastapi.testclient import TestClient

from conduit.app import create_app
from conduit.cache import open_cache
from conduit.db import make_engine
from conduit.models import Base
from conduit.settings import Settings

CACHES = [os.environ.get("TEST_CACHE_URL", "local")]


async def _reset(settings: Settings) -> None:
    engine = make_engine(settings.database_url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()
    cache = open_cache(settings.cache_url)
    await cache.clear()
    await cache.close()


def fresh_settings(folder: Path, cache_url: str) -> Settings:
    """Settings of an empty database and an empty cache."""
    url = os.environ.get("TEST_DATABASE_URL") or f"sqlite:///{folder / 'conduit.db'}"
    settings = Settings.from_env({"DATABASE_URL": url, "CACHE_URL": cache_url})
    asyncio.run(_reset(settings))
    return settings


@pytest.fixture(params=CACHES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return fresh_settings(tmp_path, request.param)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@dataclass
class Person:
    """Somebody who is logged in; without a token, anybody."""

    client: TestClient
    token: Optional[str] = None
    name: str = ""

    def ask(self, method: str, path: str, status: int, json: Any = None, **query: Any) -> Any:
        """The answer's JSON, after its status was checked."""
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        answer = self.client.request(method, "/api" + path, json=json, params=query, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def write(self, title: str, *tags: str) -> dict[str, Any]:
        article = {"title": title, "description": "About it", "body": "All of it", "tagList": tags}
        return self.ask("POST", "/articles", 201, {"article": article})["article"]


def register(client: TestClient, name: str) -> Person:
    user = {"username": name, "email": f"{name}@example.com", "password": f"{name}-password"}
    answer = Person(client).ask("POST", "/users", 201, {"user": user})
    return Person(client, answer["user"]["token"], name)


@pytest.fixture
def anybody(client: TestClient) -> Person:
    return Person(client)


@pytest.fixture
def ann(client: TestClient) -> Person:
    return register(client, "ann")


@pytest.fixture
def bob(client: TestClient) -> Person:
    return register(client, "bob")
