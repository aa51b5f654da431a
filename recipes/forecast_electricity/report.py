"""The tables of the forecasting recipe: each method over 14 days, and the forms of peepholes against each other.

MASE is scaled by the mean absolute error of the seasonal naive forecast on the training weeks; CRPS is twice the mean
pinball loss over nine quantiles, with the same scale. Intervals are 95 % bootstrap intervals over days; the error of a
day is the mean over seeds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from peephole.evaluation.bootstrap import interval, resample, swap
from peephole.evaluation.forecasts import mase, naive_error, quantile_loss, smape
from peephole.evaluation.significance import SWAPS, swaps_p

FORMS = ("none", "diagonal", "full")
LEVELS = [level / 10 for level in range(1, 10)]
MEASURES = ("MASE", "sMAPE", "CRPS")


class Forecast(NamedTuple):
    """The forecast of a day."""

    mean: list[float]
    quantiles: list[list[float]]  # one for each of LEVELS


def errors(forecasts: Sequence[Forecast], actual: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """Return the measures of each day, (days, 3), and in a fourth column the share inside the 80 % interval."""
    rows = []
    for forecast, wanted in zip(forecasts, actual, strict=True):
        mean, quantiles = np.array(forecast.mean), np.array(forecast.quantiles)
        inside = np.mean((wanted >= quantiles[0]) & (wanted <= quantiles[-1]))
        crps = quantile_loss(list(quantiles), LEVELS, wanted) / scale
        rows.append([mase(mean, wanted, scale), smape(mean, wanted), crps, inside])
    return np.array(rows)


def with_interval(values: np.ndarray, digits: int = 3) -> str:
    """Return a mean and its 95 % bootstrap interval."""
    (sums,) = resample([values[:, None]], seed=1)
    low, high = interval(sums[:, 0] / len(values))
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def difference_row(title: str, a: np.ndarray, b: np.ndarray) -> str:
    """Return the line that compares the errors of two methods on the same days."""
    tables = [a[:, None], b[:, None]]
    drawn = [sums[:, 0] / len(a) for sums in resample(tables, seed=1)]
    swapped = [sums[0][:, 0] / len(a) for sums in swap(tables[:1], tables[1:], swaps=SWAPS, seed=1)]
    gain = a.mean() - b.mean()
    low, high = interval(drawn[0] - drawn[1])
    return f"| {title} | {gain:+.3f} [{low:+.3f}, {high:+.3f}] | {swaps_p(swapped[0] - swapped[1], gain):.4f} |"


def report(
    found: Mapping[tuple[str, int], Sequence[Forecast]],
    seconds: Mapping[tuple[str, int], float],
    actual: Sequence[np.ndarray],
    history: np.ndarray,
    season: int,
) -> str:
    """Return all tables in Markdown.

    Args:
        found: the forecasts of each method and seed.
        seconds: of processor time.
        actual: the days.
        history: the series before the first of them.
        season: steps of a season, for the scale.
    """
    scale = naive_error(history, season)
    by_run = {key: errors(forecasts, actual, scale) for key, forecasts in found.items()}
    runs = {name: [by_run[key] for key in by_run if key[0] == name] for name in dict.fromkeys(key[0] for key in found)}
    days = {name: np.mean(tables, 0) for name, tables in runs.items()}
    rows = [
        "| method | MASE | sMAPE, % | CRPS | inside 80 % | MASE of each seed | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, table in days.items():
        shown = f"LSTM, {'no' if name == 'none' else name} peepholes" if name in FORMS else name
        seeds = ", ".join(f"{run[:, 0].mean():.3f}" for run in runs[name]) if len(runs[name]) > 1 else "–"
        took = np.mean([value for key, value in seconds.items() if key[0] == name])
        columns = [with_interval(table[:, column]) for column in range(3)]
        rows.append(f"| {shown} | {' | '.join(columns)} | {100 * table[:, 3].mean():.0f} % | {seeds} | {took:,.0f} |")
    lines = ["| | MASE, first minus second | p |", "|---|---|---|"]
    best = min((name for name in days if name not in FORMS), key=lambda name: days[name][:, 0].mean())
    pairs = [("diagonal", "none"), ("full", "none"), ("full", "diagonal"), *((form, best) for form in FORMS)]
    lines += [difference_row(f"{a} against {b}", days[a][:, 0], days[b][:, 0]) for a, b in pairs]
    return "\n".join(rows) + "\n\n" + "\n".join(lines) + "\n"
