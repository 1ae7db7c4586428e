"""Prepares the Python environments and tools of the checkout under .cache/, and knows when they are up to
date."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kit import CACHE, ROOT, Failure, environment, locked
from kit.packages import install_debian
from kit.pythons import Python, discover

REQUIREMENTS = ROOT / "python" / "requirements"
VENVS = CACHE / "venvs"
TOOLS = CACHE / "tools"
GOLANGCI_LINT = "v2.15.0"


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its folder's name, the interpreter it is made from, its requirement files
    (requirements lists, or a pyproject.toml), and which of a pyproject.toml's optional dependencies."""

    name: str
    base: Python
    requirements: tuple[Path, ...]
    extras: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return VENVS / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


def version_environment(python: Python, main: Python) -> Environment:
    """The recorder's tests on one Python version; the main version can also run the manual's examples."""
    files = [REQUIREMENTS / "full.txt"]
    if python == main:
        files.append(REQUIREMENTS / "analysis.txt")
    return Environment(f"py{python.version}", python, tuple(files))


def sqlalchemy14_environment(oldest: Python) -> Environment:
    return Environment("sqlalchemy14", oldest, (REQUIREMENTS / "sqlalchemy14.txt",))


def otel_environment(main: Python) -> Environment:
    """A service instrumented by OpenTelemetry: what the OTLP receiver is tested with."""
    return Environment("otel", main, (REQUIREMENTS / "otel.txt",))


def bench_environment(main: Python) -> Environment:
    """What bench/cost compares: the same service under demarc and under OpenTelemetry."""
    return Environment("bench", main, (REQUIREMENTS / "bench.txt",))


def conduit_environment(main: Python) -> Environment:
    """What the example service says it needs, with its real servers' drivers and its tests."""
    return Environment(
        "conduit", main, (ROOT / "examples" / "conduit" / "pyproject.toml",), ("servers", "test")
    )


def lab_environment(main: Python) -> Environment:
    """What the services of the lab are written with."""
    return Environment("lab", main, (ROOT / "lab" / "requirements.txt",))


def service_environment(main: Python, name: str) -> Environment:
    """A service from PyPI that scripts/services observes, with what it needs and nothing of ours."""
    return Environment(f"services-{name}", main, (REQUIREMENTS / "services" / f"{name}.txt",))


def ensure(environment_: Environment) -> Path:
    """Creates the environment unless it stands as its requirements say; returns its interpreter."""
    uv = ensure_tools() / "bin" / "uv"
    with locked(f"venv-{environment_.name}"):
        stamp = environment_.folder / ".demarc-stamp"
        want = _stamp(environment_)
        if _holds(stamp, want) and environment_.python.exists():
            return environment_.python
        shutil.rmtree(environment_.folder, ignore_errors=True)
        _must([uv, "venv", "-q", "--no-project", "--python", environment_.base.path, environment_.folder])
        what = [arg for file in environment_.requirements for arg in ("-r", file)]
        what += [arg for extra in environment_.extras for arg in ("--extra", extra)]
        # Hundreds of short processes are started with it: compiling once is cheaper than each of them doing it.
        _must([uv, "pip", "install", "-q", "--compile-bytecode", "--python", environment_.python, *what])
        stamp.write_text(want)
    return environment_.python


def ensure_tools() -> Path:
    """The environment with uv and ruff, made by the first Python here that can make one; returns its
    folder."""
    folder = TOOLS / "python"
    requirements = REQUIREMENTS / "tools.txt"
    with locked("tools"):
        stamp = folder / ".demarc-stamp"
        want = hashlib.sha256(requirements.read_bytes()).hexdigest()
        if _holds(stamp, want):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        _must([_maker(), "-m", "venv", folder])
        _must([folder / "bin" / "python", "-m", "pip", "install", "-q", "-r", requirements])
        stamp.write_text(want)
    return folder


def ensure_golangci_lint() -> Path:
    """golangci-lint, built from its Go module at the pinned version; returns the binary's path."""
    binary = TOOLS / f"golangci-lint-{GOLANGCI_LINT}"
    with locked("golangci-lint"):
        if not binary.exists():
            env = environment()
            env["GOBIN"] = str(TOOLS / "build")
            _must(
                ["go", "install", f"github.com/golangci/golangci-lint/v2/cmd/golangci-lint@{GOLANGCI_LINT}"],
                env,
            )
            os.replace(TOOLS / "build" / "golangci-lint", binary)
    return binary


def _maker() -> str:
    """An interpreter that can make a virtual environment with pip in it; Debian keeps that in a package of
    its own."""
    candidates = [sys.executable] + [python.path for python in discover()[0]]
    for path in candidates:
        if _can_make(path):
            return path
    install_debian(
        "python3-venv", "no Python here can make virtual environments (the module ensurepip is absent)"
    )
    for path in candidates:
        if _can_make(path):
            return path
    raise Failure("python3-venv was installed, but still no Python here can make virtual environments")


def _can_make(path: str) -> bool:
    return subprocess.run([path, "-I", "-c", "import venv, ensurepip"], capture_output=True).returncode == 0


def _stamp(environment_: Environment) -> str:
    digest = hashlib.sha256(
        f"{environment_.base.full} {environment_.base.path} {environment_.extras}\n".encode()
    )
    for file in environment_.requirements:
        _digest(file, digest)
    return digest.hexdigest()


def _digest(file: Path, digest: hashlib._Hash) -> None:
    try:
        text = file.read_text()
    except OSError as error:
        raise Failure(f"cannot read requirements: {error}") from None
    digest.update(text.encode())
    for included in re.findall(r"^-r\s+(\S+)", text, re.MULTILINE):
        _digest(file.parent / included, digest)


def _holds(stamp: Path, want: str) -> bool:
    return stamp.exists() and stamp.read_text() == want


def _must(argv: list, env: dict[str, str] | None = None) -> None:
    command = [str(arg) for arg in argv]
    answer = subprocess.run(
        command, env=env or environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT
    )
    if answer.returncode != 0:
        raise Failure(f"exit code {answer.returncode}: {' '.join(command)}\n{answer.stdout}{answer.stderr}")
