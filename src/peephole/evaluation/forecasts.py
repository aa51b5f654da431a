"""Measures of forecasts: of their mean, and of their quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.errors import ConfigError, DataError, nearest
from peephole.evaluation.bootstrap import RESAMPLES, interval, resample
from peephole.evaluation.evaluate import Evaluation, Score
from peephole.evaluation.metrics import FloatArray

Numbers = NDArray[np.floating]
LEVELS = tuple(level / 10 for level in range(1, 10))
"""The quantiles that are compared; the outermost are the ends of the 80 % interval."""
SEED = 1


class Measured(NamedTuple):
    """Sums over the numbers of a window that are not missing.

    Attributes:
        scaled: of absolute errors of the mean, each divided by the scale of MASE.
        naive: the same of the seasonal naive forecast.
        absolute: of absolute errors of the mean.
        inside: numbers inside the 80 % interval.
        crps: of twice the mean pinball loss over `LEVELS`, divided by the scale of MASE.
        compared: how many numbers.
    """

    scaled: float
    naive: float
    absolute: float
    inside: float
    crps: float
    compared: float


MEASURES: Mapping[str, tuple[str, str, str]] = {  # name → unit, better direction, definition
    "mase": ("number", "lower", "mean absolute error / that of y one season before, over all steps of the table"),
    "naive_mase": ("number", "lower", "the same of the seasonal naive forecast, the last season repeated"),
    "mae": ("number", "lower", "mean absolute error of the mean"),
    "coverage": ("%", "", "numbers inside the 80 % interval; wanted: 80"),
    "crps": ("number", "lower", "twice the mean pinball loss at 0.1 … 0.9, in the unit of MASE"),
}
LABELS = {
    "mase": "MASE",
    "naive_mase": "MASE, seasonal naive",
    "mae": "MAE",
    "coverage": "inside 80 %",
    "crps": "CRPS",
}


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


def seasonal_naive(history: Numbers, season: int, horizon: int) -> Numbers:
    """Return the last season of a series repeated over the steps that follow it.

    >>> seasonal_naive(np.array([9.0, 1.0, 2.0]), season=2, horizon=5).tolist()
    [1.0, 2.0, 1.0, 2.0, 1.0]
    """
    return history[len(history) - season + np.arange(horizon) % season]


def measure_forecast(samples: Numbers, actual: Numbers, naive: Numbers, scale: Numbers) -> Measured:
    """Return the sums of a window, from which `score_forecasts` makes its scores.

    Args:
        samples: (S, U, D) drawn series.
        actual: (U, D); missing numbers are left out.
        naive: (U, D) the seasonal naive forecast.
        scale: (D,) `naive_error` of each component.
    """
    known = np.isfinite(actual)
    drawn = samples.astype(np.float64)
    error = np.abs(actual - drawn.mean(0))
    quantiles = np.quantile(drawn, LEVELS, axis=0, method="weibull")  # (9, U, D); as those of a Forecast
    levels = np.array(LEVELS)[:, None, None]
    pinball = np.maximum(levels * (actual - quantiles), (levels - 1) * (actual - quantiles)).mean(0)
    inside = (quantiles[0] <= actual) & (actual <= quantiles[-1])
    parts = (error / scale, np.abs(actual - naive) / scale, error, inside, 2 * pinball / scale, known)
    return Measured(*(float(np.sum(part, where=known)) for part in parts))


def check_measures(names: Sequence[str] | None) -> None:
    """Raise ConfigError if one of the names is not among `MEASURES`."""
    for name in names or ():
        if name not in MEASURES:
            wanted = f"wanted one of {', '.join(MEASURES)}{nearest(name, MEASURES)}"
            raise ConfigError(f"evaluation: unknown metric of forecasts {name!r}; {wanted}")


def score_forecasts(windows: Sequence[Measured], names: Sequence[str] | None = None) -> Evaluation:
    """Return the scores of some windows, with bootstrap intervals over windows.

    Args:
        windows: one or more.
        names: keys of `MEASURES`, as `check_measures` has checked; None or none: all.

    Raises:
        DataError: all numbers are missing.
    """
    rows = np.array([window for window in windows if window.compared])
    if not len(rows):
        raise DataError("evaluation: wanted numbers to compare with the forecasts, got none")
    [sums] = resample([rows], seed=SEED)
    values, drawn = _ratios(rows.sum(0)), _ratios(sums)
    scores = {}
    for index, (name, (unit, better, definition)) in enumerate(MEASURES.items()):
        if not names or name in names:
            low, high = interval(drawn[:, index])
            scores[name] = Score(float(values[index]), low, high, unit, better, LABELS[name], definition)  # type: ignore[arg-type]
    counts = ("windows", "numbers")
    return Evaluation(scores, len(rows), int(rows[:, -1].sum()), RESAMPLES, SEED, (), counts)


def _ratios(sums: FloatArray) -> FloatArray:
    """Return the measures (…, 5) from sums (…, 6)."""
    factors = np.array([100.0 if unit == "%" else 1.0 for unit, *_ in MEASURES.values()])
    ratios: FloatArray = sums[..., :-1] / sums[..., -1:] * factors
    return ratios
