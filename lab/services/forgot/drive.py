"""An article is read, published, and read again; a later change of the title clears the answers."""


def drive(stage):
    stage.expect("a draft", not stage.get("/articles/1").json()["published"])
    stage.post("/articles/1/publish")
    for _ in range(3):
        stage.stale("the article", not stage.get("/articles/1").json()["published"])
    stage.put("/articles/1", {"title": "changed"})
    now = stage.get("/articles/1").json()
    stage.expect("the published article", now["published"] and now["title"] == "changed")
