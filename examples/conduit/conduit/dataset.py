"""The demonstration's data: who there is, what they wrote, what they like.

Made from a size and a seed alone, the same on every machine and version of Python, so that `conduit.seed` can
store it and `conduit.traffic` can ask for it without looking.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from random import Random
from typing import Optional, TypeVar

T = TypeVar("T")

DEFAULT_SIZE = 300
MAX_SIZE = 100_000
DEMO_PASSWORD = "conduit-demo"  # of every user here; these users exist in demonstration data only
FIRST_DAY = datetime(2024, 1, 1, tzinfo=timezone.utc)

_FIRST = "ada alan barbara donald edsger frances grace hedy ivan jean john karen ken leslie niklaus".split()
_LAST = "adams brooks carr diaz evans frank gupta hoare ito jones katz lopez moore novak okoye perez".split()
_SUBJECTS = "Caching,Indexing,Testing,Profiling,Deploying,Logging,Sharding,Queueing,Tracing".split(",")
_OBJECTS = "slow pages,old data,busy tables,large lists,flaky jobs,cold starts,hot keys".split(",")
_MANNERS = "in practice,without tears,at night,for small teams,step by step,by example".split(",")
_WORDS = (
    "the a service request answer table row index page list cache key user team change deploy query "
    "writes reads keeps drops counts waits fails grows shows hides never always often again before after "
    "because while slowly quickly one two many every other same small large old new simple and or but "
    "with without about under over"
).split()
_TAGS = (
    "python fastapi sqlalchemy postgres sqlite redis caching testing performance deployment "
    "observability http json security asyncio databases indexes design teams incidents refactoring types "
    "tooling linux containers queues search pagination migrations transactions"
).split()


class Draw:
    """Choices from Random.random() alone, the one method whose sequence every Python version keeps."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def below(self, n: int) -> int:
        return int(self._random.random() * n)

    def between(self, low: int, high: int) -> int:
        """Both ends included."""
        return low + self.below(high - low + 1)

    def one(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def some(self, items: Sequence[T], n: int) -> list[T]:
        """n different ones, at most all of them."""
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(min(n, len(rest)))]

    def weighted(self, items: Sequence[T], cumulative: Sequence[float]) -> T:
        at = bisect_left(cumulative, self._random.random() * cumulative[-1])
        return items[min(at, len(items) - 1)]


def zipf(n: int, exponent: float = 1.0) -> list[float]:
    """Cumulative weights of n ranks, for Draw.weighted."""
    return list(accumulate(1 / (rank + 1) ** exponent for rank in range(n)))


@dataclass(frozen=True)
class User:
    id: int
    username: str
    bio: str
    image: Optional[str]

    @property
    def email(self) -> str:
        return f"{self.username}@conduit.example"


@dataclass(frozen=True)
class Comment:
    id: int
    author_id: int
    body: str
    at: datetime


@dataclass(frozen=True)
class Article:
    id: int
    slug: str
    title: str
    description: str
    body: str
    author_id: int
    tags: list[str]
    at: datetime
    comments: list[Comment] = field(default_factory=list)
    liked_by: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Dataset:
    users: list[User]
    """Ids from 1. The last sixth only read: they have written nothing and are followed by nobody."""
    tags: list[str]
    """Most used first, roughly."""
    articles: list[Article]
    """Ids from 1, oldest first."""
    follows: list[tuple[int, int]]
    """(follower, followee)"""

    @property
    def writers(self) -> list[User]:
        return self.users[: _writers(len(self.users))]

    @property
    def readers(self) -> list[User]:
        return self.users[_writers(len(self.users)) :]


def _writers(users: int) -> int:
    return users - max(1, users // 6)


def sentences(draw: Draw, count: int) -> str:
    made = []
    for _ in range(count):
        words = [draw.one(_WORDS) for _ in range(draw.between(6, 16))]
        made.append(" ".join(words).capitalize() + ".")
    return " ".join(made)


def build(size: int = DEFAULT_SIZE, seed: int = 1) -> Dataset:
    """`size` articles, a tenth as many users (at least 12), five times as many comments.

    Raises ValueError for a size outside of 10 to MAX_SIZE.
    """
    if not 10 <= size <= MAX_SIZE:
        raise ValueError(f"size is {size}, expected 10 to {MAX_SIZE}")
    draw = Draw(f"conduit-data-{seed}")
    users = []
    for index in range(max(12, size // 10)):
        number = index // len(_FIRST)
        name = f"{_FIRST[index % len(_FIRST)]}-{_LAST[(index * 5 + number) % len(_LAST)]}"
        name += str(number) if number else ""
        image = f"https://images.conduit.example/{name}.png" if draw.chance(0.7) else None
        users.append(User(index + 1, name, sentences(draw, 1), image))

    data = Dataset(users, list(_TAGS), [], [])
    writers = data.writers
    by_rank = zipf(len(writers), 0.7)
    tag_rank = zipf(len(_TAGS), 0.9)
    comment_id = 0
    for index in range(size):
        title = f"{draw.one(_SUBJECTS)} {draw.one(_OBJECTS)} {draw.one(_MANNERS)} {index + 1}"
        tags = {draw.weighted(_TAGS, tag_rank) for _ in range(draw.between(1, 5))}
        article = Article(
            id=index + 1,
            slug=title.lower().replace(" ", "-"),
            title=title,
            description=sentences(draw, 1),
            body="\n\n".join(sentences(draw, draw.between(3, 7)) for _ in range(draw.between(2, 6))),
            author_id=draw.weighted(writers, by_rank).id,
            tags=sorted(tags),
            at=FIRST_DAY + timedelta(minutes=index * 97 + draw.below(90)),
        )
        for number in range(draw.between(0, 10)):
            comment_id += 1
            at = article.at + timedelta(minutes=5 + number * 11)
            article.comments.append(Comment(comment_id, draw.one(writers).id, sentences(draw, 2), at))
        liked = draw.some(users, draw.below(1 + min(len(users), 24)))
        article.liked_by.extend(sorted(user.id for user in liked))
        data.articles.append(article)
    for user in users:
        followed = draw.some(writers, draw.between(2, 8))
        data.follows.extend(sorted((user.id, other.id) for other in followed if other.id != user.id))
    return data
