"""Gates in a service, at which the lab holds a request to force an order of events. Outside the lab they are open.

The driver writes files NAME.1.armed, NAME.2.armed, … into the folder LAB_GATES; each request that comes by takes one
(by renaming it to NAME.1.held) and waits there until NAME.open appears. Who finds none left passes.
"""

import asyncio
import os
import time

_FOLDER = os.environ.get("LAB_GATES")
_POLL = 0.005
_LONGEST = 90.0


def gate(name):
    """Waits at the gate `name` if the driver has armed it."""
    if _take(name):
        deadline = time.monotonic() + _LONGEST
        while not _opened(name, deadline):
            time.sleep(_POLL)


async def async_gate(name):
    """As gate, in an event loop."""
    if _take(name):
        deadline = time.monotonic() + _LONGEST
        while not _opened(name, deadline):
            await asyncio.sleep(_POLL)


def _take(name):
    if _FOLDER is None:
        return False
    for file in os.listdir(_FOLDER):
        if file.startswith(name + ".") and file.endswith(".armed"):
            path = os.path.join(_FOLDER, file)
            try:
                os.rename(path, path[: -len("armed")] + "held")
            except FileNotFoundError:
                continue  # another one was quicker
            return True
    return False


def _opened(name, deadline):
    path = os.path.join(_FOLDER, name)
    if os.path.exists(path + ".open"):
        return True
    if time.monotonic() > deadline:
        raise TimeoutError(f"nobody opened the gate {name!r} within {_LONGEST:.0f} s")
    return False
