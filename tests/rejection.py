"""Checks that a wrong implementation is rejected by a failed comparison, not by a crash."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy.testing
import pytest
import torch.testing

# Comparisons are written in the tests and in the assertions of the libraries that they call.
COMPARISONS = (
    Path(__file__).parent,
    Path(numpy.testing.__file__).parent,
    Path(torch.testing.__file__).parent,
    Path(contextlib.__file__),
)


@contextlib.contextmanager
def rejected_by_comparison(match: str | None = None) -> Iterator[None]:
    """Require the block to raise AssertionError from a comparison in the test's own check.

    Any other exception fails the test, and so does an AssertionError raised inside the implementation: an
    implementation that crashes was never compared.

    Args:
        match: a regular expression that the message must match.
    """
    with pytest.raises(AssertionError, match=match) as caught:
        yield
    inside = [frame for frame in traceback.extract_tb(caught.tb) if not _may_compare(Path(frame.filename))]
    assert not inside, f"not a comparison: {caught.value!r} at {inside[-1].filename}:{inside[-1].lineno}"


def _may_compare(path: Path) -> bool:
    """Return whether a file belongs to the tests or to a library of assertions."""
    return any(path.is_relative_to(folder) for folder in COMPARISONS)
