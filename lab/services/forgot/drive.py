"""An article is read, published, and read again, until somebody clears the cache by hand, which shows what publishing
had changed; a change of the title clears the answers itself."""


def drive(stage):
    stage.expect("a draft", not stage.get("/articles/1").json()["published"])
    stage.post("/articles/1/publish")
    for _ in range(3):
        stage.stale("the article", not stage.get("/articles/1").json()["published"])
    stage.post("/admin/clear-cache")
    stage.expect("the published article", stage.get("/articles/1").json()["published"])
    stage.put("/articles/1", {"title": "changed"})
    stage.expect("the changed title", stage.get("/articles/1").json()["title"] == "changed")
