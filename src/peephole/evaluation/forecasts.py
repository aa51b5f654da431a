"""Measures of forecasts: of their mean, and of their quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]


def smape(mean: Numbers, actual: Numbers) -> float:
    """Return the symmetric mean absolute percentage error, from 0 to 200; missing numbers are left out.

    Source: Makridakis 1993; 200 · mean of |y - ŷ| / (|y| + |ŷ|), and 0 where both are 0.

    >>> smape(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    50.0
    """
    size = np.abs(mean) + np.abs(actual)
    shares = np.abs(mean - actual) / np.where(size > 0, size, 1)
    return float(200 * np.nanmean(shares))


def naive_error(history: Numbers, season: int) -> float:
    """Return the mean absolute difference of a series to the value one season before: the scale of MASE.

    >>> naive_error(np.array([1.0, 5.0, 2.0, 7.0]), season=2)
    1.5
    """
    return float(np.nanmean(np.abs(history[season:] - history[:-season])))


def mase(mean: Numbers, actual: Numbers, scale: float) -> float:
    """Return the mean absolute scaled error; missing numbers are left out.

    Args:
        mean: the forecast.
        actual: the series.
        scale: `naive_error` of the series before.

    Source: Hyndman and Koehler 2006, "Another look at measures of forecast accuracy".
    """
    return float(np.nanmean(np.abs(mean - actual)) / scale)


def quantile_loss(quantiles: Sequence[Numbers], levels: Sequence[float], actual: Numbers) -> float:
    """Return twice the mean pinball loss over levels, an approximation of the continuous ranked probability score.

    Args:
        quantiles: the forecast quantile at each level.
        levels: from 0 to 1, evenly spread.
        actual: the series; missing numbers are left out.

    >>> quantile_loss([np.array([0.0]), np.array([4.0])], [0.25, 0.75], np.array([2.0]))
    1.0
    """
    losses = [
        np.maximum(level * (actual - quantile), (level - 1) * (actual - quantile))
        for level, quantile in zip(levels, quantiles, strict=True)
    ]
    return float(2 * np.nanmean(losses))
