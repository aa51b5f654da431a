"""Windows of series as pairs: the steps of a window are the source, those that follow it the target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.config import Config, DataConfig
from peephole.data.columns import Integers, Spans
from peephole.data.corpus import Corpus, Located, Rows
from peephole.data.order import permutation
from peephole.data.read import Report
from peephole.data.series import Series, read_series
from peephole.data.window_units import unchanged, units_of
from peephole.errors import ConfigError, DataError, plural

HORIZONS = 4  # of the default history
LEAST_DEV_HORIZONS = 2  # steps held out, in horizons

Numbers = NDArray[np.float32]


class Windows(Corpus):
    """All windows of some series whose targets end before a step, and those of the targets after it.

    It stands where a training has the corpus of its pairs.

    Args:
        series: the table.
        history: T, steps of a source.
        horizon: U, steps of a target.
        joint: the columns are the components of one series; else each column is a series.
        first: the first step of a target.
        end: the step after the last of a target.
        in_own_units: each window is in its own units, (51); else its numbers are those of the series, rounded to
            float32.
    """

    def __init__(
        self,
        series: Series,
        history: int,
        horizon: int,
        joint: bool,
        first: int,
        end: int,
        *,
        in_own_units: bool = True,
    ) -> None:
        self.history, self.horizon, self._in_own_units = history, horizon, in_own_units
        columns = range(1) if joint else range(len(series.columns))
        width = slice(None) if joint else None
        filled = series.filled()
        self._read = [filled[:, width or slice(c, c + 1)] for c in columns]  # each (T, D)
        self._expected = [series.values[:, width or slice(c, c + 1)] for c in columns]
        self._first = max(first, history)
        self._starts = max(0, end - horizon + 1 - self._first)

    def __len__(self) -> int:
        return self._starts * len(self._read)

    @property
    def num_source_symbols(self) -> int:
        """Return the number of source vectors, counted in every window."""
        return len(self) * self.history

    @property
    def num_target_symbols(self) -> int:
        """Return the number of target vectors, counted in every window."""
        return len(self) * self.horizon

    def locate(self, indices: Integers) -> Located:
        """Return the windows, by number, and their lengths, as `Corpus.locate` does."""
        lengths = np.full(len(indices), self.history), np.full(len(indices), self.horizon)
        return Located(*(Spans(np.asarray(indices, np.int64), length) for length in lengths))

    def read(self, located: Located) -> tuple[Rows, Rows]:
        """Return the sources (T, D), whose missing numbers are filled, and the targets (U, D), float32."""
        sources, targets = [], []
        for index in located.source.starts.tolist():
            start, column = divmod(index, len(self._read))
            begin = self._first + start
            sources.append(self._read[column][begin - self.history : begin])
            targets.append(self._expected[column][begin : begin + self.horizon])
        if not sources:
            return [], []
        windows = np.stack(sources)
        units = units_of(windows) if self._in_own_units else unchanged(windows.shape[-1])
        return list(units.normalize(windows)), list(units.normalize(np.stack(targets)))

    @property
    def _end(self) -> int:
        """Return the step after the last of all targets."""
        return self._first + self._starts + self.horizon - 1

    def check_targets(self, name: str) -> None:
        """Raise DataError, whose message begins with `name`, if no target has a number that is not missing."""
        if not any(np.isfinite(expected[self._first : self._end]).any() for expected in self._expected):
            steps = f"{self._first + 1} to {self._end}"
            raise DataError(f"{name}: wanted a number in the steps to forecast, {steps}, got none")

    def statistics(self) -> tuple[list[float], list[float]]:
        """Return the mean and the standard deviation of each component over all steps up to the last target."""
        units = units_of(np.concatenate([read[: self._end] for read in self._read]))
        return units.mean.tolist(), units.deviation.tolist()

    def spread(self, most: int) -> list[tuple[Numbers, tuple[Numbers, ...]]]:
        """Return windows, at most this many, evenly spread, in an order whose beginnings are so, too."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))
        rows = chosen[permutation(len(chosen), seed=0, epoch=0)]
        sources, targets = self.read(self.locate(rows))
        return [(source, (target,)) for source, target in zip(sources, targets, strict=True)]


def history_of(config: DataConfig) -> int:
    """Return the steps of a window."""
    assert config.horizon is not None
    return config.history or HORIZONS * config.horizon


def recognise_series(name: str | Path, config: Config, series: Series | None = None) -> Config:
    """Return the settings with what the columns of a training table are.

    Args:
        name: the table's file.
        config: all settings.
        series: its content; None reads the file.

    Raises:
        DataError: the table cannot be read.
        ConfigError: a setting contradicts it.
    """
    series = series or read_series(name, config.data, Report(str(name), "number"))
    size = len(series.columns) if config.data.columns == "joint" else 1
    for setting in ("input_size", "output_size"):
        given = getattr(config.model, setting)
        if given not in (None, size):
            raise ConfigError(f"model.{setting}: wanted {size}, the numbers of a step of {name}, got {given}")
    read = "frames" if config.model.input == "symbols" else config.model.input
    output = "gaussian" if config.model.output == "symbols" else config.model.output
    model: Any = replace(config.model, input=read, output=output, input_size=size, output_size=size)
    return replace(
        config,
        model=model,
        frames=replace(config.frames, kind="numbers"),
        train=replace(config.train, dev_metric="loss"),
    )


def split_series(
    series: Series, dev: Series | None, config: DataConfig, name: str, *, in_own_units: bool = True
) -> tuple[Windows, Windows, str]:
    """Return the windows to train on, those of the dev set, and a line about them.

    Args:
        series: the training table.
        dev: the dev table; None: the targets of the last steps of the training table are held out.
        config: the lengths, and how much is held out.
        name: the training table's name, for messages.
        in_own_units: as in `Windows`.

    Raises:
        DataError: a table is too short, or all numbers that are to be forecast are missing.
    """
    assert config.horizon is not None
    shape = history_of(config), config.horizon, config.columns == "joint"
    num_steps, (history, horizon, _) = len(series.values), shape
    if dev is None:
        held_out = max(LEAST_DEV_HORIZONS * horizon, round(config.dev_fraction * num_steps))
        end, where = num_steps - held_out, f"of the last {held_out} steps"
        dev_windows = Windows(series, *shape, end, num_steps, in_own_units=in_own_units)
    else:
        end, where = num_steps, "of another table"
        if dev.columns != series.columns:
            wanted, got = ", ".join(series.columns), ", ".join(dev.columns)
            raise DataError(f"dev: wanted the columns of {name}, {wanted}; got {got}")
        dev_windows = Windows(dev, *shape, 0, len(dev.values), in_own_units=in_own_units)
    train = Windows(series, *shape, 0, end, in_own_units=in_own_units)
    if not len(train):
        least = history + horizon + num_steps - end
        raise DataError(
            f"{name}: wanted at least {least} steps, a window of {history} and {horizon} that follow it (data.history, "
            f"data.horizon) and {num_steps - end} held out; got {num_steps}"
        )
    if not len(dev_windows):
        raise DataError(f"dev: wanted at least {history + horizon} steps, as data.history and data.horizon say")
    train.check_targets(name)
    dev_windows.check_targets("dev")
    kind = "one series of vectors" if shape[2] else "each a series of its own"
    columns = (
        f"{len(series.columns)} columns of numbers, {kind}" if len(series.columns) > 1 else "one column of numbers"
    )
    times = "" if series.time is None else f"; column {series.time!r} holds times and is not read"
    return (
        train,
        dev_windows,
        (
            f"{plural(num_steps, 'step')}, {columns}{times}; {plural(len(train), 'window')} of "
            f"{plural(history, 'step')} and {horizon} to forecast, {plural(len(dev_windows), 'dev window')} {where}"
        ),
    )
