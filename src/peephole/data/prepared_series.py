"""Prepare tables of series for training: read them once, and open what was read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from peephole.config import Config, DataConfig
from peephole.data.frame_pairs import Statistics
from peephole.data.frames import read_array
from peephole.data.known import KnownSymbols
from peephole.data.read import Report
from peephole.data.series import Series, has_names, read_series
from peephole.data.window_units import units_of
from peephole.data.windows import Numbers, Windows, split_series
from peephole.errors import DataError
from peephole.storage.replace_file import replace_files
from peephole.symbols import FrameSymbols

SERIES_FILES = ("series.npy", "dev_series.npy")
MOST_ROUNDING = 1e-3  # of a column's deviation
EVEN = 1e-6  # steps of times differ by less than this share


def prepare_series(
    train_path: str, dev_path: str | None, config: Config, folder: Path, known: KnownSymbols | None = None
) -> dict[str, Any]:
    """Write the numbers of the tables; return the rest of the stamp as plain JSON values.

    Args:
        train_path: the table of training.
        dev_path: that of dev; None: the end of the first.
        config: the settings.
        folder: of the files that are written.
        known: of the model with which training goes on.

    Raises:
        DataError: a table cannot be read or is too short, or float32 is too coarse for it in units that are constant.
    """
    report, dev_report = Report(train_path, "number"), Report(dev_path or train_path, "number")
    series = read_series(train_path, config.data, report)
    dev = None if dev_path is None else read_series(dev_path, config.data, dev_report)
    constant = config.model.scaling == "constant"
    if constant:
        _check_rounding(train_path, series)
    train, _, line = split_series(series, dev, config.data, train_path)
    with replace_files([folder / name for name in SERIES_FILES]) as files:
        for file, table in zip(files, (series, dev), strict=True):
            np.save(file, np.empty((0, 0)) if table is None else table.values)
    size = config.model.input_size or 1
    named = config.data.columns == "joint" and has_names(series.columns)
    symbols = FrameSymbols("numbers", size=size, columns=series.columns if named else None).to_json()
    constants = train.statistics() if constant else ([0.0] * size, [1.0] * size)
    return {
        "source_symbols": symbols,
        "target_symbols": symbols,
        "dev_pairs": [],
        "report": [
            line,
            *_note_about_times(series),
            *_note_about_columns(series, known),
            *report.lines(),
            *dev_report.lines(),
        ],
        "series": {"columns": series.columns, "time": series.time, "name": train_path, "statistics": constants},
    }


def open_series(
    folder: Path, stamp: Mapping[str, Any]
) -> tuple[Windows, list[tuple[Numbers, tuple[Numbers, ...]]], Statistics]:
    """Return the training windows, dev windows, and the statistics of the frontend."""
    about = stamp["series"]
    config = DataConfig(**stamp["made_from"]["settings"]["data"])
    found = [
        Series(read_array(folder / name).astype(np.float64), tuple(about["columns"]), about["time"])
        for name in SERIES_FILES
    ]
    dev = found[1] if len(found[1].values) else None
    in_own_units = stamp["made_from"]["settings"]["scaling"] == "source"
    train, dev_windows, _ = split_series(found[0], dev, config, about["name"], in_own_units=in_own_units)
    return train, dev_windows.spread(config.dev_limit), Statistics(*about["statistics"])


def _note_about_times(series: Series) -> list[str]:
    """Return a line if the first of several columns looks like times, such as years, that are read as a series."""
    first = series.values[:, 0]
    steps = np.diff(first)
    is_even = (steps > 0).all() and np.ptp(steps) <= EVEN * steps.max()
    if series.time is not None or len(series.columns) < 2 or not is_even:
        return []
    column = series.columns[0]
    return [f"column {column!r} rises evenly: if it holds times, leave it out with data.time={column}"]


def _note_about_columns(series: Series, known: KnownSymbols | None) -> list[str]:
    """Return a line if a joint series has other columns than the model with which training goes on."""
    trained = getattr(known and known.source, "columns", None)
    if trained is None or not has_names(series.columns) or trained == tuple(series.columns):
        return []
    return [f"columns {', '.join(series.columns)} take the places of the model's: {', '.join(trained)}"]


def _check_rounding(name: str, series: Series) -> None:
    """Check that float32, in which a model with constant units reads numbers, holds the changes of each column.

    Raises:
        DataError: its largest error is more than `MOST_ROUNDING` of a column's deviation.
    """
    for values, column in zip(series.values.T, series.columns, strict=True):
        known = values[np.isfinite(values)]
        [deviation] = units_of(known[:, None]).deviation
        most = MOST_ROUNDING * deviation if np.ptp(known) > 0 else np.finfo(np.float32).max
        with np.errstate(over="ignore"):
            error = np.abs(known - known.astype(np.float32)).max()
        if error > most:
            raise DataError(
                f"{name}, column {column!r}: numbers up to {np.abs(known).max():g} lose digits in float32, which "
                "model.scaling=constant reads: wanted model.scaling=source, or a column without its level"
            )
