"""The arrays of a training step in the form in which the engine reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.data.batch import Taught

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


def taught_arrays(taught: Taught | None, target: Numbers) -> dict[str, Numbers]:
    """Return what a teacher gives for the targets of a step by the names of `peephole_trainer_step`.

    Raises:
        ValueError: it is missing, or has another shape.
    """
    if taught is None:
        raise ValueError("taught: wanted symbols and shares of a teacher, got none")
    for name, array, kind in (("symbols", taught.symbols, "iu"), ("shares", taught.shares, "f")):
        if array.ndim != 3 or array.shape != taught.symbols.shape or array.shape[:2] != target.shape[:2]:
            wanted = f"{target.shape[0]} x {target.shape[1]} x K, as symbols and shares"
            raise ValueError(f"taught {name}: wanted shape {wanted}, got {array.shape}")
        if array.dtype.kind not in kind:
            raise ValueError(f"taught {name}: wanted {'integers' if kind == 'iu' else 'floats'}, got {array.dtype}")
    return {
        "taught_symbols": np.ascontiguousarray(taught.symbols, np.int32),
        "taught_shares": np.ascontiguousarray(taught.shares, np.float32),
    }


def _check_rows(name: str, array: Numbers, length: int | None) -> None:
    if length is not None and len(array) != length:
        raise ValueError(f"{name}: wanted {length} rows, got {len(array)}")
