"""Bad input is refused with what failed, what was expected, and whether a retry is safe; never with a 500."""

import json

import pytest

from conduit.limits import MAX_BODY_BYTES
from conduit.settings import Settings, SettingsError

GOOD_USER = {"username": "new", "email": "new@example.com", "password": "long-enough"}
GOOD_ARTICLE = {"title": "Title", "description": "About", "body": "Text", "tagList": []}


def test_health(client):
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"ok": True})


def check_form(refusal):
    assert set(refusal) == {"errors", "failed", "expected", "retry"}
    assert refusal["errors"] and all(isinstance(text, list) and text for text in refusal["errors"].values())
    assert refusal["expected"]
    assert refusal["retry"] in ("safe", "safe after correction", "unsafe")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": ""}, "user.username"),
        ({"username": "a/b"}, "user.username"),
        ({"username": ".."}, "user.username"),
        ({"username": "x" * 51}, "user.username"),
        ({"username": "nul\0"}, "user.username"),
        ({"email": "nobody"}, "user.email"),
        ({"email": "nul\0@example.com"}, "user.email"),
        ({"password": "short"}, "user.password"),
        ({"password": 12345678}, "user.password"),
        ({"username": None}, "user.username"),
    ],
)
def test_users(anybody, change, field):
    refusal = anybody.ask("POST", "/users", 422, {"user": {**GOOD_USER, **change}})
    check_form(refusal)
    assert list(refusal["errors"]) == [field]
    assert refusal["failed"] == "POST /api/users"
    assert refusal["retry"] == "safe after correction"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": "  "}, "article.title"),
        ({"title": "x" * 201}, "article.title"),
        ({"body": "x" * 50_001}, "article.body"),
        ({"body": "nul\0"}, "article.body"),
        ({"tagList": ["ok", ""]}, "article.tagList.1"),
        ({"tagList": ["tag"] * 21}, "article.tagList"),
        ({"tagList": "python"}, "article.tagList"),
        ({"description": {"a": 1}}, "article.description"),
    ],
)
def test_articles(ann, anybody, change, field):
    refusal = ann.ask("POST", "/articles", 422, {"article": {**GOOD_ARTICLE, **change}})
    check_form(refusal)
    assert list(refusal["errors"]) == [field]
    assert anybody.ask("GET", "/articles", 200)["articlesCount"] == 0


@pytest.mark.parametrize(
    "body", [None, [], {}, {"article": None}, {"article": []}, {"Article": GOOD_ARTICLE}]
)
def test_shapes(ann, body):
    check_form(ann.ask("POST", "/articles", 422, body))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": 10**30}, "offset"),
        ({"tag": "\0"}, "tag"),
        ({"author": "x" * 51}, "author"),
    ],
)
def test_queries(anybody, query, field):
    refusal = anybody.ask("GET", "/articles", 422, **query)
    check_form(refusal)
    assert list(refusal["errors"]) == [field]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/articles/%00", 422),
        ("/profiles/%00", 422),
        ("/articles/" + "x" * 221, 422),
        ("/articles/none", 404),
        ("/profiles/none", 404),
        ("/nowhere", 404),
        ("/articles/'%20OR%201=1", 404),
        ("/articles/%F0%9F%92%A5", 404),
        ("/articles/%ff%fe", 404),
    ],
)
def test_paths(anybody, path, status):
    check_form(anybody.ask("GET", path, status))


@pytest.mark.parametrize("number", ["0", "-1", "x", str(2**31), str(2**64)])
def test_comment_numbers(ann, number):
    slug = ann.write("Numbered")["slug"]
    check_form(ann.ask("DELETE", f"/articles/{slug}/comments/{number}", 422))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"user": ',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"user": {"email": "\\ud800", "password": "x"}}',
        b'{"user": {"email": "a@b", "password": "\\ud800"}}',
    ],
)
def test_json_that_is_none(client, content):
    answer = client.post("/api/users/login", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    check_form(answer.json())


def test_too_large_whether_declared_or_not(client):
    large = json.dumps({"user": {**GOOD_USER, "bio": "x" * MAX_BODY_BYTES}}).encode()
    pieces = (large[start : start + 10_000] for start in range(0, len(large), 10_000))
    for content in (large, pieces):
        answer = client.post("/api/users", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        check_form(answer.json())


def test_wrong_method(client):
    answer = client.patch("/api/articles")
    assert answer.status_code == 405
    check_form(answer.json())


def test_what_was_sent_is_not_repeated(anybody):
    sent = {"username": "", "email": "not-an-address", "password": "s3cr3t!"}
    assert "s3cr3t!" not in json.dumps(anybody.ask("POST", "/users", 422, {"user": sent}))


@pytest.mark.parametrize(
    "env",
    [
        {"DATABASE_URL": "mysql://localhost/x"},
        {"DATABASE_URL": "conduit.db"},
        {"CACHE_URL": "memcached://localhost"},
        {"CONDUIT_SECRET": "too-short"},
    ],
)
def test_settings(env):
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(env)
    ((name, value),) = env.items()
    assert str(refused.value).startswith(name) and "expected:" in str(refused.value)
    assert value not in str(refused.value)
