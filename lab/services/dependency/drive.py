"""An article and its author are read; the author is renamed; the article still bears the old name."""


def drive(stage):
    stage.expect("the name", stage.get("/authors/1").json()["name"] == "Ann")
    stage.expect("the name", stage.get("/articles/7").json()["author"] == "Ann")
    stage.put("/authors/1", {"name": "Anna"})
    stage.expect("the new name", stage.get("/authors/1").json()["name"] == "Anna")
    for _ in range(3):
        stage.stale("the article", stage.get("/articles/7").json()["author"] == "Ann")
    stage.post("/articles/7/refresh")
    stage.expect("the new name", stage.get("/articles/7").json()["author"] == "Anna")
