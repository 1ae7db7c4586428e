"""What comes in and what goes out, in RealWorld's names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Optional

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _clean(value: str) -> str:
    """What every database can store: no NUL (Postgres), no half of a surrogate pair (JSON's "\\ud800")."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be Unicode text without NUL")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


Clean = AfterValidator(_clean)
Line = Annotated[str, Clean, AfterValidator(_not_blank)]

Username = Annotated[str, Clean, Field(min_length=1, max_length=50, pattern=r"^\w[\w.-]*$")]
Email = Annotated[str, Clean, Field(max_length=200, pattern=r"^[^@\s]+@[^@\s]+$")]
Password = Annotated[str, Clean, Field(min_length=8, max_length=200)]
Bio = Annotated[str, Clean, Field(max_length=2000)]
Image = Annotated[str, Clean, Field(max_length=500)]
Title = Annotated[Line, Field(max_length=200)]
Description = Annotated[Line, Field(max_length=500)]
Body = Annotated[Line, Field(max_length=50_000)]
TagName = Annotated[Line, Field(max_length=50)]
CommentBody = Annotated[Line, Field(max_length=5000)]

SlugPath = Annotated[str, Clean, Path(max_length=220)]
NamePath = Annotated[str, Clean, Path(max_length=50)]
IdPath = Annotated[int, Path(ge=1, le=2**31 - 1)]
NameQuery = Annotated[Optional[str], Clean, Query(max_length=50)]
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class NewUser(_Model):
    username: Username
    email: Email
    password: Password


class Login(_Model):
    email: Annotated[str, Clean, Field(max_length=200)]
    password: Annotated[str, Clean, Field(max_length=200)]


class UserChanges(_Model):
    """Only what is present is changed. `image: null` removes the image; nothing else may be null."""

    username: Username = ""
    email: Email = ""
    password: Password = ""
    bio: Bio = ""
    image: Optional[Image] = None


class NewArticle(_Model):
    title: Title
    description: Description
    body: Body
    tag_list: list[TagName] = Field(default=[], max_length=20)


class ArticleChanges(_Model):
    """Only what is present is changed; null is refused."""

    title: Title = ""
    description: Description = ""
    body: Body = ""


class NewComment(_Model):
    body: CommentBody


class NewUserIn(_Model):
    user: NewUser


class LoginIn(_Model):
    user: Login


class UserChangesIn(_Model):
    user: UserChanges


class NewArticleIn(_Model):
    article: NewArticle


class ArticleChangesIn(_Model):
    article: ArticleChanges


class NewCommentIn(_Model):
    comment: NewComment


class UserView(_Model):
    username: str
    email: str
    token: str
    bio: str
    image: Optional[str]


class ProfileView(_Model):
    username: str
    bio: str
    image: Optional[str]
    following: bool


class ArticleSummary(_Model):
    """An article as lists show it: without its body, as RealWorld has it."""

    slug: str
    title: str
    description: str
    tag_list: list[str]
    created_at: datetime
    updated_at: datetime
    favorited: bool
    favorites_count: int
    author: ProfileView


class ArticleView(ArticleSummary):
    body: str


class CommentView(_Model):
    id: int
    created_at: datetime
    updated_at: datetime
    body: str
    author: ProfileView


class UserOut(_Model):
    user: UserView


class ProfileOut(_Model):
    profile: ProfileView


class ProfileStats(_Model):
    articles: int
    favorites_per_article: float


class ProfileStatsOut(_Model):
    stats: ProfileStats


class ArticleOut(_Model):
    article: ArticleView


class ArticlesOut(_Model):
    articles: list[ArticleSummary]
    articles_count: int


class CommentOut(_Model):
    comment: CommentView


class CommentsOut(_Model):
    comments: list[CommentView]


class TagsOut(_Model):
    tags: list[str]
