"""What the checkout's scripts share: where things lie, the environment commands run in, and how to say what
happens.

Standard library only, Python 3.9 and later: these modules run before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
LOGS = CACHE / "log"

_print_lock = threading.Lock()


class Failure(Exception):
    """A step cannot be done. The text names what failed and what to do; it is shown as it stands, without a
    traceback."""


def say(text: str, stream=None) -> None:
    """Writes whole lines, so that lines of steps that run at the same time never mix."""
    with _print_lock:
        print(text, file=stream or sys.stdout, flush=True)


def environment() -> dict[str, str]:
    """The environment every step runs in: the caller's, without what would leak another Python environment
    into it.

    CGO_ENABLED is 0 because demarc is built that way. Go's folders move into the checkout's cache where there
    is no home folder that could hold them.
    """
    env = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DEMARC", "DEMARC_HOOKS"):
        env.pop(name, None)
    env["CGO_ENABLED"] = "0"
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env.setdefault("UV_CACHE_DIR", str(CACHE / "uv"))
    env.setdefault("RUFF_CACHE_DIR", str(CACHE / "ruff"))
    env["UV_PYTHON_DOWNLOADS"] = "never"
    env.setdefault("UV_SYSTEM_CERTS", "1")  # as pip, curl and Go do
    home = env.get("HOME", "")
    if not home or not os.path.isdir(home) or not os.access(home, os.W_OK):
        env["HOME"] = str(CACHE / "home")
        # so that the checkout can be deleted
        env["GOFLAGS"] = f"{env.get('GOFLAGS', '')} -modcacherw".strip()
        os.makedirs(env["HOME"], exist_ok=True)
    return env


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds a lock of the checkout, so that two commands started at the same time do not build one thing
    twice."""
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 2
