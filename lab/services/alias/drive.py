"""Somebody asks for a price, a member does, and then the price is another one for all."""


def drive(stage):
    stage.expect("the price", stage.get("/products/1").json()["price"] == 100)
    stage.expect("a price with a tenth off", stage.get("/members/products/1").json()["price"] == 90)
    for _ in range(3):
        stage.stale("the price", stage.get("/products/1").json()["price"] != 100)
    stage.post("/reload")
    stage.expect("the price", stage.get("/products/1").json()["price"] == 100)
