"""Fixtures of the recorder's tests. Every test observes real processes; nothing is patched in the test's own."""

import pytest
from collector import Collector


@pytest.fixture
def collector():
    """A collector on a socket of its own."""
    c = Collector()
    yield c
    c.close()
    assert not c.bad, c.bad
