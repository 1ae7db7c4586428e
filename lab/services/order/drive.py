"""Between the delete and the commit of a PUT, a GET fills the cache again."""


def drive(stage):
    stage.expect("the first title", stage.get("/articles/1").json()["title"] == "first")
    stage.hold("saved")
    put = stage.begin("PUT", "/articles/1", {"title": "changed"})
    stage.held("saved")
    stage.expect("the committed title", stage.get("/articles/1").json()["title"] == "first")
    stage.release("saved")
    put.answer()
    for _ in range(3):
        stage.stale("the article", stage.get("/articles/1").json()["title"] == "first")
    stage.post("/articles/1/purge")
    stage.expect("the changed title", stage.get("/articles/1").json()["title"] == "changed")
