"""What `peephole predict` and `peephole score` do with a model of series, on the columns of tables."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from peephole.cli.lines import print_note
from peephole.data import Report
from peephole.data.files import shown_name
from peephole.data.series import read_series
from peephole.model.forecast import LEVELS, Forecast
from peephole.model.handle import Model
from peephole.model.series import SeriesModel
from peephole.model.series_evaluation import report_of, score_windows

DIGITS = 6  # of the distance between the lowest and the highest number of a forecast
MOST_DIGITS = 17  # of a float64


def write_forecasts(
    model: SeriesModel,
    names: Sequence[str],
    *,
    bad_lines: Literal["error", "skip"],
    as_json: bool,
    **search: Any,
) -> None:
    """Write the forecasts of some tables to stdout, as CSV or a JSON object a series; notes go to stderr.

    Raises:
        DataError: a table cannot be read, or its columns are not those of training.
    """
    write = csv.writer(sys.stdout, lineterminator="\n")
    first = ("file",) if len(names) > 1 else ()
    if not as_json:
        write.writerow([*first, "series", "step", "mean", *(f"{level:g}" for level in LEVELS)])
    for name in names:
        shown = shown_name(name)
        report = Report(shown, "number")
        table = read_series(name, replace(model.config.data, bad_lines=bad_lines), report)
        for line in report.lines():
            print_note(line)
        model.check_columns(table.columns, shown)
        joint = model.config.data.columns == "joint"
        sources = [table.values] if joint else list(table.values.T)
        for index, forecast in enumerate(model.predict(sources, **search)):
            columns = table.columns if joint else table.columns[index : index + 1]
            if as_json:
                where = {"file": shown} if first else {}
                sys.stdout.write(json.dumps(where | {"series": columns, **forecast.to_dict()}) + "\n")
                continue
            for row in rows_of(forecast, columns):
                write.writerow([shown] * len(first) + row)
        sys.stdout.flush()


def rows_of(forecast: Forecast, columns: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the lines of a forecast: series, step from 1, mean and quantiles."""
    found = [forecast.mean, *(forecast.quantile(level) for level in LEVELS)]
    for component, column in enumerate(columns):
        digits = _significant_digits(np.array(found)[:, :, component])
        for step in range(len(forecast.mean)):
            yield [column, step + 1, *(f"{values[step, component]:.{digits}g}" for values in found)]


def _significant_digits(values: NDArray[np.float64]) -> int:
    """Return how many digits of numbers to write: six of the distance between the lowest and the highest.

    All those before the point are among them unless they are more than 16.

    >>> _significant_digits(np.array([1.5, 7.25])), _significant_digits(np.array([1e9 + 1.5, 1e9 + 7.25]))
    (6, 15)
    """
    largest, distance = float(np.abs(values).max()), float(np.ptp(values))
    before = len(f"{largest:.0f}")
    more = math.floor(math.log10(largest)) - math.floor(math.log10(distance)) if distance > 0 else 0
    return min(MOST_DIGITS, max(DIGITS + more, before if before < MOST_DIGITS else DIGITS))


def write_scores(model: Model, name: str, *, as_json: bool, **search: Any) -> None:
    """Write the log density of each window of a table to stdout; notes go to stderr.

    Raises:
        DataError: the table cannot be read, is too short or has other columns than the model.
        ConfigError: the model is one of quantiles, which have no density.
    """
    assert isinstance(model, SeriesModel)
    report = report_of(name)
    for window in score_windows(model, name, report, **search):
        entry = {
            "series": window.columns,
            "first": window.first,
            "steps": window.steps,
            "log_prob": window.log_prob,
        }
        sys.stdout.write((json.dumps(entry, ensure_ascii=False) if as_json else f"{window.log_prob:.6f}") + "\n")
    for line in report.lines():
        print_note(line)
