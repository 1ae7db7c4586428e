def slugs(answer):
    return [article["slug"] for article in answer["articles"]]


def test_an_article_through_its_life(anybody, ann, bob):
    made = ann.write("How to Cache: Ünderstood!", "python", "caching", "python")
    assert made["slug"] == "how-to-cache-understood"
    assert made["tagList"] == ["caching", "python"]
    assert made["author"] == {"username": "ann", "bio": "", "image": None, "following": False}
    assert anybody.ask("GET", f"/articles/{made['slug']}", 200)["article"] == made

    changed = {"article": {"body": "Other text"}}
    bob.ask("PUT", f"/articles/{made['slug']}", 403, changed)
    anybody.ask("PUT", f"/articles/{made['slug']}", 401, changed)
    after = ann.ask("PUT", f"/articles/{made['slug']}", 200, changed)["article"]
    assert (after["body"], after["title"], after["slug"]) == ("Other text", made["title"], made["slug"])
    assert after["updatedAt"] > made["updatedAt"]
    assert anybody.ask("GET", f"/articles/{made['slug']}", 200)["article"] == after

    renamed = ann.ask("PUT", f"/articles/{made['slug']}", 200, {"article": {"title": "Anew"}})["article"]
    assert renamed["slug"] == "anew"
    anybody.ask("GET", f"/articles/{made['slug']}", 404)

    bob.ask("DELETE", "/articles/anew", 403)
    ann.ask("DELETE", "/articles/anew", 204)
    anybody.ask("GET", "/articles/anew", 404)
    ann.ask("DELETE", "/articles/anew", 404)


def test_slugs_are_unique_and_never_the_name_of_a_route(ann):
    assert [ann.write("Same title")["slug"] for _ in range(3)] == [
        "same-title",
        "same-title-2",
        "same-title-3",
    ]
    assert ann.write("Feed")["slug"] == "feed-2"
    assert ann.write("日本語")["slug"] == "article"
    kept = ann.ask("PUT", "/articles/same-title-2", 200, {"article": {"title": "Same title"}})["article"]
    assert kept["slug"] == "same-title-2"


def test_lists_filter_page_and_count(anybody, ann, bob):
    for number in range(5):
        (ann if number % 2 == 0 else bob).write(f"Number {number}", "all", f"tag{number % 2}")
    bob.ask("POST", "/articles/number-0/favorite", 200)
    ann.ask("POST", "/profiles/bob/follow", 200)

    newest = anybody.ask("GET", "/articles", 200)
    assert slugs(newest) == [f"number-{number}" for number in (4, 3, 2, 1, 0)]
    assert newest["articlesCount"] == 5
    assert "body" not in newest["articles"][0]
    assert newest["articles"][0]["tagList"] == ["all", "tag0"]
    assert slugs(anybody.ask("GET", "/articles", 200, limit=2, offset=1)) == ["number-3", "number-2"]
    by_tag = anybody.ask("GET", "/articles", 200, tag="tag1", limit=1)
    assert (slugs(by_tag), by_tag["articlesCount"]) == (["number-3"], 2)
    assert slugs(anybody.ask("GET", "/articles", 200, author="bob")) == ["number-3", "number-1"]
    assert slugs(anybody.ask("GET", "/articles", 200, favorited="bob")) == ["number-0"]
    assert slugs(anybody.ask("GET", "/articles", 200, author="bob", tag="tag0")) == []
    assert anybody.ask("GET", "/articles", 200, author="nobody")["articlesCount"] == 0

    seen = {article["slug"]: article for article in bob.ask("GET", "/articles", 200)["articles"]}
    assert (seen["number-0"]["favorited"], seen["number-0"]["favoritesCount"]) == (True, 1)
    assert (seen["number-1"]["favorited"], seen["number-1"]["favoritesCount"]) == (False, 0)
    seen = {article["slug"]: article for article in ann.ask("GET", "/articles", 200)["articles"]}
    assert seen["number-1"]["author"]["following"] is True
    assert seen["number-0"]["author"]["following"] is False
    assert seen["number-0"]["favorited"] is False


def test_the_feed_shows_whom_one_follows(anybody, ann, bob):
    bob.write("From bob")
    ann.write("From ann")
    assert ann.ask("GET", "/articles/feed", 200) == {"articles": [], "articlesCount": 0}
    ann.ask("POST", "/profiles/bob/follow", 200)
    assert slugs(ann.ask("GET", "/articles/feed", 200)) == ["from-bob"]
    anybody.ask("GET", "/articles/feed", 401)


def test_favourites_are_counted_once_and_belong_to_the_viewer(anybody, ann, bob):
    slug = ann.write("Liked")["slug"]
    assert anybody.ask("GET", f"/articles/{slug}", 200)["article"]["favoritesCount"] == 0
    for _ in range(2):
        liked = bob.ask("POST", f"/articles/{slug}/favorite", 200)["article"]
        assert (liked["favorited"], liked["favoritesCount"]) == (True, 1)
    for person, favorited in ((ann, False), (anybody, False), (bob, True)):
        article = person.ask("GET", f"/articles/{slug}", 200)["article"]
        assert (article["favorited"], article["favoritesCount"]) == (favorited, 1)
    unliked = bob.ask("DELETE", f"/articles/{slug}/favorite", 200)["article"]
    assert (unliked["favorited"], unliked["favoritesCount"]) == (False, 0)
    anybody.ask("POST", f"/articles/{slug}/favorite", 401)
    bob.ask("POST", "/articles/none/favorite", 404)


def test_comments(anybody, ann, bob):
    slug = ann.write("Discussed")["slug"]
    first = bob.ask("POST", f"/articles/{slug}/comments", 201, {"comment": {"body": "First"}})["comment"]
    ann.ask("POST", f"/articles/{slug}/comments", 201, {"comment": {"body": "Second"}})
    assert first["author"]["username"] == "bob"
    ann.ask("POST", "/profiles/bob/follow", 200)
    seen = ann.ask("GET", f"/articles/{slug}/comments", 200)["comments"]
    assert [(c["body"], c["author"]["following"]) for c in seen] == [("Second", False), ("First", True)]

    other = ann.write("Elsewhere")["slug"]
    ann.ask("DELETE", f"/articles/{slug}/comments/{first['id']}", 403)
    bob.ask("DELETE", f"/articles/{other}/comments/{first['id']}", 404)
    bob.ask("DELETE", f"/articles/{slug}/comments/{first['id']}", 204)
    assert len(anybody.ask("GET", f"/articles/{slug}/comments", 200)["comments"]) == 1
    anybody.ask("GET", "/articles/none/comments", 404)
    anybody.ask("POST", f"/articles/{slug}/comments", 401, {"comment": {"body": "No"}})

    ann.ask("DELETE", f"/articles/{slug}", 204)
    anybody.ask("GET", f"/articles/{slug}/comments", 404)


def test_tags_are_counted_after_the_answer(anybody, ann):
    assert anybody.ask("GET", "/tags", 200) == {"tags": []}
    ann.write("One", "rare", "common")
    two = ann.write("Two", "common")["slug"]
    assert anybody.ask("GET", "/tags", 200) == {"tags": ["common", "rare"]}
    three = ann.write("Three", "new")["slug"]
    assert anybody.ask("GET", "/tags", 200) == {"tags": ["common", "new", "rare"]}
    ann.ask("DELETE", f"/articles/{two}", 204)
    ann.ask("DELETE", f"/articles/{three}", 204)
    assert anybody.ask("GET", "/tags", 200) == {"tags": ["common", "rare"]}
