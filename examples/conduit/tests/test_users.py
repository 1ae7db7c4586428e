import time

import jwt
from conftest import Person, register
from fastapi.testclient import TestClient

from conduit.app import create_app


def test_register_login_and_current_user(client, anybody):
    ann = register(client, "ann")
    login = {"email": "ann@example.com", "password": "ann-password"}
    user = anybody.ask("POST", "/users/login", 200, {"user": login})["user"]
    assert user == {**user, "username": "ann", "email": "ann@example.com", "bio": "", "image": None}
    again = Person(client, user["token"]).ask("GET", "/user", 200)["user"]
    assert again["username"] == "ann"
    bearer = client.get("/api/user", headers={"Authorization": f"Bearer {ann.token}"})
    assert bearer.status_code == 200


def test_wrong_password_and_unknown_email_are_refused_alike(anybody, ann):
    refusals = [
        anybody.ask("POST", "/users/login", 401, {"user": {"email": email, "password": "something-else"}})
        for email in ("ann@example.com", "nobody@example.com")
    ]
    assert refusals[0] == refusals[1]


def test_a_name_or_email_is_taken_once(anybody, ann, bob):
    user = {"username": "ann", "email": "new@example.com", "password": "long-enough"}
    assert "username" in anybody.ask("POST", "/users", 422, {"user": user})["errors"]
    user = {"username": "new", "email": "ann@example.com", "password": "long-enough"}
    assert "email" in anybody.ask("POST", "/users", 422, {"user": user})["errors"]
    assert "username" in bob.ask("PUT", "/user", 422, {"user": {"username": "ann"}})["errors"]
    assert bob.ask("PUT", "/user", 200, {"user": {"username": "bob"}})["user"]["username"] == "bob"


def test_update_changes_only_what_is_present(anybody, ann):
    ann.ask("PUT", "/user", 200, {"user": {"bio": "writes", "image": "https://example.com/a.png"}})
    user = ann.ask("PUT", "/user", 200, {"user": {"image": None}})["user"]
    assert (user["bio"], user["image"]) == ("writes", None)
    ann.ask("PUT", "/user", 200, {"user": {"password": "another-password"}})
    login = {"email": "ann@example.com", "password": "another-password"}
    anybody.ask("POST", "/users/login", 200, {"user": login})
    ann.ask("PUT", "/user", 422, {"user": {"bio": None}})


def test_a_renamed_author_is_seen_everywhere_at_once(anybody, ann):
    slug = ann.write("One thing")["slug"]
    assert anybody.ask("GET", "/profiles/ann", 200)["profile"]["bio"] == ""
    assert anybody.ask("GET", f"/articles/{slug}", 200)["article"]["author"]["username"] == "ann"
    ann.ask("PUT", "/user", 200, {"user": {"username": "anna", "bio": "renamed"}})
    author = anybody.ask("GET", f"/articles/{slug}", 200)["article"]["author"]
    assert (author["username"], author["bio"]) == ("anna", "renamed")
    assert anybody.ask("GET", "/profiles/anna", 200)["profile"]["bio"] == "renamed"
    anybody.ask("GET", "/profiles/ann", 404)


def test_tokens_that_are_not_ours_are_refused(client, ann):
    claims = {"sub": "1", "iat": int(time.time()), "exp": int(time.time()) + 60}
    secret = client.app.state.secret
    bad = {
        "is not valid": jwt.encode(claims, "some-other-secret-of-thirty-two-bytes", algorithm="HS256"),
        "has expired": jwt.encode({**claims, "exp": claims["iat"] - 1}, secret, algorithm="HS256"),
        "names a user who no longer exists": jwt.encode({**claims, "sub": "99"}, secret, algorithm="HS256"),
    }
    for message, token in bad.items():
        assert Person(client, token).ask("GET", "/user", 401)["errors"] == {"token": [message]}
        Person(client, token).ask("GET", "/articles", 401)
    unsigned = jwt.encode(claims, None, algorithm="none")
    Person(client, unsigned).ask("GET", "/user", 401)
    missing = client.get("/api/user")
    assert missing.status_code == 401
    assert missing.headers["www-authenticate"] == "Token"
    # A subject beyond every integer column of the database is no user either.
    huge = jwt.encode({**claims, "sub": "9" * 30}, secret, algorithm="HS256")
    Person(client, huge).ask("GET", "/user", 401)


def test_the_generated_secret_outlives_the_process(settings):
    with TestClient(create_app(settings)) as client:
        ann = register(client, "ann")
    with TestClient(create_app(settings)) as client:
        assert Person(client, ann.token).ask("GET", "/user", 200)["user"]["username"] == "ann"


def test_follow_and_unfollow(anybody, ann, bob):
    assert ann.ask("GET", "/profiles/bob", 200)["profile"]["following"] is False
    for _ in range(2):  # twice is once
        assert ann.ask("POST", "/profiles/bob/follow", 200)["profile"]["following"] is True
    assert ann.ask("GET", "/profiles/bob", 200)["profile"]["following"] is True
    assert bob.ask("GET", "/profiles/ann", 200)["profile"]["following"] is False
    assert anybody.ask("GET", "/profiles/bob", 200)["profile"]["following"] is False
    assert ann.ask("DELETE", "/profiles/bob/follow", 200)["profile"]["following"] is False
    ann.ask("POST", "/profiles/ann/follow", 422)
    ann.ask("POST", "/profiles/nobody/follow", 404)
    anybody.ask("POST", "/profiles/bob/follow", 401)


def test_stats_of_an_author_and_the_known_defect(anybody, ann, bob):
    slug = ann.write("One")["slug"]
    ann.write("Two")
    bob.ask("POST", f"/articles/{slug}/favorite", 200)
    stats = anybody.ask("GET", "/profiles/ann/stats", 200)["stats"]
    assert stats == {"articles": 2, "favoritesPerArticle": 0.5}
    failure = anybody.ask("GET", "/profiles/bob/stats", 500)
    assert failure["retry"] == "safe"
