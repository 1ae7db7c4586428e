"""A browser for the tests that open pages: one that is there, or Debian's."""

from __future__ import annotations

import shutil

from kit import locked
from kit.packages import install_debian

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")  # as the tests look for them


def ensure_browser() -> None:
    """Sees to it that a Chromium or Chrome is on PATH, or fails with the package's name."""
    with locked("browser"):
        if not any(map(shutil.which, NAMES)):
            install_debian("chromium", "the tests open pages in Chromium or Chrome, and neither is on PATH")
