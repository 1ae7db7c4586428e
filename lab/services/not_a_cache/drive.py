"""An article is read, changed and dropped from the cache, and read again; the fill itself gives the old one."""


def title(stage):
    return stage.get("/articles/1").json()["title"]


def drive(stage):
    stage.expect("the first title", title(stage) == "first")
    stage.put("/articles/1", {"title": "changed"})
    for _ in range(3):
        stage.stale("the article", title(stage) == "first")
    stage.post("/restart")
    stage.expect("the changed title", title(stage) == "changed")
