"""Both processes know the setting; one takes the change; the answers alternate with the process that is asked."""


def drive(stage):
    for process in (0, 1):
        stage.expect("the first value", stage.get("/settings/banner", process=process).json()["value"] == "hello")
    stage.put("/settings/banner", {"value": "goodbye"}, process=0)
    for _ in range(3):
        stage.expect("the new value", stage.get("/settings/banner", process=0).json()["value"] == "goodbye")
        stage.stale("the setting", stage.get("/settings/banner", process=1).json()["value"] == "hello")
    stage.post("/settings/banner/reload", process=1)
    stage.expect("the new value", stage.get("/settings/banner", process=1).json()["value"] == "goodbye")
