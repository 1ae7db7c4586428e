"""Installs a missing Debian package where that is allowed, and otherwise says which package to install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from kit import Failure, environment, locked

_POLICY = Path("/usr/sbin/policy-rc.d")  # asked by Debian's packages before they start a service
_BREW = {"postgresql": "postgresql@16", "redis-server": "redis", "memcached": "memcached",
         "nginx-light": "nginx", "python3-venv": "python", "chromium": "--cask chromium"}  # fmt: skip


def install_debian(package: str, why: str) -> None:
    """Installs the package with apt-get, as root only and without starting any service; else a Failure names
    it."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(
            f"{why}\n  try: sudo apt-get install {package} (Debian), brew install {_BREW[package]} (macOS)"
        )
    env = {**environment(), "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    wait = ["-o", "DPkg::Lock::Timeout=300"]
    with locked("apt"), _services_stay_down():
        for argv in (
            ["apt-get", "-q", *wait, "update"],
            ["apt-get", "-q", "-y", *wait, "install", "--no-install-recommends", package],
        ):
            answer = subprocess.run(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if answer.returncode != 0:
                raise Failure(f"{why}\nexit code {answer.returncode}: {' '.join(argv)}\n{answer.stdout}")


class _services_stay_down:
    """Tells Debian's packages not to start their services while they are installed."""

    def __enter__(self) -> None:
        self.mine = not _POLICY.exists()
        if self.mine:
            _POLICY.write_text("#!/bin/sh\nexit 101\n")
            _POLICY.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        if self.mine:
            _POLICY.unlink()
