"""A title is read, then the page, which finds the row in the cache. The article is changed, its page is not."""


def drive(stage):
    stage.expect("the first title", stage.get("/titles/7").json()["title"] == "first")
    stage.expect("the first title", stage.get("/articles/7").json()["title"] == "first")
    stage.put("/articles/7", {"title": "changed"})
    stage.expect("the changed title", stage.get("/titles/7").json()["title"] == "changed")
    for _ in range(3):
        stage.stale("the page", stage.get("/articles/7").json()["title"] == "first")
    stage.post("/purge")
    stage.expect("the changed title", stage.get("/articles/7").json()["title"] == "changed")
