"""The old release has filled the cache, the new one is asked; then everything is purged."""

NUMBERS = (1, 2, 3)


def price(stage, number, process):
    return stage.get(f"/products/{number}", process=process).json()["price"]


def drive(stage):
    for number in NUMBERS:
        stage.expect("a price as text", isinstance(price(stage, number, 0), str))
    for number in NUMBERS:
        stage.stale("the price", isinstance(price(stage, number, 1), str))
    stage.post("/purge", process=1)
    for number in NUMBERS:
        stage.expect("a price with its currency", isinstance(price(stage, number, 1), dict))
