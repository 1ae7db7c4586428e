"""The questions that `conduit.traffic` asks, made from the data set and a seed before the first is asked.

Nothing in a question depends on an answer. Every actor writes only what no other actor writes (its own
articles, comments and favourites), so the statuses are the same whichever actor is quicker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import urlencode

from .dataset import DEMO_PASSWORD, Article, Dataset, Draw, User, sentences, zipf

LOGGED_IN = 12
ANONYMOUS = 8

_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
    "conduit-reader/2.3 (feed)",
)
_LANGUAGES = ("en-GB,en;q=0.9", "de-DE,de;q=0.9,en;q=0.6", "fr-FR,fr;q=0.8", "pt-BR,pt;q=0.9", "ja")
_CAMPAIGNS = ("newsletter", "social", "partner", "search")


@dataclass(frozen=True)
class Question:
    actor: int
    kind: str
    method: str
    target: str
    status: int
    """What a freshly seeded service answers."""
    body: Optional[dict[str, Any]] = None
    token: str = "none"
    """none, own (of the actor's last login), or broken."""


@dataclass
class Actor:
    number: int
    headers: dict[str, str]
    user: Optional[User] = None
    scheme: str = "Token"
    seeded: list[Article] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    comments: list[tuple[str, int]] = field(default_factory=list)
    liked: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)
    logged_in: bool = False


def actors(data: Dataset) -> list[Actor]:
    """Logged-in ones first, three of four of them writers."""
    known = data.writers[: LOGGED_IN * 3 // 4]
    known += data.readers[: LOGGED_IN - len(known)]
    names = {user.id: user.username for user in data.users}
    made = []
    for number in range(LOGGED_IN + ANONYMOUS):
        headers = {
            "User-Agent": _AGENTS[number % len(_AGENTS)],
            "Accept-Language": _LANGUAGES[(number * 2 + number // 5) % len(_LANGUAGES)],
            "Accept": "application/json",
        }
        actor = Actor(number, headers, scheme="Bearer" if number % 3 == 2 else "Token")
        if number < len(known):
            actor.user = user = known[number]
            actor.seeded = [article for article in data.articles if article.author_id == user.id]
            actor.liked = {article.slug for article in data.articles if user.id in article.liked_by}
            actor.followed = {names[other] for one, other in data.follows if one == user.id}
            actor.comments = [
                (article.slug, comment.id)
                for article in data.articles
                for comment in article.comments
                if comment.author_id == user.id
            ]
        made.append(actor)
    return made


class _Plan:
    def __init__(self, data: Dataset, seed: int, popular: bool = False) -> None:
        self.data = data
        self.seed = seed
        self.visitors = 0.9 if popular else 0.65
        self.draw = Draw(f"conduit-traffic-{seed}")
        self.actors = actors(data)
        self.known = [actor for actor in self.actors if actor.user is not None]
        self.authors = [actor for actor in self.known if actor.seeded]
        self.anonymous = [actor for actor in self.actors if actor.user is None]
        self.popular = self.draw.some(data.articles, len(data.articles))
        steep, wear = (1.8, 0.4) if popular else (1.0, 1.0)
        self.article_rank = zipf(len(self.popular), steep)
        self.people = self.draw.some(data.writers, len(data.writers))
        self.people_rank = zipf(len(self.people), steep)
        self.tag_rank = zipf(len(data.tags), steep)
        self.page_rank = zipf(8, 3.0 if popular else 1.5)
        self.large_pages = 0.05 if popular else 0.2
        self.busted = popular
        self.number = 0
        kinds: list[tuple[float, Callable[[], Iterator[Question]]]] = [
            (30, self.article), (14, self.page), (8, self.by_tag), (5, self.by_author), (3, self.by_liker),
            (8, self.comments), (8, self.tags), (6, self.profile), (5, self.feed), (3, self.me),
            (0.8, self.stats), (3.5 * wear, self.favorite), (2.5 * wear, self.comment),
            (0.5 * wear, self.uncomment), (1 * wear, self.write), (1.5 * wear, self.edit),
            (0.4 * wear, self.remove), (1 * wear, self.follow), (0.5 * wear, self.bio),
            (0.4, self.relogin), (0.4, self.register), (1.5, self.missing), (1.2, self.invalid),
            (1, self.unauthorized), (0.3, self.not_mine), (0.7, self.broken),
        ]  # fmt: skip
        if popular:
            kinds += [(4, self.health), (10, self.comments), (10, self.tags), (11, self.profile)]
        self.kinds = [kind for _, kind in kinds]
        self.weights = [sum(weight for weight, _ in kinds[: upto + 1]) for upto in range(len(kinds))]

    def questions(self) -> Iterator[Question]:
        while True:
            yield from self.draw.weighted(self.kinds, self.weights)()

    # Who asks.

    def _anyone(self) -> Actor:
        return self.draw.one(self.anonymous if self.draw.chance(self.visitors) else self.known)

    def _login(self, actor: Actor) -> Iterator[Question]:
        if actor.user is not None and not actor.logged_in:
            actor.logged_in = True
            user = {"email": actor.user.email, "password": DEMO_PASSWORD}
            yield Question(actor.number, "login", "POST", "/api/users/login", 200, {"user": user})

    def _ask(
        self,
        actor: Actor,
        kind: str,
        method: str,
        path: str,
        status: int = 200,
        body: Any = None,
        **query: Any,
    ) -> Iterator[Question]:
        yield from self._login(actor)
        if method == "GET" and actor.user is None and self.draw.chance(0.2):
            query["utm_source"] = self.draw.one(_CAMPAIGNS)
            if self.draw.chance(0.5):
                query["fbclid"] = f"IwAR{self.draw.below(16**12):012x}"
            if self.busted and self.draw.chance(0.3):
                query["_"] = self.draw.below(10**13)
        target = path + ("?" + urlencode(query) if query else "")
        token = "own" if actor.user is not None else "none"
        yield Question(actor.number, kind, method, target, status, body, token)

    def _article(self) -> Article:
        return self.draw.weighted(self.popular, self.article_rank)

    def _person(self) -> str:
        return self.draw.weighted(self.people, self.people_rank).username

    def _next(self) -> int:
        self.number += 1
        return self.number

    # Reads.

    def article(self) -> Iterator[Question]:
        return self._ask(self._anyone(), "article", "GET", f"/api/articles/{self._article().slug}")

    def _list(self, kind: str, **query: Any) -> Iterator[Question]:
        page = self.draw.weighted(range(8), self.page_rank)
        size = 20 if self.draw.chance(self.large_pages) else 10
        query["limit"] = size
        if page:
            query["offset"] = page * size
        return self._ask(self._anyone(), kind, "GET", "/api/articles", **query)

    def page(self) -> Iterator[Question]:
        return self._list("list")

    def by_tag(self) -> Iterator[Question]:
        return self._list("list by tag", tag=self.draw.weighted(self.data.tags, self.tag_rank))

    def by_author(self) -> Iterator[Question]:
        return self._list("list by author", author=self._person())

    def by_liker(self) -> Iterator[Question]:
        return self._list("list by favorited", favorited=self._person())

    def comments(self) -> Iterator[Question]:
        return self._ask(self._anyone(), "comments", "GET", f"/api/articles/{self._article().slug}/comments")

    def tags(self) -> Iterator[Question]:
        return self._ask(self._anyone(), "tags", "GET", "/api/tags")

    def profile(self) -> Iterator[Question]:
        return self._ask(self._anyone(), "profile", "GET", f"/api/profiles/{self._person()}")

    def stats(self) -> Iterator[Question]:
        return self._ask(
            self._anyone(), "stats", "GET", f"/api/profiles/{self.authors[0].user.username}/stats"
        )

    def feed(self) -> Iterator[Question]:
        offset = {"offset": 10} if self.draw.chance(0.2) else {}
        return self._ask(self.draw.one(self.known), "feed", "GET", "/api/articles/feed", limit=10, **offset)

    def me(self) -> Iterator[Question]:
        return self._ask(self.draw.one(self.known), "user", "GET", "/api/user")

    def health(self) -> Iterator[Question]:
        yield Question(self.anonymous[0].number, "health", "GET", "/health", 200)

    # Writes.

    def _toggle(self, actor: Actor, name: str, on: set[str], kind: str, path: str) -> Iterator[Question]:
        if name in on:
            on.remove(name)
            return self._ask(actor, f"un{kind}", "DELETE", path)
        on.add(name)
        return self._ask(actor, kind, "POST", path)

    def favorite(self) -> Iterator[Question]:
        actor, slug = self.draw.one(self.known), self._article().slug
        return self._toggle(actor, slug, actor.liked, "favorite", f"/api/articles/{slug}/favorite")

    def follow(self) -> Iterator[Question]:
        actor, name = self.draw.one(self.known), self._person()
        if name == actor.user.username:
            return self.feed()
        return self._toggle(actor, name, actor.followed, "follow", f"/api/profiles/{name}/follow")

    def comment(self) -> Iterator[Question]:
        path = f"/api/articles/{self._article().slug}/comments"
        body = {"comment": {"body": sentences(self.draw, 2)}}
        return self._ask(self.draw.one(self.known), "comment", "POST", path, 201, body)

    def uncomment(self) -> Iterator[Question]:
        actor = self.draw.one(self.known)
        if not actor.comments:
            return self.comment()
        slug, number = actor.comments.pop(self.draw.below(len(actor.comments)))
        return self._ask(actor, "uncomment", "DELETE", f"/api/articles/{slug}/comments/{number}", 204)

    def write(self) -> Iterator[Question]:
        actor, number = self.draw.one(self.authors), self._next()
        actor.written.append(f"field-notes-{self.seed}-{number}")
        article = {
            "title": f"Field notes {self.seed} {number}",
            "description": sentences(self.draw, 1),
            "body": sentences(self.draw, 12),
            "tagList": self.draw.some(self.data.tags, self.draw.between(1, 4)),
        }
        return self._ask(actor, "write", "POST", "/api/articles", 201, {"article": article})

    def edit(self) -> Iterator[Question]:
        actor = self.draw.one(self.authors)
        if actor.written and self.draw.chance(0.2):
            at = self.draw.below(len(actor.written))
            number = self._next()
            old, actor.written[at] = actor.written[at], f"revised-notes-{self.seed}-{number}"
            changes = {"title": f"Revised notes {self.seed} {number}"}
            return self._ask(actor, "retitle", "PUT", f"/api/articles/{old}", 200, {"article": changes})
        # The more popular an article, the likelier its author comes back to it.
        own = {article.slug for article in actor.seeded}
        slug = self.draw.one([article.slug for article in self.popular if article.slug in own][:3])
        changes = {"body": sentences(self.draw, 12)} if self.draw.chance(0.7) else {}
        changes["description"] = sentences(self.draw, 1)
        return self._ask(actor, "edit", "PUT", f"/api/articles/{slug}", 200, {"article": changes})

    def remove(self) -> Iterator[Question]:
        actor = next((actor for actor in self.authors if actor.written), None)
        if actor is None:
            return self.write()
        return self._ask(actor, "remove", "DELETE", f"/api/articles/{actor.written.pop(0)}", 204)

    def bio(self) -> Iterator[Question]:
        body = {"user": {"bio": sentences(self.draw, 1)}}
        return self._ask(self.draw.one(self.authors), "bio", "PUT", "/api/user", 200, body)

    def relogin(self) -> Iterator[Question]:
        actor = self.draw.one(self.known)
        actor.logged_in = False
        return self._login(actor)

    def register(self) -> Iterator[Question]:
        name = f"guest-{self.seed}-{self._next()}"
        user = {"username": name, "email": f"{name}@conduit.example", "password": DEMO_PASSWORD}
        yield Question(
            self.draw.one(self.anonymous).number, "register", "POST", "/api/users", 201, {"user": user}
        )

    # Errors.

    def missing(self) -> Iterator[Question]:
        number = self.draw.below(20)
        paths = (f"/api/articles/gone-{number}", f"/api/profiles/nobody-{number}", f"/api/nothing/{number}")
        return self._ask(self.draw.one(self.anonymous), "missing", "GET", self.draw.one(paths), 404)

    def invalid(self) -> Iterator[Question]:
        if self.draw.chance(0.5):
            return self._ask(self._anyone(), "invalid", "GET", "/api/articles", 422, limit=0)
        body = {"article": {"description": "no title", "body": "no title"}}
        return self._ask(self.draw.one(self.known), "invalid", "POST", "/api/articles", 422, body)

    def unauthorized(self) -> Iterator[Question]:
        actor, which = self.draw.one(self.anonymous).number, self.draw.below(3)
        if which == 0:
            yield Question(actor, "unauthorized", "GET", "/api/user", 401)
        elif which == 1:
            yield Question(actor, "unauthorized", "GET", "/api/articles/feed", 401, token="broken")
        else:
            user = {"email": self.data.users[0].email, "password": "not-the-password"}
            yield Question(actor, "unauthorized", "POST", "/api/users/login", 401, {"user": user})

    def not_mine(self) -> Iterator[Question]:
        actor, article = self.draw.one(self.known), self._article()
        if article.author_id == actor.user.id:
            return self.edit()
        body = {"article": {"description": "not mine to change"}}
        return self._ask(actor, "not mine", "PUT", f"/api/articles/{article.slug}", 403, body)

    def broken(self) -> Iterator[Question]:
        """The service's known defect: figures of somebody who has written nothing."""
        name = self.draw.one(self.data.readers).username
        return self._ask(self._anyone(), "broken", "GET", f"/api/profiles/{name}/stats", 500)


def make(data: Dataset, seed: int, count: int, popular: bool = False) -> list[Question]:
    """The first `count` questions of a seed; a longer plan begins with the shorter one.

    popular: more visitors, fewer writes, and most of them after the same few articles, people and pages,
    as where much more is read than written; a load balancer asks for the health.
    """
    questions = _Plan(data, seed, popular).questions()
    return [next(questions) for _ in range(count)]


def digest(questions: list[Question]) -> str:
    """16 hex digits that are equal when two runs asked the same questions in the same order."""
    text = "\n".join(
        json.dumps([q.actor, q.method, q.target, q.status, q.body, q.token], sort_keys=True)
        for q in questions
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
