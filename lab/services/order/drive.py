"""Between the delete and the commit of a PUT, a GET finds nothing and loads the article; it stores it after the
commit."""


def drive(stage):
    stage.expect("the first title", stage.get("/articles/1").json()["title"] == "first")
    stage.hold("saved")
    put = stage.begin("PUT", "/articles/1", {"title": "changed"})
    stage.held("saved")
    stage.hold("loaded")
    read = stage.begin("GET", "/articles/1")
    if not stage.fixed:  # the twin still has it in the cache
        stage.held("loaded")
    else:
        read.answer()
    stage.release("saved")
    put.answer()
    stage.release("loaded")
    stage.expect("the title before the commit", read.answer().json()["title"] == "first")
    for _ in range(3):
        stage.stale("the article", stage.get("/articles/1").json()["title"] == "first")
    stage.post("/articles/1/purge")
    stage.expect("the changed title", stage.get("/articles/1").json()["title"] == "changed")
