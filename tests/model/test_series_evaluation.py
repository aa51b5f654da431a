"""Tests evaluating and scoring models of series against loops written from the definitions of the measures."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

import peephole
from contracts.changes import change_text
from peephole.config import Config
from peephole.errors import ConfigError, DataError, PeepholeError
from peephole.evaluation import forecasts
from peephole.evaluation.bootstrap import interval, resample
from peephole.model import series_evaluation
from peephole.model.series import SeriesModel
from peephole.nn import build_seq2seq
from peephole.symbols import FrameSymbols
from rejection import rejected_by_comparison

HISTORY, HORIZON, SEASON = 5, 4, 7
NAMES = ("mase", "naive_mase", "mae", "coverage", "crps")


@cache
def model(columns="separate", output="gaussian"):
    """Return a model of series with random weights: one of single columns, or of two joint ones."""
    settings = {"horizon": HORIZON, "history": HISTORY, "data.columns": columns, "frames.kind": "numbers"}
    size = 2 if columns == "joint" else 1
    settings |= {"model.input": "frames", "model.output": output, "input_size": size, "output_size": size}
    config = Config().with_values(settings | {"hidden_size": 6, "embedding_size": 3, "samples": 7})
    table = FrameSymbols("numbers", size=size)
    torch.manual_seed(3)  # with some weights no number lies between the two lowest quantiles, as WRONG needs it
    return SeriesModel(config, table, table, [build_seq2seq(config.model, 4, 4).eval()])


@cache
def table():
    """Return two series of different size, in which numbers are missing."""
    values = np.random.default_rng(5).normal(size=(30, 2)) * [1, 50] + [3, -20]
    values[28, 0] = values[12, 1] = values[21, 1] = np.nan
    return values


def filled(column):
    """Return a column with the number before in the place of each missing one."""
    found = list(column)
    for t, number in enumerate(found):
        if math.isnan(number):
            found[t] = found[t - 1]
    return found


def starts(steps):
    """Return the first step of each target: from the end, as long as there are enough steps before it."""
    found, start = [], steps - HORIZON
    while start >= max(HISTORY, SEASON):
        found.insert(0, start)
        start -= HORIZON
    return found


def wanted_rows(own, values):
    """Return the sums of each window by loops: scaled errors, naive ones, errors, numbers inside, CRPS, numbers."""
    series = [[0, 1]] if own.config.data.columns == "joint" else [[0], [1]]
    rows = []
    for components in series:
        for start in starts(len(values)):
            source = np.array([filled(values[:, c])[start - HISTORY : start] for c in components]).T
            samples = own.predict([source], first_index=len(rows), samples=9, seed=3)[0].samples
            row = [0.0] * 6
            for d, c in enumerate(components):
                known = [t for t in range(SEASON, len(values)) if not np.isnan(values[[t, t - SEASON], c]).any()]
                scale = sum(abs(values[t, c] - values[t - SEASON, c]) for t in known) / len(known)
                for u in range(HORIZON):
                    y = values[start + u, c]
                    if math.isnan(y):
                        continue
                    before = start + u - SEASON
                    while before >= start:
                        before -= SEASON
                    drawn = samples[:, u, d]
                    quantiles = [float(np.quantile(drawn, k / 10, method="weibull")) for k in range(1, 10)]
                    losses = [max(k / 10 * (y - q), (k / 10 - 1) * (y - q)) for k, q in enumerate(quantiles, 1)]
                    error = abs(y - sum(drawn) / len(drawn))
                    naive = abs(y - filled(values[:, c])[before])
                    inside = quantiles[0] <= y <= quantiles[8]
                    parts = (error / scale, naive / scale, error, inside, 2 * sum(losses) / 9 / scale, 1)
                    row = [total + part for total, part in zip(row, parts, strict=True)]
            rows.append(row)
    return np.array(rows)


def check(columns):
    """Compare all scores and their intervals with those of the loops."""
    own, rows = model(columns), wanted_rows(model(columns), table())
    found = peephole.evaluate(own, table(), season=SEASON, samples=9, seed=3)
    assert (found.evaluation.num_sources, found.evaluation.num_references) == (len(rows), rows[:, 5].sum())
    [sums] = resample([rows], seed=1)
    for index, name in enumerate(NAMES):
        factor, score = 100 if name == "coverage" else 1, found.scores[name]
        assert score.value == pytest.approx(factor * rows[:, index].sum() / rows[:, 5].sum(), rel=1e-9), name
        assert (score.low, score.high) == pytest.approx(interval(factor * sums[:, index] / sums[:, 5]), rel=1e-9), name


@pytest.mark.parametrize("columns", ["separate", "joint"])
def test_scores_and_intervals_equal_the_loops(columns):
    check(columns)


WRONG = [
    (series_evaluation, "_cut", "(num_steps - least) % horizon", "(num_steps - least) % horizon - horizon"),
    (series_evaluation, "_cut", "max(history, season)", "history + season"),
    (series_evaluation, "_cut", "filled[start - history : start, own]", "filled[start - history + 1 : start + 1, own]"),
    (series_evaluation, "_cut", "series.values[start : start + horizon, own]", "filled[start : start + horizon, own]"),
    (series_evaluation, "_cut", "filled[:start, own], season", "filled[: start + 1, own], season"),
    (series_evaluation, "_scale", "naive_error(column, season)", "naive_error(column, 1)"),
    (series_evaluation, "measure_forecasts", "first_index=first", "first_index=0"),
    (series_evaluation, "_parts", "yield first", "yield 0"),
    (forecasts, "seasonal_naive", "np.arange(horizon)", "np.zeros(horizon, int)"),
    (forecasts, "seasonal_naive", " - season", " - horizon"),
    (forecasts, "measure_forecast", "drawn.mean(0)", "drawn[0]"),
    (forecasts, "measure_forecast", ', method="weibull"', ""),
    (forecasts, "measure_forecast", "quantiles[0] <= actual", "quantiles[1] <= actual"),
    (forecasts, "measure_forecast", "actual <= quantiles[-1]", "True"),
    (forecasts, "measure_forecast", "(levels - 1)", "-levels"),
    (forecasts, "measure_forecast", "2 * pinball / scale", "2 * pinball"),
    (forecasts, "measure_forecast", "(error / scale", "(error"),
    (forecasts, "measure_forecast", "inside, 2", "known, 2"),
    (forecasts, "score_forecasts", "if window.compared", "if window.compared > 3"),
    (forecasts, "_ratios", "100.0 if", "1.0 if"),
]


@pytest.mark.parametrize(
    ("module", "function", "right", "wrong"), WRONG, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_wrong_measure_is_rejected(module, function, right, wrong, monkeypatch):
    monkeypatch.setattr(series_evaluation, "WINDOWS_PER_CALL", 4)
    changed = change_text(getattr(module, function), right, wrong)
    monkeypatch.setattr(module, function, changed)
    if hasattr(series_evaluation, function):
        monkeypatch.setattr(series_evaluation, function, changed)
    with rejected_by_comparison():
        check("separate")


def test_parts_of_a_table_change_no_result(monkeypatch):
    whole = peephole.evaluate(model(), table(), season=SEASON)
    monkeypatch.setattr(series_evaluation, "WINDOWS_PER_CALL", 3)
    assert peephole.evaluate(model(), table(), season=SEASON).to_dict() == whole.to_dict()


def test_a_file_and_its_numbers_have_the_same_result(tmp_path):
    np.save(tmp_path / "t.npy", table())
    counts = []
    found = peephole.evaluate(
        model(), tmp_path / "t.npy", season=SEASON, progress=lambda *state: counts.append(state), metrics=["mae"]
    )
    assert found.scores == {"mae": peephole.evaluate(model(), table(), season=SEASON).scores["mae"]}
    assert counts == [("forecasts", 0, 10), ("forecasts", 10, 10)]
    assert found.sources[:2] == ["1, steps 11-14", "1, steps 15-18"]
    assert found.skipped == [
        f"3 numbers repaired: missing; the one before it is read (first: {tmp_path / 't.npy'}, line 13)"
    ]
    assert "10 windows" in repr(found)


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (
            "separate",
            table()[:10],
            "series: wanted at least 11 steps: 5 to read .data.history., 7 of a season and 4 to forecast",
        ),
        ("joint", table()[:, :1], "series: wanted 2 columns of numbers, as in training, got 1: 1"),
        (
            "separate",
            np.arange(30) % 7,
            "series, column '1': wanted a series that does not repeat itself every 7 steps",
        ),
        ("separate", np.full(30, np.nan), "series, column '1': wanted numbers, got none in 30 rows"),
        (
            "separate",
            np.where(np.arange(30) < 6, 1.0, np.nan),
            "column '1': wanted a series that does not repeat itself",
        ),
        ("separate", [["a"]], "series: wanted numbers of shape"),
    ],
)
def test_a_table_that_cannot_be_evaluated_is_an_error(columns, given, message):
    with pytest.raises(DataError, match=message):
        peephole.evaluate(model(columns), given, season=SEASON)


def test_numbers_that_are_missing_in_all_targets_are_an_error():
    values = table().copy()
    values[10:] = np.nan
    values[7:9] = [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"^evaluation: wanted numbers to compare with the forecasts, got none$"):
        peephole.evaluate(model(), values, season=SEASON)


def test_requests_for_other_models_are_refused(toy_file):
    with pytest.raises(ConfigError, match=r"^season: wanted none, since .* is not of series, got 3$"):
        peephole.evaluate(toy_file, [("a", "b")], season=3)
    with pytest.raises(PeepholeError, match=r"^season: wanted a whole number from 1"):
        peephole.evaluate(model(), table(), season=0)
    with pytest.raises(ConfigError, match=r"^evaluation: unknown metric of forecasts 'maes'.*; did you mean 'mae'\?$"):
        peephole.evaluate(model(), table(), metrics=["maes"])
    with pytest.raises(ConfigError, match=r"^against: wanted none"):
        peephole.evaluate(model(), table(), against=model())


@pytest.mark.parametrize("columns", ["separate", "joint"])
def test_scores_are_the_log_densities_of_the_windows(columns):
    report = series_evaluation.report_of(table())
    own, values = model(columns), table()
    found = list(series_evaluation.score_windows(own, table(), report))
    whole = np.array([filled(column) for column in values.T]).T
    kept = [[0, 1]] if columns == "joint" else [[0], [1]]
    at = [(start, own_columns) for own_columns in kept for start in (6, 10, 14, 18, 22, 26)]
    wanted = own.score([whole[t - HISTORY : t][:, c] for t, c in at], [values[t : t + HORIZON][:, c] for t, c in at])
    assert [(one.first, one.steps) for one in found] == [(start + 1, HORIZON) for start, _ in at]
    assert [one.log_prob for one in found] == pytest.approx(wanted)
    with pytest.raises(ConfigError, match=r"^output: wanted gaussian, which has a density, got quantile$"):
        list(series_evaluation.score_windows(model(output="quantile"), table(), report))
