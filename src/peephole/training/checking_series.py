"""Check tables of series before a training."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.config import Config
from peephole.data.read import Report
from peephole.data.series import Series, read_series
from peephole.data.side_scan import EXAMPLES, Finding, Lengths
from peephole.errors import plural
from peephole.training.checking import FileCheck, Overlap

FAR = 10.0  # times the middle half's width from the median, beyond which a number is far from the others
LONG_RUN = 0.05  # share of the steps for which a column keeps one value


def check_table(role: str, path: str, config: Config) -> tuple[FileCheck, Series]:
    """Read a table and count missing numbers, constant columns, long runs of one value, and outliers.

    Args:
        role: "train", "dev" or "test".
        path: the table's file.
        config: all settings.

    Raises:
        DataError: it cannot be read.
    """
    report = Report(path, "number")
    series = read_series(path, config.data, report)
    found = [finding for finding in map(_finding, _COUNTS, [series] * len(_COUNTS)) if finding is not None]
    steps = len(series.values)
    lengths = {"table": Lengths("steps", steps, steps, steps, steps, steps)}
    return FileCheck(path, role, steps, report.lines(), lengths, found), series


def common_rows(first: tuple[FileCheck, Series], second: tuple[FileCheck, Series]) -> Overlap:
    """Return how many rows of the second table are in the first one."""
    ours, theirs = ({row.tobytes(): line for line, row in enumerate(series.values, 1)} for _, series in (first, second))
    shared = [(line, ours[row]) for row, line in theirs.items() if row in ours]
    return Overlap(
        first[0].role,
        second[0].role,
        pairs=len(shared),
        sources=len(shared),
        folded_sources=len(shared),
        of=len(theirs),
        is_estimate=False,
        examples=tuple(f"row {line} and row {at}" for line, at in shared[:3]),
    )


def _missing(values: NDArray[Any]) -> tuple[int, str]:
    count = int(np.isnan(values).sum())
    return count, f"{plural(count, 'missing number')}, at most {longest_run(np.isnan(values))} in a row"


def _constant(values: NDArray[Any]) -> tuple[int, str]:
    known = values[~np.isnan(values)]
    return int(len(known) > 0 and bool((known == known[0]).all())), "holds one value only"


def _run(values: NDArray[Any]) -> tuple[int, str]:
    longest = max((len(list(run)) for _, run in groupby(values.tolist())), default=0)
    return (longest, f"keeps one value for {longest} steps") if longest > LONG_RUN * len(values) > 1 else (0, "")


def _far(values: NDArray[Any]) -> tuple[int, str]:
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75])
    distance = np.abs(values - middle)
    far = distance > FAR * max(high - low, 1e-6 * abs(middle))
    if not far.any() or high == low:
        return 0, ""
    row = int(np.nanargmax(np.where(far, distance, np.nan)))
    return int(
        far.sum()
    ), f"{plural(int(far.sum()), 'number')} far from the others, such as {values[row]:.15g} in row {row + 1}"


_COUNTS = {
    "missing numbers": (_missing, "with missing numbers; the one before it is read"),
    "constant columns": (_constant, "with one value"),
    "long runs": (_run, f"with one value for more than {100 * LONG_RUN:.0f} % of the steps"),
    "far numbers": (_far, "with numbers far from the others"),
}


def _finding(kind: str, series: Series) -> Finding | None:
    count, message = _COUNTS[kind]
    found = [(name, *count(series.values[:, index])) for index, name in enumerate(series.columns)]
    some = [(name, number, text) for name, number, text in found if number]
    if not some:
        return None
    examples = tuple(f"column {name!r}: {text}" for name, _, text in some[:EXAMPLES])
    text = f"{plural(len(some), 'column')} of {len(found)} {message}"
    return Finding(kind, sum(number for _, number, _ in some), False, text, examples)


def longest_run(marks: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True.

    >>> longest_run(np.array([True, False, True, True]))
    2
    """
    return max((len(list(run)) for mark, run in groupby(marks.tolist()) if mark), default=0)
