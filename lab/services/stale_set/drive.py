"""A GET has read the row and not stored it yet; a PUT changes the row and deletes the key; then the GET stores."""


def drive(stage):
    stage.hold("read")
    fill = stage.begin("GET", "/articles/1")
    stage.held("read")
    stage.put("/articles/1", {"title": "changed"})
    stage.release("read")
    stage.expect("the first title", fill.answer().json()["title"] == "first")
    for _ in range(3):
        stage.stale("the article", stage.get("/articles/1").json()["title"] == "first")
    stage.post("/articles/1/purge")
    stage.expect("the changed title", stage.get("/articles/1").json()["title"] == "changed")
