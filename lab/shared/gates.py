"""Gates in a service, at which the lab holds a request to force an order of events. Outside the lab they are open.

The driver writes NAME.armed into the folder LAB_GATES; the first request that comes by takes it (by renaming it to
NAME.held) and waits there until NAME.open appears. Who comes next passes.
"""

import asyncio
import os
import time

_FOLDER = os.environ.get("LAB_GATES")
_POLL = 0.005
_LONGEST = 30.0


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
    path = os.path.join(_FOLDER, name)
    try:
        os.rename(path + ".armed", path + ".held")
    except FileNotFoundError:
        return False
    return True


def _opened(name, deadline):
    path = os.path.join(_FOLDER, name)
    if os.path.exists(path + ".open"):
        return True
    if time.monotonic() > deadline:
        raise TimeoutError(f"nobody opened the gate {name!r} within {_LONGEST:.0f} s")
    return False
