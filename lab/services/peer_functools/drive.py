"""Both processes know what an editor may do; one takes the change; the other one does not hear of it."""


def allowed(stage, process):
    return stage.get("/roles/editor", process=process).json()["allowed"]


def drive(stage):
    for process in (0, 1):
        stage.expect("the permissions", allowed(stage, process) == "read write")
    stage.put("/roles/editor", {"allowed": "read"}, process=0)
    for _ in range(3):
        stage.expect("the new permissions", allowed(stage, 0) == "read")
        stage.stale("the permissions", allowed(stage, 1) == "read write")
    stage.post("/reload", process=1)
    stage.expect("the new permissions", allowed(stage, 1) == "read")
