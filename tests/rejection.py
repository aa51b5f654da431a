"""How a test of a wrong implementation counts: only a comparison that fails rejects it, a crash does not."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy.testing
import pytest
import torch.testing

# Where a comparison may be written: the tests, and the libraries' assertions that they call.
COMPARISONS = (
    Path(__file__).parent,
    Path(numpy.testing.__file__).parent,
    Path(torch.testing.__file__).parent,
    Path(contextlib.__file__),
)


@contextlib.contextmanager
def rejected_by_comparison(match: str | None = None) -> Iterator[None]:
    """Pass when the block ends in the AssertionError of a comparison made by the test's own check.

    Any other exception fails the test, and so does an AssertionError raised while the implementation runs: a wrong
    implementation that crashes was not compared with anything.

    Args:
        match: what the message must match.
    """
    with pytest.raises(AssertionError, match=match) as caught:
        yield
    inside = [frame for frame in traceback.extract_tb(caught.tb) if not _compares(Path(frame.filename))]
    assert not inside, f"not a comparison: {caught.value!r} at {inside[-1].filename}:{inside[-1].lineno}"


def _compares(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in COMPARISONS)
