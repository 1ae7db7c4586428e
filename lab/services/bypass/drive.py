"""A product's price is changed by itself and seen at once; then all are, in a sale, and the old price stays."""


def price(stage):
    return stage.get("/products/1").json()["price"]


def drive(stage):
    stage.expect("the price", price(stage) == 100)
    stage.put("/products/1", {"price": 120})
    stage.expect("the new price", price(stage) == 120)
    stage.post("/sale")
    for _ in range(3):
        stage.stale("the price", price(stage) == 120)
    stage.post("/products/1/refresh")
    stage.expect("the price", price(stage) == 60)
