"""Bob is looked for, registers, and is still not found."""


def drive(stage):
    stage.expect("Ann", stage.get("/users/ann").json()["name"] == "ann")
    stage.get("/users/bob", expect=404)
    stage.post("/users", {"name": "bob", "email": "bob at lab"})
    for _ in range(3):
        status = stage.get("/users/bob", expect=200 if stage.fixed else 404).status
        stage.stale("Bob's profile", status == 404)
    stage.post("/users/bob/forget")
    stage.expect("Bob", stage.get("/users/bob").json()["name"] == "bob")
