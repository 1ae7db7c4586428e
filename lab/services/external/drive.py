"""A page is changed by the service and seen at once; then in the database's shell, and the old one stays."""


def title(stage):
    return stage.get("/pages/1").json()["title"]


def drive(stage):
    stage.expect("the title", title(stage) == "Welcome")
    stage.put("/pages/1", {"title": "Hello"})
    stage.expect("the new title", title(stage) == "Hello")
    stage.sql("UPDATE pages SET title = 'Good morning' WHERE id = 1")
    if stage.fixed:
        stage.post("/refresh")
    for _ in range(3):
        stage.stale("the title", title(stage) == "Hello")
    stage.post("/refresh")
    stage.expect("the changed title", title(stage) == "Good morning")
