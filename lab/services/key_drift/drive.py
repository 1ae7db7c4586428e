"""An article is read, changed, and read again; then everything is purged."""


def drive(stage):
    stage.expect("the first title", stage.get("/articles/7").json()["title"] == "first")
    stage.put("/articles/7", {"title": "changed"})
    for _ in range(3):
        stage.stale("the article", stage.get("/articles/7").json()["title"] == "first")
    stage.post("/purge")
    stage.expect("the changed title", stage.get("/articles/7").json()["title"] == "changed")
