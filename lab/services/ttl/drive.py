"""A course is looked at, booked, looked at again, and once more when the page's time is over."""

import time


def seats(stage):
    return stage.get("/courses/1").json()["seats"]


def drive(stage):
    stage.expect("three seats", seats(stage) == 3)
    stage.post("/courses/1/book", {"seats": 2})
    for _ in range(3):
        stage.stale("the number of seats", seats(stage) == 3)
    time.sleep(5.1)
    stage.expect("one seat", seats(stage) == 1)
