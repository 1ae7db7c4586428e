"""The application: `uvicorn conduit.app:app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Optional

from fastapi import FastAPI

from . import errors
from .cache import open_cache
from .db import create_tables, make_engine, make_sessions, token_secret
from .limits import BodyLimit
from .routes import articles, comments, profiles, tags, users
from .settings import Settings


def create_app(settings: Optional[Settings] = None) -> FastAPI:
    """One application on the given settings, or on those of the environment. Raises SettingsError."""
    settings = settings or Settings.from_env()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(settings.database_url)
        try:
            async with engine.begin() as connection:
                await create_tables(connection)
                app.state.secret = settings.secret or await token_secret(connection)
            app.state.sessions = make_sessions(engine)
            app.state.cache = open_cache(settings.cache_url)
            try:
                yield
            finally:
                await app.state.cache.close()
        finally:
            await engine.dispose()

    # The built-in documentation pages load scripts from elsewhere; /openapi.json says the same.
    app = FastAPI(title="Conduit", version="1.0.0", lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    app.add_middleware(BodyLimit)

    @app.get("/health")
    async def health() -> dict[str, bool]:
        return {"ok": True}

    for module in (users, profiles, articles, comments, tags):
        app.include_router(module.router, prefix="/api")
    return app


app = create_app()
