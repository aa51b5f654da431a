"""Prepare tables of series for training: read them once, and open what was read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from peephole.config import Config, DataConfig
from peephole.data.frame_pairs import Statistics
from peephole.data.frames import read_array
from peephole.data.read import Report
from peephole.data.series import Series, read_series
from peephole.data.windows import Numbers, Windows, split_series
from peephole.storage.replace_file import replace_files
from peephole.symbols import FrameSymbols

SERIES_FILES = ("series.npy", "dev_series.npy")


def prepare_series(train_path: str, dev_path: str | None, config: Config, folder: Path) -> dict[str, Any]:
    """Write the numbers of the tables; return the rest of the stamp as plain JSON values.

    Raises:
        DataError: a table cannot be read, or is too short.
    """
    report, dev_report = Report(train_path, "number"), Report(dev_path or train_path, "number")
    series = read_series(train_path, config.data, report)
    dev = None if dev_path is None else read_series(dev_path, config.data, dev_report)
    train, _, line = split_series(series, dev, config.data, train_path)
    with replace_files([folder / name for name in SERIES_FILES]) as files:
        for file, table in zip(files, (series, dev), strict=True):
            np.save(file, np.empty((0, 0), np.float32) if table is None else table.values)
    size = config.model.input_size or 1
    symbols = FrameSymbols("numbers", size=size).to_json()
    constants = train.statistics() if config.model.scaling == "constant" else ([0.0] * size, [1.0] * size)
    return {
        "source_symbols": symbols,
        "target_symbols": symbols,
        "dev_pairs": [],
        "report": [line, *report.lines(), *dev_report.lines()],
        "series": {"columns": series.columns, "time": series.time, "name": train_path, "statistics": constants},
    }


def open_series(
    folder: Path, stamp: Mapping[str, Any]
) -> tuple[Windows, list[tuple[Numbers, tuple[Numbers, ...]]], Statistics]:
    """Return the training windows, dev windows, and the statistics of the frontend."""
    about = stamp["series"]
    config = DataConfig(**stamp["made_from"]["settings"]["data"])
    found = [Series(read_array(folder / name), tuple(about["columns"]), about["time"]) for name in SERIES_FILES]
    dev = found[1] if len(found[1].values) else None
    train, dev_windows, _ = split_series(found[0], dev, config, about["name"])
    return train, dev_windows.spread(config.dev_limit), Statistics(*about["statistics"])
