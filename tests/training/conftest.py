"""Provides the server that starts processes, one per test session."""

from __future__ import annotations

import pytest

from .processes import Launcher


@pytest.fixture(scope="session")
def launcher():
    """Return the launcher of `peephole` processes."""
    with Launcher() as launcher:
        yield launcher
