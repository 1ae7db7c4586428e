"""An article is read, then a headline; a second later the tag's set is gone, and a change does not reach
the article."""

import time


def drive(stage):
    stage.expect("the first title", stage.get("/articles/1").json()["title"] == "first")
    stage.expect("the second title", stage.get("/headlines/2").json()["title"] == "second")
    time.sleep(1.1)
    stage.put("/articles/1", {"title": "changed"})
    for _ in range(3):
        stage.stale("the article", stage.get("/articles/1").json()["title"] == "first")
    stage.post("/articles/1/refresh")
    stage.expect("the changed title", stage.get("/articles/1").json()["title"] == "changed")
