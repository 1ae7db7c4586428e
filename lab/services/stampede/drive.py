"""Four readers come while the figures are being computed for the first one."""


def drive(stage):
    stage.hold("computed", 4)
    readers = [stage.begin("GET", "/figures") for _ in range(4)]
    stage.held("computed", 1 if stage.fixed else 4)
    stage.release("computed")
    totals = {reader.answer().json()["total"] for reader in readers}
    stage.expect("one total", totals == {3503500})
    stage.expect("one total", stage.get("/figures").json()["total"] == 3503500)
