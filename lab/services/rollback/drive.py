"""A change is refused after it was put into the cache; readers see it all the same."""


def drive(stage):
    stage.expect("the name", stage.get("/site").json()["name"] == "The shop")
    stage.put("/site", {"name": "Another shop", "contact": "nowhere"}, expect=422)
    for _ in range(3):
        stage.stale("the name", stage.get("/site").json()["name"] == "Another shop")
    stage.expect("the name", stage.post("/site/reload").json()["name"] == "The shop")
    stage.expect("the name", stage.get("/site").json()["name"] == "The shop")
