"""The list of tags, most used first."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select

from ..db import Session
from ..models import Tag
from ..schemas import TagsOut

router = APIRouter(tags=["tags"])

SHOWN = 50


@router.get("/tags", response_model=TagsOut)
async def list_tags(request: Request, session: Session) -> Any:
    async def load() -> list[str]:
        most_used = select(Tag.name).where(Tag.uses > 0).order_by(Tag.uses.desc(), Tag.name).limit(SHOWN)
        return list((await session.scalars(most_used)).all())

    return {"tags": await request.app.state.cache.tags(load)}
