"""Finds the Python interpreters of this machine."""

from __future__ import annotations

import glob
import json
import os
import subprocess
from dataclasses import dataclass

from kit import Failure

SUPPORTED = ("3.9", "3.10", "3.11", "3.12", "3.13")
MAIN_ORDER = ("3.11", "3.12", "3.13", "3.10", "3.9")  # the one version for what needs only one

_PROBE = """
import json, platform, sys
missing = []
for name in ("ctypes", "sqlite3", "ssl", "zlib"):
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
print(json.dumps({
    "path": getattr(sys, "_base_executable", None) or sys.executable,
    "version": "%d.%d" % sys.version_info[:2],
    "full": platform.python_version(),
    "cpython": platform.python_implementation() == "CPython",
    "missing": missing,
}))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter that runs: its minor version ("3.11"), its full one and the path of the real binary."""

    version: str
    full: str
    path: str


def discover() -> tuple[list[Python], list[str]]:
    """One CPython for each supported minor version that the machine has, oldest first, and remarks on those
    left out.

    Looked at, in order: python3.X and python3 on PATH, then the versions kept by pyenv (PYENV_ROOT, or beside
    a folder of shims on PATH, or in the home folder). A name that does not run, as a shim of a version that
    is not selected, is passed over.
    """
    found: dict[str, Python] = {}
    remarks: list[str] = []
    for candidate in _candidates():
        facts = _probe(candidate)
        if (
            not facts
            or not facts["cpython"]
            or facts["version"] not in SUPPORTED
            or facts["version"] in found
        ):
            continue
        if facts["missing"]:
            remarks.append(f"{candidate} is not used: built without {', '.join(facts['missing'])}")
            continue
        found[facts["version"]] = Python(facts["version"], facts["full"], facts["path"])
    return [found[version] for version in SUPPORTED if version in found], remarks


def main_of(pythons: list[Python]) -> Python:
    """The version that runs what needs only one version."""
    by_version = {python.version: python for python in pythons}
    for version in MAIN_ORDER:
        if version in by_version:
            return by_version[version]
    raise Failure(
        f"no Python from {SUPPORTED[0]} to {SUPPORTED[-1]} found\n"
        "  try: apt-get install python3 (Debian), brew install python@3.13 (macOS), or pyenv install 3.13"
    )


def _candidates() -> list[str]:
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    names = [f"python{version}" for version in SUPPORTED] + ["python3"]
    paths = [os.path.join(folder, name) for name in names for folder in folders]
    roots = [os.environ.get("PYENV_ROOT", "")]
    roots += [
        os.path.dirname(folder.rstrip("/"))
        for folder in folders
        if os.path.basename(folder.rstrip("/")) == "shims"
    ]
    roots.append(os.path.expanduser("~/.pyenv"))
    for root in filter(None, roots):
        paths += sorted(glob.glob(os.path.join(root, "versions", "3.*", "bin", "python")))
    unique = dict.fromkeys(paths)
    return [path for path in unique if os.access(path, os.X_OK)]


def _probe(path: str) -> dict | None:
    try:
        answer = subprocess.run([path, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=20)
        return json.loads(answer.stdout) if answer.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
