"""The units of a window of a series, computed in float64, so that float32 holds the numbers of any level and scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Numbers nearer to each other than this share of their size differ by rounding alone, as 0.3 and 0.1 + 0.2."""


class WindowUnits(NamedTuple):
    """Mean and deviation of each component of a window, as in (51): z = (y - mean) / deviation.

    Attributes:
        mean: (D,), or (B, 1, D) of several windows, float64.
        deviation: likewise; 1 for a component that does not vary by more than rounding.
    """

    mean: Floats
    deviation: Floats

    def normalize(self, y: Floats) -> NDArray[np.float32]:
        """Return z of (..., D) numbers; one too large for float32 becomes infinite."""
        with np.errstate(over="ignore"):
            return (_change(y, self.mean) / self.deviation).astype(np.float32)  # (51)

    def restore(self, z: NDArray[np.float32]) -> Floats:
        """Return y of (..., D) normalised numbers."""
        return z * self.deviation + self.mean


def units_of(window: Floats) -> WindowUnits:
    """Return the units of a window (T, D), or of several (B, T, D), all numbers finite.

    A model whose units are those of its source, (51), reads y and z alike. Its own float32 arithmetic would round y
    first, and lose the changes of a series whose level is large beside them.

    >>> units_of(np.array([[1e9 + 1], [1e9 + 3]]))
    WindowUnits(mean=array([1.e+09]), deviation=array([1.]))
    >>> units_of(np.array([[0.1], [0.1], [0.1]]))
    WindowUnits(mean=array([0.1]), deviation=array([1.]))
    >>> units_of(np.array([[0.3], [0.1 + 0.2], [0.3]])).deviation
    array([1.])
    """
    axis, keep = window.ndim - 2, window.ndim > 2
    first = window.take([0], axis)
    change = window - first  # exactly 0 if the component does not vary
    largest = np.abs(change).max(axis, keepdims=True)
    largest = np.where(largest > 0, largest, 1)  # squares of numbers at most 1 do not overflow
    mean = first + change.mean(axis, keepdims=True)
    deviation = largest * (change / largest).std(axis, keepdims=True)
    deviation = np.where(_change(window, mean).any(axis, keepdims=True), deviation, 1)
    return WindowUnits(mean, deviation) if keep else WindowUnits(mean[0], deviation[0])


def _change(y: Floats, mean: Floats) -> Floats:
    """Return y - mean, and 0 where it is rounding alone; missing numbers stay missing."""
    change = y - mean
    found: Floats = np.where(np.abs(change) <= ROUNDING * np.abs(mean), 0, change)
    return found


def unchanged(size: int) -> WindowUnits:
    """Return units in which D = `size` numbers stay as they are."""
    return WindowUnits(np.zeros(size), np.ones(size))
