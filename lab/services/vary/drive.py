"""Ann and Bob look at their carts in turn; whoever comes first after a purge fills the cache for both."""


def drive(stage):
    for first, second in (("ann", "bob"), ("bob", "ann"), ("ann", "bob")):
        stage.expect("the own cart", stage.get("/cart", user=first).json()["customer"] == first)
        stage.stale("the cart", stage.get("/cart", user=second).json()["customer"] == first)
        stage.post("/purge")
