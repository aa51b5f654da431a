"""The server that starts processes, one for all tests."""

from __future__ import annotations

import pytest

from .processes import Launcher


@pytest.fixture(scope="session")
def launcher():
    with Launcher() as launcher:
        yield launcher
