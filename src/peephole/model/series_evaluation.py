"""Evaluate and score a model of series on the windows of a table, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.consistency import check_given_search
from peephole.data.files import shown_name
from peephole.data.read import Report
from peephole.data.series import Series, check_series, read_series, series_of
from peephole.data.windows import history_of
from peephole.errors import ConfigError, DataError, check_whole_number, nearest
from peephole.evaluation import Evaluation
from peephole.evaluation.forecasts import check_measures, measure_forecast, naive_error, score_forecasts, seasonal_naive
from peephole.model.series import SeriesModel

SETTINGS = ("samples", "seed", "batch_size", "threads", "engine")
"""The search settings that apply to forecasts of windows."""
WINDOWS_PER_CALL = 256
MOST_STEPS = 1 << 30

Floats = NDArray[np.float64]


class Window(NamedTuple):
    """Steps that are forecast, and those before them.

    Attributes:
        columns: the table's columns, one a component.
        first: number of the first step that is forecast, from 1.
        source: (T, D) the steps before, missing numbers filled.
        target: (U, D) the steps that are forecast; NaN where a number is missing.
        naive: (U, D) the seasonal naive forecast.
        scale: (D,) the mean absolute difference to the value one season before, over the whole table.
    """

    columns: tuple[str, ...]
    first: int
    source: Floats
    target: Floats
    naive: NDArray[np.floating]
    scale: Floats

    @property
    def name(self) -> str:
        """The columns and steps, such as "load, steps 49-72"."""
        return f"{', '.join(self.columns)}, steps {self.first}-{self.first + len(self.target) - 1}"


class ScoredWindow(NamedTuple):
    """Steps of a table and their density.

    Attributes:
        columns: the table's columns, one a component.
        first: number of the first step, from 1.
        steps: how many they are.
        log_prob: log p(target | source), (11).
    """

    columns: tuple[str, ...]
    first: int
    steps: int
    log_prob: float


def windows_of(model: SeriesModel, table: Any, report: Report, season: int | None = None) -> list[Window]:
    """Return the windows of a table, the last of which ends with it.

    Their targets follow each other without a gap, so that every step is forecast once, but for the first ones.

    Args:
        model: says how many steps are read and forecast, and what the columns are.
        table: the name of a file as `peephole train` reads, `-` for stdin, or an array (T,) or (T, C).
        report: counts missing numbers.
        season: steps; None: as many as are forecast.

    Raises:
        DataError: the table cannot be read, is too short, or has other columns than the model.
        ConfigError: the model's settings do not say how many steps are forecast.
    """
    config = model.config.data
    if config.horizon is None:
        raise ConfigError(f"{model.name or 'model'}: wanted data.horizon, the steps to forecast, got none")
    name = report.name
    if isinstance(table, (str, os.PathLike)):
        series = read_series(os.fspath(table), config, report)
    else:
        series = check_series(series_of(name, table), name, report)
    model.check_columns(series.columns, name)
    joint = config.columns == "joint"
    return list(_cut(series, joint, history_of(config), config.horizon, season or config.horizon, name))


def _cut(series: Series, joint: bool, history: int, horizon: int, season: int, name: str) -> Iterator[Window]:
    """Yield the windows, series by series."""
    num_steps, least = len(series.values), max(history, season)
    if num_steps < least + horizon:
        read = f"{history} to read (data.history)" + (f", {season} of a season" if season > history else "")
        raise DataError(
            f"{name}: wanted at least {least + horizon} steps: {read} and {horizon} to forecast (data.horizon); "
            f"got {num_steps}"
        )
    filled = series.filled()
    scales = np.array([_scale(column, season) for column in series.values.T])
    width = len(series.columns) if joint else 1
    for first in range(0, len(series.columns), width):
        own = slice(first, first + width)
        for start in range(least + (num_steps - least) % horizon, num_steps, horizon):
            yield Window(
                series.columns[own],
                start + 1,
                filled[start - history : start, own],
                series.values[start : start + horizon, own],
                seasonal_naive(filled[:start, own], season, horizon),
                scales[own],
            )


def _scale(column: Floats, season: int) -> float:
    """Return the scale of MASE; 0 if no number is known one season after another."""
    known = np.isfinite(column[season:] - column[:-season])
    return naive_error(column, season) if known.any() else 0.0


def measure_forecasts(
    model: SeriesModel,
    table: Any,
    report: Report,
    *,
    season: int | None = None,
    metrics: Sequence[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **search: Any,
) -> tuple[list[Window], Evaluation]:
    """Return the windows of a table, and the errors of their forecasts with bootstrap intervals over windows.

    Args:
        model: the model.
        table: as in `windows_of`.
        report: counts missing numbers.
        season: steps; None: as many as are forecast.
        metrics: keys of `peephole.evaluation.forecasts.MEASURES`; None or none: all.
        progress: as in `peephole.evaluate`.
        search: samples, seed, threads, batch_size, engine, as in `SeriesModel.predict`.

    Raises:
        DataError: `windows_of` raises it; or a column repeats itself, so that it has no scale for MASE.
        ConfigError: an unknown metric, or an unknown or impossible setting.
    """
    check_search(model, search)
    check_measures(metrics)
    if season is not None:
        check_whole_number("season", season, 1, MOST_STEPS)
    season = season or model.config.data.horizon
    windows = windows_of(model, table, report, season)
    for column, scale in {(c, s) for window in windows for c, s in zip(window.columns, window.scale, strict=True)}:
        if not scale > 0:
            raise DataError(
                f"{report.name}, column {column!r}: wanted a series that does not repeat itself every {season} steps"
            )
    if progress is not None:
        progress("forecasts", 0, len(windows))
    measured = []
    for first, part in _parts(windows):
        found = model.predict([window.source for window in part], first_index=first, steps_ahead=None, **search)
        for window, forecast in zip(part, found, strict=True):
            measured.append(measure_forecast(forecast.samples, window.target, window.naive, window.scale))
        if progress is not None:
            progress("forecasts", len(part), len(windows))
    return windows, score_forecasts(measured, metrics)


def score_windows(model: SeriesModel, table: str | Path | Any, report: Report, **search: Any) -> Iterator[ScoredWindow]:
    """Yield the windows of a table with log p of the steps that are forecast, given those before.

    Args:
        model: its output has a density.
        table: as in `windows_of`.
        report: counts missing numbers.
        search: threads, batch_size, engine, as in `SeriesModel.score`.

    Raises:
        DataError: the table is none that the model can score.
        ConfigError: an unknown setting, or a model of quantiles, which have no density.
    """
    for _, part in _parts(windows_of(model, table, report, season=1)):
        log_probs = model.score([window.source for window in part], [window.target for window in part], **search)
        for window, log_prob in zip(part, log_probs, strict=True):
            yield ScoredWindow(window.columns, window.first, len(window.target), log_prob)


def check_search(model: SeriesModel, search: dict[str, Any]) -> None:
    """Raise ConfigError if one of the settings of an evaluation does not apply to forecasts."""
    check_given_search(model.config.model, search)
    for name in search:
        if name not in SETTINGS:
            wanted = f"wanted one of {', '.join(SETTINGS)}{nearest(name, SETTINGS)}"
            raise ConfigError(f"evaluate: unknown setting {name!r} of forecasts; {wanted}")


def _parts(windows: list[Window]) -> Iterator[tuple[int, list[Window]]]:
    """Yield the windows in parts, each with the number of its first."""
    for first in range(0, len(windows), WINDOWS_PER_CALL):
        yield first, windows[first : first + WINDOWS_PER_CALL]


def report_of(table: Any) -> Report:
    """Return a report with the name of a table."""
    is_file = isinstance(table, (str, os.PathLike))
    return Report(shown_name(os.fspath(table)) if is_file else "series", "number")
