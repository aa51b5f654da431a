"""The arrays of a training step in the form in which the engine reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def integers(name: str, array: Numbers, dimensions: int, length: int | None = None) -> NDArray[np.int64]:
    """Return an array of symbols, lengths or numbers of examples.

    Raises:
        ValueError: it has no integers, or another number of dimensions or rows.
    """
    if array.ndim != dimensions or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: wanted integers of {dimensions} dimensions, got {array.dtype} {array.shape}")
    _check_rows(name, array, length)
    return np.ascontiguousarray(array, np.int64)


def floats(name: str, array: Numbers, unit: str, size: int, length: int | None = None) -> NDArray[np.float32]:
    """Return an array (B, T, F) of frames or vectors.

    Args:
        name: of the argument.
        array: what was given.
        unit: "frame" or "vector".
        size: numbers F in a unit.
        length: B; None: any.

    Raises:
        ValueError: it has no floats, or another shape.
    """
    if array.ndim != 3 or array.dtype.kind != "f":
        raise ValueError(f"{name}: wanted {unit}s, floats of 3 dimensions, got {array.dtype} {array.shape}")
    if array.shape[2] != size:
        raise ValueError(f"{name}: wanted {size} numbers in a {unit}, got {array.shape[2]}")
    _check_rows(name, array, length)
    return np.ascontiguousarray(array, np.float32)


def _check_rows(name: str, array: Numbers, length: int | None) -> None:
    if length is not None and len(array) != length:
        raise ValueError(f"{name}: wanted {length} rows, got {len(array)}")
