"""A change is committed and the article dropped while the replica is behind; the next reader fills from it."""


def title(stage):
    return stage.get("/articles/1").json()["title"]


def drive(stage):
    stage.expect("the first title", title(stage) == "first")
    stage.replica.hold_back()
    stage.put("/articles/1", {"title": "changed"})
    for _ in range(4):
        stage.stale("the article", title(stage) == "first")
    stage.replica.catch_up()
    stage.post("/articles/1/purge")
    stage.expect("the changed title", title(stage) == "changed")
