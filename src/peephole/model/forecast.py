"""A forecast of a series: draws of its next steps, and what they say about each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.errors import ArgumentError, check_type

LEVELS = (0.1, 0.5, 0.9)
"""The quantiles that are printed."""


@dataclass(frozen=True, repr=False, eq=False)
class Forecast:
    """The next U steps of a series of D components, as S equally likely series.

    >>> forecast = Forecast(np.array([[[1.0], [2.0]], [[3.0], [6.0]]]))
    >>> forecast.mean.tolist(), forecast.quantile(0.5).tolist()
    ([[2.0], [4.0]], [[2.0], [4.0]])
    """

    samples: NDArray[np.float64]
    """(S, U, D): each is drawn as a whole, so sums and differences over steps have their distribution, too."""
    missing: int = 0
    """Numbers of the window that were missing; the one before each was read."""

    def __repr__(self) -> str:
        samples, steps, size = self.samples.shape
        return f"Forecast({steps} steps of {size} component{'s' * (size > 1)}, {samples} samples)"

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean of the samples, (U, D)."""
        found: NDArray[np.float64] = self.samples.mean(0)
        return found

    def quantile(self, level: float) -> NDArray[np.float64]:
        """Return a quantile of each component of each step, (U, D), for a level from 0 to 1.

        A further draw lies below the k-th of S samples with probability k / (S + 1); between them it is linear.

        Raises:
            ArgumentError: the level is something else.
        """
        check_type("level", level, (int, float), "a number from 0 to 1")
        if not 0 <= level <= 1:
            raise ArgumentError(f"level: wanted a number from 0 to 1, got {level:g}")
        return np.quantile(self.samples, level, axis=0, method="weibull")

    def to_dict(self, levels: Sequence[float] = LEVELS) -> dict[str, Any]:
        """Return mean and quantiles as plain JSON values; lists of U steps of D numbers."""
        quantiles = {f"{level:g}": self.quantile(level).tolist() for level in levels}
        return {"mean": self.mean.tolist(), "quantiles": quantiles}
