"""A change is made while the cache does not answer; when it answers again, the old template is still there."""


def text(stage):
    return stage.get("/templates/1").json()["text"]


def drive(stage):
    stage.expect("the text", text(stage) == "Dear customer")
    stage.line.cut()
    stage.put("/templates/1", {"text": "Dear all"})
    stage.line.mend()
    for _ in range(3):
        stage.stale("the template", text(stage) == "Dear customer")
    stage.put("/templates/1", {"text": "Dear everybody"})
    stage.expect("the new text", text(stage) == "Dear everybody")
