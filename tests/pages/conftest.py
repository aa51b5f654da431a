"""A browser for the tests of pages, and pages of models with random weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from browsing import Browser, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Chromium; it is started once."""
    with chromium() as started:
        yield started
